package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"
)

func (a *app) cmdVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and build date",
		Args:  nargs(0, 0, ""),
		RunE:  func(*cobra.Command, []string) error { return runVersion(a.stdout, a.output) },
	}
}

func runVersion(w io.Writer, f format) error {
	if f == formatJSON {
		return writeJSON(w, map[string]string{
			"version": version.Version, "revision": version.GetRevision(), "buildDate": version.BuildDate,
			"goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	built := version.BuildDate
	if built == "" {
		built = "at an unknown time"
	}
	number := version.Version
	if number == "" {
		number = "(built without a version)"
	}
	_, err := fmt.Fprintf(w, "optml %s, commit %s, built %s, %s %s/%s\n", number, version.GetRevision(), built, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// madeBy is this optml, for what others read later.
func madeBy() string {
	number := version.Version
	if number == "" {
		number = "(built without a version)"
	}
	return number + ", commit " + version.GetRevision() + ", " + runtime.GOOS + "/" + runtime.GOARCH
}

// writeJSON prints a result for machines.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
