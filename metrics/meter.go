package metrics

import "time"

// The names of what SageMaker publishes of an instance (training 5.2).
const (
	CPUUtilization       = "CPUUtilization"
	MemoryUtilization    = "MemoryUtilization"
	DiskUtilization      = "DiskUtilization"
	GPUUtilization       = "GPUUtilization"
	GPUMemoryUtilization = "GPUMemoryUtilization"
)

// The service publishes a value a minute, of which a job of two minutes has two. A Meter makes one a second at first, and
// later one for each 600th of the time that has passed, at least one a minute: a plot has always enough points, and 28
// days are 48,000.
const (
	meterFirst = time.Second
	meterLast  = time.Minute
	meterShare = 600
)

// Reading is what an instance used at one moment, or since the reading before: the sum of its containers.
type Reading struct {
	At   time.Time
	CPU  float64  // percent of one core, since the reading before
	Mem  float64  // percent
	Disk *float64 // percent; nil: not known, or, of a transform, not published
	GPU  *float64 // percent, the sum over its GPUs; nil: it has none, or they are not measured
	GMem *float64
}

// Meter makes samples of one instance's readings. Its methods must not be called concurrently.
type Meter struct {
	host  string
	began time.Time
	last  time.Time // of the samples
	at    time.Time // of the last reading

	now [5]mean // since the last samples, in the order of names
	all [5]mean
}

var meterNames = [5]string{CPUUtilization, MemoryUtilization, DiskUtilization, GPUUtilization, GPUMemoryUtilization}

// mean is over time: a reading counts as long as it was since the one before.
type mean struct{ sum, weight, max float64 }

func (m *mean) add(v, weight float64) {
	m.sum += v * weight
	m.weight += weight
	m.max = max(m.max, v)
}

// NewMeter begins with what began then.
func NewMeter(host string, began time.Time) *Meter {
	return &Meter{host: host, began: began, last: began, at: began}
}

// Read takes a reading and returns samples when they are due: the means since the last ones.
func (m *Meter) Read(r Reading) []Sample {
	weight := r.At.Sub(m.at).Seconds()
	if weight <= 0 {
		return nil
	}
	m.at = r.At
	for i, v := range [5]*float64{&r.CPU, &r.Mem, r.Disk, r.GPU, r.GMem} {
		if v != nil {
			m.now[i].add(*v, weight)
			m.all[i].add(*v, weight)
		}
	}
	if due := min(max(meterFirst, r.At.Sub(m.began)/meterShare), meterLast); r.At.Sub(m.last) < due-due/10 { // readings are not on the dot
		return nil
	}
	return m.Rest()
}

// Rest returns the samples of what was read since the last ones.
func (m *Meter) Rest() (samples []Sample) {
	for i := range m.now {
		if n := &m.now[i]; n.weight > 0 {
			samples = append(samples, Sample{At: m.at, Host: m.host, Name: meterNames[i], Value: n.sum / n.weight, Instance: true})
			*n = mean{}
		}
	}
	m.last = m.at
	return samples
}

// Total is a metric of an instance over the whole of a job.
type Total struct {
	Name      string
	Mean, Max float64
}

// Totals are those that there were readings of.
func (m *Meter) Totals() (all []Total) {
	for i, x := range m.all {
		if x.weight > 0 {
			all = append(all, Total{meterNames[i], x.sum / x.weight, x.max})
		}
	}
	return all
}
