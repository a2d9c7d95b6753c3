package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/runtime/containertest"
)

// fakeCredentials hand out numbered sessions, or an error.
type fakeCredentials struct {
	mu   sync.Mutex
	n    int
	role string
	err  error
}

func (f *fakeCredentials) Session(_ context.Context, role, name string) (Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.role = role
	return Session{AccessKeyID: fmt.Sprintf("KEY%d", f.n), SecretAccessKey: "SECRET", Token: "TOKEN", Expires: time.Unix(2e9, 0), Role: role, Of: role}, f.err
}

// asks is what a container's SDK does: 0 is that there is nowhere to ask.
func asks(p *containertest.Process, method, path, token string) (int, string) {
	if path == "" {
		return 0, ""
	}
	c := &http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	q, err := http.NewRequest(method, "http://169.254.170.2"+path, nil)
	if err != nil {
		return -1, err.Error()
	}
	q.Header.Set("Authorization", token)
	r, err := c.Do(q)
	if err != nil {
		return -1, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return -1, err.Error()
	}
	return r.StatusCode, strings.TrimSpace(string(b))
}

// ENV-6: containers of an open network ask with the token that they were given; nobody else is answered.
func TestCredentialsEndpoint(t *testing.T) {
	creds := &fakeCredentials{}
	b := newBench(t, algo(func(p *containertest.Process) int {
		path, token := p.Getenv(envCredentialsURI), p.Getenv(envCredentialsToken)
		for _, c := range []struct {
			method, path, token string
			code                int
			body                string
		}{
			{"GET", path, token, 200, `{"RoleArn":"arn:aws:iam::000000000000:role/r","AccessKeyId":"KEY2","SecretAccessKey":"SECRET","Token":"TOKEN","Expiration":"2033-05-18T03:33:20Z"}`},
			{"GET", path, "", 401, ""},
			{"GET", path, token + "x", 401, ""},
			{"GET", path + "x", token, 404, ""},
			{"GET", "/", token, 404, ""},
			{"POST", path, token, 405, ""},
			{"GET", path, token, 200, `{"RoleArn":"arn:aws:iam::000000000000:role/r","AccessKeyId":"KEY3","SecretAccessKey":"SECRET","Token":"TOKEN","Expiration":"2033-05-18T03:33:20Z"}`},
		} {
			code, body := asks(p, c.method, c.path, c.token)
			if code != c.code || c.body != "" && body != c.body || code != 200 && strings.Contains(body, "SECRET") {
				fmt.Fprintf(p.Stderr, "%+v: %d %s\n", c, code, body)
				return 9
			}
		}
		creds.mu.Lock()
		creds.err = errors.New("the role is gone")
		creds.mu.Unlock()
		for range 2 { // told once
			if code, body := asks(p, "GET", path, token); code != 503 || strings.Contains(body, "gone") || strings.Contains(body, "SECRET") {
				fmt.Fprintf(p.Stderr, "without a session: %d %s\n", code, body)
				return 9
			}
		}
		return 0
	}))
	b.host.Credentials = creds
	p := trainingPlan("asks")
	p.Training.Isolated, p.Role = false, "arn:aws:iam::000000000000:role/r"
	p.Training.Instances[0].Containers[0].Env = map[string]string{envCredentialsURI: "/the/documents"} // ENV-4: ours goes over it
	final, s := b.run(p)
	if final.Status != "Completed" {
		t.Fatalf("%+v", final)
	}
	var said []string
	for _, w := range s.Warnings {
		if w.Rule == "ENV-6" {
			said = append(said, w.Text)
		}
		if strings.Contains(w.Text, "SECRET") {
			t.Errorf("the record holds a secret: %s", w.Text)
		}
	}
	want := []string{"the containers may ask for AWS credentials, those of arn:aws:iam::000000000000:role/r", "a container asked for credentials, and there are none: the role is gone"}
	if !slices.Equal(said, want) || creds.role != p.Role {
		t.Errorf("said %q, asked for %q", said, creds.role)
	}
}

// Training 6.5: in isolation, and unasked, there is neither variable nor endpoint.
func TestNoCredentialsEndpoint(t *testing.T) {
	for _, isolated := range []bool{true, false} {
		creds := &fakeCredentials{}
		b := newBench(t, algo(func(p *containertest.Process) int {
			if p.Getenv(envCredentialsURI)+p.Getenv(envCredentialsToken) != "" {
				return 8
			}
			if c, err := p.Dial(context.Background(), "tcp", credentialsAddr); err == nil {
				c.Close()
				return 9
			}
			return 0
		}))
		if isolated {
			b.host.Credentials = creds
		}
		p := trainingPlan("none")
		p.Training.Isolated = isolated
		final, s := b.run(p)
		told := slices.ContainsFunc(s.Warnings, func(w ledger.Warning) bool { return w.Rule == "ENV-6" })
		if final.Status != "Completed" || creds.n != 0 || told != isolated {
			t.Errorf("isolated %v: %+v, %d sessions, told %v", isolated, final, creds.n, told)
		}
	}
}

// What cannot be had when the container is made ends the job as a fault of the host.
func TestCredentialsThatCannotBeHad(t *testing.T) {
	b := newBench(t, algo(func(*containertest.Process) int { return 0 }))
	b.host.Credentials = &fakeCredentials{err: errors.New("expired")}
	p := trainingPlan("cannot")
	p.Training.Isolated = false
	final, _ := b.run(p)
	if final.Status != "Failed" || *final.ExitCode != ExitHost || !strings.Contains(final.Detail, "credentials for the containers: expired") {
		t.Errorf("%+v", final)
	}
}

// START-6: the document's digest decides over the tag: another image is not run, and the right one is found by digest.
func TestDigestOfTheDocument(t *testing.T) {
	runs := func(code int) containertest.Image {
		return containertest.Image{Commands: map[string]containertest.Program{"train": func(*containertest.Process) int { return code }}}
	}
	// The fake's digest is the length of the name: this is that of the name by digest.
	exact := fmt.Sprintf("sha256:%064x", len("algo@sha256:")+64)
	b := newBench(t, map[string]containertest.Image{"algo:1": runs(7), "algo@" + exact: runs(0)})
	p := trainingPlan("moved")
	p.Training.Instances[0].Containers[0].Image = job.Image{Ref: "algo:1", Digest: exact}
	if final, s := b.run(p); final.Status != "Completed" || s.Images[0].Digest != exact {
		t.Errorf("%+v, %+v", final, s.Images)
	}
	for _, ref := range []string{"algo:1", "algo@" + exact} {
		p := trainingPlan("wrong-" + fmt.Sprint(len(ref)))
		p.Training.Instances[0].Containers[0].Image = job.Image{Ref: ref, Digest: "sha256:" + strings.Repeat("f", 64)}
		final, _ := b.run(p)
		if *final.ExitCode != ExitImage || final.FailureReason != cannotPull || !strings.Contains(final.Detail, "digest mismatch: it has sha256:00") || !strings.Contains(final.Detail, "the document wants sha256:ff") {
			t.Errorf("%s: %+v", ref, final)
		}
	}
	for ref, want := range map[string]string{"a": "a", "a:1": "a", "h:5/a": "h:5/a", "h:5/a/b:1": "h:5/a/b"} {
		if repo, tagged := withoutTag(ref); repo != want || !tagged {
			t.Errorf("%s: %s %v", ref, repo, tagged)
		}
	}
}
