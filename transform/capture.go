package transform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Capture is where a job says what it has read and written: two manifests, of the inputs and of their outputs. No data is
// copied (BT-171).
type Capture struct {
	Name string // of the job: its manifests'
	// InputURI names an object by its key, OutputURI an output by its name.
	InputURI, OutputURI func(string) string
	// Create and Remove are as those of Config, below the destination.
	Create func(ctx context.Context, name, contentType string) (Writer, error)
	Remove func(ctx context.Context, name string) error
}

// CaptureNames are the manifests of a job that began then, below the destination: of the inputs and of the outputs. Which
// name the service gives the files is not documented: each job has its own, so that jobs can share a destination.
func CaptureNames(job string, began time.Time) [2]string {
	hour := began.UTC().Format("2006/01/02/15/")
	return [2]string{"input/" + hour + job + ".json", "output/" + hour + job + ".json"}
}

// capture writes the manifests of the objects that have an output; without any there are none. What is there of them when
// it fails is removed.
func (r *run) capture(ctx context.Context) (err error) {
	c := r.cfg.Capture
	if c == nil {
		return nil
	}
	var done []*object
	for _, o := range r.objects {
		if o.committed {
			done = append(done, o)
		}
	}
	if len(done) == 0 || ctx.Err() != nil {
		return nil
	}
	names := CaptureNames(c.Name, r.cfg.Began)
	r.captured = true
	dir := commonDir(done)
	err = r.manifest(ctx, names[0], c.InputURI(dir), done, func(o *object) string { return o.Key[len(dir):] })
	if err == nil {
		err = r.manifest(ctx, names[1], c.OutputURI(""), done, func(o *object) string { return o.name })
	}
	if err == nil || ctx.Err() != nil { // what is stopped is removed with the outputs
		return nil
	}
	if left := r.removeCaptured(ctx); left != nil {
		err = fmt.Errorf("%w; and what is there of it stays: %w", err, left)
	}
	return fmt.Errorf("data capture: %w", err)
}

// commonDir is what all keys have in common of what stands before their names below the input: nearly always all of it.
func commonDir(objects []*object) string {
	dir := ""
	for i, o := range objects {
		base := strings.TrimSuffix(o.Key, strings.TrimSuffix(o.name, ".out"))
		if i == 0 {
			dir = base
		}
		for !strings.HasPrefix(base, dir) {
			dir = dir[:strings.LastIndexByte(dir[:len(dir)-1], '/')+1]
		}
	}
	return dir
}

// manifest writes one: a prefix, and what stands behind it.
func (r *run) manifest(ctx context.Context, name, prefix string, objects []*object, rest func(*object) string) error {
	w, err := r.cfg.Capture.Create(ctx, name, "application/json")
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer w.Abort()
	b := bufio.NewWriterSize(w, outputBuffer)
	text := func(s string) []byte { return appendJSON(nil, s) }
	fmt.Fprintf(b, `[{"prefix":%s}`, text(prefix))
	for _, o := range objects {
		fmt.Fprintf(b, ",\n%s", text(rest(o)))
	}
	b.WriteString("]\n")
	if err := b.Flush(); err != nil { // of all writes before too
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := w.Commit(ctx); err != nil {
		return fmt.Errorf("commit %s: %w", name, err)
	}
	return nil
}

// removeCaptured removes the manifests of a job that was stopped, or failed in writing them.
func (r *run) removeCaptured(ctx context.Context) error {
	if !r.captured {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	var errs []error
	for _, name := range CaptureNames(r.cfg.Capture.Name, r.cfg.Began) {
		if err := r.cfg.Capture.Remove(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
