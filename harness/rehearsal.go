package harness

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

// A rehearsal watches what becomes of a container that is interrupted as a spot instance is taken away: SIGTERM to the
// main process, SIGKILL when the grace is over (STOP-9). Nothing is changed in the container to see it: what is told is
// what the kernel says of its processes and what lies in its directories before and after.
type rehearsal struct {
	in      *instance
	at      time.Time           // of SIGTERM
	before  []container.Process // when it was sent
	printed int64               // by then
	folders []folder

	killed  time.Time           // zero: the main process ended in time
	running []container.Process // just before SIGKILL
}

// folder is a directory whose content a job would want to have saved.
type folder struct {
	what, dir, at string // at: in the container
	before, after content
}

// content is what regular files a directory holds.
type content map[string]stamp

type stamp struct {
	size int64
	at   time.Time
}

// interruptAfter is when the job is to be interrupted, which happens once: its next attempt goes on from there.
func (in *instance) interruptAfter() time.Duration {
	if s := in.run.owner.State(); s.Attempt() > 1 {
		return 0
	}
	return in.training.InterruptAfter.Std()
}

// interrupt looks at the container just before SIGTERM is sent.
func (in *instance) interrupt(ctx context.Context) *rehearsal {
	h := &rehearsal{in: in, printed: in.logged(), folders: []folder{
		{what: "model", dir: in.tree.Model(), at: "/opt/ml/model"},
	}}
	if c := in.training.Checkpoint; c != nil {
		h.folders = append(h.folders, folder{what: "checkpoints", dir: in.tree.Checkpoints(), at: path.Clean(c.LocalPath)})
	}
	for i := range h.folders {
		h.folders[i].before = contentOf(h.folders[i].dir)
	}
	h.before = in.processes(ctx)
	h.at = time.Now()
	return h
}

// kill looks at the container just before SIGKILL is sent.
func (h *rehearsal) kill(ctx context.Context) {
	if h == nil { // a stop, which nobody watches
		return
	}
	h.running = h.in.processes(ctx)
	for i := range h.folders {
		h.folders[i].after = contentOf(h.folders[i].dir)
	}
	h.killed = time.Now()
}

// rehearsed records what was seen, once the log is complete.
func (in *instance) rehearsed(end Ending) {
	h, after := in.rehearsal, in.interruptAfter()
	switch {
	case after == 0:
		return
	case h == nil:
		if end.Err == nil {
			in.run.append(ledger.Warning{Rule: "STOP-9", Text: fmt.Sprintf("nothing was interrupted: the process had ended before %s were over", after)})
		}
		return
	case end.Exit == nil:
		return // its end was not seen; the failure says so
	}
	for i := range h.folders {
		if h.killed.IsZero() {
			h.folders[i].after = contentOf(h.folders[i].dir)
		}
	}
	_ = in.run.appendAt(in.host, "wait", h.judge(*end.Exit, in.logged()-h.printed))
}

func (in *instance) processes(ctx context.Context) []container.Process {
	ps, err := in.task.Processes(context.WithoutCancel(ctx))
	if err != nil {
		in.run.append(ledger.Warning{Rule: "STOP-9", Text: "the container's processes could not be looked at: " + err.Error()})
	}
	return ps
}

// logged is how much the container has printed.
func (in *instance) logged() int64 {
	fi, err := os.Stat(in.run.owner.LogPath(in.spec.Name) + ".log")
	if err != nil {
		return 0
	}
	return fi.Size()
}

// contentOf looks at a directory in which a container may be at work: what comes and goes meanwhile is told or not.
func contentOf(dir string) content {
	c := content{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return c
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if fi, err := d.Info(); err == nil {
			c[p] = stamp{fi.Size(), fi.ModTime()}
		}
		return nil
	})
	return c
}

// What may become of the signal.
const (
	signalReached   = "reached"
	signalLate      = "not in time"
	signalIgnored   = "ignored"
	signalDiscarded = "discarded"
	signalSwallowed = "swallowed"
	signalUnseen    = "unseen"
)

// What may be said of a directory.
const (
	savedEmpty      = "empty"
	savedLeft       = "left"       // as the process left it when it ended by itself
	savedQuiet      = "quiet"      // nobody had a file of it open for writing at the kill
	savedUnfinished = "unfinished" // somebody had
)

// judge says what was seen, and no more.
func (h *rehearsal) judge(exit container.Exit, printed int64) ledger.Interruption {
	i := ledger.Interruption{
		Container: h.in.spec.Name, At: h.at.UTC(), Grace: h.in.training.Grace.Std(), Killed: !h.killed.IsZero(),
		Ended: max(0, exit.At.Sub(h.at)), Code: exit.Code, Printed: max(0, printed),
	}
	for _, p := range h.before {
		i.Processes = append(i.Processes, ledger.InterruptedProcess{PID: p.PID, Main: p.Main, Command: p.Command, SIGTERM: string(p.Term)})
	}
	i.Signal, i.Says, i.Remedy = h.signal(exit)
	switch {
	case i.Printed > 0:
		i.Says += fmt.Sprintf(". %d bytes were printed after SIGTERM", i.Printed)
	default:
		i.Says += ". Nothing was printed after SIGTERM"
	}
	for _, f := range h.folders {
		i.Saved = append(i.Saved, h.saved(f))
	}
	return i
}

