package ctrd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// runFile is what a sweep must know of a container, written before anything of it is made and removed after everything
// of it is gone. It lies in the container's directory, beside its hosts and resolv.conf.
type runFile struct {
	ID     string    `json:"id"`
	Job    string    `json:"job"`
	Bridge string    `json:"bridge,omitempty"`
	Cgroup string    `json:"cgroup"`
	Log    string    `json:"log,omitempty"`
	Boot   string    `json:"boot"`
	Made   time.Time `json:"made"`
}

func (c *Client) runDirOf(id string) string { return filepath.Join(c.cfg.containers(), id) }

const runFileName = "container.json"

// newDir marks a run directory that is being made.
const newDir = ".new-"

// writeRunFile makes the container's run directory, which must not exist, with the file in it.
func (c *Client) writeRunFile(r runFile) error {
	dir, err := os.MkdirTemp(c.cfg.containers(), newDir)
	if err != nil {
		return fmt.Errorf("make container's run directory: %w", err)
	}
	b, err := json.Marshal(r)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, runFileName), b, 0o600)
	}
	if err == nil {
		// Fails on a directory that is there, since one is never empty.
		err = os.Rename(dir, c.runDirOf(r.ID))
	}
	if err != nil {
		os.RemoveAll(dir)
		return fmt.Errorf("make container's run directory: %w", err)
	}
	return nil
}

// runFiles lists the containers that have a run file. One that is just being made or removed may be left out: before its
// directory has its name, the file may still be empty.
func (c *Client) runFiles() ([]runFile, error) {
	paths, err := filepath.Glob(filepath.Join(c.cfg.containers(), "*", runFileName))
	if err != nil {
		return nil, err
	}
	var out []runFile
	for _, p := range paths {
		if strings.HasPrefix(filepath.Base(filepath.Dir(p)), newDir) {
			continue
		}
		var r runFile
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("read container's run file %s: %w", p, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (c *Client) removeRunFile(id string) error {
	if err := os.RemoveAll(c.runDirOf(id)); err != nil {
		return fmt.Errorf("remove container's run directory: %w", err)
	}
	return nil
}
