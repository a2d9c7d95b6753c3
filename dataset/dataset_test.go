package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/objstore"
)

// bucket is an Opener of s3://bucket in memory, and of paths.
type bucket struct{ *objstore.Mem }

func newBucket(objects map[string]string) bucket {
	b := bucket{objstore.NewMem("s3://bucket/")}
	for k, v := range objects {
		b.Put(k, []byte(v))
	}
	return b
}

func (b bucket) Open(ctx context.Context, uri string) (objstore.Store, string, error) {
	l, err := objstore.ParseURI(uri, "")
	if err != nil {
		return nil, "", &objstore.Error{Op: "open", URI: uri, Err: err}
	}
	switch l.Bucket {
	case "bucket":
		return b.Mem, l.Key, nil
	case "":
		d, err := objstore.NewDir(filepath.Dir(l.Path), "")
		return d, filepath.Base(l.Path), err
	}
	return nil, "", &objstore.Error{Op: "open", URI: uri, Class: objstore.ErrNoBucket, Err: objstore.ErrNoBucket}
}

// show is what a sequence yields, as text: an object's key or a value, and its bytes.
func show(ctx context.Context, t *testing.T, seq func(func(Entry, error) bool)) (list []string, err error) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			return list, err
		}
		if e.Dir {
			list = append(list, e.Object.Key)
			continue
		}
		r, err := e.Open(ctx)
		if err != nil {
			return list, err
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return list, err
		}
		list = append(list, fmt.Sprintf("%s=%s", e.Object.Key, b))
	}
	return list, nil
}

func newSet(t *testing.T, c Config) *Set {
	t.Helper()
	c.TempDir = t.TempDir()
	s, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(c.TempDir); err != nil || len(left) > 0 {
			t.Errorf("left in the temporary directory: %v, %v", left, err)
		}
	})
	return s
}

func equal(t *testing.T, what string, got []string, err error, want string) {
	t.Helper()
	if s := strings.Join(got, " "); err != nil || s != want {
		t.Errorf("%s: %s, %v\nwant %s", what, s, err, want)
	}
}

var letters = map[string]string{"in/": "", "in/a": "1", "in/b": "2", "in/c": "3", "in/d/": "", "in/d/x": "4", "in/e": "5", "other": "no"}

// TestEntriesAndEpochs over a prefix: markers are delivered by Entries to every host, never by Epoch, and not counted.
func TestEntriesAndEpochs(t *testing.T) {
	src := job.Source{Type: "S3Prefix", URI: "s3://bucket/in", Distribution: "FullyReplicated"}
	s := newSet(t, Config{Source: src, Opener: newBucket(letters)})
	got, err := show(t.Context(), t, s.Entries(t.Context()))
	equal(t, "all", got, err, "in/ in/a=1 in/b=2 in/c=3 in/d/ in/d/x=4 in/e=5")
	for n := range 3 {
		got, err := show(t.Context(), t, s.Epoch(t.Context(), n))
		equal(t, "epoch", got, err, "in/a=1 in/b=2 in/c=3 in/d/x=4 in/e=5")
	}
	src.Distribution = "ShardedByS3Key"
	for rank, want := range []string{"in/ in/a=1 in/d/ in/d/x=4", "in/ in/b=2 in/d/ in/e=5", "in/ in/c=3 in/d/"} {
		s := newSet(t, Config{Source: src, Opener: newBucket(letters), Rank: rank, Hosts: 3})
		got, err := show(t.Context(), t, s.Entries(t.Context()))
		equal(t, "share", got, err, want)
		got, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
		equal(t, "share of an epoch", got, err, strings.ReplaceAll(strings.ReplaceAll(want, "in/d/ ", ""), "in/ ", "")[:len("in/a=1")]+map[int]string{0: " in/d/x=4", 1: " in/e=5", 2: ""}[rank])
	}
}

