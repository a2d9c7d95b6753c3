package images

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// sources is the program of the image, so that it can be built wherever a Go toolchain is, without the repository.
//
//go:embed tiny/*.go
var sources embed.FS

var built struct {
	sync.Mutex
	program map[string][]byte // by GOARCH
}

// Program returns the static binary of tiny for the given GOARCH ("" is this machine's). It is compiled once for each
// content and kept in CacheDir; several test binaries that ask at the same time wait for one compilation.
func Program(arch string) ([]byte, error) {
	if arch == "" {
		arch = runtime.GOARCH
	}
	built.Lock()
	defer built.Unlock()
	if b, ok := built.program[arch]; ok {
		return b, nil
	}
	b, err := cachedProgram(arch)
	if err != nil {
		return nil, fmt.Errorf("test image program: %w", err)
	}
	if built.program == nil {
		built.program = map[string][]byte{}
	}
	built.program[arch] = b
	return b, nil
}

// CacheDir is where built things are kept between runs: $OPTML_TEST_CACHE, else optml below the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("OPTML_TEST_CACHE"); dir != "" {
		return dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil { // no HOME, as in a bare container
		base = "/var/cache"
	}
	return filepath.Join(base, "optml"), nil
}

func cachedProgram(arch string) ([]byte, error) {
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files, err := programFiles()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d\n%s", f.name, len(f.data), f.data)
	}
	fmt.Fprintf(h, "%s %s", runtime.Version(), arch)
	path := filepath.Join(dir, "tiny-"+arch+"-"+hex.EncodeToString(h.Sum(nil))[:16])
	lock, err := os.OpenFile(filepath.Join(dir, "tiny.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	b, err := os.ReadFile(path)
	if err == nil || !os.IsNotExist(err) {
		return b, err
	}
	if err := compile(files, arch, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

type sourceFile struct {
	name string
	data []byte
}

func programFiles() ([]sourceFile, error) {
	var files []sourceFile
	names, err := fs.Glob(sources, "tiny/*.go") // sorted
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := sources.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, sourceFile{filepath.Base(name), data})
	}
	return files, nil
}

// compile builds in a module of its own, so that neither go.work nor the go.mod around us has a say.
func compile(files []sourceFile, arch, path string) error {
	dir, err := os.MkdirTemp("", "tiny-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files = append(files, sourceFile{"go.mod", []byte("module tiny\n\ngo 1.26\n")})
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
			return err
		}
	}
	out := filepath.Join(dir, "tiny.out")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=", "GOTOOLCHAIN=local")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build (a Go toolchain must be on the PATH): %w\n%s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tiny-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone by then, unless something failed
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Chmod(0o755); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
