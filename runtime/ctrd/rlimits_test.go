package ctrd

import (
	"math"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// START-13 and ruling 18: many files, no core, memory that GPUs' drivers may lock, each as far as the host allows.
func TestRlimits(t *testing.T) {
	var files, memory unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &memory); err != nil {
		t.Fatal(err)
	}
	wantMemory := memory.Max
	if hasCap(unix.CAP_SYS_RESOURCE) {
		wantMemory = math.MaxUint64
	}
	n := nofileMax()
	if n > wantNofile || n < min(wantNofile, files.Max) {
		t.Errorf("%d open files; the host's hard limit is %d", n, files.Max)
	}
	want := []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Hard: n, Soft: n},
		{Type: "RLIMIT_CORE"},
		{Type: "RLIMIT_MEMLOCK", Hard: wantMemory, Soft: wantMemory},
	}
	if got := rlimits(true); !slices.Equal(got, want) {
		t.Errorf("with a GPU: %v, want %v", got, want)
	}
	if got := rlimits(false); !slices.Equal(got, want[:2]) {
		t.Errorf("without: %v", got)
	}
}
