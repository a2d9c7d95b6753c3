package main

import (
	"embed"
	"io/fs"
)

//go:embed embedded
var embedded embed.FS

// helpers are the programs of small roles that `make build` has put into this binary; a plain `go build` has none.
func helpers() fs.FS {
	f, err := fs.Sub(embedded, "embedded")
	if err != nil {
		return nil // a constant name that is valid
	}
	return f
}
