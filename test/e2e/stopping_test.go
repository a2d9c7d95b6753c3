//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/objstore/s3test"
	"github.com/optml/optml/report"
	"github.com/optml/optml/test/images"
)

// shell is an image whose entrypoint is a shell script that starts train and waits for it; lines come before that.
func shell(t *testing.T, ref string, lines ...string) string {
	t.Helper()
	script := strings.Join(append(append([]string{"#!/bin/bash"}, lines...), `/usr/local/bin/train "$@"`, "echo the script has ended"), "\n") + "\n"
	return image(t, ref, images.Options{
		Entrypoint: []string{"/entry.sh"},
		Files:      append(hostPrograms(t, "/bin/bash"), images.File{Name: "/entry.sh", Mode: 0o755, Data: []byte(script)}),
	})
}

// TestRehearsedInterruption holds what is told of an image that handles SIGTERM, of one that ignores it, of one whose
// shell keeps it from the script, and of some between them: each another report, each true (STOP-4, STOP-9).
func TestRehearsedInterruption(t *testing.T) {
	sameHost(t)
	for _, c := range []struct {
		what   string
		image  func(*testing.T) string
		hp     []string
		killed bool
		signal string
		says   []string // in the report's sentences
		never  []string
		model  string // its state
		wrote  bool   // something was written to the model after SIGTERM
		remedy string
	}{
		{"handled", nil, []string{"sigterm", "save"}, false, "reached",
			[]string{"PID 1 (train), the main process, has a handler for SIGTERM; it ended", "with exit code 0", "bytes were printed after SIGTERM", "complete as far as the process is concerned"}, nil, "left", true, ""},
		{"ignored", nil, []string{"sigterm", "ignore"}, true, "ignored",
			[]string{"PID 1 (train), the main process, ignores SIGTERM; it still ran", "and was killed", "Nothing was printed after SIGTERM", "no file was open for writing when the kill came"}, nil, "quiet", false, "handle SIGTERM in the script"},
		{"swallowed by a shell", func(t *testing.T) string { return shell(t, "optml.test/shell:1") }, []string{"sigterm", "save"}, true, "swallowed",
			[]string{"PID 1 (/bin/bash /entry.sh train), the main process, has no handler for SIGTERM, and the kernel discards a signal for which PID 1 has none; it still ran",
				"(/usr/local/bin/train train) would have handled it, but SageMaker signals the main process only", "Nothing was printed after SIGTERM"}, nil, "quiet", false, "start the script with exec"},

		{"exec instead of a shell", func(t *testing.T) string { return shell(t, "optml.test/exec:1", `exec /usr/local/bin/train "$@"`) }, []string{"sigterm", "save"}, false, "reached",
			[]string{"PID 1 (/usr/local/bin/train train), the main process, has a handler", "with exit code 0"}, []string{"bash"}, "left", true, ""},
		{"a trap that waits for the script", func(t *testing.T) string { return shell(t, "optml.test/trap:1", "trap 'echo trapped' TERM") }, []string{"sigterm", "save"}, true, "not in time",
			[]string{"has a handler for SIGTERM; it still ran", "which has a handler too, is not signalled by SageMaker"}, nil, "quiet", false, "a shell runs its trap only when the command that it waits for has ended"},
		{"too slow, in the middle of a file", nil, []string{"sigterm", "save", "sigterm_delay", "1m", "model_open", "1"}, true, "not in time",
			[]string{"has a handler for SIGTERM; it still ran", "unfinished: when the kill came, open for writing were partial.bin"}, nil, "unfinished", false, "end within the grace"},
		{"nothing saved", nil, []string{"sigterm", "ignore", "model", "none"}, true, "ignored", []string{"empty: nothing had been saved"}, nil, "empty", false, "handle SIGTERM"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel() // most of the time they wait for the grace to be over
			name := jobName("rehearsal")
			d := training(name, append(c.hp, "sleep", "5m")...)
			d["EnableManagedSpotTraining"] = true
			d["StoppingCondition"] = doc{"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
			if c.image != nil {
				d["AlgorithmSpecification"].(doc)["TrainingImage"] = c.image(t)
			}
			r := expect(t, 6, "train", "--quiet", "--spot-interrupt-after", "2s", "--grace", "1s", d.file(t))
			for _, s := range c.says {
				if !strings.Contains(r.stdout, s) {
					t.Errorf("not told: %q", s)
				}
			}
			for _, s := range c.never {
				if strings.Contains(r.stdout, s) {
					t.Errorf("told: %q", s)
				}
			}
			i := decode[report.Report](t, []byte(ok(t, "report", name, "--output", "json").stdout)).Interruption
			if i == nil {
				t.Fatalf("no interruption is on record: %s", r)
			}
			if i.Signal != c.signal || i.Killed != c.killed || !strings.HasPrefix(i.Remedy, c.remedy) || c.remedy == "" != (i.Remedy == "") {
				t.Errorf("%+v", i)
			}
			if len(i.Saved) != 1 || i.Saved[0].What != "model" || i.Saved[0].State != c.model || (i.Saved[0].Written > 0) != c.wrote {
				t.Errorf("%+v", i.Saved)
			}
			if s := record(t, name); s.Status != "Stopped" || s.Containers[0].Exited.Code == 137 != c.killed {
				t.Errorf("%s, %+v", s.Status, s.Containers)
			}
			if t.Failed() {
				t.Log(r)
			}
		})
	}
}

