//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/optml/optml/dataset"
	"github.com/optml/optml/objstore/storetest"
)

// cell is one combination of what a channel can be (ruling 26).
type cell struct {
	mode     string // File, Pipe, FastFile
	source   string // S3Prefix, ManifestFile, AugmentedManifestFile, Directory; Paged is an S3Prefix of over 1,000 keys
	wrapper  string // None, Gzip, RecordIO, Both
	sharded  bool   // ShardedByS3Key of three hosts
	shuffled bool   // ShuffleConfig
}

func (c cell) String() string {
	s := c.mode + "-" + c.source + "-" + c.wrapper
	if c.sharded {
		s += "-sharded"
	}
	if c.shuffled {
		s += "-shuffled"
	}
	return s
}

// cells is the whole matrix.
func cells() []cell {
	var all []cell
	for _, mode := range []string{"File", "Pipe", "FastFile"} {
		for _, source := range []string{"S3Prefix", "ManifestFile", "AugmentedManifestFile", "Directory", "Paged"} {
			for _, wrapper := range []string{"None", "Gzip", "RecordIO", "Both"} {
				for _, sharded := range []bool{false, true} {
					for _, shuffled := range []bool{false, true} {
						all = append(all, cell{mode, source, wrapper, sharded, shuffled})
					}
				}
			}
		}
	}
	return all
}

// illegal are the members that a refusal names; none for a cell that is legal.
func (c cell) illegal() (members []string) {
	if c.mode == "Pipe" {
		return nil
	}
	if c.source == "AugmentedManifestFile" || c.mode == "FastFile" && c.source == "ManifestFile" { // FILE-10, FF-2
		members = append(members, "DataSource.S3DataSource.S3DataType")
	}
	if c.gzip() { // FILE-8
		members = append(members, "CompressionType")
	}
	if c.recordIO() {
		members = append(members, "RecordWrapperType")
	}
	return members
}

func (c cell) gzip() bool     { return c.wrapper == "Gzip" || c.wrapper == "Both" }
func (c cell) recordIO() bool { return c.wrapper == "RecordIO" || c.wrapper == "Both" }

func (c cell) hosts() int {
	if c.sharded {
		return 3
	}
	return 1
}

// quick says whether the cell belongs to the tier that every change must pass: each mode row once.
func (c cell) quick() bool {
	if c.sharded || c.shuffled {
		return c == cell{"Pipe", "S3Prefix", "RecordIO", true, true}
	}
	return c.wrapper == "None" || c.mode == "Pipe" && c.source == "S3Prefix"
}

const matrixSeed = 20261125

// matrixData are the objects of each cell: sizes around those of blocks and parts, keys that naive escaping spoils, and
// many small ones.
var matrixData = sync.OnceValue(func() map[string][]byte {
	data := map[string][]byte{}
	sizes := []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 4<<20 - 1, 4 << 20, 4<<20 + 1}
	if full {
		sizes = append(sizes, 16<<20+1)
	}
	for i, n := range sizes {
		data[fmt.Sprintf("size/%d", i)] = storetest.Bytes(n)
	}
	for i, k := range storetest.OddKeys {
		data[k] = storetest.Bytes(100 + i)
	}
	for i := range 40 {
		data[fmt.Sprintf("many/%02d", i)] = storetest.Bytes(i)
	}
	return data
})

// pagedData are more objects than one page of a listing has.
var pagedData = sync.OnceValue(func() map[string][]byte {
	data := map[string][]byte{}
	for i := range 1203 {
		data[fmt.Sprintf("%d/%d", i%7, i)] = fmt.Appendf(nil, "object %d", i)
	}
	return data
})

// zipped are the same objects as gzip files of two members (PIPE-10).
func zipped(data map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for k, b := range data {
		var z bytes.Buffer
		for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
			w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
			_, _ = w.Write(part) // into memory
			_ = w.Close()
		}
		out[k] = z.Bytes()
	}
	return out
}

