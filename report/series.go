package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

const (
	pointsRaw   = 200 // of a line: so many are drawn one by one
	columns     = 280 // of pixels; with more points each column shows its least and its greatest
	linesMost   = 8   // in one plot
	seriesMost  = 64  // plots of one kind in a job
	recordBytes = 64 << 10
)

// point is a value at a time.
type point struct {
	t time.Time
	v float64
}

// line is what is drawn of any number of points: all of them, or the extremes of each column.
type line struct {
	host   string
	group  int // of a colour, from 1; 0: one of its own
	dashed bool
	hollow []bool // by raw point
	n      int64
	raw    []point
	first  point
	last   point
	began  time.Time
	width  time.Duration // of a column
	cols   []extremes
}

type extremes struct {
	any      bool
	min, max point
}

func (l *line) add(p point) {
	if l.n == 0 {
		l.first, l.began, l.width = p, p.t, time.Millisecond
	}
	l.n++
	l.last = p
	if len(l.raw) < pointsRaw {
		l.raw = append(l.raw, p)
	}
	i := max(0, int(p.t.Sub(l.began)/l.width))
	for i >= columns { // wider columns: each takes its neighbour in
		for k := range (len(l.cols) + 1) / 2 {
			c := l.cols[2*k]
			if 2*k+1 < len(l.cols) {
				c.take(l.cols[2*k+1])
			}
			l.cols[k] = c
		}
		l.cols = l.cols[:(len(l.cols)+1)/2]
		l.width *= 2
		i = int(p.t.Sub(l.began) / l.width)
	}
	for len(l.cols) <= i {
		l.cols = append(l.cols, extremes{})
	}
	l.cols[i].take(extremes{true, p, p})
}

func (e *extremes) take(x extremes) {
	switch {
	case !x.any:
	case !e.any:
		*e = x
	default:
		if x.min.v < e.min.v {
			e.min = x.min
		}
		if x.max.v > e.max.v {
			e.max = x.max
		}
	}
}

// points are those to draw, in the order of time.
func (l *line) points() []point {
	if l.n <= pointsRaw {
		return l.raw
	}
	out := []point{l.first}
	put := func(p point) {
		if p != out[len(out)-1] {
			out = append(out, p)
		}
	}
	for _, c := range l.cols {
		if !c.any {
			continue
		}
		a, b := c.min, c.max
		if b.t.Before(a.t) {
			a, b = b, a
		}
		put(a)
		put(b)
	}
	put(l.last)
	return out
}

// series is one metric of all hosts.
type series struct {
	name  string
	lines []*line
	n     int64
	left  int64  // points of hosts that are not drawn
	over  string // what X is; "": time
	x     *Axis  // of X where it is not time
	marks []Mark
	of    string // what has the lines; "": instances
}

// seriesSet is the metrics of a file.
type seriesSet struct {
	all  []*series // in the order in which they are seen
	by   map[string]*series
	left int64 // points of metrics that are not drawn
	bad  int64 // lines that say nothing
}

func (s *seriesSet) add(name, host string, p point) {
	x := s.by[name]
	if x == nil {
		if len(s.all) == seriesMost {
			s.left++
			return
		}
		if s.by == nil {
			s.by = map[string]*series{}
		}
		x = &series{name: name}
		s.by[name] = x
		s.all = append(s.all, x)
	}
	x.n++
	for _, l := range x.lines {
		if l.host == host {
			l.add(p)
			return
		}
	}
	if len(x.lines) == linesMost {
		x.left++
		return
	}
	l := &line{host: host}
	l.add(p)
	x.lines = append(x.lines, l)
}

// readSeries reads a file of samples; one that is not there has none.
func readSeries(path string) (seriesSet, error) {
	var s seriesSet
	err := records(path, func(b []byte) {
		var x struct {
			Time  time.Time `json:"time"`
			Host  string    `json:"host"`
			Name  string    `json:"name"`
			Value *float64  `json:"value"`
		}
		if json.Unmarshal(b, &x) != nil || x.Time.IsZero() || x.Value == nil {
			s.bad++
			return
		}
		s.add(x.Name, x.Host, point{x.Time, *x.Value})
	})
	return s, err
}

// records visits the lines of a file, of which there may be any number. One that is too long comes cut, so that it is no
// JSON; one without a newline at the file's end is still being written.
func records(path string, visit func([]byte)) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, recordBytes)
	for cut := false; ; {
		b, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if !cut {
				visit(b[:1])
			}
			cut = true
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !cut && len(bytes.TrimSpace(b)) > 0 {
			visit(b)
		}
		cut = false
	}
}
