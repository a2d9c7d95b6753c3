//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestHosts: ruling 5, RES-1, SHARD-1, SHARD-2, SHARD-3. Each host of a job of twelve, run on its own, has its share of a
// sharded channel and all of a replicated one; together the shares are the whole, each object once.
func TestHosts(t *testing.T) {
	sameHost(t)
	const n = 5 // objects: with twelve hosts some get nothing
	for i := range n {
		put(t, "hosts", fmt.Sprintf("in/%d", i), fmt.Sprint(i))
	}
	var all []string
	for i := range 12 {
		all = append(all, fmt.Sprintf("algo-%d", i+1))
	}
	sorted := slices.Sorted(slices.Values(all))
	seen := map[string]int{}
	for _, host := range append(sorted[:n:n], "algo-9") {
		rank := slices.Index(sorted, host)
		name := jobName("hosts")
		d := training(name, "channels", "sha256", "layout", "dump")
		d["ResourceConfig"] = doc{"InstanceType": "ml.m5.large", "InstanceCount": len(all), "VolumeSizeInGB": 1}
		shards := channel("shards", "s3://hosts/in/")
		shards["DataSource"].(doc)["S3DataSource"].(doc)["S3DataDistributionType"] = "ShardedByS3Key"
		d["InputDataConfig"] = []doc{shards, channel("whole", "s3://hosts/in/")}
		r := ok(t, "train", "--progress", "none", "--hosts", strings.Join(all, ","), "--current-host", host, d.file(t))
		if !strings.Contains(r.stdout, host) {
			t.Errorf("%s is not in the report:\n%s", host, r.stdout)
		}
		files := modelOf(t, name)
		got := decode[map[string]readChannel](t, files["channels.json"])
		share := 0
		for _, f := range got["shards"].Files {
			seen[f.Path]++
			share++
		}
		if want := map[bool]int{true: 1, false: 0}[rank < n]; share != want || len(got["whole"].Files) != n {
			t.Errorf("%s (rank %d) has %d objects of its share, want %d, and %d of the whole, want %d", host, rank, share, want, len(got["whole"].Files), n)
		}
		l := decode[layout](t, files["layout.json"])
		config := l.Config["resourceconfig.json"].Text
		if !strings.Contains(config, fmt.Sprintf(`"current_host":%q`, host)) || !strings.Contains(config, `"hosts":["algo-1","algo-10","algo-11","algo-12","algo-2",`) {
			t.Errorf("resourceconfig.json: %s", config)
		}
		own := false // its own name is its own address
		for line := range strings.Lines(l.Hosts) {
			f := strings.Fields(line)
			own = own || slices.Contains(f, host) && slices.Contains(f, l.Hostname) && slices.ContainsFunc(l.Interfaces["eth0"], func(a string) bool { return strings.HasPrefix(a, f[0]+"/") })
		}
		if !own {
			t.Errorf("%s, %s is not one of its own addresses %v in /etc/hosts:\n%s", host, l.Hostname, l.Interfaces, l.Hosts)
		}
	}
	for i := range n {
		if k := fmt.Sprintf("shards/%d", i); seen[k] != 1 {
			t.Errorf("object %d was given to %d hosts", i, seen[k])
		}
	}
}