var (
	zippedData  = sync.OnceValue(func() map[string][]byte { return zipped(matrixData()) })
	zippedPages = sync.OnceValue(func() map[string][]byte { return zipped(pagedData()) })
)

// wrapped is one object as a reader must get it, made by hand from the contract's table.
func wrapped(data []byte, recordIO bool) []byte {
	if !recordIO {
		return data
	}
	out := binary.LittleEndian.AppendUint32([]byte{0x0a, 0x23, 0xd7, 0xce}, uint32(len(data)))
	return append(append(out, data...), make([]byte, (4-len(data)%4)%4)...)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// site is a store that serves the matrix.
type site struct {
	name string
	env  []string
	put  func(t *testing.T, bucket, key string, data []byte)
	get  func(t *testing.T, bucket, key string) []byte

	dir string // the directories, which have nothing to do with the store
}

func s3testSite(t *testing.T) *site {
	srv, env := store(t)
	srv.MakeBucket("out")
	return &site{name: "s3test", env: env,
		put: func(_ *testing.T, bucket, key string, data []byte) { srv.Put(bucket, key, data) },
		get: func(_ *testing.T, bucket, key string) []byte { b, _, _ := srv.Get(bucket, key); return b },
	}
}

func dirSite(*testing.T) *site {
	return &site{name: "s3-dir",
		put: func(t *testing.T, bucket, key string, data []byte) { put(t, bucket, key, string(data)) },
		get: object,
	}
}

// fill brings the data of all cells there.
func (s *site) fill(t *testing.T) {
	t.Helper()
	s.dir = t.TempDir()
	for name, data := range map[string]map[string][]byte{"plain": matrixData(), "gzip": zippedData()} {
		for k, b := range data {
			s.put(t, "matrix", name+"/"+k, b)
			path := filepath.Join(s.dir, name, filepath.FromSlash(k))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		prefix := "s3://matrix/" + name + "/"
		elements := []any{map[string]string{"prefix": prefix}}
		for _, k := range manifest() {
			elements = append(elements, k)
		}
		text, err := json.Marshal(elements)
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, "matrix", "manifests/"+name, text)
		var lines bytes.Buffer
		for i, k := range manifest() { // the attributes stand in another order than AttributeNames has them (AUG-2)
			line, err := json.Marshal(map[string]any{"image-ref": prefix + k})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&lines, "{\"label\": %d, \"other\": [\"x\"], %s\n", i, line[1:])
		}
		s.put(t, "matrix", "augmented/"+name, lines.Bytes())
	}
	for name, data := range map[string]map[string][]byte{"pages": pagedData(), "gzip-pages": zippedPages()} {
		for k, b := range data {
			s.put(t, "matrix", name+"/"+k, b)
		}
	}
}

// manifest is the keys in no order at all, some of them twice (FILE-9).
func manifest() []string {
	keys := slices.Sorted(maps.Keys(matrixData()))
	var list []string
	for i := range keys { // 29 has no factor in common with the number of keys in either tier, so this is each of them
		list = append(list, keys[(i*29+5)%len(keys)])
	}
	return append(list, list[3], list[0], list[3])
}

// channel is the cell's.
func (c cell) channel(s *site) doc {
	what := "plain"
	if c.gzip() {
		what = "gzip"
	}
	kind, uri := c.source, ""
	switch c.source {
	case "S3Prefix":
		uri = "s3://matrix/" + what + "/"
	case "Paged":
		kind, uri = "S3Prefix", "s3://matrix/"+map[string]string{"plain": "pages", "gzip": "gzip-pages"}[what]
	case "ManifestFile":
		uri = "s3://matrix/manifests/" + what
	case "AugmentedManifestFile":
		uri = "s3://matrix/augmented/" + what
	case "Directory":
		kind, uri = "S3Prefix", filepath.Join(s.dir, what)
		if c.shuffled { // both ways to write it
			uri = "file://" + uri
		}
	}
	d := channel(c.String(), uri)
	d["InputMode"] = c.mode
	source := d["DataSource"].(doc)["S3DataSource"].(doc)
	source["S3DataType"] = kind
	if kind == "AugmentedManifestFile" {
		source["AttributeNames"] = []string{"image-ref", "label"}
	}
	if c.sharded {
		source["S3DataDistributionType"] = "ShardedByS3Key"
	}
	if c.gzip() {
		d["CompressionType"] = "Gzip"
	}
	if c.recordIO() {
		d["RecordWrapperType"] = "RecordIO"
	}
	if c.shuffled {
		d["ShuffleConfig"] = doc{"Seed": matrixSeed}
	}
	return d
}

