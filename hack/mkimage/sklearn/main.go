// Command mkimage-sklearn makes the scikit-learn example image as an OCI archive, without Docker: Debian packages by
// mmdebstrap, trimmed, and the programs of examples/sklearn-image on top.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/optml/optml/test/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage-sklearn:", err)
		os.Exit(1)
	}
}

const usage = `usage: hack/mkimage-sklearn [flags]

Makes the scikit-learn example image as an OCI archive for ` + "`optml images import`" + `. The first build installs Debian
packages with mmdebstrap (about a minute); what it made is kept by content in the cache directory
($OPTML_TEST_CACHE, else optml below the user's cache directory), so that the next build takes a second.
Run it as root or with user namespaces.

`

func run(ctx context.Context) error {
	out := flag.String("o", "sklearn.tar", "archive to write; - for none, which only fills the cache")
	ref := flag.String("name", "optml-examples/sklearn:1", "reference inside the archive")
	program := flag.String("program", "examples/sklearn-image", "directory with train, serve and predictor.py")
	suite := flag.String("suite", "", "Debian release (default this machine's)")
	fresh := flag.Bool("fresh", false, "install the packages again, to get their updates")
	verbose := flag.Bool("v", false, "show what mmdebstrap prints")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	begun := time.Now()
	base, err := baseLayer(ctx, *suite, *fresh, *verbose)
	if err != nil {
		return err
	}
	img, err := build(base, *program)
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	if *out != "-" {
		if err := images.WriteOCIArchive(*out, images.Named{Ref: *ref, Image: img}); err != nil {
			return err
		}
	}
	fmt.Printf("%s %s %s (%.1f s)\n", *out, *ref, digest, time.Since(begun).Seconds())
	return nil
}

// programFiles are what the image runs, with their modes.
var programFiles = []struct {
	name string
	mode int64
}{{"predictor.py", 0o644}, {"serve", 0o755}, {"train", 0o755}}

// build puts the programs on top of the packages.
func build(base *fileLayer, dir string) (v1.Image, error) {
	var files []images.File
	for _, f := range programFiles {
		data, err := os.ReadFile(filepath.Join(dir, f.name))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("program: %w (give -program)", err)
		}
		if err != nil {
			return nil, fmt.Errorf("program: %w", err)
		}
		files = append(files, images.File{Name: "/opt/program/" + f.name, Mode: f.mode, Data: data})
	}
	top, err := images.Layer(files)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, base, top); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: time.Unix(sourceDate(), 0).UTC()}
	config.OS, config.Architecture, config.History = "linux", runtime.GOARCH, nil
	config.Config = v1.Config{
		// No ENTRYPOINT: `train` and `serve` are found on the PATH.
		Env: []string{
			"PATH=/opt/program:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LANG=C.UTF-8",
			"PYTHONUNBUFFERED=TRUE",        // the log shows a line when it is printed
			"PYTHONDONTWRITEBYTECODE=TRUE", // all there is to compile is compiled
		},
		WorkingDir: "/opt/program",
		Labels: map[string]string{
			"com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true", // serve obeys SAGEMAKER_BIND_TO_PORT
			"org.opencontainers.image.title":                           "scikit-learn example of optml",
		},
	}
	return mutate.ConfigFile(img, config)
}

// cached is what is known of a base layer in the cache.
type cached struct {
	Digest, DiffID v1.Hash
	Size           int64
}

// baseLayer returns the layer of the packages, from the cache or made now.
func baseLayer(ctx context.Context, suite string, fresh, verbose bool) (*fileLayer, error) {
	d, err := debianFor(suite)
	if err != nil {
		return nil, err
	}
	cache, err := images.CacheDir()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "sklearn")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	name := filepath.Join(cache, d.key())
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !fresh {
		if l, err := readCached(name); err == nil {
			return l, nil
		}
	}
	if err := d.install(ctx, name, verbose); err != nil {
		return nil, err
	}
	return readCached(name)
}

func readCached(name string) (*fileLayer, error) {
	raw, err := os.ReadFile(name + ".json")
	if err != nil {
		return nil, err
	}
	var c cached
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, err
	}
	info, err := os.Stat(name + ".tar.zst")
	if err != nil {
		return nil, err
	}
	if info.Size() != c.Size {
		return nil, fmt.Errorf("%s.tar.zst has %d bytes, not %d", name, info.Size(), c.Size)
	}
	return &fileLayer{cached: c, path: name + ".tar.zst"}, nil
}

// lock makes builders that run at the same time wait for the first.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
