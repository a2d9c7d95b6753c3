//go:build e2e

package ctrd

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/optml/optml/runtime/container"
)

// BenchmarkLaunch reports the parts of a container's life: Launch, Start, from Start to the process's first
// instruction being over (it exits at once), Close.
func BenchmarkLaunch(b *testing.B) {
	dir := b.TempDir()
	var launch, start, wait, closing time.Duration
	n := 0
	for b.Loop() {
		n++
		s := container.Spec{
			ID: fmt.Sprintf("%sb%d", idPrefix, n), Job: dir, Image: tinyRef, Args: []string{"train"}, Hostname: "algo-1",
			Env: []string{"TINY_MODEL=none"}, Log: filepath.Join(dir, fmt.Sprintf("log%d", n)),
			Network: container.Network{Isolated: true, Bridge: bridgePrefix + "b", Hosts: []string{"algo-1"}},
		}
		t0 := time.Now()
		task, err := client_.Launch(context.Background(), s)
		if err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := task.Start(context.Background()); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		if _, err := task.Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
		t3 := time.Now()
		if err := task.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		launch, start, wait, closing = launch+t1.Sub(t0), start+t2.Sub(t1), wait+t3.Sub(t2), closing+time.Since(t3)
	}
	for name, d := range map[string]time.Duration{"launch": launch, "start": start, "wait": wait, "close": closing} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(n), name+"-ms")
	}
}
