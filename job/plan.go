package job

import (
	"strconv"
	"time"
)

// Kind is what a ledger entry is: a training, a transform, a model's container that serves whoever asks it, a validation
// that holds a training and a transform, or a benchmark that holds any number of one of the former.
type Kind string

const (
	KindTraining   Kind = "training"
	KindTransform  Kind = "transform"
	KindServing    Kind = "serving"
	KindValidation Kind = "validation"
	KindBench      Kind = "bench"
)

// Plan is everything that carrying a job out needs, decided before anything runs: complete, serializable data.
// Nothing after it sees a document. It holds no secrets; credentials are looked up by who needs them, when needed.
// Exactly one of Training, Transform, Validation and Bench is set, as Kind says. A serving has a Transform that has neither
// input nor output: who drives the container is not in the plan.
type Plan struct {
	Format    int    `json:"format"` // 1; a reader refuses what it does not know
	Kind      Kind   `json:"kind"`
	Operation string `json:"operation"` // the document's operation, e.g. "CreateTrainingJob"
	Name      string `json:"name"`      // the ledger entry's name
	ARN       string `json:"arn"`       // of the job or the algorithm (ruling 6)
	Region    string `json:"region"`
	Account   string `json:"account"`
	Role      string `json:"role,omitempty"` // ARN of the document's role, for containers that may ask for its credentials (ENV-6)

	Training   *Training   `json:"training,omitempty"`
	Transform  *Transform  `json:"transform,omitempty"`
	Validation *Validation `json:"validation,omitempty"`
	Bench      *Bench      `json:"bench,omitempty"`

	Members  []MemberUse `json:"members,omitempty"`  // how each member of the document is treated, in document order; not in a validation's children
	Warnings []Warning   `json:"warnings,omitempty"` // each DECISION that mattered, and what the cloud would refuse
}

// Bench is a benchmark: its jobs have plans of their own, which are made as they are run.
type Bench struct {
	CreationTime time.Time `json:"creationTime"`
}

// PlanBench is the plan of the benchmark that runs a job again and again. name "": one that is made of the job's and suffix.
// The names of its jobs are JobName's.
func PlanBench(of *Plan, name, suffix string, now time.Time) *Plan {
	if name == "" {
		tail := "-bench-" + suffix
		name = cut(of.Name, maxName-len(tail)-runTail) + tail
	}
	return &Plan{Format: of.Format, Kind: KindBench, Operation: of.Operation, Name: name, Region: of.Region, Account: of.Account, Role: of.Role,
		Bench: &Bench{CreationTime: now}}
}

// runTail is how much longer than a benchmark's name the names of its jobs are, at most.
const runTail = len("-10000")

// JobName names the nth job of a benchmark.
func (p *Plan) JobName(n int) string { return cut(p.Name, maxName-runTail) + "-" + strconv.Itoa(n) }

// MemberUse says of one member of the document what optml does with it.
type MemberUse struct {
	Path      string    `json:"path"` // as in the document: InputDataConfig[0].ChannelName
	Treatment Treatment `json:"treatment"`
	Note      string    `json:"note,omitempty"` // how it is emulated, or why it is inert
}

// Treatment is one of the four ways in which a member can be treated; fidelity.go holds the table.
type Treatment string

const (
	Honoured Treatment = "honoured" // carried out as the service does
	Emulated Treatment = "emulated" // carried out in another way; Note says how
	Inert    Treatment = "inert"    // has no effect inside a container (ruling 3); Note says why
	Refused  Treatment = "refused"  // would change what the container sees or what comes out, and is not carried out
)

// Warning is a sentence for the user with the rule that it comes from.
type Warning struct {
	Rule    string `json:"rule"` // contract rule id, e.g. "CH-3"
	Text    string `json:"text"`
	Path    string `json:"path,omitempty"`    // of the document's member that it is about
	Refuses bool   `json:"refuses,omitempty"` // the service would refuse the document for this; running does not need it
}

// Image names an image; the runtime resolves it.
type Image struct {
	Ref    string `json:"ref"`              // as in the document
	Digest string `json:"digest,omitempty"` // sha256:… that it must have, if the document gives one
}

// Instance is one machine of a job, stood in for by containers on this one. A training has one container per
// instance; an inference pipeline has several.
type Instance struct {
	Host        string      `json:"host"`                  // algo-1
	Type        string      `json:"type,omitempty"`        // the instance type whose size it has; "": the whole host's
	CPUs        int         `json:"cpus,omitempty"`        // of each of its containers; 0: all of the host's
	MemoryBytes int64       `json:"memoryBytes,omitempty"` // of each of its containers; 0: no limit
	GPUs        int         `json:"gpus,omitempty"`        // of the host's, for its containers; 0: none, and NVIDIA_VISIBLE_DEVICES is void (START-14)
	GPUDevices  []string    `json:"gpuDevices,omitempty"`  // which, by index or UUID, as many as GPUs; nil: any that are free
	SharedGPUs  bool        `json:"sharedGpus,omitempty"`  // all instances have the same (DIST-8)
	Containers  []Container `json:"containers"`
}

