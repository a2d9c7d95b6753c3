package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
)

// MET-1: a definition that matched nothing is told with the line that comes nearest.
func TestNearest(t *testing.T) {
	for _, tc := range []struct {
		name, regex, log, want string // in the warning; "-": no line is near
	}{
		{"another character", `loss=([0-9.]+)`, "start\nloss: 0.5\nend\n", `at byte 6 of the log, is "loss: 0.5", which has "loss" of "loss="`},
		{"another case", `loss=([0-9.]+)`, "LOSS=0.5\n", `is "LOSS=0.5"`},
		{"no number there", `loss=([0-9.]+)`, "a loss=\nb loss=nothing\n", `is "a loss="`},
		{"the more of the text", `validation-auc:(\S+)`, "valid\nvalidation done\nvalid\n", `is "validation done", which has "validation" of "validation-auc:"`},
		{"a blank for a tab", `.*\[[0-9]+\].*#011validation-auc:(\S+)`, "[1]\ttrain-auc:1\n[12] validation-auc:0.8\n", `is "[12] validation-auc:0.8"`},
		{"control characters as they are matched", `#011auc=(\d)`, "\tAUC=x\n", `is "#011AUC=x"`},
		{"an anchor", `^loss=(\d)`, "2026 loss=3\n", `is "2026 loss=3"`},
		{"the other engine", `(?<=loss=)([0-9.]+)(?! s)`, "x\nloss= 0.5\n", `is "loss= 0.5"`},
		{"a long line", `loss=(\d)`, strings.Repeat("é", 3000) + "\nloss:" + strings.Repeat("é", 3000) + "\n", `at byte 6001 of the log, is "loss:` + strings.Repeat("é", 97) + `…"`},
		{"nothing", `loss=(\d)`, "start\nend\n", "-"},
		{"an empty log", `loss=(\d)`, "", "-"},
	} {
		s := compile(t, def("m", tc.regex))
		if got := sweep(t, s, tc.log, 100); got != nil {
			t.Errorf("%s: it matches: %v", tc.name, got)
		}
		if err := s.Nearest(strings.NewReader(tc.log), 0, time.Minute); err != nil {
			t.Error(err)
		}
		w := s.Warnings()
		if len(w) != 1 || w[0].Rule != "MET-1" {
			t.Errorf("%s: %v", tc.name, w)
			continue
		}
		if near := strings.Contains(w[0].Text, "nearest"); near != (tc.want != "-") || near && !strings.Contains(w[0].Text, tc.want) {
			t.Errorf("%s: %s", tc.name, w[0].Text)
		}
	}
}

// What matched is not looked for.
func TestNearestOfTheUnmatchedAlone(t *testing.T) {
	s := compile(t, def("m", `loss=(\d)`), def("n", `acc=(\d)`))
	log := "loss=1 acc:1\n"
	sweep(t, s, log, 100)
	if err := s.Nearest(strings.NewReader(log), 0, time.Minute); err != nil || s.near[0] != nil || s.near[1] == nil {
		t.Error(err, s.near)
	}
	if err := s.Nearest(neverRead{}, 0, -time.Second); err != nil { // its time is over
		t.Error(err)
	}
}

type neverRead struct{}

func (neverRead) Read([]byte) (int, error) { panic("read") }

func FuzzNearest(f *testing.F) {
	for _, p := range fuzzPatterns {
		f.Add(p, "loss: 1\n[2]\tauc\n\xff\n")
	}
	f.Fuzz(func(t *testing.T, pattern, log string) {
		if len(pattern) > 200 || len(log) > 10000 {
			return
		}
		s, err := Compile([]job.MetricDefinition{def("m", pattern)})
		if err != nil {
			return
		}
		if err := s.Nearest(strings.NewReader(log), 0, time.Minute); err != nil {
			t.Error(err)
		}
		for _, w := range s.Warnings() {
			if len(w.Text) > 20*nearShown+4*len(pattern) {
				t.Errorf("%d bytes: %s", len(w.Text), w.Text)
			}
		}
	})
}