// TestShuffledEpochs: each epoch is all units in an order of its own, the same when asked again and on every host, and
// the hosts' shares change from epoch to epoch but stay disjoint and complete.
func TestShuffledEpochs(t *testing.T) {
	objects := map[string]string{}
	for i := range 20 {
		objects[fmt.Sprintf("in/%02d", i)] = ""
	}
	src := job.Source{Type: "S3Prefix", URI: "s3://bucket/in/", Distribution: "ShardedByS3Key"}
	epoch := func(seed int64, rank, hosts, n int) []string {
		s := newSet(t, Config{Source: src, Opener: newBucket(objects), Seed: &seed, Rank: rank, Hosts: hosts})
		got, err := show(t.Context(), t, s.Epoch(t.Context(), n))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if a, b := epoch(7, 0, 1, 0), epoch(7, 0, 1, 0); !slices.Equal(a, b) {
		t.Errorf("one seed, two orders: %v %v", a, b)
	}
	if a, b := epoch(7, 0, 1, 0), epoch(8, 0, 1, 0); slices.Equal(a, b) {
		t.Error("two seeds, one order")
	}
	if slices.IsSorted(epoch(7, 0, 1, 0)) {
		t.Error("not shuffled")
	}
	shares := map[string]bool{}
	for n := range 4 {
		whole := epoch(7, 0, 1, n)
		var all []string
		for rank := range 3 {
			share := epoch(7, rank, 3, n)
			for i, k := range share {
				if whole[i*3+rank] != k {
					t.Errorf("epoch %d, rank %d: %s is not its in the order of all", n, rank, k)
				}
			}
			if rank == 0 {
				shares[strings.Join(slices.Sorted(slices.Values(share)), " ")] = true
			}
			all = append(all, share...)
		}
		if slices.Sort(all); len(all) != 20 || len(slices.Compact(all)) != 20 {
			t.Errorf("epoch %d: %d objects", n, len(all))
		}
	}
	if len(shares) != 4 {
		t.Errorf("rank 0 had %d different shares in 4 epochs", len(shares))
	}
}

// TestEpochsStayAsListed: an object that comes later is not streamed, one that changes is an error.
func TestEpochsStayAsListed(t *testing.T) {
	b := newBucket(letters)
	s := newSet(t, Config{Channel: "train", Source: job.Source{Type: "S3Prefix", URI: "s3://bucket/in/"}, Opener: b})
	if _, err := show(t.Context(), t, s.Epoch(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	b.Put("in/aa", []byte("new"))
	got, err := show(t.Context(), t, s.Epoch(t.Context(), 1))
	equal(t, "epoch 1", got, err, "in/a=1 in/b=2 in/c=3 in/d/x=4 in/e=5")
	b.Put("in/c", []byte("x"))
	if got, err := show(t.Context(), t, s.Epoch(t.Context(), 2)); !errors.Is(err, objstore.ErrChanged) || len(got) != 2 {
		t.Errorf("after a change: %q, %v", got, err)
	}
}

func manifestSource(uri string) job.Source { return job.Source{Type: "ManifestFile", URI: uri} }

// TestManifest: URIs by plain concatenation (FILE-9, BT-31), manifest order and twice what stands twice in Pipe mode,
// once in File mode; shares by sorted keys (SHARD-2).
func TestManifest(t *testing.T) {
	b := newBucket(letters)
	for name, text := range map[string]string{
		"slash":    `[{"prefix": "s3://bucket/in/"}, "c", "a", "d/x", "a"]`,
		"no slash": ` [ {"prefix":"s3://bucket/i"} , "n/c","n/a" ] ` + "\n",
		"by both":  `[{"prefix":"s3://bucket/in"},"/c","/a"]`,
		"bucket":   `[{"prefix":"s3://bucket/"},"other","in/b"]`,
		"escapes":  `[{"prefix":"s3:\/\/bucket\/in\/"},"\u0061"]`,
	} {
		b.Put("m/"+name, []byte(text))
	}
	for name, want := range map[string]string{
		"slash":    "in/c=3 in/a=1 in/d/x=4 in/a=1",
		"no slash": "in/c=3 in/a=1",
		"by both":  "in/c=3 in/a=1",
		"bucket":   "other=no in/b=2",
		"escapes":  "in/a=1",
	} {
		s := newSet(t, Config{Source: manifestSource("s3://bucket/m/" + name), Opener: b})
		got, err := show(t.Context(), t, s.Entries(t.Context()))
		equal(t, name, got, err, want)
		got, err = show(t.Context(), t, s.Epoch(t.Context(), 1))
		equal(t, name+", epoch", got, err, want)
	}
	s := newSet(t, Config{Source: manifestSource("s3://bucket/m/slash"), Opener: b})
	var paths []string
	for f, err := range s.Files(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, f.Path+":"+f.Suffix)
	}
	equal(t, "files", paths, nil, "c:c a:a d/x:d/x")
	src := manifestSource("s3://bucket/m/slash")
	src.Distribution = "ShardedByS3Key"
	for rank, want := range []string{"in/c=3 in/a=1", "in/d/x=4 in/a=1"} { // sorted: a a c d/x
		s := newSet(t, Config{Source: src, Opener: b, Rank: rank, Hosts: 2})
		got, err := show(t.Context(), t, s.Entries(t.Context()))
		equal(t, "share", got, err, want)
		got, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
		equal(t, "share of an epoch", got, err, want)
		var files []string // FILE-9: once, so a is one host's file and not both's
		for f, err := range s.Files(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f.Path)
		}
		equal(t, "files of a share", files, nil, []string{"a d/x", "c"}[rank])
	}
}

// TestManifestOfPaths: a manifest on this machine may name files of it; one in a bucket may not.
func TestManifestOfPaths(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"x": "1", "m": `[{"prefix": "` + dir + `/"}, "x"]`, "half": `[{"prefix": "` + dir[:len(dir)-1] + `"}, "` + dir[len(dir)-1:] + `/x"]`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	op, err := objstore.NewOpener(objstore.Options{S3Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t, Config{Source: manifestSource(dir + "/m"), Opener: op})
	got, err := show(t.Context(), t, s.Entries(t.Context()))
	equal(t, "path", got, err, "x=1")
	s = newSet(t, Config{Source: manifestSource(dir + "/half"), Opener: op})
	got, err = show(t.Context(), t, s.Entries(t.Context()))
	equal(t, "path, prefix in the middle of a name", got, err, filepath.Base(dir)+"/x=1")
	if err := os.MkdirAll(dir+"/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/b/m", []byte(`[{"prefix":"/etc/"},"passwd"]`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Config{Source: manifestSource("s3://b/m"), Opener: op}); !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), "not in a bucket") {
		t.Errorf("a bucket's manifest that names /etc/passwd: %v", err)
	}
}

func TestBadManifests(t *testing.T) { // BT-31, BT-32: a prefix, then strings only
	for name, c := range map[string]struct{ text, want string }{
		"empty file":           {``, "not a JSON array"},
		"an object":            {`{"prefix":"s3://bucket/"}`, "not a JSON array"},
		"not JSON":             {`in/a`, "not a JSON array"},
		"nothing in it":        {`[]`, "first element must be"},
		"no prefix":            {`["a","b"]`, `element 1: must be {"prefix"`},
		"empty prefix":         {`[{"prefix":""},"a"]`, "prefix that is not empty"},
		"prefix is a number":   {`[{"prefix":1},"a"]`, "element 1"},
		"wrong case":           {`[{"Prefix":"s3://bucket/in/"},"a"]`, "element 1"},
		"more than a prefix":   {`[{"prefix":"s3://bucket/in/","x":1},"a"]`, `members beside "prefix"`},
		"null":                 {`[null,"a"]`, "element 1"},
		"prefix is no URI":     {`[{"prefix":"in/"},"a"]`, "not in a bucket"},
		"prefix is no bucket":  {`[{"prefix":"s3://"},"a"]`, "must be s3://bucket/"},
		"no such bucket":       {`[{"prefix":"s3://none/"},"a"]`, "no such bucket"},
		"object as an entry":   {`[{"prefix":"s3://bucket/in/"},{"source-ref":"a"}]`, "element 2 is not a string"},
		"number as an entry":   {`[{"prefix":"s3://bucket/in/"},"a",1]`, "element 3 is not a string"},
		"empty entry":          {`[{"prefix":"s3://bucket/in/"},""]`, "element 2 is empty"},
		"folder":               {`[{"prefix":"s3://bucket/in/"},"d/"]`, "names a folder"},
		"long entry":           {`[{"prefix":"s3://bucket/in/"},"` + strings.Repeat("x", 1025) + `"]`, "at most 1024"},
		"cut off":              {`[{"prefix":"s3://bucket/in/"},"a"`, "array does not end"},
		"cut off in a string":  {`[{"prefix":"s3://bucket/in/"},"a`, "element 2"},
		"something after":      {`[{"prefix":"s3://bucket/in/"},"a"] x`, "something follows"},
		"comma":                {`[{"prefix":"s3://bucket/in/"} "a"]`, "element 2"},
		"names nothing at all": {`[{"prefix":"s3://bucket/in/"}]`, "No S3 objects found"},
		"missing object":       {`[{"prefix":"s3://bucket/in/"},"a","nope"]`, "s3://bucket/in/nope: not found"},
	} {
		b := newBucket(letters)
		b.Put("m", []byte(c.text))
		s, err := New(t.Context(), Config{Channel: "train", Source: manifestSource("s3://bucket/m"), Opener: b, Region: "us-east-1"})
		if err == nil {
			_, err = show(t.Context(), t, s.Entries(t.Context()))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if e, ok := errors.AsType[*Error](err); name != "missing object" && (!ok || e.Channel != "train" || e.Object == "") {
			t.Errorf("%s: %#v names no channel or no object", name, err)
		}
	}
	b := newBucket(nil)
	_, err := New(t.Context(), Config{Channel: "train", Source: manifestSource("s3://bucket/nope"), Opener: b})
	if !errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), `channel "train": open s3://bucket/nope`) {
		t.Errorf("missing manifest: %v", err)
	}
}

