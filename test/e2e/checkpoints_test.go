//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/objstore/s3test"
)

// withCheckpoints is a training that writes checkpoints to a folder of bucket "out".
func withCheckpoints(name, folder string, hp ...string) doc {
	d := training(name, hp...)
	d["CheckpointConfig"] = doc{"S3Uri": "s3://out/checkpoints/" + folder}
	return d
}

// quick syncs often enough for a test.
var quick = []string{"--quiet", "--checkpoint-interval", "100ms"}

func trainQuick(file string) []string { return append([]string{"train", file}, quick...) }

// TestCheckpointsRestoredAndSynced: S3Uri's objects are there before the start, under network isolation too; what the
// image writes is in S3 while it runs, what it removes is removed there, what others add stays and does not come; a file
// that is being written is not there before the end (CKP-1, CKP-2, CKP-4, CKP-5).
func TestCheckpointsRestoredAndSynced(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	srv.Put("out", "checkpoints/a/step-2", []byte("two"))
	srv.Put("out", "checkpoints/ab/no", []byte("a neighbour's"))
	srv.Record()
	name := jobName("checkpoints")
	d := withCheckpoints(name, "a", "checkpoints", "4", "checkpoint_keep", "2", "checkpoint_growing", "1", "sleep", "1m", "sigterm", "save")
	p := begin(t, env, trainQuick(d.file(t))...)
	below := func() []string {
		return slices.DeleteFunc(srv.Keys("out"), func(k string) bool { return !strings.HasPrefix(k, "checkpoints/a/") })
	}
	eventually(t, "the sync", func() bool {
		return slices.Equal(below(), []string{"checkpoints/a/step-3", "checkpoints/a/step-4"})
	})
	srv.Put("out", "checkpoints/a/others", []byte("o"))
	if r := begin(t, env, "stop", name).wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if r := p.wait(t); r.code != 6 {
		t.Errorf("%s", r)
	}
	want := []string{"checkpoints/a/growing", "checkpoints/a/others", "checkpoints/a/step-3", "checkpoints/a/step-4"}
	if got := below(); !slices.Equal(got, want) {
		t.Errorf("after the end: %v", got)
	}
	if !strings.Contains(log(t, name), `{"resumed":2}`) {
		t.Errorf("%s", log(t, name))
	}
	puts := 0
	for _, r := range srv.Requests() {
		if r.Method == "PUT" && strings.HasPrefix(r.Key, "checkpoints/") {
			puts++
		}
	}
	if puts != 3 { // step-3, step-4, growing: what does not change goes up once, what was restored never
		t.Errorf("%d uploads", puts)
	}
	if n := srv.Uploads(); n != 0 {
		t.Errorf("%d uploads are open", n)
	}
}

// TestCheckpointsAtAnotherPath: LocalPath need not be below /opt/ml, and what is no place for it is refused.
func TestCheckpointsAtAnotherPath(t *testing.T) {
	sameHost(t)
	name := jobName("elsewhere")
	d := withCheckpoints(name, name, "checkpoints", "2", "exit_code", "3")
	d["CheckpointConfig"].(doc)["LocalPath"] = "/var/check points/ü"
	expect(t, 3, trainQuick(d.file(t))...) // a failed job's are uploaded too
	if got := keys(t, "out", "checkpoints/"+name); !slices.Equal(got, []string{"step-1", "step-2"}) {
		t.Errorf("%v", got)
	}
	d["CheckpointConfig"].(doc)["LocalPath"] = "/opt/ml/model/checkpoints"
	if r := expect(t, 2, trainQuick(d.file(t))...); !strings.Contains(r.stderr, "CheckpointConfig.LocalPath") {
		t.Errorf("%s", r)
	}
}

