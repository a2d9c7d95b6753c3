//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/test/images"
)

// tiny is the image of most tests.
const tiny = "optml.test/tiny:1"

// result is how a command line ended.
type result struct {
	args   []string
	stdout string
	stderr string
	code   int // of a process killed by a signal: 128 and the signal
	took   time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("optml %s: exit code %d after %.2fs\nstdout:\n%s\nstderr:\n%s", strings.Join(r.args, " "), r.code, r.took.Seconds(), r.stdout, r.stderr)
}

// command is a command line of the binary in this world, on a host that has runc and nothing else (ruling 31). env is
// KEY=VALUE.
func command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.binary, args...)
	cmd.Env = []string{
		"PATH=" + w.path, "HOME=" + w.tmp, "TMPDIR=" + w.tmp, "AWS_EC2_METADATA_DISABLED=true",
		"OPTML_ROOT=" + w.root, "OPTML_RUN_DIR=" + w.run, "OPTML_S3_DIR=" + w.s3, "CONTAINERD_ADDRESS=" + w.address,
		"GORACE=halt_on_error=1 exitcode=66",
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir = w.work
	return cmd
}

// proc is a command line that runs.
type proc struct {
	*exec.Cmd
	args     []string
	began    time.Time
	out, err bytes.Buffer
	done     chan struct{}
	ended    time.Time
}

// begin starts a command line. At the end of the test it is killed if it still runs.
func begin(t *testing.T, env []string, args ...string) *proc {
	t.Helper()
	p := &proc{Cmd: command(context.Background(), env, args...), args: args, began: time.Now(), done: make(chan struct{})}
	p.Stdout, p.Stderr = &p.out, &p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait() // its error is in the state
		p.ended = time.Now()
		close(p.done)
	}()
	t.Cleanup(func() { _ = p.Process.Kill(); <-p.done })
	return p
}

// commandTime bounds each command line of the tests but those that say otherwise.
const commandTime = 60 * time.Second

// wait returns how the command ended.
func (p *proc) wait(t *testing.T) result { t.Helper(); return p.waitFor(t, commandTime) }

func (p *proc) waitFor(t *testing.T, d time.Duration) result {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(d):
		_ = p.Process.Signal(syscall.SIGQUIT) // a Go program tells where it hangs
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			_ = p.Process.Kill()
			<-p.done
		}
		t.Fatalf("optml %s does not end in %v\n%s", strings.Join(p.args, " "), d, p.err.String())
	}
	r := result{args: p.args, stdout: p.out.String(), stderr: p.err.String(), code: p.ProcessState.ExitCode(), took: p.ended.Sub(p.began)}
	if s, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		r.code = 128 + int(s.Signal())
	}
	if strings.Contains(r.stderr, "DATA RACE") {
		t.Errorf("%s", r)
	}
	return r
}

// optml runs a command line to its end.
func optml(t *testing.T, args ...string) result {
	t.Helper()
	return begin(t, nil, args...).wait(t)
}

// ok runs a command line that must succeed.
func ok(t *testing.T, args ...string) result {
	t.Helper()
	return expect(t, 0, args...)
}

// expect runs a command line that must end with this exit code.
func expect(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := optml(t, args...)
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r)
	}
	return r
}

// optmlIdle is a process of our binary that does nothing for a while: it waits for its stdin.
func optmlIdle(t *testing.T) func() {
	t.Helper()
	cmd := command(context.Background(), nil, "plan", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() }
}

// importTiny brings the tiny image into the world.
func importTiny() error { return importImage(tiny, images.Options{}) }

func importImage(ref string, o images.Options) error {
	img, err := images.Build(o)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := images.WriteOCI(&archive, images.Named{Ref: ref, Image: img}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := command(ctx, nil, "images", "import", "-")
	cmd.Stdin = &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s: %w\n%s", ref, err, out)
	}
	return nil
}

// image brings a variant of the tiny image in for one test.
func image(t *testing.T, ref string, o images.Options) string {
	t.Helper()
	if err := importImage(ref, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ok(t, "images", "rm", ref) })
	return ref
}

var names struct {
	sync.Mutex
	n int
}

// jobName is a name that no other job of the world has.
func jobName(what string) string {
	names.Lock()
	defer names.Unlock()
	names.n++
	return fmt.Sprintf("%s-%d", what, names.n)
}

// doc is a JSON object under construction.
type doc map[string]any

