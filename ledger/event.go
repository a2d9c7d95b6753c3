package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Event is one thing that happened. Host and Step say where in the run; both may be empty.
type Event struct {
	Seq  int64     // 1, 2, 3 … within a job
	Time time.Time // UTC
	Host string    // algo-1
	Step string
	Body Body
}

// Unknown is the body of an event that a newer optml wrote. It cannot be appended; State passes over it.
type Unknown struct {
	Type string
	Data json.RawMessage
}

func (Unknown) body() {}

// bodies is the closed set: what is in body.go. The key is the name on disk.
var bodies = map[string]reflect.Type{
	"Transition":      reflect.TypeFor[Transition](),
	"StepBegan":       reflect.TypeFor[StepBegan](),
	"StepEnded":       reflect.TypeFor[StepEnded](),
	"Intent":          reflect.TypeFor[Intent](),
	"Released":        reflect.TypeFor[Released](),
	"Started":         reflect.TypeFor[Started](),
	"Exited":          reflect.TypeFor[Exited](),
	"ImageResolved":   reflect.TypeFor[ImageResolved](),
	"GPUsTaken":       reflect.TypeFor[GPUsTaken](),
	"ChannelTotals":   reflect.TypeFor[ChannelTotals](),
	"UploadTotals":    reflect.TypeFor[UploadTotals](),
	"Interruption":    reflect.TypeFor[Interruption](),
	"TransformTotals": reflect.TypeFor[TransformTotals](),
	"FinalMetric":     reflect.TypeFor[FinalMetric](),
	"InstanceUsage":   reflect.TypeFor[InstanceUsage](),
	"Warning":         reflect.TypeFor[Warning](),
	"Child":           reflect.TypeFor[Child](),
	"Verdict":         reflect.TypeFor[Verdict](),
	"Adopted":         reflect.TypeFor[Adopted](),
	"Restarted":       reflect.TypeFor[Restarted](),
}

// line is an event on disk.
type line struct {
	Seq  int64           `json:"seq"`
	Time time.Time       `json:"time"`
	Host string          `json:"host,omitempty"`
	Step string          `json:"step,omitempty"`
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

// maxLine bounds an event's line on disk; a longer one is passed over as damaged. The longest honest body is a
// Transition (FailureReason 1024 characters, Detail and Hint a few lines).
const maxLine = 1 << 20

// MarshalJSON writes the event as it is on disk.
func (e Event) MarshalJSON() ([]byte, error) {
	if u, ok := e.Body.(Unknown); ok {
		return json.Marshal(line{e.Seq, e.Time, e.Host, e.Step, u.Type, u.Data})
	}
	t := reflect.TypeOf(e.Body)
	if t == nil || bodies[t.Name()] != t {
		return nil, fmt.Errorf("event body %T is not one of the closed set", e.Body)
	}
	b, err := json.Marshal(e.Body)
	if err != nil {
		return nil, fmt.Errorf("event body %s: %w", t.Name(), err)
	}
	return json.Marshal(line{e.Seq, e.Time, e.Host, e.Step, t.Name(), b})
}

// UnmarshalJSON reads a line of events.jsonl. A type that is not known gives an Unknown body; a known type whose body
// does not fit is an error.
func (e *Event) UnmarshalJSON(b []byte) error {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if l.Seq <= 0 || l.Type == "" || len(l.Body) == 0 {
		return errors.New("event: seq, type and body are required")
	}
	ev := Event{Seq: l.Seq, Time: l.Time.UTC(), Host: l.Host, Step: l.Step}
	if t, ok := bodies[l.Type]; ok {
		v := reflect.New(t)
		if err := json.Unmarshal(l.Body, v.Interface()); err != nil {
			return fmt.Errorf("event %d: body %s: %w", l.Seq, l.Type, err)
		}
		ev.Body = v.Elem().Interface().(Body)
	} else {
		ev.Body = Unknown{Type: l.Type, Data: l.Body}
	}
	*e = ev
	return nil
}
