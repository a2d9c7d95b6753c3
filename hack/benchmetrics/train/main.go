// train is what benchmetrics' image runs: it prints the file of its channel, again and again.
package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	times, err := strconv.Atoi(os.Getenv("TIMES"))
	if err == nil {
		var text []byte
		if text, err = os.ReadFile("/opt/ml/input/data/train/log"); err == nil {
			for range times {
				if _, err = os.Stdout.Write(text); err != nil {
					break
				}
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}
