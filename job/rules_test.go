package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// outcome is what a broken rule gives: an error by default, a warning that says that the service refuses it, or only
// a warning.
type outcome int

const (
	refuses   outcome = iota // an error, whatever the options
	cloudOnly                // a warning by default, an error under --strict
	warns                    // a warning, under --strict too
)

type brokenRule struct {
	rule, file string
	edits      [][2]string
	path       string
	want       string // the service's words where known, else ours
	outcome    outcome
}

// brokenRules breaks each rule between members once or more; every id of the rules table must stand here.
var brokenRules = []brokenRule{
	// START-7: exactly one of TrainingImage and AlgorithmName.
	{"START-7", "training.json", [][2]string{{`"TrainingInputMode": "File",`, `"TrainingInputMode": "File", "AlgorithmName": "a",`}}, "AlgorithmSpecification.AlgorithmName", "TrainingImage and AlgorithmName exclude each other", refuses},
	{"START-7", "training.json", [][2]string{{`"TrainingImage": "210987654321.dkr.ecr.us-east-2.amazonaws.com/boost@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",`, ``}}, "AlgorithmSpecification.TrainingImage", "one of TrainingImage and AlgorithmName is required", refuses},
	{"START-7", "training.json", [][2]string{{`"TrainingImage": "210987654321.dkr.ecr.us-east-2.amazonaws.com/boost@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",`, `"AlgorithmName": "iris-forest",`}}, "AlgorithmSpecification.AlgorithmName", `algorithm "iris-forest" is not known here`, refuses},
	// DOC-1: what the service requires beyond its model.
	{"DOC-1", "training.json", [][2]string{{`"StoppingCondition": {"MaxRuntimeInSeconds": 3600},`, ``}}, "StoppingCondition", "Value null at 'stoppingCondition' failed to satisfy constraint: Member must not be null", refuses},
	{"DOC-1", "training.json", [][2]string{{"-", "AlgorithmSpecification"}}, "AlgorithmSpecification", "Value null at 'algorithmSpecification' failed to satisfy constraint: Member must not be null", refuses},
	{"DOC-1", "training.json", [][2]string{{"-", "ResourceConfig"}}, "ResourceConfig", "Value null at 'resourceConfig' failed to satisfy constraint: Member must not be null", refuses},
	{"DOC-1", "training.json", [][2]string{{`"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, `, ``}}, "ResourceConfig.InstanceType", "2 validation errors detected: Value null at 'resourceConfig.instanceType' failed to satisfy constraint: Member must not be null; Value null at 'resourceConfig.instanceCount'", refuses},
	{"DOC-1", "training.json", [][2]string{{`"InstanceCount": 1`, `"InstanceCount": 0`}}, "ResourceConfig.InstanceCount", "a job has at least one instance", refuses},
	{"DOC-1", "algorithm.json", [][2]string{{`"Containers": [{"Image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/iris:1", `, `"Containers": [{`}}, "InferenceSpecification.Containers[0].Image", "Value null at 'inferenceSpecification.containers.1.member.image'", refuses},
	{"DOC-2", "training.json", [][2]string{{`"VolumeSizeInGB": 30`, `"VolumeSizeInGB": 30, "InstanceGroups": [{"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "InstanceGroupName": "g"}]`}}, "ResourceConfig.InstanceGroups", "InstanceType or InstanceCount cannot be specified with InstanceGroups", refuses},
	{"ruling 13", "training.json", [][2]string{{`"InstanceType": "ml.m5.xlarge"`, `"InstanceType": "ml.m5d.large", "VolumeKmsKeyId": "k"`}}, "ResourceConfig.VolumeKmsKeyId", "ml.m5d.large has its own NVMe storage", cloudOnly},
	{"ruling 13", "transform.json", [][2]string{{`"InstanceType": "ml.m5.xlarge"`, `"InstanceType": "ml.g4dn.xlarge", "VolumeKmsKeyId": "k"`}}, "TransformResources.VolumeKmsKeyId", "has its own NVMe storage", cloudOnly},
	{"STOP-8", "training.json", [][2]string{{`"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 2419201`}}, "StoppingCondition.MaxRuntimeInSeconds", "2419201 seconds are more than 28 days (2419200)", refuses},
	{"DOC-3", "training.json", [][2]string{{`"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200`}}, "StoppingCondition.MaxWaitTimeInSeconds", "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true", refuses},
	{"DOC-3", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "EnableManagedSpotTraining": true`}}, "StoppingCondition.MaxWaitTimeInSeconds", "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds", refuses},
	// CKP-1: what LocalPath hides, and what hides it.
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/model/checkpoints"}`}}, "CheckpointConfig.LocalPath", "/opt/ml/model/checkpoints and /opt/ml/model, which the container needs for something else, hide each other", refuses},
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/"}`}}, "CheckpointConfig.LocalPath", "/opt/ml/ and /opt/ml/input", refuses},
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/"}`}}, "CheckpointConfig.LocalPath", "/ and /opt/ml/input", refuses},
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/x/../model"}`}}, "CheckpointConfig.LocalPath", "is not a plain absolute path", refuses},
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "checkpoints"}`}}, "CheckpointConfig.LocalPath", `"checkpoints" is not a plain absolute path`, refuses},
	{"CKP-1", "training.json", [][2]string{{`"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "CheckpointConfig": {"S3Uri": ""}`}}, "CheckpointConfig.S3Uri", "names no place for checkpoints", refuses},
	{"DOC-4", "algorithm.json", [][2]string{{`"InputDataConfig": [`, `"InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b"}}, "ContentType": "text/csv"},`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[1].ChannelName", `channel "train" stands in`, refuses},
	{"DOC-4", "algorithm.json", [][2]string{{`{"Name": "note", "Type": "FreeText"}`, `{"Name": "criterion", "Type": "FreeText"}`}}, "TrainingSpecification.SupportedHyperParameters[3].Name", `"criterion" stands in TrainingSpecification.SupportedHyperParameters[2] already`, refuses},
	{"DOC-4", "algorithm.json", [][2]string{{`{"Name": "validation", "SupportedContentTypes"`, `{"Name": "train", "SupportedContentTypes"`}}, "TrainingSpecification.TrainingChannels[1].Name", `"train" stands in`, refuses},
	// A channel x_0 beside a Pipe channel x.
	{"PIPE-1", "training.json", [][2]string{{`"InputMode": "File"`, `"InputMode": "Pipe"`}, {`"InputDataConfig": [`, `"InputDataConfig": [{"ChannelName": "train_0", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b"}}},`}}, "InputDataConfig[0].ChannelName", `channel "train_0" has the path of an epoch of the Pipe channel "train"`, refuses},
	{"FF-4", "training.json", [][2]string{{`"InputMode": "File"`, `"InputMode": "Pipe"`}, {`"InputDataConfig": [`, `"InputDataConfig": [{"ChannelName": "other", "InputMode": "FastFile", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b"}}},`}}, "InputDataConfig[1].InputMode", "Cannot use both 'Pipe' and 'FastFile' TrainingInputMode on the same Training Job.", refuses},
	{"FILE-8", "training.json", [][2]string{{`"InputMode": "File"`, `"CompressionType": "Gzip"`}}, "InputDataConfig[0].CompressionType", "objects are unpacked in Pipe mode only", refuses},
	{"FILE-8", "training.json", [][2]string{{`"InputMode": "File"`, `"InputMode": "FastFile", "RecordWrapperType": "RecordIO"`}}, "InputDataConfig[0].RecordWrapperType", `objects are wrapped in Pipe mode only; channel "train" is FastFile`, refuses},
	{"DOC-5", "training.json", [][2]string{{`"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/train", "S3DataDistributionType": "ShardedByS3Key"}}`, `"DataSource": {}`}}, "InputDataConfig[0].DataSource", "a channel has one data source, this has 0", refuses},
	{"DOC-5", "training.json", [][2]string{{`"DataSource": {`, `"DataSource": {"DatasetSource": {"DatasetArn": "arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/DataSet/d"}, `}}, "InputDataConfig[0].DataSource", "this has 2", refuses},
	{"FILE-10", "training.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "AugmentedManifestFile", "AttributeNames": ["a-ref"]`}}, "InputDataConfig[0].DataSource.S3DataSource.S3DataType", "an augmented manifest needs Pipe mode", refuses},
	{"FF-2", "training.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "ManifestFile"`}, {`"InputMode": "File"`, `"InputMode": "FastFile"`}}, "InputDataConfig[0].DataSource.S3DataSource.S3DataType", "FastFile mode reads a prefix only", refuses},
	{"AUG-1", "training.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "AugmentedManifestFile"`}, {`"InputMode": "File"`, `"InputMode": "Pipe"`}}, "InputDataConfig[0].DataSource.S3DataSource.AttributeNames", "an augmented manifest needs the names of the attributes", refuses},
	{"AUG-1", "training.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "S3Prefix", "AttributeNames": ["a"]`}}, "InputDataConfig[0].DataSource.S3DataSource.AttributeNames", "only an augmented manifest has attributes", refuses},
	{"FILE-13", "training.json", [][2]string{{`"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/data/train", "S3DataDistributionType": "ShardedByS3Key"}`, `"FileSystemDataSource": {"FileSystemId": "fs-0123456789", "FileSystemAccessMode": "ro", "FileSystemType": "EFS", "DirectoryPath": "/d"}`}, {`"InputMode": "File"`, `"InputMode": "Pipe"`}}, "InputDataConfig[0].DataSource.FileSystemDataSource", "a file system is mounted in File mode only; channel \"train\" is Pipe", refuses},
	{"ENV-4", "training.json", [][2]string{{`"PYTHONUNBUFFERED": "1"`, `"TRAINING_JOB_NAME": "x"`}}, "Environment.TRAINING_JOB_NAME", "the service sets TRAINING_JOB_NAME itself", warns},
	{"MET-1", "training.json", [][2]string{{`auc=([0-9.]+)`, `auc=[0-9.]+`}}, "AlgorithmSpecification.MetricDefinitions[0].Regex", "has no group in its expression", warns},
	{"MET-1", "algorithm.json", [][2]string{{`loss=([0-9.]+)`, `loss=(?:[0-9.]+)`}}, "TrainingSpecification.MetricDefinitions[1].Regex", "has no group in its expression", warns},
	{"MET-5", "training.json", [][2]string{{`auc=([0-9.]+)`, `(?<=auc=)([0-9.]+)`}}, "AlgorithmSpecification.MetricDefinitions[0].Regex", "uses a lookbehind (?<=: its expression is matched by backtracking", warns},
	{"MET-5", "training.json", [][2]string{{`auc=([0-9.]+)`, `auc=([0-9.]+`}}, "AlgorithmSpecification.MetricDefinitions[0].Regex", "missing closing ) is not supported in", refuses},
	{"MET-5", "algorithm.json", [][2]string{{`loss=([0-9.]+)`, `loss\\h([0-9.]+)`}}, "TrainingSpecification.MetricDefinitions[1].Regex", `the escape \h is not supported in`, refuses},

	{"VAL-8", "algorithm.json", [][2]string{{"-", "ValidationSpecification"}}, "CertifyForMarketplace", "certified only with a validation profile", cloudOnly},
	{"VAL-9", "algorithm.json", [][2]string{{"-", "InferenceSpecification"}}, "CertifyForMarketplace", "listed only with an inference image", cloudOnly},
	{"VAL-14", "algorithm.json", [][2]string{{`"DefaultValue": "0.01"`, `"DefaultValue": "0.01", "IsRequired": true`}}, "TrainingSpecification.SupportedHyperParameters[1].DefaultValue", `hyperparameter "min_impurity" is required, so it cannot have a default`, cloudOnly},
	{"VAL-15", "algorithm.json", [][2]string{{`"Type": "Integer"`, `"Type": "Continuous"`}}, "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification", "is of type Continuous, its range is for Integer", refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`{"Name": "note", "Type": "FreeText"}`, `{"Name": "note", "Type": "FreeText", "Range": {}}`}}, "TrainingSpecification.SupportedHyperParameters[3].Range", `the range of hyperparameter "note" is empty`, refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`"MinValue": "1", "MaxValue": "500"`, `"MinValue": "500", "MaxValue": "1"`}}, "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification.MinValue", "begins at 500 and ends at 1", refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`"MaxValue": "500"`, `"MaxValue": "5.0"`}}, "TrainingSpecification.SupportedHyperParameters[0].Range.IntegerParameterRangeSpecification.MaxValue", `"5.0" is not a value of type Integer`, refuses},
	{"HP-1", "algorithm.json", [][2]string{{`"DefaultValue": "gini"`, `"DefaultValue": "log_loss"`}}, "TrainingSpecification.SupportedHyperParameters[2].DefaultValue", "Invalid value: log_loss Supported range: [gini, entropy]", refuses},
	{"CH-3", "algorithm.json", [][2]string{{`"SupportedInputModes": ["File"]},`, `"SupportedInputModes": ["File", "FastFile"]},`}}, "TrainingSpecification.TrainingChannels[0].SupportedInputModes[1]", "SageMaker's CreateAlgorithm rejects FastFile", cloudOnly},
	{"VAL-13", "algorithm.json", [][2]string{{`"MetricName": "validation:accuracy"`, `"MetricName": "validation:auc"`}}, "TrainingSpecification.SupportedTuningJobObjectiveMetrics[0].MetricName", `metric "validation:auc" is not in MetricDefinitions`, refuses},
	{"VAL-13", "algorithm.json", [][2]string{{`"ContentType": "text/csv", "SplitType"`, `"ContentType": "application/json", "SplitType"`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformInput.ContentType", `"application/json" is not in SupportedContentTypes`, refuses},
	{"VAL-13", "algorithm.json", [][2]string{{`"Accept": "text/csv"`, `"Accept": "application/json"`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformOutput.Accept", `"application/json" is not in SupportedResponseMIMETypes`, refuses},
	{"VAL-13", "algorithm.json", [][2]string{{`"TransformResources": {"InstanceType": "ml.m5.large"`, `"TransformResources": {"InstanceType": "ml.m5.xlarge"`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformResources.InstanceType", "Instance type ml.m5.xlarge is not supported by algorithm iris-forest", cloudOnly},
	{"VAL-1", "algorithm.json", [][2]string{{"-", "CertifyForMarketplace"}, {"-", "InferenceSpecification"}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition", "no transform is run", warns},
	{"VAL-1", "algorithm.json", [][2]string{{"-", "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition"}}, "ValidationSpecification.ValidationProfiles[0]", "the inference container is not tried", warns},
	{"INF-29", "algorithm.json", [][2]string{{`"SupportsDistributedTraining": false`, `"AdditionalS3DataSource": {"S3DataType": "S3Object", "S3Uri": "s3://b/k"}`}}, "TrainingSpecification.AdditionalS3DataSource", "is not mounted", warns},
	{"INF-29", "algorithm.json", [][2]string{{`"Environment": {"WORKERS": "1"}`, `"AdditionalS3DataSource": {"S3DataType": "S3Object", "S3Uri": "s3://b/k"}`}}, "InferenceSpecification.Containers[0].AdditionalS3DataSource", "is not mounted", warns},
	{"INF-41", "algorithm.json", [][2]string{{`{"WORKERS": "1"}`, entries(17, "v")}}, "InferenceSpecification.Containers[0].Environment", "has 17 entries", warns},
	{"INF-41", "algorithm.json", [][2]string{{`{"WORKERS": "1"}`, entries(40, strings.Repeat("v", 1000))}}, "InferenceSpecification.Containers", "have 40110 bytes together, more than 32768", refuses},
	{"VAL-33", "algorithm.json", [][2]string{{`"Containers": [{"Image": "123456789012.dkr.ecr.eu-west-1`, `"Containers": [{"Image": "123456789012.dkr.ecr.us-west-1`}}, "InferenceSpecification.Containers[0].Image", "Client error: Access denied for registry", cloudOnly},

	// Hyperparameters against the specification.
	{"HP-5", "algorithm.json", [][2]string{{`{"n_estimators": "20"}`, `{}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters", "Required hyperparameter: n_estimators is not set", refuses},
	{"HP-5", "algorithm.json", [][2]string{{`{"n_estimators": "20"}`, `{"n_estimators": "20", "n_estimator": "3"}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters.n_estimator", "Invalid hyperparameter: n_estimator is not supported by iris-forest", refuses},
	{"HP-5", "algorithm.json", [][2]string{{`{"n_estimators": "20"}`, `{"n_estimators": "501"}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters.n_estimators", "Invalid value: 501 Supported range: [1, 500]", refuses},
	{"HP-5", "algorithm.json", [][2]string{{`{"n_estimators": "20"}`, `{"n_estimators": "20.0"}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters.n_estimators", "Hyperparameter n_estimators: could not parse value", refuses},
	// Channels against the specification.
	{"CH-1", "algorithm.json", [][2]string{{`"ChannelName": "train"`, `"ChannelName": "trian"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig", "Unknown input channel: trian is not supported by: iris-forest", refuses},
	{"CH-1", "algorithm.json", [][2]string{{`"ChannelName": "train"`, `"ChannelName": "trian"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig", "Required input channel: train Was not provided.", refuses},
	{"CH-1", "algorithm.json", [][2]string{{`"ContentType": "text/csv", "CompressionType": "None"`, `"ContentType": "image/png", "CompressionType": "None"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[0].ContentType", "Channel configuration for 'train' channel is not supported: ContentType image/png", refuses},
	{"CH-1", "algorithm.json", [][2]string{{`"SupportedCompressionTypes": ["None"]`, `"SupportedCompressionTypes": ["Gzip"]`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[0].CompressionType", "Channel configuration for 'train' channel is not supported: CompressionType None", refuses},
	{"CH-1", "algorithm.json", [][2]string{{`"SupportedInputModes": ["File"]},`, `"SupportedInputModes": ["Pipe"]},`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[0].InputMode", "Channel configuration for 'train' channel is not supported: InputMode File", refuses},
	{"CH-1", "algorithm.json", [][2]string{{`"ContentType": "text/csv", "CompressionType": "None"`, `"CompressionType": "None"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.InputDataConfig[0]", `channel "train" has no ContentType`, warns},
	{"CH-4", "algorithm.json", [][2]string{{`"ResourceConfig": {"InstanceType": "ml.m5.large"`, `"ResourceConfig": {"InstanceType": "ml.c5.large"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.ResourceConfig.InstanceType", "Instance type ml.c5.large is not supported by algorithm iris-forest", cloudOnly},
	{"CH-4", "algorithm.json", [][2]string{{`"InstanceCount": 1, "VolumeSizeInGB"`, `"InstanceCount": 2, "VolumeSizeInGB"`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.ResourceConfig.InstanceCount", "does not support distributed training", refuses},

	{"VAL-53", "transform.json", [][2]string{{`"ModelName": "boost-model"`, `"ModelName": "other"`}}, "ModelName", `Could not find model "other".`, refuses},
	{"BT-33", "transform.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "AugmentedManifestFile"`}}, "TransformInput.DataSource.S3DataSource.S3DataType", "AugmentedManifestFile is not for transforms", refuses},
	{"BT-33", "transform.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "Converse"`}}, "TransformInput.DataSource.S3DataSource.S3DataType", "Converse is not for transforms", refuses},
	{"BT-91", "transform.json", [][2]string{{`"MaxPayloadInMB": 10`, `"MaxPayloadInMB": 101`}}, "MaxPayloadInMB", "101 MB is more than 100", refuses},
	{"BT-92", "transform.json", [][2]string{{`"MaxPayloadInMB": 10`, `"MaxPayloadInMB": 26`}}, "MaxConcurrentTransforms", "4 x 26, more than 100 MB", refuses},
	{"BT-92", "transform.json", [][2]string{{`"MaxPayloadInMB": 10,`, ``}, {`"MaxConcurrentTransforms": 4`, `"MaxConcurrentTransforms": 17`}}, "MaxConcurrentTransforms", "17 x 6, more than 100 MB", refuses},
	{"BT-37", "transform.json", [][2]string{{`"InstanceCount": 1`, `"InstanceCount": 101`}}, "TransformResources.InstanceCount", "at most 100 instances", refuses},
	{"BT-10", "transform.json", [][2]string{{`"LOG": "job"`, `"SAGEMAKER_BATCH": "no"`}}, "Environment.SAGEMAKER_BATCH", "the service sets SAGEMAKER_BATCH itself", warns},
	{"BT-30", "transform.json", [][2]string{{`"S3OutputPath": "s3://bucket/predictions"`, `"S3OutputPath": "s3://bucket/batch/out"`}}, "TransformOutput.S3OutputPath", "lies under the input prefix", warns},
	{"BT-152", "transform.json", [][2]string{{`"ContentType": "text/csv", "SplitType"`, `"ContentType": "image/png", "SplitType"`}, {`"InputFilter": "$"`, `"InputFilter": "$[1:]"`}}, "TransformInput.ContentType", `text/csv, application/json or application/jsonlines, not "image/png"`, refuses},
	{"BT-152", "transform.json", [][2]string{{`"Accept": "text/csv", `, ``}, {`"OutputFilter": "$"`, `"OutputFilter": "$[0]"`}}, "TransformOutput", `text/csv, application/json or application/jsonlines, not ""`, refuses},
	{"BT-152", "transform.json", [][2]string{{`"ContentType": "text/csv", "SplitType": "Line"`, `"ContentType": "application/json", "SplitType": "TFRecord"`}, {`"InputFilter": "$"`, `"InputFilter": "$[1:]"`}}, "TransformInput.SplitType", "TFRecord frames are neither", refuses},
	{"BT-153", "transform.json", [][2]string{{`"Accept": "text/csv"`, `"Accept": "application/jsonlines"`}, {`"JoinSource": "None"`, `"JoinSource": "Input"`}}, "TransformOutput.Accept", `a join needs the type of the input ("text/csv"), not "application/jsonlines"`, refuses},
	{"BT-153", "transform.json", [][2]string{{`"AssembleWith": "Line"`, `"AssembleWith": "None"`}, {`"JoinSource": "None"`, `"JoinSource": "Input"`}}, "TransformOutput.AssembleWith", "a join needs the input's SplitType (Line), not None", refuses},
	{"BT-154", "transform.json", [][2]string{{`"SplitType": "Line"`, `"SplitType": "None"`}, {`"InputFilter": "$"`, `"InputFilter": "$[1:]"`}}, "TransformInput.SplitType", "text/csv needs Line", refuses},
	{"BT-154", "transform.json", [][2]string{{`"AssembleWith": "Line"`, `"AssembleWith": "None"`}, {`"OutputFilter": "$"`, `"OutputFilter": "$[0]"`}}, "TransformOutput.AssembleWith", "text/csv needs Line", refuses},
	{"BT-98", "transform.json", [][2]string{{`"MaxPayloadInMB": 10`, `"MaxPayloadInMB": 0`}, {`"BatchStrategy": "SingleRecord"`, `"BatchStrategy": "MultiRecord"`}, {`"InputFilter": "$"`, `"InputFilter": "$[1:]"`}}, "MaxPayloadInMB", "neither DataProcessing nor GenerateInferenceId is carried out on it", warns},
	{"BT-98", "transform.json", [][2]string{{`"MaxPayloadInMB": 10`, `"MaxPayloadInMB": 0`}, {`"BatchStrategy": "SingleRecord"`, `"BatchStrategy": "MultiRecord"`}, {`"DataProcessing": {`, `"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c", "GenerateInferenceId": true}, "DataProcessing": {`}}, "MaxPayloadInMB", "neither DataProcessing nor GenerateInferenceId is carried out on it", warns},
	{"BT-171", "transform.json", [][2]string{{`"DataProcessing": {`, `"DataCaptureConfig": {"DestinationS3Uri": "s3://bucket/batch/captured", "GenerateInferenceId": true}, "DataProcessing": {`}}, "DataCaptureConfig.DestinationS3Uri", "a second run reads the first one's manifests as input", warns},
	{"BT-172", "transform.json", [][2]string{{`"Accept": "text/csv"`, `"Accept": "image/png"`}, {`"DataProcessing": {`, `"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c", "GenerateInferenceId": true}, "DataProcessing": {`}}, "TransformOutput.Accept", `with GenerateInferenceId this is text/csv, application/json or application/jsonlines, not "image/png"`, refuses},
	{"INF-27", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None", "ManifestS3Uri": "s3://b/m.csv"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.ManifestS3Uri", "is not read", warns},
	{"INF-27", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None", "ManifestEtag": "x"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.ManifestEtag", "is not compared", warns},
	{"INF-27", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None", "ModelAccessConfig": {"AcceptEula": true}}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.ModelAccessConfig", "no licence is accepted here", warns},
	{"BT-160", "transform.json", [][2]string{{`"InputFilter": "$"`, `"InputFilter": "$[0:2,246:]"`}}, "DataProcessing.InputFilter", "Invalid JsonPath: $[0:2,246:]: only single range filters of format (eg: [1:5]) are supported. Format [0:2,246:] is not supported: the service takes the request", warns},
	{"BT-162", "transform.json", [][2]string{{`"OutputFilter": "$"`, `"OutputFilter": "$[0:2]"`}}, "DataProcessing.OutputFilter", "[0:2] is without its end here", warns},
	{"VAL-53", "model.json", [][2]string{{`"PrimaryContainer"`, `"Containers": [{"Image": "i"}], "PrimaryContainer"`}}, "Containers", "PrimaryContainer and Containers exclude each other", refuses},
	{"VAL-53", "model.json", [][2]string{{`"Image": "210987654321.dkr.ecr.us-east-2.amazonaws.com/boost:1",`, ``}}, "PrimaryContainer.Image", "a container needs Image or ModelPackageName", refuses},
	{"INF-23", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}`}}, "PrimaryContainer.ModelDataSource", "SageMaker does not allow ModelDataSource in a transform", cloudOnly},
	{"INF-23", "model.json", [][2]string{{`"ModelDataUrl"`, `"ModelDataSource": {}, "ModelDataUrl"`}}, "PrimaryContainer.ModelDataSource", "ModelDataUrl and ModelDataSource exclude each other", refuses},
	{"INF-41", "model.json", [][2]string{{`{"WORKERS": "2", "LOG": "model"}`, entries(40, strings.Repeat("v", 1000))}}, "", "more than 32768", refuses},
	{"INF-23", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {}`}}, "PrimaryContainer.ModelDataSource", "ModelDataSource needs S3DataSource", refuses},
	{"INF-24", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "Gzip"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.CompressionType", "Gzip is one archive, and S3Prefix is many objects", refuses},
	{"INF-25", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m", "S3DataType": "S3Prefix", "CompressionType": "None"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.S3Uri", "the address of a model's prefix ends in a slash", refuses},
	{"INF-25", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Object", "CompressionType": "None"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.S3Uri", "an object's address does not end in a slash", refuses},
	{"ruling 21", "package.json", [][2]string{{`, "ModelDataUrl": "s3://bucket/model.tar.gz"`, `, "ModelDataETag": "x"`}}, "InferenceSpecification.Containers[0].ModelDataETag", "there is no ModelDataUrl: nothing is compared", warns},
	{"ruling 21", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"ModelDataSource": {"S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None", "ETag": "x"}}`}}, "PrimaryContainer.ModelDataSource.S3DataSource.ETag", "a prefix has no ETag: nothing is compared", warns},
	{"INF-28", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"AdditionalModelDataSources": [{"ChannelName": "..", "S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}}], "ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`}}, "PrimaryContainer.AdditionalModelDataSources[0].ChannelName", `".." cannot be the name of a directory`, refuses},
	{"INF-28", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"AdditionalModelDataSources": [{"ChannelName": "a", "S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}}, {"ChannelName": "a", "S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}}], "ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`}}, "PrimaryContainer.AdditionalModelDataSources[1].ChannelName", `channel "a" stands there already`, refuses},
	{"INF-28", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`, `"AdditionalModelDataSources": [{"ChannelName": "a", "S3DataSource": {"S3Uri": "s3://b/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}}], "ModelDataUrl": "s3://bucket/models/boost-2026-11-20/output/model.tar.gz"`}}, "PrimaryContainer.AdditionalModelDataSources", "SageMaker has AdditionalModelDataSources beside ModelDataSource alone", cloudOnly},
	{"INF-51", "model.json", [][2]string{{`"PrimaryContainer": {`, `"Containers": [{"Image": "i", "Environment": {"SAGEMAKER_BIND_TO_PORT": "1"}}, {"Image": "i"}], "PrimaryContainer": {`}, {"-", "PrimaryContainer"}}, "Containers[0].Environment.SAGEMAKER_BIND_TO_PORT", "the service sets SAGEMAKER_BIND_TO_PORT itself in a pipeline", warns},
	{"INF-43", "model.json", [][2]string{{`"PrimaryContainer": {`, `"Containers": [{"Image": "i", "ContainerHostname": "a"}, {"Image": "i", "ContainerHostname": "a"}], "PrimaryContainer": {`}}, "Containers[1].ContainerHostname", `"a" is another container's host name`, refuses},
	{"INF-43", "model.json", [][2]string{{`"PrimaryContainer": {`, `"Containers": [{"Image": "i", "ContainerHostname": "a"}, {"Image": "i"}], "PrimaryContainer": {`}}, "Containers", "names all its containers (ContainerHostname) or none", refuses},

	{"VAL-52", "package.json", [][2]string{{`"ModelPackageName": "boost-package"`, `"ModelPackageName": "boost-package", "ModelPackageGroupName": "g"`}}, "ModelPackageGroupName", "either ModelPackageName or ModelPackageGroupName", refuses},
	{"VAL-52", "package.json", [][2]string{{`"ModelPackageName": "boost-package"`, `"ModelPackageGroupName": "g"`}}, "CertifyForMarketplace", "a versioned model package cannot be certified", refuses},
	{"VAL-52", "package.json", [][2]string{{`"CertifyForMarketplace": true`, `"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a"}]}`}}, "InferenceSpecification", "either InferenceSpecification or SourceAlgorithmSpecification", refuses},
	{"VAL-50", "package.json", [][2]string{{`"SupportedTransformInstanceTypes": ["ml.m5.large"],`, ``}}, "InferenceSpecification.SupportedTransformInstanceTypes", "Member must not be null", refuses},
	{"VAL-52", "package.json", [][2]string{{`"ModelPackageName": "boost-package"`, `"ModelPackageGroupName": "g", "Tags": [{"Key": "a", "Value": "b"}]`}, {"-", "CertifyForMarketplace"}}, "Tags", "a versioned model package has no tags of its own", refuses},
	{"VAL-52", "package.json", [][2]string{{"-", "ModelPackageName"}}, "ModelPackageName", "either ModelPackageName or ModelPackageGroupName", refuses},
	{"VAL-52", "package.json", [][2]string{{"-", "InferenceSpecification"}}, "InferenceSpecification", "either InferenceSpecification or SourceAlgorithmSpecification", refuses},
	{"VAL-52", "package.json", [][2]string{{"-", "InferenceSpecification"}, {`"CertifyForMarketplace": true`, `"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "iris-forest"}]}`}}, "SourceAlgorithmSpecification.SourceAlgorithms[0]", "has no ModelDataUrl: the package has no model of its own", warns},
	{"VAL-52", "package.json", [][2]string{{"-", "InferenceSpecification"}, {`"CertifyForMarketplace": true`, `"SourceAlgorithmSpecification": {"SourceAlgorithms": [{"AlgorithmName": "a", "ModelDataUrl": "s3://b/m.tar.gz", "ModelDataSource": {}}]}`}}, "SourceAlgorithmSpecification.SourceAlgorithms[0].ModelDataSource", "ModelDataUrl and ModelDataSource exclude each other", refuses},
	{"VAL-50", "package.json", [][2]string{{`"SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],`, ``}}, "InferenceSpecification.SupportedRealtimeInferenceInstanceTypes", "Value null at 'inferenceSpecification.supportedRealtimeInferenceInstanceTypes' failed to satisfy constraint: Member must not be null", refuses},
	{"INF-23", "package.json", [][2]string{{`"ModelDataUrl": "s3://bucket/model.tar.gz"`, `"ModelDataUrl": "s3://bucket/model.tar.gz", "ModelDataSource": {}`}}, "InferenceSpecification.Containers[0].ModelDataSource", "ModelDataUrl and ModelDataSource exclude each other", refuses},
	{"DOC-1", "package.json", [][2]string{{`"Image": "210987654321.dkr.ecr.us-east-2.amazonaws.com/boost:1", `, ``}}, "InferenceSpecification.Containers[0].Image", "Value null at 'inferenceSpecification.containers.1.member.image' failed to satisfy constraint: Member must not be null", refuses},
	{"DOC-4", "package.json", [][2]string{{`"ValidationProfiles": [`, `"ValidationProfiles": [{"ProfileName": "default", "TransformJobDefinition": {"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/"}}}, "TransformOutput": {"S3OutputPath": "s3://b/"}, "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1}}},`}}, "ValidationSpecification.ValidationProfiles[1].ProfileName", `"default" stands in ValidationSpecification.ValidationProfiles[0] already`, refuses},
	{"VAL-13", "package.json", [][2]string{{`"ContentType": "text/csv"}`, `"ContentType": "image/png"}`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformInput.ContentType", `"image/png" is not in SupportedContentTypes of the model package`, refuses},
	{"VAL-13", "package.json", [][2]string{{`{"S3OutputPath": "s3://bucket/predictions"}`, `{"S3OutputPath": "s3://bucket/predictions", "Accept": "image/png"}`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformOutput.Accept", `"image/png" is not in SupportedResponseMIMETypes of the model package`, refuses},
	{"VAL-13", "package.json", [][2]string{{`{"InstanceType": "ml.m5.large", "InstanceCount": 1}`, `{"InstanceType": "ml.m5.xlarge", "InstanceCount": 1}`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformResources.InstanceType", "Instance type ml.m5.xlarge is not supported by the model package", cloudOnly},
	{"BT-92", "package.json", [][2]string{{`"TransformJobDefinition": {`, `"TransformJobDefinition": {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 51,`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.MaxConcurrentTransforms", "2 x 51, more than 100 MB", refuses},
	{"BT-92", "algorithm.json", [][2]string{{`"MaxPayloadInMB": 6`, `"MaxPayloadInMB": 51`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.MaxConcurrentTransforms", "2 x 51, more than 100 MB", refuses},

	// One region, and for what is sold one registry.
	{"VAL-33", "algorithm.json", [][2]string{{`"Containers": [{"Image": "123456789012`, `"Containers": [{"Image": "210987654321`}}, "InferenceSpecification.Containers[0].Image", "Client error: Access denied for registry", cloudOnly},
	{"VAL-33", "algorithm.json", [][2]string{{`"ValidationRole": "arn:aws:iam::123456789012`, `"ValidationRole": "arn:aws:iam::210987654321`}}, "ValidationSpecification.ValidationRole", "is of account 210987654321, and TrainingSpecification.TrainingImage of 123456789012", cloudOnly},
	{"VAL-33", "algorithm.json", [][2]string{{`"S3Uri": "s3://iris-data/batch/"`, `"S3Uri": "https://iris-data.s3.us-west-2.amazonaws.com/batch/"`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformInput.DataSource.S3DataSource.S3Uri", "lies in us-west-2, and TrainingSpecification.TrainingImage in eu-west-1", cloudOnly},
	{"VAL-33", "training.json", [][2]string{{`"S3OutputPath": "s3://bucket/models"`, `"S3OutputPath": "https://s3-eu-north-1.amazonaws.com/bucket/models"`}}, "OutputDataConfig.S3OutputPath", "lies in eu-north-1, and AlgorithmSpecification.TrainingImage in us-east-2", cloudOnly},
	{"VAL-33", "model.json", [][2]string{{`"ModelDataUrl": "s3://bucket/models/`, `"ModelDataUrl": "https://bucket.s3.dualstack.eu-west-3.amazonaws.com/models/`}}, "PrimaryContainer.ModelDataUrl", "lies in eu-west-3, and PrimaryContainer.Image in us-east-2", cloudOnly},
	{"VAL-33", "package.json", [][2]string{{`"ModelDataUrl": "s3://bucket/model.tar.gz"`, `"ModelDataUrl": "https://s3.eu-west-3.amazonaws.com/bucket/model.tar.gz"`}}, "InferenceSpecification.Containers[0].ModelDataUrl", "lies in eu-west-3, and InferenceSpecification.Containers[0].Image in us-east-2", cloudOnly},

	{"DOC-2", "training.json", [][2]string{{`"S3DataType": "S3Prefix"`, `"S3DataType": "S3Prefix", "InstanceGroupNames": ["g"]`}}, "InputDataConfig[0].DataSource.S3DataSource.InstanceGroupNames[0]", `"g" is none of the job's InstanceGroups`, refuses},
	{"DOC-6", "algorithm.json", [][2]string{{`{"Name": "note", "Type": "FreeText"}`, `{"Name": "note", "Type": "FreeText", "IsTunable": true}`}}, "TrainingSpecification.SupportedHyperParameters[3].IsTunable", `hyperparameter "note" is FreeText: a tuning job searches numbers and categories only`, warns},
	{"DOC-6", "algorithm.json", [][2]string{{`{"Name": "note", "Type": "FreeText"}`, `{"Name": "note", "Type": "Integer", "IsTunable": true}`}}, "TrainingSpecification.SupportedHyperParameters[3].IsTunable", `hyperparameter "note" has no Range`, warns},
	{"DOC-6", "algorithm.json", [][2]string{{"-", "TrainingSpecification.SupportedTuningJobObjectiveMetrics"}}, "TrainingSpecification.SupportedHyperParameters[0].IsTunable", "tunable hyperparameters and no SupportedTuningJobObjectiveMetrics", warns},
	{"DOC-7", "training.json", [][2]string{{`"Tags": [`, `"Tags": [{"Key": "team", "Value": "b"},`}}, "Tags[1].Key", `tag "team" stands in Tags[0] already`, cloudOnly},
	{"DOC-7", "model.json", [][2]string{{`"PrimaryContainer": {`, `"Tags": [{"Key": "AWS:x", "Value": "b"}], "PrimaryContainer": {`}}, "Tags[0].Key", "keys that begin with aws: are AWS's own", cloudOnly},
	{"DOC-8", "training.json", [][2]string{{`"TrainingInputMode": "File",`, `"TrainingInputMode": "File", "TrainingImageConfig": {"TrainingRepositoryAccessMode": "Platform", "TrainingRepositoryAuthConfig": {"TrainingRepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}},`}}, "AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig", "TrainingRepositoryAccessMode Vpc only", cloudOnly},
	{"DOC-8", "model.json", [][2]string{{`"PrimaryContainer": {`, `"PrimaryContainer": {"ImageConfig": {"RepositoryAccessMode": "Platform", "RepositoryAuthConfig": {"RepositoryCredentialsProviderArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}},`}}, "PrimaryContainer.ImageConfig.RepositoryAuthConfig", "RepositoryAccessMode Vpc only", cloudOnly},
	{"VAL-15", "algorithm.json", [][2]string{{`"Range": {"IntegerParameterRangeSpecification": {`, `"Range": {"CategoricalParameterRangeSpecification": {"Values": ["1"]}, "IntegerParameterRangeSpecification": {`}}, "TrainingSpecification.SupportedHyperParameters[0].Range.CategoricalParameterRangeSpecification", "is of type Integer, its range is for Categorical", refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`{"Name": "note", "Type": "FreeText"}`, `{"Name": "note", "Type": "FreeText", "Range": {"CategoricalParameterRangeSpecification": {"Values": ["a"]}}}`}}, "TrainingSpecification.SupportedHyperParameters[3].Range.CategoricalParameterRangeSpecification", "is of type FreeText, its range is for Categorical", refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`"MinValue": "0", "MaxValue": "1e0"`, `"MinValue": "1.5e0", "MaxValue": "1"`}}, "TrainingSpecification.SupportedHyperParameters[1].Range.ContinuousParameterRangeSpecification.MinValue", "begins at 1.5e0 and ends at 1", refuses},
	{"VAL-15", "algorithm.json", [][2]string{{`"MinValue": "0", "MaxValue": "1e0"`, `"MinValue": "NaN", "MaxValue": "1"`}}, "TrainingSpecification.SupportedHyperParameters[1].Range.ContinuousParameterRangeSpecification.MinValue", `"NaN" is not a value of type Continuous`, refuses},
	{"HP-1", "algorithm.json", [][2]string{{`"DefaultValue": "0.01"`, `"DefaultValue": "1.01"`}}, "TrainingSpecification.SupportedHyperParameters[1].DefaultValue", "Invalid value: 1.01 Supported range: [0, 1e0]", refuses},
	{"HP-5", "algorithm.json", [][2]string{{`{"n_estimators": "20"}`, `{"n_estimators": "20", "criterion": "log_loss"}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.HyperParameters.criterion", "Invalid value: log_loss Supported range: [gini, entropy]", refuses},
	{"CH-3", "algorithm.json", [][2]string{{`"SupportedInputModes": ["File"]},`, `"SupportedInputModes": ["FastFile"]},`}, {`{"ChannelName": "train"`, `{"ChannelName": "train", "InputMode": "FastFile"`}}, "TrainingSpecification.TrainingChannels[0].SupportedInputModes[0]", "SageMaker's CreateAlgorithm rejects FastFile", cloudOnly},
	{"STOP-8", "algorithm.json", [][2]string{{`"MaxRuntimeInSeconds": 600`, `"MaxRuntimeInSeconds": 2419201`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.StoppingCondition.MaxRuntimeInSeconds", "2419201 seconds are more than 28 days", refuses},
	{"DOC-4", "algorithm.json", [][2]string{{`"ValidationProfiles": [`, `"ValidationProfiles": [{"ProfileName": "default", "TrainingJobDefinition": {"TrainingInputMode": "File", "HyperParameters": {"n_estimators": "1"}, "InputDataConfig": [{"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/"}}}], "OutputDataConfig": {"S3OutputPath": "s3://b/"}, "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}, "StoppingCondition": {}}},`}}, "ValidationSpecification.ValidationProfiles[1].ProfileName", `"default" stands in ValidationSpecification.ValidationProfiles[0] already`, refuses},
	{"VAL-53", "model.json", [][2]string{{"-", "PrimaryContainer"}}, "PrimaryContainer", "a model needs PrimaryContainer or Containers", refuses},
	{"BT-33", "algorithm.json", [][2]string{{`"S3Uri": "s3://iris-data/batch/"`, `"S3Uri": "s3://iris-data/batch/"`}, {`"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix"`, `"TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "Converse"`}}, "ValidationSpecification.ValidationProfiles[0].TransformJobDefinition.TransformInput.DataSource.S3DataSource.S3DataType", "Converse is not for transforms", refuses},
	{"CH-4", "algorithm.json", [][2]string{{`"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}`, `"ResourceConfig": {"VolumeSizeInGB": 10, "InstanceGroups": [{"InstanceGroupName": "a", "InstanceType": "ml.m5.large", "InstanceCount": 1}, {"InstanceGroupName": "b", "InstanceType": "ml.m5.large", "InstanceCount": 1}]}`}}, "ValidationSpecification.ValidationProfiles[0].TrainingJobDefinition.ResourceConfig.InstanceGroups", "does not support distributed training", refuses},
	{"VAL-8", "package.json", [][2]string{{"-", "ValidationSpecification"}}, "CertifyForMarketplace", "certified only with a validation profile", cloudOnly},
}

// entries is an environment of n entries.
func entries(n int, v string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"K%d":%q`, i, v)
	}
	return "{" + strings.Join(list, ",") + "}"
}

// edited is a fixture with texts replaced, or with the member at a path removed ("-", path).
func edited(t testing.TB, file string, edits [][2]string) string {
	t.Helper()
	text := edit(t, file, "", "")
	for _, e := range edits {
		if e[0] == "-" {
			text = change(t, text, e[1], nil)
			continue
		}
		if !strings.Contains(text, e[0]) {
			t.Fatalf("%s does not contain %s", file, e[0])
		}
		text = strings.Replace(text, e[0], e[1], 1)
	}
	return text
}

// companionsOf are the other documents that a fixture needs.
func companionsOf(t testing.TB, file, text string) []*Document {
	t.Helper()
	d := decode(t, file, text)
	switch d.Operation {
	case CreateTransformJob:
		return []*Document{d, fixture(t, "model.json")}
	case CreateModel:
		return []*Document{d, fixture(t, "transform.json")}
	case CreateModelPackage:
		if d.Algorithm() == "iris-forest" {
			return []*Document{d, fixture(t, "algorithm.json")}
		}
	}
	return []*Document{d}
}

// TestRules breaks each rule between members and asserts place, words and weight.
func TestRules(t *testing.T) {
	for _, tc := range brokenRules {
		t.Run(tc.rule+" "+tc.want, func(t *testing.T) {
			docs := companionsOf(t, tc.file, edited(t, tc.file, tc.edits))
			found := func(o Options) (errText, warnText string, refused bool) {
				t.Helper()
				_, err := Make(docs, o, machine)
				var invalid *Invalid
				if errors.As(err, &invalid) {
					for _, q := range invalid.Problems {
						if q.Rule == tc.rule && strings.HasPrefix(q.Path, tc.path) && (q.Line < 1 || q.Text == "") {
							t.Errorf("no place or text: %+v", q)
						}
						if q.Rule == tc.rule && strings.HasPrefix(q.Path, tc.path) {
							errText = err.Error()
						}
					}
				}
				var m problems
				set, _ := arrange(docs)
				warnings, _ := set.check(o, &m)
				for _, w := range warnings {
					if w.Rule == tc.rule && w.Path == tc.path {
						warnText, refused = w.Text, w.Refuses
					}
				}
				return errText, warnText, refused
			}
			errText, warnText, cloud := found(Options{})
			strictErr, _, _ := found(Options{Strict: true})
			switch tc.outcome {
			case refuses:
				if !strings.Contains(errText, tc.want) {
					t.Errorf("got error %q, want %q", errText, tc.want)
				}
			case cloudOnly:
				if errText != "" || warnText == "" || !cloud {
					t.Errorf("got error %q, warning %q (refuses %v), want a warning that the service refuses it", errText, warnText, cloud)
				}
				if !strings.Contains(strictErr, tc.want) {
					t.Errorf("--strict gives %q, want %q", strictErr, tc.want)
				}
			case warns:
				if errText != "" || !strings.Contains(warnText, tc.want) || cloud {
					t.Errorf("got error %q, warning %q, want the warning %q", errText, warnText, tc.want)
				}
				if strictErr != "" {
					t.Errorf("--strict gives %q", strictErr)
				}
			}
		})
	}
}

// Every rule of the table is broken in a test: not only one of those that have its id.
func TestEachRuleIsBroken(t *testing.T) {
	broken := make([]bool, len(rules))
	try := func(id string, docs []*Document) {
		set, err := arrange(docs)
		if err != nil {
			return // documents that do not go together at all
		}
		for i, r := range rules {
			for _, d := range set.all() {
				var out problems
				c := &ruling{doc: d, set: set, o: Options{Strict: true}, out: &out, id: r.id}
				if id == "" || r.id == id {
					r.check(c)
				}
				broken[i] = broken[i] || len(out.list)+len(c.warnings) > 0
			}
		}
	}
	for _, tc := range brokenRules {
		try(tc.rule, companionsOf(t, tc.file, edited(t, tc.file, tc.edits)))
	}
	for _, docs := range packageMistakes(t) { // of several documents
		try("", docs)
	}
	elsewhere := map[string]bool{"VAL-51": true} // TestNameOption
	for i, r := range rules {
		if !broken[i] && !elsewhere[r.id] {
			t.Errorf("no test breaks rule %d of the table, %s", i, r.id)
		}
	}
}

// HP-3, HP-5: what a tuning job adds to the hyperparameters is not refused, in a job or in a profile.
func TestTuningMetricIsTaken(t *testing.T) {
	if got := refusal(t, Options{Strict: true}, edit(t, "algorithm.json", `{"n_estimators": "20"}`, `{"n_estimators": "20", "_tuning_objective_metric": "validation:accuracy"}`)); got != "" {
		t.Error(got)
	}
}

// VAL-33: what says nothing of a region or an account, or the same one, is not complained about, and a job of one's own
// may use an image of another account. --region and --account say where the seller is.
func TestOneHome(t *testing.T) {
	complaints := func(text string, o Options) (n int) {
		t.Helper()
		set, err := arrange([]*Document{decode(t, "doc", text)})
		if err != nil {
			t.Fatal(err)
		}
		warnings, err := set.check(o, &problems{})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range warnings {
			if w.Rule == "VAL-33" {
				n++
			}
		}
		return n
	}
	algorithm, training := edit(t, "algorithm.json", "", ""), edit(t, "training.json", "", "")
	uri := func(s string) string { return strings.Replace(algorithm, `"s3://iris-data/batch/"`, `"`+s+`"`, 1) }
	for name, tc := range map[string]struct {
		text string
		o    Options
		want int
	}{
		"as it is":                {algorithm, Options{}, 0},
		"the same region":         {uri("https://iris-data.s3.eu-west-1.amazonaws.com/batch/"), Options{}, 0},
		"no region in the name":   {uri("https://iris-data.s3.amazonaws.com/batch/"), Options{}, 0},
		"another bucket's name":   {uri("https://s3.us-west-2.example.com/batch/"), Options{}, 0},
		"a key like a host":       {uri("s3://b/s3.us-west-2.amazonaws.com/"), Options{}, 0},
		"--region":                {algorithm, Options{Region: "us-east-1"}, 2},
		"--account":               {algorithm, Options{Account: "999999999999"}, 3},
		"an image from elsewhere": {strings.Replace(algorithm, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/iris:1", "iris:1", 2), Options{}, 0},
		"a job's image of AWS":    {training, Options{Account: "999999999999"}, 0},
	} {
		if got := complaints(tc.text, tc.o); got != tc.want {
			t.Errorf("%s: %d complaints, want %d", name, got, tc.want)
		}
	}
	named := strings.Replace(change(t, change(t, training, "AlgorithmSpecification", map[string]any{"AlgorithmName": "arn:aws:sagemaker:eu-west-2:057799348421:algorithm/iris-forest", "TrainingInputMode": "File"}),
		"HyperParameters", map[string]any{"n_estimators": "7"}), `"Tags"`, `"Tags"`, 1)
	got := refusal(t, Options{Region: "us-east-2", Strict: true}, named, "algorithm.json")
	if !strings.Contains(got, "lies in eu-west-2, and --region in us-east-2") {
		t.Errorf("got %q", got)
	}
}

// VAL-13, VAL-52: the profile of a package of an algorithm is held against the algorithm, when that is at hand.
func TestProfileOfAPackageOfAnAlgorithm(t *testing.T) {
	text := change(t, edit(t, "package.json", `"ContentType": "text/csv"}`, `"ContentType": "image/png"}`), "InferenceSpecification", nil)
	text = change(t, text, "SourceAlgorithmSpecification", map[string]any{"SourceAlgorithms": []any{map[string]any{"AlgorithmName": "iris-forest", "ModelDataUrl": "s3://b/m.tar.gz"}}})
	pkg := decode(t, "package.json", text)
	for _, tc := range []struct {
		set  documents
		want string
	}{
		{documents{main: pkg, pkg: pkg, algorithm: fixture(t, "algorithm.json")}, `"image/png" is not in SupportedContentTypes of algorithm iris-forest`},
		{documents{main: pkg, pkg: pkg}, `algorithm "iris-forest" is not known here`},
	} {
		_, err := tc.set.check(Options{}, &problems{})
		if got := fmt.Sprint(err); (tc.want == "") != (err == nil) || !strings.Contains(got, tc.want) {
			t.Errorf("got %v, want %q", err, tc.want)
		}
	}
}

// VAL-53: a model of a package for the marketplace has network isolation on the service.
func TestModelOfAMarketplacePackageIsIsolated(t *testing.T) {
	for isolated, want := range map[bool]string{true: "", false: "a model of a package from the marketplace has network isolation"} {
		docs := append(packaged(t), fixture(t, "package.json"))
		docs[1] = decode(t, "model.json", change(t, change(t, edit(t, "model.json", "", ""), "PrimaryContainer", map[string]any{"ModelPackageName": "boost-package"}), "EnableNetworkIsolation", isolated))
		host := machine
		host.CPUs = 8
		_, err := Make(docs, Options{Strict: true}, host)
		if (want == "") != (err == nil) || err != nil && err.Error() != want {
			t.Errorf("isolation %v: %v", isolated, err)
		}
	}
}

// VAL-51: names beside the document are held to the same form.
func TestNameOption(t *testing.T) {
	for _, o := range []Options{{Name: "a_b"}, {Name: strings.Repeat("a", 64)}, {RunSuffix: "-"}, {RunSuffix: strings.Repeat("a", 21)}} {
		if _, err := Make(fixtures(t, "training.json"), o, machine); err == nil {
			t.Errorf("%+v passes", o)
		}
	}
	p, err := Make(fixtures(t, "training.json"), Options{Name: "again"}, machine)
	if err != nil || p.Name != "again" || p.Training.ModelURI != "s3://bucket/models/again/output/model.tar.gz" || p.Training.Instances[0].Containers[0].Env["TRAINING_JOB_NAME"] != "again" {
		t.Errorf("got %+v, %v", p, err)
	}
}

// Ruling 4: two profiles are refused in the service's words; --lenient takes them, one plan each.
func TestTwoProfiles(t *testing.T) {
	text := twoProfiles(t)
	if got := refusal(t, Options{}, text); !strings.Contains(got, "at 'validationSpecification.validationProfiles' failed to satisfy constraint: Member must have length less than or equal to 1") {
		t.Errorf("got %q", got)
	}
	d := decode(t, "d", text)
	if got := d.Profiles(); !slices.Equal(got, []string{"default", "second"}) {
		t.Fatalf("profiles %v", got)
	}
	for _, name := range d.Profiles() {
		p, err := Make([]*Document{d}, Options{Lenient: true, Profile: name}, machine)
		if err != nil || p.Validation.Profile != name || p.Validation.Training.Name != "iris-forest-"+name+"-training" || len(p.Warnings) == 0 || !p.Warnings[0].Refuses {
			t.Errorf("%s: %v, %+v", name, err, p)
		}
	}
	if _, err := Make([]*Document{d}, Options{Lenient: true}, machine); err == nil || !strings.Contains(err.Error(), "has 2 validation profiles, choose one: default, second") {
		t.Errorf("got %v", err)
	}
	if _, err := Make([]*Document{d}, Options{Lenient: true, Profile: "third"}, machine); err == nil || !strings.Contains(err.Error(), `no validation profile "third"`) {
		t.Errorf("got %v", err)
	}
}

func twoProfiles(t testing.TB) string {
	text := edit(t, "algorithm.json", "", "")
	i := strings.Index(text, `"ValidationProfiles": [`) + len(`"ValidationProfiles": [`)
	j := strings.Index(text, "    ]\n  },\n  \"CertifyForMarketplace")
	profile := text[i:j]
	return text[:j] + "," + strings.Replace(profile, `"default"`, `"second"`, 1) + text[j:]
}

// VAL-12: nine channels are refused, --lenient takes up to twenty.
func TestManyChannels(t *testing.T) {
	with := func(n int) string {
		var b strings.Builder
		for i := range n - 2 {
			fmt.Fprintf(&b, `{"Name":"c%d","SupportedContentTypes":["a/b"],"SupportedInputModes":["File"]},`, i)
		}
		return edit(t, "algorithm.json", `"TrainingChannels": [`, `"TrainingChannels": [`+b.String())
	}
	for _, tc := range []struct {
		n       int
		lenient bool
		ok      bool
	}{{8, false, true}, {9, false, false}, {9, true, true}, {20, true, true}, {21, true, false}} {
		if got := refusal(t, Options{Lenient: tc.lenient}, with(tc.n)); (got == "") != tc.ok {
			t.Errorf("%d channels, lenient %v: %.300s", tc.n, tc.lenient, got)
		}
	}
}

// A training that names an algorithm is held against it, and takes image, defaults and metrics from it (HP-4).
func TestTrainingWithAlgorithm(t *testing.T) {
	text := change(t, edit(t, "training.json", "", ""), "AlgorithmSpecification", map[string]any{"AlgorithmName": "iris-forest", "TrainingInputMode": "File"})
	text = change(t, text, "HyperParameters", map[string]any{"n_estimators": "7", "_tuning_objective_metric": "x"}) // HP-3
	p, err := Make([]*Document{decode(t, "job.json", text), fixture(t, "algorithm.json")}, Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	tr := p.Training
	if got := tr.Instances[0].Containers[0].Image; got.Ref != "123456789012.dkr.ecr.eu-west-1.amazonaws.com/iris:1" || !strings.HasPrefix(got.Digest, "sha256:0123") {
		t.Errorf("image %+v", got)
	}
	if len(tr.Metrics) != 2 || tr.HyperParameters["criterion"] != "gini" || tr.HyperParameters["n_estimators"] != "7" || len(tr.HyperParameters) != 4 {
		t.Errorf("metrics %v, hyperparameters %v", tr.Metrics, tr.HyperParameters)
	}
	if len(tr.Instances[0].Containers[0].Args) != 1 || p.Kind != KindTraining {
		t.Errorf("plan %+v", p)
	}
	bad := change(t, text, "HyperParameters", map[string]any{"nope": "7"})
	_, err = Make([]*Document{decode(t, "job.json", bad), fixture(t, "algorithm.json")}, Options{}, machine)
	if err == nil || !strings.Contains(err.Error(), "Required hyperparameter: n_estimators is not set") || !strings.Contains(err.Error(), "Invalid hyperparameter: nope") {
		t.Errorf("not both at once (HP-5): %v", err)
	}
	other := strings.Replace(text, `"iris-forest"`, `"arn:aws:sagemaker:us-east-1:123456789012:algorithm/other"`, 1)
	if got := refusal(t, Options{}, other, "algorithm.json"); !strings.Contains(got, `makes "iris-forest"`) {
		t.Errorf("got %q", got)
	}
}

// HP-1, HP-2: what a value of each type may look like.
func TestHyperParameterValues(t *testing.T) {
	integer := hyperParameterSpecification{Name: "n", Type: "Integer", Range: &parameterRange{IntegerParameterRangeSpecification: &integerParameterRangeSpecification{"-5", "100"}}}
	continuous := hyperParameterSpecification{Name: "n", Type: "Continuous", Range: &parameterRange{ContinuousParameterRangeSpecification: &continuousParameterRangeSpecification{"0.1", "1e3"}}}
	endless := hyperParameterSpecification{Name: "n", Type: "Continuous", Range: &parameterRange{ContinuousParameterRangeSpecification: &continuousParameterRangeSpecification{"-Infinity", "inf"}}}
	category := hyperParameterSpecification{Name: "n", Type: "Categorical", Range: &parameterRange{CategoricalParameterRangeSpecification: &categoricalParameterRangeSpecification{[]string{"a", "b"}}}}
	for _, tc := range []struct {
		spec hyperParameterSpecification
		yes  []string
		no   []string
	}{
		{integer, []string{"-5", "+100", "0", "-0", "007"}, []string{"-6", "101", "5.0", "1e2", " 5", "5 ", "", "0x5", "1_0", "five", "99999999999999999999999999", "NaN"}},
		{hyperParameterSpecification{Type: "Integer"}, []string{"99999999999999999999999999"}, []string{"1.5"}},
		{continuous, []string{"0.1", "1000", "1e3", ".5", "+1.", "1E-1", "0.10000000000000000000000001"}, []string{"0.09999999999999999999999999", "1000.1", "NaN", "nan", "Inf", "1e", "0x1p2", "1,5", "", " 1"}},
		{hyperParameterSpecification{Type: "Continuous"}, []string{"1e300", "-4"}, []string{"Inf", "-infinity", "NaN"}},
		{endless, []string{"Inf", "-inf", "infinity", "1e300"}, []string{"NaN"}},
		{category, []string{"a", "b"}, []string{"", "A", "c", "a "}},
		{hyperParameterSpecification{Type: "Categorical"}, []string{"anything"}, nil},
		{hyperParameterSpecification{Type: "FreeText"}, []string{"", "anything ", "ä"}, nil},
	} {
		for _, v := range tc.yes {
			if m, _ := tc.spec.refuses(v); m != "" {
				t.Errorf("%s refuses %q: %s", tc.spec.Type, v, m)
			}
		}
		for _, v := range tc.no {
			if m, text := tc.spec.refuses(v); m == "" || text == "" {
				t.Errorf("%s takes %q", tc.spec.Type, v)
			}
		}
	}
}

// CH-2: type and subtype, in any case, without parameters.
func TestMediaTypes(t *testing.T) {
	for v, want := range map[string]bool{"text/csv": true, "Text/CSV": true, "text/csv; charset=utf-8": true, "text/csv ;header": true, "text/csvx": false, "text": false} {
		if got := hasMediaType([]string{"image/png", "text/csv"}, v); got != want {
			t.Errorf("%s: %v", v, got)
		}
	}
}

// A validation profile has no member for spot training (VAL-11), so its MaxWaitTimeInSeconds is taken, --strict or not.
func TestMaxWaitTimeOfAProfile(t *testing.T) {
	text := edit(t, "algorithm.json", `"MaxRuntimeInSeconds": 600`, `"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 700`)
	for _, strict := range []bool{false, true} {
		if got := refusal(t, Options{Strict: strict}, text); got != "" {
			t.Errorf("strict %v: %s", strict, got)
		}
	}
	text = edit(t, "training.json", `"EnableNetworkIsolation": true`, `"EnableNetworkIsolation": true, "EnableManagedSpotTraining": true`)
	text = strings.Replace(text, `"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600`, 1)
	if got := refusal(t, Options{Strict: true}, text); got != "" { // with spot training it is inert
		t.Errorf("%s", got)
	}
}
