package channels

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
)

// file is File mode: everything is there before the process starts (FILE-1), as files that are the container's own
// (TREE-1: it may write them; the user's files are never touched).
type file struct {
	ch  job.Channel
	c   Config
	dir string // <Config.Dir>/<channel>
	counters
}

func newFile(ch job.Channel, c Config) (Delivery, error) {
	// FILE-8: objects are never decompressed nor wrapped in File mode; the service refuses the request.
	if ch.Compression != "" && ch.Compression != "None" {
		return nil, &dataset.Error{Channel: ch.Name, Err: fmt.Errorf("CompressionType %s is for Pipe mode only", ch.Compression)}
	}
	if ch.RecordWrapper != "" && ch.RecordWrapper != "None" {
		return nil, &dataset.Error{Channel: ch.Name, Err: fmt.Errorf("RecordWrapperType %s is for Pipe mode only", ch.RecordWrapper)}
	}
	// FILE-10: where AWS's pages contradict each other, the API's own text counts.
	if ch.Source.Type == "AugmentedManifestFile" {
		return nil, &dataset.Error{Channel: ch.Name, Object: ch.Source.URI, Err: errors.New("AugmentedManifestFile is for Pipe mode only")}
	}
	if ch.Source.Type == "FileSystem" { // FILE-13: nothing is copied
		return newFileSystem(ch, c), nil
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	if c.PartSize <= 0 {
		c.PartSize = defaultPartSize
	}
	return &file{ch: ch, c: c, dir: filepath.Join(c.Dir, ch.Name)}, nil
}

// Prepare makes the channel's directory, which a host without data has too (SHARD-3). It must be new or empty: what an
// earlier attempt left is not to be mistaken for data.
func (f *file) Prepare(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return f.fail(err)
	}
	if err := makeEmpty(f.dir); err != nil {
		return f.fail(err)
	}
	return nil
}

// makeEmpty makes a channel's directory.
func makeEmpty(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		var left []os.DirEntry
		if left, err = os.ReadDir(dir); err == nil && len(left) > 0 {
			err = fmt.Errorf("directory %s is not empty", dir)
		}
	}
	if err == nil {
		err = os.Chmod(dir, 0o755) // whatever the umask is
	}
	if err != nil {
		return fmt.Errorf("make channel directory: %w", err)
	}
	return nil
}

// Fill lists and downloads at the same time. When it fails, the directory holds an unknown part of the data, but no
// file that is not whole.
func (f *file) Fill(ctx context.Context) error {
	set, err := dataset.New(ctx, dataset.Config{
		Channel: f.ch.Name, Source: f.ch.Source, Opener: f.c.Opener, Seed: f.ch.ShuffleSeed,
		Rank: f.c.Rank, Hosts: f.c.Hosts, Region: f.c.Region, RoleARN: f.c.RoleARN,
	})
	if err != nil {
		return err
	}
	defer set.Close()
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return f.fail(fmt.Errorf("open channel directory: %w", err))
	}
	defer root.Close()
	d, err := newDownload(f, root)
	if err != nil {
		return f.fail(err)
	}
	if err := d.run(ctx, set); err != nil {
		return err
	}
	f.epochs.Store(1)
	return nil
}

func (f *file) fail(err error) error {
	return &dataset.Error{Channel: f.ch.Name, Err: err}
}

func (f *file) Serve(context.Context) error { return nil }

func (f *file) Close() error { return nil }

func (f *file) Stats() Stats { return f.stats(f.ch.Name, "File") }
