//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// secondValidation is how long validating the example may take once the image is there.
const secondValidation = 15 * time.Second

// TestIris validates the example with its real image, twice, as a user does: in the example's own directory, its buckets
// being directories. OPTML_SKLEARN names the image; without it the example's own tests make it.
func TestIris(t *testing.T) {
	example, s3 := irisExample(t)
	for i := range 2 {
		r := ok(t, "validate", "--quiet", "--output", "json", "--s3-dir", s3, filepath.Join(example, "algorithm.json"))
		v := validated(t, r)
		t.Logf("validation %d took %.1f s", i+1, r.took.Seconds())
		if i > 0 && r.took > secondValidation && !raceEnabled {
			t.Errorf("validation %d took %.1f s, want at most %v", i+1, r.took.Seconds(), secondValidation)
		}
		if v.Verdict != "passed" || v.Status != "Completed" || len(v.Jobs) != 2 {
			t.Fatalf("%s", r)
		}
		s := record(t, v.Jobs[0].Name)
		metrics := map[string]float64{}
		for _, m := range s.Metrics {
			metrics[m.Name] = m.Value
		}
		if metrics["validation:accuracy"] < 0.9 || len(metrics) != 3 {
			t.Errorf("metrics %v", metrics)
		}
		if f := unpack(t, read(filepath.Join(s3, "optml-iris-output/training", v.Jobs[0].Name, "output/model.tar.gz"))); len(f) == 0 {
			t.Error("model.tar.gz is empty")
		}
		predictions := strings.Fields(string(read(filepath.Join(s3, "optml-iris-output/transform/iris-batch.csv.out"))))
		truth := strings.Fields(string(read(filepath.Join(example, "data/optml-iris/validation/iris-validation.csv"))))
		if len(predictions) != len(truth) {
			t.Fatalf("%d predictions of %d rows", len(predictions), len(truth))
		}
		right := 0
		for j, row := range truth { // the rows of the batch are those of the validation channel, without their label
			label, _, _ := strings.Cut(row, ",")
			if predictions[j] == label {
				right++
			}
		}
		t.Logf("%d of %d predictions are right", right, len(truth))
		if right*10 < len(truth)*9 {
			t.Errorf("%d of %d predictions are right", right, len(truth))
		}
	}
	ok(t, "prune", "--all-finished")
}

// irisExample brings the example's image in, and copies its buckets. Without the image the test is skipped.
func irisExample(t *testing.T) (example, s3 string) {
	t.Helper()
	archive := os.Getenv("OPTML_SKLEARN")
	if archive == "" {
		if full {
			t.Fatal("OPTML_SKLEARN must name the image in the full tier: hack/mkimage-sklearn makes it")
		}
		t.Skip("OPTML_SKLEARN names no image; `make e2e-full` has one")
	}
	sameHost(t)
	example, err := filepath.Abs("../../examples/iris")
	if err != nil {
		t.Fatal(err)
	}
	s3 = t.TempDir()
	if err := os.CopyFS(s3, os.DirFS(filepath.Join(example, "data"))); err != nil {
		t.Fatal(err)
	}
	ok(t, "images", "import", archive)
	t.Cleanup(func() { ok(t, "images", "rm", "optml-examples/sklearn:1") })
	return example, s3
}

// TestIrisModes: one training script in a real image gets the same data in all three modes, so it ends with the same
// metrics.
func TestIrisModes(t *testing.T) {
	example, s3 := irisExample(t)
	var want map[string]float64
	for _, file := range []string{"training-job.json", "train-pipe.json", "train-fastfile.json"} {
		name := jobName("iris")
		ok(t, "train", "--quiet", "--name", name, "--s3-dir", s3, filepath.Join(example, file))
		s := record(t, name)
		got := map[string]float64{}
		for _, m := range s.Metrics {
			got[m.Name] = m.Value
		}
		if want == nil {
			want = got
		}
		if len(got) != 3 || !maps.Equal(got, want) {
			t.Errorf("%s: metrics %v, in File mode %v", file, got, want)
		}
		if len(s.Channels) != 2 || s.Channels[0].Objects == 0 || s.Channels[0].Mode != map[string]string{"training-job.json": "File", "train-pipe.json": "Pipe", "train-fastfile.json": "FastFile"}[file] {
			t.Errorf("%s: %+v", file, s.Channels)
		}
	}
}

