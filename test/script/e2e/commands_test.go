//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// commands are what the scripts have beside testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"code":    codeCommand,    // code N PROGRAM ARGS...: run, and it must end with exit code N
	"doc":     docCommand,     // doc KIND FILE PATH=STRING PATH:=JSON PATH-...: write a request
	"start":   startCommand,   // start NAME PROGRAM ARGS...: run in the background
	"signal":  signalCommand,  // signal NAME INT|TERM|KILL|HUP
	"await":   awaitCommand,   // await NAME N: it must end with exit code N; its output is in NAME.out and NAME.err
	"until":   untilCommand,   // until FILE TEXT: wait until the file has the text
	"says":    saysCommand,    // says JOB TEXT: wait until the job's log has the text
	"reaches": reachesCommand, // reaches JOB STEP: wait until the job has begun the step
	"gone":    goneCommand,    // gone JOB: wait until no process is in the job's containers
	"limit":   limitCommand,   // limit JOB BYTES: bound the memory of the job's containers, as a full host would
	"mute":    muteCommand,    // mute VAR: a server that takes connections and never answers; its address is in $VAR
	"tmpfs":   tmpfsCommand,   // tmpfs DIR SIZE: a small disk, until the script's end
	"loops":   loopsCommand,   // loops: a file of this script's is the disk of a loop device
	"clean":   cleanCommand,   // clean: nothing of this script's jobs is on the host
}

// patience bounds every wait of a script.
const patience = 30 * time.Second

type scriptKey struct{}

// script is the state of one script.
type script struct {
	env    *testscript.Env
	jobs   map[string]*process
	mounts []string
}

type process struct {
	cmd  *exec.Cmd
	done chan error
}

func of(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

// end kills what a failed script has left running, and clears up after it.
func (s *script) end() {
	remember(s.env.Getenv("OPTML_ROOT"))
	for _, p := range s.jobs {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if len(s.jobs) > 0 {
		cmd := exec.Command("optml", "prune")
		cmd.Env = s.env.Vars
		_ = cmd.Run()
	}
	for _, m := range s.mounts {
		_ = unix.Unmount(m, unix.MNT_DETACH)
	}
}

func loopsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 0 {
		ts.Fatalf("usage: [!] loops")
	}
	// The kernel lets go of a device a moment after its file system was unmounted.
	for deadline := time.Now().Add(patience / 10); ; time.Sleep(10 * time.Millisecond) {
		var found []string
		files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), ts.Getenv("WORK")+"/") {
				found = append(found, strings.TrimSpace(string(b)))
			}
		}
		switch {
		case (len(found) > 0) != neg:
			return
		case time.Now().After(deadline):
			ts.Fatalf("loop devices: %q", found)
		}
	}
}

func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("%s ended with exit code %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%v", err)
	return -1
}

