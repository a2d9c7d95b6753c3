package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/optml/optml/harness"
)

// The README's table of exit codes is the one of the help.
func TestReadmeHasTheExitCodes(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range harness.ExitCodes {
		if row := fmt.Sprintf("| %d | %s |\n", x.Code, x.Meaning); !strings.Contains(string(b), row) {
			t.Errorf("README.md lacks %q", row)
		}
	}
}
