package container

import (
	"context"
	"encoding/json"
)

// GPUs are those of this host, shared by all jobs on it. runtime/gpu has them.
type GPUs interface {
	// Take chooses free GPUs for a job and locks them for the whole host, until Close or this process's death. It does
	// not wait for any. Errors are *GPUError.
	Take(ctx context.Context, r GPURequest) (TakenGPUs, error)
}

// GPURequest is what a job asks for.
type GPURequest struct {
	Job     string   // the job's directory: who holds them
	Count   int      // how many
	Devices []string // which, by index or UUID, as many as Count; nil: any that are free
}

// GPU is one that a job has: a whole one or, where one is divided, a part of it (MIG).
type GPU struct {
	Index string // 0; of a part 0:1
	UUID  string
	Name  string
}

// TakenGPUs are the GPUs of one job. Methods may be called concurrently.
type TakenGPUs interface {
	List() []GPU
	// Offer is what a container must be given to use some of them. env is the container's, the image's included. An
	// image that the driver is too old for is a *GPUError.
	Offer(ctx context.Context, some []GPU, img Image, env []string) (GPUOffer, error)
	// Readings are the last of some of them; those that there is none of are left out.
	Readings(some []GPU) []GPUReading
	// Close frees them.
	Close() error
}

// GPUOffer is how a container is changed to use GPUs.
type GPUOffer struct {
	Edits    json.RawMessage // for Spec.Edits
	Env      []string        // over all other
	From     string          // where the edits are from, for people
	Warnings []string
}

// GPUReading is a GPU at a moment.
type GPUReading struct {
	Busy        float64 // percent of the last second in which it worked; 0 where that is not measured (MIG)
	MemoryUsed  int64
	MemoryTotal int64
}

// GPUError says why a job cannot have the GPUs that it asks for.
type GPUError struct {
	Text     string
	Help     string // what to do
	Capacity bool   // there are not enough, or others have them
}

func (e *GPUError) Error() string { return e.Text }

// Hint says what to do.
func (e *GPUError) Hint() string { return e.Help }
