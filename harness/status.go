package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/transform"
)

// Exit codes of optml. cmd prints this table in its help.
const (
	ExitCompleted = 0
	ExitInternal  = 1 // optml itself, or the host, failed
	ExitUsage     = 2 // the command line or a document
	ExitAlgorithm = 3 // AlgorithmError: the container failed
	ExitClient    = 4 // ClientError: data, model or outputs
	ExitImage     = 5 // the image cannot be had
	ExitStopped   = 6 // stopped by request, MaxRuntimeInSeconds included
	ExitHost      = 7 // something that the host lacks; optml doctor says what
	ExitName      = 8 // a name that is in use, or that nobody has
	ExitVerdict   = 9 // validation: the jobs ended well, but a rule failed

	ExitSlower = 10 // benchmark: slower than the baseline by more than is allowed
	ExitRuns   = 11 // benchmark: runs failed, the figures are of the others
)

// ExitCodes is the table in words.
var ExitCodes = []struct {
	Code    int
	Meaning string
}{
	{ExitCompleted, "the job or the validation completed"},
	{ExitInternal, "optml or the host failed (InternalServerError)"},
	{ExitUsage, "the command line or a document is wrong (ValidationException)"},
	{ExitAlgorithm, "the container failed (AlgorithmError)"},
	{ExitClient, "data, model artifacts or outputs are wrong (ClientError)"},
	{ExitImage, "the image cannot be had"},
	{ExitStopped, "the job was stopped, or ran into MaxRuntimeInSeconds"},
	{ExitHost, "the host lacks something; `optml doctor` says what"},
	{ExitName, "the name is in use, or nothing has that name"},
	{ExitVerdict, "the jobs of a validation ended well, but a rule failed"},
	{ExitSlower, "a benchmark is slower than its baseline by more than is allowed"},
	{ExitRuns, "runs of a benchmark failed; its figures are of the others"},
}

// Causes with which a run is cancelled. context.Cause tells them apart.
type (
	// StopRequested: optml stop, or Ctrl-C.
	StopRequested struct{ Stop ledger.Stop }
	// MaxRuntimeExceeded: StoppingCondition.MaxRuntimeInSeconds (STOP-2).
	MaxRuntimeExceeded struct{ Limit time.Duration }
	// Interrupted: --spot-interrupt-after, as an instance is taken away (STOP-9).
	Interrupted struct{ After time.Duration }
)

func (c StopRequested) Error() string {
	if c.Stop.Reason == "" {
		return "stop requested"
	}
	return "stop requested: " + c.Stop.Reason
}
func (c MaxRuntimeExceeded) Error() string {
	return fmt.Sprintf(maxRuntime+" (%s) exceeded", c.Limit)
}

func (c Interrupted) Error() string {
	return fmt.Sprintf("a spot interruption was rehearsed %s after the start of the process", c.After)
}

// maxRuntime begins the sentence, on record too: whoever adopts a job tells by it why it was being stopped.
const maxRuntime = "MaxRuntimeInSeconds"

// Ending is all that decides how a job ended. It is judged by Outcome alone, which is pure.
type Ending struct {
	Kind    job.Kind
	Name    string          // of the job, for hints; "": not known
	Err     error           // of a step, or the cause of the cancellation; nil when nothing went wrong but the exit
	Exit    *container.Exit // of the first container that failed, else of the last; nil when none ended
	Failure string          // /opt/ml/output/failure
	Upload  error           // of the delivery, which runs after failure and stop too (OUT-5)
	Region  string

	Container string // that Exit is of, where the job has several
}

// Outcome turns an ending into the final transition: status, secondary status with its message, FailureReason in the
// service's form (END-2, ST-10..14), optml's own sentence with a hint, and the exit code.
func (e Ending) Outcome() ledger.Transition {
	o := e.judge()
	o.FailureReason = clip(o.FailureReason, reasonRunes)
	if e.Upload != nil && o.Status != "Failed" {
		// What was made did not arrive: no status but Failed tells that.
		o = failed(ExitClient, "ClientError: Artifact upload failed:"+uploadDetail(e.Upload), e.Upload.Error(), hint(e.Upload))
		o.FailureReason = clip(o.FailureReason, reasonRunes)
	} else if e.Upload != nil {
		o.Detail = strings.TrimPrefix(o.Detail+"; "+e.Upload.Error(), "; ")
	}
	if o.Secondary == "" {
		o.Secondary = o.Status
	}
	if o.Message == "" {
		o.Message = e.finalMessage(o.Status)
	}
	return o
}

