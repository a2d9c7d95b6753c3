// Package metrics finds a job's metrics in its log lines, and turns counters into SageMaker's percentages.
//
// A Set is made from a job's MetricDefinitions; each host's log goes through a Stream of its own, in pieces of any
// size as they are read. Every line that a definition matches gives samples; the last one of a name is its final value.
//
// Matching every definition on every line is slow (about 0.2 million lines a second with ten definitions), so a Set
// derives from each pattern literals of which a match must contain one, looks for these in whole blocks of the log, for
// most of them in one pass (grams), and runs the pattern on the lines where they are. FuzzSweep holds that against
// line-by-line matching.
package metrics