// GPUsOf is how many of the host's GPUs instances have in all, and which, nil where any will do.
func GPUsOf(instances []Instance) (n int, which []string) {
	for _, in := range instances {
		if in.SharedGPUs && n > 0 {
			continue
		}
		n += in.GPUs
		which = append(which, in.GPUDevices...)
	}
	return n, which
}

// Container is one container to run.
type Container struct {
	Name       string            `json:"name"` // unique in the job; names the log file: algo-1
	Image      Image             `json:"image"`
	Entrypoint []string          `json:"entrypoint,omitempty"` // nil: the image's own
	Args       []string          `json:"args,omitempty"`       // replace the image's CMD (START table, INF-1)
	Env        map[string]string `json:"env,omitempty"`        // over the image's; the service's own included (1.3, INF-40)
	Hostname   string            `json:"hostname"`
	Port       int               `json:"port,omitempty"` // that it serves on: 8080 (INF-50), in a pipeline its own (INF-51)
}

// Training is a training job.
type Training struct {
	Instances       []Instance         `json:"instances"`    // carried out here: one, whatever Hosts says (ruling 5)
	Hosts           []string           `json:"hosts"`        // all of the job, sorted as text (RES-1); a host's rank is its place here (SHARD-2)
	InstanceType    string             `json:"instanceType"` // verbatim, for resourceconfig.json (RES-6)
	HyperParameters map[string]string  `json:"hyperParameters"`
	Channels        []Channel          `json:"channels"`
	Metrics         []MetricDefinition `json:"metrics,omitempty"`
	OutputPath      string             `json:"outputPath"`         // S3OutputPath as given
	ModelURI        string             `json:"modelUri"`           // <S3OutputPath>/<job>/output/model.tar.gz (OUT-1); Unpacked: …/output/model
	OutputURI       string             `json:"outputUri"`          // <S3OutputPath>/<job>/output/output.tar.gz (OUT-2); Unpacked: …/output/data
	Unpacked        bool               `json:"unpacked,omitempty"` // CompressionType NONE: each file is an object below those (OUT-6)
	KMSKeyID        string             `json:"kmsKeyId,omitempty"`
	Isolated        bool               `json:"isolated"` // EnableNetworkIsolation
	Checkpoint      *Checkpoint        `json:"checkpoint,omitempty"`
	Retries         int                `json:"retries,omitempty"`        // after an InternalServerError: MaximumRetryAttempts
	MaxRuntime      Duration           `json:"maxRuntime"`               // of all attempts together (STOP-6)
	Grace           Duration           `json:"grace"`                    // SIGTERM to SIGKILL (STOP-1); 120 s
	InterruptAfter  Duration           `json:"interruptAfter,omitempty"` // --spot-interrupt-after: from the start of the first attempt's process; 0: never
	ShmBytes        int64              `json:"shmBytes"`                 // /dev/shm (START-12)
	VolumeBytes     int64              `json:"volumeBytes,omitempty"`    // VolumeSizeInGB
	EnforceVolume   bool               `json:"enforceVolume,omitempty"`  // --enforce-volume-size: /opt/ml is a file system of that size
	Init            bool               `json:"init,omitempty"`
	UserWritable    bool               `json:"userWritable,omitempty"` // --user-writable (ruling 15)
	CreationTime    time.Time          `json:"creationTime"`
}

// Checkpoint is where a training's checkpoints are kept (CKP-1, CKP-2).
type Checkpoint struct {
	URI       string   `json:"uri"`       // S3Uri, a folder
	LocalPath string   `json:"localPath"` // verbatim, for checkpointconfig.json
	Every     Duration `json:"every"`     // from one sync to the next (CKP-4)
}

// Channel is one input channel.
type Channel struct {
	Name          string `json:"name"`
	Mode          string `json:"mode"` // File, Pipe, FastFile: the channel's own or the job's
	Source        Source `json:"source"`
	ContentType   string `json:"contentType,omitempty"`
	Compression   string `json:"compression,omitempty"`   // None, Gzip
	RecordWrapper string `json:"recordWrapper,omitempty"` // None, RecordIO
	ShuffleSeed   *int64 `json:"shuffleSeed,omitempty"`
}

