package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/optml/optml/job"
)

// Describe is the job in the service's words: the reply of DescribeTrainingJob, DescribeTransformJob or, for a
// validation, DescribeAlgorithm or DescribeModelPackage. Members that are unset are left out (TRAP-30). Members of the request are echoed from
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
	case j.plan.Kind == job.KindServing:
		return nil, fmt.Errorf("%s/%s: the service has nothing like it to describe; `optml report %s --output json` has what is known", j.Kind(), j.Name(), j.Name())
	case j.plan.Transform != nil:
		return describeTransform(&s, j.plan, r), nil
	case j.plan.Bench != nil:
		return nil, fmt.Errorf("%s/%s: the service has no benchmarks to describe; `optml bench show %s` has this one's figures", j.Kind(), j.Name(), j.Name())
	}
	details, err := j.statusDetails(&s)
	if err != nil {
		return nil, err
	}
	if j.plan.Operation == job.CreateModelPackage {
		return describePackage(&s, j.plan, r, details), nil
	}
	return describeAlgorithm(&s, j.plan, r, details), nil
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

func describeAlgorithm(s *State, p *job.Plan, r request, details *StatusDetails) Document {
	var d Document
	name := p.Name
	if p.Validation != nil {
		name = p.Validation.Algorithm
	}
	d.set("AlgorithmName", name)
	d.set("AlgorithmArn", p.ARN)
	d.echo(r, nil, "AlgorithmDescription")
	d.set("CreationTime", s.CreationTime)
	d.echo(r, nil, "TrainingSpecification", "InferenceSpecification", "ValidationSpecification")
	d.set("AlgorithmStatus", ValidationStatus(s.Status))
	d.set("AlgorithmStatusDetails", details)
	d.echo(r, nil, "ProductId", "CertifyForMarketplace")
	return d
}

// describePackage: a versioned package has a group and a version in the place of its name.
func describePackage(s *State, p *job.Plan, r request, details *StatusDetails) Document {
	var d Document
	switch v := p.Validation; {
	case v == nil:
		d.set("ModelPackageName", p.Name)
	case v.Version > 0:
		d.set("ModelPackageGroupName", v.Package)
		d.set("ModelPackageVersion", v.Version)
	default:
		d.set("ModelPackageName", v.Package)
	}
	d.echo(r, nil, "ModelPackageRegistrationType")
	d.set("ModelPackageArn", p.ARN)
	d.echo(r, nil, "ModelPackageDescription")
	d.set("CreationTime", s.CreationTime)
	d.echo(r, nil, "InferenceSpecification", "SourceAlgorithmSpecification", "ValidationSpecification")
	d.set("ModelPackageStatus", ValidationStatus(s.Status))
	d.set("ModelPackageStatusDetails", details)
	d.echo(r, nil, "CertifyForMarketplace", "ModelApprovalStatus", "MetadataProperties", "ModelMetrics", "Domain", "Task",
		"SamplePayloadUrl", "CustomerMetadataProperties", "DriftCheckBaselines", "AdditionalInferenceSpecifications",
		"SkipModelValidation", "SourceUri", "SecurityConfig", "ModelCard", "ModelLifeCycle", "ManagedStorageType")
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
