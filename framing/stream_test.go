package framing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var all = []Format{Line, RecordIO, TFRecord}

// dmlc writes a record as the dmlc writer does: cut at each aligned magic.
func dmlc(dst, rec []byte) []byte {
	part := func(flag, from, to int) {
		n := to - from
		dst = append(dst, magicBytes...)
		w := uint32(flag)<<29 | uint32(n)
		dst = append(dst, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
		dst = append(dst, rec[from:to]...)
		dst = append(dst, make([]byte, -n&3)...)
	}
	from := 0 // after the last magic; a part that follows one never begins at 0
	for i := 0; i+4 <= len(rec); i += 4 {
		if string(rec[i:i+4]) == magicBytes {
			flag := flagMiddle
			if from == 0 {
				flag = flagFirst
			}
			part(flag, from, i)
			from = i + 4
		}
	}
	if from == 0 {
		part(flagWhole, 0, len(rec))
	} else {
		part(flagLast, from, len(rec))
	}
	return dst
}

func randomRecords(r *rand.Rand, n int) [][]byte {
	recs := make([][]byte, n)
	for i := range recs {
		size := r.IntN(40)
		if r.IntN(20) == 0 {
			size = r.IntN(300 << 10) // over the start buffer
		}
		b := make([]byte, size)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		for r.IntN(3) == 0 && len(b) >= 4 {
			copy(b[r.IntN(len(b)-3):], magicBytes)
		}
		recs[i] = b
	}
	return recs
}

func TestRoundTrip(t *testing.T) { // BT-62, BT-65, BT-70: Split gives what was written, Frames give the input again
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		recs := randomRecords(r, r.IntN(60))
		for _, f := range all {
			var in []byte
			var want []string
			for i, rec := range recs {
				if f.Name == "Line" {
					rec = append(bytes.ReplaceAll(rec, lf, nil), '\n')
					if i == len(recs)-1 && round%2 == 0 && len(rec) > 1 {
						rec = rec[:len(rec)-1] // no final LF (BT-54)
					}
					in = append(in, rec...)
				} else if f.Name == "RecordIO" && round%2 == 0 {
					in = dmlc(in, rec)
				} else {
					in = f.Append(in, rec)
				}
				want = append(want, string(rec))
			}
			for name, rd := range map[string]io.Reader{"whole": bytes.NewReader(in), "halves": iotest.HalfReader(bytes.NewReader(in)), "data with EOF": iotest.DataErrReader(bytes.NewReader(in))} {
				if got := collect(t, f.Split(rd, 0)); !slices.Equal(got, want) {
					t.Fatalf("%s, %s, round %d: records differ: %d, want %d", f.Name, name, round, len(got), len(want))
				}
			}
			if got := strings.Join(collect(t, f.Frames(bytes.NewReader(in), 0)), ""); got != string(in) {
				t.Fatalf("%s, round %d: frames are not the input", f.Name, round)
			}
		}
	}
}

