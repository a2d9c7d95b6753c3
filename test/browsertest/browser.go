// Package browsertest opens pages in a real browser: headless Chromium, where there is one.
package browsertest

import (
	"bytes"
	"context"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

const program = "/usr/bin/chromium"

// Open writes a page to a file and shows it at the widths of a desk and of a phone, there in dark colours too. Something
// is drawn, nothing is asked for or run that the page's policy refuses, and no console message says that something went
// wrong. It returns the document as it is then. Without a browser, and where tests are to be short, the test is skipped.
func Open(t *testing.T, page []byte) (dom string) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Skip("no browser: ", err)
	}
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	dir := t.TempDir()
	for _, x := range [][]string{{"--window-size=1200,1600"}, {"--window-size=390,844", "--blink-settings=preferredColorScheme=0"}} {
		shot := filepath.Join(dir, "shot.png")
		_, stderr := run(t, dir, page, append(x, "--screenshot="+shot)...)
		quiet(t, stderr)
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
			t.Errorf("%s: only %d colours: nothing is drawn", x[0], len(colours))
		}
	}
	stdout, stderr := run(t, dir, page, "--dump-dom")
	quiet(t, stderr)
	return string(stdout)
}

// Hears says whether a message on the console, or a refusal of the page's policy, is heard: that Open can fail.
func Hears(t *testing.T, page []byte) bool {
	t.Helper()
	_, stderr := run(t, t.TempDir(), page, "--dump-dom")
	return bytes.Contains(stderr, []byte("CONSOLE"))
}

// quiet fails for what the page's console says, which comes on stderr with CONSOLE in it: errors of scripts, and what
// the page's policy refused to load or run.
func quiet(t *testing.T, stderr []byte) {
	t.Helper()
	for l := range strings.Lines(string(stderr)) {
		if strings.Contains(l, "CONSOLE") {
			t.Error(l)
		}
	}
}

func run(t *testing.T, dir string, page []byte, args ...string) (stdout, stderr []byte) {
	t.Helper()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, page, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, append(append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--user-data-dir=" + filepath.Join(dir, "profile")}, args...),
		"file://"+file)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr, c.WaitDelay = &out, &errs, time.Second
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	return out.Bytes(), errs.Bytes()
}

// Text is all the text below n, as a reader has it.
func Text(n *html.Node) string {
	var b strings.Builder
	for x := range n.Descendants() {
		if x.Type == html.TextNode {
			b.WriteString(x.Data)
		}
	}
	return b.String()
}

// Attribute is the value of an attribute, "" where there is none of this name.
func Attribute(n *html.Node, name string) string {
	if i := find(n, name); i >= 0 {
		return n.Attr[i].Val
	}
	return ""
}

// Has says whether an element has an attribute, whatever its value.
func Has(n *html.Node, name string) bool { return find(n, name) >= 0 }

func find(n *html.Node, name string) int {
	return slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return strings.EqualFold(a.Key, name) })
}
