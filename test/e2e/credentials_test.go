//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/optml/optml/ledger"
	"github.com/optml/optml/test/awstest"
)

// sdk are the ways in which the tiny image asks for credentials.
var sdk = []string{"sdk:credentials", "sdk:no-token", "sdk:wrong-token", "sdk:wrong-path"}

// answered is what a container was answered: the status, and the body.
type answered struct{ status, body string }

func answers(t *testing.T, b []byte) map[string]answered {
	t.Helper()
	out := map[string]answered{}
	for _, p := range decode[[]struct {
		Target, Detail string
		OK             bool
	}](t, b) {
		status, quoted, _ := strings.Cut(p.Detail, " \"")
		body := ""
		if quoted != "" {
			_ = json.Unmarshal([]byte(strings.ReplaceAll("\""+quoted, `\n`, "")), &body)
		}
		out[p.Target] = answered{status, body}
	}
	return out
}

func trainingThatAsks(t *testing.T, name string, isolated bool, more ...string) string {
	t.Helper()
	d := training(name, append([]string{"probe", strings.Join(append(sdk, "credentials"), " "), "layout", "dump"}, more...)...)
	d["EnableNetworkIsolation"] = isolated
	return d.file(t)
}

// TestCredentials gives the containers of an open network short-lived credentials of the document's role, on request,
// through the endpoint where SDKs look and with its token alone; in isolation, and unasked, there is neither variable nor
// endpoint (ENV-6, training 6.5).
func TestCredentials(t *testing.T) {
	sameHost(t)
	aws := awstest.New(t, awstest.Options{AccessKeyID: "AKIAEXAMPLE"})
	env := aws.Env()

	// On request: the role's.
	name := jobName("role")
	r := begin(t, env, "train", "--credentials", "auto", trainingThatAsks(t, name, false)).wait(t)
	if r.code != 0 || !strings.Contains(r.stderr, "may ask for AWS credentials, those of arn:aws:iam::123456789012:role/SageMakerTraining") {
		t.Fatal(r)
	}
	got := answers(t, modelOf(t, name)["probes.json"])
	var c struct{ RoleArn, AccessKeyId, SecretAccessKey, Token, Expiration string }
	if err := json.Unmarshal([]byte(got["sdk:credentials"].body), &c); err != nil || got["sdk:credentials"].status != "200 OK" {
		t.Fatalf("%v: %+v", err, got["sdk:credentials"])
	}
	end, err := time.Parse(time.RFC3339, c.Expiration)
	if err != nil || time.Until(end) > time.Hour || c.AccessKeyId != "ASIASESSION1" || !strings.HasPrefix(c.Token, "session-token-") || c.RoleArn != "arn:aws:iam::123456789012:role/SageMakerTraining" {
		t.Errorf("%+v, %v", c, err)
	}
	for how, want := range map[string]string{"sdk:no-token": "401 Unauthorized", "sdk:wrong-token": "401 Unauthorized", "sdk:wrong-path": "404 Not Found"} {
		if a := got[how]; a.status != want || strings.Contains(a.body, awstest.Secret) {
			t.Errorf("%s: %+v", how, a)
		}
	}
	asked := aws.Requests("AssumeRole")
	if len(asked) != 1 || asked[0].Session != "optml-"+name {
		t.Errorf("asked for %+v: once for the whole job", asked)
	}
	l := decode[layout](t, modelOf(t, name)["layout.json"])
	for _, kv := range l.Env {
		if token, is := strings.CutPrefix(kv, "AWS_CONTAINER_AUTHORIZATION_TOKEN="); is {
			nowhere(t, token)
		}
		if strings.Contains(kv, "AKIAEXAMPLE") || strings.Contains(kv, "secret-of-") {
			t.Errorf("the host's keys are in the container: %s", kv)
		}
	}
	nowhere(t, awstest.Secret, result{stdout: r.stdout})
	nowhere(t, "secret-of-AKIAEXAMPLE", r)

	// Unasked, and in isolation: nothing.
	for _, c := range []struct {
		what     string
		isolated bool
		args     []string
	}{{"unasked", false, nil}, {"isolated", true, []string{"--credentials", "auto"}}} {
		name := jobName(c.what)
		before := len(aws.Requests("AssumeRole"))
		r := begin(t, env, append([]string{"train", trainingThatAsks(t, name, c.isolated)}, c.args...)...).wait(t)
		if r.code != 0 {
			t.Fatal(r)
		}
		if said := strings.Contains(r.stderr, "the containers get no AWS credentials"); said != c.isolated {
			t.Errorf("%s: %s", c.what, r)
		}
		files := modelOf(t, name)
		for how, a := range answers(t, files["probes.json"]) {
			if how != "credentials" && !strings.Contains(a.status, "is not set") {
				t.Errorf("%s: %s: %+v", c.what, how, a)
			}
		}
		// On an open network the address is the host's, whatever answers there.
		if why := probes(t, files["probes.json"])["credentials"]; why == "" && c.isolated {
			t.Errorf("%s: 169.254.170.2 is reached", c.what)
		}
		l := decode[layout](t, files["layout.json"])
		for _, kv := range l.Env {
			if strings.Contains(kv, "CREDENTIALS") || strings.Contains(kv, "AUTHORIZATION") {
				t.Errorf("%s: %s", c.what, kv)
			}
		}
		if c.isolated {
			l.checkIsolated(t)
		}
		if n := len(aws.Requests("AssumeRole")) - before; n != 0 {
			t.Errorf("%s: %d sessions were asked for", c.what, n)
		}
	}
}

