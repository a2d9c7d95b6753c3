package transform

import "sync/atomic"

// Stats are counters that a Run keeps up to date; they may be read at any time.
type Stats struct {
	TotalObjects atomic.Int64 // to process; 0 until listed
	TotalBytes   atomic.Int64 // of the objects as stored, where known
	Objects      atomic.Int64 // finished well
	Failed       atomic.Int64
	Skipped      atomic.Int64 // bytes of failed objects as stored that are not read any more
	Read         atomic.Int64 // bytes of the objects as stored, read so far
	Records      atomic.Int64 // answered
	Requests     atomic.Int64 // attempts sent
	Retries      atomic.Int64
	Cut          atomic.Int64 // bytes of request bodies made of what was read, without those given up
	BytesIn      atomic.Int64 // of request bodies answered
	BytesOut     atomic.Int64 // of response bodies accepted
	InFlight     atomic.Int64 // requests open now
}

// Totals are the counters at one moment.
type Totals struct {
	TotalObjects, TotalBytes   int64
	Objects, Failed            int64
	Skipped, Read              int64
	Records, Requests, Retries int64
	Cut                        int64
	BytesIn, BytesOut          int64
	InFlight                   int64
}

// Totals reads the counters.
func (s *Stats) Totals() Totals {
	return Totals{
		TotalObjects: s.TotalObjects.Load(), TotalBytes: s.TotalBytes.Load(),
		Objects: s.Objects.Load(), Failed: s.Failed.Load(), Skipped: s.Skipped.Load(), Read: s.Read.Load(),
		Records: s.Records.Load(), Requests: s.Requests.Load(), Retries: s.Retries.Load(),
		Cut: s.Cut.Load(), BytesIn: s.BytesIn.Load(), BytesOut: s.BytesOut.Load(), InFlight: s.InFlight.Load(),
	}
}

// ToDo is how many of TotalBytes are, or were, to be answered: of an object that failed those that were read.
func (t Totals) ToDo() int64 { return t.TotalBytes - t.Skipped }

// Done is about how many of TotalBytes have been answered: what was read, less what waits for its answer.
func (t Totals) Done() int64 {
	if t.Cut <= 0 || t.BytesIn >= t.Cut {
		return t.Read // of an object that is streamed nothing waits
	}
	return int64(float64(t.Read) * float64(t.BytesIn) / float64(t.Cut))
}
