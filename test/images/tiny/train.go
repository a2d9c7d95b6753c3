package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// train does what the hyperparameters say and returns the exit code.
func train(args []string) int {
	o, err := hyperparameters()
	if err == nil && o.text("lenient", "") != "1" {
		err = o.mistakes()
	}
	if err != nil {
		return o.fail(65, err)
	}
	onTerminate(o)
	record := map[string]any{"started_ns": started.UnixNano(), "mode": "train", "args": args}
	if o.ignored != nil {
		record["ignored"] = o.ignored
	}
	sayJSON(record)
	if err := refuses(o); err != nil {
		return o.fail(16, err)
	}
	writesModel := o.text("model", "") != "none"
	if writesModel {
		writeJSON(ml("model/started.json"), record)
	}
	fmt.Fprint(os.Stdout, o.text("print", ""))
	fmt.Fprint(os.Stderr, o.text("print_stderr", ""))
	if addr := o.text("listen", ""); addr != "" {
		if err := listen(addr); err != nil {
			return fail(66, err)
		}
	}
	if o.has("probe") {
		results := probeAll(o)
		sayJSON(map[string]any{"probes": results})
		writeJSON(ml("model/probes.json"), results)
	}
	if o.has("layout") {
		l := readLayout()
		writeJSON(ml("model/layout.json"), l)
		if o.text("layout", "") == "check" {
			if wrong := checkTraining(l); len(wrong) > 0 {
				return fail(9, fmt.Errorf("layout: %s", strings.Join(wrong, "; ")))
			}
		}
	}
	if o.has("channels") {
		channels, err := readChannels(o)
		sayJSON(map[string]any{"channels": channels})
		writeJSON(ml("model/channels.json"), channels)
		if err != nil {
			return fail(10, err)
		}
	}
	if o.has("write_input") {
		written := map[string]string{}
		for name := range strings.FieldsSeq(o.text("write_input", "")) {
			written[name] = ""
			if err := os.WriteFile(ml("input/data", name), []byte("tiny\n"), 0o644); err != nil {
				written[name] = err.Error()
			}
		}
		writeJSON(ml("model/written.json"), written)
	}
	if err := metrics(o); err != nil {
		return fail(67, err)
	}
	if err := lines(o); err != nil {
		return fail(68, err)
	}
	if writesModel {
		if err := model(o); err != nil {
			return fail(11, err)
		}
	}
	if err := output(o); err != nil {
		return fail(12, err)
	}
	for f := range strings.FieldsSeq(o.text("scratch", "")) {
		name, size, _ := strings.Cut(f, ":")
		n, err := strconv.Atoi(size)
		if err == nil {
			err = fill(name, int64(n))
		}
		if err != nil {
			return fail(15, fmt.Errorf("scratch: %w", err))
		}
	}
	if err := checkpoints(o); err != nil {
		return fail(14, err)
	}
	if v := o.text("allocate_mb", ""); v != "" {
		allocate(v)
	}
	if mb := o.number("shm_mb", 0); mb > 0 {
		if err := writeNoise("/dev/shm/full", int64(mb)*1e6, 7); err != nil {
			return fail(15, err)
		}
	}
	if n := o.number("processes", 0); n > 0 {
		got, err := processes(n)
		said := map[string]any{"processes": got}
		if err != nil {
			said["error"] = err.Error()
		}
		sayJSON(said)
		writeJSON(ml("model/processes.json"), said)
	}
	if o.text("model_open", "") == "1" {
		f, err := begin(ml("model/partial.bin"))
		if err != nil {
			return fail(11, err)
		}
		defer f.Close()
	}
	if o.text("crash", "") == "segv" {
		segv()
	}
	if n := o.number("fork", 0); n > 0 {
		if err := forkHolders(n, o.text("fork_sleep", "1h")); err != nil {
			return fail(69, err)
		}
	}
	time.Sleep(o.duration("sleep", 0))
	if err := failure(o); err != nil {
		return fail(13, err)
	}
	return o.number("exit_code", 0)
}

// fill makes a file of so many bytes, which take room on the disk, without writing them where the disk can do that.
func fill(name string, n int64) error {
	if err := writeFile(name, nil); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err = syscall.Fallocate(int(f.Fd()), 0, 0, n); err == syscall.EOPNOTSUPP {
		_, err = f.Write(make([]byte, n))
	}
	return err
}

