package container

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/optml/optml/job"
)

func g4dn() Hosts {
	return Hosts{Current: "algo-1", All: []string{"algo-1"}, InstanceType: "ml.g4dn.12xlarge", Interface: "eth0"}
}

func TestTREE2Sizes(t *testing.T) {
	chans := []job.Channel{{Name: "training", Mode: "File", Source: job.Source{Type: "S3Prefix", Distribution: "FullyReplicated"}}}
	for _, c := range []struct {
		name string
		got  []byte
		want int
	}{
		{"inputdataconfig.json", inputDataConfig(chans), 107},
		{"resourceconfig.json of 2022", resourceConfigForm(g4dn(), false), 280},
		{"resourceconfig.json (ruling 7)", resourceConfig(g4dn()), 296},
		{"hyperparameters.json", hyperParameters(nil), 2},
	} {
		if len(c.got) != c.want {
			t.Errorf("%s: %d bytes, want %d: %s", c.name, len(c.got), c.want, c.got)
		}
	}
}

func TestIDC1Order(t *testing.T) {
	got := string(inputDataConfig([]job.Channel{
		{Name: "train", Mode: "Pipe", ContentType: "text/csv", RecordWrapper: "RecordIO", Source: job.Source{Distribution: "ShardedByS3Key", URI: "s3://b/k"}, Compression: "Gzip"},
		{Name: "aug", Mode: "Pipe", Source: job.Source{Type: "AugmentedManifestFile", AttributeNames: []string{"a"}}},
	}))
	want := `{"train":{"ContentType":"text/csv","TrainingInputMode":"Pipe","S3DistributionType":"ShardedByS3Key","RecordWrapperType":"RecordIO"},` +
		`"aug":{"TrainingInputMode":"Pipe","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(inputDataConfig(nil)); got != "{}" {
		t.Errorf("IDC-6: got %s", got)
	}
}

func TestRES1HostsAreSortedAsStrings(t *testing.T) {
	h := g4dn()
	h.All = []string{"algo-2", "algo-10", "algo-1"}
	if got := string(resourceConfig(h)); !strings.Contains(got, `"hosts":["algo-1","algo-10","algo-2"]`) {
		t.Error(got)
	}
}

func TestHyperParametersAreTheRequestsStrings(t *testing.T) {
	got := string(hyperParameters(map[string]string{"num_round": "128", "eta": "0.001", "s": `"<a>&\"`, "json": `"abc"`}))
	want := `{"eta":"0.001","json":"\"abc\"","num_round":"128","s":"\"<a>&\\\""}`
	if got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

func TestMakeIsRootOnlyUnlessAsked(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, c := range []struct {
		writable bool
		want     os.FileMode
	}{{false, 0o755}, {true, 0o777}} {
		tr := Tree{t.TempDir()}
		if err := tr.Make(c.writable); err != nil {
			t.Fatal(err)
		}
		if err := tr.WriteConfig(&job.Training{}, g4dn()); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{tr.Input(), tr.Config(), tr.Data(), tr.Model(), tr.Output()} {
			fi, err := os.Stat(d)
			if err != nil || fi.Mode().Perm() != c.want {
				t.Errorf("%s: %v %v, want %v", d, fi.Mode(), err, c.want)
			}
		}
		fi, err := os.Stat(filepath.Join(tr.Config(), "resourceconfig.json"))
		if err != nil || fi.Mode().Perm() != 0o644 {
			t.Errorf("resourceconfig.json: %v %v", fi, err)
		}
		if _, err := os.Stat(filepath.Join(tr.Root, "output", "intermediate")); err == nil {
			t.Error("output/intermediate must not exist")
		}
	}
}

func TestReadFailure(t *testing.T) {
	tr := Tree{t.TempDir()}
	if err := tr.Make(false); err != nil {
		t.Fatal(err)
	}
	if s, err := tr.ReadFailure(); s != "" || err != nil {
		t.Errorf("none: %q %v", s, err)
	}
	if err := os.WriteFile(tr.Failure(), []byte(strings.Repeat("é", 4000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := tr.ReadFailure(); len(s) != failureBytes || err != nil {
		t.Errorf("long: %d bytes, %v", len(s), err)
	}
	for name, put := range map[string]func() error{
		"fifo":      func() error { return syscall.Mkfifo(tr.Failure(), 0o600) },
		"directory": func() error { return os.Mkdir(tr.Failure(), 0o700) },
		"link out":  func() error { return os.Symlink("/etc/passwd", tr.Failure()) },
	} {
		if err := os.RemoveAll(tr.Failure()); err != nil {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if s, err := tr.ReadFailure(); err == nil || s != "" {
			t.Errorf("%s: read %q", name, s)
		}
	}
	if err := os.RemoveAll(tr.Failure()); err != nil {
		t.Fatal(err)
	}
	if tr.HasArtifacts() {
		t.Error("empty tree has artifacts")
	}
	if err := os.WriteFile(filepath.Join(tr.Model(), "m"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !tr.HasArtifacts() {
		t.Error("model not seen")
	}
}
