//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/test/images"
)

// ending is how the test of a row brings its end about. It returns the exit code of optml.
type ending func(t *testing.T, name string) result

// brought are the rows of harness.Ends, each by its name.
var brought = map[string]ending{
	"exit-0":                    trained(),
	"exit-0-failure-file":       trained("failure", "never mind"),
	"exit-1":                    trained("exit_code", "1"),
	"exit-2":                    trained("exit_code", "2"),
	"exit-1-failure-file":       trained("exit_code", "1", "failure", "no such column"),
	"failure-file-of-a-toolkit": trained("exit_code", "1", "failure_hex", hex.EncodeToString([]byte("ExecuteUserScriptError:\nExitCode 1\nErrorMessage \"ValueError: no such column\"\nCommand \"/usr/bin/python3 train.py\""))),
	"failure-file-too-long":     trained("exit_code", "2", "failure", "Übel ", "failure_repeat", "1000"), // 6,000 bytes
	"failure-file-not-text":     trained("exit_code", "1", "failure_hex", "61ff62"),
	"exit-125":                  trained("exit_code", "125"),
	"exit-126":                  trained("exit_code", "126"),
	"exit-127":                  trained("exit_code", "127"),
	"exit-137":                  trained("exit_code", "137"),
	"exit-139":                  trained("exit_code", "139"),
	"signal-11":                 trained("crash", "segv"),
	"child-keeps-stdout": func(t *testing.T, name string) result {
		r := trained("fork", "3")(t, name)
		if r.took > 20*time.Second { // the children sleep for an hour
			t.Errorf("it took %v", r.took)
		}
		if l := log(t, name); strings.Count(l, `"child"`) != 3 || strings.Contains(l, "child ends") {
			t.Errorf("log %s", l)
		}
		return r
	},
	"signal-9": func(t *testing.T, name string) result {
		p := begin(t, nil, "train", "--quiet", training(name, "sleep", "1m").file(t))
		if err := unix.Kill(running(t, name), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return p.wait(t)
	},
	"out-of-memory": func(t *testing.T, name string) result {
		// It prints until its group has got a limit, and then takes more.
		p := begin(t, nil, "train", "--quiet", training(name, "metrics", "20", "metrics_interval", "50ms", "allocate_mb", "300").file(t))
		limitMemory(t, running(t, name), 64<<20)
		return p.wait(t)
	},

	"no-train":             started(images.Options{Without: []string{"train"}}),
	"no-interpreter":       started(images.Options{Files: []images.File{{Name: "/usr/local/bin/script", Mode: 0o755, Data: []byte("#!/usr/bin/python3\n")}}}, "/usr/local/bin/script"),
	"train-not-executable": started(images.Options{Files: []images.File{{Name: "/opt/train", Mode: 0o644, Data: []byte("#!/bin/sh\n")}}}, "/opt/train"),
	"train-not-a-program":  started(images.Options{Files: []images.File{{Name: "/opt/train", Mode: 0o755, Data: []byte("print()\n")}}}, "/opt/train"),
	"image-missing": func(t *testing.T, name string) result {
		d := training(name)
		d["AlgorithmSpecification"].(doc)["TrainingImage"] = "optml.test/nowhere:1"
		return optml(t, "train", "--quiet", "--pull", "never", d.file(t))
	},

	"data-missing": func(t *testing.T, name string) result {
		put(t, "data", "train/a.csv", "1\n")
		return withChannel(t, nil, name, channel("train", "s3://data/nothing/"))
	},
	"data-forbidden": func(t *testing.T, name string) result {
		_, env := refusing(t, http.MethodGet, "train/a.csv")
		return withChannel(t, env, name, channel("train", "s3://data/train/"))
	},
	"checkpoints-forbidden": func(t *testing.T, name string) result {
		srv, env := refusing(t, http.MethodGet, "checkpoints/step-1")
		srv.Put("data", "checkpoints/step-1", []byte("1"))
		d := training(name)
		d["CheckpointConfig"] = doc{"S3Uri": "s3://data/checkpoints"}
		return begin(t, env, "train", "--quiet", d.file(t)).wait(t)
	},
	"data-broken-in-a-pipe": func(t *testing.T, name string) result {
		_, env := refusing(t, http.MethodGet, "train/a.csv")
		c := channel("train", "s3://data/train/")
		c["InputMode"] = "FastFile"
		return withChannel(t, env, name, c, "channels", "sha256", "swallow", "1")
	},
	"data-disk-full": func(t *testing.T, name string) result {
		smallDisk(t, filepath.Join(w.root, "jobs"))
		srv, env := store(t)
		srv.MakeBucket("out")
		srv.Put("data", "train/a.csv", make([]byte, 20<<20))
		return withChannel(t, env, name, channel("train", "s3://data/train/"))
	},

	"upload-forbidden": func(t *testing.T, name string) result {
		_, env := refusing(t, http.MethodPut, "training/"+name)
		r := begin(t, env, "train", "--quiet", training(name).file(t)).wait(t)
		kept(t, name, "model.txt")
		return r
	},
	"upload-forbidden-after-exit-1": func(t *testing.T, name string) result {
		_, env := refusing(t, http.MethodPut, "training/"+name)
		r := begin(t, env, "train", "--quiet", training(name, "exit_code", "1").file(t)).wait(t)
		kept(t, name, "model.txt")
		return r
	},
	"upload-disk-full": func(t *testing.T, name string) result {
		small := filepath.Join(w.s3, "small")
		if err := os.MkdirAll(small, 0o755); err != nil {
			t.Fatal(err)
		}
		smallDisk(t, small)
		d := training(name, "model_mb", "20")
		d["OutputDataConfig"] = doc{"S3OutputPath": "s3://small/training"}
		r := optml(t, "train", "--quiet", d.file(t))
		kept(t, name, "weights.bin")
		return r
	},
	"volume-full": func(t *testing.T, name string) result {
		d := training(name, "model_mb", "1100", "sleep", "5m", "sigterm", "exit")
		d["OutputDataConfig"] = doc{"S3OutputPath": "s3://out/training", "CompressionType": "NONE"} // which takes less time
		return optml(t, "train", "--quiet", d.file(t))
	},

	"stop":        stopping(nil, "sigterm", "save"),
	"stop-exit-1": stopping(nil, "sigterm", "exit", "sigterm_exit_code", "1"),
	"stop-ignored": func(t *testing.T, name string) result {
		return exited(t, name, 137, stopping([]string{"--grace", "1s"}, "sigterm", "ignore")(t, name))
	},
	"stop-every-signal-ignored": func(t *testing.T, name string) result {
		return exited(t, name, 137, stopping([]string{"--grace", "500ms"}, "sigterm", "ignore_all", "fork", "1")(t, name))
	},
	"stop-kill": func(t *testing.T, name string) result {
		p := begin(t, nil, "train", training(name, "sleep", "5m", "sigterm", "ignore").file(t))
		spoke(t, name)
		ok(t, "stop", "--kill", name)
		return exited(t, name, 137, p.wait(t))
	},
	"stop-main-process-only": func(t *testing.T, name string) result {
		// A child of the same process group has no handler: it would end, and say nothing. The main one waits a moment, so
		// that it can be seen.
		p := begin(t, nil, "train", "--quiet", training(name, "fork", "1", "sleep", "5m", "sigterm", "exit", "sigterm_delay", "1s").file(t))
		pid := running(t, name)
		spoke(t, name)
		var child int
		eventually(t, "the child", func() bool { child = childOf(pid); return child != 0 })
		ok(t, "stop", "--no-wait", name)
		eventually(t, "SIGTERM", func() bool { return strings.Contains(log(t, name), `"signal"`) })
		if err := unix.Kill(child, 0); err != nil {
			t.Errorf("the child was signalled: %v", err)
		}
		return p.wait(t)
	},
	"stop-signal-of-the-image": func(t *testing.T, name string) result {
		d := training(name, "sleep", "5m", "sigterm", "save")
		d["AlgorithmSpecification"].(doc)["TrainingImage"] = image(t, "optml.test/stopsignal:1", images.Options{StopSignal: "SIGINT"})
		p := begin(t, nil, "train", "--quiet", d.file(t))
		spoke(t, name)
		ok(t, "stop", name)
		return exited(t, name, 0, p.wait(t)) // SIGINT would have been 2 of the Go runtime
	},
	"stop-while-downloading": func(t *testing.T, name string) result {
		srv, env := hanging(t)
		p := begin(t, env, "train", "--quiet", downloading(name).file(t))
		requested(t, srv)
		if r := begin(t, env, "stop", name).wait(t); r.code != 0 {
			t.Errorf("%s", r)
		}
		r := p.wait(t)
		neverStarted(t, srv, name)
		return r
	},
	"max-runtime": func(t *testing.T, name string) result {
		d := training(name, "sleep", "5m", "sigterm", "save")
		d["StoppingCondition"] = doc{"MaxRuntimeInSeconds": 1}
		r := optml(t, "train", "--quiet", d.file(t))
		if f := modelOf(t, name); string(f["saved.txt"]) != "saved on SIGTERM\n" {
			t.Errorf("model.tar.gz holds %v", slices.Collect(maps.Keys(f)))
		}
		return exited(t, name, 0, r)
	},
	"max-runtime-while-downloading": func(t *testing.T, name string) result {
		srv, env := hanging(t)
		d := downloading(name)
		d["StoppingCondition"] = doc{"MaxRuntimeInSeconds": 1}
		r := begin(t, env, "train", "--quiet", d.file(t)).wait(t)
		neverStarted(t, srv, name)
		return r
	},
	"spot-interruption": func(t *testing.T, name string) result {
		return optml(t, "train", "--quiet", "--spot-interrupt-after", "500ms", training(name, "sleep", "5m", "sigterm", "exit", "sigterm_exit_code", "3").file(t))
	},

	"owner-killed": func(t *testing.T, name string) result {
		p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m").file(t))
		running(t, name)
		_ = p.Process.Kill()
		p.wait(t)
		ok(t, "prune")
		return result{code: *record(t, name).ExitCode}
	},
	"end-not-seen": func(t *testing.T, name string) result {
		p := begin(t, nil, "train", "--quiet", training(name, "sleep", "5m").file(t))
		spoke(t, name)
		kill9(t, "shim", name)
		return p.wait(t)
	},

	// A stopped transform leaves no output (ruling 16, INF-7, BT-142).
	"transform-stopped": func(t *testing.T, name string) result {
		put(t, "data", "two/a.csv", "a\n", "two/b.csv", "b\n")
		d := transforming(name, "s3://data/two/")
		d["MaxConcurrentTransforms"] = 2
		// The first object is answered at once, the second hangs.
		p := begin(t, nil, "transform", "--quiet", "--model-doc", modelDoc("", "TINY_FAIL_IF", "b", "TINY_FAIL_HOW", "hang").file(t), d.file(t))
		running(t, name)
		eventually(t, "both requests", func() bool { return strings.Count(log(t, name), "POST") == 2 })
		ok(t, "stop", name)
		if got := keys(t, "out", "transform/"+name); len(got) != 0 {
			t.Errorf("outputs %v", got)
		}
		return p.wait(t)
	},
	"transform-stop-ignored": func(t *testing.T, name string) result {
		put(t, "data", "one/x.csv", "x\n")
		p := begin(t, nil, "transform", "--quiet", "--grace", "1s", "--model-doc", modelDoc("", "TINY_SIGTERM", "ignore", "TINY_INVOKE", "hang").file(t), transforming(name, "s3://data/one/").file(t))
		running(t, name)
		eventually(t, "the request", func() bool { return strings.Contains(log(t, name), "POST") })
		ok(t, "stop", name)
		if got := keys(t, "out", "transform/"+name); len(got) != 0 {
			t.Errorf("outputs %v", got)
		}
		return exited(t, name, 137, p.wait(t))
	},
	"transform-ping":    transformed("1s", "TINY_PING_STATUS", "500"),
	"transform-objects": transformed("30m", "TINY_STATUS", "400"),
}

// slow are rows that take more than a second or two; they are of the full tier.
var slow = []string{"volume-full"}

// TestEnds brings about every end of harness.Ends in real containers and holds the record against what the table says,
// which docs/fidelity.md prints: status, secondary status, FailureReason, exit code (END-1 to END-4, FAIL-1 to FAIL-4,
// STOP-1 to STOP-9, OUT-5, acceptance checks 7 and 8).
func TestEnds(t *testing.T) {
	sameHost(t)
	rows := map[string]bool{}
	for _, e := range harness.Ends() {
		if rows[e.Name] {
			t.Errorf("%s is there twice", e.Name)
		}
		rows[e.Name] = true
		bring := brought[e.Name]
		if bring == nil {
			t.Errorf("%s has no end-to-end test", e.Name)
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			if slices.Contains(slow, e.Name) && !full {
				t.Skip("of the full tier: OPTML_FULL=1")
			}
			name := jobName(clipped(e.Name))
			r := bring(t, name)
			holds(t, e, name, r)
		})
	}
	for name := range brought {
		if !rows[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// holds compares what is on record with the table.
func holds(t *testing.T, e harness.End, name string, r result) {
	t.Helper()
	want, s := e.Ending.Outcome(), record(t, name)
	if !s.Final || s.Status != want.Status || s.Secondary != want.Secondary || r.code != *want.ExitCode || s.ExitCode == nil || *s.ExitCode != r.code {
		t.Errorf("%s/%s, exit code %d, want %s/%s, %d\n%s (%s)\n%s", s.Status, s.Secondary, r.code, want.Status, want.Secondary, *want.ExitCode, s.FailureReason, s.Detail, r)
	}
	// The test server has words of its own.
	if got := strings.ReplaceAll(s.FailureReason, "injected 403", "Access Denied"); got != want.FailureReason {
		t.Errorf("FailureReason %q, want %q (%s)", got, want.FailureReason, s.Detail)
	}
	if want.Status == "Failed" && s.Detail == "" {
		t.Error("no sentence of optml's own")
	}
	var walk []string
	for i, x := range s.Transitions {
		walk = append(walk, x.Status)
		if x.StartTime.IsZero() || x.StatusMessage == "" || i > 0 && (x.StartTime.Before(s.Transitions[i-1].StartTime) || s.Transitions[i-1].EndTime.IsZero()) {
			t.Errorf("LIFE-1: %+v", s.Transitions)
		}
	}
	if s.Status == "Stopped" && e.Name != "spot-interruption" && !slices.Contains(walk, "Stopping") { // STOP-2
		t.Errorf("transitions %v", walk)
	}
	if e.Name == "spot-interruption" && !slices.Equal(walk, []string{"Starting", "Downloading", "Training", "Interrupted", "Uploading", "Stopped"}) {
		t.Errorf("transitions %v", walk)
	}
	if s.Kind == job.KindTraining && len(s.Containers) > 0 && !slices.Contains(walk, "Uploading") { // OUT-5, STOP-3
		t.Errorf("nothing was uploaded: %v", walk)
	}
}

func clipped(s string) string { return s[:min(len(s), 40)] }

// trained is a training of the tiny image whose model arrives whatever its end (OUT-5).
func trained(hp ...string) ending {
	return func(t *testing.T, name string) result {
		r := optml(t, "train", "--quiet", training(name, hp...).file(t))
		if f := modelOf(t, name); string(f["model.txt"]) != "tiny\n" {
			t.Errorf("model.tar.gz holds %v", slices.Collect(maps.Keys(f)))
		}
		return r
	}
}

// started is a training of a variant of the image, which is not to run.
func started(o images.Options, entrypoint ...string) ending {
	return func(t *testing.T, name string) result {
		d := training(name)
		spec := d["AlgorithmSpecification"].(doc)
		spec["TrainingImage"] = image(t, "optml.test/variant:1", o)
		if entrypoint != nil {
			spec["ContainerEntrypoint"] = entrypoint
		}
		return optml(t, "train", "--quiet", d.file(t))
	}
}

// stopping is a training that a second terminal stops. Its model arrives.
func stopping(flags []string, hp ...string) ending {
	return func(t *testing.T, name string) result {
		args := append([]string{"train", "--quiet"}, flags...)
		p := begin(t, nil, append(args, training(name, append(hp, "sleep", "5m")...).file(t))...)
		spoke(t, name)
		ok(t, "stop", name) // it returns when the job has ended
		if f := modelOf(t, name); string(f["model.txt"]) != "tiny\n" {
			t.Errorf("model.tar.gz holds %v", slices.Collect(maps.Keys(f)))
		}
		return p.wait(t)
	}
}

// transformed is a transform of one object.
func transformed(ping string, env ...string) ending {
	return func(t *testing.T, name string) result {
		put(t, "data", "one/x.csv", "x\n")
		return optml(t, "transform", "--quiet", "--ping-timeout", ping, "--model-doc", modelDoc("", env...).file(t), transforming(name, "s3://data/one/").file(t))
	}
}

func withChannel(t *testing.T, env []string, name string, c doc, hp ...string) result {
	t.Helper()
	d := training(name, hp...)
	d["InputDataConfig"] = []doc{c}
	return begin(t, env, "train", "--quiet", d.file(t)).wait(t)
}

// exited holds how the main process ended.
func exited(t *testing.T, name string, code int, r result) result {
	t.Helper()
	if s := record(t, name); len(s.Containers) != 1 || s.Containers[0].Exited == nil || s.Containers[0].Exited.Code != code {
		t.Errorf("the process did not end with %d: %+v", code, s.Containers)
	}
	return r
}

// kept holds that an artifact that could not be uploaded is still here, at the place that the record tells.
func kept(t *testing.T, name, file string) {
	t.Helper()
	for _, u := range record(t, name).Uploads {
		if u.Artifact == "model" && u.Kept != "" {
			if _, err := os.Stat(filepath.Join(u.Kept, file)); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("no model was kept: %+v", record(t, name).Uploads)
}

// refusing is a store that answers 403 to requests for keys of this prefix.
func refusing(t *testing.T, method, prefix string) (*s3test.Server, []string) {
	t.Helper()
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Put("data", "train/a.csv", []byte("1\n"))
	f := s3test.Fault{Method: method, Key: prefix, Status: 403, Code: "AccessDenied"}
	srv.Fault(f)
	return srv, env
}

// hanging is a store that never sends an object that it has begun.
func hanging(t *testing.T) (*s3test.Server, []string) {
	t.Helper()
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Put("data", "train/a.csv", make([]byte, 1<<20))
	srv.Fault(s3test.Fault{Method: http.MethodGet, Key: "train/a.csv", HangAt: 1000})
	srv.Record()
	return srv, env
}

func downloading(name string) doc {
	d := training(name)
	d["InputDataConfig"] = []doc{channel("train", "s3://data/train/")}
	return d
}

func requested(t *testing.T, srv *s3test.Server) {
	t.Helper()
	eventually(t, "the download", func() bool {
		return slices.ContainsFunc(srv.Requests(), func(r s3test.Request) bool { return r.Key == "train/a.csv" })
	})
}

func neverStarted(t *testing.T, srv *s3test.Server, name string) {
	t.Helper()
	if s := record(t, name); len(s.Containers) != 0 || len(s.Uploads) != 0 {
		t.Errorf("containers %v, uploads %v", s.Containers, s.Uploads)
	}
	if k := srv.Keys("out"); len(k) != 0 {
		t.Errorf("objects %v", k)
	}
}

// smallDisk mounts a file system of 12 MB over a directory for one test.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("optml-e2e", dir, "tmpfs", 0, "size=12m,mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// limitMemory gives the group of a container's process a limit.
func limitMemory(t *testing.T, pid int, bytes int64) {
	t.Helper()
	for line := range strings.Lines(string(read(fmt.Sprintf("/proc/%d/cgroup", pid)))) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		file := ""
		switch {
		case f[1] == "memory":
			file = filepath.Join("/sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes")
		case f[0] == "0":
			file = filepath.Join("/sys/fs/cgroup", f[2], "memory.max")
		}
		if file != "" && os.WriteFile(file, fmt.Append(nil, bytes), 0) == nil {
			return
		}
	}
	t.Fatalf("process %d is in no group whose memory can be limited", pid)
}

// childOf is a child of a process; 0 if it has none.
func childOf(pid int) (child int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // each thread has its own
	for _, t := range tasks {
		if _, err := fmt.Sscan(string(read(t)), &child); err == nil {
			return child
		}
	}
	return 0
}
