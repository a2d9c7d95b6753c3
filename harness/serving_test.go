package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/containertest"
	"github.com/optml/optml/transform"
)

// servingPlan is a transform's, without input and output.
func servingPlan(name string) *job.Plan {
	p := transformPlan(name, "")
	p.Kind, p.Operation = job.KindServing, job.CreateModel
	p.Transform.Input, p.Transform.Output = job.TransformInput{}, job.TransformOutput{}
	return p
}

// ask sends one request to what serves.
func ask(ctx context.Context, s Served, path string) (int, string, error) {
	c := &http.Client{Transport: &http.Transport{DialContext: s.Dial, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.Addr+path, strings.NewReader("a,b"))
	if err != nil {
		return 0, "", err
	}
	x, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer x.Body.Close()
	b, err := io.ReadAll(x.Body)
	return x.StatusCode, string(b), err
}

func TestServing(t *testing.T) {
	t.Run("INF-60 it is driven when it is ready, and ended with SIGTERM (INF-7)", func(t *testing.T) {
		b := newBench(t, serving(server(200, upper)))
		var answer string
		var listened bool
		b.host.Drive = func(ctx context.Context, s Served) error {
			if s.Ready <= 0 {
				t.Errorf("ready after %v", s.Ready)
			}
			l, err := s.Listen(ctx, "127.0.0.1:9000")
			if err != nil {
				return err
			}
			defer l.Close()
			go func() {
				if c, err := l.Accept(); err == nil {
					c.Close()
				}
			}()
			var c net.Conn
			if c, err = s.Dial(ctx, "tcp", "127.0.0.1:9000"); err == nil {
				listened = true
				c.Close()
			}
			_, answer, err = ask(ctx, s, "/invocations")
			return err
		}
		final, state := b.run(servingPlan("driven"))
		if final.Status != "Completed" || final.Message != "Serving completed" || *final.ExitCode != ExitCompleted {
			t.Errorf("%+v", final)
		}
		if answer != "AAB" || !listened {
			t.Errorf("answer %q, listened %v", answer, listened)
		}
		if c := state.Containers; len(c) != 1 || c[0].Exited == nil || c[0].Exited.Code != 0 {
			t.Errorf("%+v", c)
		}
		var steps []string
		for _, s := range state.Steps {
			steps = append(steps, s.Name)
		}
		if got := strings.Join(steps, " "); !strings.HasSuffix(got, "create serve load") {
			t.Errorf("steps %s", got)
		}
	})
	t.Run("it ends while it is driven", func(t *testing.T) {
		leave := make(chan struct{})
		b := newBench(t, serving(func(p *containertest.Process) int {
			l, err := p.Listen("8080")
			if err != nil {
				panic(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
			go srv.Serve(l)
			defer srv.Close()
			<-leave
			return 7
		}))
		b.host.Drive = func(ctx context.Context, s Served) error {
			close(leave)
			<-s.Exited
			return fmt.Errorf("cut short: %w", transform.ErrExited)
		}
		final, _ := b.run(servingPlan("gone"))
		if final.Status != "Failed" || !strings.HasPrefix(final.FailureReason, "AlgorithmError: ") || !strings.Contains(final.Detail, "exit code 7") {
			t.Errorf("%+v", final)
		}
	})
	t.Run("ST-12 it is never ready", func(t *testing.T) {
		b := newBench(t, serving(server(503, upper)))
		b.host.Drive = func(context.Context, Served) error { t.Error("it is driven"); return nil }
		p := servingPlan("mute")
		p.Transform.PingWindow = job.Duration(pingEvery * 5)
		final, _ := b.run(p)
		if final.Status != "Failed" || !strings.Contains(final.FailureReason, "failed to respond to ping") {
			t.Errorf("%+v", final)
		}
	})
	t.Run("nobody drives it", func(t *testing.T) {
		final, _ := newBench(t, serving(server(200, upper))).run(servingPlan("alone"))
		if final.Status != "Failed" || !strings.Contains(final.Detail, "nobody") {
			t.Errorf("%+v", final)
		}
	})
	t.Run("a stop ends the load", func(t *testing.T) {
		b := newBench(t, serving(server(200, upper)))
		p := servingPlan("stopped")
		o := b.create(p)
		defer o.Close()
		b.host.Drive = func(ctx context.Context, _ Served) error {
			_ = o.Job().RequestStop(ledger.Stop{Reason: "test"})
			<-ctx.Done()
			return context.Cause(ctx)
		}
		final, err := Run(t.Context(), o, p, b.host)
		if err != nil || final.Status != "Stopped" || *final.ExitCode != ExitStopped {
			t.Errorf("%+v %v", final, err)
		}
		b.clean(o)
		if got := b.statuses(o); strings.Join(got, " ") != "InProgress Stopping Stopped" {
			t.Errorf("%q", got)
		}
	})
	t.Run("END-2 its owner died", func(t *testing.T) {
		b := newBench(t, nil)
		o := b.create(servingPlan("dead"))
		if err := o.Append(ledger.Transition{Status: "InProgress"}); err != nil {
			t.Fatal(err)
		}
		dir := o.Dir()
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		done, err := Recover(t.Context(), b.root, b.host, &reaper{})
		if err != nil || len(done) != 1 || done[0].Dir != dir || done[0].Final.Status != "Failed" {
			t.Errorf("%+v %v", done, err)
		}
	})
}