// TestIrisFormats: the rows of one table, in every split and compression, get the same predictions of a real model (BT-40,
// BT-51, BT-60, BT-67, BT-70), and data processing puts each beside the row that it is of (BT-151, BT-157).
func TestIrisFormats(t *testing.T) {
	example, s3 := irisExample(t)
	ok(t, "train", "--quiet", "--name", "iris-train-1", "--s3-dir", s3, filepath.Join(example, "training-job.json"))
	var base map[string]any
	if err := json.Unmarshal(read(filepath.Join(example, "transform-job.json")), &base); err != nil {
		t.Fatal(err)
	}
	table := string(read(filepath.Join(s3, "optml-iris/batch/iris-batch.csv")))
	rows := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	labelled := string(read(filepath.Join(s3, "optml-iris/validation/iris-validation.csv")))
	predict := func(what string, data []byte, change func(job, input, output map[string]any)) []string {
		name := jobName("iris")
		job := maps.Clone(base)
		dir := "optml-iris/formats/" + what
		input := map[string]any{"DataSource": map[string]any{"S3DataSource": map[string]any{"S3DataType": "S3Prefix", "S3Uri": "s3://" + dir + "/"}}, "ContentType": "text/csv", "SplitType": "Line"}
		output := maps.Clone(base["TransformOutput"].(map[string]any))
		change(job, input, output)
		job["TransformInput"], job["TransformOutput"] = input, output
		text, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		document := filepath.Join(t.TempDir(), "job.json")
		for path, b := range map[string][]byte{document: text, filepath.Join(s3, dir, "rows"): data} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ok(t, "transform", "--quiet", "--name", name, "--s3-dir", s3, "--model-doc", filepath.Join(example, "model.json"), document)
		return strings.Split(strings.TrimSuffix(string(read(filepath.Join(s3, "optml-iris-output/transform/rows.out"))), "\n"), "\n")
	}
	want := predict("line", []byte(table), func(_, _, _ map[string]any) {})
	if len(want) != len(rows) {
		t.Fatalf("%d predictions of %d rows", len(want), len(rows))
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(table))
	z.Close()
	for _, x := range []struct {
		what, split, compression string
		data                     []byte
	}{
		{"line-single", "Line", "", []byte(table)},
		{"line-gzip", "Line", "Gzip", zipped.Bytes()},
		{"recordio", "RecordIO", "", recordIO(rows)},
		{"tfrecord", "TFRecord", "", tfRecord(rows)},
	} {
		got := predict(x.what, x.data, func(job, input, _ map[string]any) {
			job["BatchStrategy"], input["SplitType"] = "SingleRecord", x.split
			if x.compression != "" {
				input["CompressionType"] = x.compression
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", x.what, got, want)
		}
	}
	got := predict("joined", []byte(labelled), func(job, _, _ map[string]any) {
		job["DataProcessing"] = map[string]any{"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[1:]"}
	})
	for i, row := range rows { // those of the batch, without their label
		if len(got) != len(rows) || got[i] != row+","+want[i] {
			t.Fatalf("joined: %v, row %d of it should be %s,%s", got, i, row, want[i])
		}
	}
	ok(t, "prune", "--all-finished")
}

// recordIO is the rows in MXNet's format (BT-60).
func recordIO(rows []string) (b []byte) {
	for _, r := range rows {
		b = binary.LittleEndian.AppendUint32(b, 0xced7230a)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
		b = append(b, r...)
		b = append(b, make([]byte, (4-len(r)%4)%4)...)
	}
	return b
}

// tfRecord is the rows in TensorFlow's format (BT-67).
func tfRecord(rows []string) (b []byte) {
	masked := func(p []byte) uint32 {
		c := crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli))
		return (c>>15 | c<<17) + 0xa282ead8
	}
	for _, r := range rows {
		head := binary.LittleEndian.AppendUint64(nil, uint64(len(r)))
		b = append(b, head...)
		b = binary.LittleEndian.AppendUint32(b, masked(head))
		b = append(b, r...)
		b = binary.LittleEndian.AppendUint32(b, masked([]byte(r)))
	}
	return b
}
