// Package ledger is a job on disk: the one place where what happened to a job is kept, and the bus between the process
// that carries it out and everybody who looks.
//
// A job is a directory, <root>/<kind>/<name>/:
//
//	request/       the documents as they were given, byte for byte
//	options.json   what the user said beside the documents
//	plan.json      job.Plan: all that carrying the job out needs
//	events.jsonl   the events, one JSON line each, appended by one writer; the truth
//	status.json    State, the fold of the events, for other programs to read; a cache, never read back
//	live.json      Snapshot: counters of the moment, several times a second, absent when nobody runs the job
//	lock           the owner holds its lock for as long as it lives (see Owned)
//	stop.json      the request to stop; kill.json the one to stop at once
//	logs/          <container>.log and .idx
//	metrics.jsonl  samples
//	samples.jsonl  beginnings of inputs and outputs
//	metrics.prom   the last values, as Prometheus reads them
//	requests.jsonl one line a request of a transform, if it was to record them
//	failures.jsonl one line an object that a transform failed on
//	failing/       a transform's first failing batches, each with its response
//	attempts/<n>/  logs and metrics of earlier attempts
//	work/          scratch of the run: /opt/ml trees, staged data
//
// Facts are events, rates are not: whatever must be known afterwards is appended as an Event (the closed set of Body);
// whatever changes several times a second goes to Live and is lost with the process. Nothing here computes what a
// status should be, and nothing here watches containers: the harness appends, State folds.
//
// One process at a time is a job's owner. Create makes a job and owns it, Adopt takes over a job whose owner has died.
// Everybody else Opens it and reads State, Follow and Live.
package ledger
