package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/optml/optml/job"
	"github.com/optml/optml/runtime/container"
)

// jobFlags are the flags of the verbs that run something.
type jobFlags struct {
	name           string
	account        string
	replace        bool
	strict         bool
	lenient        bool
	profile        string
	grace          span
	checkpoints    span
	pingTimeout    span
	maxResponse    size
	shm            size
	init           bool
	userWritable   bool
	modelWritable  bool
	network        string
	pull           string
	platform       string
	credentials    string
	spool          *int64
	asInstance     string
	enforceVolume  bool
	gpus           *job.GPURequest
	devices        []string
	shareGPUs      bool
	interruptAfter span
	hosts          []string
	currentHost    string
	fileSystems    fileSystems

	recordRequests bool
	probe          bool
	metricsListen  string
	scans          []job.Scan // reports on a validation's images
	from           string

	detach   bool
	progress string
	logs     bool
	quiet    bool
}

// add declares the flags; logs is whether the containers' output is shown unless the user says otherwise.
func (f *jobFlags) add(c *cobra.Command, logs bool) {
	f.plan(c)
	x := c.Flags()
	x.BoolVar(&f.replace, "replace", false, "take the place of a finished job with this name")
	f.reach(c)
	x.StringVar(&f.metricsListen, "metrics-listen", "", "serve the job's metrics to Prometheus at http://`ADDR`/metrics while it runs, such as 127.0.0.1:9400 or :0")
	x.BoolVarP(&f.detach, "detach", "d", false, "run in the background and print the job's name")
	f.progress = progressAuto
	x.Var(choice{&f.progress, progressModes}, "progress", "`how` to show progress on stderr: auto, bars, plain, json or none")
	x.BoolVar(&f.logs, "logs", logs, "show what the containers print on stderr")
	x.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no logs: --progress none --logs=false")
}

// replay declares the flag of the verbs that run again what a reply describes.
func (f *jobFlags) replay(c *cobra.Command, call string) {
	c.Flags().StringVar(&f.from, "from", "", "`file` with the reply of "+call+", to run again what it describes (\"-\" reads stdin)")
}

// nargs is one document, or none with --from.
func (f *jobFlags) nargs(c *cobra.Command, args []string) error {
	if f.from != "" && len(args) > 0 {
		return usage("%s and --from exclude each other: give one document", args[0])
	}
	if f.from != "" {
		return nil
	}
	return nargs(1, 1, "the document")(c, args)
}

// document is the path of the main one.
func (f *jobFlags) document(args []string) string { return cmp.Or(f.from, strings.Join(args, "")) }

// form is what the main document must be.
func (f *jobFlags) form() form {
	if f.from != "" {
		return reply
	}
	return request
}

// reach declares the flags that say how images and data are had.
func (f *jobFlags) reach(c *cobra.Command) {
	x := c.Flags()
	f.pull, f.credentials = string(container.PullMissing), grantNone
	x.Var(choice{&f.pull, []string{string(container.PullMissing), string(container.PullAlways), string(container.PullNever)}}, "pull", "`when` to ask a registry for the image: missing, always or never")
	x.Var(platform{&f.platform}, "platform", "`platform` of images for several, such as linux/arm64 (default: this machine's)")
	x.Var(choice{&f.credentials, grants}, "credentials", "`which` AWS credentials containers of an open network may ask for: none, role (the document's), session (this host's own) or auto (role, else session)")
	x.Var(bound{&f.spool}, "spool", "most that FastFile channels keep on disk for later epochs, a `size` or 0 (default: half of what is free)")
}

// plan declares the flags that decide what the plan is.
func (f *jobFlags) plan(c *cobra.Command) {
	x := c.Flags()
	x.SortFlags = false
	x.StringVar(&f.name, "name", "", "run under this `name` instead of the document's")
	x.StringVar(&f.account, "account", "", "AWS account `id` in ARNs (default: the role's, the image's registry, 000000000000)")
	x.BoolVar(&f.strict, "strict", false, "refuse what the service refuses, and every emulation that can change bytes, order, limits or status")
	x.BoolVar(&f.lenient, "lenient", false, "allow several validation profiles and 20 channels of an algorithm")
	x.Var(&f.grace, "grace", "`time` between SIGTERM and SIGKILL (default: 120s in training, 30s in inference)")
	x.Var(&f.pingTimeout, "ping-timeout", "`time` in which /ping must answer 200 (default 30m)")
	x.Var(&f.maxResponse, "max-response", "largest answer of /invocations, a `size` (default: MaxPayloadInMB, at least 6MiB)")
	x.Var(&f.shm, "shm-size", "`size` of /dev/shm (default: half of the container's memory)")
	x.BoolVar(&f.init, "init", false, "run an init process as PID 1 of the container")
	x.BoolVar(&f.userWritable, "user-writable", false, "let an image's user write below /opt/ml; SageMaker does not")
	x.BoolVar(&f.modelWritable, "model-writable", false, "let an inference container write to /opt/ml/model; SageMaker does not")
	x.Var(choice{&f.network, []string{"isolated", "open"}}, "network", "isolated or open, instead of what the document `says`")
	x.StringVar(&f.asInstance, "as-instance", "", "instance `type` whose processors, memory and name the containers get, or host for all of this machine (default: the document's, where this machine can hold it)")
	x.Var(gpusFlag{&f.gpus}, "gpus", "`which` of the host's GPUs each instance gets: a number, all, or device=0,2 (default: as many as the instance type has)")
	x.StringArrayVar(&f.devices, "device", nil, "a GPU by its CDI `name`, such as nvidia.com/gpu=0; repeatable, instead of --gpus")
}