// signal says what became of SIGTERM, and what to change.
func (h *rehearsal) signal(exit container.Exit) (what, says, remedy string) {
	m := slices.IndexFunc(h.before, func(p container.Process) bool { return p.Main })
	if m < 0 {
		return signalUnseen, "what the processes do with SIGTERM could not be seen; " + h.how(exit), ""
	}
	main := h.before[m]
	var others []container.Process // that would do something with the signal if they got it
	for _, p := range h.before {
		if !p.Main && p.Term == container.HandlingCaught {
			others = append(others, p)
		}
	}
	who := named(main)
	handling := map[container.Handling]string{
		container.HandlingCaught:  "has a handler for SIGTERM",
		container.HandlingIgnored: "ignores SIGTERM",
		container.HandlingDefault: "has no handler for SIGTERM",
	}[main.Term]
	if main.Term == container.HandlingDefault && main.PID == 1 {
		handling += ", and the kernel discards a signal for which PID 1 has none"
	}
	const handle = "handle SIGTERM in the script: save a checkpoint and exit before the grace is over"
	const pass = "start the script with exec, so that it is the main process, or pass the signal on to it (STOP-4)"
	says = fmt.Sprintf("%s, the main process, %s; %s", who, handling, h.how(exit))
	switch {
	case main.Term == container.HandlingCaught && h.killed.IsZero():
		if len(others) > 0 {
			says += fmt.Sprintf(". Whether %s heard of it cannot be seen: SageMaker signals the main process only", listed(others))
		}
		return signalReached, says, ""
	case main.Term == container.HandlingCaught:
		if p := slices.IndexFunc(h.running, func(p container.Process) bool { return p.Main && p.Pending }); p >= 0 {
			says += ". It had not even taken the signal by then"
		}
		remedy = "end within the grace: save less, or begin at once"
		if len(others) > 0 {
			says += fmt.Sprintf(". %s, which has a handler too, is not signalled by SageMaker", listed(others))
			remedy = "a shell runs its trap only when the command that it waits for has ended: " + pass
		}
		return signalLate, says, remedy
	case main.Term == container.HandlingDefault && main.PID != 1 && h.killed.IsZero():
		return signalReached, says + ": that is what SIGTERM does to a process without a handler", handle
	case h.killed.IsZero():
		what, remedy = signalIgnored, handle
		if main.Term == container.HandlingDefault {
			what = signalDiscarded
		}
		says += ", which was not because of SIGTERM"
		return what, says, remedy
	case len(others) > 0:
		says += fmt.Sprintf(". %s would have handled it, but SageMaker signals the main process only", listed(others))
		return signalSwallowed, says, pass
	case main.Term == container.HandlingIgnored:
		return signalIgnored, says, handle
	}
	if len(h.before) > 1 {
		handling = "no other process has one either"
		says += ". " + strings.ToUpper(handling[:1]) + handling[1:]
	}
	return signalDiscarded, says, handle
}

// how the main process ended.
func (h *rehearsal) how(exit container.Exit) string {
	after := human.Duration(exit.At.Sub(h.at))
	if !h.killed.IsZero() {
		return fmt.Sprintf("it still ran %s after SIGTERM, and was killed", human.Duration(h.killed.Sub(h.at)))
	}
	if exit.Signal != 0 {
		return fmt.Sprintf("it was ended by signal %d %s after SIGTERM", exit.Signal, after)
	}
	return fmt.Sprintf("it ended %s after SIGTERM with exit code %d", after, exit.Code)
}

// saved says how a directory stood.
func (h *rehearsal) saved(f folder) ledger.Saved {
	s := ledger.Saved{What: f.what, Files: int64(len(f.after))}
	var last time.Time
	for p, now := range f.after {
		s.Bytes += now.size
		if now.at.After(last) {
			last = now.at
		}
		if f.before[p] != now {
			s.Written++
		}
	}
	for _, p := range h.running {
		for _, path := range p.Writing {
			if rel, ok := strings.CutPrefix(path, f.at+"/"); ok && !slices.Contains(s.Writing, rel) {
				s.Writing = append(s.Writing, rel)
			}
		}
	}
	slices.Sort(s.Writing)
	held := fmt.Sprintf("%s, %s, %d of them written after SIGTERM", human.Count(s.Files, "file"), human.Count(s.Bytes, "byte"), s.Written)
	switch {
	case len(s.Writing) > 0:
		s.State = savedUnfinished
		s.Says = fmt.Sprintf("unfinished: when the kill came, open for writing were %s (%s)", strings.Join(s.Writing[:min(3, len(s.Writing))], ", "), held)
	case s.Files == 0:
		s.State, s.Says = savedEmpty, "empty: nothing had been saved"
	case h.killed.IsZero():
		s.State, s.Says = savedLeft, "complete as far as the process is concerned, which ended by itself: "+held
	default:
		s.State, s.Idle = savedQuiet, max(0, h.killed.Sub(last))
		s.Says = fmt.Sprintf("no file was open for writing when the kill came, and the last write was %s before it: %s", human.Duration(s.Idle), held)
	}
	return s
}

func named(p container.Process) string { return fmt.Sprintf("PID %d (%s)", p.PID, p.Command) }

func listed(ps []container.Process) string {
	if len(ps) > 1 {
		return fmt.Sprintf("%s and %s", named(ps[0]), human.Count(int64(len(ps)-1), "other process", "other processes"))
	}
	return named(ps[0])
}
