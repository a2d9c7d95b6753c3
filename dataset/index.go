package dataset

import (
	"time"

	"github.com/optml/optml/objstore"
)

// objects holds a listing in about 30 bytes an object beside its key and ETag, without a pointer for each.
type objects struct {
	from  Entry  // store and prefix of all
	text  []byte // keys and ETags, one behind the other
	table []row
}

type row struct {
	end   uint64 // of key and ETag in text
	key   uint32 // length of the key
	size  int64
	mtime int64 // ns
}

func (x *objects) add(o objstore.Object) {
	x.text = append(append(x.text, o.Key...), o.ETag...)
	r := row{end: uint64(len(x.text)), key: uint32(len(o.Key)), size: o.Size}
	if !o.ModTime.IsZero() {
		r.mtime = o.ModTime.UnixNano()
	}
	x.table = append(x.table, r)
}

func (x *objects) len() int { return len(x.table) }

func (x *objects) at(i int) ([]Entry, error) {
	r := x.table[i]
	from := uint64(0)
	if i > 0 {
		from = x.table[i-1].end
	}
	s := string(x.text[from:r.end])
	e := x.from
	e.Object = objstore.Object{Key: s[:r.key], ETag: s[r.key:], Size: r.size}
	if r.mtime != 0 {
		e.Object.ModTime = time.Unix(0, r.mtime)
	}
	return []Entry{e}, nil
}