// finalMessage is the StatusMessage of an end as real logs show it (training 6.1).
func (e Ending) finalMessage(status string) string {
	what := "Training job "
	switch e.Kind {
	case job.KindTransform:
		what = "Transform job "
	case job.KindServing:
		what = "Serving "
	}
	return what + strings.ToLower(status)
}

func (e Ending) judge() ledger.Transition {
	var stop StopRequested
	var max MaxRuntimeExceeded
	var full VolumeFull
	var interrupt Interrupted
	switch {
	case errors.As(e.Err, &stop):
		// The exit code after a stop does not turn it into Failed (STOP-2).
		return ledger.Transition{Status: "Stopped", Detail: stop.Error(), ExitCode: new(ExitStopped)}
	case errors.As(e.Err, &max):
		return ledger.Transition{Status: "Stopped", Secondary: "MaxRuntimeExceeded", Message: "Training job stopped: " + max.Error(),
			Detail: max.Error(), Hint: "raise StoppingCondition.MaxRuntimeInSeconds", ExitCode: new(ExitStopped)}
	case errors.As(e.Err, &interrupt): // STOP-9
		return ledger.Transition{Status: "Stopped", Message: "Training job stopped: no instance came back after the rehearsed interruption",
			Detail: interrupt.Error(), Hint: interruptHint, ExitCode: new(ExitStopped)}
	case errors.As(e.Err, &full): // ruling 13
		return failed(ExitClient, "ClientError: Artifact upload failed:Insufficient disk space", full.Error(), "raise ResourceConfig.VolumeSizeInGB, or write less")
	case e.Err != nil:
		return e.judgeError()
	case e.Exit == nil:
		return failed(ExitInternal, internalError, "the container's end was not seen", "")
	case e.Exit.OOM && e.Exit.Code != 0: // END-3
		return failed(ExitAlgorithm, outOfMemory, fmt.Sprintf("the kernel killed the container for want of memory (exit code %d)", e.Exit.Code),
			"give it more memory (a larger InstanceType, or --as-instance host for all of this machine), or process less at once")
	case e.Exit.Code != 0: // END-1, FAIL-2, FAIL-3
		o := failed(ExitAlgorithm, algorithmError(e.Failure, e.Exit.Code), e.describeExit(), "")
		if e.Failure == "" {
			o.Hint = "write what went wrong to /opt/ml/output/failure before exiting: it becomes the FailureReason (FAIL-1)"
		}
		return o
	}
	return ledger.Transition{Status: "Completed", ExitCode: new(ExitCompleted)} // FAIL-4: the exit code decides
}

func (e Ending) judgeError() ledger.Transition {
	var (
		start *container.StartError
		image *container.ImageError
		data  *dataset.Error
		model *ModelError
		tr    *transform.Error
		host  *HostError
		label *LabelError
		gpus  *container.GPUError
		ckpt  *CheckpointError
	)
	err := e.Err
	switch {
	case errors.As(err, &start): // END-4, START-2
		h := start.Help
		if h == "" {
			h = startHint(start.Code)
		}
		return failed(ExitAlgorithm, algorithmError(start.Msg, start.Code), err.Error(), h)
	case errors.As(err, &image):
		o := failed(ExitImage, cannotPull, err.Error(), imageHint(image))
		if image.Kind == container.ImageNoSpace {
			o.FailureReason = internalError
		}
		return o
	case errors.As(err, &label):
		return failed(ExitClient, "ClientError: "+label.Error(), "",
			"an image of an inference pipeline listens on the port in SAGEMAKER_BIND_TO_PORT and says so: LABEL "+label.Label+" in its Dockerfile (INF-51, INF-52)")
	case errors.As(err, &model):
		return failed(ExitClient, "ClientError: "+model.Reason(), err.Error(), model.Hint())
	case errors.As(err, &ckpt):
		return failed(ExitClient, "ClientError: Data download failed:"+uploadDetail(ckpt.Err), err.Error(), hint(err))
	case errors.As(err, &data):
		return failed(ExitClient, "ClientError: Data download failed:"+data.Detail(), err.Error(), hint(err))
	case errors.As(err, &tr):
		code := ExitAlgorithm
		if strings.HasPrefix(tr.Reason, "ClientError") {
			code = ExitClient
		}
		o := failed(code, tr.Reason, tr.Err.Error(), transformHint(tr, e.Name))
		if e.Exit != nil && e.Exit.Code != 0 {
			o.Detail += "; " + e.describeExit()
		}
		return o
	case errors.As(err, &gpus) && gpus.Capacity:
		return failed(ExitHost, noCapacity, err.Error(), gpus.Help)
	case errors.As(err, &gpus):
		return failed(ExitHost, "ClientError: "+gpus.Text, err.Error(), gpus.Help)
	case errors.As(err, &host):
		return failed(ExitHost, internalError, err.Error(), host.Hint)
	case errors.Is(err, context.Canceled):
		return ledger.Transition{Status: "Stopped", Detail: "cancelled", ExitCode: new(ExitStopped)}
	}
	return failed(ExitInternal, internalError, err.Error(), hint(err))
}

