package job

// The structs of this file and its neighbours request_*.go are the service's shapes, first letter lowered, with those
// members that Make or a rule looks at; the tree of a Document has the others. A test holds them against the model.

type createTrainingJobRequest struct {
	TrainingJobName           string
	HyperParameters           map[string]string
	AlgorithmSpecification    *algorithmSpecification
	RoleArn                   string
	InputDataConfig           []channel
	OutputDataConfig          outputDataConfig
	ResourceConfig            *resourceConfig
	StoppingCondition         *stoppingCondition
	EnableNetworkIsolation    bool
	EnableManagedSpotTraining bool
	Environment               map[string]string
	CheckpointConfig          *checkpointConfig
	RetryStrategy             *retryStrategy
}

type checkpointConfig struct {
	S3Uri     string
	LocalPath string
}

type retryStrategy struct {
	MaximumRetryAttempts int64
}

type algorithmSpecification struct {
	TrainingImage       string
	AlgorithmName       string
	TrainingInputMode   string
	MetricDefinitions   []metricDefinition
	ContainerEntrypoint []string
	ContainerArguments  []string
	TrainingImageConfig *trainingImageConfig
}

type trainingImageConfig struct {
	TrainingRepositoryAccessMode string
	TrainingRepositoryAuthConfig *trainingRepositoryAuthConfig
}

type trainingRepositoryAuthConfig struct{ TrainingRepositoryCredentialsProviderArn string }

type metricDefinition struct {
	Name  string
	Regex string
}

type channel struct {
	ChannelName       string
	DataSource        dataSource
	ContentType       string
	CompressionType   string
	RecordWrapperType string
	InputMode         string
	ShuffleConfig     *shuffleConfig
}

type dataSource struct {
	S3DataSource         *s3DataSource
	FileSystemDataSource *fileSystemDataSource
	DatasetSource        *datasetSource
}

type s3DataSource struct {
	S3DataType             string
	S3Uri                  string
	S3DataDistributionType string
	AttributeNames         []string
	InstanceGroupNames     []string
}

type fileSystemDataSource struct {
	FileSystemId         string
	FileSystemAccessMode string
	FileSystemType       string
	DirectoryPath        string
}

type datasetSource struct {
	DatasetArn string
}

type shuffleConfig struct {
	Seed int64
}

type outputDataConfig struct {
	KmsKeyId        string
	S3OutputPath    string
	CompressionType string
}

type resourceConfig struct {
	InstanceType             string
	InstanceCount            *int64
	VolumeSizeInGB           *int64
	VolumeKmsKeyId           string
	KeepAlivePeriodInSeconds *int64
	InstanceGroups           []instanceGroup
}

type instanceGroup struct {
	InstanceType      string
	InstanceCount     int64
	InstanceGroupName string
}

type stoppingCondition struct {
	MaxRuntimeInSeconds     *int64
	MaxWaitTimeInSeconds    *int64
	MaxPendingTimeInSeconds *int64
}