// Source is where objects come from.
type Source struct {
	Type           string   `json:"type"`                   // S3Prefix, ManifestFile, AugmentedManifestFile, FileSystem
	URI            string   `json:"uri"`                    // s3://…, https://…, file://… or a plain path (D6); FileSystem: the directory that stands for it
	Distribution   string   `json:"distribution,omitempty"` // FullyReplicated, ShardedByS3Key
	AttributeNames []string `json:"attributeNames,omitempty"`
	Directory      string   `json:"directory,omitempty"` // FileSystem: DirectoryPath, below the directory that URI names (FILE-13)
	ReadOnly       bool     `json:"readOnly,omitempty"`  // FileSystem: FileSystemAccessMode is ro
}

// MetricDefinition is a name and the regular expression whose first group is the value (MET-1).
type MetricDefinition struct {
	Name  string `json:"name"`
	Regex string `json:"regex"`
}

// Transform is a batch transform job with the model that it drives.
type Transform struct {
	ModelName string          `json:"modelName"`
	Instances []Instance      `json:"instances"`      // each drives its own share of the objects (BT-37)
	Models    []ModelSource   `json:"models"`         // in the order of an instance's containers; all instances have the same
	More      []ModelSource   `json:"more,omitempty"` // additional data of those containers
	Input     TransformInput  `json:"input"`
	Output    TransformOutput `json:"output"`

	// The request's values; nil where the request is silent, so that /execution-parameters decides (BT-14, BT-23).
	BatchStrategy *string `json:"batchStrategy,omitempty"` // SingleRecord, MultiRecord
	MaxPayloadMB  *int    `json:"maxPayloadMb,omitempty"`
	MaxConcurrent *int    `json:"maxConcurrent,omitempty"`

	Processing *Processing `json:"processing,omitempty"` // nil: records and responses stay as they are

	Capture *Capture `json:"capture,omitempty"` // nil: no manifests

	InvocationTimeout Duration  `json:"invocationTimeout"`          // 600 s (BT-104)
	MaxRetries        int       `json:"maxRetries"`                 // 3 (BT-105)
	PingWindow        Duration  `json:"pingWindow"`                 // 30 min (INF-64)
	Grace             Duration  `json:"grace"`                      // 30 s (INF-7)
	MaxResponseBytes  int64     `json:"maxResponseBytes,omitempty"` // 0: max(MaxPayload, 6 MiB) (ruling 23)
	Isolated          bool      `json:"isolated"`
	ShmBytes          int64     `json:"shmBytes"`
	ModelWritable     bool      `json:"modelWritable,omitempty"` // --model-writable: not as SageMaker (INF-22)
	StrictStatus      bool      `json:"strictStatus,omitempty"`  // only 200 is success (INF-70)
	RecordRequests    bool      `json:"recordRequests,omitempty"`
	RerunOf           string    `json:"rerunOf,omitempty"` // kind/name: only the objects that RerunFile has from there
	CreationTime      time.Time `json:"creationTime"`
}

// ModelSource is where one container's /opt/ml/model comes from, or what it has beside that. An empty URI is an empty
// directory (INF-30).
type ModelSource struct {
	Container string `json:"container"`          // of the first instance
	Channel   string `json:"channel,omitempty"`  // of additional data: its directory (INF-28)
	URI       string `json:"uri,omitempty"`      // of a tar.gz (INF-20), or as Type and Compression say (INF-24)
	Type      string `json:"type,omitempty"`     // S3Object, S3Prefix; "": S3Object
	Unpacked  bool   `json:"unpacked,omitempty"` // files as they are: CompressionType None
	ETag      string `json:"etag,omitempty"`     // that the object must have (ruling 21)
}

// TransformInput is what a transform reads.
type TransformInput struct {
	Source      Source `json:"source"`
	ContentType string `json:"contentType,omitempty"`
	Compression string `json:"compression,omitempty"`
	SplitType   string `json:"splitType"` // None, Line, RecordIO, TFRecord
}

// TransformOutput is what a transform writes.
type TransformOutput struct {
	Path         string `json:"path"`
	Accept       string `json:"accept,omitempty"`
	AssembleWith string `json:"assembleWith"` // None, Line
	KMSKeyID     string `json:"kmsKeyId,omitempty"`
}

// Processing is what is done with a transform's records before and after the container (BT-151).
type Processing struct {
	InputFilter  string `json:"inputFilter,omitempty"`
	OutputFilter string `json:"outputFilter,omitempty"`
	Join         bool   `json:"join,omitempty"` // JoinSource is Input
}

// Capture is where a transform says what it has read and written (BT-170).
type Capture struct {
	Path         string `json:"path"` // the manifests lie below
	KMSKeyID     string `json:"kmsKeyId,omitempty"`
	InferenceIDs bool   `json:"inferenceIds,omitempty"` // each result gets an id (BT-172)
}

