//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/optml/optml/test/images"
)

// TestTrainingLayout holds all that a training container can see of how it was started (training 1, 2, 8.2; ruling 7).
func TestTrainingLayout(t *testing.T) {
	sameHost(t)
	name := jobName("layout")
	put(t, "data", "train/a.csv", "1,2\n", "train/sub/b.csv", "3\n")
	d := training(name, "layout", "check", "text", `<a & "b">`)
	// The job of 2022 whose files were seen to have these sizes (TREE-2).
	d["ResourceConfig"] = doc{"InstanceType": "ml.g4dn.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
	d["InputDataConfig"] = []doc{channel("training", "s3://data/train/")}
	d["Environment"] = doc{"MINE": "yes", "AWS_REGION": "eu-west-1"}
	ok(t, "train", "--quiet", "--region", "us-east-2", d.file(t))

	files := modelOf(t, name)
	l := decode[layout](t, files["layout.json"])
	for file, want := range map[string]string{
		"hyperparameters.json": `{"layout":"check","text":"<a & \"b\">"}`,
		"inputdataconfig.json": `{"training":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}`,
		"resourceconfig.json": `{"current_host":"algo-1","current_instance_type":"ml.g4dn.12xlarge","current_group_name":"homogeneousCluster","hosts":["algo-1"],` +
			`"instance_groups":[{"instance_group_name":"homogeneousCluster","instance_type":"ml.g4dn.12xlarge","hosts":["algo-1"]}],"network_interface_name":"eth0","topology":null}`,
	} {
		if got := l.Config[file]; got.Text != want || got.Perm != "-rw-r--r--" {
			t.Errorf("%s (%s) is\n%s\nwant\n%s", file, got.Perm, got.Text, want)
		}
	}
	if a, b := len(l.Config["inputdataconfig.json"].Text), len(l.Config["resourceconfig.json"].Text); a != 107 || b != 296 || len(l.Config) != 3 {
		t.Errorf("TREE-2: %d and %d bytes in %d files, want 107 and 296 in 3", a, b, len(l.Config))
	}
	for path, want := range map[string]string{
		"input": "drwxr-xr-x", "input/config": "drwxr-xr-x", "input/data": "drwxr-xr-x", "input/data/training": "drwxr-xr-x",
		"input/data/training/sub": "drwxr-xr-x", "input/data/training/a.csv": "-rw-r--r--", "input/data/training/sub/b.csv": "-rw-r--r--",
		"model": "drwxr-xr-x", "output": "drwxr-xr-x", "output/data": "drwxr-xr-x", "errors": "drwxr-xr-x",
		"code/shipped.txt":    "-rw-r--r--",                           // what the image ships below /opt/ml stays visible
		"output/intermediate": "",                                     // its being there would switch the toolkit's own upload off
		"checkpoints":         "", "input/data/training-manifest": "", // no CheckpointConfig; FILE-12
	} {
		if got := l.mode(path); got != want {
			t.Errorf("/opt/ml/%s is %q, want %q", path, got, want)
		}
	}
	for _, e := range l.Tree {
		if e.UID != 0 {
			t.Errorf("/opt/ml/%s belongs to %d (START-8)", e.Path, e.UID)
		}
	}
	if want := map[string]bool{"/opt/ml/input": false, "/opt/ml/model": false, "/opt/ml/output": false, "/opt/ml/errors": false}; !maps.Equal(l.mounted(), want) {
		t.Errorf("mounts below /opt/ml, read-only: %v, want %v (TREE-1)", l.mounted(), want)
	}
	l.checkEnv(t, map[string]string{
		"TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": "arn:aws:sagemaker:us-east-2:123456789012:training-job/" + name,
		"AWS_REGION": "eu-west-1", // the request's, which alone may override the service (ENV-4)
		"MINE":       "yes", "NVIDIA_VISIBLE_DEVICES": "void",
	})
	if home, _ := l.env("HOME"); home != "/root" || l.UID != 0 || l.Dir != "/" || l.PID != 1 {
		t.Errorf("HOME %s, uid %d, directory %s, PID %d: START-5, START-8, START-9", home, l.UID, l.Dir, l.PID)
	}
	if l.Hostname != "ip-10-0-0-1.us-east-2.compute.internal" { // START-10
		t.Errorf("hostname %s", l.Hostname)
	}
	if !strings.Contains(l.Hosts, "algo-1") || len(l.Interfaces["eth0"]) == 0 || len(l.Interfaces["lo"]) == 0 {
		t.Errorf("DIST-1, RES-5: /etc/hosts\n%sinterfaces %v", l.Hosts, l.Interfaces)
	}
	if l.Status["Seccomp"] != "2" || l.Status["NoNewPrivs"] != "0" || l.Status["CapEff"] != "00000000a80425fb" { // as Docker
		t.Errorf("status %v", l.Status)
	}
	var own syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	if want := min(1048576, own.Max); l.NoFile[1] < want || l.NoFile[0] != l.NoFile[1] { // START-13, ruling 18
		t.Errorf("nofile %v, the host allows %d", l.NoFile, own.Max)
	}
	if l.Shm < 64<<20 { // START-12
		t.Errorf("/dev/shm has %d bytes", l.Shm)
	}
	if want := []string{"train"}; !slices.Equal(l.Args, want) {
		t.Errorf("arguments %q, want %q (START-2)", l.Args, want)
	}
}

// TestStartCommand holds the four rows of 1.1 on an image with ENTRYPOINT and CMD (acceptance check 1).
func TestStartCommand(t *testing.T) {
	sameHost(t)
	ref := image(t, "optml.test/entrypoint:1", images.Options{Entrypoint: []string{"/tiny"}, Cmd: []string{"serve", "never"}, WorkingDir: "/opt/ml/code"})
	for _, c := range []struct {
		what             string
		entrypoint, args []string
		want             []string
	}{
		{"neither: ENTRYPOINT and train", nil, nil, []string{"/tiny", "train"}},
		{"entrypoint alone: no arguments, no train", []string{"/usr/local/bin/train"}, nil, []string{"/usr/local/bin/train"}},
		{"arguments alone: ENTRYPOINT and they", nil, []string{"train", "two words", "$HOME"}, []string{"/tiny", "train", "two words", "$HOME"}},
		{"both", []string{"/tiny", "train"}, []string{"-c", "x"}, []string{"/tiny", "train", "-c", "x"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			name := jobName("start")
			d := training(name, "layout", "dump")
			spec := d["AlgorithmSpecification"].(doc)
			spec["TrainingImage"] = ref
			if c.entrypoint != nil {
				spec["ContainerEntrypoint"] = c.entrypoint
			}
			if c.args != nil {
				spec["ContainerArguments"] = c.args
			}
			ok(t, "train", "--quiet", d.file(t))
			l := decode[layout](t, modelOf(t, name)["layout.json"])
			if !slices.Equal(l.Args, c.want) || l.Dir != "/opt/ml/code" {
				t.Errorf("arguments %q in %s, want %q in the image's WORKDIR (START-9)", l.Args, l.Dir, c.want)
			}
		})
	}
}

// TestBootstrapOfTheSDK runs what version 3 of the Python SDK starts its jobs with: a shell that makes a script of a
// channel executable, and the script writes to /opt/ml/input (TREE-1, acceptance check 3).
func TestBootstrapOfTheSDK(t *testing.T) {
	sameHost(t)
	ref := image(t, "optml.test/bash:1", images.Options{Files: hostPrograms(t, "/bin/bash", "/bin/chmod", "/bin/cat")})
	put(t, "data", "drivers/sm_train.sh", `#!/bin/bash
set -e
echo "export SM_MODEL_DIR='/opt/ml/model'" > /opt/ml/input/sm_training.env
cat /opt/ml/input/sm_training.env
exec /usr/local/bin/train
`)
	source := filepath.Join(w.s3, "data", "drivers", "sm_train.sh")
	name := jobName("bootstrap")
	d := training(name)
	d["InputDataConfig"] = []doc{channel("sm_drivers", "s3://data/drivers/")}
	spec := d["AlgorithmSpecification"].(doc)
	spec["TrainingImage"] = ref
	spec["ContainerEntrypoint"] = []string{"/bin/bash"}
	spec["ContainerArguments"] = []string{"-c", "chmod +x /opt/ml/input/data/sm_drivers/sm_train.sh && /opt/ml/input/data/sm_drivers/sm_train.sh"}
	ok(t, "train", "--quiet", d.file(t))
	if l := log(t, name); !strings.HasPrefix(l, "export SM_MODEL_DIR='/opt/ml/model'\n") {
		t.Errorf("log %q", l)
	}
	modelOf(t, name)
	fi, err := os.Stat(source)
	if err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("the user's own file was changed: %v %v", fi.Mode(), err)
	}
	if got := keys(t, "data", "drivers"); !slices.Equal(got, []string{"sm_train.sh"}) {
		t.Errorf("the user's own directory was written to: %v", got)
	}
}