// TestResumeOfAnInterruptedJob: the owner is killed, the next command tells the truth, and --resume begins another attempt
// under the same name behind the last checkpoint, with an empty /opt/ml/model (training 6.4).
func TestResumeOfAnInterruptedJob(t *testing.T) {
	sameHost(t)
	name := jobName("interrupted")
	d := withCheckpoints(name, name, "checkpoints", "8", "checkpoint_interval", "200ms", "output", "text", "stdout_mb", "1")
	p := begin(t, nil, trainQuick(d.file(t))...)
	running(t, name)
	eventually(t, "the third checkpoint", func() bool { return strings.Contains(log(t, name), `{"checkpoint":3}`) })
	_ = p.Process.Kill()
	p.wait(t)
	expect(t, 2, "train", "--resume", name, "--name", "other") // what it is, is on record
	r := ok(t, "train", "--resume", name)
	if !strings.Contains(r.stderr, "recovered training/"+name) || !strings.Contains(r.stderr, "attempt 2, with the checkpoints of s3://out/checkpoints/"+name) {
		t.Errorf("%s", r)
	}
	if strings.Count(r.stderr, `{"resumed":`) != 1 || strings.Contains(r.stderr, `{"resumed":0}`) {
		t.Errorf("the logs are not the second attempt's alone: %.3000s", r.stderr)
	}
	s := record(t, name)
	if s.Status != "Completed" || s.Attempt() != 2 || s.Attempts[0].Status != "Failed" || !strings.Contains(s.Attempts[0].Detail, "died in step") {
		t.Errorf("%s %+v", s.Status, s.Attempts)
	}
	f := modelOf(t, name)
	if n := string(f["resumed.txt"]); n < "3" {
		t.Errorf("resumed behind step %q", n)
	}
	var seq []string
	for _, x := range s.Transitions {
		seq = append(seq, x.Status)
	}
	if !strings.Contains(strings.Join(seq, " "), "Interrupted Starting Downloading Training Uploading Completed") {
		t.Errorf("%v", seq)
	}
	if got := keys(t, "out", "checkpoints/"+name); len(got) != 8 {
		t.Errorf("%v", got)
	}
	first := filepath.Join(w.root, "jobs/training", name, "attempts/1/logs/algo-1.log")
	if !strings.Contains(string(read(first)), `{"resumed":0}`) {
		t.Errorf("%s does not hold the first attempt's log", first)
	}
	if r := ok(t, "describe", name); !strings.Contains(r.stdout, "Attempt") {
		t.Errorf("%s", r)
	}
	if r := expect(t, 2, "train", "--resume", name); !strings.Contains(r.stderr, "nothing to resume") {
		t.Errorf("%s", r)
	}
	ok(t, "rm", name)
}

// TestResumeOfAStoppedJob: in the background too; the request to stop the first attempt does not stop the second.
func TestResumeOfAStoppedJob(t *testing.T) {
	sameHost(t)
	name := jobName("stopped")
	d := withCheckpoints(name, name, "checkpoints", "4", "checkpoint_interval", "300ms", "sigterm", "exit")
	p := begin(t, nil, trainQuick(d.file(t))...)
	running(t, name)
	eventually(t, "a checkpoint", func() bool { return strings.Contains(log(t, name), `{"checkpoint":1}`) })
	ok(t, "stop", name)
	if r := p.wait(t); r.code != 6 {
		t.Errorf("%s", r)
	}
	ok(t, "train", "--resume", name, "--detach")
	eventually(t, "its end", func() bool { s := record(t, name); return s.Final && s.Attempt() == 2 })
	if s := record(t, name); s.Status != "Completed" {
		t.Errorf("%s: %s %s", s.Status, s.FailureReason, s.Detail)
	}
	if n := string(modelOf(t, name)["resumed.txt"]); n < "1" {
		t.Errorf("resumed behind step %q", n)
	}
	eventually(t, "its owner to go", func() bool { return optml(t, "rm", name).code == 0 })
}

