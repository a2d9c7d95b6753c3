package report

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real browser shows the page of a failed validation, at the width of a desk and of a phone: it is drawn, asks for
// nothing, runs nothing, and no console message says that something went wrong.
func TestBrowser(t *testing.T) {
	const browser = "/usr/bin/chromium"
	if _, err := os.Stat(browser); err != nil {
		t.Skip("no browser: ", err)
	}
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	_, raw := pageOf(t, onDisk(t, true))
	write(t, page, raw)
	run := func(args ...string) (stdout, stderr []byte) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--user-data-dir=" + filepath.Join(dir, "profile")}, args...)...)
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr, c.WaitDelay = &out, &errs, time.Second
		if err := c.Run(); err != nil {
			t.Fatalf("%v\n%s", err, errs.Bytes())
		}
		return out.Bytes(), errs.Bytes()
	}
	// What the page's console would say comes on stderr with CONSOLE in it: errors of scripts, and what the page's policy
	// refused to load or run.
	quiet := func(stderr []byte) {
		t.Helper()
		for l := range strings.Lines(string(stderr)) {
			if strings.Contains(l, "CONSOLE") {
				t.Error(l)
			}
		}
	}
	for _, size := range []string{"1200,1600", "390,844"} {
		shot := filepath.Join(dir, size+".png")
		_, stderr := run("--screenshot="+shot, "--window-size="+size, "file://"+page)
		quiet(stderr)
		f, err := os.Open(shot)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		colours := map[[3]uint32]bool{}
		for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y += 3 {
			for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x += 3 {
				r, g, b, _ := img.At(x, y).RGBA()
				colours[[3]uint32{r, g, b}] = true
			}
		}
		if len(colours) < 20 {
			t.Errorf("%s: only %d colours: nothing is drawn", size, len(colours))
		}
	}
	dom, stderr := run("--dump-dom", "file://"+page)
	quiet(stderr)
	if !bytes.Contains(dom, []byte("<title>FAILED: iris-r1</title>")) || !bytes.Contains(dom, []byte("&lt;script&gt;document.title")) || bytes.Contains(dom, []byte("<script")) {
		t.Error("the page has changed itself")
	}
	// The check can fail: a page that breaks the same rules is heard.
	write(t, page, []byte(`<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src 'none'"><script>document.title="owned"</script><img src="https://evil.example/x">`))
	if _, stderr := run("--dump-dom", "file://"+page); !bytes.Contains(stderr, []byte("CONSOLE")) {
		t.Errorf("a broken page is not heard:\n%s", stderr)
	}
}

// TestShow keeps the pages of tests for people to look at: OPTML_PAGES=DIR go test -run TestShow ./report.
func TestShow(t *testing.T) {
	dir := os.Getenv("OPTML_PAGES")
	if dir == "" {
		t.Skip("OPTML_PAGES does not name a directory")
	}
	for name, failed := range map[string]bool{"passed": false, "failed": true} {
		_, raw := pageOf(t, onDisk(t, failed))
		write(t, filepath.Join(dir, name+".html"), raw)
	}
}
