package framing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

const magicBytes = "\x0a\x23\xd7\xce"

// The golden vectors of the contract (BT-60 to BT-69, BT-73).
var goldens = []struct {
	name    string
	format  Format
	payload string
	framed  string // hex
	written bool   // Append writes exactly this
}{
	{"TFRecord/empty", TFRecord, "", "0000000000000000 29039807 d8ea82a2", true},
	{"TFRecord/a", TFRecord, "a", "0100000000000000 0175de41 61 786ee428", true},
	{"TFRecord/hello", TFRecord, "hello", "0500000000000000 eab2043e 68656c6c6f bb1f1c19", true},
	{"TFRecord/json", TFRecord, `{"k":1}`, "0700000000000000 bbd79f11 7b226b223a317d 3ce0c9a5", true},
	{"RecordIO/empty", RecordIO, "", "0a23d7ce 00000000", true},
	{"RecordIO/a", RecordIO, "a", "0a23d7ce 01000000 61000000", true},
	{"RecordIO/1", RecordIO, "1", "0A23D7CE 01000000 31 000000", true},
	{"RecordIO/abcd", RecordIO, "abcd", "0A23D7CE 04000000 61626364", true},
	{"RecordIO/hello", RecordIO, "hello", "0a23d7ce 05000000 68656c6c6f000000", true},
	{"RecordIO/12345678", RecordIO, "12345678", "0a23d7ce 08000000 3132333435363738", true},
	// What a dmlc writer makes of a payload that holds the magic; Append never splits (ruling 9).
	{"RecordIO/aligned magic", RecordIO, "head" + magicBytes + "tail!", "0a23d7ce 04000020 68656164 0a23d7ce 05000060 7461696c21000000", false},
	{"RecordIO/unaligned magic", RecordIO, "xhe" + magicBytes, "0a23d7ce 07000000 7868650a23d7ce00", true},
	{"RecordIO/magic alone", RecordIO, magicBytes, "0a23d7ce 00000020 0a23d7ce 00000060", false},
	{"RecordIO/magic twice", RecordIO, magicBytes + magicBytes, "0a23d7ce 00000020 0a23d7ce 00000040 0a23d7ce 00000060", false},
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenVectors(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			framed := unhex(t, g.framed)
			got := split(t, g.format, framed, 0)
			if len(got) != 1 || got[0] != g.payload {
				t.Errorf("Split gives %q, want one record %q", got, g.payload)
			}
			if raw := frames(t, g.format, framed, 0); len(raw) != 1 || raw[0] != string(framed) {
				t.Errorf("Frames gives %x, want the frame itself", raw)
			}
			written := g.format.Append([]byte("before"), []byte(g.payload))
			if same := bytes.Equal(written, append([]byte("before"), framed...)); same != g.written {
				t.Errorf("Append wrote %x, equal to the vector: %v, want %v", written, same, g.written)
			}
			if again := split(t, g.format, written[len("before"):], 0); len(again) != 1 || again[0] != g.payload {
				t.Errorf("what Append wrote reads as %q", again)
			}
		})
	}
}

func TestLinesKeepTheirEnds(t *testing.T) { // BT-51 to BT-56, BT-58, Appendix A
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"appendix A", "a,1\nb,2\r\n\nc,3", []string{"a,1\n", "b,2\r\n", "\n", "c,3"}},
		{"nothing", "", nil},
		{"one LF", "\n", []string{"\n"}},
		{"lone CR is data", "a\rb\n", []string{"a\rb\n"}},
		{"no final LF", "a", []string{"a"}},
		{"not UTF-8, BOM kept", "\xef\xbb\xbfa\xff\n\x00\n", []string{"\xef\xbb\xbfa\xff\n", "\x00\n"}},
		{"quoted LF cuts", "\"a\nb\"\n", []string{"\"a\n", "b\"\n"}}, // BT-57
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := split(t, Line, []byte(c.in), 0); !slices.Equal(got, c.want) {
				t.Errorf("Split: %q, want %q", got, c.want)
			}
			if got := frames(t, Line, []byte(c.in), 0); !slices.Equal(got, c.want) {
				t.Errorf("Frames: %q, want %q", got, c.want)
			}
		})
	}
}