// TestResumeIsKilled kills who carries the second attempt out in steps of it: the record tells the truth, the host is as
// before, and a third attempt completes.
func TestResumeIsKilled(t *testing.T) {
	sameHost(t)
	name := jobName("thrice")
	before := takeHost()
	expect(t, 3, trainQuick(withCheckpoints(name, name, "checkpoints", "2", "sleep", "200ms", "exit_code", "3").file(t))...)
	steps := []string{"layout", "restore!", "wait+50ms", "checkpoints", "upload!"}
	if !full {
		steps = []string{"restore!", "wait+50ms"}
	}
	for i, at := range steps {
		if r := begin(t, []string{"OPTML_FAIL=" + at}, "train", "--resume", name, "--quiet").wait(t); r.code != 137 {
			t.Fatalf("%s", r)
		}
		if s := record(t, name); s.Final || s.Attempt() != i+2 {
			t.Errorf("%s: attempt %d is %s", at, s.Attempt(), s.Status)
		}
		ok(t, "prune")
		equalHost(t, before, at)
		s := record(t, name)
		if seen := len(s.Containers) > 0 && s.Containers[0].Exited != nil; s.Status != "Failed" || !seen && !strings.Contains(s.Detail, "died in step") {
			t.Errorf("%s: %s %s (%s)", at, s.Status, s.FailureReason, s.Detail)
		}
		if got := keys(t, "out", "checkpoints/"+name); !slices.Equal(got, []string{"step-1", "step-2"}) {
			t.Errorf("%s: %v", at, got)
		}
	}
	expect(t, 3, "train", "--resume", name, "--quiet")
	if s := record(t, name); s.Attempt() != len(steps)+2 || s.FailureReason != "AlgorithmError: , exit code: 3" {
		t.Errorf("attempt %d: %s", s.Attempt(), s.FailureReason)
	}
	if n := string(modelOf(t, name)["resumed.txt"]); n != "2" {
		t.Errorf("resumed behind step %q", n)
	}
}

