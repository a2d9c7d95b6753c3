package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/optml/optml/hack/measure"
	"github.com/optml/optml/load"
	"github.com/optml/optml/transform"
)

// Of the server whose latencies are known: log-normal, and a second in which nothing is answered.
const (
	knownMedian = 20 * time.Millisecond
	knownSigma  = 0.5
	stallAt     = 8 * time.Second
	stallFor    = time.Second

	accuracyRate = 500
	accuracyTime = 20 * time.Second
)

// known is the server. It notes when each request, which is a number, was answered.
type known struct {
	mu    sync.Mutex
	start time.Time
	ready map[int]int64 // nanoseconds since 1970
}

func (k *known) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/truth" {
		k.mu.Lock()
		defer k.mu.Unlock()
		_ = json.NewEncoder(w).Encode(k.ready)
		return
	}
	b, _ := io.ReadAll(r.Body)
	i, err := strconv.Atoi(string(b))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	if k.start.IsZero() {
		k.start, k.ready = time.Now(), map[int]int64{}
	}
	k.mu.Unlock()
	time.Sleep(time.Duration(float64(knownMedian) * math.Exp(knownSigma*rand.New(rand.NewPCG(1, uint64(i))).NormFloat64())))
	if at := time.Since(k.start); at >= stallAt && at < stallAt+stallFor {
		time.Sleep(stallAt + stallFor - at)
	}
	_, _ = io.WriteString(w, "0.5\n")
	k.mu.Lock()
	k.ready[i] = time.Now().UnixNano()
	k.mu.Unlock()
}

// accuracy holds what an open loop measures over sockets against what the server has noted.
func accuracy() error {
	s, err := measure.Serve("known")
	if err != nil {
		return err
	}
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	n := int(accuracyRate * accuracyTime.Seconds())
	var payloads [][]byte
	for i := range n {
		payloads = append(payloads, strconv.AppendInt(nil, int64(i), 10))
	}
	r, err := load.Run(context.Background(), load.Target{Container: transform.Container{Addr: u.Host, Dial: new(net.Dialer).DialContext}},
		load.Options{Arrivals: load.Constant(accuracyRate), Requests: int64(n), Connections: 1000, Payloads: payloads})
	if err != nil {
		return err
	}
	resp, err := http.Get(s.URL + "/truth")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var ready map[int]int64
	if err := json.NewDecoder(resp.Body).Decode(&ready); err != nil {
		return err
	}
	var truth []float64
	for i, at := range ready {
		due := r.Began.UnixNano() + int64(i+1)*int64(time.Second/accuracyRate)
		truth = append(truth, float64(at-due)/1e9)
	}
	slices.Sort(truth)
	if err := r.WriteText(os.Stdout); err != nil {
		return err
	}
	if err := r.WriteTimeline(os.Stdout); err != nil {
		return err
	}
	worst := 0.0
	fmt.Println("percentile  measured s  truth s  off")
	for _, p := range append(r.Latency.Percentiles, load.Percentile{Percent: 100, Seconds: r.Latency.Max}) {
		want := truth[max(0, int(math.Ceil(p.Percent/100*float64(len(truth))-1e-9))-1)]
		off := p.Seconds/want - 1
		worst = max(worst, math.Abs(off))
		fmt.Printf("%-10v  %-10.5f  %-7.5f  %+.2f %%\n", p.Percent, p.Seconds, want, 100*off)
	}
	if worst > 0.02 || len(truth) != n {
		return fmt.Errorf("%d of %d requests answered, percentiles up to %.1f %% off", len(truth), n, 100*worst)
	}
	return nil
}