func TestMesosIsNotRecordIO(t *testing.T) { // BT-59: the format that one page of the documentation links
	var err error
	for _, err = range RecordIO.Split(strings.NewReader("5\nhello5\nworld"), 0) {
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Class != ErrMagic || e.Record != 1 || e.Offset != 0 {
		t.Errorf("got %v", err)
	}
}

func TestDamage(t *testing.T) { // BT-64, BT-69
	rec := func(words ...string) string { return strings.Join(words, "") }
	whole := "0a23d7ce0100000061000000"
	tf := "0100000000000000" + "0175de41" + "61" + "786ee428"
	for _, c := range []struct {
		name   string
		format Format
		in     string
		class  error
		record int64
		offset int64
		before int // records that come out first
	}{
		{"short header", RecordIO, rec(whole, "0a23d7ce01"), ErrTruncated, 2, 12, 1},
		{"wrong magic", RecordIO, rec(whole, "0b23d7ce0000000000"), ErrMagic, 2, 12, 1},
		{"short data", RecordIO, rec(whole, "0a23d7ce0800000061"), ErrTruncated, 2, 12, 1},
		{"short padding", RecordIO, "0a23d7ce01000000610000", ErrTruncated, 1, 0, 0},
		{"middle without first", RecordIO, rec(whole, "0a23d7ce00000040"), ErrSequence, 2, 12, 1},
		{"last without first", RecordIO, "0a23d7ce00000060", ErrSequence, 1, 0, 0},
		{"whole after first", RecordIO, "0a23d7ce000000200a23d7ce00000000", ErrSequence, 1, 8, 0},
		{"first after first", RecordIO, "0a23d7ce000000200a23d7ce00000020", ErrSequence, 1, 8, 0},
		{"first after middle", RecordIO, "0a23d7ce000000200a23d7ce000000400a23d7ce00000020", ErrSequence, 1, 16, 0},
		{"flag 4", RecordIO, "0a23d7ce00000080", ErrSequence, 1, 0, 0},
		{"magic wrong in second part", RecordIO, "0a23d7ce000000200a23d7cf00000060", ErrMagic, 1, 8, 0},
		{"last part missing", RecordIO, rec(whole, "0a23d7ce00000020"), ErrTruncated, 2, 20, 1},
		{"length checksum", TFRecord, rec(tf, "01000000000000000175de42", "61786ee428"), ErrChecksum, 2, 17, 1},
		{"data checksum", TFRecord, rec(tf, "01000000000000000175de41", "62786ee428"), ErrChecksum, 2, 17, 1},
		{"short length", TFRecord, rec(tf, "01000000"), ErrTruncated, 2, 17, 1},
		{"short data", TFRecord, "0500000000000000eab2043e68656c", ErrTruncated, 1, 0, 0},
	} {
		t.Run(c.format.Name+"/"+c.name, func(t *testing.T) {
			n := 0
			var err error
			for _, e := range c.format.Split(bytes.NewReader(unhex(t, c.in)), 0) {
				if err = e; e == nil {
					n++
				}
			}
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, c.class) {
				t.Fatalf("error %v, want %v", err, c.class)
			}
			if e.Record != c.record || e.Offset != c.offset || n != c.before || e.Format != c.format.Name {
				t.Errorf("%v after %d records; want record %d, offset %d after %d", e, n, c.record, c.offset, c.before)
			}
		})
	}
}

func TestHugeLengthIsNotBelieved(t *testing.T) { // a 3 GB length field over a short stream
	b := TFRecord.Append(nil, []byte("x"))
	length := []byte{0, 0, 0, 0xc0, 0, 0, 0, 0}
	crc := maskedCRC(length)
	b = append(append(b, length...), byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24))
	b = append(b, make([]byte, 1<<20)...)
	var err error
	allocs := testing.AllocsPerRun(1, func() {
		for _, err = range TFRecord.Split(bytes.NewReader(b), 0) {
		}
	})
	if !errors.Is(err, ErrTruncated) || allocs > 50 {
		t.Errorf("error %v, %v allocations", err, allocs)
	}
	for _, err = range TFRecord.Split(bytes.NewReader(b), 6<<20) {
	}
	var long *TooLong
	if !errors.As(err, &long) || long.Size != 0xc0000000 || long.Record != 2 || long.Offset != 17 {
		t.Errorf("with a limit: %v", err)
	}
}

func TestUncheckedTakesWrongData(t *testing.T) { // the flag of BT-69
	in := unhex(t, "01000000000000000175de41"+"62"+"786ee428")
	if got := split(t, TFRecordUnchecked, in, 0); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q", got)
	}
}

func TestRecordIOHeaderRefusesLongRecords(t *testing.T) { // ruling 9
	if _, _, err := RecordIOHeader(MaxRecordIO); err != nil {
		t.Errorf("2^29-1 bytes: %v", err)
	}
	if _, _, err := RecordIOHeader(MaxRecordIO + 1); !errors.Is(err, ErrTooLong) {
		t.Errorf("2^29 bytes: %v", err)
	}
	if _, pad, _ := RecordIOHeader(5); pad != 3 {
		t.Errorf("padding of 5 bytes is %d", pad)
	}
}

func split(t *testing.T, f Format, in []byte, max int) []string {
	t.Helper()
	return collect(t, f.Split(bytes.NewReader(in), max))
}

func frames(t *testing.T, f Format, in []byte, max int) []string {
	t.Helper()
	return collect(t, f.Frames(bytes.NewReader(in), max))
}

func collect(t *testing.T, seq func(func([]byte, error) bool)) []string {
	t.Helper()
	var out []string
	for rec, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(rec))
	}
	return out
}
