package channels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

// fileSystem is File mode over a file system (FILE-13): the user's directory itself appears at
// /opt/ml/input/data/<channel>, mounted in the container alone. Nothing of it is copied, changed or removed here.
type fileSystem struct {
	ch     job.Channel
	dir    string // <Config.Dir>/<channel>: empty, what the directory is mounted over
	source string // on this machine, without links; "" before Prepare
}

func newFileSystem(ch job.Channel, c Config) Delivery {
	return &fileSystem{ch: ch, dir: filepath.Join(c.Dir, ch.Name)}
}

// asked is the directory as the user named it.
func (f *fileSystem) asked() string {
	return filepath.Join(f.ch.Source.URI, filepath.FromSlash(path.Clean("/"+f.ch.Source.Directory)))
}

func (f *fileSystem) fail(err error) error {
	return &dataset.Error{Channel: f.ch.Name, Object: f.asked(), Err: err}
}

// Prepare finds the directory and makes the one that it is mounted over.
func (f *fileSystem) Prepare(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return f.fail(err)
	}
	source, err := inside(f.ch.Source.URI, f.ch.Source.Directory)
	if err != nil {
		return f.fail(err)
	}
	f.source = source
	if err := makeEmpty(f.dir); err != nil {
		return f.fail(err)
	}
	return nil
}

// inside is the directory dir of the file system for which root stands. The path is taken from root as an NFS server
// takes it, so ".." does not lead out, and no link does.
func inside(root, dir string) (string, error) {
	if !filepath.IsAbs(root) {
		return "", fmt.Errorf("the directory %q that stands for the file system is not absolute", root)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return "", fmt.Errorf("open the directory that stands for the file system: %w", bare(err))
	}
	defer r.Close()
	name := strings.TrimPrefix(path.Clean("/"+dir), "/")
	if name == "" {
		name = "."
	}
	// Not Open alone, which would wait for somebody to write into a FIFO.
	fi, err := r.Stat(name)
	if err != nil {
		return "", fmt.Errorf("open DirectoryPath %s: %w", dir, bare(err))
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("DirectoryPath %s is not a directory", dir)
	}
	d, err := r.Open(name)
	if err != nil {
		return "", fmt.Errorf("open DirectoryPath %s: %w", dir, bare(err))
	}
	defer d.Close()
	// The kernel's name of what was opened has no links left that the container's runtime would follow elsewhere.
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", d.Fd()))
	if err != nil {
		return "", fmt.Errorf("name of DirectoryPath %s: %w", dir, err)
	}
	return real, nil
}

// bare is an error without the operation and the path, which the sentence around it names.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// Fill has nothing to bring.
func (f *fileSystem) Fill(context.Context) error { return nil }

// Serve has nothing to do: the kernel serves.
func (f *fileSystem) Serve(context.Context) error { return nil }

func (f *fileSystem) Mounts() []Mount {
	return []Mount{{Source: f.source, Target: f.ch.Name, ReadOnly: f.ch.Source.ReadOnly}}
}

// Close has nothing to take away: the mount is the container's and goes with it.
func (f *fileSystem) Close() error { return nil }

// Stats counts nothing: what the container reads is between it and the kernel.
func (f *fileSystem) Stats() Stats {
	access := "rw"
	if f.ch.Source.ReadOnly {
		access = "ro"
	}
	return Stats{Channel: f.ch.Name, Mode: "File", Note: fmt.Sprintf("%s is mounted %s, nothing is counted", f.asked(), access)}
}
