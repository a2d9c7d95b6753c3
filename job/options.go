package job

import "time"

// Options are what the user said beside the document.
type Options struct {
	Name      string // instead of the document's job name
	RunSuffix string // of a validation's children, so that each validation is a new run (ruling 2)
	Region    string // --region; else AWS_REGION, the ECR name, us-east-1 (ruling 6)
	Account   string // else from the role's ARN, the ECR name, 000000000000
	Strict    bool   // refuse what the service refuses and every emulation that can change bytes, order, limits or status
	Lenient   bool   // several profiles, 20 channels (ruling 4, VAL-12)
	Dir       string // absolute; a document's relative local paths lie below it (D6). CLI: the document's directory
	Profile   string // which validation profile, when a document has several; "" is the only one

	ModelURI   string // transform: the model.tar.gz, instead of the model's own ModelDataUrl
	ModelImage string // transform without a CreateModel document: the inference image
	GPUs       *int   // --gpus: how many of the host's; nil: as the instance type says (ruling 14)

	CheckpointEvery time.Duration // 0: 30 s (CKP-4)

	Grace         time.Duration // 0: 120 s for training, 30 s for inference (ruling 16)
	PingWindow    time.Duration // 0: 30 min (INF-64)
	MaxResponse   int64         // 0: max(MaxPayload, 6 MiB) (ruling 23)
	ShmBytes      int64         // 0: half of the host's memory (START-12)
	Init          bool          // an init process before the entrypoint (START-5)
	UserWritable  bool          // /opt/ml writable for an image's non-root user (ruling 15)
	ModelWritable bool          // /opt/ml/model writable in inference (INF-22)
	Network       string        // "": as the document says; "isolated" or "open" overrides

	// Training: the host names of a job with several hosts, and which of them runs here (ruling 5). Nil: one host, algo-1.
	Hosts       []string
	CurrentHost string
	FileSystems map[string]string // --fs: the absolute directory that stands for a file system, by its id (FILE-13)

	RecordRequests bool // transform: one JSON line a request
}

// HostFacts are what the Plan needs to know of this machine.
type HostFacts struct {
	CPUs        int
	MemoryBytes int64
	Arch        string // amd64, arm64
	GPUs        int
	Now         time.Time
	EnvRegion   string // AWS_REGION or AWS_DEFAULT_REGION of optml's own environment
}
