package job

type createTransformJobRequest struct {
	TransformJobName        string
	ModelName               string
	MaxConcurrentTransforms *int64
	ModelClientConfig       *modelClientConfig
	MaxPayloadInMB          *int64
	BatchStrategy           *string
	Environment             map[string]string
	TransformInput          transformInput
	TransformOutput         transformOutput
	TransformResources      transformResources
	DataProcessing          *dataProcessing
	DataCaptureConfig       *batchDataCaptureConfig
}

type modelClientConfig struct {
	InvocationsTimeoutInSeconds *int64
	InvocationsMaxRetries       *int64
}

type transformInput struct {
	DataSource      transformDataSource
	ContentType     string
	CompressionType string
	SplitType       string
}

type transformDataSource struct{ S3DataSource transformS3DataSource }

type transformS3DataSource struct{ S3DataType, S3Uri string }

type transformOutput struct {
	S3OutputPath string
	Accept       string
	AssembleWith string
	KmsKeyId     string
}

type transformResources struct {
	InstanceType   string
	InstanceCount  int64
	VolumeKmsKeyId string
}

type batchDataCaptureConfig struct {
	DestinationS3Uri    string
	KmsKeyId            string
	GenerateInferenceId bool
}

type dataProcessing struct{ InputFilter, OutputFilter, JoinSource string }
