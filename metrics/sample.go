package metrics

import "time"

// Sample is one value: that a log line gave, or that was measured of the instance (training 5.2).
type Sample struct {
	At     time.Time // when the line was read
	Host   string    // algo-1; samples of all hosts are of one metric (MET-11)
	Name   string
	Value  float64
	Offset int64 // of the line in the host's log, bytes

	Instance bool // measured; Offset says nothing
}

// Final is a metric's last value (MET-8).
type Final struct {
	Name  string
	Value float64
	At    time.Time
	Count int64 // samples
}

// Definition tells what became of one definition.
type Definition struct {
	Name, Regex string
	Matches     int64  // on all lines
	Samples     int64  // matches that gave a number
	NotFinite   int64  // matches that gave NaN or an infinity, which is not published (MET-2)
	NotNumbers  int64  // matches whose text is no number
	Example     string // of such a text, the first one
	RawLines    int64  // lines matched only with their control characters unescaped (MET-3)
	GaveUp      int64  // lines on which it backtracked too long (MET-5)
	Dropped     int64  // lines that it was not tried on, since it had taken too long before
}
