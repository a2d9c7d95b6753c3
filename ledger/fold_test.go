package ledger

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/optml/optml/job"
)

// at is a moment of the tests' job, seconds after it was made.
func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

func ev(second int, host, step string, b Body) Event {
	return Event{Time: at(second), Host: host, Step: step, Body: b}
}

func foldAll(p *job.Plan, events ...Event) State {
	for i := range events {
		events[i].Seq = int64(i + 1)
	}
	return Fold(p, slices.Values(events))
}

// completed is what a training's owner appends when all goes well.
func completed() []Event {
	return []Event{
		ev(0, "", "", Transition{Status: "InProgress", Secondary: "Starting", Message: "Starting the training job"}),
		ev(1, "", "", Transition{Status: "InProgress", Secondary: "Starting", Message: "Preparing the instances for training"}),
		ev(2, "", "", Transition{Status: "InProgress", Secondary: "Downloading", Message: "Downloading input data"}),
		ev(2, "algo-1", "image", StepBegan{}),
		ev(2, "algo-1", "fill", StepBegan{}),
		ev(3, "algo-1", "image", ImageResolved{Container: "algo-1", Ref: "i:1", Digest: "sha256:aa", Platform: "linux/amd64"}),
		ev(4, "algo-1", "image", StepEnded{}),
		ev(5, "algo-1", "fill", StepEnded{Bytes: 1000}),
		ev(5, "algo-1", "create", Intent{Kind: "container", ID: "c1"}),
		ev(6, "", "", Transition{Status: "InProgress", Secondary: "Training", Message: "Training image download completed. Training in progress."}),
		ev(6, "algo-1", "run", Started{Container: "algo-1", ID: "c1", PID: 9, BootID: "b"}),
		ev(66, "algo-1", "run", Exited{Container: "algo-1", Code: 0, At: at(66)}),
		ev(66, "algo-1", "run", ChannelTotals{Channel: "train", Mode: "File", Bytes: 1000, Objects: 2}),
		ev(66, "algo-1", "run", Released{Kind: "container", ID: "c1"}),
		ev(67, "", "", Transition{Status: "InProgress", Secondary: "Uploading", Message: "Uploading generated training model"}),
		ev(68, "", "upload", UploadTotals{Artifact: "model", URI: "s3://b/m", Bytes: 77}),
		ev(69, "", "", FinalMetric{Name: "acc", Value: 0.5, At: at(60), Count: 3}),
		ev(70, "", "", Transition{Status: "Completed", Secondary: "Completed", Message: "Training job completed", ExitCode: new(0)}),
	}
}

// LIFE-1, LIFE-5: another secondary status is a new element, another message is not; times begin with the download.
func TestFoldCompleted(t *testing.T) {
	s := foldAll(trainingPlan("a"), completed()...)
	want := []StatusSpan{
		{"Starting", at(0), at(2), "Preparing the instances for training"},
		{"Downloading", at(2), at(6), "Downloading input data"},
		{"Training", at(6), at(67), "Training image download completed. Training in progress."},
		{"Uploading", at(67), at(70), "Uploading generated training model"},
		{"Completed", at(70), at(70), "Training job completed"},
	}
	if diff := cmp.Diff(want, s.Transitions); diff != "" {
		t.Error(diff)
	}
	if s.Status != StatusCompleted || s.Secondary != "Completed" || !s.Final || s.ExitCode == nil || *s.ExitCode != 0 {
		t.Errorf("%+v", s)
	}
	if !s.StartTime.Equal(at(2)) || !s.EndTime.Equal(at(70)) || s.Duration() != 68*time.Second || !s.CreationTime.Equal(t0) {
		t.Errorf("start %v end %v created %v", s.StartTime, s.EndTime, s.CreationTime)
	}
	steps := []Step{
		{Host: "algo-1", Name: "image", Begin: at(2), End: at(4)},
		{Host: "algo-1", Name: "fill", Begin: at(2), End: at(5), Bytes: 1000},
	}
	if diff := cmp.Diff(steps, s.Steps); diff != "" {
		t.Error(diff)
	}
	if len(s.Open) != 0 || len(s.Running()) != 0 || len(s.Containers) != 1 || len(s.Channels) != 1 || len(s.Uploads) != 1 || len(s.Metrics) != 1 || len(s.Images) != 1 {
		t.Errorf("%+v", s)
	}
	if s.Seq != 18 || !s.ModifiedTime.Equal(at(70)) || !s.FinalTime.Equal(at(70)) {
		t.Errorf("%+v", s)
	}
}

