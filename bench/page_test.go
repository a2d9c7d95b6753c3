package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

// The page shows what the other forms do, has no script and nothing from outside, and is well formed.
func TestPage(t *testing.T) {
	r := three(t)
	r.Partial = "it was stopped: interrupted"
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{
		"<title>benchmark: b</title>", "PARTIAL", "x faster than InputMode=File (95 % CI ", `data-strips="total"`, `data-strips="run"`,
		`data-metric="CPUUtilization"`, "1 run failed; the first, training/b-9", "<td>warm-up</td>", "&lt;script&gt;", "2.00 ms CPU, 0.1 %",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if n := strings.Count(page, "<circle"); n < 19*4 {
		t.Errorf("%d dots", n)
	}
	if m := regexp.MustCompile(`<script|https?://|\x1b|%!|ZgotmplZ|NaN|Inf`).FindString(page); m != "" {
		t.Errorf("the page says %q", m)
	}
	for d := xml.NewDecoder(strings.NewReader(strings.NewReplacer("<!DOCTYPE html>", "", "<details open>", "<details>", `<meta charset="utf-8">`, "").Replace(regexp.MustCompile(`<meta [^>]*>|<br>`).ReplaceAllString(page, "")))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// One without any run that counts is a page all the same.
	empty := resultOf(Variant{Name: "a"})
	if err := empty.HTML(io.Discard); err != nil {
		t.Error(err)
	}
	if err := empty.Text(io.Discard); err != nil {
		t.Error(err)
	}
}
