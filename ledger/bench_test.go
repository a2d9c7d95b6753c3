package ledger

import (
	"fmt"
	"testing"
)

// BenchmarkCreate is what a job's start pays: the entry, synced, and its first transition.
func BenchmarkCreate(b *testing.B) {
	root := b.TempDir()
	doc := make([]byte, 4096)
	for i := 0; b.Loop(); i++ {
		o, err := Create(root, Request{Plan: trainingPlan(fmt.Sprintf("job-%d", i)), Documents: map[string][]byte{"CreateTrainingJob.json": doc}, Options: struct{}{}})
		if err != nil {
			b.Fatal(err)
		}
		if err := o.Append(Transition{Status: StatusInProgress, Secondary: "Starting"}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		o.Close()
		b.StartTimer()
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, body := range []Body{StepBegan{}, Intent{Kind: "container", ID: "c"}, Transition{Status: StatusInProgress, Secondary: "Training"}} {
		b.Run(fmt.Sprintf("%T", body), func(b *testing.B) {
			o, err := Create(b.TempDir(), Request{Plan: trainingPlan("a")})
			if err != nil {
				b.Fatal(err)
			}
			defer o.Close()
			for b.Loop() {
				if err := o.Append(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLive(b *testing.B) {
	o, err := Create(b.TempDir(), Request{Plan: trainingPlan("a")})
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	s := Snapshot{At: t0, Step: "run", Channels: make([]ChannelLive, 4), Containers: make([]ContainerLive, 2)}
	for b.Loop() {
		o.Live(s)
	}
}
