// Package measure runs ours and its peers in turn and prints the ratios: what hack/bench's programs share. A row is made
// ready, its sides run one after the other, round by round, and the table says how many times as long as ours each takes.
package measure

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Sample is one run of one side.
type Sample struct {
	Took   []time.Duration  `json:"tookNs"` // to each of the row's instants; 0: this side has no such instant
	CPU    time.Duration    `json:"cpuNs"`
	Peak   int64            `json:"peakBytes,omitempty"` // VmHWM of the owner, or of the peer's processes together
	Beside map[string]int64 `json:"besideBytes,omitempty"`
	Bytes  int64            `json:"-"`
	Sum    uint32           `json:"-"`
	HasSum bool             `json:"-"`
}

// Side is who is measured in a row. The first of a row is ours.
type Side struct {
	Name    string
	Target  float64 // at least: how many times as fast as this side ours is; 0: for information
	Or      float64 // or so much of the row's unit in a second, which is enough too; 0: nothing else is
	Within  float64 // instead: by what part ours may differ from this side
	Best    bool    // the target holds for the fastest of the sides with this and the same target
	CPU     float64 // at most: ours' processor time as a part of this side's; 0: any
	Runs    int     // fewer runs of a slow side; 0: as many as the others
	Idle    bool    // ours with nothing to bring
	Wide    bool    // its pipe is as large as ours, which neither a shell nor the program would ask for
	Order   bool    // the order of its bytes is its own, so the checksum of a stream cannot be held against it
	Missing error   // why it cannot be had
	Run     func(check bool) (Sample, error)
}

// Contest is a row made ready.
type Contest struct {
	Sides []Side
	Close func()
}

// Row is one line of the table of what is measured, on a bench of type B.
type Row[B any] struct {
	Name     string
	Says     string
	Instants []string // what each duration of a sample is
	Unit     string   // of the rate printed: MB/s, objects/s …; "": none
	Amount   func(b B) float64
	Memory   int64 // bytes of ours' peak at most; 0: as the options say
	Touch    bool  // much memory is filled in a run: touch it before
	Once     bool  // a single run each, and no first one that does not count
	Ready    func(b B) (*Contest, error)
}

// outcome is what was measured of one side, for -json.
type outcome struct {
	Name    string   `json:"name"`
	Missing string   `json:"missing,omitempty"`
	Samples []Sample `json:"samples,omitempty"`
}

type rowOutcome struct {
	Row      string    `json:"row"`
	Says     string    `json:"says"`
	Instants []string  `json:"instants"`
	Sides    []outcome `json:"sides"`
	Error    string    `json:"error,omitempty"`
}

// Options are what all rows of a run have in common.
type Options struct {
	N       int          // runs of each side that count; one more before does not
	Memory  int64        // bytes of ours' peak at most, where a row does not say; 0: any
	JSON    string       // a file for every sample; "": none
	Stopped *atomic.Bool // set: nothing more is begun
}

