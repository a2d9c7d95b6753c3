package measure

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// Program is a program that measures rows on a bench of type B. Flags of its own are defined before Main is called.
type Program[B any] struct {
	Usage  string // its name and flags, then what it measures; one line
	Rows   []Row[B]
	Runs   int                               // of each side that count, where -n says nothing
	Memory int64                             // bytes of ours' peak at most, where a row does not say; 0: any
	Roles  map[string]func(arg string) error // of processes that measuring starts: this program as "NAME ROLE ARG"

	Prepare func(b B) error // makes what the rows share; nil: nothing. When it fails too, End takes away what there is
	End     func(b B)       // takes away what Prepare and the rows have made
	Kill    func(b B)       // ends what is measured just now, so that a signal ends the program soon; nil: it ends by itself
}

// Main is the program: it measures the rows that the command line chooses and prints them, and exits with 1 where
// something could not be measured.
func (p Program[B]) Main(b B) {
	name, _, _ := strings.Cut(p.Usage, " ")
	if len(os.Args) == 3 && p.Roles[os.Args[1]] != nil {
		if err := p.Roles[os.Args[1]](os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", name, os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	o := Options{Memory: p.Memory, Stopped: new(atomic.Bool)}
	flag.IntVar(&o.N, "n", p.Runs, "runs of each side that count; one more before does not")
	only := flag.String("rows", "", "measure only the rows whose name matches this `regexp`")
	flag.StringVar(&o.JSON, "json", "", "write every sample to this `file`")
	list := flag.Bool("list", false, "list the rows")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), p.Usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if *list {
		List(p.Rows)
		return
	}
	if err := p.run(b, *only, o); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func (p Program[B]) run(b B, only string, o Options) error {
	rows, err := Choose(p.Rows, only)
	if err != nil {
		return err
	}
	if p.End != nil {
		defer p.End(b)
	}
	if p.Prepare != nil {
		if err := p.Prepare(b); err != nil {
			return err
		}
	}
	kill := func() {}
	if p.Kill != nil {
		kill = func() { p.Kill(b) }
	}
	defer Heed(o.Stopped, kill)()
	if f := flag.Lookup("scale"); f != nil && f.Value.String() != f.DefValue {
		fmt.Printf("scale %s: to try the rows, not to quote them\n", f.Value)
	}
	return All(b, rows, o)
}

// Scale defines the flag that makes rows small.
func Scale(to *float64) {
	flag.Float64Var(to, "scale", 1, "multiply sizes or counts by this, to try a row")
}

// Space is the directories of a program that measures, with names that nothing else has.
type Space struct {
	Dir   string // for data: in memory, where there is such a place
	Short string // for sockets, whose paths must be short
}

// Make makes the directories, Dir below in ("": where temporary ones are), and some below Dir.
func (s *Space) Make(in string, below ...string) (err error) {
	if s.Dir, err = os.MkdirTemp(in, "optml-bench-"); err != nil {
		return err
	}
	if s.Short, err = os.MkdirTemp("/run", "ob"); err != nil {
		return err
	}
	for _, d := range below {
		err = errors.Join(err, os.MkdirAll(s.File(d), 0o755))
	}
	return err
}

// File is a path below Dir.
func (s *Space) File(name string) string { return filepath.Join(s.Dir, name) }

// Remove removes the directories that were made.
func (s *Space) Remove() {
	for _, d := range []string{s.Dir, s.Short} {
		if d != "" {
			os.RemoveAll(d)
		}
	}
}

// Kill ends the processes that name one of the directories.
func (s *Space) Kill() { Kill(s.Dir, s.Short) }
