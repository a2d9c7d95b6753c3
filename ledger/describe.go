package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/optml/optml/job"
)

// Describe is the job in the service's words: the reply of DescribeTrainingJob, DescribeTransformJob or, for a
// validation, DescribeAlgorithm. Members that are unset are left out (TRAP-30). Members of the request are echoed from
// the document named <Operation>.json, as given (BT-28); without that document, as far as the plan knows them.
func (j *Job) Describe() (Document, error) {
	s, err := j.State()
	if err != nil {
		return nil, err
	}
	var r request
	b, err := readBounded(j.path(requestDir, j.plan.Operation+".json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && json.Unmarshal(b, &r) != nil {
		r = nil // the plan was made from it, so it was JSON once; what the plan knows is still true
	}
	switch {
	case j.plan.Training != nil:
		return describeTraining(&s, j.plan, r), nil
	case j.plan.Transform != nil:
		return describeTransform(&s, j.plan, r), nil
	case j.plan.Bench != nil:
		return nil, fmt.Errorf("%s/%s: the service has no benchmarks to describe; `optml bench show %s` has this one's figures", j.Kind(), j.Name(), j.Name())
	}
	children := make(map[Child]State)
	for _, c := range s.Children {
		child, err := Open(filepath.Join(j.Root(), c.Kind, c.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if children[c], err = child.State(); err != nil {
			return nil, err
		}
	}
	return describeValidation(&s, j.plan, r, children), nil
}

func describeTraining(s *State, p *job.Plan, r request) Document {
	t := p.Training
	var plan Document
	if len(t.HyperParameters) > 0 {
		plan.set("HyperParameters", t.HyperParameters)
	}
	plan.set("AlgorithmSpecification", planAlgorithm(t))
	plan.set("InputDataConfig", planChannels(t.Channels))
	out := Document{{"S3OutputPath", t.OutputPath}}
	if t.Unpacked {
		out.set("CompressionType", "NONE")
	}
	plan.set("OutputDataConfig", out)
	plan.set("ResourceConfig", Document{{"InstanceType", t.InstanceType}, {"InstanceCount", max(len(t.Hosts), len(t.Instances))}})
	plan.set("StoppingCondition", Document{{"MaxRuntimeInSeconds", int64(t.MaxRuntime.Std().Seconds())}})
	plan.set("EnableNetworkIsolation", t.Isolated)

	var d Document
	d.set("TrainingJobName", p.Name)
	d.set("TrainingJobArn", p.ARN)
	d.set("ModelArtifacts", Document{{"S3ModelArtifacts", t.ModelURI}}) // required, so it is there when nothing was uploaded (OUT-4)
	d.set("TrainingJobStatus", s.Status)
	d.set("SecondaryStatus", secondary(s))
	d.set("FailureReason", s.FailureReason)
	d.echo(r, plan, "HyperParameters", "AlgorithmSpecification", "RoleArn", "InputDataConfig", "OutputDataConfig",
		"ResourceConfig", "VpcConfig", "StoppingCondition")
	d.set("CreationTime", s.CreationTime)
	d.set("TrainingStartTime", s.StartTime)
	d.set("TrainingEndTime", s.EndTime)
	d.set("LastModifiedTime", s.ModifiedTime)
	d.set("SecondaryStatusTransitions", transitions(s))
	d.set("FinalMetricDataList", finalMetrics(s))
	d.echo(r, plan, "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining",
		"CheckpointConfig")
	if !s.StartTime.IsZero() && !s.EndTime.IsZero() { // LIFE-6
		seconds := max(1, int64(s.Duration().Seconds()))
		d.set("TrainingTimeInSeconds", seconds)
		d.set("BillableTimeInSeconds", seconds)
	}
	d.echo(r, plan, "DebugHookConfig", "ExperimentConfig", "DebugRuleConfigurations", "TensorBoardOutputConfig",
		"ProfilerConfig", "ProfilerRuleConfigurations", "Environment", "RetryStrategy", "RemoteDebugConfig",
		"InfraCheckConfig")
	return d
}

func describeTransform(s *State, p *job.Plan, r request) Document {
	t := p.Transform
	var plan Document
	plan.set("ModelName", t.ModelName)
	if t.MaxConcurrent != nil {
		plan.set("MaxConcurrentTransforms", *t.MaxConcurrent)
	}
	if t.MaxPayloadMB != nil {
		plan.set("MaxPayloadInMB", *t.MaxPayloadMB)
	}
	if t.BatchStrategy != nil {
		plan.set("BatchStrategy", *t.BatchStrategy)
	}
	var in, out Document
	in.set("DataSource", Document{{"S3DataSource", Document{{"S3DataType", t.Input.Source.Type}, {"S3Uri", t.Input.Source.URI}}}})
	in.set("ContentType", t.Input.ContentType)
	in.set("CompressionType", t.Input.Compression)
	in.set("SplitType", t.Input.SplitType)
	out.set("S3OutputPath", t.Output.Path)
	out.set("Accept", t.Output.Accept)
	out.set("AssembleWith", t.Output.AssembleWith)
	out.set("KmsKeyId", t.Output.KMSKeyID)
	plan.set("TransformInput", in)
	plan.set("TransformOutput", out)
	plan.set("TransformResources", Document{{"InstanceCount", len(t.Instances)}})

	var d Document
	d.set("TransformJobName", p.Name)
	d.set("TransformJobArn", p.ARN)
	d.set("TransformJobStatus", s.Status)
	d.set("FailureReason", s.FailureReason)
	d.echo(r, plan, "ModelName", "MaxConcurrentTransforms", "ModelClientConfig", "MaxPayloadInMB", "BatchStrategy",
		"Environment", "TransformInput", "TransformOutput", "DataCaptureConfig", "TransformResources")
	d.set("CreationTime", s.CreationTime)
	d.set("TransformStartTime", s.StartTime)
	d.set("TransformEndTime", s.EndTime)
	d.echo(r, plan, "DataProcessing", "ExperimentConfig")
	return d
}

func describeValidation(s *State, p *job.Plan, r request, children map[Child]State) Document {
	v := p.Validation
	var d Document
	name := p.Name
	if v != nil {
		name = v.Algorithm
	}
	d.set("AlgorithmName", name)
	d.set("AlgorithmArn", p.ARN)
	d.echo(r, nil, "AlgorithmDescription")
	d.set("CreationTime", s.CreationTime)
	d.echo(r, nil, "TrainingSpecification", "InferenceSpecification", "ValidationSpecification")
	d.set("AlgorithmStatus", algorithmStatus(s.Status))
	d.set("AlgorithmStatusDetails", algorithmDetails(s, v, r, children))
	d.echo(r, nil, "ProductId", "CertifyForMarketplace")
	return d
}

// algorithmStatus: an algorithm knows no stopping (VAL-20); a validation that was stopped has not passed.
func algorithmStatus(status string) string {
	switch status {
	case StatusStopping:
		return StatusInProgress
	case StatusStopped:
		return StatusFailed
	}
	return status
}

// algorithmDetails follows VAL-21, VAL-22 and VAL-32.
func algorithmDetails(s *State, v *job.Validation, r request, children map[Child]State) Document {
	var validations, scans []Document
	if v != nil {
		validations = append(validations, childStatus(s, v.Profile, job.KindTraining, children))
		if v.Transform != nil {
			validations = append(validations, childStatus(s, v.Profile, job.KindTransform, children))
		}
	}
	scan := func(name string) {
		scans = append(scans, Document{{"Name", name}, {"Status", "NotStarted"},
			{"FailureReason", "optml does not scan images; the service scans them when they are in Amazon ECR"}})
	}
	scan("training-image")
	if _, ok := r["InferenceSpecification"]; ok || r == nil && v != nil && v.Transform != nil {
		scan("inference-image")
	}
	var d Document
	d.set("ValidationStatuses", validations)
	d.set("ImageScanStatuses", scans)
	return d
}

// childStatus is one item of ValidationStatuses.
func childStatus(s *State, profile string, kind job.Kind, children map[Child]State) Document {
	suffix := "-" + string(kind)
	d := Document{{"Name", profile[:min(len(profile), 63-len(suffix))] + suffix}}
	for _, c := range s.Children {
		if c.Kind != string(kind) {
			continue
		}
		status, reason := "", ""
		if cs, ok := children[c]; ok {
			status, reason = algorithmStatus(cs.Status), cs.FailureReason
			if cs.Status == StatusStopped {
				reason = "the job was stopped"
			}
		} else { // its record was removed
			status = algorithmStatus(s.Status)
			reason = s.FailureReason
		}
		d.set("Status", status)
		d.set("FailureReason", reason)
		return d
	}
	d.set("Status", "NotStarted")
	return d
}

func secondary(s *State) string {
	if s.Secondary == "" && !s.Final {
		return "Starting"
	}
	if s.Secondary == "" {
		return s.Status
	}
	return s.Secondary
}

// transitions: StatusMessage is always there, since clients read it without asking (LIFE-1).
func transitions(s *State) []Document {
	var out []Document
	for _, t := range s.Transitions {
		var d Document
		d.set("Status", t.Status)
		d.set("StartTime", t.StartTime)
		d.set("EndTime", t.EndTime)
		d = append(d, Member{"StatusMessage", t.StatusMessage})
		out = append(out, d)
	}
	return out
}

// finalMetrics: at most 40, values of 32 bits (MET-8).
func finalMetrics(s *State) []Document {
	var out []Document
	for _, m := range s.Metrics[:min(len(s.Metrics), 40)] {
		var d Document
		d.set("MetricName", m.Name)
		d.set("Value", float32(m.Value))
		d.set("Timestamp", m.At)
		out = append(out, d)
	}
	return out
}
