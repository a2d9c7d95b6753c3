package ledger

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAppendTellsOfAnEarlierSync: a disk that failed to take a transition, of which the kernel tells once only, is an
// error of the next event that must be on it.
func TestAppendTellsOfAnEarlierSync(t *testing.T) {
	j, err := openJournal(layout(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer j.f.Close()
	failed := error(unix.EIO)
	j.unsynced.Store(&failed)
	if err := j.append(Event{Seq: 1, Body: Warning{Text: "w"}}, false); err != nil {
		t.Errorf("an event that is not synced: %v", err)
	}
	if err := j.append(Event{Seq: 2, Body: Intent{Kind: "container", ID: "c"}}, true); err != unix.EIO {
		t.Errorf("an intent after a disk's error: %v", err)
	}
}

// TestSyncSoonOutlivesClose: an owner may go while a transition is on its way to the disk.
func TestSyncSoonOutlivesClose(t *testing.T) {
	j, err := openJournal(layout(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		j.syncSoon()
	}
	if err := j.f.Close(); err != nil {
		t.Error(err)
	}
	j.syncSoon()
	if err := j.unsynced.Load(); err != nil {
		t.Error(*err)
	}
}
