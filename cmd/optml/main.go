// Command optml runs SageMaker jobs on one's own machine: training, batch transform, and the validation of an
// algorithm, from the same documents that the service takes.
//
// main.go wires and maps errors to exit codes, roles.go says what else the binary can be, cmd_<verb>.go is one file a
// verb, each with one run function that tests call directly.
package main

import (
	"errors"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
)

func main() {
	// First of all, before anything is parsed: the binary is also the daemon, the shim and the logger of its containers.
	if r, args, ok := roleOf(os.Args, os.Getenv); ok {
		os.Exit(r.main(args))
	}
	hurry()
	os.Exit(cli(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// hurry lets the heap grow for a quarter of a second. A command that is over by then, or has begun what it is for, has its
// garbage collected once rather than at each 4 MB; each time costs some milliseconds of both processors of a small machine.
// What comes later may hold the parts of uploads, of which garbage is not to be a multiple.
func hurry() {
	if os.Getenv("GOGC") != "" {
		return
	}
	usual := debug.SetGCPercent(400)
	time.AfterFunc(250*time.Millisecond, func() { debug.SetGCPercent(usual) })
}

// cli runs one command line and returns its exit code.
func cli(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	root := a.command()
	root.SetArgs(args)
	err := root.Execute()
	if err != nil {
		printError(stderr, err)
	}
	return exitCode(err)
}

// ended is the error of a job that has ended with an exit code of its own. Its report has told why.
type ended struct{ code int }

func (e ended) Error() string { return "" }

// exitInterrupted is the exit code of a command that a signal ended before its job's end: 128 + SIGINT.
const exitInterrupted = 130

// exitCode is the one place where an error becomes an exit code; harness.ExitCodes is the table in words.
func exitCode(err error) int {
	var (
		end     ended
		usage   *usageError
		invalid *job.Invalid
		refused *job.Unsupported
		image   *container.ImageError
		host    *harness.HostError
	)
	switch {
	case err == nil:
		return harness.ExitCompleted
	case errors.As(err, &end):
		return end.code
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &invalid), errors.As(err, &refused):
		return harness.ExitUsage
	case errors.Is(err, ledger.ErrInUse), errors.Is(err, ledger.ErrNotFound), errors.Is(err, ledger.ErrOwned), isAmbiguous(err):
		return harness.ExitName
	case errors.As(err, &image):
		return harness.ExitImage
	case errors.As(err, &host), isHostLack(err):
		return harness.ExitHost
	}
	return harness.ExitInternal
}

func isAmbiguous(err error) bool {
	var a *ledger.AmbiguousError
	return errors.As(err, &a)
}
