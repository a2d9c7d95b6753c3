package ledger

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// writeWhole makes path hold b at once: readers see the old content or the new. It does not sync. The temporary name
// is fixed, since a job has one writer: one that was killed leaves nothing that the next does not replace.
func writeWhole(path string, b []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	err := os.WriteFile(temp, b, fileMode)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(path, append(b, '\n'))
}

// MaxDocument bounds the JSON files of a job that are read back, in bytes.
const MaxDocument = 64 << 20

func readJSON(path string, v any) error {
	b, err := readBounded(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Size() > MaxDocument {
		return nil, fmt.Errorf("%s: %d bytes are more than the limit of %d", path, fi.Size(), MaxDocument)
	}
	return os.ReadFile(path)
}
