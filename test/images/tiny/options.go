package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// known lists every option. Training options are worked off in the order of this list.
var known = map[string]string{
	// training
	"print":               "exact text to stdout",
	"print_stderr":        "exact text to stderr",
	"listen":              "address of a TCP listener that answers `tiny` and closes, while the process lives",
	"probe":               "network targets, separated by blanks: tcp:HOST:PORT, udp:HOST:PORT, dns:NAME, dns:NAME@SERVER:PORT, http://…, metadata, credentials, sdk:credentials (as an SDK asks for them), sdk:no-token, sdk:wrong-token, sdk:wrong-path; `gateway` as HOST is the first address of our own network",
	"probe_timeout":       "for one target (1s)",
	"probe_retry":         "keep trying each target for this long (0)",
	"layout":              "dump: write model/layout.json; check: also verify it, exit 9 with the findings as failure text",
	"channels":            "sha256: read every channel, write model/channels.json",
	"epochs":              "Pipe epochs to read (1)",
	"write_input":         "files below input/data to write, separated by blanks; model/written.json says how it went",
	"pipe_limit":          "close a Pipe epoch after this many bytes (0: at its end)",
	"pipe_reader":         "blocking (default), select (O_NONBLOCK, reads when select says so), overlapping (opens each epoch while the one before is read)",
	"pipe_exit":           "1: read pipe_limit bytes of the first Pipe channel, wait until the pipe is full, and exit with it open",
	"file_reader":         "of File and FastFile: plain (default), mmap, random (blocks from the end, every other one first)",
	"swallow":             "1: go on after a file that cannot be read",
	"writes":              "1: try to change File and FastFile channels after they were read, in each way there is",
	"metrics":             "number of metric lines",
	"metrics_format":      "of a line; {step}, {loss} and {accuracy} are replaced",
	"metrics_interval":    "between metric lines",
	"metrics_stream":      "stdout or stderr",
	"stdout_mb":           "MB (10^6 bytes) of numbered lines to stdout",
	"stderr_mb":           "likewise to stderr, at the same time",
	"line_bytes":          "length of a numbered line with its newline (100)",
	"model":               "text of model/model.txt; none: write nothing into model, not even started.json",
	"model_mb":            "MB of incompressible model/weights.bin",
	"model_files":         "spread model_mb over so many files",
	"model_symlink":       "target of a symlink model/link",
	"model_fifo":          "1: make a FIFO model/fifo",
	"scratch":             "files of zeros to write anywhere, each PATH:BYTES, separated by blanks",
	"model_socket":        "1: make a socket model/socket",
	"checkpoints":         "checkpoints step-1, step-2 … to write to the LocalPath, from behind the last that is there",
	"checkpoint_interval": "before each",
	"checkpoint_kb":       "of each (1)",
	"checkpoint_keep":     "so many are kept, older ones removed",
	"checkpoint_growing":  "1: a file that grows until the end",
	"output":              "text of output/data/result.txt",
	"output_mb":           "MB of output/data/result.bin",
	"allocate_mb":         "allocate and touch so much memory; all: until the kernel ends us",
	"processes":           "light processes to start beside ours; they sleep until they are killed; model/processes.json says how many there were",
	"shm_mb":              "MB to write to /dev/shm; exit 15 when they do not fit",
	"model_open":          "1: begin model/partial.bin and keep it open for writing",
	"crash":               "segv: end by an access to memory that is not there, as a C program does",
	"fork":                "children that keep our stdout and sleep",
	"fork_sleep":          "for this long (1h)",
	"sleep":               "before the end",
	"lenient":             "1: options that do not parse are taken for unset, without a word",
	"refuse_empty":        "1: exit 16 when a channel's directory holds a file without content",
	"fail_on":             "instance type on which to exit with 16",
	"silent":              "1: what is refused is told by the exit code alone",
	"failure":             "text of output/failure",
	"failure_repeat":      "times the text is written (1)",
	"failure_hex":         "bytes of output/failure in hex, for text that is not UTF-8",
	"exit_code":           "of the process (0)",
	// both
	"sigterm":           "default, ignore, ignore_all (every signal that can be), exit, save (write model/saved.txt, then exit 0)",
	"sigterm_delay":     "between the signal and what it does",
	"sigterm_exit_code": "for exit (0)",
	// serving
	"sigterm_late":   "1: SIGTERM is ignored until the port is open",
	"start_delay":    "before the port is opened",
	"require_model":  "file below model that must exist, else exit 3",
	"write_model":    "1: try to write into model, print how it went (INF-22)",
	"ping":           "answer, or never: accept and do not answer",
	"ping_delay":     "before the answer",
	"ping_status":    "of the answer (200)",
	"ping_body":      "of the answer",
	"ping_failures":  "so many first pings are answered 503",
	"parameters":     "body of /execution-parameters; empty: 404; status:N; hang",
	"invoke":         "echo (default), upper, fixed, length (of each line), sha256, layout, probe, hang, reset, truncate, exit, oom",
	"body":           "for fixed",
	"content_type":   "of the answer; default: the request's Accept, else its Content-Type",
	"status":         "of every answer, or of those that fail_* select (500 there)",
	"fail_if":        "a request whose body contains this text fails",
	"fail_nth":       "requests that fail, counted from 1: 1,3,5-7",
	"fail_how":       "status (default), hang, reset, exit",
	"invoke_delay":   "before the answer",
	"invoke_step":    "added to the delay for each later request; may be negative",
	"stall_nth":      "from this invocation on none is answered for the time of stall_for",
	"stall_for":      "how long (1s)",
	"exit_after":     "end after so long, with exit_code",
	"exit_after_nth": "end with exit_code instead of answering this request",
}

