package transform

import (
	"errors"
	"fmt"
	"io"

	"github.com/optml/optml/framing"
)

// cut puts the requests of one object into the queue. It returns what ends the object early, nil when all is put or the
// job is over. Here is the place between records and requests: the input filter.
func (p *pool) cut(o *object, r io.Reader) *Failure {
	switch {
	case p.dp.Filters():
		return p.cutFiltered(o, r)
	case !p.split:
		return p.cutWhole(o, r)
	case p.single:
		return p.cutSingle(o, r)
	}
	return p.cutMulti(o, r)
}

func inputFailure(err error, seq int64) *Failure {
	f := &Failure{Class: ClientError, Err: fmt.Errorf("%w: %w", ErrInput, err), seq: seq}
	if long, ok := errors.AsType[*framing.TooLong](err); ok && long.Format != wholeObject {
		f.Record, f.Records, f.Offset = long.Record, 1, long.Offset
	} else if bad, ok := errors.AsType[*framing.Error](err); ok {
		f.Record, f.Records, f.Offset = bad.Record, 1, bad.Offset
	}
	return f
}

// plain is the object's decompressed size if it is known, else the most that it can be, bounded by limit.
func (p *pool) plain(o *object, limit int64) (size int64, known bool) {
	switch {
	case o.Size < 0:
		return limit, false
	case p.cfg.Job.Input.Compression == "Gzip":
		return min(limit, o.Size*maxDeflate+1), false
	}
	return min(limit, o.Size), o.Size <= limit
}

// cutWhole is SplitType None (BT-50): the object is the request.
func (p *pool) cutWhole(o *object, r io.Reader) *Failure {
	tooLong := func(size int64, least bool) *Failure {
		return inputFailure(&framing.TooLong{Format: wholeObject, Record: 1, Size: size, Frame: size, Max: p.limit, AtLeast: least}, 0)
	}
	size, known := p.plain(o, p.limit)
	if !known && o.Size > p.limit && p.cfg.Job.Input.Compression != "Gzip" {
		return tooLong(o.Size, false)
	}
	s := p.q.slab(int(size))
	if s == nil {
		return nil
	}
	s.refs.Store(1)
	n, err := io.ReadFull(r, s.b)
	if err == nil { // full: is that all?
		var more [1]byte
		if m, e := io.ReadFull(r, more[:]); m > 0 {
			p.q.release(s)
			return tooLong(int64(n+1), true)
		} else if e != io.EOF {
			err = e
		}
	} else if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	if err != nil || n == 0 {
		p.q.release(s)
		if err != nil {
			return inputFailure(err, 0)
		}
		return nil // nothing to send (BT-82)
	}
	records := int64(1)
	if p.dp.Reads() {
		if f := p.inspect(s.b[:n], 0, 1, 0); f != nil {
			p.q.release(s)
			return f
		}
		records = p.dp.Count(s.b[:n])
	}
	p.put(o, item{body: s.b[:n], slab: s, records: records})
	return nil
}

// cutMulti is MULTI_RECORD (BT-80): as many whole records as fit, framing kept (BT-70).
func (p *pool) cutMulti(o *object, r io.Reader) *Failure {
	st := framing.NewStream(p.format, r)
	size, _ := p.plain(o, p.limit)
	for seq := int64(0); !o.failed.Load(); seq++ {
		s := p.q.slab(int(size))
		if s == nil {
			return nil
		}
		s.refs.Store(1)
		n, records, err := st.Fill(s.b)
		if err != nil {
			p.q.release(s)
			if long, ok := errors.AsType[*framing.TooLong](err); ok {
				if size < p.limit {
					size = p.limit
					seq--
					continue
				}
				long = st.Measure(long)
				if long.Size = long.Frame; long.Size <= p.limit {
					long.Size = p.limit + 1 // the parts seen so far fit, the whole does not
				}
				long.Max, err = p.limit, long
			}
			if err == io.EOF {
				return nil
			}
			return inputFailure(err, seq)
		}
		record, offset := st.Record()-int64(records)+1, st.Offset()-int64(n)
		if f := p.inspect(s.b[:n], seq, record, offset); f != nil {
			p.q.release(s)
			return f
		}
		if !p.put(o, item{seq: seq, body: s.b[:n], slab: s, record: record, records: int64(records), offset: offset}) {
			return nil
		}
	}
	return nil
}

// cutSingle is SINGLE_RECORD: each record's payload (BT-70), or its frame with KeepFraming (BT-74).
func (p *pool) cutSingle(o *object, r io.Reader) *Failure {
	limit := p.limit
	if limit == 0 {
		limit = maxRecord
	}
	st := framing.NewStream(p.format, r)
	start, _ := p.plain(o, singleSlab)
	size := int(start)
	seq := int64(0)
	for !o.failed.Load() {
		s := p.q.slab(size)
		if s == nil {
			return nil
		}
		s.refs.Store(1) // ours while we put its records
		n, records, err := st.Fill(s.b)
		if err != nil {
			p.q.release(s)
			if long, ok := errors.AsType[*framing.TooLong](err); ok {
				if long.Size <= limit {
					size = p.grown(size, long, limit)
					continue
				}
				long = st.Measure(long)
				long.Max, err = limit, long
			}
			if err == io.EOF {
				return nil
			}
			return inputFailure(err, seq)
		}
		record, offset := st.Record()-int64(records)+1, st.Offset()-int64(n)
		if f := p.inspect(s.b[:n], seq, record, offset); f != nil {
			p.q.release(s)
			return f
		}
		s.refs.Add(int64(records))
		for at, rec := range p.format.Each(s.b[:n], !p.cfg.KeepFraming) {
			if int64(len(rec)) > limit {
				s.refs.Add(-int64(records))
				p.q.release(s)
				return inputFailure(&framing.TooLong{Format: p.format.Name, Record: record, Offset: offset + int64(at), Size: int64(len(rec)), Frame: int64(len(rec)), Max: limit}, seq)
			}
			if !p.put(o, item{seq: seq, body: rec, slab: s, record: record, records: 1, offset: offset + int64(at)}) {
				return nil
			}
			seq++
			record++
			records--
		}
		p.q.release(s)
	}
	return nil
}

// grown is the size of a slab that a record did not fit. It stays so for the rest of the object: what follows is likely
// to be alike.
func (p *pool) grown(size int, long *framing.TooLong, limit int64) int {
	if !long.AtLeast { // a header tells; it may lie, but not beyond the limit
		return int(long.Frame)
	}
	if size = 2 * size; long.Frame <= limit {
		size = min(size, int(limit)+singleSlab)
	}
	return size
}