// documents are the requests that doc begins with.
var documents = map[string]string{
	"train": `{
		"TrainingJobName": "job",
		"AlgorithmSpecification": {"TrainingImage": "` + imageGood + `", "TrainingInputMode": "File"},
		"RoleArn": "arn:aws:iam::123456789012:role/seller",
		"HyperParameters": {},
		"InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train/"}}}],
		"OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
		"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
		"StoppingCondition": {"MaxRuntimeInSeconds": 300},
		"EnableNetworkIsolation": true
	}`,
	"model": `{
		"ModelName": "model",
		"ExecutionRoleArn": "arn:aws:iam::123456789012:role/seller",
		"PrimaryContainer": {"Image": "` + imageGood + `", "Environment": {}},
		"EnableNetworkIsolation": true
	}`,
	"transform": `{
		"TransformJobName": "job",
		"ModelName": "model",
		"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/rows/"}}, "ContentType": "text/csv", "SplitType": "Line"},
		"TransformOutput": {"S3OutputPath": "s3://bucket/scores"},
		"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
		"ModelClientConfig": {"InvocationsMaxRetries": 0}
	}`,
	"algorithm": `{
		"AlgorithmName": "algorithm",
		"TrainingSpecification": {
			"TrainingImage": "` + imageGood + `",
			"SupportedTrainingInstanceTypes": ["ml.m5.large"],
			"SupportedHyperParameters": [
				{"Name": "metrics", "Type": "Integer", "Range": {"IntegerParameterRangeSpecification": {"MinValue": "0", "MaxValue": "100"}}},
				{"Name": "exit_code", "Type": "Integer", "Range": {"IntegerParameterRangeSpecification": {"MinValue": "0", "MaxValue": "255"}}},
				{"Name": "model", "Type": "FreeText"},
				{"Name": "sleep", "Type": "FreeText"}
			],
			"MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
			"TrainingChannels": [{"Name": "train", "IsRequired": true, "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}]
		},
		"InferenceSpecification": {
			"Containers": [{"Image": "` + imageGood + `"}],
			"SupportedTransformInstanceTypes": ["ml.m5.large"],
			"SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
			"SupportedContentTypes": ["text/csv"], "SupportedResponseMIMETypes": ["text/csv"]
		},
		"ValidationSpecification": {
			"ValidationRole": "arn:aws:iam::123456789012:role/seller",
			"ValidationProfiles": [{
				"ProfileName": "small",
				"TrainingJobDefinition": {
					"TrainingInputMode": "File",
					"HyperParameters": {"metrics": "3"},
					"InputDataConfig": [{"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train/"}}}],
					"OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
					"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
					"StoppingCondition": {"MaxRuntimeInSeconds": 300}
				},
				"TransformJobDefinition": {
					"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/rows/"}}, "ContentType": "text/csv", "SplitType": "Line"},
					"TransformOutput": {"S3OutputPath": "s3://bucket/scores", "Accept": "text/csv"},
					"TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}
				}
			}]
		}
	}`,
}

// docCommand writes a request with members set by their paths: A.B[0].C=text, A.B:=json, A.B- to leave it away.
func docCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || documents[args[0]] == "" {
		ts.Fatalf("usage: doc train|model|transform|algorithm FILE [PATH=STRING | PATH:=JSON | PATH-]...")
	}
	var root any
	ts.Check(json.Unmarshal([]byte(documents[args[0]]), &root))
	for _, a := range args[2:] {
		path, text, assigned := strings.Cut(a, "=")
		var v any = text
		remove := false
		if p, ok := strings.CutSuffix(path, ":"); ok && assigned {
			path = p
			ts.Check(json.Unmarshal([]byte(text), &v))
		} else if !assigned {
			if path, remove = strings.CutSuffix(a, "-"); !remove {
				ts.Fatalf("doc: %q sets nothing", a)
			}
		}
		steps := strings.FieldsFunc(strings.ReplaceAll(path, "]", ""), func(r rune) bool { return r == '.' || r == '[' })
		if err := set(root, steps, v, remove); err != nil {
			ts.Fatalf("doc: %s: %v", a, err)
		}
	}
	b, err := json.MarshalIndent(root, "", "  ")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), append(b, '\n'), 0o644))
}

func set(at any, steps []string, v any, remove bool) error {
	for i, s := range steps {
		last := i == len(steps)-1
		switch x := at.(type) {
		case map[string]any:
			switch {
			case last && remove:
				delete(x, s)
			case last:
				x[s] = v
			case x[s] == nil:
				x[s] = map[string]any{}
			}
			at = x[s]
		case []any:
			n, err := strconv.Atoi(s)
			if err != nil || n >= len(x) {
				return fmt.Errorf("%q is not an index of the list", s)
			}
			if last {
				x[n] = v
			}
			at = x[n]
		default:
			return fmt.Errorf("%q is a member of nothing", s)
		}
	}
	return nil
}

func startCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS...")
	}
	s := of(ts)
	p := &process{cmd: exec.Command(args[1], args[2:]...), done: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Env = ts.MkAbs("."), append(s.env.Vars, "PWD="+ts.MkAbs("."))
	for _, f := range []struct {
		to   *io.Writer
		name string
	}{{&p.cmd.Stdout, ".out"}, {&p.cmd.Stderr, ".err"}} {
		file, err := os.Create(ts.MkAbs(args[0] + f.name))
		ts.Check(err)
		defer file.Close()
		*f.to = file
	}
	ts.Check(p.cmd.Start())
	s.jobs[args[0]] = p
	go func() { p.done <- p.cmd.Wait() }()
}