func augmentedSource(names ...string) job.Source {
	return job.Source{Type: "AugmentedManifestFile", URI: "s3://bucket/m", AttributeNames: names}
}

// TestAugmented: AttributeNames order, not the line's (AUG-2); objects for -ref, text for the rest (AUG-3); shares by line.
func TestAugmented(t *testing.T) {
	b := newBucket(letters)
	b.Put("m", []byte(`{"source-ref": "s3://bucket/in/a", "class": 1, "extra": [1]}
{"class":"text \"q\" \u00e9","source-ref":"s3://bucket/in/b"}

{"class": {"k": [1,  2.50, "x y"], "n": null}, "source-ref": "s3://bucket/in/c"}`+"\r\n"+`{"source-ref":"s3://bucket/in/a","class":true}
{"source-ref":"s3://bucket/in/e","class":""}`))
	s := newSet(t, Config{Source: augmentedSource("source-ref", "class"), Opener: b})
	const all = `in/a=1 =1 in/b=2 =text "q" é in/c=3 ={"k":[1,2.50,"x y"],"n":null} in/a=1 =true in/e=5 =`
	for n := range 2 {
		got, err := show(t.Context(), t, s.Epoch(t.Context(), n))
		equal(t, "epoch", got, err, all)
	}
	got, err := show(t.Context(), t, s.Entries(t.Context()))
	equal(t, "entries", got, err, all)
	s = newSet(t, Config{Source: augmentedSource("class", "source-ref"), Opener: b})
	got, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
	equal(t, "other order", got[:4], err, `=1 in/a=1 =text "q" é in/b=2`)
	src := augmentedSource("source-ref", "class")
	src.Distribution = "ShardedByS3Key"
	for rank, want := range []string{`in/a=1 =1 in/c=3 ={"k":[1,2.50,"x y"],"n":null} in/e=5 =`, `in/b=2 =text "q" é in/a=1 =true`} {
		s := newSet(t, Config{Source: src, Opener: b, Rank: rank, Hosts: 2})
		got, err := show(t.Context(), t, s.Entries(t.Context()))
		equal(t, "share", got, err, want)
		got, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
		equal(t, "share of an epoch", got, err, want)
	}
	// A shuffle moves lines, not single attributes.
	seed := int64(3)
	s = newSet(t, Config{Source: augmentedSource("source-ref", "class"), Opener: b, Seed: &seed})
	got, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
	if err != nil || len(got) != 10 {
		t.Fatalf("shuffled: %q, %v", got, err)
	}
	after := map[string][]string{"in/a=1": {"=1", "=true"}, "in/b=2": {`=text "q" é`}, "in/c=3": {`={"k":[1,2.50,"x y"],"n":null}`}, "in/e=5": {"="}}
	for i := 0; i < len(got); i += 2 {
		if !slices.Contains(after[got[i]], got[i+1]) {
			t.Errorf("shuffled: %q after %q", got[i+1], got[i])
		}
	}
}

