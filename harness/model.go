package harness

import (
	"context"
	"fmt"
	"os"

	"github.com/optml/optml/artifact"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
)

// modelData is what becomes of one container's /opt/ml/model: a directory, filled before the container is made.
type modelData struct {
	run    *run
	source job.ModelSource
	dir    string
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

// fetch unpacks the model's archive into /opt/ml/model (INF-20). Without one the directory stays empty (INF-30).
func (m *modelData) fetch(ctx context.Context) error {
	if m.source.URI == "" {
		return nil
	}
	fail := func(err error) error { return &ModelError{URI: m.source.URI, Err: err} }
	store, key, err := m.run.host.Stores.Open(ctx, m.source.URI)
	if err != nil {
		return fail(err)
	}
	s, err := artifact.Download(ctx, store, key, m.dir, artifact.Limits{})
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
