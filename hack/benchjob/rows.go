package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/optml/optml/hack/measure"
)

type row = measure.Row[*bench]

var rows = []row{
	{Name: "whole", Says: "a whole job, command line to exit: File mode, one object of 1 KiB, a model of 1 KiB", Instants: []string{"to the exit"}, Ready: (*bench).whole},
	{Name: "bench", Says: "a job that sleeps for 10 s: a clock around optml train, and what optml bench train says of it", Instants: []string{"total", "of it optml's own"}, Ready: (*bench).clock},
	{Name: "upload", Says: "a model of 270 MB, half float32 weights and half source text, in 8 files, packed and uploaded", Instants: []string{"directory to object"},
		Unit: "MB/s", Amount: func(b *bench) float64 { return float64(b.modelSize()) / 1e6 }, Memory: 128 << 20, Touch: true, Ready: (*bench).upload},
}

func (b *bench) modelSize() int64 { return int64(270e6 * b.scale) }

// optml is the binary with a root of its own.
type optml struct {
	*measure.Optml
	b     *bench
	count int
}

// run runs a job and returns how long it took, and if it is watched in how much memory; to watch costs time.
func (o *optml) run(cmd *exec.Cmd, watched bool) (s measure.Sample, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(cmd.Env, "TMPDIR="+o.b.File("tmp"))
	t0 := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	var w *measure.Watcher
	if watched {
		w = measure.Watch(cmd.Process.Pid, o.Helpers)
	}
	err = cmd.Wait()
	s.Took = []time.Duration{time.Since(t0)}
	if watched {
		w.End()
		s.Peak, s.Beside = w.Peak, w.Beside
	}
	if err != nil {
		return s, fmt.Errorf("optml train: %w\n%s", err, out.Bytes())
	}
	s.CPU = measure.CPU(cmd)
	return s, nil
}

