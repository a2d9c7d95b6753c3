package harness

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

// TestWhatBecameOfTheSignal holds each thing that may be said of SIGTERM, and that no more is (STOP-4, STOP-9).
func TestWhatBecameOfTheSignal(t *testing.T) {
	at := time.Now()
	main := func(pid int, term container.Handling) container.Process {
		return container.Process{PID: pid, Main: true, Command: "main", Term: term}
	}
	child := container.Process{PID: 7, Command: "python train.py", Term: container.HandlingCaught}
	deaf := container.Process{PID: 8, Command: "worker", Term: container.HandlingDefault}
	pending := main(1, container.HandlingCaught)
	pending.Pending = true
	for _, c := range []struct {
		name    string
		before  []container.Process
		running []container.Process
		killed  bool
		exit    container.Exit
		what    string
		says    []string
		never   string
		remedy  string
	}{
		{"a handler, and an end", []container.Process{main(1, container.HandlingCaught), deaf}, nil, false, container.Exit{Code: 0}, signalReached,
			[]string{"PID 1 (main), the main process, has a handler for SIGTERM; it ended 3s after SIGTERM with exit code 0"}, "Whether", ""},
		{"a handler, and a child that has one", []container.Process{main(1, container.HandlingCaught), child}, nil, false, container.Exit{Code: 143}, signalReached,
			[]string{"with exit code 143", "Whether PID 7 (python train.py) heard of it cannot be seen"}, "", ""},
		{"a handler, and no end", []container.Process{main(1, container.HandlingCaught)}, nil, true, container.Exit{Code: 137, Signal: 9}, signalLate,
			[]string{"it still ran 2s after SIGTERM, and was killed"}, "even taken", "end within the grace"},
		{"a handler that never ran", []container.Process{main(1, container.HandlingCaught)}, []container.Process{pending}, true, container.Exit{Code: 137}, signalLate,
			[]string{"It had not even taken the signal by then"}, "", "end within the grace"},
		{"a trap that waits", []container.Process{main(1, container.HandlingCaught), child, child}, nil, true, container.Exit{Code: 137}, signalLate,
			[]string{"PID 7 (python train.py) and 1 other process, which has a handler too, is not signalled"}, "", "a shell runs its trap"},
		{"ignored", []container.Process{main(1, container.HandlingIgnored), deaf}, nil, true, container.Exit{Code: 137}, signalIgnored, []string{"ignores SIGTERM"}, "discards", "handle SIGTERM"},
		{"ignored, and an end all the same", []container.Process{main(1, container.HandlingIgnored)}, nil, false, container.Exit{Code: 0}, signalIgnored,
			[]string{"which was not because of SIGTERM"}, "", "handle SIGTERM"},
		{"no handler as PID 1", []container.Process{main(1, container.HandlingDefault)}, nil, true, container.Exit{Code: 137}, signalDiscarded,
			[]string{"the kernel discards a signal for which PID 1 has none"}, "No other process", "handle SIGTERM"},
		{"no handler anywhere", []container.Process{main(1, container.HandlingDefault), deaf}, nil, true, container.Exit{Code: 137}, signalDiscarded,
			[]string{"No other process has one either"}, "", "handle SIGTERM"},
		{"no handler as PID 1, and an end all the same", []container.Process{main(1, container.HandlingDefault), child}, nil, false, container.Exit{Code: 0}, signalDiscarded,
			[]string{"which was not because of SIGTERM"}, "", "handle SIGTERM"},
		{"swallowed", []container.Process{main(1, container.HandlingDefault), child}, nil, true, container.Exit{Code: 137}, signalSwallowed,
			[]string{"PID 7 (python train.py) would have handled it, but SageMaker signals the main process only"}, "", "start the script with exec"},
		{"no handler, and not PID 1", []container.Process{main(2, container.HandlingDefault)}, nil, false, container.Exit{Code: 143, Signal: 15}, signalReached,
			[]string{"it was ended by signal 15 3s after SIGTERM: that is what SIGTERM does"}, "discards", "handle SIGTERM"},
		{"nothing seen", nil, nil, true, container.Exit{Code: 137}, signalUnseen, []string{"could not be seen", "was killed"}, "handler", ""},
	} {
		h := &rehearsal{at: at, before: c.before, running: c.running}
		c.exit.At = at.Add(3 * time.Second)
		if c.killed {
			h.killed = at.Add(2 * time.Second)
		}
		what, says, remedy := h.signal(c.exit)
		if what != c.what || !strings.HasPrefix(remedy, c.remedy) || c.remedy == "" && remedy != "" || c.never != "" && strings.Contains(says, c.never) {
			t.Errorf("%s: %s: %s (%s)", c.name, what, says, remedy)
		}
		for _, s := range c.says {
			if !strings.Contains(says, s) {
				t.Errorf("%s: %q is not in %q", c.name, s, says)
			}
		}
	}
}

