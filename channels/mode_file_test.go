package channels

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
)

// The umask is one that would spoil every mode, so that each test shows that it does not.
func TestMain(m *testing.M) {
	if path := os.Getenv("CHANNELS_TEST_MMAP"); path != "" {
		os.Exit(mapped(path))
	}
	syscall.Umask(0o077)
	for k, v := range map[string]string{ // this machine's own configuration stays out
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "", "AWS_SESSION_TOKEN": "", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret",
	} {
		os.Setenv(k, v)
	}
	goleak.VerifyTestMain(m)
}

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read is every file below dir, directories as "name/".
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if e.IsDir() {
			got[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(p)
		got[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func opener(t *testing.T, o objstore.Options) objstore.Opener {
	t.Helper()
	op, err := objstore.NewOpener(o)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func prefixChannel(uri string) job.Channel {
	return job.Channel{Name: "train", Mode: "File", Source: job.Source{Type: "S3Prefix", URI: uri, Distribution: "FullyReplicated"}}
}

// fill runs a File channel and returns its directory.
func fill(t *testing.T, ch job.Channel, c Config) (string, Delivery, error) {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	d, err := New(ch, c)
	if err != nil {
		return "", nil, err
	}
	if err := d.Prepare(t.Context()); err != nil {
		return "", d, err
	}
	err = d.Fill(t.Context())
	return filepath.Join(c.Dir, ch.Name), d, err
}

// TestFilePaths is FILE-2 and acceptance check 4 over a directory that stands for S3.
func TestFilePaths(t *testing.T) {
	dir := tree(t, map[string]string{
		"b/data/train/a.csv": "1", "b/data/train/sub/c.csv": "2", "b/data/train-01/b.csv": "3", "b/data/train.csv": "4", "b/other": "5",
	})
	for _, c := range []struct {
		uri  string
		want string
	}{
		{"s3://b/data/train", "a.csv=1 sub/= sub/c.csv=2 train-01/= train-01/b.csv=3 train.csv=4"},
		{"s3://b/data/train/", "a.csv=1 sub/= sub/c.csv=2"},
		{"s3://b/data/train.csv", "train.csv=4"},
		{"s3://b/data", "train-01/= train-01/b.csv=3 train.csv=4 train/= train/a.csv=1 train/sub/= train/sub/c.csv=2"},
		{"s3://b", "data/= data/train-01/= data/train-01/b.csv=3 data/train.csv=4 data/train/= data/train/a.csv=1 data/train/sub/= data/train/sub/c.csv=2 other=5"},
		{"https://s3.us-east-1.amazonaws.com/b/data/train.csv", "train.csv=4"},
		{"file://" + dir + "/b/data/train", "a.csv=1 sub/= sub/c.csv=2"},
		{dir + "/b/data/train/", "a.csv=1 sub/= sub/c.csv=2"},
		{dir + "/b/data/train.csv", "train.csv=4"},
	} {
		got, d, err := fill(t, prefixChannel(c.uri), Config{Opener: opener(t, objstore.Options{S3Dir: dir})})
		if err != nil {
			t.Errorf("%s: %v", c.uri, err)
			continue
		}
		files := read(t, got)
		var list []string
		var n, bytes int64
		for _, k := range slices.Sorted(maps.Keys(files)) {
			list = append(list, k+"="+files[k])
			if !strings.HasSuffix(k, "/") {
				n++
				bytes += int64(len(files[k]))
			}
		}
		if s := strings.Join(list, " "); s != c.want {
			t.Errorf("%s: got  %s\nwant %s", c.uri, s, c.want)
		}
		want := Stats{Channel: "train", Mode: "File", Bytes: bytes, Objects: n, TotalBytes: bytes, TotalObjects: n, Epochs: 1}
		if s := d.Stats(); s != want {
			t.Errorf("%s: stats %+v, want %+v", c.uri, s, want)
		}
	}
}

// TestFileModesAndSource: modes as seen on the service (training contract 2), the user's files untouched and not shared
// (TREE-1), whatever the umask.
func TestFileModesAndSource(t *testing.T) {
	src := tree(t, map[string]string{"sub/run.sh": "#!/bin/sh\n", "big": strings.Repeat("0123456789abcdef", 3<<20/16)})
	dir, _, err := fill(t, prefixChannel(src), Config{Opener: opener(t, objstore.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{".": fs.ModeDir | 0o755, "sub": fs.ModeDir | 0o755, "sub/run.sh": 0o644, "big": 0o644} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
	before := read(t, src)
	if got := read(t, dir); !maps.Equal(got, before) {
		t.Error("copy differs from its source")
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), []byte("overwritten"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(read(t, src), before) {
		t.Error("writing the channel changed the user's file")
	}
}

// TestShardedFiles: the shares of all hosts are disjoint and complete, and a host without objects has an empty directory
// (SHARD-1 to SHARD-3).
func TestShardedFiles(t *testing.T) {
	files := map[string]string{}
	for i := range 7 {
		files[fmt.Sprintf("b/in/%d", i)] = fmt.Sprint(i)
	}
	ch := prefixChannel("s3://b/in/")
	ch.Source.Distribution = "ShardedByS3Key"
	op := opener(t, objstore.Options{S3Dir: tree(t, files)})
	for _, hosts := range []int{1, 3, 9} {
		all := map[string]string{}
		for rank := range hosts {
			dir, _, err := fill(t, ch, Config{Opener: op, Rank: rank, Hosts: hosts})
			if err != nil {
				t.Fatalf("%d of %d: %v", rank, hosts, err)
			}
			got := read(t, dir)
			for k, v := range got {
				if i := int(k[0] - '0'); i%hosts != rank || all[k] != "" {
					t.Errorf("rank %d of %d has %s", rank, hosts, k)
				}
				all[k] = v
			}
		}
		if len(all) != 7 {
			t.Errorf("%d hosts have %d of 7 objects", hosts, len(all))
		}
	}
}

func TestFileRefusals(t *testing.T) {
	dir := tree(t, map[string]string{"b/full/x": "1"})
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(out, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"esc/l": out, "dangle/l": "nowhere", "circle/l": "."} {
		p := filepath.Join(dir, "b", name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*job.Channel)
		is     error
		text   string
	}{
		{"empty prefix", func(c *job.Channel) { c.Source.URI = "s3://b/none" }, dataset.ErrEmpty,
			`No S3 objects found under S3 URL "s3://b/none" given in input data source. Please ensure that the bucket exists in the selected region (eu-west-1), that objects exist under that S3 prefix, and that the role "arn:aws:iam::123456789012:role/r" has "s3:ListBucket" permissions on bucket "b".`},
		{"no bucket", func(c *job.Channel) { c.Source.URI = "s3://nobucket/x" }, objstore.ErrNoBucket, `permissions on bucket "nobucket". Error message from S3: no directory`},
		{"no path", func(c *job.Channel) { c.Source.URI = dir + "/b/ful" }, dataset.ErrEmpty, "no files found under " + dir + "/b/ful"},
		{"link leaves", func(c *job.Channel) { c.Source.URI = dir + "/b/esc" }, objstore.ErrEscapes, "/b/esc/l: symbolic link to " + out},
		{"link dangles", func(c *job.Channel) { c.Source.URI = "s3://b/dangle" }, objstore.ErrEscapes, "s3://b/dangle/l: symbolic link to nowhere"},
		{"links in a circle", func(c *job.Channel) { c.Source.URI = "s3://b/circle" }, objstore.ErrEscapes, "circle"},
		{"gzip (FILE-8)", func(c *job.Channel) { c.Compression = "Gzip" }, nil, "CompressionType Gzip"},
		{"RecordIO (FILE-8)", func(c *job.Channel) { c.RecordWrapper = "RecordIO" }, nil, "RecordWrapperType RecordIO"},
		{"augmented (FILE-10)", func(c *job.Channel) { c.Source.Type = "AugmentedManifestFile" }, nil, "AugmentedManifestFile"},
		{"name", func(c *job.Channel) { c.Name = ".." }, nil, "channel name"},
		{"mode", func(c *job.Channel) { c.Mode = "Tape" }, nil, "Tape"},
	} {
		ch := prefixChannel("s3://b/full")
		c.change(&ch)
		_, _, err := fill(t, ch, Config{Opener: opener(t, objstore.Options{S3Dir: dir}), Region: "eu-west-1", RoleARN: "arn:aws:iam::123456789012:role/r"})
		de, ok := errors.AsType[*dataset.Error](err)
		if !ok || de.Channel != ch.Name || !strings.Contains(err.Error(), c.text) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestPrepareRefusesLeftovers: what an earlier attempt left is not data.
func TestPrepareRefusesLeftovers(t *testing.T) {
	src := tree(t, map[string]string{"x": "1"})
	c := Config{Dir: t.TempDir(), Opener: opener(t, objstore.Options{})}
	if _, _, err := fill(t, prefixChannel(src), c); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fill(t, prefixChannel(src), c); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("second Prepare: %v", err)
	}
}

func TestFillCancelled(t *testing.T) {
	cause := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, err := New(prefixChannel(tree(t, map[string]string{"x": "1"})), Config{Dir: t.TempDir(), Opener: opener(t, objstore.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if err := d.Fill(ctx); !errors.Is(err, cause) {
		t.Errorf("Fill after cancel: %v", err)
	}
}

func TestCopyIsWhole(t *testing.T) {
	data := bytes.Repeat([]byte("abcdefg\n"), (40<<20)/8+3) // more than one chunk of the kernel's copy
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "x"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, _, err := fill(t, prefixChannel(src), Config{Opener: opener(t, objstore.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("copy has %d of %d bytes, %v", len(got), len(data), err)
	}
}
