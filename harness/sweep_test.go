package harness

import (
	"testing"
	"time"

	"github.com/optml/optml/ledger"
)

// TestOrphaned: the record names the step in which the job's owner died and when it was last seen, not the step and the
// time of who recovered it.
func TestOrphaned(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 1, 2, 3, 4, s, 0, time.UTC) }
	adopted := func(s int, reason string) ledger.Adoption {
		return ledger.Adoption{At: at(s), Adopted: ledger.Adopted{Reason: reason}}
	}
	layout := ledger.Step{Name: "layout", Begin: at(1), End: at(2)}
	for name, c := range map[string]struct {
		s    ledger.State
		want string
	}{
		"before any step": {ledger.State{Adopted: []ledger.Adoption{adopted(50, ledger.ReasonOwnerDied)}},
			`the optml process that ran this job died in step "prepare", last seen at 2026-01-02T03:04:00Z`},
		"in a step": {ledger.State{Steps: []ledger.Step{layout, {Name: "wait", Begin: at(3)}}, Containers: []ledger.Container{{Started: at(4)}},
			Adopted: []ledger.Adoption{adopted(50, ledger.ReasonOwnerDied)}},
			`the optml process that ran this job died in step "wait", last seen at 2026-01-02T03:04:04Z`},
		"who recovered it died too": {ledger.State{Steps: []ledger.Step{layout, {Name: "wait", Begin: at(3)}, {Name: "artifacts", Begin: at(51), End: at(52)}, {Name: "upload", Begin: at(53)}},
			Adopted: []ledger.Adoption{adopted(50, ledger.ReasonHostRebooted), adopted(55, ledger.ReasonOwnerDied)}},
			`the host rebooted while this job ran in step "wait", last seen at 2026-01-02T03:04:03Z`},
	} {
		c.s.CreationTime, c.s.ModifiedTime = at(0), at(59)
		if got := orphaned(c.s).Error(); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}
