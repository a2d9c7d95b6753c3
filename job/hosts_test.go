package job

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// cluster is the training fixture with n instances.
func cluster(t testing.TB, n int) string {
	return edit(t, "training.json", `"InstanceCount": 1`, fmt.Sprintf(`"InstanceCount": %d`, n))
}

// Ruling 5, RES-1, SHARD-2: a container is given its place among the job's hosts, which are sorted as text.
func TestPlaceAmongHosts(t *testing.T) {
	for _, tc := range []struct {
		hosts   []string
		current string
		all     string
		host    string
		dns     string
	}{
		{nil, "", "[algo-1]", "algo-1", "ip-10-0-0-1"},
		{[]string{"algo-1"}, "", "[algo-1]", "algo-1", "ip-10-0-0-1"},
		{[]string{"algo-1", "algo-2", "algo-3"}, "algo-2", "[algo-1 algo-2 algo-3]", "algo-2", "ip-10-0-0-2"},
		{[]string{"algo-2", "algo-10", "algo-1"}, "algo-2", "[algo-1 algo-10 algo-2]", "algo-2", "ip-10-0-0-3"},
	} {
		p, err := Make([]*Document{decode(t, "job.json", cluster(t, max(1, len(tc.hosts))))}, Options{Hosts: tc.hosts, CurrentHost: tc.current}, machine)
		if err != nil {
			t.Errorf("%v %s: %v", tc.hosts, tc.current, err)
			continue
		}
		tr := p.Training
		i := tr.Instances[0]
		if fmt.Sprint(tr.Hosts) != tc.all || len(tr.Instances) != 1 || i.Host != tc.host || i.Containers[0].Name != tc.host || !strings.HasPrefix(i.Containers[0].Hostname, tc.dns) {
			t.Errorf("%v %s: hosts %v, instances %+v", tc.hosts, tc.current, tr.Hosts, tr.Instances)
		}
		warned, emulated := false, false
		for _, w := range p.Warnings {
			warned = warned || w.Rule == "ruling 5" && strings.Contains(w.Text, "do not reach each other") && strings.Contains(w.Text, "--name")
		}
		for _, m := range p.Members {
			emulated = emulated || m.Path == "ResourceConfig.InstanceCount" && m.Treatment == Emulated
		}
		if several := len(tc.hosts) > 1; warned != several || emulated != several {
			t.Errorf("%v: warned %v, emulated %v", tc.hosts, warned, emulated)
		}
	}
}

// What --hosts says must fit itself: those mistakes are of the command line, not of the document.
func TestPlaceMistakes(t *testing.T) {
	many := make([]string, 254)
	for i := range many {
		many[i] = fmt.Sprintf("algo-%d", i+1)
	}
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{CurrentHost: "algo-1"}, "--current-host algo-1 without --hosts"},
		{Options{Hosts: []string{"algo-1", "algo-2"}}, "--hosts without --current-host"},
		{Options{Hosts: []string{"algo-1", "algo-2"}, CurrentHost: "algo-3"}, `--current-host "algo-3" is not one of --hosts`},
		{Options{Hosts: []string{"algo-1", "algo-1"}, CurrentHost: "algo-1"}, "--hosts names algo-1 twice"},
		{Options{Hosts: []string{"algo-1", "../2"}, CurrentHost: "algo-1"}, `"../2" is no host name`},
		{Options{Hosts: []string{"algo-1", "algo-02"}, CurrentHost: "algo-1"}, `"algo-02" is no host name`},
		{Options{Hosts: []string{""}}, `"" is no host name`},
		{Options{Hosts: many, CurrentHost: "algo-1"}, "254 hosts, a job has room for 253"},
	} {
		_, err := Make(fixtures(t, "training.json"), tc.o, machine)
		var invalid *Invalid
		var no *Unsupported
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, &invalid) || errors.As(err, &no) {
			t.Errorf("%v %q: got %v, want %q", tc.o.Hosts, tc.o.CurrentHost, err, tc.want)
		}
	}
	two := Options{Hosts: []string{"algo-1", "algo-2"}, CurrentHost: "algo-1"}
	for _, docs := range [][]string{{"algorithm.json"}, {"transform.json", "model.json"}} {
		if _, err := Make(fixtures(t, docs...), two, machine); err == nil || !strings.Contains(err.Error(), "--hosts is for training jobs") {
			t.Errorf("%v: got %v", docs, err)
		}
	}
}

// InstanceCount is accepted exactly when --hosts names as many (ruling 5).
func TestInstanceCountAndHosts(t *testing.T) {
	three := Options{Hosts: []string{"algo-1", "algo-2", "algo-3"}, CurrentHost: "algo-1"}
	strict := three
	strict.Strict = true
	for _, tc := range []struct {
		n    int
		o    Options
		want string
	}{
		{3, three, ""},
		{2, three, "ResourceConfig.InstanceCount: 2 is refused: several hosts are not carried out together yet: say 1, or name as many with --hosts"},
		{1, three, "ResourceConfig.InstanceCount: 1 is refused: --hosts names 3: give as many as the job has instances"},
		{3, Options{}, "ResourceConfig.InstanceCount: 3 is refused: several hosts are not carried out together yet: say 1, or name as many with --hosts"},
		{3, strict, "ResourceConfig.InstanceCount: 3 is refused: the hosts do not reach each other"},
	} {
		got := refusal(t, tc.o, cluster(t, tc.n))
		if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%d instances, %v: got %q, want %q", tc.n, tc.o.Hosts, got, tc.want)
		}
	}
}

// The plan keeps what --hosts said whatever the order; the options themselves are not sorted.
func TestPlaceLeavesOptionsAlone(t *testing.T) {
	o := Options{Hosts: []string{"algo-2", "algo-1"}, CurrentHost: "algo-1"}
	if _, err := Make([]*Document{decode(t, "job.json", cluster(t, 2))}, o, machine); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(o.Hosts, []string{"algo-2", "algo-1"}) {
		t.Errorf("options became %v", o.Hosts)
	}
}
