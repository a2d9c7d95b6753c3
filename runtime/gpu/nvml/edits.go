//go:build cgo

package nvml

import (
	"fmt"
	"io"

	"github.com/NVIDIA/nvidia-container-toolkit/pkg/nvcdi"
	"github.com/sirupsen/logrus"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/specs-go"
)

// edits is what NVIDIA's toolkit would write into a CDI specification for these devices, without its hooks: those are a
// program that hosts without the toolkit lack.
func (l library) edits(root string, uuids []string) (*specs.ContainerEdits, error) {
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer l.end()
	log := logrus.New()
	log.SetOutput(io.Discard) // it warns of each library that this driver does not have
	gen, err := nvcdi.New(
		nvcdi.WithNvmlLib(l.Interface), nvcdi.WithLogger(log), nvcdi.WithDriverRoot(root), nvcdi.WithDevRoot(root),
		nvcdi.WithDisabledHooks(nvcdi.AllHooks), nvcdi.WithMode(nvcdi.ModeAuto),
		nvcdi.WithFeatureFlags(nvcdi.FeatureDisableNvsandboxUtils),
	)
	if err != nil {
		return nil, fmt.Errorf("make CDI edits: %w", err)
	}
	common, err := gen.GetCommonEdits()
	if err != nil {
		return nil, fmt.Errorf("make CDI edits: %w", err)
	}
	devices, err := gen.GetDeviceSpecsByID(uuids...)
	if err != nil {
		return nil, fmt.Errorf("make CDI edits: %w", err)
	}
	all := &cdi.ContainerEdits{}
	for _, d := range devices {
		all.Append(&cdi.ContainerEdits{ContainerEdits: &d.ContainerEdits})
	}
	return all.Append(common).ContainerEdits, nil
}
