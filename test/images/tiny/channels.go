package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// channel is what was read of one channel.
type channel struct {
	Mode   string      `json:"mode"`
	Files  []inputFile `json:"files,omitempty"`  // File and FastFile: sorted by path
	Epochs []inputFile `json:"epochs,omitempty"` // Pipe: one for each epoch read
}

type inputFile struct {
	Path   string `json:"path"` // below /opt/ml/input/data
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Perm   string `json:"perm"`
}

// readChannels reads everything that inputdataconfig.json names. On an error it returns what was read so far.
func readChannels(o options) (map[string]*channel, error) {
	raw, err := os.ReadFile(ml("input/config/inputdataconfig.json"))
	if err != nil {
		return nil, err
	}
	var config map[string]struct{ TrainingInputMode string }
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("inputdataconfig.json: %w", err)
	}
	all := map[string]*channel{}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		c := &channel{Mode: config[name].TrainingInputMode}
		all[name] = c
		if c.Mode == "Pipe" {
			err = c.readPipe(name, o.number("epochs", 1), int64(o.number("pipe_limit", 0)))
		} else {
			err = c.readTree(name)
		}
		if err != nil {
			return all, fmt.Errorf("channel %s: %w", name, err)
		}
	}
	return all, nil
}

func (c *channel) readTree(name string) error {
	return filepath.WalkDir(ml("input/data", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in, err := digest(f, path, 0)
		c.Files = append(c.Files, in)
		return err
	})
}

// readPipe reads the FIFOs <name>_0, <name>_1 … (PIPE-1). The next one may come late: retry (PIPE-3).
func (c *channel) readPipe(name string, epochs int, limit int64) error {
	for e := range epochs {
		path := ml("input/data", fmt.Sprintf("%s_%d", name, e))
		f, err := os.Open(path)
		for deadline := time.Now().Add(10 * time.Second); os.IsNotExist(err) && e > 0 && time.Now().Before(deadline); f, err = os.Open(path) {
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			return err
		}
		in, err := digest(f, path, limit)
		f.Close()
		c.Epochs = append(c.Epochs, in)
		if err != nil {
			return err
		}
	}
	return nil
}

func digest(f *os.File, path string, limit int64) (inputFile, error) {
	rel, err := filepath.Rel(ml("input/data"), path)
	if err != nil {
		return inputFile{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return inputFile{}, err
	}
	var r io.Reader = f
	if limit > 0 {
		r = io.LimitReader(f, limit)
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	return inputFile{Path: rel, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), Perm: info.Mode().String()}, err
}