// unit is what sharding and shuffling move: an object, or a line of an augmented manifest.
type unit struct {
	path  string // of FILE-2 and FILE-9
	items [][]byte
}

// units are the cell's, in the order of its source.
func (c cell) units() []unit {
	data := matrixData()
	if c.source == "Paged" {
		data = pagedData()
	}
	names := slices.Sorted(maps.Keys(data))
	switch c.source {
	case "ManifestFile", "AugmentedManifestFile":
		names = manifest()
		if c.mode == "File" { // FILE-9: once
			seen := map[string]bool{}
			names = slices.DeleteFunc(names, func(k string) bool { twice := seen[k]; seen[k] = true; return twice })
		}
	}
	var all []unit
	for i, k := range names {
		u := unit{k, [][]byte{data[k]}}
		if c.source == "AugmentedManifestFile" {
			u.items = append(u.items, fmt.Append(nil, i)) // AUG-3
		}
		all = append(all, u)
	}
	return all
}

// share is what one host gets in an epoch: of the shuffled order, or of that of the sorted keys (SHARD-2) or lines
// (AUG-7), each third; in the order of its source.
func (c cell) share(rank, epoch int) []unit {
	all := c.units()
	place := make([]int, len(all)) // of each unit among all
	for i := range place {
		place[i] = i
	}
	switch {
	case c.shuffled && c.mode == "Pipe":
		shuffled := make([]unit, len(all))
		for i, j := range dataset.Permutation(len(all), matrixSeed, epoch) {
			shuffled[i] = all[j]
		}
		all = shuffled
	case c.source == "ManifestFile":
		sorted := slices.Clone(place)
		slices.SortStableFunc(sorted, func(i, j int) int { return strings.Compare(all[i].path, all[j].path) })
		for p, i := range sorted {
			place[i] = p
		}
	}
	var mine []unit
	for i, u := range all {
		if place[i]%c.hosts() == rank {
			mine = append(mine, u)
		}
	}
	return mine
}

const matrixEpochs = 2

// runCells runs one job of these cells on one host, and returns what its container read.
func runCells(t *testing.T, s *site, what string, list []cell, rank int) map[string]readChannel {
	t.Helper()
	name := jobName(what)
	d := training(name, "channels", "sha256", "epochs", fmt.Sprint(matrixEpochs))
	var channels []doc
	for _, c := range list {
		channels = append(channels, c.channel(s))
	}
	d["InputDataConfig"] = channels
	args := []string{"train", "--quiet"}
	if list[0].sharded {
		d["ResourceConfig"].(doc)["InstanceCount"] = 3
		args = append(args, "--hosts", "algo-1,algo-2,algo-3", "--current-host", fmt.Sprintf("algo-%d", rank+1))
	}
	r := begin(t, s.env, append(args, d.file(t))...).waitFor(t, 3*commandTime)
	if r.code != 0 {
		t.Errorf("%s", r)
		return nil
	}
	return decode[map[string]readChannel](t, unpack(t, s.get(t, "out", "training/"+name+"/output/model.tar.gz"))["channels.json"])
}

