package transform_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"strings"
	"testing"

	"github.com/optml/optml/framing"
	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// A sample has whole records of the first objects, decompressed, and whole objects where nothing is split.
func TestSample(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte("a\nbb\nccc\n"))
	z.Close()
	long := strings.Repeat("x", 300<<10) + "\n"
	record := string(framing.TFRecord.Append(nil, []byte("hello")))
	for _, c := range []struct {
		name, split string
		limit       int64
		objects     []transform.Object
		want        []string
		records     int
	}{
		{"whole", "Line", 1 << 20, []transform.Object{tt.Object("x", "a\nb\n"), tt.Object("empty", ""), tt.Object("y", "c")}, []string{"a\nb\n", "c"}, 3},
		{"enough", "Line", 3, []transform.Object{tt.Object("x", "a\nb\n"), tt.Object("y", "c")}, []string{"a\nb\n"}, 2},
		{"cut", "Line", 100 << 10, []transform.Object{tt.Object("x", strings.Repeat("line\n", 100<<10))}, []string{strings.Repeat("line\n", 102400/5)}, 102400 / 5},
		{"long record", "Line", 100, []transform.Object{tt.Object("x", long+"b\n")}, []string{long + "b\n"}, 2},
		{"TFRecord", "TFRecord", 10, []transform.Object{tt.Object("x", record+record)}, []string{record + record}, 2},
		{"whole objects", "None", 5, []transform.Object{tt.Object("x", "abc"), tt.Object("y", "def"), tt.Object("z", "g")}, []string{"abc", "def"}, 2},
		{"gzip", "Line", 1 << 20, []transform.Object{tt.Object("x.gz", zipped.String())}, []string{"a\nbb\nccc\n"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := transform.Config{Objects: tt.Sequence(c.objects...)}
			cfg.Job.Input.SplitType = c.split
			if c.name == "gzip" {
				cfg.Job.Input.Compression = "Gzip"
			}
			s, err := transform.Sample(t.Context(), cfg, t.TempDir(), c.limit)
			if err != nil || s.Records != c.records || s.Objects != len(c.want) {
				t.Fatalf("%+v %v", s, err)
			}
			if want := map[string]int64{"cut": 500 << 10}[c.name]; s.Long != want {
				t.Errorf("the last one's object has %d bytes, want %d", s.Long, want)
			}
			var got []string
			for _, f := range s.Files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(b))
			}
			same(t, "sample", got, c.want)
		})
	}
	for name, cfg := range map[string]transform.Config{"nothing": {Objects: tt.Sequence()}, "empty": {Objects: tt.Sequence(tt.Object("x", ""))}, "broken": {Objects: tt.Sequence(tt.Object("x", "not RecordIO"))}} {
		cfg.Job.Input.SplitType = "RecordIO"
		if _, err := transform.Sample(t.Context(), cfg, t.TempDir(), 10); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