// What a rehearsed interruption says (STOP-9).
const (
	interrupted   = "The job was interrupted, as when a spot instance is taken away (rehearsed)"
	interruptHint = "the report says what became of the signal, the model and the checkpoints; on SageMaker the job starts again with an empty /opt/ml/model and the checkpoints that were saved, as `optml train --resume` does here"
)

// The service's own sentences (END-2, ST-13).
const (
	internalError = "InternalServerError: We encountered an internal error. Please try again."
	outOfMemory   = "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an instance."
	noCapacity    = "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
	cannotPull    = "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect."
)

// reasonRunes is the longest FailureReason (FAIL-2, ST-2).
const reasonRunes = 1024

// algorithmError keeps prefix and exit code whole and cuts the text between them (FAIL-2).
func algorithmError(text string, code int) string {
	const prefix = "AlgorithmError: "
	suffix := fmt.Sprintf(", exit code: %d", code)
	text = strings.ToValidUTF8(text, "\uFFFD")
	return prefix + clip(text, reasonRunes-len(prefix)-len(suffix)) + suffix
}

// clip cuts to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

func failed(code int, reason, detail, hint string) ledger.Transition {
	return ledger.Transition{Status: "Failed", FailureReason: reason, Detail: detail, Hint: hint, ExitCode: new(code)}
}

func (e Ending) describeExit() string {
	who := "the container"
	if e.Container != "" {
		who = "container " + e.Container
	}
	if e.Exit.Signal != 0 {
		return fmt.Sprintf("%s was ended by signal %d (exit code %d)", who, e.Exit.Signal, e.Exit.Code)
	}
	return fmt.Sprintf("%s ended with exit code %d", who, e.Exit.Code)
}

func transformHint(e *transform.Error, job string) string {
	if job == "" {
		job = "JOB"
	}
	var ping *transform.PingError
	switch {
	case errors.As(e, &ping) && ping.Remedy != "":
		if errors.As(e, new(*transform.ContainerError)) {
			return ping.Remedy + "; each container of a pipeline has its port in SAGEMAKER_BIND_TO_PORT (INF-51)"
		}
		return ping.Remedy
	case errors.Is(e, transform.ErrExited):
		return "the container's last log lines say why: optml logs " + job
	case errors.Is(e, transform.ErrPing) && errors.As(e, new(*transform.ContainerError)):
		return "answer GET /ping on the port in SAGEMAKER_BIND_TO_PORT, on all interfaces, with 200 once the model is loaded (INF-51, INF-60); --ping-timeout sets how long optml waits"
	case errors.Is(e, transform.ErrPing):
		return "answer GET /ping on port 8080, on all interfaces, with 200 once the model is loaded (INF-50, INF-60); --ping-timeout sets how long optml waits"
	case errors.Is(e, transform.ErrObjects):
		h := "the data log names each failed object and what the container answered: optml logs " + job + " --container data-log; `optml transform --rerun-failed " + job + "` does them again"
		if e.Kept != "" {
			h += "; the first failing batches are in " + e.Kept + ", each with its response"
		}
		if e.Replay != "" { // last, so that it can be copied whole
			h += "; to a container that serves on port 8080 this sends the first again: " + e.Replay
		}
		return h
	}
	return hint(e)
}

func startHint(code int) string {
	switch code {
	case 127:
		return "SageMaker runs `IMAGE train` for training and `IMAGE serve` for inference: put that file on the image's PATH, executable (chmod +x), or set an ENTRYPOINT that takes the argument (START-2, INF-1)"
	case 126:
		return "the entrypoint is not executable here: check its mode (chmod +x), its #! line and the image's architecture"
	}
	return ""
}

