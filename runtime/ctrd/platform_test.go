package ctrd

import (
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestChoosePlatform(t *testing.T) {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	for _, c := range []struct {
		name, match string // what it takes
		host        bool
		err         string
	}{
		{"", runtime.GOARCH, true, ""},
		{"linux/" + runtime.GOARCH, runtime.GOARCH, false, ""},
		{runtime.GOARCH, runtime.GOARCH, false, ""},
		{"linux/" + other, other, false, ""},
		{"linux/s390x", "s390x", false, ""},
		{"windows/amd64", "", false, "containers here are Linux"},
		{"linux/a/b/c", "", false, "OS/ARCHITECTURE"},
		{"x y", "", false, "OS/ARCHITECTURE"},
	} {
		got, err := choosePlatform(c.name)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || got.host != c.host {
			t.Errorf("%q: %+v, %v", c.name, got, err)
			continue
		}
		for _, arch := range []string{"amd64", "arm64", "s390x"} {
			if m := got.Match(ocispec.Platform{OS: "linux", Architecture: arch}); m != (arch == c.match) {
				t.Errorf("%q takes linux/%s: %v", c.name, arch, m)
			}
		}
	}
	if err := CheckPlatform(""); err != nil {
		t.Error(err)
	}
	if err := CheckPlatform("linux/" + runtime.GOARCH); err != nil {
		t.Error(err)
	}
	if !foreignBinaries() {
		if err := CheckPlatform("linux/s390x"); err == nil || !strings.Contains(err.Error(), "knows no emulator") {
			t.Errorf("s390x: %v", err)
		}
	}
}

// What an image is for, and what was wanted, are both in the sentence.
func TestWrongPlatform(t *testing.T) {
	for _, c := range []struct {
		c    choice
		has  []string
		want string
	}{
		{choice{name: "linux/amd64", host: true}, []string{"linux/arm64", "linux/s390x"}, "the image is for linux/arm64, linux/s390x, this machine is linux/amd64"},
		{choice{name: "linux/arm64"}, []string{"linux/amd64"}, "the image is for linux/amd64, and linux/arm64 was asked for"},
		{choice{name: "linux/arm64"}, nil, "the image is for no platform at all, and linux/arm64 was asked for"},
	} {
		if got := c.c.wrongPlatform(c.has).Error(); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}
