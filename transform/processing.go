package transform

import (
	"errors"
	"fmt"
	"io"

	"github.com/optml/optml/dataprocessing"
	"github.com/optml/optml/framing"
)

// processor is what the request's DataProcessing and GenerateInferenceId ask for; nil for nothing.
func processor(cfg *Config) (*dataprocessing.Processor, error) {
	t := &cfg.Job
	o := dataprocessing.Options{
		ContentType: t.Input.ContentType, Accept: t.Output.Accept,
		SplitType: t.Input.SplitType, AssembleWith: t.Output.AssembleWith,
		Identify: t.Capture != nil && t.Capture.InferenceIDs, Began: cfg.Began,
	}
	if d := t.Processing; d != nil {
		o.InputFilter, o.OutputFilter, o.Join = d.InputFilter, d.OutputFilter, d.Join
	}
	return dataprocessing.New(o)
}

// inspect holds records that are sent as they are, and joined later, to their format (BT-164).
func (p *pool) inspect(b []byte, seq, record, offset int64) *Failure {
	if !p.dp.Reads() {
		return nil
	}
	for ; len(b) > 0; record++ {
		n := p.dp.Record(b)
		if _, err := p.dp.Input(nil, b[:n], 0); err != nil {
			return &Failure{Class: ClientError, Err: err, Record: record, Records: 1, Offset: offset, seq: seq}
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

// shares is what a request may take: bytes of its body, and of the unfiltered records that are read for it. For a join
// these are kept beside the body until the response is written, in the same slab and the same account; a request is then
// closed early when there is no room for more of them. Without a limit a record is bounded, as in cutSingle.
func (p *pool) shares() (body, originals int) {
	switch {
	case p.limit == 0:
		return maxRecord, maxRecord
	case !p.dp.Joins():
		return int(p.limit), int(max(p.limit, minAhead))
	}
	each := p.q.maxRequests / int64(p.settings.MaxConcurrent)
	keep := max(each-p.limit, each/2)
	return int(min(p.limit, each-keep)), int(keep)
}

// filtering puts the requests of one object whose records are filtered (BT-83, BT-151).
type filtering struct {
	p *pool
	o *object

	limit     int    // bytes of a body as sent
	body      int    // bytes of it that a slab has room for
	originals int    // bytes of unfiltered records: of one that is read, and for a join of those of a request
	in        []byte // what is read; of a document all of it
	line      []byte // one filtered record

	slab  *slab
	keep  int // bytes of the slab that are for unfiltered records
	kept  int // of them, in use
	used  int // bytes of bodies
	it    item
	first struct{ kept, used int } // where it begins
	seq   int64
}

// cutFiltered is cut with an input filter.
func (p *pool) cutFiltered(o *object, r io.Reader) *Failure {
	f := &filtering{p: p, o: o, limit: int(p.limit)}
	f.body, f.originals = p.shares()
	if f.limit == 0 {
		f.limit = maxRecord
	}
	defer f.drop()
	if !p.split {
		f.in, f.line = p.documents.in, p.documents.line
		defer func() { p.documents.in, p.documents.line = f.in, f.line }()
		if size, _ := p.plain(o, int64(singleSlab)); cap(f.in) == 0 {
			f.in = make([]byte, size+1) // and see the end
		}
		return f.whole(r)
	}
	start, _ := p.plain(o, int64(min(singleSlab, f.originals)))
	f.in = make([]byte, max(1, start))
	st := framing.NewStream(p.format, r)
	for !o.failed.Load() {
		n, records, err := st.Fill(f.in)
		if long, ok := errors.AsType[*framing.TooLong](err); ok {
			if long.Frame <= int64(f.originals) && len(f.in) < f.originals {
				f.in = make([]byte, min(p.grown(len(f.in), long, int64(f.originals)), f.originals))
				continue
			}
			return f.unheld(fmt.Sprintf("record %d", long.Record), st.Measure(long))
		}
		if err == io.EOF {
			f.flush()
			return nil
		}
		if err != nil {
			return inputFailure(err, f.seq)
		}
		record, offset := st.Record()-int64(records)+1, st.Offset()-int64(n)
		for b := f.in[:n]; len(b) > 0; record++ {
			n := p.dp.Record(b)
			if fail, more := f.add(b[:n], record, offset); fail != nil || !more {
				return fail
			}
			b, offset = b[n:], offset+int64(n)
		}
	}
	return nil
}

// unheld is the failure of what is too large to be filtered at all.
func (f *filtering) unheld(what string, long *framing.TooLong) *Failure {
	least := ""
	if long.AtLeast {
		least = "at least "
	}
	err := fmt.Errorf("%w: %s has %s%d bytes, and at most %d are held to be filtered", ErrInput, what, least, long.Frame, f.originals)
	return &Failure{Class: ClientError, Err: err, Record: long.Record, Records: 1, Offset: long.Offset, seq: f.seq}
}

// filter makes line of a record.
func (f *filtering) filter(dst, rec []byte, format string, record, offset int64) ([]byte, *Failure) {
	dst, err := f.p.dp.Input(dst, rec, f.limit)
	if err == nil && len(dst) <= f.limit {
		return dst, nil
	}
	if least := errors.Is(err, dataprocessing.ErrLong); least || err == nil {
		size := int64(max(len(dst), f.limit+1))
		err = &framing.TooLong{Format: format, Record: record, Offset: offset, Size: size, Frame: size, Max: int64(f.limit), AtLeast: least}
	}
	return dst, &Failure{Class: ClientError, Err: err, Record: record, Records: 1, Offset: offset, seq: f.seq}
}

// add filters a record and puts it into the request at hand, or into the next one if it does not fit.
func (f *filtering) add(rec []byte, record, offset int64) (fail *Failure, more bool) {
	if f.line, fail = f.filter(f.line[:0], rec, f.p.format.Name, record, offset); fail != nil {
		return fail, false
	}
	if f.it.records > 0 && (f.p.single || f.used-f.first.used+len(f.line) > f.limit || !f.fits(len(rec), len(f.line))) {
		if !f.flush() {
			return nil, false
		}
	}
	if !f.place(rec, f.line) {
		return nil, false
	}
	if f.it.records++; f.it.records == 1 {
		f.it.record, f.it.offset = record, offset
	}
	return nil, true
}

func (f *filtering) fits(rec, line int) bool {
	return f.slab != nil && f.used+line <= len(f.slab.b)-f.keep && (!f.p.dp.Joins() || f.kept+rec <= f.keep)
}

// place copies a record and what is sent of it into the slab. false: stopped.
func (f *filtering) place(rec, line []byte) bool {
	if !f.fits(len(rec), len(line)) {
		f.drop()
		keep, body := f.originals, f.body
		if f.p.single {
			keep, body = min(keep, singleSlab), min(body, singleSlab)
		}
		if size, _ := f.p.plain(f.o, int64(keep)); int(size) < keep {
			keep, body = int(size), min(body, int(size))
		}
		keep, body = max(keep, len(rec)), max(body, len(line), 1)
		if !f.p.dp.Joins() {
			keep = 0
		}
		if f.slab = f.p.q.slab(keep + body); f.slab == nil {
			return false
		}
		f.slab.refs.Store(1) // ours while we fill it
		f.keep, f.kept, f.used = keep, 0, 0
		f.first.kept, f.first.used = 0, 0
	}
	if f.p.dp.Joins() {
		f.kept += copy(f.slab.b[f.kept:f.keep], rec)
	}
	f.used += copy(f.slab.b[f.keep+f.used:], line)
	return true
}

// flush puts the request at hand. false: stopped.
func (f *filtering) flush() bool {
	if f.it.records == 0 {
		return true
	}
	it := f.it
	it.seq, it.slab = f.seq, f.slab
	from, to := f.keep+f.first.used, f.keep+f.used
	it.body = f.slab.b[from:to:to]
	it.originals = f.slab.b[f.first.kept:f.kept:f.kept]
	f.slab.refs.Add(1)
	f.seq++
	f.it = item{}
	f.first.kept, f.first.used = f.kept, f.used
	if !f.p.single {
		f.drop() // each request is given back by itself
	}
	return f.p.put(f.o, it)
}

// drop gives our hold of the slab up.
func (f *filtering) drop() {
	f.p.q.release(f.slab)
	f.slab = nil
}

// whole is SplitType None: the object is one request, of one document or of lines.
func (f *filtering) whole(r io.Reader) *Failure {
	n := 0
	for {
		m, err := io.ReadFull(r, f.in[n:])
		n += m
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return inputFailure(err, 0)
		}
		if n > f.originals {
			return f.unheld("the object", &framing.TooLong{Frame: int64(n), AtLeast: true})
		}
		in := make([]byte, min(2*n, f.originals+1))
		copy(in, f.in)
		f.in = in
	}
	if n > f.originals {
		return f.unheld("the object", &framing.TooLong{Frame: int64(n), AtLeast: true})
	}
	if n == 0 {
		return nil // nothing to send (BT-82)
	}
	records := int64(0)
	f.line = f.line[:0]
	for b := f.in[:n]; len(b) > 0; {
		m := f.p.dp.Record(b)
		var fail *Failure
		if f.line, fail = f.filter(f.line, b[:m], wholeObject, records+1, int64(n-len(b))); fail != nil {
			return fail
		}
		records++
		b = b[m:]
	}
	f.originals, f.body = n, len(f.line)
	if f.place(f.in[:n], f.line) {
		f.it.records = records
		f.flush()
	}
	return nil
}

// output writes what the request's DataProcessing makes of a response.
func (p *pool) output(o *object, b *body) *Failure {
	pieces := append([][]byte{b.small}, b.chunks...)
	scratch := &p.scratches.one
	if len(b.chunks) > 0 && p.dp.Whole() {
		// A document that came in pieces is put together: one at a time, so that this takes the memory of one.
		p.scratches.Lock()
		defer p.scratches.Unlock()
	} else {
		if o.scratch == nil {
			o.scratch = new(dataprocessing.Scratch)
		}
		scratch = o.scratch
	}
	err := p.dp.Output(o.buf, scratch, b.originals, pieces, p.maxRow)
	if err == nil {
		return nil
	}
	bad, ok := errors.AsType[*dataprocessing.Error](err)
	if !ok {
		return &Failure{Class: InternalError, Err: fmt.Errorf("%w: write: %w", ErrOutput, err)}
	}
	f := &Failure{Class: ClientError, Err: err, Record: b.it.record, Records: b.it.records, Offset: b.offset}
	if bad.Record > 0 && f.Record > 0 {
		f.Records = 1
		for left := b.originals; bad.Record > 1 && len(left) > 0; bad.Record-- {
			n := p.dp.Record(left)
			left, f.Record, f.Offset = left[n:], f.Record+1, f.Offset+int64(n)
		}
	}
	return f
}
