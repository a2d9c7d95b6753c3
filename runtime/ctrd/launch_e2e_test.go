//go:build e2e

package ctrd

import (
	"testing"

	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/containertest"
)

func TestSuite(t *testing.T) {
	containertest.RunSuite(t, containertest.Subject{
		Launcher: client_, Spec: func(t *testing.T) container.Spec { return newSpec(t) },
	})
}
