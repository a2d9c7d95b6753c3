package logfile

import "testing"

// TestWritten tells a log that grows from one whose writer has gone, marked as complete or not.
func TestWritten(t *testing.T) {
	w, base := create(t)
	r := open(t, base)
	for range 2 { // asking takes nothing
		if !r.Written() {
			t.Error("the writer lives")
		}
	}
	w.Write(Stdout, []byte("x\n"))
	w.idx.Close() // as the kernel does for a process that is killed
	if r.Written() {
		t.Error("the writer is dead")
	}
	if complete, _ := r.Complete(); complete {
		t.Error("counts as complete")
	}
	other, base := create(t)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	r = open(t, base)
	if complete, _ := r.Complete(); !complete || r.Written() {
		t.Errorf("complete %v, written %v", complete, r.Written())
	}
}
