package artifact

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestMemoryOfPackAndUnpack(t *testing.T) { // under 64 MB, whatever the size of the files
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	block := noise(1 << 20)
	for range 128 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, w := io.Pipe()
	go func() {
		_, err := Pack(t.Context(), dir, w, PackOptions{})
		w.CloseWithError(err)
	}()
	if _, err := Unpack(t.Context(), r, t.TempDir(), Limits{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	} else {
		t.Logf("the heap grew by %d MiB", grown>>20)
	}
}
