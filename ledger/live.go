package ledger

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"
)

// Snapshot is how a job stands at a moment: plain numbers for progress bars, describe and plots. Totals are 0 while
// they are not known.
type Snapshot struct {
	At         time.Time       `json:"at"`
	Step       string          `json:"step,omitempty"`
	Images     []ImageLive     `json:"images,omitempty"`
	Channels   []ChannelLive   `json:"channels,omitempty"`
	Containers []ContainerLive `json:"containers,omitempty"`
	Uploads    []UploadLive    `json:"uploads,omitempty"`
	Transform  *TransformLive  `json:"transform,omitempty"`
	Metrics    []FinalMetric   `json:"metrics,omitempty"` // last values so far

	Last bool `json:"-"` // the job's last one: what is read but seldom is read for it
}

// ImageLive is a pull.
type ImageLive struct {
	Ref        string `json:"ref"`
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"totalBytes,omitempty"`
}

// ChannelLive is a channel on one host: what it has brought so far, of how much.
type ChannelLive struct {
	Host string `json:"host,omitempty"`
	ChannelTotals
	TotalBytes   int64 `json:"totalBytes,omitempty"`
	TotalObjects int64 `json:"totalObjects,omitempty"`
}

// ContainerLive is what a container uses, in the service's percentages (training 5.2).
type ContainerLive struct {
	Container     string  `json:"container"`
	CPUPercent    float64 `json:"cpuPercent"`    // sum over cores: 0 … n*100
	MemoryPercent float64 `json:"memoryPercent"` // of the limit, or of the host's memory
	MemoryBytes   int64   `json:"memoryBytes"`
	DiskPercent   float64 `json:"diskPercent,omitempty"` // of the instance's volume, with a training's container

	// Of the instance's GPUs, with its first container: sums over them, 0 … g*100. nil: it has none, or they are not measured.
	GPUPercent       *float64 `json:"gpuPercent,omitempty"`
	GPUMemoryPercent *float64 `json:"gpuMemoryPercent,omitempty"`
}

// UploadLive is an artifact on its way out.
type UploadLive struct {
	Artifact   string `json:"artifact"`
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"totalBytes,omitempty"`
}

// TransformLive is a transform under way.
type TransformLive struct {
	Objects      int64 `json:"objects"`
	TotalObjects int64 `json:"totalObjects,omitempty"`
	Failed       int64 `json:"failed,omitempty"`
	Records      int64 `json:"records"`
	Requests     int64 `json:"requests"`
	InFlight     int64 `json:"inFlight,omitempty"`
	Retries      int64 `json:"retries,omitempty"`
	BytesIn      int64 `json:"bytesIn"`
	BytesOut     int64 `json:"bytesOut"`

	Bytes            int64         `json:"bytes"`                // of the objects as stored: about how many have been answered
	TotalBytes       int64         `json:"totalBytes,omitempty"` // of those whose size is known
	RecordsPerSecond float64       `json:"recordsPerSecond,omitempty"`
	Left             time.Duration `json:"leftNs,omitempty"` // 0: not known
}

// Live publishes a snapshot for readers. It appears whole and is not synced. Failing to write it (a full disk) never
// disturbs the job, so there is no error.
func (o *Owner) Live(s Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lock == nil {
		return
	}
	b, err := json.Marshal(s)
	if err != nil {
		return // a NaN among the percentages
	}
	_ = writeWhole(o.path(liveFile), append(b, '\n'))
}

// Live is the last snapshot. ok is false when there is none: the job has not begun, or it has ended.
func (j *Job) Live() (s Snapshot, ok bool, err error) {
	err = readJSON(j.path(liveFile), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	return s, err == nil, err
}
