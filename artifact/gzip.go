package artifact

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	packLevel = 1       // many times the throughput of gzip -6 for some percent more bytes
	packBlock = 1 << 20 // compressed apart, in parallel
	maxBlocks = 8       // each costs about 3 MiB: bounded memory on hosts of many cores

	sampled     = 32 << 10 // of a block are tried out
	samples     = 4        // in so many places
	worthMatch  = 0.97     // finding matches must leave at most so much of what a Huffman code leaves
	worthCoding = 0.995    // and a Huffman code so much of the block
)

// gzipWriter writes one gzip stream whose blocks are compressed in parallel. Each is compressed as it deserves it: weights
// hardly have matches, so that looking for some is lost time, and a Huffman code leaves as much of them.
type gzipWriter struct {
	w       io.Writer
	block   *gzipBlock
	free    chan *gzipBlock
	queue   chan *gzipBlock // in order
	written chan struct{}   // closed when all of the queue is

	mu  sync.Mutex
	err error // of w
}

type gzipBlock struct {
	in   []byte
	out  []byte
	done chan struct{}

	match, code, store *flate.Writer // made when first needed
	sample             []byte
}

// Write makes a block an io.Writer of what it becomes.
func (b *gzipBlock) Write(p []byte) (int, error) {
	b.out = append(b.out, p...)
	return len(p), nil
}

// newGzipWriter starts a goroutine, which ends with Close. So many blocks are in memory at most.
func newGzipWriter(w io.Writer, blocks int) *gzipWriter {
	z := &gzipWriter{w: w, free: make(chan *gzipBlock, blocks), queue: make(chan *gzipBlock, blocks), written: make(chan struct{})}
	for range blocks {
		z.free <- &gzipBlock{done: make(chan struct{}, 1)}
	}
	go z.writeAll()
	return z
}

func (z *gzipWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if z.block == nil {
			if err := z.failed(); err != nil {
				return n, err
			}
			z.block = <-z.free
			if z.block.in == nil {
				z.block.in = make([]byte, 0, packBlock)
			}
		}
		take := min(len(p), packBlock-len(z.block.in))
		z.block.in = append(z.block.in, p[:take]...)
		p, n = p[take:], n+take
		if len(z.block.in) == packBlock {
			z.submit()
		}
	}
	return n, nil
}

func (z *gzipWriter) submit() {
	b := z.block
	z.block = nil
	z.queue <- b
	go func() {
		b.compress()
		b.done <- struct{}{}
	}()
}

// Close writes what is left, and the end of the stream; the goroutine has ended afterwards, also after an error.
func (z *gzipWriter) Close() error {
	if z.block != nil && len(z.block.in) > 0 {
		z.submit()
	}
	close(z.queue)
	<-z.written
	return z.failed()
}

func (z *gzipWriter) failed() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.err
}

// writeAll writes the blocks in their order.
func (z *gzipWriter) writeAll() {
	defer close(z.written)
	write := func(p []byte) {
		if z.failed() != nil { // what is left is thrown away
			return
		}
		if _, err := z.w.Write(p); err != nil {
			z.mu.Lock()
			z.err = err
			z.mu.Unlock()
		}
	}
	// RFC 1952: deflate, no flags, no time, the fastest algorithm, an unknown system.
	write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255})
	var crc, size uint32
	for b := range z.queue {
		<-b.done
		crc, size = crc32.Update(crc, crc32.IEEETable, b.in), size+uint32(len(b.in))
		write(b.out)
		b.in, b.out = b.in[:0], b.out[:0]
		z.free <- b
	}
	end := []byte{1, 0, 0, 0xff, 0xff} // RFC 1951: a last block, stored, with nothing in it
	write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(end, crc), size))
}

// compress makes out of in, ended at a byte's border so that the next block's can follow.
func (b *gzipBlock) compress() {
	w := &b.match
	level := packLevel
	if len(b.in) >= 2*sampled {
		switch matched, coded := b.try(); {
		case matched <= worthMatch*coded:
		case coded <= worthCoding:
			w, level = &b.code, flate.HuffmanOnly
		default:
			w, level = &b.store, flate.NoCompression
		}
	}
	b.run(w, level, b.in)
}

// run compresses data with the Writer at w. There are no errors: the level is one, and the block takes everything.
func (b *gzipBlock) run(w **flate.Writer, level int, data []byte) {
	if *w == nil {
		*w, _ = flate.NewWriter(b, level)
	} else {
		(*w).Reset(b)
	}
	_, _ = (*w).Write(data)
	_ = (*w).Flush()
}

// try compresses a sample and says what parts of it matches and a Huffman code, or that code alone, would leave.
func (b *gzipBlock) try() (matched, coded float64) {
	b.sample = b.sample[:0]
	for i := range samples {
		at := i * (len(b.in) - sampled/samples) / (samples - 1)
		b.sample = append(b.sample, b.in[at:][:sampled/samples]...)
	}
	b.run(&b.match, packLevel, b.sample)
	matched = float64(len(b.out)) / sampled
	b.out = b.out[:0]
	var count [256]int
	for _, c := range b.sample {
		count[c]++
	}
	for _, n := range count {
		if n > 0 {
			p := float64(n) / sampled
			coded -= p * math.Log2(p) / 8
		}
	}
	return matched, max(coded, 1./8) // no code has less than a bit
}
