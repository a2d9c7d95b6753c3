package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/ledger"
)

// The files that a detached owner inherits: the job's lock, and where it says that it runs.
const (
	fdLock  = 3
	fdReady = 4
)

// ownerLog is where a detached owner's own words go, beside the record.
const ownerLog = "owner.log"

// readyTimeout bounds how long a detached owner may take to reach containerd.
const readyTimeout = 60 * time.Second

// handOver starts a process that carries the job out in the background, and prints the job's name.
func handOver(o *ledger.Owner, f format, stdout io.Writer) error {
	j := o.Job()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(j.Dir(), ownerLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open the owner's log: %w", err)
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	lock, err := o.Handover()
	if err != nil {
		w.Close()
		return err
	}
	defer lock.Close()
	cmd := exec.Command(exe, "internal", roleOwner, j.Dir())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{fdLock - 3: lock, fdReady - 3: w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's Ctrl-C and hang-up are not for it
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the job's owner: %w", err)
	}
	_ = r.SetReadDeadline(time.Now().Add(readyTimeout))
	said, _ := io.ReadAll(io.LimitReader(r, 64))
	if string(said) != "ok" {
		return fmt.Errorf("the job's owner did not start; its words are in %s", log.Name())
	}
	_ = cmd.Process.Release()
	if f == formatJSON {
		return writeJSON(stdout, map[string]string{"kind": string(j.Kind()), "name": j.Name(), "directory": j.Dir()})
	}
	_, err = fmt.Fprintf(stdout, "%s/%s\n", j.Kind(), j.Name())
	return err
}

// ownerMain is the owner role: it carries out the job in a directory, whose lock it inherits or, started by hand on a
// job that nobody owns, takes.
func ownerMain(args []string, stderr io.Writer) int {
	err := func() error {
		if len(args) != 1 {
			return usage("usage: optml internal %s DIRECTORY", roleOwner)
		}
		return runOwner(args[0], stderr)
	}()
	if err != nil {
		printError(stderr, err)
	}
	return exitCode(err)
}

func runOwner(dir string, stderr io.Writer) error {
	lock := os.NewFile(fdLock, "lock")
	ready := os.NewFile(fdReady, "ready")
	syscall.CloseOnExec(fdLock)
	syscall.CloseOnExec(fdReady)
	owner, err := ledger.Inherit(dir, lock)
	if err != nil {
		return err
	}
	defer owner.Close()
	var k kept
	if err := owner.Job().Options(&k); err != nil {
		return fmt.Errorf("read options of %s: %w", dir, err)
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	stops := make(chan ledger.Stop, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		if s, ok := <-signals; ok {
			stops <- ledger.Stop{Reason: "signal " + s.String()}
		}
	}()
	ctx := context.Background()
	page, endPage, err := servePage(k.Host.Metrics, func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) })
	if err != nil {
		// Somebody else took the address since it was tried. A job is not given up for that.
		fmt.Fprintln(stderr, err)
		endPage = func() {}
	}
	defer endPage()
	h, err := k.Host.open(ctx, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		// The job exists and will not run: its record must say so.
		t := harness.Ending{Kind: owner.Plan().Kind, Err: err, Region: owner.Plan().Region}.Outcome()
		return errors.Join(err, owner.Append(t))
	}
	defer h.Close()
	h.Stops, h.Page = stops, page
	_, _ = ready.WriteString("ok")
	ready.Close()
	plan := owner.Plan()
	final, err := carryOut(ctx, owner.Job().Root(), owner, plan, h.Host)
	if cerr := owner.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if final.ExitCode != nil && *final.ExitCode != harness.ExitCompleted {
		return ended{*final.ExitCode}
	}
	return nil
}
