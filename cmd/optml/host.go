package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/optml/optml/harness"
	"github.com/optml/optml/job"
	"github.com/optml/optml/ledger"
	"github.com/optml/optml/objstore"
	"github.com/optml/optml/runtime/container"
	"github.com/optml/optml/runtime/ctrd"
)

// kept is options.json of a job: what the user said, so that an owner needs nothing but the directory. It holds no
// secrets; credentials are looked up when they are needed.
type kept struct {
	Job  job.Options `json:"job"`
	Host hostOptions `json:"host"`
}

// hostOptions say how this machine is used.
type hostOptions struct {
	Root       string         `json:"root"`
	RunDir     string         `json:"runDir"`
	Containerd string         `json:"containerd,omitempty"`
	S3Dir      string         `json:"s3Dir,omitempty"`
	Region     string         `json:"region,omitempty"`
	Endpoint   string         `json:"endpointUrl,omitempty"`
	AWSProfile string         `json:"awsProfile,omitempty"` // its name alone
	Anonymous  bool           `json:"noSignRequest,omitempty"`
	PathStyle  bool           `json:"pathStyle,omitempty"`
	Pull       container.Pull `json:"pull,omitempty"`
	Platform   string         `json:"platform,omitempty"`       // of images; "": this machine's
	Registries string         `json:"registryConfig,omitempty"` // directory of hosts.toml; "": the host's own
	Grant      string         `json:"credentials,omitempty"`    // how containers are given credentials; "": not at all
	Spool      *int64         `json:"spool,omitempty"`
	Metrics    string         `json:"metricsListen,omitempty"` // where /metrics is served while the job runs; "": nowhere
	UID        int            `json:"uid,omitempty"`           // who owns what is written for the user: whoever called sudo
	GID        int            `json:"gid,omitempty"`
}

func (a *app) hostOptions(f *jobFlags) hostOptions {
	uid, gid := invoker(os.Geteuid(), os.Getenv)
	return hostOptions{
		UID: uid, GID: gid,
		Root: a.root, RunDir: a.runDir, Containerd: a.containerd, S3Dir: a.s3Dir, Region: a.region, Endpoint: a.endpoint,
		AWSProfile: a.awsProfile, Anonymous: a.anonymous, PathStyle: a.pathStyle, Pull: container.Pull(f.pull), Spool: f.spool,
		Platform: f.platform, Registries: a.registries, Grant: f.credentials, Metrics: f.metricsListen,
	}
}

func (o hostOptions) ctrd(log *slog.Logger) ctrd.Config {
	return ctrd.Config{Root: o.Root, RunDir: o.RunDir, Address: o.Containerd, Log: log, Helpers: helpers(), Platform: o.Platform}
}

// images is the image store, with the registries as these options reach them.
func (o hostOptions) images(c *ctrd.Client) *pulls {
	login := &registryLogin{profile: o.AWSProfile}
	return &pulls{images: c.Images(ctrd.Registries{HostsDir: o.Registries, Credentials: login.credentials})}
}

// host is this machine as jobs need it: a connection to containerd beside the harness' Host.
type host struct {
	harness.Host
	client *ctrd.Client
	pulls  *pulls
}

func (h *host) Close() error { return h.client.Close() }

// open connects to containerd, starting the embedded one if need be, and makes the stores.
func (o hostOptions) open(ctx context.Context, log *slog.Logger) (*host, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	fail, err := harness.ParseFailpoint(os.Getenv("OPTML_FAIL"))
	if err != nil {
		return nil, &usageError{Err: err}
	}
	stores, err := o.stores()
	if err != nil {
		return nil, err
	}
	if err := ctrd.CheckPlatform(o.Platform); err != nil {
		return nil, &usageError{Err: fmt.Errorf("--%w", err), Hint: "install an emulator, such as Debian's qemu-user-static, or run it on a machine of that kind"}
	}
	client, err := ctrd.Dial(ctx, o.ctrd(log))
	if err != nil {
		return nil, err
	}
	images := o.images(client)
	return &host{
		Host: harness.Host{
			Launcher: client, Images: images, Stores: stores, StoresOf: storesOf, Pull: o.Pull, Log: log, Fail: fail,
			GPUs: hostGPUs(),
			CPUs: runtime.NumCPU(), Memory: hostMemory(), MountDir: filepath.Join(o.RunDir, "mnt"), Spool: o.Spool,
			// For comparisons, and to show on a newer kernel what one before 6.9 does.
			NoPassthrough: os.Getenv("OPTML_NO_PASSTHROUGH") == "1",
			Credentials:   o.credentials(),
			Pulling:       images.live,
		},
		client: client,
		pulls:  images,
	}, nil
}