func TestBadAugmented(t *testing.T) {
	good := `{"a-ref":"s3://bucket/in/a","b":1}` + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"lacks an attribute (AUG-5)": {good + `{"a-ref":"s3://bucket/in/a"}`, `line 2: has no attribute "b"`},
		"wrong case":                 {`{"A-ref":"s3://bucket/in/a","b":1}`, `line 1: has no attribute "a-ref"`},
		"not JSON":                   {good + good + "{", "line 3: "},
		"an array":                   {`["s3://bucket/in/a"]`, "line 1: "},
		"null":                       {`null`, "line 1: not a JSON object"},
		"two objects":                {strings.TrimSpace(good) + good, "line 1: "},
		"ref is a number":            {`{"a-ref":1,"b":1}`, `attribute "a-ref" is not an S3 URI`},
		"ref is empty":               {`{"a-ref":"","b":1}`, `attribute "a-ref" is not an S3 URI`},
		"ref is a path":              {`{"a-ref":"/etc/shadow","b":1}`, "not in a bucket"},
		"ref is a bucket":            {`{"a-ref":"s3://bucket","b":1}`, "names no object"},
		"ref is a folder":            {`{"a-ref":"s3://bucket/in/","b":1}`, "names no object"},
		"ref has a signature":        {`{"a-ref":"https://x.s3.amazonaws.com/k?X-Amz-Signature=sec","b":1}`, "line 1"},
		"long line":                  {good + `{"b":"` + strings.Repeat("x", maxLine) + `"}`, fmt.Sprintf("line 2 has more than %d bytes", maxLine)},
		"nothing in it":              {"\n \n", "No S3 objects found"},
		"missing object":             {good + `{"a-ref":"s3://bucket/nope","b":1}`, "s3://bucket/nope: not found"},
	} {
		b := newBucket(letters)
		b.Put("m", []byte(c.text))
		s, err := New(t.Context(), Config{Channel: "train", Source: augmentedSource("a-ref", "b"), Opener: b, TempDir: t.TempDir()})
		if err == nil {
			_, err = show(t.Context(), t, s.Epoch(t.Context(), 0))
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "sec\"") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, names := range [][]string{nil, make([]string, 17), {""}, {strings.Repeat("x", 257)}} {
		if _, err := New(t.Context(), Config{Source: augmentedSource(names...), Opener: newBucket(nil)}); err == nil || !strings.Contains(err.Error(), "AttributeNames") {
			t.Errorf("%d names: %v", len(names), err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	for _, s := range []string{`[{"prefix": "s3://bucket/in/"}, "c", "a"]`, `[]`, `[{"prefix":""}]`, `[{"prefix":"s3://b/"},"\u0000"]`, `[[`, `{`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBucket(nil)
		b.Put("m", []byte(text))
		s, err := New(t.Context(), Config{Source: manifestSource("s3://bucket/m"), Opener: b})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for f, err := range s.Files(t.Context()) {
			if err == nil && (checkPath(f.Path) != nil || !strings.HasSuffix(f.Object.Key, f.Suffix)) {
				t.Fatalf("%+v", f)
			}
		}
	})
}

func FuzzAugmented(f *testing.F) {
	for _, s := range []string{`{"a-ref":"s3://bucket/in/a","b":1}`, "{}\n[]", `{"b":{"c":[1, 2]},"a-ref":"s3://bucket/x"}`, "null", `{"a-ref":"file:///x","b":""}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBucket(nil)
		b.Put("m", []byte(text))
		s, err := New(t.Context(), Config{Source: augmentedSource("a-ref", "b"), Opener: b, TempDir: t.TempDir()})
		if err != nil {
			return
		}
		defer s.Close()
		n := 0
		for e, err := range s.Entries(t.Context()) {
			if err != nil {
				if !errors.Is(err, ErrEmpty) {
					t.Fatal(err)
				}
				return
			}
			if (n%2 == 0) != (e.Store != nil) {
				t.Fatalf("entry %d is %+v", n, e)
			}
			n++
		}
		if n%2 != 0 {
			t.Fatalf("%d entries", n)
		}
	})
}
