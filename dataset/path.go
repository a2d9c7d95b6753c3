package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// ErrBadPath is the class of keys that no file below a channel's directory can have (FILE-7).
var ErrBadPath = errors.New("key cannot be a path below the channel's directory")

// relPath is the rule of FILE-2: where the object key lies below the channel's directory if the source's URI has the
// key part prefix, of which key starts.
//
//	prefix data/train       key data/train/a/b.csv  -> a/b.csv          (a folder)
//	prefix data/train.csv   key data/train.csv      -> train.csv        (one object)
//	prefix data/train       key data/train-01/b.csv -> train-01/b.csv   (the middle of a name)
//	prefix ""               key data/a.csv          -> data/a.csv       (the whole bucket)
//
// For a key that ends in a slash it is the path of the directory, "." for the channel's own.
func relPath(prefix, key string) (string, error) {
	p := strings.TrimSuffix(prefix, "/")
	var rel string
	if below, ok := strings.CutPrefix(key, p+"/"); ok && prefix != "" {
		rel = below
	} else {
		rel = key[strings.LastIndexByte(p, '/')+1:]
	}
	if rel == "" {
		return ".", nil // the folder marker of the prefix itself
	}
	rel = strings.TrimSuffix(rel, "/")
	if err := checkPath(rel); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadPath, err)
	}
	return rel, nil
}

// checkPath refuses what cleaning would change: two keys could then be one file, or a file elsewhere.
func checkPath(rel string) error {
	if strings.IndexByte(rel, 0) >= 0 {
		return errors.New("holds a NUL byte")
	}
	for e := range strings.SplitSeq(rel, "/") {
		switch {
		case e == "" || e == "." || e == "..":
			return fmt.Errorf("has the path element %q", e)
		case len(e) > 255:
			return fmt.Errorf("has a path element of %d bytes (255 is the most)", len(e))
		}
	}
	return nil
}
