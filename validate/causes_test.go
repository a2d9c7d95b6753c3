package validate

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/optml/optml/logfile"
)

func TestLastWords(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"nothing", "", ""},
		{"blank lines after it", "epoch 1\nno such column\n\n \n", "no such column"},
		{"a traceback", "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: bad\n", "ValueError: bad"},
		{"what a server says after the exception", "ModuleNotFoundError: No module named 'xgboost'\n[1] [ERROR] Reason: Worker failed to boot.\n", "ModuleNotFoundError: No module named 'xgboost'"},
		{"the last of several", "KeyError: 'a'\nDuring handling of the above exception\npickle.UnpicklingError: invalid load key\nshut down\n", "pickle.UnpicklingError: invalid load key"},
		{"colours and a cut line", "\x1b[31mred\x1b[0m\xff", "[31mred [0m?"},
		{"long", strings.Repeat("é", 1000), strings.Repeat("é", 200)},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "algo-1")
			w, err := logfile.Create(base)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(logfile.Stderr, []byte(c.log))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := lastWords(base); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := lastWords(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("of no log: %q", got)
	}
}

func TestRemedyFor(t *testing.T) {
	for words, want := range map[string]string{
		"OSError: [Errno 30] Read-only file system: '/opt/ml/model/cache.bin'":                     "INF-22",
		"urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>":   "no network",
		"dial tcp: lookup models.test: no such host":                                               "no network",
		"ModuleNotFoundError: No module named 'xgboost'":                                           "install",
		"FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/input/data/train/a.csv'": "of a channel",
		"PermissionError: [Errno 13] Permission denied: '/opt/ml/model/m.txt'":                     "START-8",
		"OSError: [Errno 98] Address already in use":                                               "one server",
		"ValueError: could not convert string to float: 'setosa'":                                  "else",
		"OSError: [Errno 30] Read-only file system: '/usr/lib/x'":                                  "else",
	} {
		if got := remedyFor(words, "something else"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", words, got)
		}
	}
}