// TestRehearsalComesTooLate holds that a job that ends before its interruption ends as it would.
func TestRehearsalComesTooLate(t *testing.T) {
	sameHost(t)
	name := jobName("rehearsal")
	r := ok(t, "train", "--spot-interrupt-after", "1h", training(name).file(t))
	if !strings.Contains(r.stderr, "nothing was interrupted") || record(t, name).Interruption != nil {
		t.Errorf("%s", r)
	}
	expect(t, 2, "train", "--spot-interrupt-after", "0s", training(name).file(t))
}

// TestTenThousandProcesses holds that a container that forks so many ends as it says, with all of them, and that one
// that wants more than its share is refused them, while the host goes on (START-16).
func TestTenThousandProcesses(t *testing.T) {
	sameHost(t)
	name, n := jobName("many"), "2000" // which takes two seconds
	if full {
		n = "10000"
	}
	began := time.Now()
	expect(t, 3, "train", "--quiet", training(name, "processes", n, "exit_code", "7").file(t))
	t.Logf("%s processes came and went in %v", n, time.Since(began))
	if s := record(t, name); s.FailureReason != "AlgorithmError: , exit code: 7" {
		t.Errorf("%s: %s", s.FailureReason, s.Detail)
	}
	if !strings.Contains(log(t, name), `{"processes":`+n+`}`) {
		t.Errorf("log %s", log(t, name))
	}
	if !full {
		return
	}
	name = jobName("many")
	if r := begin(t, nil, "train", "--quiet", training(name, "processes", "1000000").file(t)).waitFor(t, 3*commandTime); r.code != 0 {
		t.Fatal(r)
	}
	said := decode[struct {
		Processes int
		Error     string
	}](t, modelOf(t, name)["processes.json"])
	if said.Error == "" || said.Processes < 10000 {
		t.Errorf("%+v", said)
	}
}

// TestFullShm holds that a script that fills /dev/shm gets ENOSPC, and its job the truth (START-12).
func TestFullShm(t *testing.T) {
	sameHost(t)
	name := jobName("shm")
	expect(t, 3, "train", "--quiet", "--shm-size", "8MiB", training(name, "shm_mb", "20").file(t))
	if s := record(t, name); s.FailureReason != "AlgorithmError: write /dev/shm/full: no space left on device, exit code: 15" {
		t.Errorf("%s: %s", s.FailureReason, s.Detail)
	}
	ok(t, "train", "--quiet", "--shm-size", "24MiB", training(jobName("shm"), "shm_mb", "20").file(t))
}

