//go:build e2e

package examples

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// The tests run the image in a containerd of their own, whose roles this test binary plays.
func TestMain(m *testing.M) {
	switch ctrd.Role(os.Args[0], os.Getenv(ctrd.RoleEnv)) {
	case ctrd.RoleDaemon:
		os.Exit(ctrd.DaemonMain(os.Args[1:]))
	case ctrd.RoleShim:
		os.Exit(ctrd.ShimMain())
	case ctrd.RoleLogger:
		os.Exit(ctrd.LoggerMain(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// archive is the image: $OPTML_SKLEARN, else made now (cached by content).
func archive(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("OPTML_SKLEARN"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "sklearn.tar")
	if out, err := exec.CommandContext(t.Context(), "../hack/mkimage-sklearn", "-o", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func connect(t *testing.T) *ctrd.Client {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ox") // short: sockets live under it
	if err != nil {
		t.Fatal(err)
	}
	cfg := ctrd.Config{Root: filepath.Join(dir, "root"), RunDir: filepath.Join(dir, "run"), Idle: time.Second}
	c, err := ctrd.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := ctrd.StopDaemon(context.Background(), cfg); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

// run starts a container of the image and returns it with the path of its log.
func run(t *testing.T, c *ctrd.Client, image, arg string, mounts []container.Mount) (container.Task, string) {
	t.Helper()
	dir := t.TempDir()
	task, err := c.Launch(t.Context(), container.Spec{
		ID: fmt.Sprintf("example-%d-%s", os.Getpid(), arg), Job: dir, Image: image, Args: []string{arg}, Hostname: "algo-1", Mounts: mounts, Log: filepath.Join(dir, "log"),
		Network: container.Network{Isolated: true, Bridge: "optmlx" + arg[:1], Hosts: []string{"algo-1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := task.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return task, filepath.Join(dir, "log.log")
}

func wait(t *testing.T, task container.Task, d time.Duration) container.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	e, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// opt makes an /opt/ml with the example's channels.
func opt(t *testing.T, hyper map[string]string) container.Tree {
	t.Helper()
	tree := container.Tree{Root: t.TempDir()}
	if err := tree.Make(false); err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteConfig(&job.Training{HyperParameters: hyper}, container.Hosts{Current: "algo-1", All: []string{"algo-1"}, InstanceType: "ml.m5.large", Interface: "eth0"}); err != nil {
		t.Fatal(err)
	}
	for _, channel := range []string{"train", "validation"} {
		if err := os.CopyFS(filepath.Join(tree.Data(), channel), os.DirFS(filepath.Join("iris/data/optml-iris", channel))); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// The image trains on the example's data, and serves the model that it made: at least 90 % of the rows that it has not
// seen are predicted right.
func TestImageTrainsAndServes(t *testing.T) {
	c := connect(t)
	begun := time.Now()
	images, err := c.ImportPath(t.Context(), archive(t), "")
	if err != nil {
		t.Fatal(err)
	}
	image := images[0].Ref
	t.Logf("import %.1f s, %d MB", time.Since(begun).Seconds(), images[0].Size/1e6)

	tree := opt(t, map[string]string{"n_estimators": "50", "max_depth": "5"})
	begun = time.Now()
	task, log := run(t, c, image, "train", tree.Mounts())
	exit := wait(t, task, time.Minute)
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if exit.Code != 0 {
		t.Fatalf("train exits %d\n%s", exit.Code, text)
	}
	t.Logf("train %.1f s\n%s", time.Since(begun).Seconds(), text)
	values := regexp.MustCompile(`validation:accuracy=([0-9.]+);`).FindAllStringSubmatch(string(text), -1)
	if len(values) != 10 {
		t.Fatalf("%d values of validation:accuracy", len(values))
	}
	if v, err := strconv.ParseFloat(values[9][1], 64); err != nil || v < 0.9 {
		t.Errorf("validation:accuracy is %s", values[9][1])
	}

	begun = time.Now()
	task, log = run(t, c, image, "serve", []container.Mount{{Source: tree.Model(), Target: "/opt/ml/model", ReadOnly: true}})
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return task.Dial(ctx, network, "127.0.0.1:8080")
	}}}
	for {
		resp, err := client.Get("http://container/ping")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(begun) > 30*time.Second {
			text, _ := os.ReadFile(log)
			t.Fatalf("no /ping: %v\n%s", err, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("serve is ready after %.1f s", time.Since(begun).Seconds())
	post := func(kind, accept, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://container/invocations", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Accept", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	var batch bytes.Buffer
	var labels []string
	for _, row := range rows(t, "validation/iris-validation.csv") {
		labels = append(labels, row[0])
		fmt.Fprintln(&batch, strings.Join(row[1:], ","))
	}
	status, body := post("text/csv", "text/csv", batch.String())
	predicted := strings.Split(body, "\n")
	if status != http.StatusOK || len(predicted) != len(labels) {
		t.Fatalf("%d: %s", status, body)
	}
	right := 0
	for i := range labels {
		if predicted[i] == labels[i] {
			right++
		}
	}
	t.Logf("%d of %d right", right, len(labels))
	if right*10 < len(labels)*9 {
		t.Errorf("%d of %d rows are predicted right", right, len(labels))
	}
	for _, c := range []struct {
		kind, accept, body string
		status             int
		answer             string
	}{
		{"text/csv; charset=utf-8", "application/json", "5.0,3.6,1.4,0.2\n", 200, `{"predictions": ["setosa"]}`},
		{"text/csv", "", "", 200, ""},
		{"text/csv", "", "1,2\n", 400, "line 1: 2 values, the model has 4 features"},
		{"text/csv", "", "5.0,3.6,1.4,0.2\na,b,c,d\n", 400, "line 2: not a row of numbers"},
		{"application/json", "", "{}", 415, "only text/csv"},
	} {
		if status, body := post(c.kind, c.accept, c.body); status != c.status || !strings.Contains(body, c.answer) {
			t.Errorf("%s %q: %d %s", c.kind, c.body, status, body)
		}
	}
	begun = time.Now()
	if err := task.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task, 30*time.Second); e.Code != 0 {
		t.Errorf("serve exits %d on SIGTERM", e.Code)
	}
	t.Logf("serve ends %.1f s after SIGTERM", time.Since(begun).Seconds())
}

// A mistake of the user becomes the failure file and exit code 1 (FAIL-1); SIGTERM leaves a model (STOP-1).
func TestImageFailsAndStops(t *testing.T) {
	c := connect(t)
	images, err := c.ImportPath(t.Context(), archive(t), "")
	if err != nil {
		t.Fatal(err)
	}
	tree := opt(t, map[string]string{"n_estimators": "many"})
	task, _ := run(t, c, images[0].Ref, "train", tree.Mounts())
	if e := wait(t, task, time.Minute); e.Code != 1 {
		t.Errorf("exit %d", e.Code)
	}
	if text, err := tree.ReadFailure(); err != nil || text != "hyperparameter n_estimators: 'many' is not a number" {
		t.Errorf("failure %q, %v", text, err)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	tree = opt(t, map[string]string{"n_estimators": "1000"})
	task, log := run(t, c, images[0].Ref, "train", tree.Mounts())
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if text, _ := os.ReadFile(log); bytes.Contains(text, []byte("step=100;")) {
			break
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatal("no first step in 30 s")
		}
	}
	if err := task.Signal(t.Context(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task, 30*time.Second); e.Code != 0 {
		t.Errorf("exit %d on SIGTERM", e.Code)
	}
	if _, err := os.Stat(filepath.Join(tree.Model(), "model.joblib")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(log); err != nil || bytes.Contains(text, []byte("step=1000;")) {
		t.Errorf("the training went on to its end (%v)", err)
	}
}