// check compares what the hosts read with what is computed here.
func (c cell) check(t *testing.T, got []map[string]readChannel) {
	for rank := range c.hosts() {
		ch, ok := got[rank][c.String()]
		if !ok || ch.Mode != c.mode {
			t.Fatalf("host %d read nothing: %+v", rank+1, ch)
		}
		if c.mode != "Pipe" {
			want, have := map[string]string{}, map[string]string{}
			for _, u := range c.share(rank, 0) {
				want[u.path] = sum(u.items[0])
			}
			for _, f := range ch.Files {
				have[strings.TrimPrefix(f.Path, c.String()+"/")] = f.SHA256
				if f.Perm != "-rw-r--r--" {
					t.Errorf("%s is %s", f.Path, f.Perm)
				}
			}
			if !maps.Equal(have, want) {
				t.Errorf("host %d read %d files, want %d: %s", rank+1, len(have), len(want), difference(have, want))
			}
			continue
		}
		if len(ch.Epochs) != matrixEpochs {
			t.Fatalf("host %d read %d epochs", rank+1, len(ch.Epochs))
		}
		for e, in := range ch.Epochs {
			h := sha256.New()
			records := []string{}
			for _, u := range c.share(rank, e) {
				for _, item := range u.items {
					h.Write(wrapped(item, c.recordIO()))
					records = append(records, sum(item)[:16])
				}
			}
			if in.Path != fmt.Sprintf("%s_%d", c, e) || in.Perm != "prw-r--r--" || in.SHA256 != hex.EncodeToString(h.Sum(nil)) {
				t.Errorf("host %d, epoch %d: %s %s %s, want %x", rank+1, e, in.Path, in.Perm, in.SHA256, h.Sum(nil))
			}
			if c.recordIO() && !slices.Equal(in.Records, records) {
				t.Errorf("host %d, epoch %d: %d records, want %d, or in another order", rank+1, e, len(in.Records), len(records))
			}
		}
	}
	if c.mode == "Pipe" && c.recordIO() {
		c.checkRecords(t, got)
	}
}

// checkRecords holds what must be so whatever the order is drawn from: the hosts' shares are all of the records, each
// once; a shuffled epoch is not in the source's order, nor in that of another epoch.
func (c cell) checkRecords(t *testing.T, got []map[string]readChannel) {
	var all []string
	for _, u := range c.units() {
		for _, item := range u.items {
			all = append(all, sum(item)[:16])
		}
	}
	listed := strings.Join(all, " ")
	slices.Sort(all)
	for e := range matrixEpochs {
		var together []string
		for rank := range c.hosts() {
			together = append(together, got[rank][c.String()].Epochs[e].Records...)
		}
		inOrder := strings.Join(together, " ") == listed
		if slices.Sort(together); !slices.Equal(together, all) {
			t.Errorf("epoch %d: the hosts together have %d records, want %d", e, len(together), len(all))
		}
		if c.shuffled && inOrder {
			t.Errorf("epoch %d is not shuffled", e)
		}
	}
	for rank := range c.hosts() {
		epochs := got[rank][c.String()].Epochs
		if same := slices.Equal(epochs[0].Records, epochs[1].Records); same == c.shuffled {
			t.Errorf("host %d: epochs 0 and 1 are equal: %v", rank+1, same)
		}
	}
}

// difference says what is in one and not in the other, shortly.
func difference(have, want map[string]string) string {
	var b strings.Builder
	for k := range have {
		if want[k] == "" {
			fmt.Fprintf(&b, "also %q; ", k)
		}
	}
	for k := range want {
		if have[k] != want[k] {
			fmt.Fprintf(&b, "%q is %q; ", k, have[k])
		}
	}
	return fmt.Sprintf("%.1000s", b.String())
}

// TestMatrix is a job, or a third of one on each of three hosts, for every legal cell: what its container read has the
// hashes of what is computed here from the objects, by the contract and without the code under test. Cells that may
// share a job do, as its channels.
func TestMatrix(t *testing.T) {
	sites := []func(*testing.T) *site{s3testSite}
	if full {
		sites = append(sites, dirSite, versitygwSite)
	}
	for _, make := range sites {
		s := make(t)
		t.Run(s.name, func(t *testing.T) {
			sameHost(t)
			s.fill(t)
			matrix(t, s)
		})
	}
}

