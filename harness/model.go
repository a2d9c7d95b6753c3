package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
)

// modelData is what becomes of one container's /opt/ml/model, or of what it has beside that: a directory, filled before
// the container is made.
type modelData struct {
	run    *run
	source job.ModelSource
	dir    string
}

// target is where the container finds it (INF-20, INF-28).
func (m *modelData) target() string {
	if m.source.Channel != "" {
		return "/opt/ml/additional-model-data-sources/" + m.source.Channel
	}
	return "/opt/ml/model"
}

// mkdir makes a directory that the container sees as root's, 0755, whatever the umask.
func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// modelBytes is the fixed volume of a transform instance (INF-32): more than fits is warned of, not refused.
const modelBytes = 30 << 30

// fetch brings the data: an archive is unpacked (INF-20), files are brought as they are (INF-24). Without any the directory
// stays empty (INF-30).
func (m *modelData) fetch(ctx context.Context) error {
	if m.source.URI == "" {
		return nil
	}
	fail := func(err error) error {
		return &ModelError{URI: m.source.URI, Files: m.source.Unpacked, Channel: m.source.Channel, Err: err}
	}
	store, key, err := m.run.host.Stores.Open(ctx, m.source.URI)
	if err != nil {
		return fail(err)
	}
	s, err := m.bring(ctx, store, key)
	if err != nil {
		return fail(err)
	}
	if s.Links > 0 {
		m.run.append(ledger.Warning{Rule: "INF-31", Text: fmt.Sprintf("%s holds %d symbolic links; SageMaker refuses to make a model of such an archive", m.source.URI, s.Links)})
	}
	if s.Bytes > modelBytes {
		m.run.append(ledger.Warning{Rule: "INF-32", Text: fmt.Sprintf("the model has %d bytes unpacked; a transform instance has 30 GB for it", s.Bytes)})
	}
	return nil
}

// ErrETag is model data that is not the object that the document means (ruling 21).
var ErrETag = errors.New("the object has another ETag")

func (m *modelData) bring(ctx context.Context, store objstore.Store, key string) (artifact.UnpackStats, error) {
	if m.source.Type == "S3Prefix" {
		return artifact.CopyPrefix(ctx, store, key, m.dir, artifact.Limits{})
	}
	if m.source.ETag == "" && !m.source.Unpacked {
		return artifact.Download(ctx, store, key, m.dir, artifact.Limits{})
	}
	o, err := store.Stat(ctx, key)
	if err != nil {
		return artifact.UnpackStats{}, err
	}
	switch want := strings.Trim(m.source.ETag, `"`); {
	case want == "" || want == o.ETag:
	case o.ETag == "":
		m.run.append(ledger.Warning{Rule: "ruling 21", Text: fmt.Sprintf("the store of %s has no ETags: %s is not compared", m.source.URI, want)})
	default:
		return artifact.UnpackStats{}, fmt.Errorf("%w: %s, the document has %s", ErrETag, o.ETag, want)
	}
	if m.source.Unpacked {
		return artifact.CopyObject(ctx, store, o, m.dir, artifact.Limits{})
	}
	return artifact.DownloadVersion(ctx, store, o, m.dir, artifact.Limits{})
}
