package ctrd

import (
	"fmt"
	"runtime"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// choice is the platform that images are taken for.
type choice struct {
	platforms.MatchComparer
	name string
	host bool // this machine's own, which nobody had to ask for
}

// choosePlatform reads a platform as Docker spells it: linux/arm64, arm64, linux/arm/v7; "" is this machine's.
func choosePlatform(name string) (choice, error) {
	own := platforms.DefaultSpec()
	if name == "" {
		return choice{platforms.Default(), platforms.Format(own), true}, nil
	}
	p, err := platforms.Parse(name)
	if err != nil {
		return choice{}, fmt.Errorf("platform %q: it is OS/ARCHITECTURE, such as linux/amd64 or linux/arm64 (%w)", name, err)
	}
	p = platforms.Normalize(p)
	if p.OS != "linux" {
		return choice{}, fmt.Errorf("platform %s: containers here are Linux", platforms.Format(p))
	}
	if p.Architecture == own.Architecture {
		// Without a variant it is the best that the machine can run.
		if p.Variant == "" {
			p.Variant = own.Variant
		}
		if !platforms.Default().Match(p) {
			return choice{}, fmt.Errorf("platform %s: this machine is %s", platforms.Format(p), platforms.Format(own))
		}
	}
	return choice{platforms.Only(p), platforms.Format(p), false}, nil
}

// ValidPlatform says what is wrong with the name of a platform.
func ValidPlatform(name string) error {
	_, err := choosePlatform(name)
	return err
}

// CheckPlatform says whether images of a platform, as Config.Platform has it, can run on this machine: by itself, or by
// an emulator that the kernel knows (binfmt_misc).
func CheckPlatform(name string) error {
	c, err := choosePlatform(name)
	if err != nil || c.host {
		return err
	}
	p, err := platforms.Parse(name)
	if err != nil {
		return err
	}
	if platforms.Default().Match(platforms.Normalize(p)) || foreignBinaries() {
		return nil
	}
	return fmt.Errorf("platform %s: this machine is linux/%s and its kernel knows no emulator (binfmt_misc)", c.name, runtime.GOARCH)
}

// platform is what images are taken for.
func (c *Client) platform() choice { return c.cfg.platform }

// wrongPlatform is an image that has nothing for the platform asked for.
func (c choice) wrongPlatform(offered []string) *platformError {
	return &platformError{offered: offered, want: c.name, host: c.host}
}

// check holds a config against the choice. Very old images say nothing.
func (c choice) check(config ocispec.Image) error {
	if config.OS == "" && config.Architecture == "" {
		return nil
	}
	if p := platforms.Normalize(config.Platform); !c.Match(p) {
		return c.wrongPlatform([]string{platforms.Format(p)})
	}
	return nil
}