// TestCrashWhileUploadingCheckpoints: the owner is killed while a large checkpoint goes up. No upload stays open, what
// others have under way below the same prefix is not touched (CKP-3), and the checkpoint arrives.
func TestCrashWhileUploadingCheckpoints(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	name := jobName("cut-off")
	srv.Fault(s3test.Fault{Method: "PUT", Key: "checkpoints/shared/step-1", Latency: 300 * time.Millisecond})
	d := withCheckpoints(name, "shared", "checkpoints", "1", "checkpoint_kb", "60000", "sleep", "5m")
	killWhileUploading(t, srv, env, trainQuick(d.file(t))...)
	theirs := srv.Uploads()
	other, err := http.NewRequest(http.MethodPost, env1(env, "AWS_ENDPOINT_URL_S3")+"/out/checkpoints/shared/theirs?uploads", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(other)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if srv.Uploads() != theirs+1 {
		t.Fatalf("another's upload is not open: %s", resp.Status)
	}
	if r := begin(t, env, "prune").wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if n := srv.Uploads(); n != 1 {
		t.Errorf("%d uploads are open, want the other's alone", n)
	}
	if b, _, _ := srv.Get("out", "checkpoints/shared/step-1"); len(b) != 60000<<10 {
		t.Errorf("the checkpoint has %d bytes", len(b))
	}
	if s := record(t, name); s.Status != "Failed" || len(s.Kept()) != 0 {
		t.Errorf("%s %+v", s.Status, s.Kept())
	}
}

// TestCheckpointsMemory: the owner's memory is bounded whatever the checkpoints' size (ruling 23).
func TestCheckpointsMemory(t *testing.T) {
	if !full {
		t.Skip("half a gigabyte of checkpoints")
	}
	sameHost(t)
	srv, env := store(t)
	srv.MakeBucket("out")
	name := jobName("large")
	p := begin(t, env, trainQuick(withCheckpoints(name, "large", "checkpoints", "4", "checkpoint_kb", "130000").file(t))...)
	most := watchOwner(p.Process.Pid)
	if r := p.wait(t); r.code != 0 {
		t.Fatal(r)
	}
	if n := most(); n > 160e6 { // 64 MiB of parts under way, one that is filled, and what is not yet collected
		t.Errorf("the owner had %d MB", n/1e6)
	} else {
		t.Logf("the owner had %d MB", n/1e6)
	}
}

// env1 is a variable of an environment.
func env1(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// TestRetryStrategy: an InternalServerError (here the shim is killed) is tried again, at Starting, with the checkpoints
// (RETRY-1); the algorithm's own failure is not.
func TestRetryStrategy(t *testing.T) {
	sameHost(t)
	name := jobName("retried")
	d := withCheckpoints(name, name, "checkpoints", "4", "checkpoint_interval", "300ms")
	d["RetryStrategy"] = doc{"MaximumRetryAttempts": 2}
	p := begin(t, nil, "train", d.file(t), "--checkpoint-interval", "100ms")
	running(t, name)
	eventually(t, "a checkpoint", func() bool { return strings.Contains(log(t, name), `{"checkpoint":1}`) })
	kill9(t, "shim", name)
	r := p.wait(t)
	s := record(t, name)
	if r.code != 0 || s.Attempt() != 2 || s.Status != "Completed" {
		t.Errorf("attempt %d %s\n%s", s.Attempt(), s.Status, r)
	}
	if n := string(modelOf(t, name)["resumed.txt"]); n < "1" {
		t.Errorf("resumed behind step %q", n)
	}
	if !strings.Contains(r.stderr, `{"checkpoint":4}`) {
		t.Errorf("the second attempt's log is not shown: %s", r)
	}
	name = jobName("not-retried")
	d = training(name, "exit_code", "1")
	d["RetryStrategy"] = doc{"MaximumRetryAttempts": 2}
	expect(t, 3, "train", "--quiet", d.file(t))
	if s := record(t, name); s.Attempt() != 1 {
		t.Errorf("%d attempts", s.Attempt())
	}
}

// TestS3GoesAway: the store is gone when the model is uploaded. It is tried again, then the model is kept, the message
// says where and how it is uploaded later, nothing removes it meanwhile, and it arrives.
func TestS3GoesAway(t *testing.T) {
	sameHost(t)
	srv, env := store(t)
	env = append(env, "OPTML_S3_ATTEMPTS=3")
	srv.MakeBucket("out")
	name := jobName("gone")
	p := begin(t, env, append(trainQuick(withCheckpoints(name, name, "checkpoints", "1", "output", "text", "sleep", "700ms").file(t)), "--name", name)...)
	running(t, name)
	srv.Record()
	srv.Fault(s3test.Fault{Reset: true})
	r := p.wait(t)
	s := record(t, name)
	if r.code != 4 || s.Status != "Failed" || !strings.HasPrefix(s.FailureReason, "ClientError: Artifact upload failed:") {
		t.Errorf("%s %s\n%s", s.Status, s.FailureReason, r)
	}
	work := filepath.Join(w.root, "jobs/training", name, "work/algo-1")
	if !strings.Contains(r.stderr, "kept in "+work+"/model") || !strings.Contains(r.stderr, "`optml upload "+name+"`") {
		t.Errorf("%s", r)
	}
	if n := len(srv.Requests()); n < 9 || n > 200 { // each artifact is tried several times, and not for ever
		t.Errorf("%d requests", n)
	}
	if len(s.Kept()) != 3 {
		t.Errorf("%+v", s.Kept())
	}
	if r := begin(t, env, "upload", name).wait(t); r.code == 0 || len(s.Kept()) != 3 {
		t.Errorf("%s", r)
	}
	for _, args := range [][]string{{"rm", name}, {"train", "--resume", name}, {"train", "--replace", training(name).file(t)}} {
		if r := begin(t, env, args...).wait(t); r.code == 0 || !strings.Contains(r.stderr, "only copy") {
			t.Errorf("%s", r)
		}
	}
	if r := begin(t, env, "prune", "--older-than", "0s").wait(t); !strings.Contains(r.stderr, "only copy of its") {
		t.Errorf("%s", r)
	}
	srv.ClearFaults()
	if r := begin(t, env, "upload", name).wait(t); r.code != 0 || strings.Count(r.stderr, "uploaded to") != 3 {
		t.Errorf("%s", r)
	}
	b, _, _ := srv.Get("out", "training/"+name+"/output/model.tar.gz")
	if f := unpack(t, b); f["resumed.txt"] == nil {
		t.Error("the model lacks its files")
	}
	for _, k := range []string{"training/" + name + "/output/output.tar.gz", "checkpoints/" + name + "/step-1"} {
		if _, _, there := srv.Get("out", k); !there {
			t.Errorf("there is no %s", k)
		}
	}
	if _, err := os.Stat(filepath.Dir(work)); err == nil {
		t.Error("the kept copies are still there")
	}
	if r := begin(t, env, "rm", name).wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
}

// TestPipeReaderOwnerKilled: whoever reads a Pipe channel whose owner was killed is killed, never ends well, and its job is
// never Completed (D11, ruling 8).
func TestPipeReaderOwnerKilled(t *testing.T) {
	sameHost(t)
	put(t, "data", "endless/a.bin", strings.Repeat("x", 8<<20))
	for i := range 3 {
		name := jobName("pipe-orphan")
		d := training(name, "channels", "sha256", "epochs", "100000")
		c := channel("train", "s3://data/endless/")
		c["InputMode"] = "Pipe"
		d["InputDataConfig"] = []doc{c}
		p := begin(t, nil, "train", "--quiet", d.file(t))
		spoke(t, name)
		if err := p.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.wait(t)
		ok(t, "prune")
		s := record(t, name)
		if s.Status != "Failed" || s.Detail == "" {
			t.Errorf("%d: %s: %s", i, s.Status, s.Detail)
		}
		if l := log(t, name); strings.Contains(l, `"channels"`) {
			t.Errorf("%d: the reader saw an end: %s", i, l)
		}
	}
}

// TestClockJumps: the clock is set back an hour while a job runs. Its record's times never run backwards, and lengths are
// those of a clock that nobody sets.
func TestClockJumps(t *testing.T) {
	sameHost(t)
	for _, jump := range []string{"-1h", "2h"} {
		clock := filepath.Join(t.TempDir(), "clock")
		if err := os.WriteFile(clock, []byte("0s"), 0o644); err != nil {
			t.Fatal(err)
		}
		name := jobName("clock")
		p := begin(t, []string{"OPTML_CLOCK=" + clock}, "train", "--quiet", training(name, "sleep", "1s").file(t))
		running(t, name)
		if err := os.WriteFile(clock, []byte(jump), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := p.wait(t); r.code != 0 {
			t.Errorf("%s: %s", jump, r)
		}
		s := record(t, name)
		last := s.CreationTime
		for _, x := range s.Transitions {
			if x.StartTime.Before(last) || !x.EndTime.IsZero() && x.EndTime.Before(x.StartTime) {
				t.Errorf("%s: %+v", jump, s.Transitions)
			}
			last = x.StartTime
		}
		if s.EndTime.Before(s.StartTime) || s.FinalTime.Before(last) {
			t.Errorf("%s: ends %v, began %v", jump, s.EndTime, s.StartTime)
		}
		for _, x := range s.Steps {
			if x.Name == "wait" && (x.Duration().Seconds() < 0.5 || x.Duration().Seconds() > 60) {
				t.Errorf("%s: %s took %v", jump, x.Name, x.Duration())
			}
		}
		ok(t, "report", name)
		ok(t, "prune")
	}
}

// TestHostReboots: the host goes down with a job that runs: everything of it dies, /run is empty, the kernel has another
// boot id. The next command delivers what was made, says that the host rebooted, and --resume goes on.
func TestHostReboots(t *testing.T) {
	if w.address != "" {
		t.Skip("the containerd given to these tests is not rebooted")
	}
	sameHost(t)
	name := jobName("rebooted")
	root, run := filepath.Join(t.TempDir(), "r"), w.run+"r"
	t.Cleanup(func() { os.RemoveAll(run) })
	env := func(boot string) []string {
		return []string{"OPTML_ROOT=" + root, "OPTML_RUN_DIR=" + run, "OPTML_BOOT_ID=" + boot}
	}
	archive := tinyArchive(t)
	if r := begin(t, env("one"), "images", "import", archive).wait(t); r.code != 0 {
		t.Fatal(r)
	}
	d := withCheckpoints(name, name, "checkpoints", "3", "sleep", "2s", "output", "text")
	p := begin(t, env("one"), trainQuick(d.file(t))...)
	state := func() (string, string) {
		j, err := find(root, name)
		if err != nil {
			return "", ""
		}
		s, err := j.State()
		if err != nil {
			t.Fatal(err)
		}
		return s.Status, s.Detail
	}
	eventually(t, "the last checkpoint", func() bool {
		return strings.Contains(string(read(filepath.Join(root, "jobs/training", name, "logs/algo-1.log"))), `{"checkpoint":3}`)
	})
	goDown(t, root, run)
	p.wait(t)
	if status, _ := state(); status != "InProgress" {
		t.Errorf("nobody has looked yet: %s", status)
	}
	if r := begin(t, env("two"), "ls").wait(t); r.code != 0 || !strings.Contains(r.stdout, "owner died") {
		t.Errorf("%s", r)
	}
	if r := begin(t, env("two"), "prune").wait(t); r.code != 0 || !strings.Contains(r.stderr, "recovered training/"+name) {
		t.Errorf("%s", r)
	}
	if status, detail := state(); status != "Failed" || !strings.Contains(detail, "the host rebooted while this job ran") {
		t.Errorf("%s: %s", status, detail)
	}
	if b := object(t, "out", "training/"+name+"/output/output.tar.gz"); b == nil {
		t.Error("what it had made is not delivered")
	}
	if r := begin(t, env("two"), "train", "--resume", name, "--quiet").wait(t); r.code != 0 {
		t.Errorf("%s", r)
	}
	if n := string(modelOf(t, name)["resumed.txt"]); n != "3" {
		t.Errorf("resumed behind step %q", n)
	}
	goDown(t, root, run) // its idle daemon
}

// TestDiskFullInEachPhase: the disk that optml's root is on is full when a job is made, when its checkpoints are restored,
// while it runs, and when its artifacts are delivered. Each time the job has an end with the reason, or there is none.
func TestDiskFullInEachPhase(t *testing.T) {
	jobs := filepath.Join(w.root, "jobs")
	put(t, "full", "big/a", strings.Repeat("x", 6<<20))
	for _, c := range []struct {
		phase, size string
		job         func(name string) doc
		code        int
		status, why string
	}{
		{"create", "64k", func(name string) doc { return training(name) }, 1, "", "no space left"},
		{"restore", "4m", func(name string) doc {
			d := training(name)
			d["CheckpointConfig"] = doc{"S3Uri": "s3://full/big"}
			return d
		}, 4, "Failed", "ClientError: Data download failed:Insufficient disk space"},
		{"wait", "4m", func(name string) doc { return training(name, "model_mb", "8") }, 3, "Failed", "AlgorithmError: "},
		{"log", "4m", func(name string) doc { return training(name, "stdout_mb", "8") }, -1, "", ""},
	} {
		t.Run(c.phase, func(t *testing.T) {
			sameHost(t)
			if err := syscall.Mount("optml-e2e", jobs, "tmpfs", 0, "size="+c.size+",mode=0755"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(jobs, syscall.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			name := jobName("full")
			r := optml(t, trainQuick(c.job(name).file(t))...)
			s, err := recorded(name)
			if c.phase == "create" && err == nil {
				t.Errorf("there is a job: %s", s.Status)
			}
			if c.code >= 0 && r.code != c.code || !strings.Contains(r.stderr, c.why) {
				t.Errorf("%s %s\n%s", s.Status, s.FailureReason, r)
			}
			if err == nil && (!s.Final || len(s.Open) > 0) {
				t.Errorf("no end on record: %s\n%s", s.Status, r)
			}
			if c.status != "" && s.Status != c.status {
				t.Errorf("%s: %s", s.Status, s.FailureReason)
			}
		})
	}
}

// TestDiskFullOfArtifacts: the disk that artifacts go to is full: each is kept, and goes there when there is room.
func TestDiskFullOfArtifacts(t *testing.T) {
	sameHost(t)
	dir := filepath.Join(w.s3, "narrow")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("optml-e2e", dir, "tmpfs", 0, "size=1m,mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	name := jobName("narrow")
	d := training(name, "checkpoints", "1", "checkpoint_kb", "2048", "model_mb", "2")
	d["CheckpointConfig"] = doc{"S3Uri": "s3://narrow/c"}
	d["OutputDataConfig"] = doc{"S3OutputPath": "s3://narrow/o"}
	r := expect(t, 4, trainQuick(d.file(t))...)
	if s := record(t, name); s.FailureReason != "ClientError: Artifact upload failed:Insufficient disk space" || len(s.Kept()) != 2 {
		t.Errorf("%s %+v\n%s", s.FailureReason, s.Kept(), r)
	}
	if err := syscall.Mount("optml-e2e", dir, "tmpfs", syscall.MS_REMOUNT, "size=20m"); err != nil {
		t.Fatal(err)
	}
	ok(t, "upload", name)
	for _, k := range []string{"c/step-1", "o/" + name + "/output/model.tar.gz"} {
		if object(t, "narrow", k) == nil {
			t.Errorf("there is no %s", k)
		}
	}
	ok(t, "rm", name)
}
