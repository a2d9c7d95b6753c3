package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

func TestOutcome(t *testing.T) {
	exit := func(code int) *container.Exit { return &container.Exit{Code: code} }
	for _, c := range []struct {
		name           string
		end            Ending
		status, second string
		reason         string
		code           int
	}{
		{"END-1 exit 0", Ending{Exit: exit(0)}, "Completed", "Completed", "", ExitCompleted},
		{"FAIL-4 failure file and exit 0", Ending{Exit: exit(0), Failure: "never mind"}, "Completed", "Completed", "", ExitCompleted},
		{"FAIL-3 exit 1 without a file", Ending{Exit: exit(1)}, "Failed", "Failed", "AlgorithmError: , exit code: 1", ExitAlgorithm},
		{"END-2 exit 2 of one's own image", Ending{Exit: exit(2)}, "Failed", "Failed", "AlgorithmError: , exit code: 2", ExitAlgorithm},
		{"FAIL-2 exit 3 with a file", Ending{Exit: exit(3), Failure: "no data"}, "Failed", "Failed", "AlgorithmError: no data, exit code: 3", ExitAlgorithm},
		{"END-1 SIGKILL", Ending{Exit: &container.Exit{Code: 137, Signal: 9}}, "Failed", "Failed", "AlgorithmError: , exit code: 137", ExitAlgorithm},
		{"END-3 out of memory", Ending{Exit: &container.Exit{Code: 137, Signal: 9, OOM: true}}, "Failed", "Failed", outOfMemory, ExitAlgorithm},
		{"END-3 a child was killed, the job went on", Ending{Exit: &container.Exit{OOM: true}}, "Completed", "Completed", "", ExitCompleted},
		{"END-4 no train", Ending{Err: fmt.Errorf("create: %w", &container.StartError{Code: 127, Msg: `exec: "train": executable file not found in $PATH`})},
			"Failed", "Failed", `AlgorithmError: exec: "train": executable file not found in $PATH, exit code: 127`, ExitAlgorithm},
		{"END-4 not executable", Ending{Err: &container.StartError{Code: 126, Msg: "permission denied"}}, "Failed", "Failed", "AlgorithmError: permission denied, exit code: 126", ExitAlgorithm},
		{"END-2 image", Ending{Err: &container.ImageError{Ref: "x", Kind: container.ImageNotFound, Err: errors.New("gone")}}, "Failed", "Failed", cannotPull, ExitImage},
		{"END-2 input", Ending{Err: &dataset.Error{Channel: "train", Object: "s3://b/k", Err: &objstore.Error{Op: "open", URI: "s3://b/k", Class: objstore.ErrAccessDenied, Err: errors.New("403")}}},
			"Failed", "Failed", "ClientError: Data download failed:Unable to download object s3://b/k (AccessDenied: Access Denied)", ExitClient},
		{"END-2 input, disk full", Ending{Err: &dataset.Error{Channel: "train", Err: &objstore.Error{Op: "write", URI: "f", Class: objstore.ErrNoSpace, Err: errors.New("full")}}},
			"Failed", "Failed", "ClientError: Data download failed:Insufficient disk space", ExitClient},
		{"END-2 output, disk full", Ending{Exit: exit(0), Upload: &objstore.Error{Op: "write", Class: objstore.ErrNoSpace, Err: errors.New("full")}},
			"Failed", "Failed", "ClientError: Artifact upload failed:Insufficient disk space", ExitClient},
		{"a failed job whose upload fails too keeps its reason", Ending{Exit: exit(1), Upload: errors.New("x")}, "Failed", "Failed", "AlgorithmError: , exit code: 1", ExitAlgorithm},
		{"STOP-2 stopped, whatever the exit code", Ending{Exit: exit(143), Err: StopRequested{}}, "Stopped", "Stopped", "", ExitStopped},
		{"STOP-7 stopped before it started", Ending{Err: StopRequested{}}, "Stopped", "Stopped", "", ExitStopped},
		{"STOP-2 MaxRuntimeInSeconds", Ending{Exit: exit(0), Err: MaxRuntimeExceeded{time.Minute}}, "Stopped", "MaxRuntimeExceeded", "", ExitStopped},
		{"STOP-9 a rehearsed interruption, whatever the exit code", Ending{Exit: exit(3), Err: Interrupted{time.Minute}}, "Stopped", "Stopped", "", ExitStopped},
		{"ruling 8: a broken channel counts, not the exit code", Ending{Exit: exit(0), Err: &dataset.Error{Channel: "c", Err: errors.New("cut")}},
			"Failed", "Failed", `ClientError: Data download failed:Failed to download data. channel "c": cut`, ExitClient},
		{"ST-12 ping", Ending{Kind: job.KindTransform, Err: &transform.Error{Reason: "AlgorithmError: Model container failed to respond to ping.", Err: transform.ErrPing}},
			"Failed", "Failed", "AlgorithmError: Model container failed to respond to ping.", ExitAlgorithm},
		{"ST-10 objects", Ending{Kind: job.KindTransform, Err: &transform.Error{Reason: "ClientError: See job logs for more information", Err: transform.ErrObjects}},
			"Failed", "Failed", "ClientError: See job logs for more information", ExitClient},
		{"ST-13 ourselves", Ending{Err: errors.New("boom")}, "Failed", "Failed", internalError, ExitInternal},
		{"an end that nobody saw is never Completed (D11)", Ending{}, "Failed", "Failed", internalError, ExitInternal},
		{"INF-20 no model", Ending{Err: &ModelError{URI: "s3://b/m", Err: objstore.ErrNotFound}}, "Failed", "Failed", "ClientError: Could not find model data at s3://b/m.", ExitClient},
		{"GPUs that others have", Ending{Err: &container.GPUError{Text: "held", Capacity: true}}, "Failed", "Failed", noCapacity, ExitHost},
		{"a driver that is too old", Ending{Err: &container.GPUError{Text: "the image needs CUDA 13"}}, "Failed", "Failed", "ClientError: the image needs CUDA 13", ExitHost},
		{"a host without something", Ending{Err: &HostError{What: "runc", Err: errors.New("missing")}}, "Failed", "Failed", internalError, ExitHost},
		{"a cancelled caller", Ending{Err: context.Canceled}, "Stopped", "Stopped", "", ExitStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.end.Outcome()
			if o.Status != c.status || o.Secondary != c.second || o.FailureReason != c.reason || o.ExitCode == nil || *o.ExitCode != c.code {
				t.Errorf("got %s/%s %q exit %v\nwant %s/%s %q exit %d", o.Status, o.Secondary, o.FailureReason, o.ExitCode, c.status, c.second, c.reason, c.code)
			}
			if o.Message == "" {
				t.Error("LIFE-1: StatusMessage must always be present")
			}
			if o.Status == ledger.StatusFailed && o.Detail == "" {
				t.Error("a failure without a sentence of our own")
			}
		})
	}
}

// FAIL-2: at most 1024 characters in all, cut on a character's boundary, prefix and exit code whole.
func TestFAIL2LongTexts(t *testing.T) {
	for _, text := range []string{strings.Repeat("é", 5000), strings.Repeat("\xff\xfe", 5000), "short", strings.Repeat("日本", 600)} {
		o := Ending{Exit: &container.Exit{Code: 255}, Failure: text}.Outcome()
		if n := utf8.RuneCountInString(o.FailureReason); n > 1024 || !utf8.ValidString(o.FailureReason) {
			t.Errorf("%d characters, valid %v", n, utf8.ValidString(o.FailureReason))
		}
		if !strings.HasPrefix(o.FailureReason, "AlgorithmError: ") || !strings.HasSuffix(o.FailureReason, ", exit code: 255") {
			t.Error(o.FailureReason[:40], o.FailureReason[len(o.FailureReason)-40:])
		}
	}
}

func TestExitCodesAreListedOnce(t *testing.T) {
	seen := map[int]bool{}
	for _, c := range ExitCodes {
		if seen[c.Code] || c.Meaning == "" {
			t.Errorf("exit code %d is there twice, or has no meaning", c.Code)
		}
		seen[c.Code] = true
	}
}
