package objstore

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/minio/crc64nvme"
)

// checksumMode asks S3 for the checksum that it keeps with an object. It is given for whole objects only: nobody knows
// the checksum of a range.
const checksumMode = "X-Amz-Checksum-Mode"

// algorithm is one of S3's.
type algorithm struct {
	name string
	make func() hash.Hash
	poly uint64 // of a CRC, the lowest power in the highest bit; 0: sums of parts do not make the sum of the whole
}

// algorithms are those first that cost least.
var algorithms = []algorithm{
	{"Crc64nvme", func() hash.Hash { return crc64nvme.New() }, 0x9a6c9329ac4bc9b5},
	{"Crc32c", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }, crc32.Castagnoli},
	{"Crc32", func() hash.Hash { return crc32.NewIEEE() }, crc32.IEEE},
	{"Sha1", sha1.New, 0},
	{"Sha256", sha256.New, 0},
}

// checksum holds an object's bytes against what the store says of them.
type checksum struct {
	hash.Hash
	algorithm
	want []byte
}

// checksumOf is what an answer with a whole object says of it; nil if it says nothing that its bytes can be held against.
// A composite checksum is of the checksums of the parts in which the object was uploaded: the bytes have another.
func checksumOf(h http.Header) *checksum {
	if h.Get("X-Amz-Checksum-Type") == "COMPOSITE" {
		return nil
	}
	for _, a := range algorithms {
		v := h.Get("X-Amz-Checksum-" + a.name)
		if v == "" || strings.Contains(v, "-") { // value-parts is how composite ones were marked before they had a type
			continue
		}
		sum := a.make()
		if want, err := base64.StdEncoding.DecodeString(v); err == nil && len(want) == sum.Size() {
			return &checksum{sum, a, want}
		}
	}
	return nil
}

// verify is called at the object's end.
func (c *checksum) verify() error { return c.compare(c.Sum(nil)) }

func (c *checksum) compare(got []byte) error {
	if !bytes.Equal(got, c.want) {
		b := base64.StdEncoding
		return fmt.Errorf("%w: the store has %s %s, the bytes that came %s", ErrChecksum, strings.ToUpper(c.name), b.EncodeToString(c.want), b.EncodeToString(got))
	}
	return nil
}

// Checksummed is a Store that may keep checksums of its objects.
type Checksummed interface {
	// Checksum asks once for what the bytes of the very object o must add up to, for who reads them in parts; nil where
	// the store does not know, or not so that parts can be put together.
	Checksum(ctx context.Context, o Object) (*PartSums, error)
}

var _ Checksummed = (*S3)(nil)

func (s *S3) Checksum(ctx context.Context, o Object) (*PartSums, error) {
	c := call{method: http.MethodHead, key: o.Key, header: http.Header{checksumMode: {"ENABLED"}}}
	if o.ETag != "" {
		c.header.Set("If-Match", `"`+o.ETag+`"`)
	}
	r, err := s.do(ctx, c)
	if err != nil {
		return nil, wrap("stat", s.URI(o.Key), err)
	}
	defer r.Close()
	if sum := checksumOf(r.Header); sum != nil && sum.poly != 0 {
		return &PartSums{sum: sum, uri: s.URI(o.Key), parts: map[int64]partSum{}}, nil
	}
	return nil, nil
}

// PartSums holds an object that is read in parts against its checksum. It may be used concurrently.
type PartSums struct {
	sum *checksum
	uri string

	mu    sync.Mutex
	parts map[int64]partSum // by offset
}

type partSum struct {
	n   int64
	crc uint64
}

// Hash takes the bytes of one part.
func (p *PartSums) Hash() hash.Hash { return p.sum.make() }

// Add notes a part of n bytes from off that h has taken.
func (p *PartSums) Add(off, n int64, h hash.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts[off] = partSum{n, number(h.Sum(nil))}
}

// Verify is called when all parts have been added, which must be the object without gaps.
func (p *PartSums) Verify() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at int64
	var crc uint64 // of no bytes
	for _, off := range slices.Sorted(maps.Keys(p.parts)) {
		part := p.parts[off]
		if off != at {
			return wrap("read", p.uri, fmt.Errorf("%w: bytes %d to %d are missing", ErrTruncated, at, off))
		}
		crc = combine(p.sum.poly, p.sum.Size()*8, crc, part.crc, part.n)
		at += part.n
	}
	got := binary.BigEndian.AppendUint64(nil, crc)
	return wrap("read", p.uri, p.sum.compare(got[8-p.sum.Size():]))
}

// number is a CRC as hash.Hash prints it.
func number(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// combine is the CRC of two texts, one behind the other, of which the second has n bytes. A CRC is linear: behind n zero
// bytes the first one's is multiplied by a matrix over GF(2), which is had by squaring that of one zero bit.
func combine(poly uint64, bits int, first, second uint64, n int64) uint64 {
	m := make([]uint64, bits) // column i is what bit i becomes
	m[0] = poly
	for i := 1; i < bits; i++ {
		m[i] = 1 << (i - 1)
	}
	times := func(v uint64) (out uint64) {
		for i := 0; v != 0; i, v = i+1, v>>1 {
			if v&1 != 0 {
				out ^= m[i]
			}
		}
		return out
	}
	for zeros := n * 8; zeros > 0; zeros >>= 1 {
		if zeros&1 != 0 {
			first = times(first)
		}
		square := make([]uint64, bits)
		for i := range m {
			square[i] = times(m[i])
		}
		m = square
	}
	return first ^ second
}
