package harness

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/runtime/containertest"
)

func TestWatchVolume(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w"), make([]byte, 100<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	beside := t.TempDir()
	if err := os.WriteFile(filepath.Join(beside, "tmp"), make([]byte, 100<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(beside, "tmp"), filepath.Join(beside, "again")); err != nil {
		t.Fatal(err)
	}
	dirs := func() []string { return []string{dir, beside, ""} }
	var got VolumeFull
	var seen int64
	see := func(used int64) { seen = used }
	watchVolume(t.Context(), dirs, 50<<10, see, func(f VolumeFull) { got = f })
	if seen != got.Used {
		t.Errorf("%d bytes were seen, %+v", seen, got)
	}
	if got.Size != 50<<10 || got.Used < 200<<10 || got.Used > 290<<10 {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	watchVolume(ctx, dirs, 10<<20, see, func(f VolumeFull) { t.Errorf("%+v", f) })
	watchVolume(t.Context(), dirs, 0, see, func(f VolumeFull) { t.Errorf("no limit: %+v", f) })
}

func TestRuling13VolumeFull(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/model/w", strings.Repeat("x", 200<<10))
		<-p.Signals
		return 0
	}))
	p := trainingPlan("full")
	p.Training.VolumeBytes = 64 << 10
	b.put("in/train/big", strings.Repeat("y", 100<<10))
	final, _ := b.run(p)
	if final.Status != "Failed" || !strings.Contains(final.FailureReason, "Insufficient disk space") || *final.ExitCode != ExitClient {
		t.Errorf("%+v", final)
	}
}
