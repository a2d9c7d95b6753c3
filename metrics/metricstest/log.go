// Package metricstest makes what metrics are measured with: definitions, and a log in which they match.
package metricstest

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/optml/optml/job"
)

// Definitions are ten definitions of the kinds that people and AWS's own images use.
var Definitions = []job.MetricDefinition{
	{Name: "train:loss", Regex: `train_loss=([0-9.]+)`},
	{Name: "val:loss", Regex: `val_loss: ([0-9\.]+)`},
	{Name: "validation:auc", Regex: `.*\[[0-9]+\].*#011validation-auc:(\S+)`},
	{Name: "train:auc", Regex: `.*\[[0-9]+\].*#011train-auc:(\S+)`},
	{Name: "accuracy", Regex: `(?i)accuracy\s*=\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)`},
	{Name: "throughput", Regex: `throughput: ([0-9.]+) (?:samples|images)/s`},
	{Name: "lr", Regex: `learning[_ ]rate[:=] ?(\S+)`},
	{Name: "epoch", Regex: `Epoch (\d+)/\d+`},
	{Name: "f1", Regex: `f1_(?:macro|micro) = (0\.\d+|1\.0+)`},
	{Name: "bleu", Regex: `BLEU-?4?=(\d+(?:\.\d+)?)`},
}

// Log is n lines of 115 bytes on average of which 9 % hold a metric.
func Log(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"loading", "shard", "worker", "batch", "INFO", "step", "elapsed", "data", "gradient", "checkpoint", "tensor", "device",
		"memory", "alloc", "epoch", "model", "layer", "loss", "train", "optimizer", "scheduler", "/opt/ml/input/data/train/part-0001.csv", "0.00123", "128", "cuda:0"}
	hits := []string{"train_loss=0.%d", "val_loss: 0.%d", "[%d]\ttrain-auc:0.9\tvalidation-auc:0.8", "Accuracy = 0.%d", "throughput: %d.5 samples/s",
		"learning_rate=1e-%d", "Epoch %d/100", "f1_macro = 0.%d", "BLEU-4=%d.25"}
	var b bytes.Buffer
	for i := range n {
		start := b.Len()
		fmt.Fprintf(&b, "2026-03-01 12:%02d:%02d,%03d ", i/60000%60, i/1000%60, i%1000)
		length := 60 + r.IntN(110)
		if r.IntN(100) < 9 {
			fmt.Fprintf(&b, hits[r.IntN(len(hits))]+" ", r.IntN(10))
		}
		for b.Len()-start < length {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(' ')
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
