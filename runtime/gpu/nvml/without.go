//go:build !cgo

package nvml

import (
	"fmt"
	"io"
)

// Main of a build without cgo can load no library.
func Main(_ []string, _ io.Reader, _, stderr io.Writer) int {
	fmt.Fprintln(stderr, "optml-gpu was built without cgo")
	return 1
}
