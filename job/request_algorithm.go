package job

type createAlgorithmInput struct {
	AlgorithmName           string
	TrainingSpecification   trainingSpecification
	InferenceSpecification  *inferenceSpecification
	ValidationSpecification *algorithmValidationSpecification
	CertifyForMarketplace   bool
}

type trainingSpecification struct {
	TrainingImage                      string
	TrainingImageDigest                string
	SupportedHyperParameters           []hyperParameterSpecification
	SupportedTrainingInstanceTypes     []string
	SupportsDistributedTraining        bool
	MetricDefinitions                  []metricDefinition
	TrainingChannels                   []channelSpecification
	SupportedTuningJobObjectiveMetrics []hyperParameterTuningJobObjective
	AdditionalS3DataSource             *additionalS3DataSource
}

type hyperParameterSpecification struct {
	Name         string
	Type         string
	Range        *parameterRange
	IsTunable    bool
	IsRequired   bool
	DefaultValue *string
}

type parameterRange struct {
	IntegerParameterRangeSpecification     *integerParameterRangeSpecification
	ContinuousParameterRangeSpecification  *continuousParameterRangeSpecification
	CategoricalParameterRangeSpecification *categoricalParameterRangeSpecification
}

type integerParameterRangeSpecification struct{ MinValue, MaxValue string }

type continuousParameterRangeSpecification struct{ MinValue, MaxValue string }

type categoricalParameterRangeSpecification struct{ Values []string }

type channelSpecification struct {
	Name                      string
	IsRequired                bool
	SupportedContentTypes     []string
	SupportedCompressionTypes []string
	SupportedInputModes       []string
}

type hyperParameterTuningJobObjective struct{ Type, MetricName string }

type additionalS3DataSource struct{ S3DataType, S3Uri string }

type inferenceSpecification struct {
	Containers                              []modelPackageContainerDefinition
	SupportedTransformInstanceTypes         []string
	SupportedRealtimeInferenceInstanceTypes []string
	SupportedContentTypes                   []string
	SupportedResponseMIMETypes              []string
}

type modelPackageContainerDefinition struct {
	ContainerHostname      string
	Image                  string
	ImageDigest            string
	ModelDataUrl           string
	ModelDataETag          string
	ModelDataSource        *modelDataSource
	Environment            map[string]string
	AdditionalS3DataSource *additionalS3DataSource
}

type algorithmValidationSpecification struct {
	ValidationRole     string
	ValidationProfiles []algorithmValidationProfile
}

type algorithmValidationProfile struct {
	ProfileName            string
	TrainingJobDefinition  trainingJobDefinition
	TransformJobDefinition *transformJobDefinition
}

type trainingJobDefinition struct {
	TrainingInputMode string
	HyperParameters   map[string]string
	InputDataConfig   []channel
	OutputDataConfig  outputDataConfig
	ResourceConfig    resourceConfig
	StoppingCondition stoppingCondition
}

type transformJobDefinition struct {
	MaxConcurrentTransforms *int64
	MaxPayloadInMB          *int64
	BatchStrategy           *string
	Environment             map[string]string
	TransformInput          transformInput
	TransformOutput         transformOutput
	TransformResources      transformResources
}
