package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func build(t *testing.T, o Options) v1.Image {
	t.Helper()
	img, err := Build(o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// short has images hold the first bytes of the program only, for tests that pack and do not run it: packing the whole of
// it dozens of times takes long with the race detector.
func short(t *testing.T) {
	t.Helper()
	whole, err := Program("")
	if err != nil {
		t.Fatal(err)
	}
	set := func(b []byte) {
		built.Lock()
		defer built.Unlock()
		built.program[runtime.GOARCH] = b
	}
	set(whole[:300_000])
	t.Cleanup(func() { set(whole) })
}

func TestBuildIsTheSameEachTime(t *testing.T) {
	for i, o := range []Options{{}, {Zstd: true}, {Docker: true}, {Entrypoint: []string{"/tiny"}, PadMB: 1}} {
		if i == 1 { // the first one is whole
			short(t)
		}
		a, b := digest(t, build(t, o)), digest(t, build(t, o))
		if a != b {
			t.Errorf("%+v: %s, then %s", o, a, b)
		}
	}
}

func TestBuildVariants(t *testing.T) {
	short(t)
	seen := map[string]string{}
	for name, o := range map[string]Options{
		"plain":       {},
		"zstd":        {Zstd: true},
		"docker":      {Docker: true},
		"entrypoint":  {Entrypoint: []string{"/tiny"}, Cmd: []string{"x"}},
		"user":        {User: "1000:1000"},
		"labels":      {Labels: map[string]string{"a": "b"}},
		"no train":    {Without: []string{"train"}},
		"not exec":    {NotExec: []string{"train"}},
		"config arch": {ConfigArch: "s390x"},
		"pad":         {PadMB: 1},
		"file":        {Files: []File{{Name: "/a/b/c", Data: []byte("x")}}},
	} {
		img := build(t, o)
		if err := validate.Image(img); err != nil && !o.Zstd { // validate reads gzip only
			t.Errorf("%s: %v", name, err)
		}
		d := digest(t, img)
		if other, ok := seen[d]; ok {
			t.Errorf("%s is the same image as %s", name, other)
		}
		seen[d] = name
	}
	if err := validate.Image(build(t, Options{Corrupt: true})); err == nil {
		t.Error("a corrupt image validates")
	}
}

func TestArchives(t *testing.T) {
	short(t)
	plain, other := build(t, Options{}), build(t, Options{Entrypoint: []string{"/tiny"}})
	dir := t.TempDir()
	if err := WriteLayout(filepath.Join(dir, "layout"), Named{"a:1", plain}, Named{"", other}); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	oci := filepath.Join(dir, "oci.tar")
	if err := WriteOCIArchive(oci, Named{"a:1", plain}); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(oci)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := WriteOCI(&again, Named{"a:1", plain}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again.Bytes()) {
		t.Error("two OCI archives of one image differ")
	}
	docker := filepath.Join(dir, "docker.tar")
	if err := WriteDockerArchive(docker, Named{"a:1", build(t, Options{Docker: true})}); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("a:1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(docker, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

func TestRegistryAuthentication(t *testing.T) {
	short(t)
	img := build(t, Options{})
	for _, o := range []RegistryOptions{{User: "AWS", Password: "secret"}, {User: "u", Password: "p", Token: true}} {
		s := Registry(t, o)
		tag, byDigest := s.Push(t, img, "team/tiny:1")
		for _, ref := range []string{tag, byDigest} {
			r, err := name.ParseReference(ref, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Image(r); err == nil {
				t.Errorf("%s: pulled without credentials", ref)
			}
			got, err := remote.Image(r, remote.WithAuth(&authn.Basic{Username: o.User, Password: o.Password}))
			if err != nil {
				t.Fatalf("%s: %v", ref, err)
			}
			if err := validate.Image(got); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		}
	}
}

func TestRegistryFaults(t *testing.T) {
	short(t)
	s := Registry(t, RegistryOptions{})
	tag, _ := s.Push(t, build(t, Options{}), "tiny:1")
	r, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	once := remote.WithRetryBackoff(remote.Backoff{Steps: 1})
	for what, f := range map[string]Fault{
		"flip": FlipBlobs, "truncate": TruncateFirst(100), "500": FailFirst(100, 500), "deny": Deny,
	} {
		s.SetFault(f)
		img, err := remote.Image(r, once)
		if err == nil {
			err = validate.Image(img)
		}
		if err == nil {
			t.Errorf("%s: the image arrived whole", what)
		}
	}
	s.SetFault(nil)
	img, err := remote.Image(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

// tiny runs the program itself on this machine, with TINY_ROOT in place of /opt/ml.
func tiny(t *testing.T, root, mode string, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tinyPath(t), mode)
	cmd.Env = append(env, "TINY_ROOT="+root, "HOME=/root")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func tinyPath(t *testing.T) string {
	t.Helper()
	program, err := Program("")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// root makes a minimal /opt/ml with the given hyperparameters and two channels.
func root(t *testing.T, hyper map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(hyper)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"input/config/hyperparameters.json": string(raw),
		"input/config/inputdataconfig.json": `{"a":{"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}`,
		"input/config/resourceconfig.json":  `{"current_host":"algo-1","current_instance_type":"ml.m5.large","hosts":["algo-1"],"network_interface_name":"lo"}`,
		"input/data/a/x/1.csv":              "1,2\n",
		"input/data/a/0.csv":                "",
		"model/.keep":                       "",
		"output/data/.keep":                 "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTinyTrains(t *testing.T) {
	dir := root(t, map[string]string{
		"metrics": "3", "channels": "sha256", "layout": "check", "failure": "é", "failure_repeat": "2500", "exit_code": "3",
		"stdout_mb": "1", "stderr_mb": "1", "output": "out", "model_mb": "1", "max_depth": "5",
	})
	out, errs, code := tiny(t, dir, "train", "TRAINING_JOB_NAME=j", "TRAINING_JOB_ARN=arn", "AWS_REGION=r")
	if code != 3 {
		t.Fatalf("exit %d: %s", code, errs[max(0, len(errs)-500):])
	}
	if err := CheckLines(strings.NewReader(out), "out", 10_000); err != nil {
		t.Error(err)
	}
	if err := CheckLines(strings.NewReader(errs), "err", 10_000); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out, "validation:accuracy="); n != 3 {
		t.Errorf("%d metric lines", n)
	}
	if !strings.Contains(out, `"ignored":["max_depth"]`) {
		t.Error("a foreign hyperparameter is not mentioned")
	}
	failure, err := os.ReadFile(filepath.Join(dir, "output/failure"))
	if err != nil || len(failure) != 5000 {
		t.Errorf("failure file of %d bytes: %v", len(failure), err)
	}
	var channels map[string]struct {
		Files []struct{ Path, SHA256 string }
	}
	raw, err := os.ReadFile(filepath.Join(dir, "model/channels.json"))
	if err == nil {
		err = json.Unmarshal(raw, &channels)
	}
	if err != nil {
		t.Fatal(err)
	}
	files := channels["a"].Files
	const emptySHA = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if len(files) != 2 || files[0].Path != "a/0.csv" || files[0].SHA256 != emptySHA || files[1].Path != "a/x/1.csv" {
		t.Errorf("channel a: %+v", files)
	}
	for name, size := range map[string]int64{"model/weights.bin": 1e6, "output/data/result.txt": 3, "model/model.txt": 5} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() != size {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestTinyFindsALayoutThatIsWrong(t *testing.T) {
	dir := root(t, map[string]string{"layout": "check"})
	for name, text := range map[string]string{
		"input/config/inputdataconfig.json": `{"a": {"TrainingInputMode":"Pipe","S3DistributionType":"FullyReplicated"}}`,
		"input/config/resourceconfig.json":  `{"current_host":"algo-2","hosts":["algo-1"],"network_interface_name":"eth77"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, _, code := tiny(t, dir, "train", "SM_MODEL_DIR=/x")
	failure, err := os.ReadFile(filepath.Join(dir, "output/failure"))
	if err != nil || code != 9 {
		t.Fatalf("exit %d, %v", code, err)
	}
	for _, want := range []string{
		"TREE-2 inputdataconfig.json is not compact", "channel a has no RecordWrapperType", "channel a: ", "RES-4 resourceconfig.json has no current_instance_type",
		"algo-2 is not among hosts", "RES-5 network_interface_name eth77", "TRAINING_JOB_NAME is not set", "ENV-1 SM_MODEL_DIR",
	} {
		if !strings.Contains(string(failure), want) {
			t.Errorf("not found: %s\nin %s", want, failure)
		}
	}
}

func TestTinyRefusesMistakes(t *testing.T) {
	for _, env := range []string{"TINY_SLEEP=5", "TINY_EXIT_CODE=x", "TINY_SIGTERM=perhaps"} {
		if _, errs, code := tiny(t, t.TempDir(), "train", env); code != 65 || !strings.Contains(errs, "option ") {
			t.Errorf("%s: exit %d, %s", env, code, errs)
		}
	}
}

func TestTinyServes(t *testing.T) {
	port := "18493" // below the ephemeral range, so that no outgoing connection has it
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tinyPath(t), "serve")
	cmd.Env = []string{
		"SAGEMAKER_BIND_TO_PORT=" + port, "TINY_ROOT=" + t.TempDir(), "TINY_INVOKE=upper", "TINY_FAIL_NTH=2", "TINY_FAIL_HOW=reset", "TINY_FAIL_IF=poison",
		"TINY_PING_FAILURES=1", `TINY_PARAMETERS={"MaxPayloadInMB":1}`, "TINY_EXIT_AFTER_NTH=4", "TINY_EXIT_CODE=7",
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	url := "http://127.0.0.1:" + port
	get := func(path string) (int, string) {
		resp, err := http.Get(url + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	post := func(body string) (int, string) {
		resp, err := http.Post(url+"/invocations", "text/csv", strings.NewReader(body))
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	var pings []int
	for ctx.Err() == nil {
		if code, _ := get("/ping"); code != 0 {
			if pings = append(pings, code); code == 200 {
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if fmt.Sprint(pings) != "[503 200]" {
		t.Errorf("pings %v", pings)
	}
	if code, body := get("/execution-parameters"); code != 200 || body != `{"MaxPayloadInMB":1}` {
		t.Errorf("parameters: %d %s", code, body)
	}
	if code, body := post("abc"); code != 200 || body != "ABC" {
		t.Errorf("first: %d %s", code, body)
	}
	if code, body := post("abc"); code != 0 || !strings.Contains(body, "reset") {
		t.Errorf("second: %d %s", code, body)
	}
	if code, body := post("a poison"); code != 0 {
		t.Errorf("third: %d %s", code, body)
	}
	if code, _ := post("last"); code != 0 {
		t.Errorf("fourth: %d", code)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(out.String(), `"path":"/invocations"`); n != 4 {
		t.Errorf("%d invocations logged:\n%s", n, out.String())
	}
}

// start runs the program without waiting for its end; the returned function gives its output so far.
func start(t *testing.T, mode string, env ...string) (*exec.Cmd, func() string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tinyPath(t), mode)
	cmd.Env = env
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in 20 s: %s", what)
}

func TestTinyOnSIGTERM(t *testing.T) {
	for how, want := range map[string]struct {
		code  int
		saved bool
	}{"exit": {9, false}, "save": {0, true}, "ignore": {4, false}} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			cmd, out := start(t, "train", "TINY_ROOT="+dir, "TINY_SIGTERM="+how, "TINY_SIGTERM_EXIT_CODE=9", "TINY_SLEEP=1s", "TINY_EXIT_CODE=4")
			eventually(t, "started", func() bool { return strings.Contains(out(), "started_ns") })
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != want.code {
				t.Errorf("exit %d, wanted %d", got, want.code)
			}
			if _, err := os.Stat(filepath.Join(dir, "model/saved.txt")); (err == nil) != want.saved {
				t.Errorf("saved.txt: %v", err)
			}
		})
	}
}

// A probe must succeed where something listens and fail where nothing does: tests of isolation rest on it.
func TestTinyProbes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		b := make([]byte, 64)
		if _, from, err := u.ReadFrom(b); err == nil {
			_, _ = u.WriteTo([]byte("answer"), from)
		}
	}()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	targets := []struct {
		target string
		ok     bool
	}{
		{"tcp:" + l.Addr().String(), true}, {"tcp:" + closed.Addr().String(), false}, {"udp:" + u.LocalAddr().String(), true}, {"udp:" + silent.LocalAddr().String(), false},
		{web.URL + "/x", true}, {"dns:127.0.0.1", true}, {"dns:name.test@" + silent.LocalAddr().String(), false}, {"smoke:signal", false},
	}
	var words []string
	for _, c := range targets {
		words = append(words, c.target)
	}
	dir := t.TempDir()
	if _, errs, code := tiny(t, dir, "train", "TINY_PROBE="+strings.Join(words, " "), "TINY_PROBE_TIMEOUT=300ms"); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "model/probes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Target string
		OK     bool
		Detail string
	}
	if err := json.Unmarshal(raw, &got); err != nil || len(got) != len(targets) {
		t.Fatalf("%v: %s", err, raw)
	}
	for i, c := range targets {
		if got[i].Target != c.target || got[i].OK != c.ok || got[i].Detail == "" {
			t.Errorf("%+v, wanted %v", got[i], c.ok)
		}
	}
}

// Children that outlive the main process keep its stdout open (the log must still end: D2).
func TestTinyForks(t *testing.T) {
	begun := time.Now()
	cmd, out := start(t, "train", "TINY_ROOT="+t.TempDir(), "TINY_FORK=2", "TINY_FORK_SLEEP=300ms")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begun); d > 250*time.Millisecond {
		t.Logf("slow machine: the main process took %s", d)
	}
	eventually(t, "the children have ended", func() bool { return strings.Count(out(), "child ends") == 2 })
}

func TestTinyReadsPipes(t *testing.T) {
	dir := root(t, map[string]string{"channels": "sha256", "epochs": "2"})
	if err := os.WriteFile(filepath.Join(dir, "input/config/inputdataconfig.json"), []byte(`{"p":{"TrainingInputMode":"Pipe"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := func(n int) string { return filepath.Join(dir, "input/data", fmt.Sprintf("p_%d", n)) }
	if err := syscall.Mkfifo(fifo(0), 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for n, text := range []string{"first", "second epoch"} {
			if n > 0 { // comes late: PIPE-3
				time.Sleep(50 * time.Millisecond)
				if err := syscall.Mkfifo(fifo(n), 0o644); err != nil {
					done <- err
					return
				}
			}
			if err := os.WriteFile(fifo(n), []byte(text), 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	_, errs, code := tiny(t, dir, "train")
	if err := <-done; err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, errs)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "model/channels.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]struct {
		Mode   string
		Epochs []struct {
			Path string
			Size int
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprint(got["p"]); s != "{Pipe [{p_0 5} {p_1 12}]}" {
		t.Error(s)
	}
}

func TestCheckLines(t *testing.T) {
	line := func(n int) string { return fmt.Sprintf("out %012d %s\n", n, strings.Repeat(fill, 20)) }
	good := line(0) + "other\n" + line(1) + line(2)
	if err := CheckLines(strings.NewReader(good), "out", 3); err != nil {
		t.Error(err)
	}
	for what, text := range map[string]string{
		"lost":      line(0) + line(2),
		"twice":     line(0) + line(0) + line(1),
		"swapped":   line(0) + line(2) + line(1),
		"cut":       line(0) + line(1)[:25] + "\n" + line(2),
		"merged":    line(0) + strings.TrimSuffix(line(1), "\n") + line(2),
		"inside":    line(0) + "x" + line(1) + line(2),
		"tail gone": line(0) + line(1),
		"too many":  good + line(3),
	} {
		if err := CheckLines(strings.NewReader(text), "out", 3); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