// TestCredentialsOfTheHost gives the host's own session where the role cannot be assumed, and refuses long-lived keys
// with what to do about it, before there is a job (ENV-6).
func TestCredentialsOfTheHost(t *testing.T) {
	sameHost(t)
	aws := awstest.New(t, awstest.Options{AccessKeyID: "ASIAHOST", DenyAssume: true})
	for _, c := range []struct {
		how, token, said string
		code             int
	}{
		{"auto", "TheHostsToken", "those of this host's own session: the role could not be assumed", 0},
		{"session", "TheHostsToken", "those of this host's own session", 0},
		{"role", "TheHostsToken", "is not authorized to perform: sts:AssumeRole", 7},
		{"auto", "", "long-lived keys, which no container is given", 7},
		{"session", "", "long-lived keys, which no container is given", 7},
	} {
		name := jobName("host")
		env := aws.Env()
		if c.token != "" {
			env = append(env, "AWS_SESSION_TOKEN="+c.token)
		}
		r := begin(t, env, "train", "--credentials", c.how, trainingThatAsks(t, name, false)).wait(t)
		if r.code != c.code || !strings.Contains(r.stderr, c.said) {
			t.Errorf("%s, want exit code %d: %s", c.how, c.code, r)
			continue
		}
		if c.code != 0 {
			if _, err := recorded(name); err == nil || !strings.Contains(r.stderr, "hint: ") {
				t.Errorf("%s: there is a job, or no hint: %s", c.how, r)
			}
			continue
		}
		if a := answers(t, modelOf(t, name)["probes.json"])["sdk:credentials"]; !strings.Contains(a.body, `"AccessKeyId":"ASIAHOST"`) || !strings.Contains(a.body, `"Token":"TheHostsToken"`) || strings.Contains(a.body, "RoleArn") {
			t.Errorf("%s: %+v", c.how, a)
		}
	}
}

// TestCredentialsEndWithTheOwner holds that the endpoint is gone when whoever serves it is killed, and nothing is left
// (ENV-6, ruling 28); a transform's containers ask there too, and a detached owner serves as well.
func TestCredentialsEndWithTheOwner(t *testing.T) {
	sameHost(t)
	aws := awstest.New(t, awstest.Options{AccessKeyID: "AKIAEXAMPLE"})
	name := jobName("killed")
	d := training(name, "sleep", "1m")
	d["EnableNetworkIsolation"] = false
	p := begin(t, aws.Env(), "train", "--quiet", "--credentials", "role", d.file(t))
	spoke(t, name)
	_ = p.Process.Signal(syscall.SIGKILL)
	p.wait(t)
	eventually(t, "its end to be told", func() bool {
		ok(t, "prune", "--older-than", "1h")
		s, err := recorded(name)
		return err == nil && s.Final
	})

	put(t, "data", "asks/x.csv", "x\n")
	name = jobName("serving")
	tr := transforming(name, "s3://data/asks/")
	m := modelDoc("", "TINY_INVOKE", "probe", "TINY_PROBE", strings.Join(sdk, " "))
	m["EnableNetworkIsolation"] = false
	r := begin(t, aws.Env(), "transform", "--detach", "--credentials", "role", "--model-doc", m.file(t), tr.file(t)).wait(t)
	if r.code != 0 {
		t.Fatal(r)
	}
	var s ledger.State
	eventually(t, "the transform's end", func() (final bool) { s, _ = recorded(name); return s.Final })
	got := answers(t, object(t, "out", "transform/"+name+"/x.csv.out"))
	if s.Status != "Completed" || got["sdk:credentials"].status != "200 OK" || got["sdk:no-token"].status != "401 Unauthorized" {
		t.Errorf("%s: %+v", s.Status, got)
	}
	if asked := aws.Requests("AssumeRole"); asked[len(asked)-1].Role != "arn:aws:iam::123456789012:role/SageMakerInference" {
		t.Errorf("%+v", asked)
	}
	nowhere(t, "secret-of-AKIAEXAMPLE", r)
}