// Choose returns the rows whose name the expression matches, and an error if there is none.
func Choose[B any](rows []Row[B], expression string) ([]Row[B], error) {
	match, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	var chosen []Row[B]
	for _, r := range rows {
		if match.MatchString(r.Name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no row matches %q; -list lists them", expression)
	}
	return chosen, nil
}

// List prints the rows' names and what they are.
func List[B any](rows []Row[B]) {
	for _, r := range rows {
		fmt.Printf("%-24s %s\n", r.Name, r.Says)
	}
}

// All measures the rows on b and prints them. A row that fails does not keep the others from being measured.
func All[B any](b B, rows []Row[B], o Options) error {
	var all []rowOutcome
	var failed []string
	for _, r := range rows {
		out, err := r.measure(b, o)
		if err != nil {
			if len(out.Sides) == 0 || len(out.Sides[0].Samples) == 0 {
				fmt.Printf("\n## %s\n%s; NOT MEASURED\n", r.Name, r.Says)
			}
			fmt.Printf("failed: %v\n", err)
			out.Error = err.Error()
			failed = append(failed, r.Name)
		}
		all = append(all, out)
		if o.Stopped.Load() {
			break
		}
	}
	if o.JSON != "" {
		text, err := json.MarshalIndent(all, "", " ")
		if err == nil {
			err = os.WriteFile(o.JSON, append(text, '\n'), 0o644)
		}
		if err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("something of these rows could not be measured: %s", strings.Join(failed, ", "))
	}
	return nil
}

// measure runs the sides in turn. The first round does not count: there each side's bytes are held against ours.
func (r Row[B]) measure(b B, opts Options) (out rowOutcome, err error) {
	out = rowOutcome{Row: r.Name, Says: r.Says, Instants: r.Instants}
	c, err := r.Ready(b)
	if err != nil {
		return out, err
	}
	defer c.Close()
	n := opts.N
	if r.Once {
		n = 1
	}
	out.Sides = make([]outcome, len(c.Sides))
	var first Sample
	var failed []error
	for round := range n + 1 {
		if round == 0 && r.Once {
			continue
		}
		for i, s := range c.Sides {
			o := &out.Sides[i]
			o.Name = s.Name
			if s.Missing != nil {
				o.Missing, _, _ = strings.Cut(s.Missing.Error(), "\n")
				continue
			}
			if s.Runs > 0 && round > min(s.Runs, n) {
				continue
			}
			if r.Touch {
				touch(3 * int64(1e6*r.Amount(b)))
			}
			got, err := s.Run(round == 0)
			if opts.Stopped.Load() {
				return out, errors.New("interrupted")
			}
			if err == nil && round == 0 {
				err = same(s, got, first)
			}
			if err != nil && i == 0 {
				return out, fmt.Errorf("%s: %w", s.Name, err)
			} else if err != nil { // ours and the other peers are still worth their time
				c.Sides[i].Missing = err
				failed = append(failed, fmt.Errorf("%s: %w", s.Name, err))
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
	r.print(os.Stdout, b, opts, c.Sides, out)
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
func same(s Side, got, first Sample) error {
	switch {
	case got.Bytes > 0 && first.Bytes > 0 && got.Bytes != first.Bytes:
		return fmt.Errorf("read %d bytes, ours %d", got.Bytes, first.Bytes)
	case got.HasSum && first.HasSum && !s.Order && got.Sum != first.Sum:
		return errors.New("read other bytes than ours")
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func pick[T any](s []Sample, of func(Sample) T) (v []T) {
	for _, x := range s {
		v = append(v, of(x))
	}
	return v
}

// print writes a row's table: a line for each side and instant.
func (r Row[B]) print(w io.Writer, b B, opts Options, sides []Side, out rowOutcome) {
	t := &table{}
	t.add("instant", "side", "median s", "min..max", cmp.Or(r.Unit, "-"), "cpu s", "peak MiB", "x ours", "min..max", "target")
	ours := out.Sides[0].Samples
	for at, instant := range r.Instants {
		took := func(s []Sample) []float64 {
			return pick(s, func(x Sample) float64 { return x.Took[at].Seconds() })
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
			if r.Unit != "" {
				rate = fmt.Sprintf("%.0f", r.Amount(b)/median(v))
			}
			peak := median(pick(o.Samples, func(x Sample) float64 { return float64(x.Peak) })) / (1 << 20)
			mib := fmt.Sprintf("%.0f", peak)
			if peak == 0 { // in this very process, or nothing that holds data
				mib = "-"
			}
			line := []string{instant, o.Name, seconds(median(v)), seconds(slices.Min(v)) + ".." + seconds(slices.Max(v)), rate,
				seconds(median(pick(o.Samples, cpuSeconds))), mib}
			if i > 0 {
				line = append(line, r.ratio(b, sides, out, i, at)...)
			}
			t.add(line...)
		}
	}
	fmt.Fprintf(w, "\n## %s\n%s; %s\n", r.Name, r.Says, runs(out))
	t.write(w)
	if len(ours) == 0 {
		return
	}
	peak := slices.Max(pick(ours, func(s Sample) int64 { return s.Peak }))
	if peak > 0 {
		fmt.Fprintf(w, "peak memory of ours: %.0f MiB", float64(peak)/(1<<20))
	}
	if limit := cmp.Or(r.Memory, opts.Memory); limit > 0 {
		fmt.Fprintf(w, ", %s", verdict(peak < limit, fmt.Sprintf("below %d MiB", limit>>20)))
	}
	beside := map[string]int64{}
	for _, s := range ours {
		for name, n := range s.Beside {
			beside[name] = max(beside[name], n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(beside)) {
		fmt.Fprintf(w, "; %s %.0f MiB", name, float64(beside[name])/(1<<20))
	}
	if peak > 0 {
		fmt.Fprintln(w)
	}
	for i, s := range sides {
		if s.CPU == 0 || len(out.Sides[i].Samples) == 0 {
			continue
		}
		theirs := median(pick(out.Sides[i].Samples, cpuSeconds))
		part := median(pick(ours, cpuSeconds)) / theirs
		fmt.Fprintf(w, "processor time of ours: %.2f of %s, %s", part, s.Name, verdict(part <= s.CPU, fmt.Sprintf("at most %.2f", s.CPU)))
		for k, other := range sides {
			if other.Idle && len(out.Sides[k].Samples) > 0 {
				part -= median(pick(out.Sides[k].Samples, cpuSeconds)) / theirs
				fmt.Fprintf(w, "; without what a job without data takes: %.2f, %s", part, verdict(part <= s.CPU, fmt.Sprintf("at most %.2f", s.CPU)))
			}
		}
		fmt.Fprintln(w)
	}
}

func cpuSeconds(s Sample) float64 { return s.CPU.Seconds() }

// ratio is how many times as long as ours a side takes, and whether that is enough.
func (r Row[B]) ratio(b B, sides []Side, out rowOutcome, i, at int) []string {
	took := func(i int) []float64 {
		return pick(out.Sides[i].Samples, func(x Sample) float64 { return x.Took[at].Seconds() })
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
	if s.Within > 0 {
		line[0] = fmt.Sprintf("%.3f", x)
		return append(line, verdict(math.Abs(x-1) <= s.Within, fmt.Sprintf("within %v %%", 100*s.Within)))
	}
	if s.Target == 0 {
		return line
	}
	says := "at least " + strings.TrimSuffix(fmt.Sprintf("%.2f", s.Target), "0")
	if s.Or > 0 {
		says += fmt.Sprintf(", or %.0f %s", s.Or, r.Unit)
	}
	if s.Best {
		for k, other := range sides {
			if other.Best && other.Target == s.Target && len(out.Sides[k].Samples) > 0 && median(took(k)) < median(theirs) {
				return append(line, "("+other.Name+" is faster)")
			}
		}
	}
	return append(line, verdict(x >= s.Target || s.Or > 0 && r.Amount(b)/median(ours) >= s.Or, says))
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
