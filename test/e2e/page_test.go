//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFirstValidationPage runs the commands of docs/first-validation.md in its order, each of which must print the lines that
// stand below it there: names of runs, times, digests, sizes and directories apart, and others between them where the
// page has an ellipsis. It needs the example's image, as the page does.
func TestFirstValidationPage(t *testing.T) {
	_, _ = irisExample(t)
	page, err := os.ReadFile("../../docs/first-validation.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	archive, err := filepath.Abs(os.Getenv("OPTML_SKLEARN"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "build"), 0o755); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"examples": examples, "build/optml": w.binary, "build/sklearn.oci.tar": archive} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	env := command(t.Context(), nil).Env
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(page, -1) {
		for _, s := range strings.Split("\n"+string(block[1]), "\n$ ")[1:] {
			lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
			line := lines[0]
			lines = lines[1:]
			for strings.HasSuffix(line, `\`) {
				line, lines = strings.TrimSuffix(line, `\`)+lines[0], lines[1:]
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			cmd := exec.CommandContext(ctx, "/bin/bash", "-c", line)
			cmd.Dir = dir
			for _, kv := range env {
				if strings.HasPrefix(kv, "OPTML_S3_DIR=") { // the page says itself where S3 is
					continue
				}
				if v, ok := strings.CutPrefix(kv, "PATH="); ok {
					kv = "PATH=" + v + ":/usr/bin:/bin"
				}
				cmd.Env = append(cmd.Env, kv)
			}
			out, _ := cmd.CombinedOutput() // what it prints tells; some must fail
			cancel()
			ran++
			t.Logf("$ %s\n%s", line, out)
			prints(t, line, lines, strings.Split(strings.TrimRight(string(out), "\n"), "\n"))
		}
	}
	if ran < 10 {
		t.Errorf("%d commands found on the page", ran)
	}
	ok(t, "prune", "--all-finished")
}

// alike takes out of a line what differs from run to run.
var alike = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{12,}`), "HASH"},
	{regexp.MustCompile(`(sklearn(?:-first-(?:training|transform))?)-[a-z0-9]{6}\b`), "$1-RUN"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`\b[0-9.]+ ?(ms|s|B|bytes|KiB|MiB)\b`), "SIZE"},
	{regexp.MustCompile(`/\S+?/iris\b`), "DIR/iris"},
	{regexp.MustCompile(`--s3-dir \S+`), "--s3-dir DIR"},
	{regexp.MustCompile(`\s+`), " "},
}

// ruleLine is that of a rule: a validation may have more of them than the page shows.
var ruleLine = regexp.MustCompile(`^  (passed|not checked) `)

func prints(t *testing.T, command string, want, got []string) {
	t.Helper()
	plain := func(s string) string {
		for _, a := range alike {
			s = a.what.ReplaceAllString(s, a.with)
		}
		return strings.TrimSpace(s)
	}
	at, skip := 0, false
	for _, line := range want {
		if line == "…" {
			skip = true
			continue
		}
		for ; at < len(got) && plain(got[at]) != plain(line) && (skip || ruleLine.MatchString(got[at])); at++ {
		}
		if at >= len(got) || plain(got[at]) != plain(line) {
			t.Errorf("$ %s\nhas no line\n%s", command, line)
			return
		}
		at, skip = at+1, false
	}
	if !skip && at < len(got) && got[at] != "" {
		t.Errorf("$ %s\nprints more:\n%s", command, strings.Join(got[at:], "\n"))
	}
}
