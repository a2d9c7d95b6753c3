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
	AsInstance string // the instance type whose size and name the containers get; "": the document's; "host": the whole host
	Serve      bool   // a CreateModel request alone is a plan: its container serves until it is told to stop

	// GPUs is what --gpus and --device say; nil: as the instance type says (ruling 14).
	GPUs      *GPURequest
	ShareGPUs bool // --share-gpus: all instances of a transform have the same (DIST-8)

	CheckpointEvery time.Duration // 0: 30 s (CKP-4)

	Grace         time.Duration // 0: 120 s for training, 30 s for inference (ruling 16)
	PingWindow    time.Duration // 0: 30 min (INF-64)
	MaxResponse   int64         // 0: max(MaxPayload, 6 MiB) (ruling 23)
	ShmBytes      int64         // 0: half of the container's memory (START-12)
	EnforceVolume bool          // VolumeSizeInGB by a file system of that size (ruling 13)
	Init          bool          // an init process before the entrypoint (START-5)
	UserWritable  bool          // /opt/ml writable for an image's non-root user (ruling 15)
	ModelWritable bool          // /opt/ml/model writable in inference (INF-22)
	Network       string        // "": as the document says; "isolated" or "open" overrides

	// Training: the host names of a job with several hosts, and which of them runs here (ruling 5). Nil: one host, algo-1.
	Hosts       []string
	CurrentHost string
	// Training: how long after the start of its process it is interrupted as a spot instance is (STOP-9). 0: never.
	InterruptAfter time.Duration
	FileSystems    map[string]string // --fs: the absolute directory that stands for a file system, by its id (FILE-13)

	RecordRequests bool // transform: one JSON line a request
	Probe          bool // validation: the probes besides the profile
}

// GPURequest is which of the host's GPUs each instance gets: so many, all of them, or these.
type GPURequest struct {
	Count   int      `json:"count,omitempty"`
	All     bool     `json:"all,omitempty"`
	Devices []string `json:"devices,omitempty"` // by index (0; of a part 0:1) or UUID
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
