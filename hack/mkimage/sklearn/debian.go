package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// packages are what the example's programs import.
var packages = []string{"python3-sklearn", "python3-flask", "gunicorn"}

// unpacked are path patterns that dpkg does not unpack. Man pages, perl and the compiler's tools are missing here on
// purpose: maintainer scripts fail without them (update-alternatives, usrmerge, gcc), so they go later (see keep).
var unpacked = []string{
	"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
	"path-exclude=/usr/include/*", "path-exclude=/usr/lib/*.a",
}

// compile writes byte code that needs no look at the source, so that the first import in a fresh container is as fast
// as any (0.7 s for scikit-learn instead of 2 to 4). A few files of the standard library do not compile by design.
const compile = `chroot "$1" python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash -x '/(tests?|lib2to3|idlelib)/' /usr/lib/python3 /usr/lib/python3.* >/dev/null 2>&1 || true`

// layerFormat changes when the way from packages to the layer does, so that the cache is not used across it.
const layerFormat = 1

// debian is what to install and from where.
type debian struct {
	suite   string
	sources string // content for the new root's sources.list; empty: mmdebstrap's choice
}

// debianFor takes release and package sources of this machine.
func debianFor(suite string) (debian, error) {
	if suite == "" {
		raw, err := os.ReadFile("/etc/os-release")
		if err != nil {
			return debian{}, fmt.Errorf("find this machine's Debian release: %w (give -suite)", err)
		}
		for line := range strings.Lines(string(raw)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
				suite = strings.Trim(v, `"`)
			}
		}
		if suite == "" {
			return debian{}, errors.New("/etc/os-release names no release (give -suite)")
		}
	}
	sources, err := sourcesFor(suite, "/etc/apt")
	return debian{suite: suite, sources: sources}, err
}

// key names the layer in the cache by all that decides its content, except for updates of the packages (-fresh).
func (d debian) key() string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, v := range []any{layerFormat, d.suite, runtime.GOARCH, packages, unpacked, compile, dropped, sourceDate()} {
		if err := enc.Encode(v); err != nil {
			panic(err) // plain strings and numbers always encode
		}
	}
	return d.suite + "-" + runtime.GOARCH + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// sourceDate is the newest time that a file in the image can have: $SOURCE_DATE_EPOCH, else a fixed day.
func sourceDate() int64 {
	if v, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return v
	}
	return 1767225600 // 2026-01-01
}

// install runs mmdebstrap and turns what it makes into name.tar.zst and name.json.
func (d debian) install(ctx context.Context, name string, verbose bool) error {
	program, err := exec.LookPath("mmdebstrap")
	if err != nil {
		return errors.New("mmdebstrap is not installed: apt-get install mmdebstrap")
	}
	args := []string{"--variant=minbase", "--format=tar", "--include=" + strings.Join(packages, ","), "--customize-hook=" + compile}
	for _, o := range unpacked {
		args = append(args, "--dpkgopt="+o)
	}
	args = append(args, d.suite, "-")
	if d.sources != "" {
		args = append(args, "-")
	}
	fmt.Fprintf(os.Stderr, "installing %s of Debian %s; this takes a minute\n", strings.Join(packages, ", "), d.suite)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it unmounts and cleans up by itself
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(sourceDate(), 10))
	cmd.Stdin = strings.NewReader(d.sources)
	var said bytes.Buffer
	cmd.Stderr = &said
	if verbose {
		cmd.Stderr = io.MultiWriter(&said, os.Stderr)
	}
	tree, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("mmdebstrap: %w", err)
	}
	made, path, packErr := pack(tree, filepath.Dir(name))
	if packErr != nil {
		_ = cmd.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, tree)
	}
	err = cmd.Wait()
	if err := errors.Join(err, packErr); err != nil {
		os.Remove(path)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// What mmdebstrap said is the cause more often than the tar that broke off.
		return fmt.Errorf("mmdebstrap: %w\n%s", err, tail(said.String(), 15))
	}
	if err := os.Rename(path, name+".tar.zst"); err != nil {
		return err
	}
	raw, err := json.Marshal(made)
	if err != nil {
		return err
	}
	// The description comes last: without it the layer does not count.
	if err := os.WriteFile(name+".json.new", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".json.new", name+".json")
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// sourcesFor collects from dir (/etc/apt) the package sources of a release: entries of the suite and its -updates,
// -security and the like that have the component main. Sources of other vendors are left alone: the image needs Debian's
// packages only, and a broken foreign source must not break it. Both formats of apt are kept as they are, but a file can
// hold only one, so deb822 entries are preferred.
func sourcesFor(suite, dir string) (string, error) {
	var deb822, oneLine []string
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return "", err
	}
	for _, path := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		style := filepath.Ext(path)
		if style != ".list" && style != ".sources" {
			continue
		}
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read package sources: %w", err)
		}
		if style == ".sources" {
			for stanza := range strings.SplitSeq(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n\n") {
				if stanzaFits(stanza, suite) {
					deb822 = append(deb822, strings.Trim(stanza, "\n")+"\n")
				}
			}
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if lineFits(line, suite) {
				oneLine = append(oneLine, strings.TrimSpace(line)+"\n")
			}
		}
	}
	if len(deb822) > 0 {
		return strings.Join(deb822, "\n"), nil
	}
	return strings.Join(oneLine, ""), nil
}

func suiteFits(have, want string) bool {
	have, _, _ = strings.Cut(have, "/") // bookworm/updates, of old
	return have == want || strings.HasPrefix(have, want+"-")
}

func stanzaFits(stanza, suite string) bool {
	fields := map[string]string{}
	var last string
	for line := range strings.Lines(stanza) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			fields[last] += " " + line
		default:
			k, v, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(k))
			fields[last] = v
		}
	}
	suites := strings.Fields(fields["suites"])
	return len(suites) > 0 && strings.TrimSpace(fields["enabled"]) != "no" && slices.Contains(strings.Fields(fields["types"]), "deb") &&
		slices.Contains(strings.Fields(fields["components"]), "main") &&
		!slices.ContainsFunc(suites, func(s string) bool { return !suiteFits(s, suite) })
}

func lineFits(line, suite string) bool {
	line, _, _ = strings.Cut(line, "#")
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
	if !ok {
		return false
	}
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		_, after, ok := strings.Cut(rest, "]")
		if !ok {
			return false
		}
		rest = after
	}
	f := strings.Fields(rest) // URI suite component...
	return len(f) > 2 && suiteFits(f[1], suite) && slices.Contains(f[2:], "main")
}
