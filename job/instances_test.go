package job

import (
	"fmt"
	"testing"
)

// BT-37: a transform has as many instances as it says, each with a container, a host name and a log of its own; the model
// is every instance's.
func TestTransformInstances(t *testing.T) {
	text := edit(t, "transform.json", `"InstanceCount": 1`, `"InstanceCount": 11`)
	tr := plan(t, Options{Region: "eu-west-1"}, machine, text).Transform
	names, hosts := map[string]bool{}, map[string]bool{}
	for i, in := range tr.Instances {
		if want := fmt.Sprintf("algo-%d", i+1); in.Host != want || len(in.Containers) != 1 || in.Containers[0].Name != want || in.Containers[0].Port != 8080 {
			t.Errorf("%d: %+v", i, in)
		}
		names[in.Containers[0].Name], hosts[in.Containers[0].Hostname] = true, true
	}
	if len(tr.Instances) != 11 || len(names) != 11 || len(hosts) != 11 || len(tr.Models) != 1 {
		t.Errorf("%d instances, names %v, host names %v, models %v", len(tr.Instances), names, hosts, tr.Models)
	}
}
