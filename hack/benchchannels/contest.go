package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sample is one run of one side.
type sample struct {
	Took   []time.Duration  `json:"tookNs"` // to each of the row's instants; 0: this side has no such instant
	CPU    time.Duration    `json:"cpuNs"`
	Peak   int64            `json:"peakBytes,omitempty"` // VmHWM of the owner, or of the peer's processes together
	Beside map[string]int64 `json:"besideBytes,omitempty"`
	bytes  int64
	sum    uint32
	hasSum bool
}

// side is who is measured in a row. The first of a row is ours.
type side struct {
	name    string
	target  float64 // at least: how many times as fast as this side ours is; 0: for information
	best    bool    // the target holds for the fastest of the sides with this and the same target
	cpu     float64 // at most: ours' processor time as a part of this side's; 0: any
	runs    int     // fewer runs of a slow side; 0: as many as the others
	idle    bool    // ours with nothing to bring
	wide    bool    // its pipe is as large as ours, which neither a shell nor the program would ask for
	order   bool    // the order of its bytes is its own, so the checksum of a stream cannot be held against it
	missing error   // why it cannot be had
	run     func(check bool) (sample, error)
}

// contest is a row made ready.
type contest struct {
	sides []side
	close func()
}

// limitMemory is the peak memory of ours in every row.
const limitMemory = 256 << 20

// row is one line of the table of what is measured.
type row struct {
	name     string
	says     string
	instants []string // what each duration of a sample is
	unit     string   // of the rate printed: MB/s, objects/s …; "": none
	amount   func(b *bench) float64
	touch    bool // much memory is filled in a run: touch it before
	once     bool // a single run each, and no first one that does not count
	ready    func(b *bench) (*contest, error)
}

// outcome is what was measured of one side, for -json.
type outcome struct {
	Name    string   `json:"name"`
	Missing string   `json:"missing,omitempty"`
	Samples []sample `json:"samples,omitempty"`
}

type rowOutcome struct {
	Row      string    `json:"row"`
	Says     string    `json:"says"`
	Instants []string  `json:"instants"`
	Sides    []outcome `json:"sides"`
	Error    string    `json:"error,omitempty"`
}

// measure runs the sides in turn. The first round does not count: there each side's bytes are held against ours.
func (b *bench) measure(r row) (out rowOutcome, err error) {
	out = rowOutcome{Row: r.name, Says: r.says, Instants: r.instants}
	c, err := r.ready(b)
	if err != nil {
		return out, err
	}
	defer c.close()
	n := b.n
	if r.once {
		n = 1
	}
	out.Sides = make([]outcome, len(c.sides))
	var first sample
	var failed []error
	for round := range n + 1 {
		if round == 0 && r.once {
			continue
		}
		for i, s := range c.sides {
			o := &out.Sides[i]
			o.Name = s.name
			if s.missing != nil {
				o.Missing, _, _ = strings.Cut(s.missing.Error(), "\n")
				continue
			}
			if s.runs > 0 && round > min(s.runs, n) {
				continue
			}
			if r.touch {
				touch(3 * int64(1e6*r.amount(b)))
			}
			got, err := s.run(round == 0)
			if b.stopped.Load() {
				return out, errors.New("interrupted")
			}
			if err == nil && round == 0 {
				err = same(s, got, first)
			}
			if err != nil && i == 0 {
				return out, fmt.Errorf("%s: %w", s.name, err)
			} else if err != nil { // ours and the other peers are still worth their time
				c.sides[i].missing = err
				failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
				o.Missing, _, _ = strings.Cut(err.Error(), "\n")
				o.Samples = nil
				continue
			}
			if round == 0 && i == 0 {
				first = got
			}
			if round > 0 {
				o.Samples = append(o.Samples, got)
			}
		}
	}
	b.print(os.Stdout, r, c.sides, out)
	return out, errors.Join(failed...)
}

// touch writes to so many bytes of memory and gives them back. In a virtual machine that leaves its free memory to the
// host, each page costs what the host needs to bring it when it is used again, many times what a run does with it; and it
// is chance whether a run comes upon such pages.
func touch(n int64) {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		n = min(n, int64(info.Freeram)*int64(info.Unit)*3/4)
	}
	if b, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_POPULATE); err == nil {
		_ = syscall.Munmap(b)
	}
}

