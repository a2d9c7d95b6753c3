package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// checkpoints writes checkpoints as a trainer does: it goes on behind the last that is there, writes each under another
// name and renames it, and keeps the newest few. model/resumed.txt is the step that it began behind.
func checkpoints(o options) error {
	steps := o.number("checkpoints", 0)
	if steps == 0 {
		return nil
	}
	raw, err := os.ReadFile(ml("input/config/checkpointconfig.json"))
	if err != nil {
		return err
	}
	var config struct{ LocalPath string }
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	dir := config.LocalPath
	step := func(n int) string { return filepath.Join(dir, fmt.Sprintf("step-%d", n)) }
	last := 0
	for n := 1; n <= steps; n++ {
		if _, err := os.Stat(step(n)); err == nil {
			last = n
		}
	}
	sayJSON(map[string]any{"resumed": last})
	if err := os.WriteFile(ml("model/resumed.txt"), fmt.Appendf(nil, "%d", last), 0o644); err != nil {
		return err
	}
	if o.has("checkpoint_growing") { // a file that is never quiet
		f, err := os.Create(filepath.Join(dir, "growing"))
		if err != nil {
			return err
		}
		go func() {
			for {
				if _, err := f.WriteString("more and "); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	body := strings.Repeat("0123456789abcdef", 64*o.number("checkpoint_kb", 1))
	for n := last + 1; n <= steps; n++ {
		time.Sleep(o.duration("checkpoint_interval", 0))
		temporary := step(n) + ".tmp"
		if err := os.WriteFile(temporary, []byte(body), 0o644); err != nil {
			return err
		}
		if err := os.Rename(temporary, step(n)); err != nil {
			return err
		}
		sayJSON(map[string]any{"checkpoint": n})
		if keep := o.number("checkpoint_keep", 0); keep > 0 && n > keep {
			if err := os.Remove(step(n - keep)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	return nil
}
