package report

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	slowestMost  = 10
	statusesMost = 32
	// binBase: neighbouring bins of the latencies differ by so much, so that what is read from them is right to 1 %.
	binBase  = 1.02
	binLeast = 1e-6 // seconds
)

// request is a line of requests.jsonl (docs/transform.md).
type request struct {
	Time    time.Time `json:"time"`
	Host    string    `json:"host"`
	Object  string    `json:"object"`
	Record  int64     `json:"record"`
	Records int64     `json:"records"`
	Sent    int64     `json:"sent"`
	Status  int       `json:"status"`
	Tries   int64     `json:"attempts"`
	Latency float64   `json:"latencySeconds"`
	Error   string    `json:"error"`
}

// requests sums up a transform's requests.
type requests struct {
	n        int64
	bad      int64
	retried  int64
	statuses map[int]int64
	other    int64 // of statuses beyond statusesMost
	bins     map[int]int64
	slowest  []request
	latency  line
}

func readRequests(path string) (*requests, error) {
	q := &requests{statuses: map[int]int64{}, bins: map[int]int64{}}
	err := records(path, func(b []byte) {
		var x request
		if json.Unmarshal(b, &x) != nil || x.Time.IsZero() || x.Latency < 0 || math.IsInf(x.Latency, 0) {
			q.bad++
			return
		}
		q.add(x)
	})
	return q, err
}

func (q *requests) add(x request) {
	q.n++
	q.retried += max(0, x.Tries-1)
	if _, ok := q.statuses[x.Status]; ok || len(q.statuses) < statusesMost {
		q.statuses[x.Status]++
	} else {
		q.other++
	}
	q.bins[bin(x.Latency)]++
	q.latency.add(point{x.Time, x.Latency})
	i, _ := slices.BinarySearchFunc(q.slowest, x, func(a, b request) int { return cmp.Compare(b.Latency, a.Latency) })
	if i < slowestMost {
		q.slowest = slices.Insert(q.slowest, i, x)
		q.slowest = q.slowest[:min(len(q.slowest), slowestMost)]
	}
}

func bin(seconds float64) int {
	return int(math.Floor(math.Log(max(seconds, binLeast)/binLeast) / math.Log(binBase)))
}

// quantile is the latency that a share of the requests does not exceed, right to 1 %.
func (q *requests) quantile(share float64) float64 {
	rank := int64(math.Ceil(share * float64(q.n)))
	for _, b := range slices.Sorted(maps.Keys(q.bins)) {
		if rank -= q.bins[b]; rank <= 0 {
			return binLeast * math.Pow(binBase, float64(b)+0.5)
		}
	}
	return 0
}

// histogram joins the bins to at most n, and gives the seconds at which the first begins and the last ends.
func (q *requests) histogram(n int) (counts []int64, from, to float64) {
	if q.n == 0 {
		return nil, 0, 0
	}
	keys := slices.Sorted(maps.Keys(q.bins))
	low, high := keys[0], keys[len(keys)-1]+1
	step := max(1, (high-low+n-1)/n)
	counts = make([]int64, (high-low+step-1)/step)
	for b, c := range q.bins {
		counts[(b-low)/step] += c
	}
	edge := func(b int) float64 { return binLeast * math.Pow(binBase, float64(b)) }
	return counts, edge(low), edge(low + step*len(counts))
}
