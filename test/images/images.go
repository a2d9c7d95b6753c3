// Package images makes OCI images for tests, in memory and without a daemon, and the registry that serves them.
//
// The image holds one static program, tiny, which trains and serves as a SageMaker container does and misbehaves on
// request (test/images/tiny/options.go lists how). The same options give the same digest each time.
package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Options choose a variant of the tiny image. The zero value is the plain one: no ENTRYPOINT, `train` and `serve` on
// the PATH, user root, this machine's architecture, OCI media types, one gzip layer.
type Options struct {
	Entrypoint []string // e.g. {"/tiny"}: the program itself; the command is then its first argument
	Cmd        []string
	User       string
	Env        []string // after PATH
	WorkingDir string
	Labels     map[string]string
	StopSignal string
	Arch       string   // GOARCH of program and config
	ConfigArch string   // of the config alone, to claim what is not so
	Without    []string // of "train", "serve": names left off the PATH
	NotExec    []string // of "train", "serve": scripts without the x bit in place of the program
	Files      []File   // further files
	PadMB      int      // a second layer of so many MB that do not compress
	Zstd       bool     // layers compressed by zstd
	Docker     bool     // Docker's media types (schema 2)
	Corrupt    bool     // the first layer's bytes do not match its digest
}

// File is a file to put into the image; missing parents are made.
type File struct {
	Name string // absolute
	Mode int64  // 0: 0644
	Data []byte
	Link string // a symlink to this instead
}

// Shipped is a file that the image has below /opt/ml: mounts must not hide it (training 2: the mounts are below /opt/ml).
const Shipped = "/opt/ml/code/shipped.txt"

// epoch is the time stamp of everything in an image, so that digests are the same each time.
var epoch = time.Unix(0, 0).UTC()

// Build makes the image. The first call compiles the program (see Program).
func Build(o Options) (v1.Image, error) {
	arch := o.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	program, err := Program(arch)
	if err != nil {
		return nil, err
	}
	files := []File{
		{Name: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/false\ntiny:x:1000:1000::/home/tiny:/bin/false\n")},
		{Name: "/etc/group", Data: []byte("root:x:0:\ntiny:x:1000:\n")},
		{Name: Shipped, Data: []byte("shipped with the image\n")},
		{Name: "/tiny", Mode: 0o755, Data: program},
	}
	for _, name := range []string{"train", "serve"} {
		switch {
		case slices.Contains(o.Without, name):
		case slices.Contains(o.NotExec, name):
			files = append(files, File{Name: "/usr/local/bin/" + name, Data: []byte("not executable\n")})
		default:
			files = append(files, File{Name: "/usr/local/bin/" + name, Link: "/tiny"})
		}
	}
	tree, err := layerTar(append(files, o.Files...))
	if err != nil {
		return nil, fmt.Errorf("test image: %w", err)
	}
	layers := []v1.Layer{newLayer(tree, o)}
	if o.PadMB > 0 {
		pad := make([]byte, o.PadMB*1_000_000)
		rand.NewChaCha8([32]byte{1}).Read(pad)
		t, err := layerTar([]File{{Name: "/opt/pad.bin", Data: pad}})
		if err != nil {
			return nil, fmt.Errorf("test image: %w", err)
		}
		layers = append(layers, newLayer(t, o))
	}
	if o.Corrupt {
		layers[0] = &corrupt{layers[0]}
	}
	img := empty.Image
	if !o.Docker {
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		return nil, fmt.Errorf("test image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("test image: %w", err)
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture, config.History = "linux", arch, nil
	if o.ConfigArch != "" {
		config.Architecture = o.ConfigArch
	}
	config.Config = v1.Config{
		Entrypoint: o.Entrypoint, Cmd: o.Cmd, User: o.User, WorkingDir: o.WorkingDir, Labels: o.Labels, StopSignal: o.StopSignal,
		Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, o.Env...),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, fmt.Errorf("test image: %w", err)
	}
	return img, nil
}

// Layer makes a gzip layer of files, the same each time.
func Layer(files []File) (v1.Layer, error) {
	tree, err := layerTar(files)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return newLayer(tree, Options{}), nil
}

// layerTar packs files with their parent directories; /tmp and /root are always there.
func layerTar(files []File) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	done := map[string]bool{"/": true, ".": true}
	var dir func(name string, mode int64) error
	dir = func(name string, mode int64) error {
		if done[name] {
			return nil
		}
		done[name] = true
		if err := dir(path.Dir(name), 0o755); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(name, "/") + "/", Mode: mode, ModTime: epoch, Format: tar.FormatPAX})
	}
	for _, d := range []struct {
		name string
		mode int64
	}{{"/tmp", 0o1777}, {"/root", 0o700}} {
		if err := dir(d.name, d.mode); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := dir(path.Dir(f.Name), 0o755); err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.Name, "/"), Mode: f.Mode, Size: int64(len(f.Data)), ModTime: epoch, Format: tar.FormatPAX}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if f.Link != "" {
			h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, f.Link, 0, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if f.Link == "" {
			if _, err := w.Write(f.Data); err != nil {
				return nil, err
			}
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// corrupt is a layer whose compressed bytes are not those that its digest promises.
type corrupt struct{ v1.Layer }

func (c *corrupt) Compressed() (io.ReadCloser, error) {
	rc, err := c.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	for i := len(raw) / 2; i < len(raw)/2+64; i++ {
		raw[i] ^= 0xff
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}
