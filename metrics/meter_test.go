package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Training 5.2: five metrics, each the mean of what was read since the last sample, weighted by time.
func TestMeter(t *testing.T) {
	m := NewMeter("algo-1", t0)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	if got := m.Read(Reading{At: at(0.25), CPU: 100, Mem: 10, Disk: new(1.0), GPU: new(20.0), GMem: new(4.0)}); got != nil {
		t.Error("too early:", got)
	}
	if got := m.Read(Reading{At: at(0.25), CPU: 999}); got != nil {
		t.Error("the same moment again:", got)
	}
	got := m.Read(Reading{At: at(1), CPU: 200, Mem: 30, Disk: new(3.0), GPU: new(60.0), GMem: new(8.0)})
	var want []Sample
	for i, v := range []float64{175, 25, 2.5, 50, 7} {
		want = append(want, Sample{At: at(1), Host: "algo-1", Name: meterNames[i], Value: v, Instance: true})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	m.Read(Reading{At: at(1.5), CPU: 10, Mem: 10})
	if got := m.Rest(); len(got) != 2 || got[0].Value != 10 || got[0].Name != CPUUtilization || got[1].Name != MemoryUtilization {
		t.Error(got)
	}
	if got := m.Rest(); got != nil {
		t.Error("nothing was read:", got)
	}
	if got := m.Totals(); len(got) != 5 || got[0] != (Total{CPUUtilization, 120, 200}) || got[4] != (Total{GPUMemoryUtilization, 7, 8}) {
		t.Error(got)
	}
}

// One sample a second at first, one a minute in the end: a day is some four thousand, the longest job 48,000.
func TestMeterRate(t *testing.T) {
	for days, most := range map[int]int{0: 600, 1: 4500, 28: 48_000} {
		m := NewMeter("h", t0)
		n := 0
		end := max(10*60, days*24*3600)
		for s := 1; s <= end; s++ {
			if got := m.Read(Reading{At: t0.Add(time.Duration(s) * time.Second)}); len(got) > 0 {
				n++
			}
		}
		if n > most || n < most*4/5 {
			t.Errorf("%d days: %d samples, want about %d", days, n, most)
		}
	}
}