func imageHint(e *container.ImageError) string {
	switch e.Kind {
	case container.ImageNotFound:
		return "optml images ls shows what is here; optml images import FILE brings an archive in (docker save NAME | optml images import -)"
	case container.ImageDenied:
		if strings.Contains(e.Ref, ".dkr.ecr") {
			return "a registry of ECR is opened with AWS credentials that may pull from it: name them with --aws-profile or AWS_PROFILE"
		}
		return "docker login to that registry writes the credentials that optml reads (~/.docker/config.json)"
	case container.ImagePlatform:
		return "build the image for this host's architecture, or choose among what it has with --platform where an emulator is installed"
	case container.ImageDigest:
		return "the name now points at another image than the document's digest"
	case container.ImageUnreachable:
		return "the image is not here, and its registry cannot be reached: check the network and the name; docker save NAME | optml images import - needs no registry"
	case container.ImageBroken:
		return "optml images import or optml images pull brings it anew"
	case container.ImageNoSpace:
		return "optml images ls and optml images rm free space; optml doctor shows how much there is"
	}
	return ""
}

func hint(err error) string {
	switch {
	case objstore.NoSpace(err):
		return "free space on this disk, or give optml another place with --root"
	case errors.Is(err, objstore.ErrNoBucket):
		return "create the bucket, or name the directory that stands for S3 with --s3-dir"
	case errors.Is(err, objstore.ErrAccessDenied):
		return "check AWS_PROFILE and what its credentials may read and write; a directory stands for S3 with --s3-dir"
	}
	return ""
}

// uploadDetail is what follows "Artifact upload failed:" (END-2).
func uploadDetail(err error) string {
	switch {
	case objstore.NoSpace(err):
		return "Insufficient disk space"
	case errors.Is(err, objstore.ErrAccessDenied):
		return "Error 7: AccessDenied (403): Access Denied"
	}
	return err.Error()
}

// HostError is something that this machine lacks.
type HostError struct {
	What string
	Hint string // the command that mends it
	Err  error
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.What, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// ModelError says why a container's model artifacts cannot be used (INF-20, INF-31, ruling 19).
type ModelError struct {
	URI     string
	Files   bool   // it is no archive
	Channel string // of additional data
	Err     error
}

func (e *ModelError) Error() string { return fmt.Sprintf("model %s: %v", e.URI, e.Err) }
func (e *ModelError) Unwrap() error { return e.Err }

// LabelError is an image that lacks a label without which the service does not run it (INF-52).
type LabelError struct{ Ref, Label string }

func (e *LabelError) Error() string {
	return fmt.Sprintf("Your Ecr Image %s does not contain required %s Docker label(s).", e.Ref, e.Label)
}

// Reason is what follows "ClientError: "; the service's own text is not published.
func (e *ModelError) Reason() string {
	switch {
	case errors.Is(e.Err, objstore.ErrNotFound), errors.Is(e.Err, objstore.ErrNoBucket):
		return fmt.Sprintf("Could not find model data at %s.", e.URI)
	case errors.Is(e.Err, objstore.ErrAccessDenied):
		return fmt.Sprintf("Failed to download model data from URL: %q: Access Denied.", e.URI)
	case e.Files, errors.Is(e.Err, ErrETag):
		return fmt.Sprintf("Failed to download model data from URL: %q: %v", e.URI, e.Err)
	}
	return fmt.Sprintf("Failed to extract model data from URL: %q: %v", e.URI, e.Err)
}

// Hint says what to do.
func (e *ModelError) Hint() string {
	if h := hint(e.Err); h != "" {
		return h
	}
	switch {
	case errors.Is(e.Err, ErrETag):
		return "the object has been replaced since the document was written: give its new ETag, or none (ruling 21)"
	case e.Files && errors.Is(e.Err, objstore.ErrNotFound):
		return "S3Uri must name an object, or a prefix with objects below it (INF-24)"
	case e.Files:
		return "each key below the prefix must be usable as a file's path, and none may be a folder (INF-26)"
	case errors.Is(e.Err, objstore.ErrNotFound):
		return "ModelDataUrl must name an existing .tar.gz"
	}
	return "ModelDataUrl must be a gzip-compressed tar with plain files at its root, as a training job packs /opt/ml/model (INF-20, INF-31)"
}
