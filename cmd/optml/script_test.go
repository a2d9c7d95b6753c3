package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/logfile"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"optml": main})
}

// TestScripts runs test/script/*.txtar with the real main: all that needs neither root nor containers. The scripts with
// real containers are in test/script/e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "test", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("OPTML_ROOT", filepath.Join(e.WorkDir, "root"))
			e.Setenv("OPTML_RUN_DIR", "/nonexistent/optml")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			return os.CopyFS(e.WorkDir, os.DirFS(filepath.Join("..", "..", "test", "script", "docs")))
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return strconv.ParseBool(cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"entry": entryCommand, "code": codeCommand},
	})
}

// codeCommand runs a program that must end with an exit code: code CODE PROGRAM ARGS...
func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	ts.Logf("exit code %d", got)
	if got != want {
		ts.Fatalf("%s ended with exit code %d, not %d; stderr:\n%s", strings.Join(args[1:], " "), got, want, ts.ReadFile("stderr"))
	}
}

// entryCommand puts a job into the ledger as if it had been run: entry STATE DOCUMENT [LOG]. STATE is completed,
// failed, dead (its owner died in the middle) or running (this process owns it until the script's end).
func entryCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: entry STATE DOCUMENT [LOG]")
	}
	raw, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	d, err := job.Decode(args[1], raw)
	ts.Check(err)
	o := job.Options{Dir: ts.MkAbs(".")}
	if d.Operation == job.CreateAlgorithm {
		o.RunSuffix = "000001"
	}
	p, err := job.Make([]*job.Document{d}, o, job.HostFacts{CPUs: 2, MemoryBytes: 8 << 30, Arch: "amd64", Now: time.Now().UTC()})
	ts.Check(err)
	own, err := ledger.Create(filepath.Join(ts.Getenv("OPTML_ROOT"), "jobs"), ledger.Request{
		Documents: map[string][]byte{d.Operation + ".json": raw}, Options: kept{Job: o}, Plan: p,
	})
	ts.Check(err)
	ts.Defer(func() { own.Close() })
	ts.Check(own.Append(ledger.Transition{Status: ledger.StatusInProgress, Secondary: "Starting", Message: "Starting the training job"}))
	ts.Check(own.Append(ledger.Transition{Status: ledger.StatusInProgress, Secondary: "Training", Message: "Training in progress."}))
	if len(args) > 2 {
		w, err := logfile.Create(own.LogPath("algo-1"))
		ts.Check(err)
		text, err := os.ReadFile(ts.MkAbs(args[2]))
		ts.Check(err)
		w.Write(logfile.Stdout, text)
		ts.Check(w.Close())
	}
	switch args[0] {
	case "completed":
		ts.Check(own.Append(ledger.Transition{Status: ledger.StatusCompleted, Message: "Training job completed", ExitCode: new(0)}))
	case "failed":
		ts.Check(own.Append(ledger.Transition{Status: ledger.StatusFailed, FailureReason: "AlgorithmError: out of luck, exit code: 3",
			Detail: "the container ended with exit code 3", Hint: "look at its log", ExitCode: new(3)}))
	case "running":
		return
	case "dead":
	default:
		ts.Fatalf("entry: unknown state %q", args[0])
	}
	ts.Check(own.Close())
}
