package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what init looks at: it must be quick on any directory.
const (
	maxInitFiles = 100_000
	maxInitPeek  = 64 << 10 // bytes of one file
	maxInitRows  = 100      // of the rows that are written for the transform
)

// initData is what init found where the data is.
type initData struct {
	s3Dir    string // stands for S3
	uri      string // of the directory, with a slash at its end
	dir      string
	channels []foundChannel
	batch    *foundChannel // what the transform reads
	rows     []byte        // of batch, when it is yet to be written
}

// foundChannel is a directory or a file of data.
type foundChannel struct {
	name  string
	path  string // on this machine
	uri   string
	files int
	bytes int64
	first string // a file of it, "" when there is none
	kind  string // content type
	csv   *csvFacts
}

// csvFacts is what the beginning of a CSV file shows.
type csvFacts struct {
	columns int
	header  []string // the first row, when it looks like one
	texts   []int    // columns that hold something else than numbers, from 0
}

// contentTypes are those that training and inference containers commonly take, by the end of a file's name.
var contentTypes = map[string]string{
	".csv": "text/csv", ".tsv": "text/tab-separated-values", ".txt": "text/plain", ".json": "application/json",
	".jsonl": "application/jsonlines", ".ndjson": "application/jsonlines", ".parquet": "application/x-parquet",
	".libsvm": "text/libsvm", ".svm": "text/libsvm", ".rec": "application/x-recordio-protobuf", ".recordio": "application/x-recordio-protobuf",
	".pbr": "application/x-recordio-protobuf", ".tfrecord": "application/x-tfrecord", ".npy": "application/x-npy",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".wav": "audio/wav", ".mp4": "video/mp4",
}

// batchNames are directories that hold what is to be predicted, not what is trained on.
var batchNames = []string{"batch", "transform", "inference", "predict", "score", "scoring"}

// notChannels are directories that hold what jobs made.
var notChannels = []string{"output", "outputs", "model", "models", "checkpoints"}

var (
	channelName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	bucketName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// lookAtData finds channels below a directory, or takes a single file for the channel train.
func lookAtData(at, s3Dir string) (*initData, error) {
	abs, err := filepath.Abs(at)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return nil, &usageError{Err: fmt.Errorf("--data: %w", err), Hint: "it is a directory with one directory a channel, such as train and validation, or one file"}
	}
	d := &initData{dir: abs}
	if !fi.IsDir() {
		d.dir = filepath.Dir(abs)
	}
	if err := d.place(s3Dir); err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		c := foundChannel{name: "train", path: abs, uri: d.uri + filepath.Base(abs)}
		if err := c.look(); err != nil {
			return nil, err
		}
		d.channels = []foundChannel{c}
		for _, b := range batchNames {
			if err := d.add(b); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		return d, nil
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, &usageError{Err: fmt.Errorf("--data: %w", err)}
	}
	loose := ""
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), ".") || slices.Contains(notChannels, e.Name()):
		case e.IsDir():
			if err := d.add(e.Name()); err != nil {
				return nil, err
			}
		default:
			loose = e.Name()
		}
	}
	hint := "each channel is a directory of its own: put training data into " + filepath.Join(at, "train") + ", and what to validate with into " + filepath.Join(at, "validation")
	switch {
	case len(d.channels) == 0 && loose != "":
		return nil, &usageError{Err: fmt.Errorf("--data %s has no directory with data for a channel", at), Hint: hint + "; or name one file: --data " + filepath.Join(at, loose)}
	case len(d.channels) == 0:
		return nil, &usageError{Err: fmt.Errorf("--data %s has no directory with data for a channel", at), Hint: hint}
	case len(d.channels) > 8: // VAL-12
		return nil, &usageError{Err: fmt.Errorf("--data %s has %d directories; an algorithm has 8 channels at most", at, len(d.channels)), Hint: hint}
	}
	// What is trained on comes first.
	rank := func(c foundChannel) int {
		return slices.Index([]string{"validation", "train"}, c.name)
	}
	slices.SortStableFunc(d.channels, func(a, b foundChannel) int { return rank(b) - rank(a) })
	return d, nil
}