// LIFE-5, ST-2: a failure's end is when it was noticed; without a start there is no end.
func TestFoldTimesOfFailures(t *testing.T) {
	failed := func(second int) Event {
		return ev(second, "", "", Transition{Status: "Failed", Secondary: "Failed", Message: "Training job failed", FailureReason: "AlgorithmError: , exit code: 3", ExitCode: new(1)})
	}
	training := ev(6, "", "", Transition{Status: "InProgress", Secondary: "Training"})
	began := ev(6, "algo-1", "run", Started{Container: "algo-1"})
	for name, tc := range map[string]struct {
		events     []Event
		start, end time.Time
	}{
		"exit code":                {[]Event{training, began, ev(10, "algo-1", "run", Exited{Container: "algo-1", Code: 3, At: at(9)}), failed(20)}, at(6), at(9)},
		"exit code without a time": {[]Event{training, began, ev(10, "algo-1", "run", Exited{Container: "algo-1", Code: 3}), failed(20)}, at(6), at(10)},
		"a step":                   {[]Event{training, ev(7, "", "upload", StepBegan{}), ev(12, "", "upload", StepEnded{Error: "no bucket"}), failed(20)}, at(6), at(12)},
		"exit before a step":       {[]Event{training, began, ev(10, "", "", Exited{Container: "algo-1", Code: 1, At: at(8)}), ev(12, "", "x", StepEnded{Error: "e"}), failed(20)}, at(6), at(8)},
		"a step before the exit":   {[]Event{training, began, ev(8, "", "serve", StepEnded{Error: "e"}), ev(10, "", "", Exited{Container: "algo-1", Code: 143, At: at(10)}), failed(20)}, at(6), at(8)},
		"no sign":                  {[]Event{training, failed(20)}, at(6), at(20)},
		"never started":            {[]Event{ev(0, "", "", Transition{Status: "InProgress", Secondary: "Starting"}), ev(1, "", "image", StepEnded{Error: "no image"}), failed(2)}, time.Time{}, time.Time{}},
		"a container is a start":   {[]Event{began, failed(20)}, at(6), at(20)},
		"not over":                 {[]Event{training, began}, at(6), time.Time{}},
		"stopped after a bad exit": {[]Event{training, began, ev(10, "", "", Exited{Container: "algo-1", Code: 143, At: at(9)}), ev(20, "", "", Transition{Status: "Stopped", Secondary: "MaxRuntimeExceeded"})}, at(6), at(20)},
	} {
		s := foldAll(trainingPlan("a"), tc.events...)
		if !s.StartTime.Equal(tc.start) || !s.EndTime.Equal(tc.end) {
			t.Errorf("%s: start %v end %v, want %v %v", name, s.StartTime, s.EndTime, tc.start, tc.end)
		}
	}
}

