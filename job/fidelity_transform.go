package job

var transformRows = []row{
	{shape: "CreateTransformJobRequest", member: "TransformJobName", treatment: Honoured, rules: "ST-3"},
	{shape: "CreateTransformJobRequest", member: "ModelName", treatment: Honoured, rules: "VAL-53"},
	{shape: "CreateTransformJobRequest", member: "MaxConcurrentTransforms", treatment: Honoured, rules: "BT-13, BT-101"},
	{shape: "CreateTransformJobRequest", member: "ModelClientConfig", treatment: Honoured, rules: "BT-104"},
	{shape: "CreateTransformJobRequest", member: "MaxPayloadInMB", treatment: Honoured, rules: "BT-11, BT-90, BT-97"},
	{shape: "CreateTransformJobRequest", member: "BatchStrategy", treatment: Honoured, rules: "BT-12, BT-80"},
	{shape: "CreateTransformJobRequest", member: "Environment", treatment: Honoured, rules: "INF-40, INF-42"},
	{shape: "CreateTransformJobRequest", member: "TransformInput", treatment: Honoured, rules: "BT-30"},
	{shape: "CreateTransformJobRequest", member: "TransformOutput", treatment: Honoured, rules: "BT-130"},
	{shape: "CreateTransformJobRequest", member: "DataCaptureConfig", treatment: Refused, rules: "BT-170", note: "captured data is not written yet: leave the member out"},
	{shape: "CreateTransformJobRequest", member: "TransformResources", treatment: Honoured, rules: "BT-37"},
	{shape: "CreateTransformJobRequest", member: "DataProcessing", treatment: Honoured, rules: "BT-150"},
	{shape: "CreateTransformJobRequest", member: "Tags", treatment: Inert, rules: "ruling 3", note: "kept in the record"},
	{shape: "CreateTransformJobRequest", member: "ExperimentConfig", treatment: Inert, rules: "ruling 3", note: "there is no experiment to join; the container does not see it"},

	{shape: "ModelClientConfig", member: "InvocationsTimeoutInSeconds", treatment: Honoured, rules: "BT-104"},
	{shape: "ModelClientConfig", member: "InvocationsMaxRetries", treatment: Honoured, rules: "BT-105"},
	{shape: "BatchDataCaptureConfig", member: "*", treatment: Refused, rules: "BT-170", note: "see CreateTransformJob DataCaptureConfig"},
	{shape: "DataProcessing", member: "InputFilter", treatment: Refused, rules: "BT-150", note: "filters are not carried out yet: leave the member out", cases: wholeRecord},
	{shape: "DataProcessing", member: "OutputFilter", treatment: Refused, rules: "BT-150", note: "filters are not carried out yet: leave the member out", cases: wholeRecord},
	{shape: "DataProcessing", member: "JoinSource", treatment: Inert, rules: "BT-150", note: "None joins nothing", cases: []when{
		{is: "Input", treatment: Refused, rules: "BT-151", note: "joins are not carried out yet: leave the member out"}}},

	{shape: "TransformJobDefinition", member: "MaxConcurrentTransforms", treatment: Honoured, rules: "BT-13, BT-101"},
	{shape: "TransformJobDefinition", member: "MaxPayloadInMB", treatment: Honoured, rules: "BT-11, BT-90, BT-97"},
	{shape: "TransformJobDefinition", member: "BatchStrategy", treatment: Honoured, rules: "BT-12, BT-80"},
	{shape: "TransformJobDefinition", member: "Environment", treatment: Honoured, rules: "INF-40, INF-42"},
	{shape: "TransformJobDefinition", member: "TransformInput", treatment: Honoured, rules: "BT-30"},
	{shape: "TransformJobDefinition", member: "TransformOutput", treatment: Honoured, rules: "BT-130"},
	{shape: "TransformJobDefinition", member: "TransformResources", treatment: Honoured, rules: "BT-37"},

	{shape: "TransformInput", member: "DataSource", treatment: Honoured, rules: "BT-30"},
	{shape: "TransformInput", member: "ContentType", treatment: Honoured, rules: "BT-100"},
	{shape: "TransformInput", member: "CompressionType", treatment: Honoured, rules: "BT-40, BT-41, BT-42"},
	{shape: "TransformInput", member: "SplitType", treatment: Honoured, rules: "BT-50, BT-51, BT-60, BT-67, BT-70"},
	{shape: "TransformDataSource", member: "S3DataSource", treatment: Honoured, rules: "BT-30"},
	{shape: "TransformS3DataSource", member: "S3DataType", treatment: Honoured, rules: "BT-30, BT-31, BT-136"},
	{shape: "TransformS3DataSource", member: "S3Uri", treatment: Honoured, rules: "BT-30, BT-131"},
	{shape: "TransformOutput", member: "S3OutputPath", treatment: Honoured, rules: "BT-130"},
	{shape: "TransformOutput", member: "Accept", treatment: Honoured, rules: "BT-100, BT-125"},
	{shape: "TransformOutput", member: "AssembleWith", treatment: Honoured, rules: "BT-121, BT-122"},
	{shape: "TransformOutput", member: "KmsKeyId", treatment: Honoured, rules: "ruling 3", note: "given to S3 with each object; a directory store has no keys"},
	{shape: "TransformResources", member: "InstanceType", treatment: Emulated, rules: "ruling 14", note: "the containers have this machine's processors and memory, and as many GPUs as the type has"},
	{shape: "TransformResources", member: "InstanceCount", treatment: Honoured, rules: "BT-37, BT-38", note: "each instance is a container of its own on this machine, with a network of its own"},
	{shape: "TransformResources", member: "VolumeKmsKeyId", treatment: Inert, rules: "ruling 3", note: "how the disk is encrypted cannot be seen from inside"},
	{shape: "TransformResources", member: "TransformAmiVersion", treatment: Inert, rules: "ruling 3", note: "this machine has the kernel and driver that it has"},
}

// wholeRecord is the filter that changes nothing.
var wholeRecord = []when{{is: "$", treatment: Inert, rules: "BT-150", note: "$ is the whole record"}}