// TestInterruption carries the rehearsal out: what is on record of one that saves, and of one that is killed while it
// writes a checkpoint (STOP-9).
func TestInterruption(t *testing.T) {
	t.Parallel() // it waits
	plan := func(name string) *job.Plan {
		p := trainingPlan(name)
		p.Training.InterruptAfter, p.Training.Grace = job.Duration(100*time.Millisecond), job.Duration(200*time.Millisecond)
		return p
	}
	t.Run("saved", func(t *testing.T) {
		b := newBench(t, algo(func(p *containertest.Process) int {
			write(p, "/opt/ml/model/before", "12345")
			if s := <-p.Signals; s != syscall.SIGTERM {
				return 9
			}
			write(p, "/opt/ml/model/after", "123")
			_, _ = p.Stdout.Write([]byte("saving\n"))
			return 1
		}))
		b.launcher.OnProcesses = func(container.Spec) []container.Process {
			return []container.Process{{PID: 1, Main: true, Command: "train", Term: container.HandlingCaught}}
		}
		final, s := b.run(plan("saved"))
		i := s.Interruption
		if final.Status != "Stopped" || final.Secondary != "Stopped" || *final.ExitCode != ExitStopped || i == nil {
			t.Fatalf("%+v %+v", final, i)
		}
		if i.Signal != signalReached || i.Killed || i.Code != 1 || i.Printed != 7 || i.Grace != 200*time.Millisecond || len(i.Processes) != 1 || i.Processes[0].SIGTERM != "caught" {
			t.Errorf("%+v", i)
		}
		if x := i.Saved[0]; len(i.Saved) != 1 || x.What != "model" || x.State != savedLeft || x.Files != 2 || x.Bytes != 8 || x.Written != 1 {
			t.Errorf("%+v", i.Saved)
		}
		var walk []string
		for _, x := range s.Transitions {
			walk = append(walk, x.Status)
		}
		if !slices.Equal(walk, []string{"Starting", "Downloading", "Training", "Interrupted", "Uploading", "Stopped"}) {
			t.Errorf("%v", walk)
		}
		if !slices.Equal(b.objects(), []string{"out/saved/output/model.tar.gz"}) {
			t.Errorf("%v", b.objects())
		}
	})
	t.Run("killed while it writes", func(t *testing.T) {
		b := newBench(t, algo(func(p *containertest.Process) int {
			write(p, "/opt/ml/model/m", "1")
			write(p, "/work/states/c.pt", "half")
			<-p.Context.Done()
			return 0
		}))
		b.launcher.OnProcesses = func(container.Spec) []container.Process {
			return []container.Process{{PID: 1, Main: true, Command: "train", Term: container.HandlingIgnored, Writing: []string{"/work/states/c.pt", "/opt/ml/modelling"}}}
		}
		p := plan("killed")
		p.Training.Checkpoint = &job.Checkpoint{URI: "s3://out/states", LocalPath: "/work/states/", Every: job.Duration(time.Hour)}
		_, s := b.run(p)
		i := s.Interruption
		if i == nil || i.Signal != signalIgnored || !i.Killed || i.Printed != 0 || len(i.Saved) != 2 {
			t.Fatalf("%+v", i)
		}
		if m, c := i.Saved[0], i.Saved[1]; m.State != savedQuiet || m.Written != 0 || m.Idle <= 0 || len(m.Writing) > 0 || c.State != savedUnfinished || !slices.Equal(c.Writing, []string{"c.pt"}) {
			t.Errorf("%+v", i.Saved)
		}
	})
}

