package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/transform"
)

// picky answers 500 to requests with a text, until it is mended, and remembers what it was sent.
type picky struct {
	mu   sync.Mutex
	text string
	sent []string
}

func (p *picky) invoke(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, string(b))
	if p.text != "" && strings.Contains(string(b), p.text) {
		http.Error(w, "bad row", 500)
		return
	}
	_, _ = w.Write(b)
}

func (p *picky) reset(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.sent = text, nil
}

// createRerun makes a job of the objects that failed in another.
func (b *bench) createRerun(of *job.Plan, objects ...string) (*ledger.Owner, *job.Plan) {
	b.t.Helper()
	p, err := job.PlanRerun(of, "again", "", time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	doc, err := json.Marshal(job.Rerun{Of: "transform/" + of.Name, Objects: objects})
	if err != nil {
		b.t.Fatal(err)
	}
	o, err := ledger.Create(b.root, ledger.Request{Plan: p, Documents: map[string][]byte{job.RerunFile: doc}, Replace: true})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { o.Close() })
	return o, p
}

// What failed is on record, and a rerun sends this and nothing else.
func TestRerunOfFailedObjects(t *testing.T) {
	model := &picky{text: "3"}
	b := newBench(t, serving(server(200, model.invoke)))
	b.put("in/train/z.csv", "5,6\n")
	p := transformPlan("first", "")
	p.Transform.RecordRequests = true
	final, s := b.run(p)
	dir := filepath.Join(b.root, "transform", "first")
	if final.Status != "Failed" || s.Transform.Failed != 1 || s.Transform.Objects != 2 {
		t.Fatalf("%+v %+v", final, s.Transform)
	}
	for _, want := range []string{"--rerun-failed first", filepath.Join(dir, "failing") + ", each with its response", "curl -i ", "@" + filepath.Join(dir, "failing", "1", "request")} {
		if !strings.Contains(final.Hint, want) {
			t.Errorf("no %q in the hint %q", want, final.Hint)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "requests.jsonl"))
	if err != nil || strings.Count(string(log), "\n") != 3 {
		t.Errorf("requests: %q %v", log, err)
	}
	var failed transform.FailedObject
	if list, err := os.ReadFile(filepath.Join(dir, "failures.jsonl")); err != nil || json.Unmarshal(list, &failed) != nil || failed.Object != "train/sub/b.csv" {
		t.Errorf("failures: %q %v", list, err)
	}

	model.reset("")
	o, again := b.createRerun(p, failed.Object)
	if again.Transform.RerunOf != "transform/first" || again.ARN == p.ARN {
		t.Errorf("%+v", again)
	}
	if final, err := Run(t.Context(), o, again, b.host); err != nil || final.Status != "Completed" {
		t.Fatalf("%+v %v", final, err)
	}
	b.clean(o)
	if !slices.Equal(model.sent, []string{"3,4\n"}) {
		t.Errorf("the rerun sent %q", model.sent)
	}
	if got := b.objects(); !slices.Equal(got, []string{"out/pred/a.csv.out", "out/pred/sub/b.csv.out", "out/pred/z.csv.out"}) {
		t.Errorf("outputs: %v", got)
	}
	if _, err := os.Stat(o.FailuresPath()); err == nil {
		t.Error("a list of failures of a job without any")
	}
}

// An object that is gone would be lost without a word: nothing is sent, and the error names it.
func TestRerunOfAnObjectThatIsGone(t *testing.T) {
	model := &picky{}
	b := newBench(t, serving(server(200, model.invoke)))
	o, again := b.createRerun(transformPlan("first", ""), "train/a.csv", "train/gone.csv")
	final, err := Run(t.Context(), o, again, b.host)
	if err != nil || final.Status != "Failed" || *final.ExitCode != ExitClient || !strings.Contains(final.Detail, "1 of 2 objects that failed in transform/first are not in the input any more, the first: train/gone.csv") {
		t.Errorf("%+v %v", final, err)
	}
	if len(model.sent) > 0 {
		t.Errorf("it sent %q", model.sent)
	}
}

// Rates are smoothed, and the time left is what remains at that rate.
func TestPace(t *testing.T) {
	var p pace
	at := time.Now()
	p.live(transform.Totals{TotalBytes: 1000, TotalObjects: 2}, at)
	for range 9 {
		at = at.Add(time.Second)
		p.live(transform.Totals{TotalBytes: 1000, TotalObjects: 2, Records: p.records + 5, Read: p.bytes + 100}, at)
	}
	got := p.live(transform.Totals{TotalBytes: 1000, TotalObjects: 2, Records: 45, Read: 1000, Cut: 10, BytesIn: 9, Objects: 1}, at.Add(100*time.Millisecond))
	if got.RecordsPerSecond < 4.9 || got.RecordsPerSecond > 5.1 || got.Bytes != 900 || got.Left < 900*time.Millisecond || got.Left > 1100*time.Millisecond || got.Objects != 1 {
		t.Errorf("%+v", got)
	}
	if got := p.live(transform.Totals{TotalBytes: 1000, Read: 1000, Records: 50}, at.Add(2*time.Second)); got.Left != 0 || got.Bytes != 1000 {
		t.Errorf("at the end: %+v", got)
	}
}
