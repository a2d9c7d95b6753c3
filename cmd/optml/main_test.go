package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, harness.ExitCompleted},
		{errors.New("anything else"), harness.ExitInternal},
		{usage("no such thing"), harness.ExitUsage},
		{fmt.Errorf("train: %w", &job.Invalid{}), harness.ExitUsage},
		{&job.Unsupported{}, harness.ExitUsage},
		{ended{harness.ExitAlgorithm}, harness.ExitAlgorithm},
		{&container.ImageError{Kind: container.ImageNotFound, Err: errors.New("x")}, harness.ExitImage},
		{&harness.HostError{Err: errors.New("x")}, harness.ExitHost},
		{&ctrd.MissingRuncError{Err: exec.ErrNotFound}, harness.ExitHost},
		{&ledger.InUseError{}, harness.ExitName},
		{errors.Join(nil, &ledger.NotFoundError{}), harness.ExitName},
		{&ledger.AmbiguousError{}, harness.ExitName},
		{&runningError{}, harness.ExitName},
		{errInterrupted, exitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%T) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestEveryExitCodeIsInTheHelp(t *testing.T) {
	help := rootLong()
	for _, x := range harness.ExitCodes {
		if want := fmt.Sprintf("  %3d  %s\n", x.Code, x.Meaning); !strings.Contains(help, want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}

func TestErrorsAreASentenceAndAHint(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"job ended", ended{3}, ""},
		{"plain", errors.New("read x: no"), "optml: read x: no\n"},
		{"hint", &usageError{errors.New("--root is empty"), "give one"}, "optml: --root is empty\nhint: give one\n"},
		{"runc", &ctrd.MissingRuncError{Name: "runc", Hint: "apt-get install runc", Err: exec.ErrNotFound},
			"optml: find runc: executable file not found in $PATH\nhint: apt-get install runc\n"},
		{"several", errors.Join(errors.New("a"), errors.Join(&usageError{errors.New("b"), "h"})), "optml: a\noptml: b\nhint: h\n"},
		{"wrapped twice", fmt.Errorf("open: %w: %w", errors.New("a"), errors.New("b")), "optml: open: a: b\n"},
		{"refused", &job.Unsupported{Members: []job.RefusedMember{{File: "d.json", Line: 3, Col: 5, Path: "DataCaptureConfig", Text: "not carried out"}}},
			"optml: d.json:3:5: DataCaptureConfig: refused: not carried out\nhint: what would change"},
	} {
		var b bytes.Buffer
		printError(&b, c.err)
		if got := b.String(); got != c.want && (c.name != "refused" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestImageErrorsHaveTheHintOfAJob(t *testing.T) {
	err := &container.ImageError{Ref: "x:1", Kind: container.ImageNotFound, Err: errors.New("not here")}
	if h := hintOf(err); !strings.Contains(h, "optml images import") {
		t.Errorf("hint %q", h)
	}
}

func TestRoles(t *testing.T) {
	none := func(string) string { return "" }
	for _, c := range []struct {
		argv []string
		env  string
		want string
		args int
	}{
		{[]string{"optml", "train", "x.json"}, "", "", 0},
		{[]string{"optml"}, "", "", 0},
		{nil, "", "", 0},
		{[]string{"optml", "internal"}, "", "", 0},
		{[]string{"optml", "internal", "nothing"}, "", "", 0},
		{[]string{"/usr/bin/optml", "internal", "job", "/dir"}, "", roleOwner, 1},
		{[]string{"/run/optml/bin/optml-containerd", "--root", "/x"}, "", ctrd.RoleDaemon, 2},
		{[]string{"optml-logger"}, "", ctrd.RoleLogger, 0},
		{[]string{"containerd-shim-runc-v2", "start"}, "", ctrd.RoleShim, 1},
		{[]string{"/proc/self/exe"}, ctrd.RoleShim, ctrd.RoleShim, 0}, // a shim re-executes itself by its real path
	} {
		getenv := none
		if c.env != "" {
			getenv = func(string) string { return c.env }
		}
		r, args, ok := roleOf(c.argv, getenv)
		if r.name != c.want || ok != (c.want != "") || len(args) != c.args {
			t.Errorf("roleOf(%q) = %q %q %v, want %q with %d arguments", c.argv, r.name, args, ok, c.want, c.args)
		}
	}
}