// same is whether a side has read what ours has.
func same(s side, got, first sample) error {
	switch {
	case got.bytes > 0 && first.bytes > 0 && got.bytes != first.bytes:
		return fmt.Errorf("read %d bytes, ours %d", got.bytes, first.bytes)
	case got.hasSum && first.hasSum && !s.order && got.sum != first.sum:
		return errors.New("read other bytes than ours")
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func pick[T any](s []sample, of func(sample) T) (v []T) {
	for _, x := range s {
		v = append(v, of(x))
	}
	return v
}

// print writes a row's table: a line for each side and instant.
func (b *bench) print(w io.Writer, r row, sides []side, out rowOutcome) {
	t := &table{}
	t.add("instant", "side", "median s", "min..max", cmp.Or(r.unit, "-"), "cpu s", "peak MiB", "x ours", "min..max", "target")
	ours := out.Sides[0].Samples
	for at, instant := range r.instants {
		took := func(s []sample) []float64 {
			return pick(s, func(x sample) float64 { return x.Took[at].Seconds() })
		}
		for i, o := range out.Sides {
			if o.Missing != "" {
				if at == 0 {
					t.add(instant, o.Name, "NOT MEASURED: "+o.Missing)
				}
				continue
			}
			if o.Samples[0].Took[at] == 0 {
				continue
			}
			v := took(o.Samples)
			rate := "-"
			if r.unit != "" {
				rate = fmt.Sprintf("%.0f", r.amount(b)/median(v))
			}
			peak := median(pick(o.Samples, func(x sample) float64 { return float64(x.Peak) })) / (1 << 20)
			mib := fmt.Sprintf("%.0f", peak)
			if peak == 0 { // in this very process, or nothing that holds data
				mib = "-"
			}
			line := []string{instant, o.Name, seconds(median(v)), seconds(slices.Min(v)) + ".." + seconds(slices.Max(v)), rate,
				seconds(median(pick(o.Samples, cpuSeconds))), mib}
			if i > 0 {
				line = append(line, b.ratio(sides, out, i, at)...)
			}
			t.add(line...)
		}
	}
	fmt.Fprintf(w, "\n## %s\n%s; %s\n", r.name, r.says, runs(out))
	t.write(w)
	if len(ours) == 0 {
		return
	}
	peak := slices.Max(pick(ours, func(s sample) int64 { return s.Peak }))
	fmt.Fprintf(w, "peak memory of ours: %.0f MiB, %s", float64(peak)/(1<<20), verdict(peak < limitMemory, "below 256 MiB"))
	beside := map[string]int64{}
	for _, s := range ours {
		for name, n := range s.Beside {
			beside[name] = max(beside[name], n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(beside)) {
		fmt.Fprintf(w, "; %s %.0f MiB", name, float64(beside[name])/(1<<20))
	}
	fmt.Fprintln(w)
	for i, s := range sides {
		if s.cpu == 0 || len(out.Sides[i].Samples) == 0 {
			continue
		}
		theirs := median(pick(out.Sides[i].Samples, cpuSeconds))
		part := median(pick(ours, cpuSeconds)) / theirs
		fmt.Fprintf(w, "processor time of ours: %.2f of %s, %s", part, s.name, verdict(part <= s.cpu, fmt.Sprintf("at most %.2f", s.cpu)))
		for k, other := range sides {
			if other.idle && len(out.Sides[k].Samples) > 0 {
				part -= median(pick(out.Sides[k].Samples, cpuSeconds)) / theirs
				fmt.Fprintf(w, "; without what a job without data takes: %.2f, %s", part, verdict(part <= s.cpu, fmt.Sprintf("at most %.2f", s.cpu)))
			}
		}
		fmt.Fprintln(w)
	}
}

func cpuSeconds(s sample) float64 { return s.CPU.Seconds() }

// ratio is how many times as long as ours a side takes, and whether that is enough.
func (b *bench) ratio(sides []side, out rowOutcome, i, at int) []string {
	took := func(i int) []float64 {
		return pick(out.Sides[i].Samples, func(x sample) float64 { return x.Took[at].Seconds() })
	}
	ours, theirs := took(0), took(i)
	if ours[0] == 0 {
		return nil
	}
	var pairs []float64
	for k := range min(len(ours), len(theirs)) {
		pairs = append(pairs, theirs[k]/ours[k])
	}
	x := median(theirs) / median(ours)
	line := []string{fmt.Sprintf("%.2f", x), fmt.Sprintf("%.2f..%.2f", slices.Min(pairs), slices.Max(pairs))}
	s := sides[i]
	if s.target == 0 {
		return line
	}
	says := fmt.Sprintf("at least %.1f", s.target)
	if s.best {
		for k, other := range sides {
			if other.best && other.target == s.target && len(out.Sides[k].Samples) > 0 && median(took(k)) < median(theirs) {
				return append(line, "("+other.name+" is faster)")
			}
		}
	}
	return append(line, verdict(x >= s.target, says))
}

func verdict(ok bool, says string) string {
	if ok {
		return says + ": yes"
	}
	return says + ": NO"
}

func runs(out rowOutcome) string {
	var all []string
	for _, o := range out.Sides {
		if n := fmt.Sprint(len(o.Samples)); o.Missing == "" && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	if len(all) == 1 && all[0] == "1" {
		return "1 run"
	}
	return strings.Join(all, " or ") + " runs in turn"
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }

// table is text in columns.
type table struct{ rows [][]string }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) {
	const columns = 10
	var width [columns]int
	for _, r := range t.rows {
		for i, c := range r {
			if !strings.HasPrefix(c, "NOT MEASURED") {
				width[i] = max(width[i], len(c))
			}
		}
	}
	for _, r := range t.rows {
		var line strings.Builder
		for i, c := range r {
			if i < 2 || i == columns-1 {
				fmt.Fprintf(&line, "%-*s  ", width[i], c)
			} else {
				fmt.Fprintf(&line, "%*s  ", width[i], c)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

var errNotFound = errors.New("not found")
