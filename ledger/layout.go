package ledger

import (
	"os"
	"path/filepath"
)

const (
	requestDir  = "request"
	optionsFile = "options.json"
	planFile    = "plan.json"
	eventsFile  = "events.jsonl"
	statusFile  = "status.json"
	liveFile    = "live.json"
	lockFile    = "lock"
	stopFile    = "stop.json"
	killFile    = "kill.json"
	reserveFile = ".reserve"
	logsDir     = "logs"
	metricsFile = "metrics.jsonl"
	samplesFile = "samples.jsonl"
	expositFile = "metrics.prom"
	requestsLog = "requests.jsonl"
	failedFile  = "failures.jsonl"
	failingDir  = "failing"
	benchFile   = "bench.json"
	workDir     = "work"

	// Documents may hold environment values, so a job is for root and root's group only.
	dirMode  os.FileMode = 0o750
	fileMode os.FileMode = 0o640
)

// layout is the path of a job's directory; Owner and Job share its methods.
type layout string

// Dir is the job's directory.
func (l layout) Dir() string { return string(l) }

// LogPath is the path of a container's log without its ending: the logger adds .log and .idx.
func (l layout) LogPath(container string) string { return l.path(logsDir, container) }

// LogsDir holds the logs of all containers.
func (l layout) LogsDir() string { return l.path(logsDir) }

// MetricsPath is where samples go, one JSON line each.
func (l layout) MetricsPath() string { return l.path(metricsFile) }

// SamplesPath is where the beginnings of some inputs and outputs go, one JSON line each.
func (l layout) SamplesPath() string { return l.path(samplesFile) }

// ExpositionPath is where a job's last values are in Prometheus' text format.
func (l layout) ExpositionPath() string { return l.path(expositFile) }

// RequestLogPath is where a transform's requests go if they are recorded, one JSON line each.
func (l layout) RequestLogPath() string { return l.path(requestsLog) }

// FailuresPath lists the objects that a transform failed on, one JSON line each; it is not there without any.
func (l layout) FailuresPath() string { return l.path(failedFile) }

// BenchPath is where a benchmark's figures are.
func (l layout) BenchPath() string { return l.path(benchFile) }

// FailingDir holds the first failing batches of a transform.
func (l layout) FailingDir() string { return l.path(failingDir) }

// WorkDir is scratch space for the run. What lies there is not part of the record and is removed after it.
func (l layout) WorkDir() string { return l.path(workDir) }

// LockPath is the file whose flock the owner holds, for container.Spec.Guard.
func (l layout) LockPath() string { return l.path(lockFile) }

// RequestDir holds the documents as given.
func (l layout) RequestDir() string { return l.path(requestDir) }

// EventsPath is the file of events.
func (l layout) EventsPath() string { return l.path(eventsFile) }

func (l layout) path(elem ...string) string {
	return filepath.Join(append([]string{string(l)}, elem...)...)
}