// Validation is a validation profile: of an algorithm a training, then a transform with what it made (VAL-1); of a
// model package a transform (VAL-2). The children's plans are complete: the model's place is known before it exists.
// Of Algorithm and Package one is set.
type Validation struct {
	Algorithm string       `json:"algorithm,omitempty"`
	Package   string       `json:"package,omitempty"`   // its name, or its group's
	Version   int          `json:"version,omitempty"`   // of a versioned package: 1, since there is no registry that counts
	Profile   string       `json:"profile,omitempty"`   // "": nothing is run
	Skipped   string       `json:"skipped,omitempty"`   // why no job is run (VAL-7)
	Training  *Plan        `json:"training,omitempty"`  // nil for a model package
	Transform *Plan        `json:"transform,omitempty"` // nil without a TransformJobDefinition (VAL-4)
	Images    []NamedImage `json:"images"`              // all that the request names, run or not
	Scans     []Scan       `json:"scans,omitempty"`     // what scanners' reports say of them

	Types  []SupportedTypes `json:"types,omitempty"`  // what of the supported instance types this host can rehearse
	Probes []Probe          `json:"probes,omitempty"` // with Options.Probe: what is tried besides, in this order
}

// NamedImage is an image under the name that ImageScanStatuses gives it (VAL-22).
type NamedImage struct {
	Name  string `json:"name"` // training-image, inference-image; of several inference-image-1, inference-image-2 …
	Image Image  `json:"image"`
}

// Scan is a scanner's report on one image, cut down to what a validation judges (VAL-30). What it holds is bounded.
type Scan struct {
	File     string    `json:"file"`               // the report
	Scanner  string    `json:"scanner"`            // with its version, where the report says it: grype 0.79.1
	Names    []string  `json:"names,omitempty"`    // of the image in the report
	IDs      []string  `json:"ids,omitempty"`      // of the image in the report: digests of index, manifest or configuration, sha256:…
	Image    string    `json:"image"`              // that of the request for which it is
	Packages bool      `json:"packages"`           // the scanner found packages to judge
	Critical int       `json:"critical"`           // findings of that severity
	High     int       `json:"high"`               // findings of that severity
	Other    int       `json:"other"`              // findings of any other
	Findings []Finding `json:"findings,omitempty"` // the first Critical ones, then High ones
}

// Finding is a vulnerability of a package in an image.
type Finding struct {
	ID       string `json:"id"`              // CVE-2024-3094, GHSA-…
	Severity string `json:"severity"`        // Critical, High
	Package  string `json:"package"`         // with its version: xz-libs 5.6.0-r0
	Fixed    string `json:"fixed,omitempty"` // the versions that do not have it; "": none yet
}

// SupportedTypes are the instance types that an algorithm or a model package supports for one kind of job, of one class.
type SupportedTypes struct {
	Job   Kind     `json:"job"`   // training, transform
	Class string   `json:"class"` // cpu, gpu, another accelerator; unknown: no size is known
	Types []string `json:"types"`
	Ran   string   `json:"ran,omitempty"`   // the one of them that the profile's job stands for; "": it has no type of the class, or this host cannot hold it
	Probe string   `json:"probe,omitempty"` // the smallest that this host can stand in for, where the profile's is larger: a probe runs it
	Lacks string   `json:"lacks,omitempty"` // why this host can stand in for none of them
}

// Kinds of probes.
const (
	ProbeHyperparameter = "hyperparameter"
	ProbeChannel        = "channel"
	ProbeStop           = "stop"
	ProbeRequest        = "request"
	ProbeServeStop      = "serve-stop"
	ProbeInstance       = "instance"
)

// Probe is a run that shows what the profile's own jobs do not: how the image takes what goes wrong. It is a job like
// the profile's but for one thing. Where its outputs go, and what holds Files, is whoever carries it out to say.
type Probe struct {
	Kind  string `json:"kind"`
	About string `json:"about,omitempty"` // the hyperparameter, the channel, the content type or the instance type that it is about
	Does  string `json:"does"`            // for people
	Plan  Plan   `json:"plan"`

	Files []ProbeFile `json:"files,omitempty"` // take the place of the channel's objects, or of the transform's input
	// Must says that the image is wrong to take what it is given; else a run that ends well shows nothing.
	Must bool `json:"must,omitempty"`
	// Limit bounds how long its containers run, from their start to SIGTERM.
	Limit Duration `json:"limit"`
}

// ProbeFile is an object that a probe makes.
type ProbeFile struct {
	Name     string `json:"name"`
	Content  []byte `json:"content,omitempty"`
	TooLarge bool   `json:"tooLarge,omitempty"` // a byte more than MaxPayloadInMB allows, zeros
}

// Duration is a time.Duration that reads and writes as "2m0s".
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Std returns it as the standard type.
func (d Duration) Std() time.Duration { return time.Duration(d) }
