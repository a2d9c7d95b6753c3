package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/runtime/containertest"
)

// OUT-1: what a container writes elsewhere than to /opt/ml/model and /opt/ml/output/data is lost, and said to be; scratch is not
// worth a word.
func TestLostWrites(t *testing.T) {
	for name, c := range map[string]struct {
		layer, tree map[string]int // path below the container's own file system, and below /opt/ml: bytes
		want        string         // "" is no warning
	}{
		"nothing":       {want: ""},
		"scratch alone": {layer: map[string]int{"tmp/x": 10, "var/tmp/x": 10, "root/.cache/pip/x": 10, "srv/__pycache__/a.pyc": 10, "run/x.pid": 3, "srv/empty": 0}},
		"what is kept":  {tree: map[string]int{"/opt/ml/model/m": 10, "/opt/ml/output/data/o": 10, "/opt/ml/output/tensors/t": 10}},
		"one file":      {layer: map[string]int{"root/m.pt": 7}, want: "in 1 file (7 bytes) is lost, as on SageMaker, which keeps /opt/ml/model, /opt/ml/output/data and checkpoints alone; the largest: /root/m.pt (7 bytes)"},
		"the five largest, largest first": {
			layer: map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e/f": 50, "opt/ml/code/x": 6},
			tree:  map[string]int{"/opt/ml/output/late": 60},
			want:  "in 7 files (126 bytes) is lost, as on SageMaker, which keeps /opt/ml/model, /opt/ml/output/data and checkpoints alone; the largest: /opt/ml/output/late (60 bytes), /e/f (50 bytes), /opt/ml/code/x (6 bytes), /d (4 bytes), /c (3 bytes)",
		},
		"a name for nobody's terminal": {layer: map[string]int{"a\x1b[2Jb": 1}, want: `"/a\x1b[2Jb" (1 bytes)`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, algo(func(p *containertest.Process) int {
				for f, n := range c.layer {
					writeFile(filepath.Join(p.Layer(), f), n)
				}
				for f, n := range c.tree {
					writeFile(p.Path(f), n)
				}
				return 0
			}))
			_, s := b.run(trainingPlan("lost"))
			var said []string
			for _, w := range s.Warnings {
				if w.Rule == "OUT-1" {
					said = append(said, w.Text)
				}
			}
			if len(said) > 1 || !strings.Contains(strings.Join(said, ""), c.want) || (c.want == "") != (len(said) == 0) {
				t.Errorf("%q, want %q", said, c.want)
			}
		})
	}
}

func writeFile(name string, n int) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(name, make([]byte, n), 0o644); err != nil {
		panic(err)
	}
}

// The look at what is lost has a bound, and says when it came to it.
func TestLostIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 600 {
		writeFile(filepath.Join(dir, fmt.Sprint(i)), 1)
	}
	var l lost
	l.look(dir, "/", scratch, time.Now())
	if w := l.warning(); !l.more || l.files == 0 || l.files > 256 || !strings.Contains(w, "at least ") {
		t.Errorf("%+v: %s", l, w)
	}
}

// FAIL-4: the exit code decides, and somebody should know that the failure file went unread.
func TestFailureFileBesideExitCode0(t *testing.T) {
	b := newBench(t, algo(func(p *containertest.Process) int {
		write(p, "/opt/ml/output/failure", "the loss is NaN\xff\n")
		return 0
	}))
	final, s := b.run(trainingPlan("zero"))
	if final.Status != "Completed" || final.FailureReason != "" {
		t.Errorf("%+v", final)
	}
	var said []string
	for _, w := range s.Warnings {
		if w.Rule == "FAIL-4" {
			said = append(said, w.Text)
		}
	}
	if len(said) != 1 || !strings.HasSuffix(said[0], ": the loss is NaN\uFFFD") {
		t.Errorf("%q", said)
	}
}

// Ruling 14: a container is launched with what the plan says of its instance.
func TestLimitsReachTheContainer(t *testing.T) {
	b := newBench(t, algo(func(*containertest.Process) int { return 0 }))
	p := trainingPlan("limits")
	p.Training.Instances[0].CPUs, p.Training.Instances[0].MemoryBytes = 2, 8<<30
	b.run(p)
	if s := b.launcher.Launched()[0]; s.CPUs != 2 || s.Memory != 8<<30 {
		t.Errorf("%+v", s)
	}
}
