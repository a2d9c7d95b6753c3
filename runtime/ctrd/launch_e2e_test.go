//go:build e2e

package ctrd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

func TestSuite(t *testing.T) {
	containertest.RunSuite(t, containertest.Subject{
		Launcher: client_, Spec: func(t *testing.T) container.Spec { return newSpec(t) },
	})
}

func TestCannotBeExecuted(t *testing.T) { // END-4: wrong architecture, no interpreter
	for name, c := range map[string]struct {
		content []byte
		code    int
	}{
		"foreign": {foreign(), 126}, "text": {[]byte("hello\n"), 126}, "orphan": {[]byte("#!/usr/bin/python9\n"), 127},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpec(t)
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, c.content, 0o755); err != nil {
				t.Fatal(err)
			}
			s.Mounts = []container.Mount{{Source: path, Target: "/usr/bin/" + name, ReadOnly: true}}
			s.Args = []string{name}
			task := launch(t, s)
			err := task.Start(t.Context())
			if se, ok := errors.AsType[*container.StartError](err); !ok || se.Code != c.code {
				t.Errorf("error is %v, want a start error with code %d", err, c.code)
			}
		})
	}
}
