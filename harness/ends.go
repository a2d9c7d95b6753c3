package harness

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

// End is a way in which a job ends, with what its run then knows. What becomes of it is Outcome's to say, so that the
// table of ends, which docs/fidelity.md and `optml help ends` print, cannot say another thing than the code does. Each
// has an end-to-end test of its name.
type End struct {
	Name   string // of the row and of its test
	What   string // happens
	Rules  string
	Ending Ending
}

// Ends is the table. The texts of files, programs and stores in it are examples.
func Ends() []End {
	exit := func(code int, failure ...string) Ending {
		return Ending{Kind: job.KindTraining, Exit: &container.Exit{Code: code}, Failure: strings.Join(failure, "")}
	}
	killed := func(signal int) Ending {
		return Ending{Kind: job.KindTraining, Exit: &container.Exit{Code: 128 + signal, Signal: signal}}
	}
	stopped := func(code int, cause error) Ending {
		e := exit(code)
		e.Err = cause
		return e
	}
	fails := func(err error) Ending { return Ending{Kind: job.KindTraining, Err: err} }
	start := func(code int, msg string) Ending { return fails(&container.StartError{Code: code, Msg: msg}) }
	data := func(object string, err error) Ending {
		return fails(&dataset.Error{Channel: "train", Object: object, Err: err})
	}
	denied := &objstore.Error{Op: "open", URI: "s3://data/train/a.csv", Class: objstore.ErrAccessDenied,
		Err: &objstore.ServiceError{Status: 403, Code: "AccessDenied", Message: "Access Denied"}}
	full := &objstore.Error{Op: "write", Class: objstore.ErrNoSpace, Err: errors.New("no space left on device")}
	upload := func(e Ending, err error) Ending {
		e.Upload = err
		return e
	}
	broken := data("s3://data/train/a.csv", denied)
	broken.Exit = &container.Exit{}
	serving := func(reason string, err error) Ending {
		return Ending{Kind: job.KindTransform, Err: &transform.Error{Reason: reason, Err: err}}
	}
	return []End{
		{"exit-0", "the process exits with 0", "END-1", exit(0)},
		{"exit-0-failure-file", "it exits with 0 and has written /opt/ml/output/failure", "FAIL-4", exit(0, "never mind")},
		{"exit-1", "it exits with another code, without a failure file", "END-1, END-2, FAIL-3", exit(1)},
		{"exit-2", "it exits with 2, which is ClientError of first-party images alone", "END-2", exit(2)},
		{"exit-1-failure-file", "it exits with another code and has written a failure file", "END-2, FAIL-1", exit(1, "no such column")},
		{"failure-file-of-a-toolkit", "the failure file is that of AWS's training toolkit", "END-2", exit(1, toolkitFailure)},
		{"failure-file-too-long", "the failure file is longer than a FailureReason", "FAIL-2", exit(2, strings.Repeat("Übel ", 1000))},
		{"failure-file-not-text", "the failure file is not UTF-8", "FAIL-2", exit(1, "a\xffb")},
		{"exit-125", "it exits with 125", "END-1", exit(125)},
		{"exit-126", "it exits with 126, as a shell does that cannot execute a command", "END-1", exit(126)},
		{"exit-127", "it exits with 127, as a shell does that does not find a command", "END-1, FAIL-3", exit(127)},
		{"exit-137", "it exits with 137 by itself", "END-1, END-3", exit(137)},
		{"exit-139", "it exits with 139 by itself", "END-1", exit(139)},
		{"signal-9", "it is ended by SIGKILL, and not for want of memory", "END-1, END-3", killed(9)},
		{"signal-11", "it is ended by SIGSEGV", "END-1", killed(11)},
		{"out-of-memory", "the kernel kills it for want of memory", "END-2, END-3", Ending{Kind: job.KindTraining, Exit: &container.Exit{Code: 137, Signal: 9, OOM: true}}},
		{"child-keeps-stdout", "it exits with 0 and leaves a child that keeps its stdout", "END-1", exit(0)},

		{"no-train", "the image has no train on its PATH", "END-4, START-2", start(127, `exec: "train": executable file not found in $PATH`)},
		{"no-interpreter", "train is a script whose interpreter the image lacks", "END-4", start(127, "exec /usr/local/bin/script: no such file or directory")},
		{"train-not-executable", "train has no x bit", "END-4", start(126, `exec: "/opt/train": permission denied`)},
		{"train-not-a-program", "train is neither a program of this machine nor a script", "END-4", start(126, "exec /opt/train: exec format error")},
		{"image-missing", "the image is not here, or its registry refuses it", "END-2", fails(&container.ImageError{Ref: "x", Kind: container.ImageNotFound, Err: errors.New("it is not here")})},

		{"data-missing", "a channel's prefix holds no object", "END-2", data("", &dataset.EmptyError{URI: "s3://data/nothing/", Region: "us-east-1"})},
		{"data-forbidden", "the store refuses an object", "END-2", data("s3://data/train/a.csv", denied)},
		{"checkpoints-forbidden", "the store refuses the checkpoints that the job is to begin with", "CKP-2", fails(&CheckpointError{"s3://data/checkpoints/", denied})},
		{"data-disk-full", "the disk is full while data is brought", "END-2", data("s3://data/train/a.csv", full)},
		{"data-broken-in-a-pipe", "a Pipe or FastFile channel breaks, whatever the exit code", "END-2, ruling 8", broken},

		{"upload-forbidden", "the store refuses the artifacts of a process that exited with 0", "END-2", upload(exit(0), denied)},
		{"upload-disk-full", "the disk of a directory store is full", "END-2", upload(exit(0), full)},
		{"upload-forbidden-after-exit-1", "the process failed, and the store refuses the artifacts too", "END-2, OUT-5", upload(exit(1), denied)},
		{"volume-full", "the job has written more than VolumeSizeInGB", "END-2, ruling 13", stopped(143, VolumeFull{Used: 2 << 30, Size: 1 << 30})},

		{"stop", "optml stop, Ctrl-C or SIGTERM; the process exits with 0 on SIGTERM", "STOP-1, STOP-2, STOP-3", stopped(0, StopRequested{})},
		{"stop-exit-1", "it exits with another code on SIGTERM", "STOP-2", stopped(1, StopRequested{})},
		{"stop-ignored", "it ignores SIGTERM, and is killed after the grace", "STOP-1", stopped(137, StopRequested{})},
		{"stop-every-signal-ignored", "it ignores every signal that can be ignored", "STOP-1", stopped(137, StopRequested{})},
		{"stop-kill", "optml stop --kill, or Ctrl-C twice", "STOP-1", stopped(137, StopRequested{})},
		{"stop-main-process-only", "its children are not signalled, and go with it", "STOP-4", stopped(0, StopRequested{})},
		{"stop-signal-of-the-image", "the image names another STOPSIGNAL: it is SIGTERM all the same", "STOP-5", stopped(0, StopRequested{})},
		{"stop-while-downloading", "a stop before the process was started; nothing is uploaded", "STOP-7", fails(StopRequested{})},
		{"max-runtime", "MaxRuntimeInSeconds is over", "STOP-2, STOP-6", stopped(0, MaxRuntimeExceeded{time.Second})},
		{"max-runtime-while-downloading", "MaxRuntimeInSeconds is over before the process was started", "STOP-6, STOP-7", fails(MaxRuntimeExceeded{time.Second})},
		{"spot-interruption", "--spot-interrupt-after, whatever the exit code", "STOP-9", stopped(0, Interrupted{time.Second})},

		{"owner-killed", "optml itself was killed; the next command tells it", "END-2", fails(&OrphanedError{Step: "wait", Reason: ledger.ReasonOwnerDied})},
		{"end-not-seen", "the process ended and nobody saw how, since its shim died", "END-2", fails(errors.New("the container's end was not observed"))},

		{"transform-stopped", "optml stop of a transform; no output is left", "INF-7, BT-142", Ending{Kind: job.KindTransform, Err: StopRequested{}}},
		{"transform-stop-ignored", "its container ignores SIGTERM, and is killed after the grace", "INF-7, ruling 16", Ending{Kind: job.KindTransform, Err: StopRequested{}}},
		{"transform-ping", "the container does not answer /ping in time", "ST-12", serving("AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint is implemented and responds with an HTTP 200 status code", transform.ErrPing)},
		{"transform-objects", "the container refuses requests", "ST-10", serving("ClientError: See job logs for more information", transform.ErrObjects)},
	}
}

// toolkitFailure is what AWS's training toolkit writes when the user's script fails (END-2).
const toolkitFailure = "ExecuteUserScriptError:\nExitCode 1\nErrorMessage \"ValueError: no such column\"\nCommand \"/usr/bin/python3 train.py\""

// NotHere are the service's ends that no job has on this machine, with the reason.
var NotHere = [][2]string{
	{"CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.", "this machine is there, or optml does not run"},
	{"ClientError: <text>, exit code: 2", "the service says it of its own first-party images; every other image gets AlgorithmError"},
	{"ClientError: Artifact upload failed:ClientError: Out of Memory. Please use a larger instance", "packing needs a bounded amount of memory, whatever the size of the model"},
	{"Stopped with SecondaryStatus MaxWaitTimeExceeded", "nothing waits for spot capacity here"},
}

// Row is an end in the table's columns.
func (e End) Row() [6]string {
	o := e.Ending.Outcome()
	reason := o.FailureReason
	if r := []rune(reason); len(r) > 200 {
		reason = fmt.Sprintf("%s … %s", string(r[:60]), string(r[len(r)-25:]))
	}
	return [6]string{e.What, o.Status, o.Secondary, reason, fmt.Sprint(*o.ExitCode), e.Rules}
}