func TestFillPacksGreedily(t *testing.T) { // BT-80, BT-94, Appendix A packing
	in := "abc\nabcd\n\nab\n" // 4, 5, 1, 3 bytes
	for _, c := range []struct {
		limit int
		want  []string
		long  int64 // record that is too long
	}{
		{9, []string{"abc\nabcd\n", "\nab\n"}, 0},
		{10, []string{"abc\nabcd\n\n", "ab\n"}, 0},
		{13, []string{in}, 0},
		{4, []string{"abc\n"}, 2},
		{5, []string{"abc\n", "abcd\n", "\nab\n"}, 0},
	} {
		for _, end := range []string{"\n", ""} { // the last line's LF or none: one byte less
			text := strings.TrimSuffix(in, "\n") + end
			st := NewStream(Line, iotest.OneByteReader(strings.NewReader(text)))
			var got []string
			var err error
			for {
				var n int
				buf := make([]byte, c.limit)
				if n, _, err = st.Fill(buf); err != nil {
					break
				}
				got = append(got, string(buf[:n]))
			}
			want := slices.Clone(c.want)
			if c.long == 0 {
				last := len(want) - 1
				want[last] = strings.TrimSuffix(want[last], "\n") + end
			}
			if c.limit == 4 {
				var long *TooLong
				if !errors.As(err, &long) || long.Record != c.long || long.Offset != 4 || long.Max != 4 || !long.AtLeast {
					t.Errorf("limit 4: %v", err)
				}
				if long = st.Measure(long); long.Size != 5 || long.AtLeast {
					t.Errorf("measured: %v", long)
				}
			} else if err != io.EOF {
				t.Errorf("limit %d: %v", c.limit, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d, end %q: %q, want %q", c.limit, end, got, want)
			}
		}
	}
}

func TestFillTakesUnterminatedLastLineThatFits(t *testing.T) { // BT-54 with BT-94
	st := NewStream(Line, strings.NewReader("ab\ncd"))
	buf := make([]byte, 5)
	if n, records, err := st.Fill(buf); n != 5 || records != 2 || err != nil {
		t.Errorf("%d bytes, %d records, %v", n, records, err)
	}
	if _, _, err := st.Fill(buf); err != io.EOF {
		t.Errorf("then %v", err)
	}
}

func TestFillGrows(t *testing.T) {
	for _, f := range all {
		in := f.Append(f.Append(f.Append(nil, []byte("ab")), bytes.Repeat([]byte("x"), 5000)), []byte("c"))
		st := NewStream(f, bytes.NewReader(in))
		var got []byte
		for size, calls := 24, 0; ; calls++ {
			buf := make([]byte, size)
			n, _, err := st.Fill(buf)
			var long *TooLong
			if errors.As(err, &long) {
				if long.Max != int64(size) || long.Record != 2 {
					t.Fatalf("%s: %v", f.Name, long)
				}
				size *= 2
				continue
			}
			if err == io.EOF {
				break
			}
			if err != nil || calls > 100 {
				t.Fatalf("%s: %v", f.Name, err)
			}
			got = append(got, buf[:n]...)
			size = 24
		}
		if !bytes.Equal(got, in) {
			t.Errorf("%s: %d bytes came out, want %d", f.Name, len(got), len(in))
		}
		if st.Record() != 3 || st.Offset() != int64(len(in)) {
			t.Errorf("%s: at record %d, byte %d", f.Name, st.Record(), st.Offset())
		}
	}
}

func TestReadErrorsComeThrough(t *testing.T) {
	broken := errors.New("broken")
	for _, f := range all {
		in := f.Append(nil, []byte("ab"))
		n := 0
		var err error
		for _, e := range f.Split(io.MultiReader(bytes.NewReader(in), strings.NewReader("part"), iotest.ErrReader(broken)), 0) {
			if err = e; e == nil {
				n++
			}
		}
		if n != 1 || err != broken {
			t.Errorf("%s: %d records, then %v", f.Name, n, err)
		}
	}
}

func TestTooLongNamesRecordAndOffset(t *testing.T) { // BT-95, BT-96
	for _, f := range all {
		rec := bytes.Repeat([]byte("x"), 200<<10)
		in := f.Append(nil, []byte("ab"))
		first := len(in)
		in = f.Append(f.Append(in, rec), []byte("c"))
		for _, limit := range []int{len(rec) - 1, 100, len(rec) + 1} {
			var err error
			n := 0
			for _, e := range f.Split(bytes.NewReader(in), limit) {
				if err = e; e == nil {
					n++
				}
			}
			if limit > len(rec) {
				if err != nil || n != 3 {
					t.Errorf("%s within the limit: %v after %d", f.Name, err, n)
				}
				continue
			}
			var long *TooLong
			size := int64(len(rec))
			if f.Name == "Line" {
				size++
			}
			if !errors.As(err, &long) || long.Record != 2 || long.Offset != int64(first) || long.Size != size || long.AtLeast || long.Max != int64(limit) {
				t.Errorf("%s: %+v after %d records, want record 2 at %d, %d bytes", f.Name, err, n, first, size)
			}
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	const total = 64 << 20
	for _, size := range []int{32, 128, 1 << 10, 16 << 10} {
		rec := bytes.Repeat([]byte("x"), size)
		b.Run(fmt.Sprintf("IndexByte/%d", size), func(b *testing.B) {
			in := bytes.Repeat(append(rec[:size-1:size-1], '\n'), total/size)
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				for rest := in; len(rest) > 0; {
					rest = rest[bytes.IndexByte(rest, '\n')+1:]
				}
			}
		})
		for _, f := range []Format{Line, RecordIO, TFRecord, TFRecordUnchecked} {
			one := rec
			if f.Name == "Line" {
				one = rec[:size-1]
			}
			framed := f.Append(nil, one)
			in := bytes.Repeat(framed, total/size)
			name := f.Name
			if f.s == &tfRecordUncheckedScan {
				name += "Unchecked"
			}
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				for b.Loop() {
					n := 0
					for _, err := range f.Split(bytes.NewReader(in), 0) {
						if err != nil {
							b.Fatal(err)
						}
						n++
					}
					if n != total/size {
						b.Fatal(n)
					}
				}
			})
			b.Run(fmt.Sprintf("%sFill6MiB/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				buf := make([]byte, 6<<20)
				for b.Loop() {
					st := NewStream(f, bytes.NewReader(in))
					for {
						if _, _, err := st.Fill(buf); err == io.EOF {
							break
						} else if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
