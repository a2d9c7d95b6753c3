// Command optml-shim is the shim role of optml alone. `make build` embeds it into optml, which has containerd run it in
// its own place: a program of a third of the size starts several times as fast.
package main

import (
	"os"

	"github.com/optml/optml/runtime/shim"
)

func main() { os.Exit(shim.Main()) }
