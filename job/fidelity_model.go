package job

var modelRows = []row{
	{shape: "CreateModelInput", member: "ModelName", treatment: Honoured, rules: "VAL-53"},
	{shape: "CreateModelInput", member: "PrimaryContainer", treatment: Honoured, rules: "VAL-53"},
	{shape: "CreateModelInput", member: "Containers", treatment: Honoured, rules: "VAL-53, INF-51, INF-54", note: "several are an inference pipeline: each request goes through all, in order"},
	{shape: "CreateModelInput", member: "InferenceExecutionConfig", treatment: Honoured, rules: "INF-57"},
	{shape: "CreateModelInput", member: "ExecutionRoleArn", treatment: Emulated, rules: "ruling 6", note: "its account number makes the ARNs; no role is assumed"},
	{shape: "CreateModelInput", member: "Tags", treatment: Inert, rules: "ruling 3", note: "kept in the record"},
	{shape: "CreateModelInput", member: "VpcConfig", treatment: Inert, rules: "ruling 3", note: noAWS + ": the container is on a bridge of its own"},
	{shape: "CreateModelInput", member: "EnableNetworkIsolation", treatment: Honoured, rules: "INF-44"},

	{shape: "ContainerDefinition", member: "ContainerHostname", treatment: Honoured, rules: "INF-43, ruling 21", note: "of PrimaryContainer it is ignored, as on SageMaker"},
	{shape: "ContainerDefinition", member: "Image", treatment: Honoured, rules: "INF-1"},
	{shape: "ContainerDefinition", member: "ImageConfig", treatment: Inert, rules: "ruling 3", note: "images are pulled with Docker's own credentials"},
	{shape: "ContainerDefinition", member: "Mode", treatment: Inert, rules: "INF-53", note: "SingleModel is what is run", cases: []when{
		{is: "MultiModel", treatment: Refused, rules: "INF-53", note: "multi-model endpoints are not carried out; a transform cannot use them"}}},
	{shape: "ContainerDefinition", member: "ModelDataUrl", treatment: Honoured, rules: "INF-20, INF-30"},
	{shape: "ContainerDefinition", member: "ModelDataSource", treatment: Emulated, rules: "INF-23, INF-24, ruling 21", note: "carried out as for an endpoint; SageMaker does not allow this member in a transform"},
	{shape: "ContainerDefinition", member: "AdditionalModelDataSources", treatment: Emulated, rules: "INF-28, ruling 21", note: "read-only at /opt/ml/additional-model-data-sources, as for an endpoint; SageMaker has it beside ModelDataSource alone"},
	{shape: "ContainerDefinition", member: "Environment", treatment: Honoured, rules: "INF-40, INF-41"},
	{shape: "ContainerDefinition", member: "ModelPackageName", treatment: Honoured, rules: "VAL-53, TRAP-25", note: "by name or ARN: of the CreateModelPackage request that is given beside it (--model-package)"},
	{shape: "ContainerDefinition", member: "InferenceSpecificationName", treatment: Refused, rules: "VAL-53", note: "it chooses within a model package: give Image and ModelDataUrl"},
	{shape: "ContainerDefinition", member: "MultiModelConfig", treatment: Inert, rules: "INF-53", note: "matters to multi-model endpoints only"},
	{shape: "ContainerDefinition", member: "ContainerMetricsConfig", treatment: Inert, rules: "ruling 3", note: "matters to endpoints only"},
	{shape: "InferenceExecutionConfig", member: "Mode", treatment: Inert, rules: "INF-57", note: "Serial is what is run", cases: []when{
		{is: "Direct", treatment: Refused, rules: "INF-57", note: "one container for each call is for endpoints: say Serial"}}},

	{shape: "ModelDataSource", member: "S3DataSource", treatment: Honoured, rules: "INF-24, ruling 21"},
	{shape: "S3ModelDataSource", member: "S3Uri", treatment: Honoured, rules: "INF-24, INF-25"},
	{shape: "S3ModelDataSource", member: "S3DataType", treatment: Honoured, rules: "INF-24, INF-26"},
	{shape: "S3ModelDataSource", member: "CompressionType", treatment: Honoured, rules: "INF-24"},
	{shape: "S3ModelDataSource", member: "ModelAccessConfig", treatment: Inert, rules: "INF-27", note: noAWS + ", so no licence is accepted here"},
	{shape: "S3ModelDataSource", member: "HubAccessConfig", treatment: Refused, rules: "ruling 10", note: "content of a hub cannot be had outside AWS"},
	{shape: "S3ModelDataSource", member: "ManifestS3Uri", treatment: Inert, rules: "INF-27", note: "artifact manifests are not read: what S3Uri names is the model", strict: "artifact manifests are not read"},
	{shape: "S3ModelDataSource", member: "ETag", treatment: Honoured, rules: "ruling 21", note: "compared with the object's where the store has ETags"},
	{shape: "S3ModelDataSource", member: "ManifestEtag", treatment: Inert, rules: "INF-27", note: "artifact manifests are not read, so nothing is compared", strict: "artifact manifests are not read"},

	{shape: "AdditionalModelDataSource", member: "ChannelName", treatment: Honoured, rules: "INF-28"},
	{shape: "AdditionalModelDataSource", member: "S3DataSource", treatment: Honoured, rules: "INF-24, INF-28"},
	{shape: "InferenceHubAccessConfig", member: "*", treatment: Refused, rules: "ruling 10", note: "see S3ModelDataSource.HubAccessConfig"},
	{shape: "ImageConfig", member: "*", treatment: Inert, rules: "ruling 3", note: "images are pulled with Docker's own credentials"},
	{shape: "RepositoryAuthConfig", member: "*", treatment: Inert, rules: "ruling 3", note: "images are pulled with Docker's own credentials"},
	{shape: "MultiModelConfig", member: "*", treatment: Inert, rules: "INF-53", note: "matters to multi-model endpoints only"},
	{shape: "ContainerMetricsConfig", member: "*", treatment: Inert, rules: "ruling 3", note: "matters to endpoints only"},
	{shape: "MetricsEndpoint", member: "*", treatment: Inert, rules: "ruling 3", note: "matters to endpoints only"},
}

// sharedRows are shapes that several operations reach.
var sharedRows = []row{
	{shape: "Tag", member: "*", treatment: Inert, rules: "ruling 3", note: "kept in the record"},
	{shape: "VpcConfig", member: "*", treatment: Inert, rules: "ruling 3", note: noAWS},
	{shape: "ModelAccessConfig", member: "*", treatment: Inert, rules: "INF-27", note: noAWS + ", so no licence is accepted here"},
}