// place decides which address the directory has: what it is below the directory that stands for S3, or that of a bucket
// with its name.
func (d *initData) place(s3Dir string) error {
	d.s3Dir = s3Dir
	rel, err := filepath.Rel(s3Dir, d.dir)
	below := s3Dir != "" && err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
	if below && rel == "." {
		return &usageError{Err: fmt.Errorf("--data %s is the directory that stands for S3 itself", d.dir), Hint: "each directory in it is a bucket: name one"}
	}
	if !below {
		d.s3Dir, rel = filepath.Dir(d.dir), filepath.Base(d.dir)
	}
	rel = filepath.ToSlash(rel)
	if bucket, _, _ := strings.Cut(rel, "/"); !bucketName.MatchString(bucket) {
		return &usageError{Err: fmt.Errorf("directory %s stands for a bucket, and %q is no name for one: 3 to 63 lower-case letters, digits, dots and hyphens", filepath.Join(d.s3Dir, bucket), bucket),
			Hint: "rename it, or put the data below a directory of such a name and name that one with --s3-dir: DIR/my-bucket/data with --s3-dir DIR"}
	}
	d.uri = "s3://" + rel + "/"
	return nil
}

// bucket is where outputs go.
func (d *initData) bucket() string {
	b, _, _ := strings.Cut(strings.TrimPrefix(d.uri, "s3://"), "/")
	return "s3://" + b
}

