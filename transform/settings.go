package transform

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/optml/optml/job"
)

const (
	singleRecord = "SINGLE_RECORD"
	multiRecord  = "MULTI_RECORD"

	// maxPayload and maxProduct are BT-91 and BT-92; concurrencyLimit is ours: with MaxPayloadInMB 0 the product binds
	// nothing, and each open request costs a connection and its buffers.
	maxPayload       = 100
	maxProduct       = 100
	concurrencyLimit = 1000
)

// suggestion is what /execution-parameters said, as far as it could be understood.
type suggestion struct {
	concurrent, payload *int
	strategy            *string
}

// parseSuggestion reads the answer of /execution-parameters. A field that it cannot use is left out with a warning (BT-22,
// BT-26).
func parseSuggestion(body []byte) (s suggestion, warnings []string) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return s, []string{fmt.Sprintf("/execution-parameters: the answer is not a JSON object; ignored: %s", shown(body))}
	}
	for name, raw := range fields {
		ignore := func(why string) {
			warnings = append(warnings, fmt.Sprintf("/execution-parameters: %s: %s; ignored: %s", name, why, shown(raw)))
		}
		number := func(to **int) {
			var n int
			if err := json.Unmarshal(raw, &n); err != nil || string(raw) == "null" {
				ignore("not an integer")
			} else if n < 0 {
				ignore("negative")
			} else {
				*to = &n
			}
		}
		switch strings.ToLower(name) {
		case "maxconcurrenttransforms":
			number(&s.concurrent)
			if s.concurrent != nil && *s.concurrent == 0 {
				s.concurrent = nil // unset, as in a request (BT-15)
			}
		case "maxpayloadinmb":
			number(&s.payload)
		case "batchstrategy":
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				ignore("not a string")
			} else if known, ok := strategy(text); !ok {
				ignore("unknown strategy")
			} else {
				s.strategy = &known
			}
		}
	}
	return s, warnings
}

func shown(b []byte) string {
	if len(b) > 200 {
		b = b[:200]
	}
	return fmt.Sprintf("%q", b)
}

// strategy takes the container's spelling and the API's, in any case (BT-12, BT-26).
func strategy(s string) (string, bool) {
	switch strings.ToLower(strings.ReplaceAll(s, "_", "")) {
	case "singlerecord":
		return singleRecord, true
	case "multirecord":
		return multiRecord, true
	}
	return "", false
}

// resolve merges request, suggestion and defaults, in this order (BT-23, BT-24), and clamps what a container's suggestion
// makes too large (BT-27). What the request alone makes too large has been refused before.
func resolve(t job.Transform, s suggestion) (Settings, []string) {
	var warnings []string
	out := Settings{MaxConcurrent: 1, MaxPayloadMB: 6, BatchStrategy: multiRecord}
	switch {
	case t.MaxConcurrent != nil && *t.MaxConcurrent > 0:
		out.MaxConcurrent = *t.MaxConcurrent
	case s.concurrent != nil:
		out.MaxConcurrent = *s.concurrent
	}
	switch {
	case t.MaxPayloadMB != nil:
		out.MaxPayloadMB = *t.MaxPayloadMB
	case s.payload != nil:
		out.MaxPayloadMB = *s.payload
		if out.MaxPayloadMB > maxPayload {
			warnings = append(warnings, fmt.Sprintf("/execution-parameters: MaxPayloadInMB %d is over %d; %d is used", out.MaxPayloadMB, maxPayload, maxPayload))
			out.MaxPayloadMB = maxPayload
		}
	}
	switch {
	case t.BatchStrategy != nil:
		if known, ok := strategy(*t.BatchStrategy); ok {
			out.BatchStrategy = known
		}
	case s.strategy != nil:
		out.BatchStrategy = *s.strategy
	}
	allowed := concurrencyLimit
	if out.MaxPayloadMB > 0 {
		allowed = max(1, maxProduct/out.MaxPayloadMB)
	}
	if out.MaxConcurrent > allowed {
		warnings = append(warnings, fmt.Sprintf("MaxConcurrentTransforms %d with MaxPayloadInMB %d is too much; %d is used", out.MaxConcurrent, out.MaxPayloadMB, allowed))
		out.MaxConcurrent = allowed
	}
	return out, warnings
}

// checkRequest refuses what the request alone makes impossible (BT-27, BT-91, BT-92). Who made the plan has checked the
// same; a plan may also come from a file.
func checkRequest(t job.Transform) error {
	payload := 6
	if t.MaxPayloadMB != nil {
		payload = *t.MaxPayloadMB
	}
	if payload < 0 || payload > maxPayload {
		return fmt.Errorf("MaxPayloadInMB %d is not in 0..%d", payload, maxPayload)
	}
	if t.MaxConcurrent != nil && (*t.MaxConcurrent < 0 || *t.MaxConcurrent*payload > maxProduct) {
		return fmt.Errorf("MaxConcurrentTransforms %d times MaxPayloadInMB %d is over %d", *t.MaxConcurrent, payload, maxProduct)
	}
	if t.BatchStrategy != nil {
		if _, ok := strategy(*t.BatchStrategy); !ok {
			return fmt.Errorf("BatchStrategy %q is not known", *t.BatchStrategy)
		}
	}
	for name, value := range map[string]string{"ContentType": t.Input.ContentType, "Accept": t.Output.Accept} {
		for _, c := range []byte(value) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return fmt.Errorf("%s %q cannot stand in a header", name, value)
			}
		}
	}
	for _, f := range []struct{ name, value, a, b string }{
		{"Compression", t.Input.Compression, "None", "Gzip"}, {"AssembleWith", t.Output.AssembleWith, "None", "Line"},
	} {
		if f.value != "" && f.value != f.a && f.value != f.b {
			return fmt.Errorf("%s %q is not known", f.name, f.value)
		}
	}
	return nil
}