// credentials are what containers may ask for.
func (o hostOptions) credentials() harness.Credentials {
	if o.Grant == "" || o.Grant == grantNone {
		return nil
	}
	return &grant{how: o.Grant, region: o.Region, profile: o.AWSProfile}
}

// stores are where these options say that objects are.
func (o hostOptions) stores() (objstore.Opener, error) {
	s3 := objstore.S3Options{Region: o.Region, Endpoint: o.Endpoint, Profile: o.AWSProfile, Anonymous: o.Anonymous, PathStyle: o.PathStyle}
	// For tests: after what time without a byte a connection counts as broken, and how often a request is tried. What is
	// no duration and no number is the default.
	s3.Retry.Stall, _ = time.ParseDuration(os.Getenv("OPTML_S3_STALL"))
	s3.Retry.Attempts, _ = strconv.Atoi(os.Getenv("OPTML_S3_ATTEMPTS"))
	return objstore.NewOpener(objstore.Options{S3Dir: o.S3Dir, S3: s3, UID: o.UID, GID: o.GID})
}

// storesOf are the stores that a job was started with: whoever recovers it may have been given others.
func storesOf(j *ledger.Job) (objstore.Opener, error) {
	var k kept
	if err := j.Options(&k); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return k.Host.stores()
}

// needRoot says so before anything that needs it fails in some other way.
func needRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &harness.HostError{What: "running containers needs root", Hint: "run it with sudo", Err: fmt.Errorf("this is user %d", os.Geteuid())}
}

// recover sees to jobs whose owner has died, and says what became of them (ruling 1). What cannot be recovered now does
// not keep anybody from starting something else.
func (h *host) recover(ctx context.Context, jobs string, say func(string, ...any)) error {
	done, err := harness.Recover(ctx, jobs, h.Host, reaper{h.client, h.Log})
	for _, r := range done {
		say("recovered %s/%s, whose owner had died: %s", r.Kind, r.Name, r.Final.Status)
		if r.Final.FailureReason != "" {
			say("  %s", r.Final.FailureReason)
		}
	}
	return err
}

// reaper is ctrd's sweep as the harness wants it: what was removed goes to the log.
type reaper struct {
	*ctrd.Client
	log *slog.Logger
}

var _ harness.Reaper = reaper{}

func (r reaper) Sweep(ctx context.Context, alive func(dir string) bool) error {
	swept, err := r.Client.Sweep(ctx, alive)
	if !swept.Empty() {
		r.log.Info("swept", "containers", swept.Containers, "networks", swept.Networks)
	}
	return errors.Join(err, hostGPUs().Sweep())
}

// taken refuses a name before anything is started (ST-3, ruling 2). ledger.Create decides.
func taken(jobs string, p *job.Plan, replace bool) error {
	j, err := ledger.Find(jobs, string(p.Kind)+"/"+p.Name)
	if err != nil {
		return nil
	}
	owned, err := j.Owned()
	if err != nil {
		return err
	}
	s, err := j.State()
	if err != nil {
		return err
	}
	if replace && !owned {
		return s.OnlyCopy() // one whose owner died is recovered first
	}
	return &ledger.InUseError{Kind: p.Kind, Name: p.Name, ARN: p.ARN, Finished: s.Final && !owned}
}