// hostPrograms are dynamic programs of this host with their libraries, for an image.
func hostPrograms(t *testing.T, paths ...string) []images.File {
	t.Helper()
	out, err := exec.Command("ldd", paths...).Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, p := range paths {
		all[p] = true
	}
	for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		all[m[1]] = true
	}
	var files []images.File
	for _, p := range slices.Sorted(maps.Keys(all)) {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, images.File{Name: p, Mode: 0o755, Data: b})
	}
	return files
}

// TestPrefixes holds which objects a prefix takes and what they are called in the container (FILE-2, acceptance check
// 4): one channel for each row.
func TestPrefixes(t *testing.T) {
	sameHost(t)
	put(t, "prefixes", "data/train/a.csv", "a", "data/train/sub/b.csv", "b", "data/train-01/c.csv", "c", "data/train.csv", "d", "other.csv", "e")
	rows := map[string]struct {
		uri  string
		want []string
	}{
		"part":   {"s3://prefixes/data/train", []string{"a.csv", "sub/b.csv", "train-01/c.csv", "train.csv"}},
		"folder": {"s3://prefixes/data/train/", []string{"a.csv", "sub/b.csv"}},
		"object": {"s3://prefixes/data/train.csv", []string{"train.csv"}},
		"above":  {"s3://prefixes/data", []string{"train-01/c.csv", "train.csv", "train/a.csv", "train/sub/b.csv"}},
		"bucket": {"s3://prefixes", []string{"data/train-01/c.csv", "data/train.csv", "data/train/a.csv", "data/train/sub/b.csv", "other.csv"}},
		"https":  {"https://prefixes.s3.us-east-1.amazonaws.com/data/train/", []string{"a.csv", "sub/b.csv"}},
	}
	name := jobName("prefixes")
	d := training(name, "channels", "sha256")
	var in []doc
	for c, row := range rows {
		in = append(in, channel(c, row.uri))
	}
	d["InputDataConfig"] = in
	ok(t, "train", "--quiet", d.file(t))
	got := decode[map[string]struct{ Files []struct{ Path string } }](t, modelOf(t, name)["channels.json"])
	for c, row := range rows {
		var paths []string
		for _, f := range got[c].Files {
			paths = append(paths, strings.TrimPrefix(f.Path, c+"/"))
		}
		if slices.Sort(paths); !slices.Equal(paths, row.want) {
			t.Errorf("%s: %v, want %v", row.uri, paths, row.want)
		}
	}
}

