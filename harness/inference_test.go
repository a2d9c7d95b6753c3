package harness

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/containertest"
)

// statuses are those that a finished job went through.
func (b *bench) statuses(o *ledger.Owner) (all []string) {
	b.t.Helper()
	for e, err := range o.Job().Follow(b.t.Context()) {
		if err != nil {
			b.t.Fatal(err)
		}
		if x, ok := e.Body.(ledger.Transition); ok && (len(all) == 0 || all[len(all)-1] != x.Status) {
			all = append(all, x.Status)
		}
	}
	return all
}

func TestTransformStatuses(t *testing.T) { // ST-1: no Pending, and nothing in between
	for name, c := range map[string]struct {
		invoke http.HandlerFunc
		stop   bool
		want   []string
	}{
		"completed": {upper, false, []string{"InProgress", "Completed"}},
		"failed":    {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 400) }, false, []string{"InProgress", "Failed"}},
		"stopped":   {nil, true, []string{"InProgress", "Stopping", "Stopped"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 10)
			if c.invoke == nil {
				c.invoke = func(_ http.ResponseWriter, r *http.Request) {
					asked <- struct{}{}
					<-r.Context().Done()
				}
			}
			b := newBench(t, serving(server(200, c.invoke)))
			p := transformPlan(name, "")
			o := b.create(p)
			defer o.Close()
			if c.stop {
				go func() {
					<-asked
					_ = o.Job().RequestStop(ledger.Stop{Reason: "test"})
				}()
			}
			if _, err := Run(t.Context(), o, p, b.host); err != nil {
				t.Fatal(err)
			}
			b.clean(o)
			if got := b.statuses(o); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestInferenceImageWarnings(t *testing.T) { // INF-4, INF-5: warned about, and run as it is
	for name, c := range map[string]struct {
		image containertest.Image
		rules []string
	}{
		"plain":          {containertest.Image{}, nil},
		"root":           {containertest.Image{User: "root"}, nil},
		"another user":   {containertest.Image{User: "1000"}, []string{"INF-4"}},
		"tini":           {containertest.Image{Entrypoint: []string{"/usr/bin/tini", "--"}}, []string{"INF-5"}},
		"another init":   {containertest.Image{Entrypoint: []string{"/entrypoint.sh"}}, nil},
		"both":           {containertest.Image{User: "app", Entrypoint: []string{"tini-static", "-g", "--"}}, []string{"INF-4", "INF-5"}},
		"a shell keeps":  {containertest.Image{Entrypoint: []string{"/bin/sh", "-c", "python3 serve.py"}}, []string{"INF-1"}},
		"a shell gives":  {containertest.Image{Entrypoint: []string{"/bin/sh", "-c", `exec run.py "$0"`}}, nil},
		"tiny is not it": {containertest.Image{Entrypoint: []string{"/tiny"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			serve := server(200, upper)
			c.image.Commands = map[string]containertest.Program{"serve": serve}
			if e := c.image.Entrypoint; len(e) > 0 {
				c.image.Commands[e[0]] = serve
			}
			final, s := newBench(t, map[string]containertest.Image{"algo": c.image}).run(transformPlan("warned", ""))
			var rules []string
			for _, w := range s.Warnings {
				rules = append(rules, w.Rule)
				if w.Text == "" {
					t.Errorf("%s says nothing", w.Rule)
				}
			}
			if final.Status != "Completed" || !slices.Equal(rules, c.rules) {
				t.Errorf("%s %s, warnings %v, want %v", final.Status, final.FailureReason, s.Warnings, c.rules)
			}
		})
	}
}

func TestModelWithoutArtifacts(t *testing.T) { // INF-30: /opt/ml/model is there, and empty
	var names []string
	var said error
	b := newBench(t, serving(func(p *containertest.Process) int {
		var entries []os.DirEntry
		entries, said = os.ReadDir(p.Path("/opt/ml/model"))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return server(200, upper)(p)
	}))
	if final, _ := b.run(transformPlan("bare", "")); final.Status != "Completed" {
		t.Errorf("%+v", final)
	}
	if said != nil || len(names) > 0 {
		t.Errorf("/opt/ml/model: %v, holds %s", said, strings.Join(names, ", "))
	}
}
