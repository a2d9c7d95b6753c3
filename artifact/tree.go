package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/optml/optml/objstore"
)

const (
	// treeBudget is how many bytes of files are on their way at once; each may lie in memory, and as much again may be
	// garbage. A file that has more goes alone: a store sends it in parts and bounds itself what it holds of them.
	treeBudget = 24 << 20
	// treeLeast is what a small file counts, so that at most 16 are sent at once.
	treeLeast = treeBudget / 16
	// dropTimeout bounds removing what a failed upload had brought.
	dropTimeout = time.Minute
)

// UploadTree uploads the files of dir as they are, each to prefix/<its path> (OUT-6); Warnings, Skipped and links are as
// Pack's, but that a link is stored as the file at its end, since objects have no links, and one to a directory is left
// out. A directory without any file uploads nothing (OUT-4). After an error no object that it made is left there, as far
// as the store still answers; the error says if some are.
func UploadTree(ctx context.Context, store objstore.Store, prefix, dir string, o UploadOptions) (stats UploadStats, err error) {
	start := time.Now()
	stats.URI = store.URI(prefix)
	defer func() { stats.Duration = time.Since(start) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return stats, &Error{Op: "upload", Err: err}
	}
	defer root.Close()
	g, gctx := errgroup.WithContext(ctx)
	p := &packer{op: "upload", ctx: gctx, root: root, o: o.Pack}
	if o.Pack.Around != "" {
		if p.around, err = os.OpenRoot(o.Pack.Around); err != nil {
			return stats, &Error{Op: "upload", Err: err}
		}
		defer p.around.Close()
	}
	t := &plain{packer: p, group: g, store: store, prefix: prefix, kms: o.KMSKeyID, room: semaphore.NewWeighted(treeBudget)}
	p.out = t
	err = p.directory(".")
	// The walk ends when a transfer has failed, and that is the error to tell.
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	p.stats.Files, p.stats.Bytes, p.stats.Packed = t.files, t.bytes, t.bytes
	for _, w := range t.late {
		p.warn(w[0], w[1])
	}
	stats.PackStats = p.stats
	stats.Empty = p.stats.Files == 0
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return stats, errors.Join(err, t.drop(ctx))
	}
	return stats, nil
}

// plain stores members as objects.
type plain struct {
	*packer
	group  *errgroup.Group
	store  objstore.Store
	prefix string
	kms    string
	room   *semaphore.Weighted

	mu    sync.Mutex
	sent  []string // names of which there may be an object
	files int64
	bytes int64
	late  [][2]string // warnings of transfers: name and text
}

func (t *plain) directory(string, fs.FileInfo) error { return nil }

func (t *plain) link(string, fs.FileInfo, string) (bool, error) { return false, nil }

func (t *plain) file(root *os.Root, from, name string) error {
	f, info, err := t.open(root, from, name)
	if f == nil {
		return err
	}
	size := info.Size()
	weight := min(max(size, treeLeast), treeBudget)
	if err := t.room.Acquire(t.ctx, weight); err != nil {
		f.Close()
		return context.Cause(t.ctx)
	}
	t.group.Go(func() error {
		defer t.room.Release(weight)
		defer f.Close()
		return t.send(f, size, name)
	})
	return nil
}

func (t *plain) send(f *os.File, size int64, name string) error {
	w, err := t.store.Create(t.ctx, objstore.Join(t.prefix, name), objstore.CreateOptions{KMSKeyID: t.kms, Size: size})
	if err != nil {
		return &Error{Op: "upload", Member: name, Err: err}
	}
	n, err := io.Copy(w, io.LimitReader(&cancelReader{t.ctx, f}, size))
	if err == nil {
		t.mu.Lock()
		t.sent = append(t.sent, name) // before, for a Commit that fails may have made it all the same
		t.mu.Unlock()
		err = w.Commit(t.ctx)
	}
	if err != nil {
		err = errors.Join(err, w.Abort())
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		return &Error{Op: "upload", Member: name, Err: err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files++
	t.bytes += n
	end, err := f.Stat()
	if n < size {
		t.late = append(t.late, [2]string{name, fmt.Sprintf("shrank from %d to %d bytes while it was uploaded", size, n)})
	} else if err == nil && end.Size() > size {
		t.late = append(t.late, [2]string{name, fmt.Sprintf("grew from %d to %d bytes while it was uploaded; the first %d are stored", size, end.Size(), size)})
	}
	return nil
}

// drop removes what was sent before an error.
func (t *plain) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	for i, name := range t.sent {
		if err := t.store.Delete(ctx, objstore.Join(t.prefix, name)); err != nil {
			return fmt.Errorf("%d objects that had been uploaded remain below %s: %w", len(t.sent)-i, t.store.URI(t.prefix), err)
		}
	}
	return nil
}