// tooLate is a context whose cancellation nobody sees before the process's end.
type tooLate struct{ context.Context }

func (tooLate) Done() <-chan struct{} { return nil }

// TestStopOfWhatHasEnded holds that a job whose process had ended before anybody could stop it has not been stopped,
// while a fault is told whatever the exit (ruling 8).
func TestStopOfWhatHasEnded(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  bool // that it counts
	}{{StopRequested{}, false}, {MaxRuntimeExceeded{time.Second}, false}, {Interrupted{time.Second}, false}, {VolumeFull{}, true}} {
		b := newBench(t, algo(func(*containertest.Process) int { return 0 }))
		in := &instance{training: &job.Training{}}
		o := b.create(trainingPlan("ended"))
		in.run = &run{owner: o, host: b.host, kill: make(chan struct{})}
		task, err := b.launcher.Launch(t.Context(), container.Spec{ID: "x", Job: "j", Image: "algo", Args: []string{"train"}, Log: filepath.Join(t.TempDir(), "log")})
		if err == nil {
			err = task.Start(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		in.task = task
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		exit, err := in.wait(tooLate{ctx}, cancel)
		if exit == nil || exit.Code != 0 || c.want != (err != nil) || o.State().Status == ledger.StatusStopping || in.rehearsal != nil {
			t.Errorf("%v: %+v %v, %s", c.cause, exit, err, o.State().Status)
		}
		_ = task.Close(t.Context())
		o.Close()
	}
}

// TestMaxRuntimeWhileDownloading holds that the time runs from the start of the download (STOP-6), and that such a job
// goes through Stopping (STOP-7).
func TestMaxRuntimeWhileDownloading(t *testing.T) {
	b := newBench(t, algo(func(*containertest.Process) int { panic("started") }))
	b.launcher.OnEnsure = func(string, container.Pull) error { time.Sleep(300 * time.Millisecond); return nil }
	p := trainingPlan("slow")
	p.Training.MaxRuntime = job.Duration(50 * time.Millisecond)
	final, s := b.run(p)
	if final.Status != "Stopped" || s.Secondary != "MaxRuntimeExceeded" || len(s.Containers) != 0 || len(s.Uploads) != 0 {
		t.Errorf("%+v %+v", final, s.Containers)
	}
	if !slices.ContainsFunc(s.Transitions, func(x ledger.StatusSpan) bool { return x.Status == "Stopping" }) {
		t.Errorf("%+v", s.Transitions)
	}
}

// TestCauseOnRecord: who recovers a job tells why it was being stopped.
func TestCauseOnRecord(t *testing.T) {
	p := trainingPlan("x")
	p.Training.InterruptAfter = job.Duration(time.Minute)
	s := ledger.State{Status: "InProgress", Secondary: "Uploading", Transitions: []ledger.StatusSpan{{Status: "Training"}, {Status: "Interrupted"}, {Status: "Uploading"}}}
	if got := causeOnRecord(p, s); got != (Interrupted{time.Minute}) {
		t.Errorf("%v", got)
	}
	now := time.Now()
	s.Attempts = []ledger.Past{{Number: 1, At: now}}
	if got := causeOnRecord(p, s); got != nil {
		t.Errorf("an attempt is told the end of the one before: %v", got)
	}
	s.Transitions = append(s.Transitions, ledger.StatusSpan{Status: "Interrupted", StartTime: now.Add(time.Second)})
	if got := causeOnRecord(p, s); got != (Interrupted{time.Minute}) {
		t.Errorf("%v", got)
	}
	if got := causeOnRecord(p, ledger.State{Status: "InProgress"}); got != nil {
		t.Errorf("%v", got)
	}
}
