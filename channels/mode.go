package channels

import (
	"errors"
	"fmt"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

// Config is what a channel needs to know of its host.
type Config struct {
	// Dir is the directory on this machine that becomes /opt/ml/input/data; it exists. Nothing outside of it is written.
	Dir    string
	Opener dataset.Opener

	Rank, Hosts int    // this host's among those that share the channel (SHARD-2); Hosts 0 is one host
	Region      string // for the service's texts
	RoleARN     string

	// PartSize is what one transfer of a large object covers; 0: 16 MiB.
	PartSize int64
	// MountDir is this job's directory for FastFile's mounts; nothing that anyone removes lies around it (D12).
	MountDir string
	// Window is how many bytes a Pipe or FastFile channel may hold in memory; 0 is DefaultWindow.
	Window int64
	// TempDir is where a Pipe channel keeps what it must know the length of before it can be sent, and augmented
	// manifests, in files that have no name, and a FastFile channel its spool; "" is the system's.
	TempDir string
	// Spool is how many bytes a FastFile channel may keep on disk for later epochs; 0 is half of what is free in
	// TempDir, below 0 is none.
	Spool int64
	// NoPassthrough makes optml answer every read of a FastFile channel itself, as it must where the kernel is older
	// than 6.9.
	NoPassthrough bool
	// Workers is how many transfers run at once; 0: 32. Memory is a third of a MiB a worker.
	Workers int
}

// ErrUnsupported is the class of errors for modes and members that are not carried out yet.
var ErrUnsupported = dataset.ErrUnsupported

// modes is every mode there is.
var modes = map[string]func(job.Channel, Config) (Delivery, error){
	"File":     newFile,
	"Pipe":     newPipe,
	"FastFile": newFastFile,
}

// New makes the delivery that the channel's mode asks for. It does no I/O.
func New(ch job.Channel, c Config) (Delivery, error) {
	make, ok := modes[ch.Mode]
	if !ok {
		return nil, &dataset.Error{Channel: ch.Name, Err: fmt.Errorf("TrainingInputMode %q is none of File, Pipe, FastFile", ch.Mode)}
	}
	if err := checkName(ch.Name); err != nil {
		return nil, &dataset.Error{Channel: ch.Name, Err: err}
	}
	return make(ch, c)
}

// checkName holds the contract's pattern [A-Za-z0-9\.\-_]+ of 1 to 64, and what it forgot: "." and "..".
func checkName(name string) error {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return fmt.Errorf("channel name %q holds %q", name, c)
		}
	}
	if name == "" || len(name) > 64 || name == "." || name == ".." {
		return errors.New("channel name must have 1 to 64 characters and be no directory's own")
	}
	return nil
}
