package ledger

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/optml/optml/job"
)

// A job's record belongs to whoever called sudo; its scratch, which containers see, is root's until it is given away.
func TestJobOfAUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	o, err := Create(t.TempDir(), Request{
		Plan:      &job.Plan{Format: 1, Kind: job.KindTraining, Name: "mine", Training: &job.Training{}},
		Documents: map[string][]byte{"CreateTrainingJob.json": []byte("{}")}, UID: 1234, GID: 2345,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := os.WriteFile(filepath.Join(o.LogsDir(), "algo-1.log"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	owns := func(path string) [2]uint32 {
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		return [2]uint32{st.Uid, st.Gid}
	}
	user := [2]uint32{1234, 2345}
	for path, want := range map[string][2]uint32{
		o.Dir(): user, o.LogsDir(): user, o.RequestDir(): user, o.WorkDir(): {},
		o.EventsPath(): {0, 2345}, filepath.Join(o.LogsDir(), "algo-1.log"): {0, 2345},
	} {
		if got := owns(path); got != want {
			t.Errorf("%s belongs to %v, want %v", path, got, want)
		}
	}
	if uid, gid := o.User(); uid != 1234 || gid != 2345 {
		t.Errorf("the job belongs to %d, %d", uid, gid)
	}
	if err := o.GiveWork(); err != nil || owns(o.WorkDir()) != user {
		t.Errorf("scratch: %v, %v", owns(o.WorkDir()), err)
	}
}
