//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/test/outside"
)

// probed is what came of each network target that a container tried: "" for one that was reached, else why not.
type probed map[string]string

func probes(t *testing.T, b []byte) probed {
	t.Helper()
	out := probed{}
	for _, p := range decode[[]struct {
		Target, Detail string
		OK             bool
	}](t, b) {
		if out[p.Target] = p.Detail; p.OK {
			out[p.Target] = ""
		}
	}
	return out
}

// The container's own listeners, which it reaches in any case.
const (
	loopback     = "tcp:127.0.0.1:9000"
	loopback8080 = "tcp:127.0.0.1:8080"
)

// checkReached holds what the container reached and what it did not.
func checkReached(t *testing.T, who string, got probed, reached, not []string) {
	t.Helper()
	for _, target := range reached {
		if why, tried := got[target]; !tried || why != "" {
			t.Errorf("%s does not reach %s (tried: %v): %s", who, target, tried, why)
		}
	}
	for _, target := range not {
		if why, tried := got[target]; !tried || why == "" {
			t.Errorf("%s reaches %s (tried: %v)", who, target, tried)
		}
	}
}

// TestIsolationOfTraining first proves that each probe succeeds with an open network, then that none does in isolation,
// while the container's own loopback works (ruling 24, training 6.5).
func TestIsolationOfTraining(t *testing.T) {
	sameHost(t)
	o := outside.New(t)
	run := func(network string, targets []string) (probed, layout) {
		name := jobName(network)
		d := training(name, "probe", strings.Join(append(targets, loopback), " "), "probe_retry", "500ms", "listen", ":9000", "layout", "dump")
		delete(d, "EnableNetworkIsolation")
		if network == "isolated" {
			d["EnableNetworkIsolation"] = true
		}
		r := begin(t, credentials, "train", "--quiet", d.file(t)).wait(t)
		if r.code != 0 {
			t.Fatal(r)
		}
		files := modelOf(t, name)
		return probes(t, files["probes.json"]), decode[layout](t, files["layout.json"])
	}
	got, l := run("open", o.Targets())
	checkReached(t, "an open container", got, append(o.Targets(), loopback), nil)
	if len(l.Routes) < 2 {
		t.Errorf("open: routes %q", l.Routes)
	}
	got, l = run("isolated", append(o.Targets(), o.Never()...))
	checkReached(t, "an isolated container", got, []string{loopback}, append(o.Targets(), o.Never()...))
	l.checkIsolated(t)
}

// credentials are what optml's own environment holds; none of it may get into a container (ENV-6).
var credentials = []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=token",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/x"}

// checkIsolated holds that the container has no credentials and no way out: no default route, no name server.
func (l *layout) checkIsolated(t *testing.T) {
	t.Helper()
	for _, kv := range l.Env {
		if strings.Contains(kv, "AKIAEXAMPLE") || strings.Contains(kv, "secret") || strings.Contains(kv, "CREDENTIALS") || strings.HasPrefix(kv, "AWS_S") {
			t.Errorf("the container has %s", kv)
		}
	}
	for _, r := range l.Routes {
		if f := strings.Fields(r); len(f) > 2 && (f[1] == "00000000" || f[2] != "00000000") {
			t.Errorf("there is a way out: %s", r)
		}
	}
	if strings.Contains(l.Resolv, "nameserver") {
		t.Errorf("there is a name server: %s", l.Resolv)
	}
	for name, addrs := range l.Interfaces {
		if name != "lo" && slices.ContainsFunc(addrs, func(a string) bool { return strings.Contains(a, ":") }) {
			t.Errorf("%s has an address of IPv6: %v", name, addrs)
		}
	}
}

// TestIsolationOfValidation holds the same of both containers of a validation, which is isolated whatever the documents
// say (CH-5, INF-44), while the host reaches /ping in it. With --network open the same probes succeed.
func TestIsolationOfValidation(t *testing.T) {
	sameHost(t)
	o := outside.New(t)
	put(t, "data", "train/a.csv", "1,2\n", "probe/x.csv", "x\n")
	for _, network := range []string{"open", "isolated"} {
		targets := append(o.Targets(), loopback8080)
		if network == "isolated" {
			targets = append(targets, o.Never()...)
		}
		list := strings.Join(targets, " ")
		// The serving container probes when it is asked, so that its own port is there.
		file := algorithm("probing-"+network, "s3://data/probe/", []string{"probe", list, "probe_retry", "500ms", "listen", ":8080", "layout", "dump"},
			[]string{"TINY_INVOKE", "probe", "TINY_PROBE", list, "TINY_PROBE_RETRY", "500ms", "TINY_LAYOUT", "dump"}).file(t)
		args := []string{"validate", "--quiet", "--output", "json", file}
		if network == "open" {
			args = append(args, "--network", "open")
		}
		r := begin(t, credentials, args...).wait(t)
		v := validated(t, r)
		if len(v.Jobs) != 2 || v.Jobs[1].Status != "Completed" {
			t.Fatalf("%s", r)
		}
		if wantCode := map[string]int{"open": 9, "isolated": 0}[network]; r.code != wantCode { // open breaks a rule (CH-5)
			t.Errorf("exit code %d, want %d: %s", r.code, wantCode, r)
		}
		for i, who := range []string{"training", "inference"} {
			var got probed
			var l layout
			if who == "training" {
				files := unpack(t, object(t, "out", "validate/"+v.Jobs[i].Name+"/output/model.tar.gz"))
				got, l = probes(t, files["probes.json"]), decode[layout](t, files["layout.json"])
			} else {
				got = probes(t, object(t, "out", "validate-probing-"+network+"/x.csv.out"))
				l = said[layout](t, log(t, v.Jobs[i].Name), "layout")
			}
			if network == "open" {
				checkReached(t, "the open "+who+" container", got, targets, nil)
				continue
			}
			checkReached(t, "the isolated "+who+" container", got, []string{loopback8080}, append(o.Targets(), o.Never()...))
			l.checkIsolated(t)
		}
		// The host reached the container all the while: it was asked and it answered.
		var pings int
		for line := range strings.Lines(log(t, v.Jobs[1].Name)) {
			var m struct {
				Request *struct{ Path, Host string }
			}
			if json.Unmarshal([]byte(line), &m) == nil && m.Request != nil && m.Request.Path == "/ping" {
				pings++
			}
		}
		if pings == 0 {
			t.Errorf("%s: no /ping in the log", network)
		}
	}
}
