package artifact

import (
	"context"
	"errors"
	"os"
	"path"
	"time"

	"github.com/optml/optml/objstore"
)

// UploadStats are what an Upload did.
type UploadStats struct {
	PackStats
	URI      string
	Empty    bool // nothing there, nothing uploaded (OUT-4)
	Duration time.Duration
}

// UploadOptions travel with the archive.
type UploadOptions struct {
	Pack     PackOptions
	KMSKeyID string
}

// Upload packs dir while it uploads it to key; no second copy is made on disk. A directory without any file or link is
// not uploaded (OUT-4). After an error nothing is at key that was not there before.
func Upload(ctx context.Context, store objstore.Store, key, dir string, o UploadOptions) (stats UploadStats, err error) {
	start := time.Now()
	stats.URI = store.URI(key)
	defer func() { stats.Duration = time.Since(start) }()
	some, err := holdsFiles(dir)
	if err != nil {
		return stats, &Error{Op: "upload", Err: err}
	}
	if !some {
		stats.Empty = true
		return stats, nil
	}
	w, err := store.Create(ctx, key, objstore.CreateOptions{ContentType: "application/gzip", KMSKeyID: o.KMSKeyID})
	if err != nil {
		return stats, &Error{Op: "upload", Err: err}
	}
	stats.PackStats, err = Pack(ctx, dir, w, o.Pack)
	if err != nil {
		return stats, errors.Join(err, w.Abort())
	}
	if stats.Files+stats.Links == 0 { // what was there was all skipped
		stats.Empty = true
		return stats, w.Abort()
	}
	if err := w.Commit(ctx); err != nil {
		return stats, errors.Join(&Error{Op: "upload", Err: err}, w.Abort())
	}
	return stats, nil
}

func holdsFiles(dir string) (bool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	var walk func(string) (bool, error)
	walk = func(dir string) (bool, error) {
		list, err := names(root, dir)
		if err != nil {
			return false, err
		}
		for _, name := range list {
			name = path.Join(dir, name)
			info, err := root.Lstat(name)
			if err != nil {
				return false, err
			}
			if !info.IsDir() {
				return true, nil
			}
			if found, err := walk(name); found || err != nil {
				return found, err
			}
		}
		return false, nil
	}
	return walk(".")
}

// Download unpacks the tar.gz at key into dir while it reads it.
func Download(ctx context.Context, store objstore.Store, key, dir string, l Limits) (UnpackStats, error) {
	r, err := store.Open(ctx, key, 0, -1)
	if err != nil {
		return UnpackStats{}, &Error{Op: "download", Err: err}
	}
	defer r.Close()
	return Unpack(ctx, r, dir, l)
}

// DownloadVersion is Download of the very object that the store has described.
func DownloadVersion(ctx context.Context, store objstore.Store, o objstore.Object, dir string, l Limits) (UnpackStats, error) {
	r, err := store.OpenVersion(ctx, o, 0, -1)
	if err != nil {
		return UnpackStats{}, &Error{Op: "download", Err: err}
	}
	defer r.Close()
	return Unpack(ctx, r, dir, l)
}
