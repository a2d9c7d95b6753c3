package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/load"
	"github.com/optml/optml/transform"
)

// curve puts two loads on a server.
func curve(t *testing.T, h http.HandlerFunc) *load.Curve {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	var d net.Dialer
	to := load.Target{Container: transform.Container{Addr: s.Listener.Addr().String(), Dial: d.DialContext}}
	var rungs []load.Options
	for _, n := range []int{1, 2} {
		rungs = append(rungs, load.Options{Concurrency: n, Requests: 200, Payloads: [][]byte{[]byte("x")}})
	}
	c, err := load.Sweep(t.Context(), to, rungs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func good(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func bad(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no \x1b[31m<script>", http.StatusServiceUnavailable)
}

// served is a benchmark of a serving in two variants, of which the second is twice as fast.
func served(t *testing.T, stop bool) *Result {
	c := curve(t, good)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r, err := Carry(ctx, Config{
		Name: "b", Job: "m", Kind: job.KindServing, Variants: []Variant{{Name: "W=1"}, {Name: "W=2"}},
		Settings: Settings{Runs: 4, Figure: "throughput", Load: "closed loops of 1, 2 at a time"},
		Run: func(_ context.Context, x Task) (Outcome, error) {
			o := Outcome{Job: "serving/b-1", Began: time.Now(), Status: "Completed", Figures: map[string]float64{"total": 1}}
			if stop && x.N == 3 {
				cancel(errors.New("it was stopped: test"))
				o.Status, o.Error = stopped, "stopped"
			}
			o.Served(&Load{Ready: 0.5, First: 0.02, Closed: c})
			if o.Error == "" {
				o.Figures["throughput"] = float64(100 * (1 + x.Variant))
			}
			return o, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServedFigures(t *testing.T) {
	c := curve(t, good)
	c.Points[0].SetPath(c.Points[1])
	o := Outcome{Status: "Completed", Figures: map[string]float64{}}
	o.Served(&Load{Ready: 0.5, First: 0.02, Closed: c})
	most := max(c.Points[0].Throughput, c.Points[1].Throughput)
	p50, _ := c.Points[0].Latency.At(50)
	for name, want := range map[string]float64{"ready": 0.5, "first": 0.02, "throughput": most, "knee": c.Points[*c.Knee].Throughput,
		"p50": p50, "path": c.Points[0].Path.Median} {
		if got := o.Figures[name]; got != want || got == 0 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if o.Error != "" {
		t.Error(o.Error)
	}

	o = Outcome{Status: "Completed", Figures: map[string]float64{}}
	o.Served(&Load{Ready: 0.5, FirstError: "status 5xx", Closed: curve(t, bad)})
	if !strings.HasPrefix(o.Error, "no good answer to 200 requests: ") || !strings.Contains(o.Error, "503") {
		t.Errorf("nothing is answered well: %q", o.Error)
	}
	if _, ok := o.Figures["first"]; ok {
		t.Error("a first invocation that failed has a time")
	}

	// A rate at which everything waited for what was sent before is one that was not held.
	o = Outcome{Status: "Completed", Figures: map[string]float64{}}
	o.Served(&Load{Open: &load.Curve{Points: []*load.Result{{Loop: "open", Due: 10, Missed: 10, Throughput: 5}}}})
	if o.Error != "" || o.Figures["throughput"] != 5 {
		t.Errorf("%+v", o)
	}
	// What was stopped has its load, and no figures.
	o = Outcome{Status: stopped, Error: "stopped"}
	if o.Served(&Load{Closed: c}); o.Load == nil || len(o.Figures) > 0 {
		t.Errorf("%+v", o)
	}
}

func TestServedForms(t *testing.T) {
	r := served(t, false)
	if len(r.Verdicts) != 1 || !strings.HasPrefix(r.Verdicts[0], "W=2 is 2.00x faster than W=1 (95 % CI ") {
		t.Errorf("%q", r.Verdicts)
	}
	var text, page, stat bytes.Buffer
	if err := errors.Join(r.Text(&text), r.HTML(&page), r.Benchstat(&stat)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nMOST GOOD ANSWERS A SECOND ", "\nLOAD, W=1, run ", "\nLOAD, W=2, run ", "\n1 at a time ", "the most that was held\n", "closed loops of 1, 2 at a time; "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	for _, want := range []string{"<b>latency, closed loop</b>", "over good answers a second", `data-host="W=2, p99"`, "<summary>closed loop, 2 at a time, ", "Each second"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if !strings.Contains(stat.String(), "BenchmarkServing/W=2 1 ") || !strings.Contains(stat.String(), "200 throughput-per-sec") {
		t.Errorf("%s", stat.String())
	}
	if strings.Contains(page.String(), "<script") {
		t.Error("the page has a script")
	}
}

// A load that is read again is shown as it was; one without its figures is refused.
func TestServedRead(t *testing.T) {
	r := served(t, false)
	var b, was, is bytes.Buffer
	path := filepath.Join(t.TempDir(), "r.json")
	if err := errors.Join(r.JSON(&b), os.WriteFile(path, b.Bytes(), 0o644), r.Text(&was)); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Text(&is); err != nil || is.String() != was.String() {
		t.Errorf("%v\n%s\nwas\n%s", err, is.String(), was.String())
	}
	r.Variants[0].Runs[0].Load = &Load{Closed: &load.Curve{Points: []*load.Result{nil}}}
	b.Reset()
	if err := errors.Join(r.JSON(&b), os.WriteFile(path, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "a load has no figures") {
		t.Error(err)
	}
}

// What was stopped is marked, and the load of the run that was under way is there.
func TestServedPartial(t *testing.T) {
	r := served(t, true)
	if r.Partial != "it was stopped: test" || r.Variants[0].Runs[len(r.Variants[0].Runs)-1].Load == nil {
		t.Errorf("%+v", r)
	}
	one := &Result{Kind: "serving", Settings: Settings{Figure: "throughput"}, Figures: []Figure{{Name: "throughput", Unit: "1/s"}},
		Variants: []Variant{{Name: "the job", Runs: []Run{{N: 1, Status: stopped, Error: "stopped", Load: &Load{Cut: "stop \x1b requested", Closed: curve(t, bad)}}}}}}
	one.conclude()
	var text bytes.Buffer
	if err := one.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LOAD, the job, run 1, CUT SHORT: stop \\x1b requested\n", "  status 5xx  200\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(text.String(), "\x1b") {
		t.Error("what a container answered reaches the terminal as it is")
	}
}