// onTerminate arranges what SIGTERM does (STOP-1). "default" leaves it to the Go runtime.
func onTerminate(o options) {
	switch how := o.text("sigterm", "default"); how {
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
	case "ignore_all":
		signal.Ignore()
	case "exit", "save":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		go func() {
			<-c
			sayJSON(map[string]any{"signal": "terminated", "at_ns": time.Now().UnixNano()})
			time.Sleep(o.duration("sigterm_delay", 0))
			if how == "save" {
				if err := writeFile(ml("model/saved.txt"), []byte("saved on SIGTERM\n")); err != nil {
					os.Exit(fail(14, err))
				}
				os.Exit(0)
			}
			os.Exit(o.number("sigterm_exit_code", 0))
		}()
	}
}

// model writes what becomes model.tar.gz (OUT-1).
func model(o options) error {
	if err := writeFile(ml("model/model.txt"), []byte(o.text("model", "tiny\n"))); err != nil {
		return err
	}
	if mb := o.number("model_mb", 0); mb > 0 {
		files := max(1, o.number("model_files", 1))
		for i := range files {
			name := "weights.bin"
			if files > 1 {
				name = fmt.Sprintf("weights-%04d.bin", i)
			}
			if err := writeNoise(ml("model", name), int64(mb)*1e6/int64(files), uint64(i)); err != nil {
				return err
			}
		}
	}
	if target := o.text("model_symlink", ""); target != "" {
		if err := os.Symlink(target, ml("model/link")); err != nil {
			return err
		}
	}
	if o.text("model_socket", "") == "1" {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ml("model/socket")})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
	}
	if o.text("model_fifo", "") == "1" {
		return syscall.Mkfifo(ml("model/fifo"), 0o644)
	}
	return nil
}

// output writes what becomes output.tar.gz (OUT-2).
func output(o options) error {
	if o.has("output") {
		if err := writeFile(ml("output/data/result.txt"), []byte(o.text("output", ""))); err != nil {
			return err
		}
	}
	if mb := o.number("output_mb", 0); mb > 0 {
		return writeNoise(ml("output/data/result.bin"), int64(mb)*1e6, 99)
	}
	return nil
}

// failure writes the failure file that was asked for (FAIL-1, FAIL-2).
func failure(o options) error {
	if h := o.text("failure_hex", ""); h != "" {
		raw, err := hex.DecodeString(h)
		if err != nil {
			return err
		}
		return writeFile(ml("output/failure"), raw)
	}
	if o.has("failure") {
		text := strings.Repeat(o.text("failure", ""), o.number("failure_repeat", 1))
		return writeFile(ml("output/failure"), []byte(text))
	}
	return nil
}

// refuses is what a careful algorithm says no to before it begins.
func refuses(o options) error {
	if o.text("refuse_empty", "") == "1" {
		var empty string
		err := filepath.WalkDir(ml("input/data"), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if fi, ferr := d.Info(); ferr == nil && fi.Size() == 0 {
					empty = p
				}
			}
			return err
		})
		if err == nil && empty != "" {
			err = fmt.Errorf("%s has no content", empty)
		}
		if err != nil {
			return err
		}
	}
	if t := o.text("fail_on", ""); t != "" {
		raw, err := os.ReadFile(ml("input/config/resourceconfig.json"))
		if err != nil {
			return err
		}
		if strings.Contains(string(raw), strconv.Quote(t)) {
			return fmt.Errorf("%s is too small for us", t)
		}
	}
	return nil
}

// fail is fail, or only the exit code of a program that says nothing of what went wrong.
func (o options) fail(code int, err error) int {
	if o.text("silent", "") == "1" {
		return code
	}
	return fail(code, err)
}

// fail reports our own error where a SageMaker image does: on stderr and in the failure file.
func fail(code int, err error) int {
	fmt.Fprintf(os.Stderr, "tiny: %v\n", err)
	_ = writeFile(ml("output/failure"), []byte(err.Error())) // stderr has it already
	return code
}

func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// writeJSON keeps a finding as a file where there is a place for it; a bare `ctr run` has none, stdout has it then.
func writeJSON(path string, v any) {
	raw, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = writeFile(path, append(raw, '\n'))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tiny: %s: %v\n", path, err)
	}
}

// sayJSON prints one line in one write, so that concurrent lines do not mix.
func sayJSON(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		raw = fmt.Appendf(nil, "{\"error\":%q}", err)
	}
	os.Stdout.Write(append(raw, '\n'))
}
