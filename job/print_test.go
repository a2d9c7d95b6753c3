package job

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPrint holds the text that optml plan prints.
func TestPrint(t *testing.T) {
	for name, docs := range flows {
		t.Run(name, func(t *testing.T) {
			p, err := Make(fixtures(t, docs...), Options{RunSuffix: "r1"}, machine)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := p.Print(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".plan.txt"), b.String())
		})
	}
}

// A value with control characters must not reach the terminal as it is.
func TestPrintEscapes(t *testing.T) {
	p, err := Make(fixtures(t, "training.json"), Options{}, machine)
	if err != nil {
		t.Fatal(err)
	}
	p.Training.HyperParameters["eta"] = "0.1\x1b[31m\nsecond"
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\nsecond") {
		t.Errorf("control characters came through: %q", b.String())
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{2 * time.Minute: "2m", time.Hour: "1h", 90 * time.Second: "1m30s", 30 * time.Second: "30s", 24 * time.Hour: "24h", 0: "0s"} {
		if got := span(Duration(d)); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}
