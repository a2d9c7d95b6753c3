package transform

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// OutputName is the name below the output path of the object with this key, when prefix is the key part of the input's
// S3Uri: what follows the prefix, with .out added (BT-130 to BT-134, BT-43).
func OutputName(prefix, key string) string {
	rel, ok := strings.CutPrefix(key, prefix)
	switch {
	case !ok:
		rel = key
	case rel == "":
		// The prefix is the whole key: its last part (BT-132).
		trimmed := strings.TrimRight(key, "/")
		rel = trimmed[strings.LastIndexByte(trimmed, '/')+1:]
	case !strings.HasSuffix(prefix, "/") && rel[0] != '/':
		// The prefix ends inside a path element, which stays whole (BT-134).
		rel = key[strings.LastIndexByte(prefix, '/')+1:]
	}
	return strings.TrimLeft(rel, "/") + ".out"
}

// clash finds two objects with one output name (BT-138).
func clash(objects []*object) error {
	seed := maphash.MakeSeed()
	seen := make(map[uint64]int, len(objects))
	for i, o := range objects {
		h := maphash.String(seed, o.name)
		if j, ok := seen[h]; ok && objects[j].name == o.name {
			return fmt.Errorf("%w: %q and %q both give %q", ErrNameClash, objects[j].Key, o.Key, o.name)
		}
		seen[h] = i
	}
	return nil
}
