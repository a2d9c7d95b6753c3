// Command optml-logger is the logger role of optml alone. `make build` embeds it into optml: one starts before each
// container, and this one does in a millisecond.
package main

import (
	"os"

	"github.com/optml/optml/runtime/logger"
)

func main() { os.Exit(logger.Main(os.Args[1:])) }
