package ctrd

import (
	"strings"
	"testing"
)

func TestNormalise(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ ref, full, familiar string }{
		{"tiny", "docker.io/library/tiny:latest", "tiny:latest"},
		{"tiny:1", "docker.io/library/tiny:1", "tiny:1"},
		{"team/tiny:1", "docker.io/team/tiny:1", "team/tiny:1"},
		{"docker.io/library/tiny:1", "docker.io/library/tiny:1", "tiny:1"},
		{"localhost/tiny", "localhost/tiny:latest", "localhost/tiny:latest"},
		{"localhost:5000/tiny:1", "localhost:5000/tiny:1", "localhost:5000/tiny:1"},
		{"127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/trees:2", "123456789012.dkr.ecr.us-east-1.amazonaws.com/trees:2", "123456789012.dkr.ecr.us-east-1.amazonaws.com/trees:2"},
		{"team/tiny@" + digest, "docker.io/team/tiny@" + digest, "team/tiny@" + digest},
		{"team/tiny:1@" + digest, "docker.io/team/tiny@" + digest, "team/tiny@" + digest}, // as Docker does
	} {
		full, err := normalise(c.ref)
		if err != nil || full != c.full {
			t.Errorf("%s: %s, %v; wanted %s", c.ref, full, err, c.full)
		}
		if got := Familiar(full); got != c.familiar {
			t.Errorf("%s: familiar %s, wanted %s", c.ref, got, c.familiar)
		}
	}
	for ref, text := range map[string]string{
		"":                                    "invalid reference",
		"team/Upper":                          "lowercase",
		"a b":                                 "invalid reference",
		"a:b:c":                               "invalid reference",
		"a@sha256:123":                        "invalid",
		digest:                                "without a repository",
		strings.Repeat("a", 256):              "255",
		"https://registry.test/tiny":          "invalid reference",
		strings.TrimPrefix(digest, "sha256:"): "cannot specify 64-byte",
	} {
		if full, err := normalise(ref); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %s, %v; wanted %q", ref, full, err, text)
		}
	}
}

func TestRepository(t *testing.T) {
	for name, want := range map[string]string{
		"docker.io/team/tiny:1": "docker.io/team/tiny", "team/tiny@sha256:" + strings.Repeat("a", 64): "docker.io/team/tiny", "UPPER": "",
	} {
		if got := repository(name); got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
}
