//go:build cgo

package nvml

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/optml/optml/runtime/gpu"
)

// Main is the helper. What it found is JSON on stdout; an error is a line on stderr and exit code 1.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := func() error {
		f := flag.NewFlagSet("optml-gpu", flag.ContinueOnError)
		f.SetOutput(io.Discard)
		root := f.String("root", "/", "")
		if err := f.Parse(args); err != nil {
			return err
		}
		if f.NArg() == 0 {
			return errors.New("usage: optml-gpu [--root DIR] (list | edits UUID... | watch UUID...)")
		}
		what, uuids := f.Arg(0), f.Args()[1:]
		l := open(*root)
		out := json.NewEncoder(stdout)
		switch what {
		case "list":
			return out.Encode(l.list())
		case "edits":
			e, err := l.edits(*root, uuids)
			if err != nil {
				return err
			}
			return out.Encode(e)
		case "watch":
			gone := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, stdin); close(gone) }()
			return l.watch(uuids, time.Second, gone, func(r []gpu.Reading) error { return out.Encode(r) })
		}
		return fmt.Errorf("%q is none of list, edits and watch", what)
	}()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
