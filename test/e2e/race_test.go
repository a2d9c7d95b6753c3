//go:build e2e && race

package e2e

// With -race the binary is built with the detector too.
const raceEnabled = true