// add takes a directory below the data's for a channel, or for what the transform reads.
func (d *initData) add(name string) error {
	c := foundChannel{name: name, path: filepath.Join(d.dir, name), uri: d.uri + name + "/"}
	if _, err := os.Stat(c.path); err != nil {
		return err
	}
	if !channelName.MatchString(name) {
		return &usageError{Err: fmt.Errorf("directory %s: a channel's name has letters, digits, dots, hyphens and underscores", c.path), Hint: "rename it, or move it out of the data"}
	}
	if err := c.look(); err != nil || c.files == 0 {
		return err
	}
	if slices.Contains(batchNames, name) {
		if d.batch == nil {
			d.batch = &c
		}
		return nil
	}
	d.channels = append(d.channels, c)
	return nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// look counts a channel's files and looks into one of them.
func (c *foundChannel) look() error {
	kinds := map[string]int{}
	err := filepath.WalkDir(c.path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		if c.files++; c.files > maxInitFiles {
			return errEnough
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		c.bytes += fi.Size()
		if kind := contentTypes[extension(p)]; kinds[kind] == 0 || c.first == "" {
			kinds[kind]++
			if c.first == "" || c.kind == "" && kind != "" {
				c.first, c.kind = p, kind
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return &usageError{Err: fmt.Errorf("--data: %w", err)}
	}
	if c.first == "" || c.kind != "" && c.kind != "text/csv" {
		return nil
	}
	head, err := peek(c.first)
	if err != nil {
		return &usageError{Err: fmt.Errorf("--data: %w", err)}
	}
	if c.kind == "" { // a name tells nothing: what is in it may
		c.kind = "application/octet-stream"
		if f := factsOfCSV(head); utf8.Valid(head) && f != nil && f.columns > 1 {
			c.kind = "text/csv"
		}
	}
	if c.kind == "text/csv" {
		c.csv = factsOfCSV(head)
	}
	return nil
}

// extension is that of the data, without the one of its compression.
func extension(p string) string { return strings.ToLower(path.Ext(strings.TrimSuffix(p, ".gz"))) }

// open reads a file, unpacked where its name says that it is packed.
func openData(p string) (io.ReadCloser, error) {
	f, err := os.Open(p)
	if err != nil || !strings.HasSuffix(p, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p, err), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

func peek(p string) ([]byte, error) {
	f, err := openData(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxInitPeek))
}

// factsOfCSV looks at the first rows; nil when they are none.
func factsOfCSV(head []byte) *csvFacts {
	if i := bytes.LastIndexByte(head, '\n'); i >= 0 && len(head) == maxInitPeek {
		head = head[:i+1] // not half a row
	}
	r := csv.NewReader(bytes.NewReader(head))
	r.FieldsPerRecord = -1
	var rows [][]string
	for len(rows) < 50 {
		row, err := r.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) && len(rows) < 2 {
				return nil
			}
			break
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil
	}
	f := &csvFacts{columns: len(rows[0])}
	number := func(s string) bool {
		_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return err == nil || strings.TrimSpace(s) == ""
	}
	numeric := 0
	for i := range f.columns {
		text := false
		for _, row := range rows[min(1, len(rows)-1):] {
			text = text || i < len(row) && !number(row[i])
		}
		if text {
			f.texts = append(f.texts, i)
		} else {
			numeric++
		}
	}
	// A header names columns that hold numbers.
	if numeric > 0 && len(rows) > 1 && !slices.ContainsFunc(rows[0], number) {
		f.header = rows[0]
	}
	return f
}

// makeBatch takes the first rows of a CSV file without their label, for the transform; saveBatch writes them.
func (d *initData) makeBatch(label string, force bool) error {
	from := d.channels[0]
	for _, c := range d.channels {
		if c.name == "validation" || c.name == "test" {
			from = c
			break
		}
	}
	if from.csv == nil {
		return &usageError{Err: fmt.Errorf("--label-column: %s is %s, and only rows of CSV can be taken apart", from.first, from.kind),
			Hint: "put what the transform shall read into " + filepath.Join(d.dir, "batch")}
	}
	at := -1
	switch label {
	case "none":
	case "first":
		at = 0
	case "last":
		at = from.csv.columns - 1
	default:
		n, err := strconv.Atoi(label)
		if at = n - 1; err != nil {
			at = slices.Index(from.csv.header, label)
		}
		if at < 0 || at >= from.csv.columns {
			return usage("--label-column %q: it is first, last, none, a number from 1 to %d, or a name of the header", label, from.csv.columns)
		}
	}
	if at >= 0 && from.csv.columns < 2 {
		return usage("--label-column %s: %s has one column: nothing would be left", label, from.first)
	}
	dir := filepath.Join(d.dir, "batch")
	name := filepath.Join(dir, "rows.csv")
	if b := d.batch; b != nil && (b.files > 1 || b.first != name) {
		return &usageError{Err: fmt.Errorf("%s has records for the transform", b.path), Hint: "leave --label-column out to use them"}
	}
	f, err := openData(from.first)
	if err != nil {
		return err
	}
	defer f.Close()
	r := csv.NewReader(bufio.NewReader(io.LimitReader(f, 64<<20)))
	r.FieldsPerRecord = -1
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	skip := from.csv.header != nil
	for n := 0; n < maxInitRows; {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &usageError{Err: fmt.Errorf("%s: %w", from.first, err)}
		}
		if skip {
			skip = false
			continue
		}
		if at >= 0 && at < len(row) {
			row = slices.Delete(row, at, at+1)
		}
		if err := w.Write(row); err != nil {
			return err
		}
		n++
	}
	w.Flush()
	if b.Len() == 0 {
		return usage("%s has no rows for the transform", from.first)
	}
	if old, err := os.ReadFile(name); err == nil && !force && !bytes.Equal(old, b.Bytes()) {
		return exists(name)
	}
	d.rows = b.Bytes()
	d.batch = &foundChannel{name: "batch", path: dir, uri: d.uri + "batch/", files: 1, bytes: int64(b.Len()), first: name, kind: "text/csv"}
	return nil
}

// saveBatch writes what makeBatch took.
func (d *initData) saveBatch() error {
	if d.rows == nil {
		return nil
	}
	switch err := os.Mkdir(d.batch.path, 0o755); {
	case errors.Is(err, fs.ErrExist):
	case err != nil:
		return &usageError{Err: err}
	default:
		if uid, gid := invoker(os.Geteuid(), os.Getenv); uid != 0 {
			if err := os.Chown(d.batch.path, uid, gid); err != nil {
				return err
			}
		}
	}
	return writeFile(d.batch.first, d.rows)
}

func exists(name string) error {
	return &usageError{Err: fmt.Errorf("%s is there already", name), Hint: "--force overwrites it"}
}