// whole is a job of the tiny image against a script that does the same by hand.
func (b *bench) whole() (*measure.Contest, error) {
	model := strings.Repeat("0123456789abcdef", 1<<10/16)
	s3 := b.File("s3")
	if err := os.WriteFile(filepath.Join(s3, "in", "object"), []byte(model), 0o644); err != nil {
		return nil, err
	}
	side := func(name string, o *optml) measure.Side {
		return measure.Side{Name: name, Run: func(check bool) (measure.Sample, error) {
			o.count++
			name := fmt.Sprintf("whole-%d", o.count)
			file, err := o.Training(name, tinyImage, map[string]any{"InputDataConfig": measure.Input("s3://in/object"), "HyperParameters": map[string]string{"model": model}})
			if err != nil {
				return measure.Sample{}, err
			}
			defer func() { _ = o.Command("rm", name).Run() }()
			s, err := o.run(o.Command("--s3-dir", s3, "train", "--progress", "none", file), false)
			if err == nil && check {
				s.Bytes, err = modelIn(filepath.Join(s3, "out", name, "output", "model.tar.gz"))
			}
			return s, err
		}}
	}
	script := b.File("by-hand")
	// What one writes who wants the same without optml: no record, no network, no limits, no log kept, no failure explained.
	text := `#!/bin/bash
set -e
work=$1 in=$2 out=$3 name=$4 socket=$5 image=$6
mkdir -p "$work"/{input/{config,data/train},model,output/data} "$out"
cp "$in" "$work/input/data/train/"
ctr -a "$socket" run --rm --env TINY_MODEL="$(<"$in")" --mount "type=bind,src=$work,dst=/opt/ml,options=rbind:rw" "$image" "$name" train
tar -C "$work/model" -czf "$work/model.tar.gz" .
cp "$work/model.tar.gz" "$out/model.tar.gz"
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		return nil, err
	}
	hand := measure.Side{Name: "cp, ctr run, tar czf, cp", Target: 1 / 1.1, Missing: b.containerd()}
	count := 0
	hand.Run = func(check bool) (measure.Sample, error) {
		count++
		name := fmt.Sprintf("by-hand-%d", count)
		work, out := b.File(name), filepath.Join(s3, "out", name)
		defer os.RemoveAll(work)
		t0 := time.Now()
		cmd := exec.Command(script, work, filepath.Join(s3, "in", "object"), out, name, b.ctr.Socket, tinyImage)
		text, err := cmd.CombinedOutput()
		took := time.Since(t0)
		if err != nil {
			return measure.Sample{}, fmt.Errorf("%w\n%s", err, text)
		}
		s := measure.Sample{Took: []time.Duration{took}, CPU: measure.CPU(cmd)}
		if check {
			s.Bytes, err = modelIn(filepath.Join(out, "model.tar.gz"))
		}
		return s, err
	}
	// Of what both consist, so that it is seen what there is to be gained.
	part := func(name string, command func() *exec.Cmd) measure.Side {
		return measure.Side{Name: name, Missing: hand.Missing, Run: func(bool) (measure.Sample, error) {
			cmd := command()
			t0 := time.Now()
			text, err := cmd.CombinedOutput()
			took := time.Since(t0)
			if err != nil {
				return measure.Sample{}, fmt.Errorf("%w\n%s", err, text)
			}
			return measure.Sample{Took: []time.Duration{took}, CPU: measure.CPU(cmd)}, nil
		}}
	}
	sides := []measure.Side{side("optml train", b.optml), hand,
		part("of ours: the program's start (optml version)", func() *exec.Cmd { return b.optml.Command("version") }),
		part("of the script: ctr run --rm", func() *exec.Cmd {
			count++
			return b.ctr.Ctr("run", "--rm", tinyImage, fmt.Sprintf("part-%d", count), "train")
		}),
	}
	if b.other != nil {
		sides = append(sides, side("the other optml train", b.other))
	}
	return &measure.Contest{Sides: sides, Close: func() {}}, nil
}

// clock is /usr/bin/time around optml train against what optml bench finds in the record of the same job. What it does not
// find is the start of the program; it may not be more than 5 %.
func (b *bench) clock() (*measure.Contest, error) {
	const few = 5 // they hardly differ, and take long
	s3 := b.File("s3")
	if err := os.WriteFile(filepath.Join(s3, "in", "object"), []byte("x"), 0o644); err != nil {
		return nil, err
	}
	run := func(verb []string, read func(stdout, stderr []byte) ([]time.Duration, error)) func(bool) (measure.Sample, error) {
		return func(bool) (measure.Sample, error) {
			b.optml.count++
			name := fmt.Sprintf("clock-%d", b.optml.count)
			file, err := b.optml.Training(name, tinyImage, map[string]any{"InputDataConfig": measure.Input("s3://in/object"), "HyperParameters": map[string]string{"sleep": fmt.Sprint(time.Duration(10 * b.scale * float64(time.Second)))}})
			if err != nil {
				return measure.Sample{}, err
			}
			defer func() { _ = b.optml.Command("rm", name).Run() }()
			cmd := b.optml.Command(slices.Concat([]string{"--s3-dir", s3}, verb, []string{"--name", name, file})...)
			var stdout, stderr bytes.Buffer
			if verb[0] == "train" {
				cmd.Args = append([]string{"/usr/bin/time", "-f", "%e", cmd.Path}, cmd.Args[1:]...)
				cmd.Path = "/usr/bin/time"
			}
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				return measure.Sample{}, fmt.Errorf("optml %s: %w\n%s", verb[0], err, stderr.Bytes())
			}
			s := measure.Sample{CPU: measure.CPU(cmd)}
			s.Took, err = read(stdout.Bytes(), stderr.Bytes())
			return s, err
		}
	}
	side := measure.Side{Name: "/usr/bin/time optml train", Runs: few, Run: run([]string{"train", "--quiet"}, func(_, stderr []byte) ([]time.Duration, error) {
		lines := strings.Fields(string(stderr))
		if len(lines) == 0 {
			return nil, errors.New("/usr/bin/time says nothing")
		}
		took, err := time.ParseDuration(lines[len(lines)-1] + "s")
		return []time.Duration{took, 0}, err
	})}
	if _, err := os.Stat("/usr/bin/time"); err != nil {
		side.Missing = err
	}
	said := measure.Side{Name: "optml bench train", Target: 0.95, Runs: few, Run: run([]string{"bench", "train", "--runs", "1", "--warmups", "0", "--quiet", "--output", "json"}, func(stdout, _ []byte) ([]time.Duration, error) {
		var r struct {
			Variants []struct {
				Runs []struct{ Figures, Own map[string]float64 }
			}
		}
		if err := json.Unmarshal(stdout, &r); err != nil {
			return nil, err
		}
		x := r.Variants[0].Runs[0]
		seconds := func(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }
		return []time.Duration{seconds(x.Figures["total"]), seconds(x.Own["total"])}, nil
	})}
	return &measure.Contest{Sides: []measure.Side{side, said}, Close: func() {}}, nil
}

// modelIn is the size of the model that an archive of the tiny image's holds.
func modelIn(archive string) (int64, error) {
	list, err := exec.Command("tar", "-tzf", archive).Output()
	if err != nil {
		return 0, fmt.Errorf("tar -tzf %s: %w", archive, err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if strings.TrimPrefix(name, "./") == "model.txt" {
			text, err := exec.Command("tar", "-xzOf", archive, name).Output()
			return int64(len(text)), err
		}
	}
	return 0, fmt.Errorf("%s: no model.txt among %q", archive, list)
}

// upload packs and uploads a model: ours as the last thing that a job does, as its record has it.
func (b *bench) upload() (_ *measure.Contest, err error) {
	model := b.File("model")
	if err := makeModel(model, b.modelSize()); err != nil {
		return nil, err
	}
	keep := b.File("kept")
	if err := os.Mkdir(keep, 0o755); err != nil {
		return nil, err
	}
	srv, err := startServer(keep)
	if err != nil {
		return nil, err
	}
	count := 0
	// next is a name for what is uploaded next; see keepMark.
	next := func(check bool) string {
		count++
		if check {
			return fmt.Sprintf("model%s%d", keepMark, count)
		}
		return fmt.Sprintf("model-%d", count)
	}
	whole := func(s measure.Sample, check bool) (measure.Sample, error) {
		if !check {
			return s, nil
		}
		return s, sameModel(srv, model)
	}
	ours := measure.Side{Name: "optml train", Run: func(check bool) (measure.Sample, error) {
		o, name := b.optml, next(check)
		file, err := o.Training(name, copierImage, map[string]any{"InputDataConfig": measure.Input("file://" + model)})
		if err != nil {
			return measure.Sample{}, err
		}
		cmd := o.Command("--endpoint-url", srv.URL, "train", "--progress", "none", file)
		cmd.Env = srv.environ()
		defer func() { _ = o.Command("rm", name).Run() }()
		disk := watchDisk(b.Dir)
		s, err := o.run(cmd, true)
		grown := disk()
		if err != nil {
			return s, err
		}
		if most := 2*b.modelSize() + 64<<20; grown > most && !check { // the data, the model, and what a job has besides
			return s, fmt.Errorf("%d MiB of disk were in use for a model of %d MiB and its data: something is there twice", grown>>20, b.modelSize()>>20)
		}
		if s.Took[0], err = o.uploaded(name); err != nil {
			return s, err
		}
		return whole(s, check)
	}}
	peer := func(s measure.Side, pipeline func(to string) [][]string) measure.Side {
		for _, p := range pipeline("") {
			_, err := measure.Find(b.peers, p[0])
			s.Missing = errors.Join(s.Missing, err)
		}
		s.Run = func(check bool) (measure.Sample, error) {
			var cmds []*exec.Cmd
			for _, p := range pipeline("s3://out/" + next(check) + ".tar.gz") {
				path, err := measure.Find(b.peers, p[0])
				if err != nil {
					return measure.Sample{}, err
				}
				cmd := exec.Command(path, p[1:]...)
				cmd.Env = srv.environ()
				cmds = append(cmds, cmd)
			}
			took, used, peak, err := measure.RunAll(nil, cmds...)
			if err != nil {
				return measure.Sample{}, err
			}
			return whole(measure.Sample{Took: []time.Duration{took}, CPU: used, Peak: peak}, check)
		}
		return s
	}
	sides := []measure.Side{ours,
		peer(measure.Side{Name: "tar c, pigz -1, s5cmd pipe", Target: 5, Best: true}, func(to string) [][]string {
			return [][]string{{"tar", "-C", model, "-c", "."}, {"pigz", "-1"}, {"s5cmd", "--endpoint-url", srv.URL, "pipe", to}}
		}),
		peer(measure.Side{Name: "tar c, pigz -1, s5cmd pipe -p 16", Target: 5, Best: true}, func(to string) [][]string {
			return [][]string{{"tar", "-C", model, "-c", "."}, {"pigz", "-1"}, {"s5cmd", "--endpoint-url", srv.URL, "pipe", "-p", "16", to}}
		}),
		peer(measure.Side{Name: "tar cz, aws s3 cp -", Target: 15, Runs: 3}, func(to string) [][]string {
			return [][]string{{"tar", "-C", model, "-cz", "."}, {"aws", "--endpoint-url", srv.URL, "s3", "cp", "-", to}}
		}),
	}
	return &measure.Contest{Sides: sides, Close: func() { srv.Close(); os.RemoveAll(model); os.RemoveAll(keep) }}, nil
}

// uploaded is how long the record says that the model's packing and upload took.
func (o *optml) uploaded(name string) (time.Duration, error) {
	b, err := o.Command("report", name, "--output", "json").Output()
	if err != nil {
		return 0, fmt.Errorf("optml report: %w", err)
	}
	var report struct {
		Outputs []struct {
			Artifact string  `json:"artifact"`
			Seconds  float64 `json:"seconds"`
			Kept     string  `json:"kept"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(b, &report); err != nil {
		return 0, err
	}
	for _, a := range report.Outputs {
		if a.Artifact == "model" && a.Kept == "" {
			return time.Duration(a.Seconds * float64(time.Second)), nil
		}
	}
	return 0, fmt.Errorf("optml report %s: no upload of a model", name)
}

