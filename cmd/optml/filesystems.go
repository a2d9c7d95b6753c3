package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// fileSystems is the flag --fs: directories that stand for file systems, by id (FILE-13). Commas are part of a path.
type fileSystems map[string]string

var fileSystemID = regexp.MustCompile(`^fs-[0-9a-f]{8,}$`)

func (m *fileSystems) Set(s string) error {
	id, dir, ok := strings.Cut(s, "=")
	switch {
	case !ok || dir == "":
		return errors.New("it is ID=DIR, such as fs-0123abcd=/data")
	case !fileSystemID.MatchString(id):
		return fmt.Errorf("%q is no id of a file system: they are fs- and at least eight of 0-9a-f", id)
	case (*m)[id] != "":
		return fmt.Errorf("%s is given twice", id)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = fileSystems{}
	}
	(*m)[id] = abs
	return nil
}

func (m *fileSystems) String() string {
	var all []string
	for _, id := range slices.Sorted(maps.Keys(*m)) {
		all = append(all, id+"="+(*m)[id])
	}
	return strings.Join(all, " ")
}

func (m *fileSystems) Type() string { return "ID=DIR" }
