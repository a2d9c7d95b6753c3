package gpu

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/optml/optml/runtime/container"
)

var _ container.GPUs = (*Host)(nil)

// heavy is how much memory must be in use on a GPU that nobody holds for it to be the last to be chosen: something that
// is not ours works there.
const heavy = 1 << 30

// choose finds the GPUs of a request among those that nobody holds.
func choose(inv Inventory, r container.GPURequest) ([]GPU, error) {
	usable := inv.Usable()
	if len(r.Devices) > 0 {
		return named(inv, r.Devices)
	}
	if len(usable) < r.Count {
		text := fmt.Sprintf("%s wanted, and this host has %d", gpus(r.Count), len(usable))
		if inv.Absent != "" {
			text += ": " + inv.Absent
		}
		return nil, &container.GPUError{Text: text, Help: "`optml gpus` lists them; --gpus says how many a job gets", Capacity: true}
	}
	free := slices.DeleteFunc(slices.Clone(usable), func(g GPU) bool { return g.Holder != nil })
	if len(free) < r.Count {
		return nil, &container.GPUError{
			Text:     fmt.Sprintf("%s wanted, and %d of %d are free: %s", gpus(r.Count), len(free), len(usable), holders(usable)),
			Help:     "wait for their end, or stop them with `optml stop`; `optml gpus` lists who holds what; --gpus says how many a job gets",
			Capacity: true,
		}
	}
	slices.SortStableFunc(free, func(a, b GPU) int { return b2i(a.MemoryUsed > heavy) - b2i(b.MemoryUsed > heavy) })
	return free[:r.Count], nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// named finds GPUs that were asked for by index or UUID.
func named(inv Inventory, names []string) ([]GPU, error) {
	var chosen []GPU
	for _, name := range names {
		i := slices.IndexFunc(inv.GPUs, func(g GPU) bool { return g.Index == name || g.UUID == name && name != "" })
		if i < 0 {
			text := fmt.Sprintf("this host has no GPU %q", name)
			if inv.Absent != "" {
				text += ": " + inv.Absent
			}
			return nil, &container.GPUError{Text: text, Help: "`optml gpus` lists them, with index and UUID"}
		}
		g := inv.GPUs[i]
		switch {
		case g.MIG:
			return nil, &container.GPUError{Text: fmt.Sprintf("GPU %s is divided (MIG)", g.Index), Help: fmt.Sprintf("name one of its parts, such as %s:0; `optml gpus` lists them", g.Index)}
		case g.Broken != "":
			return nil, &container.GPUError{Text: fmt.Sprintf("GPU %s cannot be used: %s", g.Index, g.Broken), Help: "nvidia-smi and the kernel's log say more"}
		case slices.ContainsFunc(chosen, func(c GPU) bool { return c.UUID == g.UUID }):
			return nil, &container.GPUError{Text: fmt.Sprintf("GPU %s is named twice", g.Index), Help: "name each once"}
		}
		chosen = append(chosen, g)
	}
	if slices.ContainsFunc(chosen, func(g GPU) bool { return g.Holder != nil }) {
		return nil, &container.GPUError{Text: "not all of the named GPUs are free: " + holders(chosen), Help: "wait for their end, name others, or give a number instead", Capacity: true}
	}
	return chosen, nil
}

func gpus(n int) string {
	if n == 1 {
		return "1 GPU is"
	}
	return fmt.Sprintf("%d GPUs are", n)
}

// holders says who holds which of some GPUs.
func holders(all []GPU) string {
	var jobs []string
	which := map[string][]string{}
	for _, g := range all {
		if g.Holder == nil {
			continue
		}
		if which[g.Holder.Job] == nil {
			jobs = append(jobs, g.Holder.Job)
		}
		which[g.Holder.Job] = append(which[g.Holder.Job], g.Index)
	}
	var parts []string
	for _, j := range jobs {
		parts = append(parts, j+" holds "+strings.Join(which[j], ", "))
	}
	return strings.Join(parts, "; ")
}

// lingerTime bounds how long the processes of a job whose owner died are waited for: its guard kills them at once.
const lingerTime = 15 * time.Second

// Take implements container.GPUs.
func (h *Host) Take(ctx context.Context, r container.GPURequest) (container.TakenGPUs, error) {
	if len(r.Devices) > 0 && len(r.Devices) != r.Count {
		return nil, fmt.Errorf("%d GPUs of %d that are named", r.Count, len(r.Devices))
	}
	t := &share{host: h, inv: h.Inventory(ctx)}
	if err := t.lock(ctx, r); err != nil {
		return nil, err
	}
	for _, l := range t.locks {
		for end := time.Now().Add(lingerTime); h.lingers(l.died); {
			if time.Now().After(end) || ctx.Err() != nil {
				t.free()
				return nil, &container.GPUError{Text: "processes of " + holderOf(l.died).Job + ", whose owner died, still run on the GPUs", Help: "optml prune", Capacity: true}
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	var err error
	if t.watcher, err = h.watch(t.gpus); err != nil {
		h.log().Warn("the GPUs are not measured", "error", err) // the job does without
	}
	return t, nil
}

// share is what one job has.
type share struct {
	host    *Host
	inv     Inventory
	gpus    []GPU
	locks   []*taken
	watcher *watcher
	once    sync.Once
}

var _ container.TakenGPUs = (*share)(nil)

// lock chooses and locks, as one step.
func (t *share) lock(ctx context.Context, r container.GPURequest) error {
	done, err := t.host.choosing(ctx)
	if err != nil {
		return err
	}
	defer done()
	chosen, err := choose(t.host.Held(ctx), r)
	if err != nil {
		return err
	}
	who := holderOf(r.Job)
	for _, g := range chosen {
		l, err := t.host.take(g.UUID, who)
		if err != nil {
			t.free()
			if errors.Is(err, errHeld) { // by who does not choose in turn: no job of ours
				return &container.GPUError{Text: "GPU " + g.Index + " is held", Help: "`optml gpus` says by whom", Capacity: true}
			}
			return err
		}
		t.locks, t.gpus = append(t.locks, l), append(t.gpus, g)
	}
	return nil
}

func (t *share) free() {
	for _, l := range t.locks {
		l.free()
	}
	t.locks = nil
}

func (t *share) List() []container.GPU {
	var all []container.GPU
	for _, g := range t.gpus {
		all = append(all, container.GPU{Index: g.Index, UUID: g.UUID, Name: g.Name})
	}
	return all
}

// some are these of the job's GPUs, in full.
func (t *share) some(these []container.GPU) []GPU {
	var all []GPU
	for _, x := range these {
		if i := slices.IndexFunc(t.gpus, func(g GPU) bool { return g.UUID == x.UUID }); i >= 0 {
			all = append(all, t.gpus[i])
		}
	}
	return all
}

func (t *share) Readings(these []container.GPU) []container.GPUReading {
	if t.watcher == nil {
		return nil
	}
	var all []container.GPUReading
	for _, g := range these {
		if r, ok := t.watcher.reading(g.UUID); ok {
			x := container.GPUReading{MemoryUsed: r.MemoryUsed, MemoryTotal: r.MemoryTotal}
			if r.Busy != nil {
				x.Busy = *r.Busy
			}
			all = append(all, x)
		}
	}
	return all
}

func (t *share) Close() error {
	t.once.Do(func() {
		if t.watcher != nil {
			t.watcher.close()
		}
		t.free()
	})
	return nil
}