// makeModel writes a model of so many bytes: half of it weights, which hardly compress, half of it text.
func makeModel(dir string, size int64) error {
	const files = 8
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	text, err := measure.GoSource(size / 2)
	if err != nil {
		return err
	}
	for int64(len(text)) < size/2 {
		text = append(text, text[:min(len(text), int(size/2)-len(text))]...)
	}
	random := rand.New(rand.NewPCG(1, 2))
	weights := make([]byte, 0, size/files)
	for i := range files {
		var b []byte
		if i%2 == 0 {
			weights = weights[:0]
			for int64(len(weights)) < size/files {
				weights, err = binary.Append(weights, binary.LittleEndian, float32(random.NormFloat64()*0.02))
				if err != nil {
					return err
				}
			}
			b = weights
		} else {
			n := len(text) / (files / 2)
			b = text[i/2*n:][:n]
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("part-%d.bin", i)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sameModel unpacks what the server kept and holds it against the model.
func sameModel(srv *server, model string) error {
	object, err := srv.kept()
	if err != nil {
		return err
	}
	dir := filepath.Join(srv.keep, "unpacked")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer os.Remove(object)
	for _, args := range [][]string{{"tar", "-C", dir, "-xzf", object}, {"diff", "-r", model, dir}} {
		if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, text)
		}
	}
	return nil
}

// watchDisk returns a function that says by how much what lies below dir has grown at most since.
func watchDisk(dir string) func() int64 {
	used := func() (n int64) {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // files come and go
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
			return nil
		})
		return n
	}
	before, stop, all := used(), make(chan struct{}), make(chan []int64)
	go func() {
		var seen []int64
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				all <- append(seen, used())
				return
			case <-tick.C:
				seen = append(seen, used())
			}
		}
	}()
	return func() int64 { close(stop); return slices.Max(<-all) - before }
}