// file writes the document for the command line and returns its path.
func (d doc) file(t *testing.T) string {
	t.Helper()
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "doc.json")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// training is a CreateTrainingJob request of the tiny image. Hyperparameters are pairs.
func training(name string, hp ...string) doc {
	return doc{
		"TrainingJobName": name,
		"AlgorithmSpecification": doc{
			"TrainingImage": tiny, "TrainingInputMode": "File",
		},
		"RoleArn":                "arn:aws:iam::123456789012:role/SageMakerTraining",
		"HyperParameters":        pairs(hp),
		"OutputDataConfig":       doc{"S3OutputPath": "s3://out/training"},
		"ResourceConfig":         doc{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
		"StoppingCondition":      doc{"MaxRuntimeInSeconds": 600},
		"EnableNetworkIsolation": true,
	}
}

func pairs(kv []string) doc {
	d := doc{}
	for i := 0; i+1 < len(kv); i += 2 {
		d[kv[i]] = kv[i+1]
	}
	return d
}

// channel is an element of InputDataConfig.
func channel(name, uri string) doc {
	return doc{"ChannelName": name, "DataSource": doc{"S3DataSource": doc{"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}}}
}

// transforming is a CreateTransformJob request over the objects of a prefix.
func transforming(name, input string) doc {
	return doc{
		"TransformJobName": name, "ModelName": "tiny-model", "MaxPayloadInMB": 1, "BatchStrategy": "MultiRecord",
		"TransformInput": doc{
			"DataSource":  doc{"S3DataSource": doc{"S3DataType": "S3Prefix", "S3Uri": input}},
			"ContentType": "text/csv", "SplitType": "Line",
		},
		"TransformOutput":    doc{"S3OutputPath": "s3://out/transform/" + name, "Accept": "text/csv", "AssembleWith": "Line"},
		"TransformResources": doc{"InstanceType": "ml.m5.large", "InstanceCount": 1},
	}
}

// modelDoc is a CreateModel request of the tiny image. Its options are environment variables.
func modelDoc(url string, env ...string) doc {
	c := doc{"Image": tiny, "Environment": pairs(env)}
	if url != "" {
		c["ModelDataUrl"] = url
	}
	return doc{
		"ModelName": "tiny-model", "PrimaryContainer": c,
		"ExecutionRoleArn": "arn:aws:iam::123456789012:role/SageMakerInference", "EnableNetworkIsolation": true,
	}
}

// algorithm is a CreateAlgorithm request with one validation profile: a training, and a transform of input.
func algorithm(name, input string, hp, env []string) doc {
	var specs []doc
	for i := 0; i < len(hp); i += 2 {
		specs = append(specs, doc{"Name": hp[i], "Type": "FreeText", "IsRequired": false, "IsTunable": false})
	}
	train := doc{
		"TrainingImage": tiny, "SupportedHyperParameters": specs, "SupportedTrainingInstanceTypes": []string{"ml.m5.large"},
		"SupportsDistributedTraining": false,
		"TrainingChannels": []doc{{"Name": "train", "IsRequired": true, "SupportedContentTypes": []string{"text/csv"},
			"SupportedCompressionTypes": []string{"None"}, "SupportedInputModes": []string{"File"}}},
	}
	in := channel("train", "s3://data/train/")
	in["ContentType"] = "text/csv"
	tr := transforming("x", input)
	return doc{
		"AlgorithmName": name, "TrainingSpecification": train,
		"InferenceSpecification": doc{
			"Containers":                      []doc{{"Image": tiny, "Environment": pairs(env)}},
			"SupportedTransformInstanceTypes": []string{"ml.m5.large"}, "SupportedRealtimeInferenceInstanceTypes": []string{"ml.m5.large"},
			"SupportedContentTypes": []string{"text/csv"}, "SupportedResponseMIMETypes": []string{"text/csv"},
		},
		"ValidationSpecification": doc{
			"ValidationRole": "arn:aws:iam::123456789012:role/SageMakerValidation",
			"ValidationProfiles": []doc{{
				"ProfileName": "p1",
				"TrainingJobDefinition": doc{
					"TrainingInputMode": "File", "HyperParameters": pairs(hp), "InputDataConfig": []doc{in},
					"OutputDataConfig":  doc{"S3OutputPath": "s3://out/validate"},
					"ResourceConfig":    doc{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
					"StoppingCondition": doc{"MaxRuntimeInSeconds": 600},
				},
				"TransformJobDefinition": doc{
					"MaxPayloadInMB": 1, "BatchStrategy": "MultiRecord", "TransformInput": tr["TransformInput"],
					"TransformOutput":    doc{"S3OutputPath": "s3://out/validate-" + name, "Accept": "text/csv", "AssembleWith": "Line"},
					"TransformResources": tr["TransformResources"],
				},
			}},
		},
	}
}

// put writes objects into the store: key, content, key, content …
func put(t *testing.T, bucket string, kv ...string) {
	t.Helper()
	for i := 0; i+1 < len(kv); i += 2 {
		path := filepath.Join(w.s3, bucket, filepath.FromSlash(kv[i]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(kv[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// object reads an object of the store; nil if there is none.
func object(t *testing.T, bucket, key string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.s3, bucket, filepath.FromSlash(key)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// keys lists the store below a prefix that is a directory.
func keys(t *testing.T, bucket, dir string) []string {
	t.Helper()
	out := tree(filepath.Join(w.s3, bucket, dir), nil)
	slices.Sort(out)
	return slices.DeleteFunc(out, func(k string) bool {
		fi, err := os.Stat(filepath.Join(w.s3, bucket, dir, k))
		return err == nil && fi.IsDir()
	})
}

// record is what the ledger says of a job.
func record(t *testing.T, name string) ledger.State {
	t.Helper()
	s, err := recorded(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func recorded(name string) (ledger.State, error) {
	j, err := ledger.Find(filepath.Join(w.root, "jobs"), name)
	if err != nil {
		return ledger.State{}, err
	}
	return j.State()
}

// eventually waits for what must come soon.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// running waits until a job's container runs and returns its main process.
func running(t *testing.T, name string) (pid int) {
	t.Helper()
	eventually(t, name+" to run", func() bool {
		s, err := recorded(name)
		if err == nil && s.Final {
			t.Fatalf("%s has ended: %s %s %s", name, s.Status, s.FailureReason, s.Detail)
		}
		if err == nil && len(s.Containers) > 0 {
			pid = s.Containers[0].PID
		}
		return pid != 0
	})
	return pid
}

// spoke waits until a job's container has said that it begins: its signals are then as its options want them.
func spoke(t *testing.T, name string) {
	t.Helper()
	running(t, name)
	eventually(t, "its first words", func() bool { return strings.Contains(log(t, name), "started_ns") })
}

// log is what a job's container printed.
func log(t *testing.T, name string) string {
	t.Helper()
	j, err := ledger.Find(filepath.Join(w.root, "jobs"), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(read(j.LogPath("algo-1") + ".log"))
}
