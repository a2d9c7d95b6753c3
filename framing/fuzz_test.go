package framing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// naive reads a stream as the contract says it, all of it in memory: the records' payloads and frames, and the offset of
// the damage that ends it, -1 for none.
type naive func(in []byte) (payloads, frames []string, damage int)

func naiveLine(in []byte) (payloads, frames []string, damage int) {
	for _, line := range bytes.SplitAfter(in, []byte{'\n'}) {
		if len(line) > 0 {
			payloads = append(payloads, string(line))
		}
	}
	return payloads, payloads, -1
}

func naiveRecordIO(in []byte) (payloads, frames []string, damage int) {
	for at := 0; at < len(in); {
		begin := at
		var parts []string
		for last := false; !last; {
			rest := in[at:]
			if len(rest) < 8 || string(rest[:4]) != magicBytes {
				return payloads, frames, at
			}
			word := binary.LittleEndian.Uint32(rest[4:])
			flag, length := word>>29, int(word%(1<<29))
			whole := 8 + length
			for whole%4 != 0 {
				whole++
			}
			begins := flag == 0 || flag == 1
			if flag > 3 || begins != (len(parts) == 0) || whole > len(rest) {
				return payloads, frames, at
			}
			parts = append(parts, string(rest[8:8+length]))
			at += whole
			last = flag == 0 || flag == 3
		}
		payloads = append(payloads, strings.Join(parts, magicBytes))
		frames = append(frames, string(in[begin:at]))
	}
	return payloads, frames, -1
}

func naiveTFRecord(in []byte) (payloads, frames []string, damage int) {
	mask := func(b []byte) uint32 {
		c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
		return uint32((uint64(c)>>15 | uint64(c)<<17&math.MaxUint32) + 0xa282ead8)
	}
	for at := 0; at < len(in); {
		rest := in[at:]
		if len(rest) < 12 || binary.LittleEndian.Uint32(rest[8:]) != mask(rest[:8]) {
			return payloads, frames, at
		}
		length := binary.LittleEndian.Uint64(rest)
		if length > uint64(len(rest)) || length+16 > uint64(len(rest)) {
			return payloads, frames, at
		}
		data, end := rest[12:12+length], int(length)+16
		if binary.LittleEndian.Uint32(rest[end-4:]) != mask(data) {
			return payloads, frames, at
		}
		payloads = append(payloads, string(data))
		frames = append(frames, string(rest[:end]))
		at += end
	}
	return payloads, frames, -1
}

// check holds a format against the naive reader of it: at once and in buffers of size that grow when they must.
func check(t *testing.T, f Format, read naive, in []byte, size int) {
	t.Helper()
	payloads, frames, damage := read(in)
	end := func(how string, err error) {
		t.Helper()
		bad, _ := errors.AsType[*Error](err)
		switch {
		case damage < 0 && err != nil && err != io.EOF:
			t.Fatalf("%s: %v, and nothing is wrong with %x", how, err, in)
		case damage >= 0 && (bad == nil || bad.Offset != int64(damage) || bad.Record != int64(len(frames))+1):
			t.Fatalf("%s: %v, want record %d to be damaged at byte %d of %x", how, err, len(frames)+1, damage, in)
		}
	}
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(in), "in halves": iotest.HalfReader(bytes.NewReader(in)), "with the end": iotest.DataErrReader(bytes.NewReader(in))} {
		got, err := gather(f.Split(r, 0))
		if !slices.Equal(got, payloads) {
			t.Fatalf("%s: payloads %q, want %q", name, got, payloads)
		}
		end(name, err)
	}
	got, err := gather(f.Frames(bytes.NewReader(in), 0))
	if !slices.Equal(got, frames) {
		t.Fatalf("frames %q, want %q", got, frames)
	}
	end("frames", err)

	st := NewStream(f, iotest.HalfReader(bytes.NewReader(in)))
	got = nil
	for n := size; ; {
		buf := make([]byte, n)
		offset := st.Offset()
		m, k, e := st.Fill(buf)
		if long, ok := errors.AsType[*TooLong](e); ok {
			if m > 0 || st.Offset() != offset || long.Record != int64(len(got))+1 || long.Offset != offset || long.Frame < int64(n) || long.Frame == int64(n) && !long.AtLeast || n > len(in) {
				t.Fatalf("%d bytes, then %v in a buffer of %d", m, long, n)
			}
			n = min(2*n, len(in)+1) // which shows the end
			continue
		}
		if e != nil {
			end("small buffers", e)
			break
		}
		// As much as fits, and no more (BT-80).
		if at := len(got) + k; at < len(frames) && m+len(frames[at]) <= n {
			t.Fatalf("a buffer of %d has %d bytes, and the next record has %d", n, m, len(frames[at]))
		}
		had := len(got)
		for i, rec := range f.Each(bytes.Clone(buf[:m]), false) {
			if string(rec) != string(buf[i:i+len(rec)]) {
				t.Fatalf("a frame at %d is not what lies there", i)
			}
		}
		for _, rec := range f.Each(buf[:m], true) {
			got = append(got, string(rec))
		}
		if len(got)-had != k {
			t.Fatalf("%d records counted, %d there", k, len(got)-had)
		}
	}
	if !slices.Equal(got, payloads) {
		t.Fatalf("%q in small buffers, %q in large ones", got, payloads)
	}
}

func gather(seq func(func([]byte, error) bool)) (out []string, err error) {
	for rec, e := range seq {
		if err = e; e == nil {
			out = append(out, string(rec))
		}
	}
	return out, err
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("a,1\nb,2\r\n\nc,3"), uint16(1))
	f.Add([]byte("\n"), uint16(9))
	f.Fuzz(func(t *testing.T, in []byte, size uint16) { check(t, Line, naiveLine, in, int(size)%64+1) })
}

func FuzzRecordIO(f *testing.F) {
	f.Add([]byte("\x0a\x23\xd7\xce\x05\x00\x00\x00hello\x00\x00\x00"), uint16(9))
	f.Add([]byte("\x0a\x23\xd7\xce\x04\x00\x00\x20head\x0a\x23\xd7\xce\x05\x00\x00\x60tail!\x00\x00\x00"), uint16(3))
	f.Add([]byte("\x0a\x23\xd7\xce\x00\x00\x00\x20\x0a\x23\xd7\xce\x00\x00\x00\x40\x0a\x23\xd7\xce\x00\x00\x00\x60"), uint16(30))
	f.Fuzz(func(t *testing.T, in []byte, size uint16) { check(t, RecordIO, naiveRecordIO, in, int(size)%64+1) })
}

// FuzzTFRecord makes records of the input, cut at each NUL, so that their checksums are right, changes one byte, and puts
// the tail behind them as it is.
func FuzzTFRecord(f *testing.F) {
	f.Add([]byte("hello\x00a\x00\x00{}"), []byte{}, uint16(3), uint16(0), byte(0))
	f.Add([]byte("hello"), []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x17\x5d\xe4\x1axn\xe4\x28"), uint16(30), uint16(14), byte(1))
	f.Fuzz(func(t *testing.T, records, tail []byte, size, at uint16, flip byte) {
		var in []byte
		if len(records) > 0 {
			for rec := range bytes.SplitSeq(records, []byte{0}) {
				in = TFRecord.Append(in, rec)
			}
		}
		if in = append(in, tail...); len(in) > 0 {
			in[int(at)%len(in)] ^= flip
		}
		check(t, TFRecord, naiveTFRecord, in, int(size)%64+1)
	})
}
