package ctrd

import (
	"os"
	"path/filepath"
	"testing"
)

// A run file that is just being written, by another process or by one that was killed meanwhile, is empty or half there.
func TestRunFilesLeavesOutWhatIsBeingMade(t *testing.T) {
	c := &Client{cfg: Config{RunDir: t.TempDir()}}
	if err := os.MkdirAll(c.cfg.containers(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.writeRunFile(runFile{ID: "whole", Job: "job"}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"1": "", "2": `{"id":"ha`} {
		dir := filepath.Join(c.cfg.containers(), newDir+name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, runFileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.runFiles()
	if err != nil || len(got) != 1 || got[0].ID != "whole" {
		t.Fatalf("runFiles() = %+v, %v; want the whole one alone", got, err)
	}
}
