package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/ledger"
)

func (a *app) cmdUpload() *cobra.Command {
	return &cobra.Command{
		Use:   "upload JOB",
		Short: "Upload artifacts that a job has kept because their upload failed",
		Long: `Upload what a training job could not upload at its end: its model, its output
data, its checkpoints. They are in the job's directory until then, and are removed
from it when they have arrived. The job's status stays what it was. Where the
objects are is the job's own: the --s3-dir, --endpoint-url … that it was run with.`,
		Example: `  optml upload my-job`,
		Args:    nargs(1, 1, "the job's name"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.upload(args[0]) },
	}
}

func (a *app) upload(name string) error {
	j, err := ledger.Find(a.jobs(), name)
	if err != nil {
		return err
	}
	stores, err := storesOf(j)
	if err != nil {
		return err
	}
	fail, err := harness.ParseFailpoint(os.Getenv("OPTML_FAIL"))
	if err != nil {
		return &usageError{Err: err}
	}
	o, err := ledger.Reopen(j.Dir())
	switch {
	case errors.Is(err, ledger.ErrOwned):
		return &runningError{j}
	case errors.Is(err, ledger.ErrUnfinished):
		return &ownerDeadError{j.Name()}
	case err != nil:
		return err
	}
	defer o.Close()
	before := o.State()
	if len(before.Kept()) == 0 {
		fmt.Fprintf(a.stderr, "optml: %s/%s keeps nothing: what it made has been uploaded\n", j.Kind(), j.Name())
		return nil
	}
	ctx, sig := watchSignals(sayTo(a.stderr), func() {})
	defer sig.end()
	if err := harness.Deliver(ctx, o, harness.Host{Stores: stores, Fail: fail, MountDir: filepath.Join(a.runDir, "mnt")}); err != nil {
		return interrupted(ctx, err)
	}
	now := o.State()
	for _, u := range before.Kept() {
		for _, x := range now.Uploads {
			if x.Artifact == u.Artifact {
				fmt.Fprintf(a.stderr, "optml: %s/%s: %s uploaded to %s\n", j.Kind(), j.Name(), x.Artifact, x.URI)
			}
		}
	}
	return o.Close()
}