func matrix(t *testing.T, s *site) {
	type group struct{ pipe, sharded, shuffled bool } // FF-4: Pipe and FastFile exclude each other
	var groups []group
	members := map[group][]cell{}
	for _, c := range cells() {
		if c.illegal() == nil && (full || c.quick()) {
			g := group{c.mode == "Pipe", c.sharded, c.shuffled}
			if members[g] == nil {
				groups = append(groups, g)
			}
			members[g] = append(members[g], c)
		}
	}
	for _, g := range groups {
		for these := range slices.Chunk(members[g], 20) { // channels of a job
			var got []map[string]readChannel
			for rank := range these[0].hosts() {
				got = append(got, runCells(t, s, "matrix", these, rank))
			}
			var again map[string]readChannel
			if g.shuffled && g.pipe && !g.sharded {
				again = runCells(t, s, "matrix-again", these, 0)
			}
			for _, c := range these {
				t.Run(c.String(), func(t *testing.T) {
					c.check(t, got)
					for e, in := range again[c.String()].Epochs { // one seed, one order
						if in.SHA256 != got[0][c.String()].Epochs[e].SHA256 {
							t.Errorf("epoch %d differs in a second run", e)
						}
					}
				})
			}
		}
	}
}

// TestMatrixRefusals: every cell that is not legal is refused before anything is started, with the member's name.
func TestMatrixRefusals(t *testing.T) {
	sameHost(t)
	s := &site{dir: t.TempDir()}
	for _, c := range cells() {
		members := c.illegal()
		if members == nil || c.source == "Paged" || !full && (c.sharded || c.shuffled) {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			d := training(jobName("refused"))
			d["InputDataConfig"] = []doc{c.channel(s)}
			args := []string{"train", "--quiet"}
			if c.sharded {
				d["ResourceConfig"].(doc)["InstanceCount"] = 3
				args = append(args, "--hosts", "algo-1,algo-2,algo-3", "--current-host", "algo-2")
			}
			r := expect(t, 2, append(args, d.file(t))...)
			for _, m := range members {
				if !strings.Contains(r.stderr, ": InputDataConfig[0]."+m+": ") {
					t.Errorf("%s is not named: %s", m, r)
				}
			}
			if !strings.Contains(r.stderr, "SageMaker would answer CreateTrainingJob with ValidationException") {
				t.Errorf("%s", r)
			}
		})
	}
	t.Run("Pipe and FastFile", func(t *testing.T) { // FF-4
		d := training(jobName("refused"))
		d["InputDataConfig"] = []doc{cell{mode: "Pipe", source: "S3Prefix", wrapper: "None"}.channel(s), cell{mode: "FastFile", source: "S3Prefix", wrapper: "None"}.channel(s)}
		r := expect(t, 2, "train", "--quiet", d.file(t))
		if !strings.Contains(r.stderr, "Cannot use both 'Pipe' and 'FastFile' TrainingInputMode on the same Training Job.") || !strings.Contains(r.stderr, "InputDataConfig[1].InputMode") {
			t.Errorf("%s", r)
		}
	})
}

// TestMatrixPartialPrefix: FF-3, in the service's words.
func TestMatrixPartialPrefix(t *testing.T) {
	sameHost(t)
	put(t, "partial", "data/train/a", "a", "data/train-01/b", "b")
	d := training(jobName("partial"))
	c := channel("train", "s3://partial/data/train")
	c["InputMode"] = "FastFile"
	d["InputDataConfig"] = []doc{c}
	r := expect(t, 4, "train", "--quiet", d.file(t))
	if !strings.Contains(r.stderr, "ClientError: Data download failed:Failed to download data. For FastFile mode, partial S3 prefix is not supported.") ||
		!strings.Contains(r.stderr, "Current S3 prefix: [data/train], found S3 object: [data/train-01/b].") {
		t.Errorf("%s", r)
	}
}
