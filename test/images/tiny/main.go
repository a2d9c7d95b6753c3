// Command tiny is the program of the test image: one static binary that trains (`train`) and serves (`serve`) as a
// SageMaker container does, and misbehaves on request. Options are hyperparameters when training and environment
// variables (TINY_ and the name in capitals) when serving; each is listed in options.go.
//
// It uses the standard library only, so that it builds anywhere in a second and its image holds one file.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// started is taken before anything else of ours runs: the first instruction that a start-up measurement looks for.
var started = time.Now()

func main() {
	mode, args := command(os.Args)
	switch mode {
	case "train":
		os.Exit(train(args))
	case "serve":
		os.Exit(serve())
	case "hold": // a child of `fork`: keeps stdout open
		hold(args)
	default:
		fmt.Fprintf(os.Stderr, "tiny: %q is neither train nor serve\n", os.Args)
		os.Exit(64)
	}
}

// command finds what to do: the first argument (the image has an ENTRYPOINT), else the name that we were called by
// (the image has none and train was found on the PATH: START-2, INF-1).
func command(argv []string) (mode string, rest []string) {
	if name := filepath.Base(argv[0]); name == "train" || name == "serve" {
		return name, argv[1:]
	}
	if len(argv) > 1 {
		return argv[1], argv[2:]
	}
	return "", nil
}

// ml is a path below /opt/ml; TINY_ROOT moves the tree for tests without a container.
func ml(elem ...string) string {
	root := os.Getenv("TINY_ROOT")
	if root == "" {
		root = "/opt/ml"
	}
	return filepath.Join(append([]string{root}, elem...)...)
}
