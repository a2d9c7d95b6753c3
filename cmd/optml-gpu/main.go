// Command optml-gpu is the GPU helper of optml: the only program of it that loads NVIDIA's library, which may end the
// process that loads it. `make build` builds it where there is a C compiler and embeds it into optml, which stays static.
package main

import (
	"os"

	"github.com/optml/optml/runtime/gpu/nvml"
)

func main() { os.Exit(nvml.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
