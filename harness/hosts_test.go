package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/containertest"
)

// Ruling 5, RES-1, SHARD-2: each host of a job, run on its own, is told of all hosts and gets its share by its place among
// them. Together they get each object once.
func TestPlaceAmongHosts(t *testing.T) {
	hosts := []string{"algo-1", "algo-10", "algo-2"}
	for rank, host := range hosts {
		b := newBench(t, algo(func(p *containertest.Process) int {
			config, err := os.ReadFile(p.Path("/opt/ml/input/config/resourceconfig.json"))
			if err != nil {
				panic(err)
			}
			files, err := os.ReadDir(p.Path("/opt/ml/input/data/train"))
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(p.Stdout, "%s\n", config)
			for _, f := range files {
				fmt.Fprintln(p.Stdout, f.Name())
			}
			return 0
		}))
		for i := range 8 {
			b.put(fmt.Sprintf("in/shards/%d", i), "x")
		}
		plan := trainingPlan("place-" + host)
		plan.Training.Hosts = hosts
		plan.Training.Instances[0].Host, plan.Training.Instances[0].Containers[0].Name = host, host
		plan.Training.Channels = []job.Channel{{Name: "train", Mode: "File", Source: job.Source{Type: "S3Prefix", URI: "s3://in/shards/", Distribution: "ShardedByS3Key"}}}
		final, s := b.run(plan)
		if final.Status != "Completed" {
			t.Fatalf("%s: %+v", host, final)
		}
		if s.Channels[0].Host != host {
			t.Errorf("the record names host %s, want %s", s.Channels[0].Host, host)
		}
		log, err := os.ReadFile(filepath.Join(b.root, "training", plan.Name, "logs", host+".log"))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`"current_host":%q`, host); !strings.Contains(string(log), want) || !strings.Contains(string(log), `"hosts":["algo-1","algo-10","algo-2"]`) {
			t.Errorf("resourceconfig.json of %s: %s", host, log)
		}
		var got, want []string
		for i := range 8 {
			if strings.Contains(string(log), fmt.Sprintf("%d\n", i)) {
				got = append(got, fmt.Sprint(i))
			}
			if i%3 == rank {
				want = append(want, fmt.Sprint(i))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s (rank %d) got %v, want %v", host, rank, got, want)
		}
	}
}