// TestOutputData holds that /opt/ml/output/data becomes output.tar.gz, and that an empty model directory uploads nothing
// (OUT-1, OUT-2, OUT-4).
func TestOutputData(t *testing.T) {
	sameHost(t)
	name := jobName("output")
	ok(t, "train", "--quiet", training(name, "model", "none", "output", "the result").file(t))
	if got := keys(t, "out", "training/"+name); !slices.Equal(got, []string{"output/output.tar.gz"}) {
		t.Fatalf("objects %v", got)
	}
	if f := unpack(t, object(t, "out", "training/"+name+"/output/output.tar.gz")); string(f["result.txt"]) != "the result" || len(f) != 1 {
		t.Errorf("output.tar.gz holds %q", f)
	}
	d := decode[struct {
		ModelArtifacts struct{ S3ModelArtifacts string }
	}](t, []byte(ok(t, "describe", name, "--output", "json").stdout))
	if d.ModelArtifacts.S3ModelArtifacts != "s3://out/training/"+name+"/output/model.tar.gz" { // required in the answer all the same
		t.Errorf("%+v", d)
	}
}

// TestCtrlCTwice holds that the first stops with grace and the second kills (D13); what was made arrives (OUT-5).
func TestCtrlCTwice(t *testing.T) {
	sameHost(t)
	name := jobName("stopping")
	p := begin(t, nil, "train", training(name, "sleep", "5m", "sigterm", "ignore").file(t))
	spoke(t, name)
	for _, status := range []string{"Stopping", "Stopped"} {
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		eventually(t, status, func() bool { s := record(t, name); return s.Status == status })
	}
	if r := p.wait(t); r.code != 6 || !strings.Contains(r.stderr, "once more kills the container") {
		t.Errorf("%s", r)
	}
	modelOf(t, name)
}

