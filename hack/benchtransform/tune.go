package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/optml/optml/hack/measure"
)

// setting is a cell of the grid that --tune tries.
type setting struct {
	Concurrent int `json:"maxConcurrentTransforms"`
	PayloadMB  int `json:"maxPayloadInMB"`
}

func (s setting) String() string { return fmt.Sprintf("%d x %d MB", s.Concurrent, s.PayloadMB) }

// tuning holds what --tune chooses against every cell of its grid, each measured by full jobs in turn. Ours is the chosen
// cell; the target is for the fastest of the others.
func tuning(name, says string, of func(*bench) data, model string, runs int) measure.Row[*bench] {
	return measure.Row[*bench]{
		Name: name, Says: "the setting that --tune chooses against all of its grid, " + says + ", a model of " + model, Instants: instant, Unit: "MB/s", Amount: megabytes(of),
		Ready: func(b *bench) (*measure.Contest, error) {
			d := of(b)
			if err := d.make(b); err != nil {
				return nil, err
			}
			w := work{key: d.key, split: "Line", strategy: "SingleRecord", env: map[string]string{"BENCH_MODEL": model}}
			if d.multi {
				w.strategy = "MultiRecord"
			}
			begun := time.Now()
			chosen, grid, err := b.optml.tune(w)
			if err != nil {
				return nil, err
			}
			fmt.Printf("\n%s: --tune took %.0f s for %d settings and chose %v\n", name, time.Since(begun).Seconds(), len(grid), chosen)
			side := func(s setting) measure.Side {
				w := w
				w.concurrent, w.payload = s.Concurrent, s.PayloadMB
				return measure.Side{Name: s.String(), Runs: runs, Run: func(bool) (measure.Sample, error) {
					got, a, err := b.optml.transform(w)
					if err == nil && a.Bytes != d.bytes() {
						err = fmt.Errorf("%d bytes in all, want %d", a.Bytes, d.bytes())
					}
					got.Took = []time.Duration{a.took()}
					return got, err
				}}
			}
			sides := []measure.Side{side(chosen)}
			for _, s := range grid {
				if s != chosen {
					other := side(s)
					other.Target, other.Best = 0.9, true
					sides = append(sides, other)
				}
			}
			return &measure.Contest{Sides: sides, Close: func() {}}, nil
		},
	}
}

// tune is what --tune chooses and what it has tried.
func (o *optml) tune(w work) (chosen setting, grid []setting, err error) {
	w.concurrent, w.payload = 0, -1
	name, args, err := o.documents(w)
	if err != nil {
		return chosen, nil, err
	}
	defer o.forget(name)
	var out, said bytes.Buffer
	cmd := o.Command(append([]string{"--output", "json"}, append(args, "--tune")...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return chosen, nil, fmt.Errorf("optml transform --tune: %w\n%s", err, said.Bytes())
	}
	var x struct {
		Trials []setting
		Best   setting
	}
	if err := json.Unmarshal(out.Bytes(), &x); err != nil || len(x.Trials) == 0 {
		return chosen, nil, fmt.Errorf("%s: %v: %s", filepath.Base(args[3]), err, out.Bytes())
	}
	return x.Best, x.Trials, nil
}