// place declares the flags that say which of a training job's hosts this is (ruling 5).
func (f *jobFlags) place(c *cobra.Command) {
	x := c.Flags()
	x.StringSliceVar(&f.hosts, "hosts", nil, "`names` of all hosts of a training job, comma between: algo-1,algo-2")
	x.StringVar(&f.currentHost, "current-host", "", "`name` of the one of --hosts that runs here, alone")
}

// rehearse declares the flag that interrupts a training (STOP-9).
func (f *jobFlags) rehearse(c *cobra.Command) {
	c.Flags().Var(&f.interruptAfter, "spot-interrupt-after", "rehearse a spot interruption this `time` after the process has started: SIGTERM, SIGKILL after --grace, and a report of what was saved")
}

// data declares the flags that say where a training job's data is.
func (f *jobFlags) data(c *cobra.Command) {
	c.Flags().BoolVar(&f.enforceVolume, "enforce-volume-size", false, "put a training's /opt/ml on a file system of VolumeSizeInGB, so that writes fail as on a full disk")
	c.Flags().Var(&f.fileSystems, "fs", "`ID=DIR`: the directory that stands for a file system, such as fs-0123abcd=/data; repeatable")
}

// instances declares the flag of the verbs whose jobs may have several instances on this machine.
func (f *jobFlags) instances(c *cobra.Command) {
	c.Flags().BoolVar(&f.shareGPUs, "share-gpus", false, "give all instances of a transform the same GPUs, instead of each its own")
}

// requests declares the flag of the verbs that drive a transform.
func (f *jobFlags) requests(c *cobra.Command) {
	c.Flags().BoolVar(&f.recordRequests, "record-requests", false, "write one JSON line a request of the transform to requests.jsonl in its directory")
}

// validation declares the flags of the verbs that validate.
func (f *jobFlags) validation(c *cobra.Command) {
	c.Flags().StringVar(&f.profile, "profile", "", "only the validation profile with this `name`")
	c.Flags().BoolVar(&f.probe, "probe", false, "try after the profile what it does not show: a bad hyperparameter, empty channels, malformed requests, SIGTERM, the smallest instance types")
}

// options are job.Options of a document at path, relative paths in it being relative to its directory (D6).
func (f *jobFlags) options(a *app, path string) (job.Options, error) {
	o := job.Options{
		Name: f.name, Region: a.region, Account: f.account, Strict: f.strict, Lenient: f.lenient, Profile: f.profile,
		Grace: time.Duration(f.grace), CheckpointEvery: time.Duration(f.checkpoints), InterruptAfter: time.Duration(f.interruptAfter),
		PingWindow: time.Duration(f.pingTimeout), MaxResponse: int64(f.maxResponse),
		ShmBytes: int64(f.shm), Init: f.init, UserWritable: f.userWritable, ModelWritable: f.modelWritable, Network: f.network,
		AsInstance: f.asInstance, EnforceVolume: f.enforceVolume, ShareGPUs: f.shareGPUs,
		Hosts: f.hosts, CurrentHost: f.currentHost, FileSystems: f.fileSystems, RecordRequests: f.recordRequests, Probe: f.probe,
	}
	if f.strict && f.lenient {
		return o, usage("--strict and --lenient exclude each other")
	}
	var err error
	if o.GPUs, err = f.gpuRequest(); err != nil {
		return o, err
	}
	dir := "."
	if path != "-" {
		dir = filepath.Dir(path)
	}
	if o.Dir, err = filepath.Abs(dir); err != nil {
		return o, fmt.Errorf("directory of %s: %w", path, err)
	}
	return o, nil
}

// hostFacts are what plans need to know of this machine.
func hostFacts() job.HostFacts {
	region := os.Getenv("AWS_REGION")
	if region == "" {
		region = os.Getenv("AWS_DEFAULT_REGION")
	}
	return job.HostFacts{
		CPUs: runtime.NumCPU(), MemoryBytes: hostMemory(), Arch: runtime.GOARCH,
		GPUs: len(hostGPUs().Inventory(context.Background()).Usable()), Now: time.Now().UTC(), EnvRegion: region,
	}
}

func hostMemory() int64 {
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) != nil {
		return 0
	}
	return int64(i.Totalram) * int64(i.Unit)
}

// runSuffix makes each validation a new run (ruling 2): six letters or digits.
func runSuffix() string {
	n, err := rand.Int(rand.Reader, big.NewInt(36*36*36*36*36*36))
	if err != nil {
		n = big.NewInt(time.Now().UnixNano() % (36 * 36 * 36 * 36 * 36 * 36))
	}
	return fmt.Sprintf("%06s", n.Text(36))
}
