package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/test/browsertest"
)

// A real browser shows the page of a failed validation: it is drawn, asks for nothing, runs nothing.
func TestBrowser(t *testing.T) {
	_, raw := pageOf(t, onDisk(t, true))
	dom := browsertest.Open(t, raw)
	if !strings.Contains(dom, "<title>FAILED: iris-r1</title>") || !strings.Contains(dom, "&lt;script&gt;document.title") || strings.Contains(dom, "<script") {
		t.Error("the page has changed itself")
	}
	// The check can fail: a page that breaks the same rules is heard.
	if !browsertest.Hears(t, []byte(`<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src 'none'"><script>document.title="owned"</script><img src="https://evil.example/x">`)) {
		t.Error("a broken page is not heard")
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
