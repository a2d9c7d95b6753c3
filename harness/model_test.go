package harness

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/containertest"
)

// tagged gives each object of a directory an ETag, as S3 does.
type tagged struct{ objstore.Store }

func (t tagged) tag(o objstore.Object) objstore.Object {
	o.ETag = fmt.Sprintf("tag-%d", o.Size)
	return o
}

func (t tagged) Stat(ctx context.Context, key string) (objstore.Object, error) {
	o, err := t.Store.Stat(ctx, key)
	return t.tag(o), err
}

func (t tagged) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range t.Store.List(ctx, prefix) {
			if !yield(t.tag(o), err) {
				return
			}
		}
	}
}

// OpenVersion knows that a directory has no ETags of its own.
func (t tagged) OpenVersion(ctx context.Context, o objstore.Object, off, n int64) (io.ReadCloser, error) {
	o.ETag = ""
	return t.Store.OpenVersion(ctx, o, off, n)
}

type taggedOpener struct{ objstore.Opener }

func (t taggedOpener) Open(ctx context.Context, uri string) (objstore.Store, string, error) {
	s, key, err := t.Opener.Open(ctx, uri)
	return tagged{s}, key, err
}

// seen is what a container finds below a directory.
func seen(p *containertest.Process, dir string) map[string]string {
	got := map[string]string{}
	root := p.Path(dir)
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := os.ReadFile(path)
			rel, _ := filepath.Rel(root, path)
			got[rel] = string(b)
		}
		return nil
	})
	return got
}

// INF-24, INF-26, ruling 21: what a ModelDataSource may be, and what of it fails the job before a container is made.
func TestModelDataSource(t *testing.T) {
	t.Parallel() // it waits
	const prefix, object = "S3Prefix", "S3Object"
	for name, tc := range map[string]struct {
		source job.ModelSource
		etags  bool
		want   map[string]string
		reason string // "": completes
		warns  string
	}{
		"one archive":       {source: job.ModelSource{URI: "s3://in/m.tar.gz", Type: object}, want: map[string]string{"w": "packed"}},
		"one file":          {source: job.ModelSource{URI: "s3://in/m/config.json", Type: object, Unpacked: true}, want: map[string]string{"config.json": "{}"}},
		"a prefix":          {source: job.ModelSource{URI: "s3://in/m/", Type: prefix, Unpacked: true}, want: map[string]string{"config.json": "{}", "weights/a": "aa"}},
		"the ETag":          {source: job.ModelSource{URI: "s3://in/m/config.json", Type: object, Unpacked: true, ETag: `"tag-2"`}, etags: true, want: map[string]string{"config.json": "{}"}},
		"another ETag":      {source: job.ModelSource{URI: "s3://in/m/config.json", Type: object, Unpacked: true, ETag: "tag-3"}, etags: true, reason: `ClientError: Failed to download model data from URL: "s3://in/m/config.json": the object has another ETag: tag-2, the document has tag-3`},
		"an archive's ETag": {source: job.ModelSource{URI: "s3://in/m.tar.gz", Type: object, ETag: "tag-3"}, etags: true, reason: `ClientError: Failed to download model data from URL: "s3://in/m.tar.gz": the object has another ETag`},
		"no ETags":          {source: job.ModelSource{URI: "s3://in/m.tar.gz", Type: object, ETag: "tag-3"}, want: map[string]string{"w": "packed"}, warns: "has no ETags"},
		"nothing there":     {source: job.ModelSource{URI: "s3://in/none/", Type: prefix, Unpacked: true}, reason: "ClientError: Could not find model data at s3://in/none/."},
		"no such object":    {source: job.ModelSource{URI: "s3://in/none", Type: object, Unpacked: true}, reason: "ClientError: Could not find model data at s3://in/none."},
		"a file is no tar":  {source: job.ModelSource{URI: "s3://in/m/config.json", Type: object}, reason: `ClientError: Failed to extract model data from URL: "s3://in/m/config.json"`},
	} {
		t.Run(name, func(t *testing.T) {
			var got map[string]string
			b := newBench(t, serving(func(p *containertest.Process) int {
				got = seen(p, "/opt/ml/model")
				return server(200, upper)(p)
			}))
			if tc.etags {
				b.host.Stores = taggedOpener{b.host.Stores}
			}
			b.putModel("in/m.tar.gz", map[string]string{"w": "packed"})
			b.put("in/m/config.json", "{}")
			b.put("in/m/weights/a", "aa")
			b.put("in/mm/x", "no")
			p := transformPlan("m", "")
			tc.source.Container = "algo-1"
			p.Transform.Models = []job.ModelSource{tc.source}
			final, s := b.run(p)
			if tc.reason != "" {
				if !strings.HasPrefix(final.FailureReason, tc.reason) || *final.ExitCode != ExitClient || final.Hint == "" || len(s.Containers) != 0 {
					t.Errorf("%+v", final)
				}
				return
			}
			if final.Status != "Completed" || !maps.Equal(got, tc.want) {
				t.Errorf("%+v, %q", final, got)
			}
			if said := fmt.Sprint(s.Warnings); !strings.Contains(said, tc.warns) {
				t.Errorf("warnings %s", said)
			}
		})
	}
}

// INF-28: additional data is read-only in a directory of its channel, of the container that has it alone.
func TestAdditionalModelData(t *testing.T) {
	var got map[string]string
	b := newBench(t, pipelineImages(func(p *containertest.Process) int {
		if p.Spec.Network.Hosts[0] == "algo-1" && p.Hostname == "second" {
			got = seen(p, "/opt/ml/additional-model-data-sources/draft.model")
		}
		return hop(p)
	}))
	b.putModels()
	b.put("in/draft/a/b", "draft")
	p := piped("more", 2)
	p.Transform.More = []job.ModelSource{
		{Container: "algo-1-second", Channel: "draft.model", URI: "s3://in/draft/", Type: "S3Prefix", Unpacked: true},
		{Container: "algo-1-second", Channel: "archive", URI: "s3://in/one.tar.gz", Type: "S3Object"},
	}
	if final, _ := b.run(p); final.Status != "Completed" || !maps.Equal(got, map[string]string{"a/b": "draft"}) {
		t.Fatalf("%+v %q", final, got)
	}
	for _, x := range b.launcher.Launched() {
		var at []string
		for _, m := range x.Mounts {
			at = append(at, m.Target)
			if !m.ReadOnly {
				t.Errorf("%s can be written", m.Target)
			}
		}
		want := "/opt/ml/model"
		if x.Hostname == "second" {
			want += " /opt/ml/additional-model-data-sources/draft.model /opt/ml/additional-model-data-sources/archive"
		}
		if strings.Join(at, " ") != want {
			t.Errorf("%s: mounts %v", x.Hostname, at)
		}
	}
}
