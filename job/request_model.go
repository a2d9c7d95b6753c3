package job

type createModelInput struct {
	ModelName              string
	PrimaryContainer       *containerDefinition
	Containers             []containerDefinition
	ExecutionRoleArn       string
	EnableNetworkIsolation bool
}

type containerDefinition struct {
	ContainerHostname string
	Image             string
	ImageConfig       *imageConfig
	Mode              string
	ModelDataUrl      string
	ModelDataSource   *modelDataSource
	Environment       map[string]string
	ModelPackageName  string

	AdditionalModelDataSources []additionalModelDataSource
}

type imageConfig struct {
	RepositoryAccessMode string
	RepositoryAuthConfig *repositoryAuthConfig
}

type repositoryAuthConfig struct{ RepositoryCredentialsProviderArn string }

type additionalModelDataSource struct {
	ChannelName  string
	S3DataSource *s3ModelDataSource
}

type modelDataSource struct{ S3DataSource *s3ModelDataSource }

type s3ModelDataSource struct {
	S3Uri, S3DataType, CompressionType, ETag string
	ManifestS3Uri, ManifestEtag              string
	ModelAccessConfig                        *modelAccessConfig
}

type createModelPackageInput struct {
	ModelPackageName             string
	ModelPackageGroupName        string
	InferenceSpecification       *inferenceSpecification
	ValidationSpecification      *modelPackageValidationSpecification
	SourceAlgorithmSpecification *sourceAlgorithmSpecification
	CertifyForMarketplace        bool
	SkipModelValidation          string
	Tags                         []tag
}

func (r *createModelPackageInput) profiles() []modelPackageValidationProfile {
	if r.ValidationSpecification == nil {
		return nil
	}
	return r.ValidationSpecification.ValidationProfiles
}

type modelPackageValidationSpecification struct {
	ValidationRole     string
	ValidationProfiles []modelPackageValidationProfile
}

type modelPackageValidationProfile struct {
	ProfileName            string
	TransformJobDefinition transformJobDefinition
}

type sourceAlgorithmSpecification struct{ SourceAlgorithms []sourceAlgorithm }

type sourceAlgorithm struct {
	ModelDataUrl    string
	ModelDataETag   string
	ModelDataSource *modelDataSource
	AlgorithmName   string
}

type tag struct{ Key, Value string }

type modelAccessConfig struct{ AcceptEula bool }
