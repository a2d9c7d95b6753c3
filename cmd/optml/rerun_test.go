package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// What failed is taken from the record only where the record is whole.
func TestFailedIn(t *testing.T) {
	root := t.TempDir()
	line := func(key string) string { return fmt.Sprintf(`{"object":%q,"error":"x"}`+"\n", key) }
	for _, c := range []struct {
		name   string
		kind   job.Kind
		status string
		failed int64 // -1: no totals
		list   string
		close  bool
		want   string // of the error; "": none
	}{
		{"whole", job.KindTransform, "Failed", 2, line("a") + line(`b"ü`), true, ""},
		{"training", job.KindTraining, "Failed", -1, "", true, "training/training: --rerun-failed takes a transform"},
		{"validation", job.KindValidation, "Failed", -1, "", true, "--rerun-failed takes a transform"},
		{"running", job.KindTransform, "InProgress", 1, line("a"), false, "it still runs"},
		{"dead", job.KindTransform, "InProgress", 1, line("a"), true, "its owner has died"},
		{"completed", job.KindTransform, "Completed", 0, "", true, "it is Completed: no object of it has failed"},
		{"stopped", job.KindTransform, "Stopped", 1, line("a"), true, "it is Stopped: no object of it has failed"},
		{"early", job.KindTransform, "Failed", -1, "", true, "it failed, but not on its objects: AlgorithmError: why"},
		{"ping", job.KindTransform, "Failed", 0, "", true, "it failed, but not on its objects"},
		{"no-list", job.KindTransform, "Failed", 2, "", true, "2 objects failed, and"},
		{"cut", job.KindTransform, "Failed", 2, line("a") + line("b")[:10], true, "lists 1 of them"},
		{"rotten", job.KindTransform, "Failed", 2, line("a") + "{}\n" + line("c"), true, "lists 1 of them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := makeIn(t, root, c.kind, c.name)
			if c.failed >= 0 {
				appendAll(t, o, ledger.TransformTotals{Failed: c.failed})
			}
			last := ledger.Transition{Status: c.status}
			if c.status == "Failed" {
				last.FailureReason = "AlgorithmError: why"
			}
			appendAll(t, o, last)
			if c.list != "" {
				if err := os.WriteFile(o.FailuresPath(), []byte(c.list), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.close {
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := failedIn(o.Job())
			switch {
			case c.want == "" && (err != nil || got.Of != "transform/whole" || !slices.Equal(got.Objects, []string{"a", `b"ü`})):
				t.Errorf("%+v, %v", got, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != 2):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A transform that runs shows how far it is, and when it is likely to end.
func TestDescribeShowsTheProgressOfATransform(t *testing.T) {
	root := t.TempDir()
	o := makeIn(t, root, job.KindTransform, "t")
	appendAll(t, o, ledger.Transition{Status: ledger.StatusInProgress})
	describe := func() string {
		var b bytes.Buffer
		if err := runDescribe(describeOptions{root, "t", formatText}, &b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	o.Live(ledger.Snapshot{Transform: &ledger.TransformLive{Objects: 1, TotalObjects: 4, Failed: 1, Records: 1000, Bytes: 3 << 20, TotalBytes: 12 << 20, RecordsPerSecond: 250.44, Left: 92300 * time.Millisecond}})
	if got, want := describe(), "Progress   3.0 MiB of 12 MiB, 1 of 4 objects, 1 failed, 1000 records, 250 records/s, 1m32s left\n"; !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	o.Live(ledger.Snapshot{Transform: &ledger.TransformLive{Objects: 2, Bytes: 100}})
	if got, want := describe(), "Progress   100 B, 2 objects, 0 records\n"; !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	finish(t, o)
	if got := describe(); strings.Contains(got, "\nProgress ") {
		t.Errorf("a finished job makes progress:\n%s", got)
	}
}