// TestMetrics holds what is found in the log: control bytes escaped, non-numbers passed over, stderr counted (MET-1 to
// MET-3, MET-8, acceptance check 9).
func TestMetrics(t *testing.T) {
	sameHost(t)
	name := jobName("metrics")
	d := training(name)
	d["Environment"] = doc{
		"TINY_PRINT":        "[12]\ttrain-auc:0.9\tvalidation-auc:0.8\n[13]\ttrain-auc:nonsense\tvalidation-auc:0.85\n",
		"TINY_PRINT_STDERR": "loss=0.25;\nloss=n/a;\n",
	}
	d["AlgorithmSpecification"].(doc)["MetricDefinitions"] = []doc{
		{"Name": "validation:auc", "Regex": `.*\[[0-9]+\].*#011validation-auc:(\S+)`},
		{"Name": "train:auc", "Regex": `.*\[[0-9]+\].*#011train-auc:(\S+)#011`},
		{"Name": "loss", "Regex": `loss=([^;]+);`},
		{"Name": "never", "Regex": `never=(.*)`},
	}
	ok(t, "train", "--quiet", d.file(t))
	got := map[string]float64{}
	for _, m := range decode[struct {
		FinalMetricDataList []struct {
			MetricName string
			Value      float64
		}
	}](t, []byte(ok(t, "describe", name, "--output", "json").stdout)).FinalMetricDataList {
		got[m.MetricName] = m.Value
	}
	want := map[string]float64{"validation:auc": 0.85, "train:auc": 0.9, "loss": 0.25}
	for k, v := range want {
		if d := got[k] - v; d > 1e-6 || d < -1e-6 { // a 32-bit float in the model
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}

// TestUserOfTheImage holds that an image of another user runs as that user and is warned of (START-8, ruling 15).
func TestUserOfTheImage(t *testing.T) {
	sameHost(t)
	ref := image(t, "optml.test/user:1", images.Options{User: "tiny"})
	run := func(code int, flags ...string) (string, map[string]json.RawMessage) {
		name := jobName("user")
		d := training(name, "layout", "dump")
		d["AlgorithmSpecification"].(doc)["TrainingImage"] = ref
		r := expect(t, code, append([]string{"train", d.file(t)}, flags...)...)
		if !strings.Contains(r.stderr, `runs as user "tiny"`) {
			t.Errorf("no warning: %s", r)
		}
		files := map[string]json.RawMessage{}
		if code == 0 {
			for k, v := range modelOf(t, name) {
				files[k] = v
			}
		}
		return name, files
	}
	if name, _ := run(3); !strings.Contains(log(t, name), "permission denied") {
		t.Errorf("log %s", log(t, name))
	}
	_, files := run(0, "--user-writable")
	l := decode[layout](t, files["layout.json"])
	if home, _ := l.env("HOME"); l.UID != 1000 || home != "/home/tiny" || l.Status["CapEff"] != "0000000000000000" {
		t.Errorf("uid %d, HOME %s, %v", l.UID, home, fmt.Sprint(l.Status))
	}
}