var signals = map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "HUP": syscall.SIGHUP}

func signalCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || signals[args[1]] == nil || of(ts).jobs[args[0]] == nil {
		ts.Fatalf("usage: signal NAME INT|TERM|KILL|HUP")
	}
	ts.Check(of(ts).jobs[args[0]].cmd.Process.Signal(signals[args[1]]))
}

func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await NAME N")
	}
	s := of(ts)
	p := s.jobs[args[0]]
	if p == nil {
		ts.Fatalf("await: nothing was started as %s", args[0])
	}
	select {
	case err := <-p.done:
		delete(s.jobs, args[0])
		ts.Logf("[%s stderr]\n%s", args[0], ts.ReadFile(args[0]+".err"))
		if err == nil || errors.As(err, new(*exec.ExitError)) {
			if got := p.cmd.ProcessState.ExitCode(); strconv.Itoa(got) != args[1] {
				ts.Fatalf("%s ended with exit code %d, not %s", args[0], got, args[1])
			}
			return
		}
		ts.Check(err)
	case <-time.After(patience):
		ts.Fatalf("%s has not ended after %v; stderr:\n%s", args[0], patience, ts.ReadFile(args[0]+".err"))
	}
}

// wait polls until found says so.
func wait(ts *testscript.TestScript, what string, found func() bool) {
	for end := time.Now().Add(patience); !found(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// jobDir is the directory of a job, by kind/name.
func jobDir(ts *testscript.TestScript, name string) string {
	return filepath.Join(ts.Getenv("OPTML_ROOT"), "jobs", name)
}

func saysCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: says KIND/JOB TEXT")
	}
	wait(ts, "a log of "+args[0]+" with "+args[1], func() bool {
		logs, _ := filepath.Glob(filepath.Join(jobDir(ts, args[0]), "logs", "*.log"))
		for _, l := range logs {
			if b, err := os.ReadFile(l); err == nil && bytes.Contains(b, []byte(args[1])) {
				return true
			}
		}
		return false
	})
}

func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: until FILE TEXT")
	}
	wait(ts, args[1]+" in "+args[0], func() bool {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		return bytes.Contains(b, []byte(args[1]))
	})
}

func reachesCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: reaches KIND/JOB STEP")
	}
	want := fmt.Appendf(nil, `"step":%q,"type":"StepBegan"`, args[1])
	wait(ts, args[0]+" in step "+args[1], func() bool {
		b, _ := os.ReadFile(filepath.Join(jobDir(ts, args[0]), "events.jsonl"))
		return bytes.Contains(b, want)
	})
}

func goneCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone KIND/JOB")
	}
	wait(ts, "no process in the containers of "+args[0], func() bool {
		for _, g := range groups(jobDir(ts, args[0])) {
			if b, err := os.ReadFile(filepath.Join(g, "cgroup.procs")); err == nil && len(bytes.TrimSpace(b)) > 0 {
				return false
			}
		}
		return true
	})
}

func limitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: limit KIND/JOB BYTES")
	}
	limited := 0
	for _, g := range groups(jobDir(ts, args[0])) {
		for _, f := range []string{"memory.limit_in_bytes", "memory.max"} {
			p := filepath.Join(g, f)
			if _, err := os.Stat(p); err != nil {
				continue
			}
			ts.Check(os.WriteFile(p, []byte(args[1]), 0o644))
			_ = os.WriteFile(filepath.Join(g, "memory.swap.max"), []byte("0"), 0o644)
			limited++
		}
	}
	if limited == 0 {
		ts.Fatalf("limit: no memory group of %s", args[0])
	}
}

func muteCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mute VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
	go func() {
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
		}
		for _, c := range open {
			c.Close()
		}
	}()
}

func tmpfsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	of(ts).mounts = append(of(ts).mounts, dir)
}