func TestFoldDetails(t *testing.T) {
	s := foldAll(trainingPlan("a"),
		ev(0, "", "", Intent{Kind: "network", ID: "n"}),
		ev(0, "", "", Intent{Kind: "container", ID: "n"}),
		ev(0, "", "", Intent{Kind: "network", ID: "n", Note: "again"}),
		ev(0, "", "", Released{Kind: "container", ID: "n"}),
		ev(0, "", "", Released{Kind: "mount", ID: "never made"}),
		ev(1, "algo-1", "ping", StepBegan{}),
		ev(2, "algo-2", "ping", StepBegan{}),
		ev(3, "algo-1", "ping", StepEnded{Error: "refused"}),
		ev(4, "algo-1", "ping", StepBegan{}),
		ev(5, "algo-1", "ping", StepEnded{}),
		ev(6, "", "unheard", StepEnded{Bytes: 4}),
		ev(7, "", "", Warning{Rule: "CH-3", Text: "x"}), ev(7, "", "", Warning{Rule: "CH-3", Text: "x"}),
		ev(8, "", "", Verdict{Rule: "ping", Outcome: "not checked"}), ev(9, "", "", Verdict{Rule: "ping", Outcome: "passed"}),
		ev(9, "", "", Child{Kind: "training", Name: "t"}), ev(9, "", "", Child{Kind: "training", Name: "t"}),
		ev(9, "", "", FinalMetric{Name: "m", Value: 1}), ev(9, "", "", FinalMetric{Name: "m", Value: 2}),
		ev(9, "algo-1", "", InstanceUsage{Metrics: []UsageMetric{{"CPUUtilization", 1, 2}}}), ev(9, "algo-1", "", InstanceUsage{Metrics: []UsageMetric{{"CPUUtilization", 3, 4}}}),
		ev(9, "", "", Transition{Status: "Stopping", Secondary: "Stopping"}),
		ev(10, "", "", Transition{Status: "Stopped", Secondary: "Stopped"}),
		ev(11, "", "", Transition{Status: "InProgress", Secondary: "Training"}),
		ev(12, "algo-1", "", Exited{Container: "algo-9", Code: 1}),
		ev(13, "", "", Unknown{Type: "Later"}),
		ev(14, "", "", nil),
	)
	if want := []OpenIntent{{Intent: Intent{Kind: "network", ID: "n", Note: "again"}}}; !reflect.DeepEqual(s.Open, want) {
		t.Errorf("open %+v", s.Open)
	}
	steps := []Step{
		{Host: "algo-1", Name: "ping", Begin: at(1), End: at(3), Error: "refused"},
		{Host: "algo-2", Name: "ping", Begin: at(2)},
		{Host: "algo-1", Name: "ping", Begin: at(4), End: at(5)},
		{Name: "unheard", Begin: at(6), End: at(6), Bytes: 4},
	}
	if diff := cmp.Diff(steps, s.Steps); diff != "" {
		t.Error(diff)
	}
	if len(s.Warnings) != 1 || len(s.Children) != 1 || len(s.Verdicts) != 1 || s.Verdicts[0].Outcome != "passed" || len(s.Metrics) != 1 || s.Metrics[0].Value != 2 {
		t.Errorf("%+v", s)
	}
	if s.Status != StatusStopped || s.Secondary != "Stopped" || len(s.Transitions) != 2 {
		t.Errorf("a transition after the end changed it: %+v", s)
	}
	if s.Seq != 27 || len(s.Usage) != 1 || s.Usage[0].Metrics[0].Mean != 3 || len(s.Containers) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestFoldTransformAndValidation(t *testing.T) {
	p := &job.Plan{Kind: job.KindTransform, Transform: &job.Transform{CreationTime: t0}}
	s := foldAll(p, ev(1, "", "", Transition{Status: "InProgress"}), ev(2, "", "", Started{Container: "c"}),
		ev(3, "", "", TransformTotals{Objects: 4}), ev(5, "", "", Transition{Status: "Completed"}))
	if s.Transform == nil || s.Transform.Objects != 4 || s.Duration() != 3*time.Second || len(s.Transitions) != 2 {
		t.Errorf("%+v", s)
	}
	v := &job.Plan{Kind: job.KindValidation, Validation: &job.Validation{Training: trainingPlan("t")}}
	if s := foldAll(v); s.Status != StatusPending || !s.CreationTime.Equal(t0) {
		t.Errorf("%+v", s)
	}
	if s := foldAll(&job.Plan{}, ev(4, "", "", StepBegan{})); !s.CreationTime.Equal(at(4)) {
		t.Errorf("%+v", s)
	}
}

// randomBody fills one of the closed set with anything.
func randomBody(r *rand.Rand) Body {
	names := make([]string, 0, len(bodies))
	for n := range bodies {
		names = append(names, n)
	}
	slices.Sort(names)
	v := reflect.New(bodies[names[r.IntN(len(names))]]).Elem()
	words := []string{"", "InProgress", "Stopping", "Stopped", "Completed", "Failed", "Training", "Downloading", "algo-1", "x\x00\n", "é"}
	for _, field := range v.Fields() {
		switch f := field; f.Interface().(type) {
		case string:
			f.SetString(words[r.IntN(len(words))])
		case int, int64, time.Duration:
			f.SetInt(int64(r.IntN(5) - 1))
		case float64:
			f.SetFloat(r.Float64())
		case bool:
			f.SetBool(r.IntN(2) == 0)
		case *int:
			if r.IntN(2) == 0 {
				f.Set(reflect.ValueOf(new(r.IntN(3))))
			}
		case []GPU:
			if n := r.IntN(3); n > 0 {
				f.Set(reflect.ValueOf(make([]GPU, n)))
			}
		case []InstanceTotals:
			if n := r.IntN(3); n > 0 {
				f.Set(reflect.ValueOf(make([]InstanceTotals, n)))
			}
		case UsageCounters:
			f.Set(reflect.ValueOf(UsageCounters{CPU: time.Duration(r.IntN(3)), Read: int64(r.IntN(3))}))
		case []UsageMetric:
			if n := r.IntN(3); n > 0 {
				f.Set(reflect.ValueOf(make([]UsageMetric, n)))
			}
		case []InterruptedProcess:
			if n := r.IntN(3); n > 0 {
				f.Set(reflect.ValueOf(make([]InterruptedProcess, n)))
			}
		case []Saved:
			if n := r.IntN(3); n > 0 {
				f.Set(reflect.ValueOf(make([]Saved, n)))
			}
		case time.Time:
			f.Set(reflect.ValueOf(at(r.IntN(100) - 50)))
		default:
			panic("a field type that this test does not know: " + f.Type().String())
		}
	}
	return v.Interface().(Body)
}

// The fold takes anything, depends on nothing but its events, and does not share memory with a copy of itself. What
// was final stays final. What is written is what is read.
func TestFoldIsPureAndTotal(t *testing.T) {
	hosts := []string{"", "algo-1", "algo-2"}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		var events []Event
		for i := range 1 + r.IntN(80) {
			events = append(events, Event{
				Seq: int64(i + 1), Time: at(r.IntN(1000)), Host: hosts[r.IntN(3)], Step: hosts[r.IntN(3)], Body: randomBody(r),
			})
		}
		p := trainingPlan("a")
		whole := Fold(p, slices.Values(events))
		if again := Fold(p, slices.Values(events)); !reflect.DeepEqual(whole, again) {
			t.Fatalf("seed %d: %s", seed, cmp.Diff(whole, again))
		}
		s := newState(p)
		for i, e := range events {
			before := s.clone()
			was, _ := json.Marshal(before)
			s.apply(e)
			if now, _ := json.Marshal(before); string(was) != string(now) {
				t.Fatalf("seed %d event %d (%T): a copy changed: %s", seed, i, e.Body, cmp.Diff(string(was), string(now)))
			}
			if _, again := e.Body.(Restarted); again { // the one thing that may follow an end
				if s.Final || s.Attempt() != before.Attempt()+1 {
					t.Fatalf("seed %d event %d: %+v", seed, i, s)
				}
			} else if before.Final && (!s.Final || s.Status != before.Status || !s.EndTime.Equal(before.EndTime)) {
				t.Fatalf("seed %d event %d: the end changed", seed, i)
			}
			if s.Final != IsFinal(s.Status) {
				t.Fatalf("seed %d event %d: %s is final: %v", seed, i, s.Status, s.Final)
			}

			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var back Event
			if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, e) {
				t.Fatalf("seed %d event %d: %v %s", seed, i, err, cmp.Diff(e, back))
			}
		}
		if !reflect.DeepEqual(*s, whole) {
			t.Fatalf("seed %d: one by one differs", seed)
		}
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(b, &back); err != nil || !cmp.Equal(whole, back) {
			t.Fatalf("seed %d: status.json does not hold the state: %v %s", seed, err, cmp.Diff(whole, back))
		}
		if _, err := json.Marshal(describeTraining(&whole, p, nil)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// Each type of body.go has its name in the table and its case in the fold.
func TestBodiesAreClosed(t *testing.T) {
	for name, typ := range bodies {
		if typ.Name() != name || !typ.Implements(reflect.TypeFor[Body]()) {
			t.Errorf("%s is %v", name, typ)
		}
		// The fold sees each: with the step that StepEnded would end, or the intent that Released ends, already there.
		s := newState(&job.Plan{})
		s.apply(Event{Seq: 1, Time: t0, Body: Intent{}})
		s.apply(Event{Seq: 2, Time: t0, Step: "s", Body: StepBegan{}})
		before := s.clone()
		s.apply(Event{Seq: 2, Time: t0, Step: "s", Body: reflect.Zero(typ).Interface().(Body)})
		if name != "Intent" && reflect.DeepEqual(before, *s) {
			t.Errorf("%s leaves no trace in the state", name)
		}
	}
	if _, err := json.Marshal(Event{Seq: 1}); err == nil {
		t.Error("an event without a body was written")
	}
	o := create(t, t.TempDir(), "a")
	if o.Append(Unknown{Type: "x"}) == nil || o.Append(nil) == nil {
		t.Error("a body that is not of the closed set was appended")
	}
}

func FuzzEvent(f *testing.F) {
	for _, e := range completed() {
		e.Seq = 1
		b, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"seq":1,"time":"2026-03-01T12:00:00Z","type":"Later","body":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		if json.Unmarshal(b, &e) != nil {
			return
		}
		if e.Body == nil || e.Seq <= 0 {
			t.Fatalf("an event without a body or number: %+v", e)
		}
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("read but cannot be written: %v", err)
		}
		var again Event
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("written but cannot be read: %s: %v", out, err)
		}
		s := newState(trainingPlan("a"))
		s.apply(e)
		s.apply(again)
	})
}
