//go:build e2e

package ctrd

import (
	"testing"
)

func TestRunsToItsEnd(t *testing.T) {
	s := newSpec(t, "TINY_PRINT=hello\n", "TINY_PRINT_STDERR=oops\n", "TINY_EXIT_CODE=3")
	task := launch(t, s)
	if err := task.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := wait(t, task); e.Code != 3 || e.OOM {
		t.Errorf("exit is %+v, want code 3", e)
	}
	if err := task.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Log(readLog(t, s))
}
