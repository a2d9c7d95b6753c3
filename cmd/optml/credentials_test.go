package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/optml/optml/test/awstest"
)

const testRole = "arn:aws:iam::123456789012:role/r"

// ENV-6: what containers are given, by what this host has.
func TestGrant(t *testing.T) {
	for _, c := range []struct {
		what, how, role, token string
		deny                   bool
		key, of, err           string
	}{
		{"role", grantRole, testRole, "", false, "ASIASESSION1", testRole, ""},
		{"auto", grantAuto, testRole, "tok", false, "ASIASESSION1", testRole, ""},
		{"auto, denied, temporary keys", grantAuto, testRole, "tok", true, "AKIATEST", "this host's own session", ""},
		{"auto, no role, temporary keys", grantAuto, "", "tok", false, "AKIATEST", "this host's own session", ""},
		{"auto, denied, long-lived keys", grantAuto, testRole, "", true, "", "", "long-lived keys"},
		{"auto, no role, long-lived keys", grantAuto, "", "", false, "", "", "long-lived keys"},
		{"role, denied, temporary keys", grantRole, testRole, "tok", true, "", "", "not authorized"},
		{"role, none named", grantRole, "", "tok", false, "", "", "names no role"},
		{"session", grantSession, testRole, "tok", false, "AKIATEST", "this host's own session", ""},
		{"session, long-lived keys", grantSession, testRole, "", false, "", "", "long-lived keys"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := awstest.New(t, awstest.Options{AccessKeyID: "AKIATEST", DenyAssume: c.deny})
			awsEnv(t, s)
			t.Setenv("AWS_SESSION_TOKEN", c.token)
			got, err := (&grant{how: c.how}).Session(t.Context(), c.role, "a-job")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || hintOf(err) == "" {
					t.Errorf("%v, want %q and a hint", err, c.err)
				}
				return
			}
			if err != nil || got.AccessKeyID != c.key || got.Of != c.of || got.Token == "" || time.Until(got.Expires) > time.Hour || time.Until(got.Expires) < 50*time.Minute {
				t.Errorf("%+v %v", got, err)
			}
			if text := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, got.SecretAccessKey) || strings.Contains(text, got.Token) {
				t.Errorf("it prints its secrets: %s", text)
			}
		})
	}
}

// A session serves until a third of its life is left; then there is another.
func TestGrantIsRenewed(t *testing.T) {
	s := awstest.New(t, awstest.Options{AccessKeyID: "AKIATEST"})
	awsEnv(t, s)
	g := &grant{how: grantRole}
	key := func() string {
		t.Helper()
		got, err := g.Session(t.Context(), testRole, strings.Repeat("long", 20))
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessKeyID
	}
	if a, b := key(), key(); a != "ASIASESSION1" || b != a {
		t.Errorf("%s, then %s", a, b)
	}
	if left := time.Until(g.have[testRole].until); left < 38*time.Minute || left > 40*time.Minute {
		t.Errorf("it serves for %s of its hour", left)
	}
	old := g.have[testRole]
	old.until = time.Now()
	g.have[testRole] = old
	if got := key(); got != "ASIASESSION2" {
		t.Errorf("near its end: %s", got)
	}
	if got := s.Requests("AssumeRole"); len(got) != 2 || len(got[0].Session) != sessionNameLimit {
		t.Errorf("%+v", got)
	}
	s.Change(func(o *awstest.Options) { o.DenyAssume = true })
	if got := key(); got != "ASIASESSION2" {
		t.Errorf("from memory: %s", got)
	}
	// A failure stands for some seconds, however often a container asks.
	for range 3 {
		if _, err := g.Session(t.Context(), testRole+"2", "a-job"); err == nil {
			t.Error("a role that cannot be assumed was")
		}
	}
	if n := len(s.Requests("AssumeRole")); n != 3 {
		t.Errorf("%d requests, want one for the role that cannot be assumed", n)
	}
	// This host's own session is looked up again after a minute.
	own := &grant{how: grantSession}
	t.Setenv("AWS_SESSION_TOKEN", "tok")
	if _, err := own.Session(t.Context(), "", "a-job"); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(own.have[""].until); left > ownFresh || left < ownFresh/2 {
		t.Errorf("it serves for %s", left)
	}
}

func TestNoGrantIsNoCredentials(t *testing.T) {
	for _, how := range []string{"", grantNone} {
		if c := (hostOptions{Grant: how}).credentials(); c != nil {
			t.Errorf("%q: %v", how, c)
		}
	}
}