// options are what was asked for: hyperparameters over environment variables.
type options struct {
	values  map[string]string
	ignored []string // hyperparameters that are not ours
}

// environment reads the TINY_ variables.
func environment() options {
	o := options{values: map[string]string{}}
	for name := range known {
		if v, ok := os.LookupEnv("TINY_" + strings.ToUpper(name)); ok {
			o.values[name] = v
		}
	}
	return o
}

// hyperparameters reads the file that a training job gets. Without the file (a bare `ctr run`) only the environment counts.
func hyperparameters() (options, error) {
	o := environment()
	raw, err := os.ReadFile(ml("input/config/hyperparameters.json"))
	if os.IsNotExist(err) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	var given map[string]string // every value is a string (training 2.1); anything else is an error
	if err := json.Unmarshal(raw, &given); err != nil {
		return o, fmt.Errorf("hyperparameters.json: %w", err)
	}
	for name, v := range given {
		if _, ok := known[name]; ok {
			o.values[name] = v
		} else {
			o.ignored = append(o.ignored, name)
		}
	}
	slices.Sort(o.ignored)
	return o, nil
}

// mistakes are values that do not parse; a test with a typing error must not pass by luck.
func (o options) mistakes() error {
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		v := o.values[name]
		var err error
		switch name {
		case "probe_timeout", "probe_retry", "metrics_interval", "fork_sleep", "sleep", "sigterm_delay", "start_delay",
			"ping_delay", "invoke_delay", "invoke_step", "stall_for", "exit_after":
			_, err = time.ParseDuration(v)
		case "epochs", "pipe_limit", "metrics", "stdout_mb", "stderr_mb", "line_bytes", "model_mb", "model_files", "output_mb",
			"fork", "processes", "shm_mb", "failure_repeat", "exit_code", "sigterm_exit_code", "ping_status", "ping_failures", "status", "stall_nth", "exit_after_nth":
			_, err = strconv.Atoi(v)
		case "allocate_mb":
			if v != "all" {
				_, err = strconv.Atoi(v)
			}
		case "fail_nth":
			_, err = parseRanges(v)
		case "sigterm":
			err = oneOf(v, "default", "ignore", "ignore_all", "exit", "save")
		case "crash":
			err = oneOf(v, "segv")
		case "layout":
			err = oneOf(v, "dump", "check")
		case "channels":
			err = oneOf(v, "sha256")
		case "pipe_reader":
			err = oneOf(v, "blocking", "select", "overlapping")
		case "file_reader":
			err = oneOf(v, "plain", "mmap", "random")
		case "invoke":
			err = oneOf(v, "echo", "upper", "fixed", "length", "sha256", "layout", "probe", "hang", "reset", "truncate", "exit", "oom")
		case "fail_how":
			err = oneOf(v, "status", "hang", "reset", "exit")
		case "ping":
			err = oneOf(v, "answer", "never")
		}
		if err != nil {
			return fmt.Errorf("option %s: %w", name, err)
		}
	}
	return nil
}

func oneOf(v string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("%q is none of %s", v, strings.Join(allowed, ", "))
	}
	return nil
}

func (o options) has(name string) bool { _, ok := o.values[name]; return ok }

func (o options) text(name, fallback string) string {
	if v, ok := o.values[name]; ok {
		return v
	}
	return fallback
}

func (o options) number(name string, fallback int) int {
	if n, err := strconv.Atoi(o.values[name]); err == nil {
		return n
	}
	return fallback
}

func (o options) duration(name string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(o.values[name]); err == nil {
		return d
	}
	return fallback
}

// ranges is a set of numbers such as 1,3,5-7.
type ranges [][2]int

func parseRanges(s string) (ranges, error) {
	var r ranges
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		lo, hi, two := strings.Cut(part, "-")
		a, err := strconv.Atoi(lo)
		if err != nil {
			return nil, err
		}
		b := a
		if two {
			if b, err = strconv.Atoi(hi); err != nil {
				return nil, err
			}
		}
		r = append(r, [2]int{a, b})
	}
	return r, nil
}

func (r ranges) has(n int) bool {
	return slices.ContainsFunc(r, func(p [2]int) bool { return p[0] <= n && n <= p[1] })
}