// TestUnpackedArtifacts holds CompressionType NONE (OUT-6): each file is an object, a model of them serves, and after a
// failure in the middle none is left while all is kept.
func TestUnpackedArtifacts(t *testing.T) {
	sameHost(t)
	name := jobName("unpacked")
	d := training(name, "model_mb", "2", "model_files", "4", "model_symlink", "model.txt", "model_fifo", "1", "output", "result", "exit_code", "3")
	d["OutputDataConfig"] = doc{"S3OutputPath": "s3://out/training/", "CompressionType": "NONE"}
	expect(t, 3, "train", "--quiet", d.file(t)) // a failed job's are uploaded too (OUT-5)
	want := []string{"output/data/result.txt", "output/model/link", "output/model/model.txt", "output/model/started.json",
		"output/model/weights-0000.bin", "output/model/weights-0001.bin", "output/model/weights-0002.bin", "output/model/weights-0003.bin"}
	if got := keys(t, "out", "training/"+name); !slices.Equal(got, want) {
		t.Errorf("objects %v, want %v", got, want)
	}
	if b := object(t, "out", "training/"+name+"/output/model/link"); string(b) != "tiny\n" { // objects have no links (OUT-8)
		t.Errorf("link is %q", b)
	}
	told := decode[struct {
		ModelArtifacts struct{ S3ModelArtifacts string }
	}](t, []byte(ok(t, "describe", name, "--output", "json").stdout))
	if told.ModelArtifacts.S3ModelArtifacts != "s3://out/training/"+name+"/output/model" {
		t.Errorf("%+v", told)
	}

	put(t, "data", "one/x.csv", "x\n", "train/a.csv", "1\n")
	a := algorithm(jobName("unpacked-alg"), "s3://data/one/", nil, []string{"TINY_REQUIRE_MODEL", "model.txt"})
	v := a["ValidationSpecification"].(doc)["ValidationProfiles"].([]doc)[0]["TrainingJobDefinition"].(doc)
	v["OutputDataConfig"] = doc{"S3OutputPath": "s3://out/validate", "CompressionType": "NONE"}
	v["StoppingCondition"] = doc{"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 3600} // taken in a profile (VAL-11)
	ok(t, "validate", "--quiet", a.file(t))

	name = jobName("unpacked")
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Fault(s3test.Fault{Method: http.MethodPut, Key: "training/" + name + "/output/model/weights-0002", Status: 403, Code: "AccessDenied"})
	d["TrainingJobName"] = name
	r := begin(t, env, "train", "--quiet", d.file(t)).wait(t)
	if k := srv.Keys("out"); r.code != 3 || slices.ContainsFunc(k, func(k string) bool { return strings.Contains(k, "/output/model/") }) {
		t.Errorf("half a model is there: %v\n%s", k, r)
	}
	kept(t, name, "weights-0002.bin")
}

// TestCrashWhileUploadingFiles holds that whoever recovers a job whose owner died between two files uploads them all.
func TestCrashWhileUploadingFiles(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	name := jobName("unpacked")
	d := training(name, "model_mb", "2", "model_files", "4")
	d["OutputDataConfig"] = doc{"S3OutputPath": "s3://out/training/", "CompressionType": "NONE"}
	srv.Fault(s3test.Fault{Method: http.MethodPut, Key: "training/" + name + "/output/model/weights-0003", Times: 1, Hang: true})
	p := begin(t, env, "train", "--quiet", d.file(t))
	eventually(t, "some of the files", func() bool { return len(srv.Keys("out")) >= 3 })
	_ = p.Process.Kill()
	p.wait(t)
	if r := begin(t, env, "prune").wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if k := srv.Keys("out"); len(k) != 6 || srv.Uploads() != 0 || record(t, name).Status != "Completed" {
		t.Errorf("%v, %s", k, record(t, name).Status)
	}
}

// TestWaitingTime holds what is said of MaxWaitTimeInSeconds without spot training, in the service's words.
func TestWaitingTime(t *testing.T) {
	d := training(jobName("spot"))
	d["StoppingCondition"] = doc{"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
	r := expect(t, 2, "train", d.file(t))
	if !strings.Contains(r.stderr, "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true") {
		t.Errorf("%s", r)
	}
}

// TestMemoryOfUnpackedArtifacts holds that the owner's memory is bounded while it uploads files of any number and size as
// they are (OUT-6): one large one, and many that fit into the parts of an upload.
func TestMemoryOfUnpackedArtifacts(t *testing.T) {
	if !full {
		t.Skip("of the full tier: OPTML_FULL=1")
	}
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	for _, files := range []string{"1", "20", "30", "2000"} {
		name := jobName("unpacked")
		d := training(name, "model_mb", "300", "model_files", files)
		d["OutputDataConfig"] = doc{"S3OutputPath": "s3://out/training/", "CompressionType": "NONE"}
		p := begin(t, env, "train", "--quiet", d.file(t))
		peak := watchOwner(p.Process.Pid)
		if r := p.wait(t); r.code != 0 {
			t.Fatal(r)
		}
		if n := peak(); n > 128<<20 {
			t.Errorf("%s files: the owner took %d MiB", files, n>>20)
		} else {
			t.Logf("%s files: the owner took %d MiB", files, n>>20)
		}
	}
}
