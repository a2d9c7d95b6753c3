package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/ctrd"
)

// size is a flag for a number of bytes: 64MiB, 1.5GB, 4096.
type size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	// Longest first, so that MiB is not taken for B. A letter alone is binary, as docker's --shm-size has it.
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

func parseSize(s string) (int64, error) {
	bad := errors.New("it is a number of bytes such as 4096, 64MiB, 1.5GB or 2g")
	text, factor := strings.ToLower(strings.TrimSpace(s)), 1.0
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || strings.ContainsAny(text, "xp_") {
		return 0, bad
	}
	if n <= 0 {
		return 0, errors.New("it must be more than 0")
	}
	if n*factor >= math.MaxInt64 {
		return 0, errors.New("it is more than any machine has")
	}
	return int64(n * factor), nil
}

func (z *size) Set(s string) (err error) {
	n, err := parseSize(s)
	*z = size(n)
	return err
}
func (z *size) String() string {
	if *z == 0 {
		return ""
	}
	return human.Bytes(int64(*z))
}
func (z *size) Type() string { return "size" }

// span is a flag for a time: what Go reads, and days (30d).
type span time.Duration

func (d *span) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 36500 {
			return errors.New("it is a time such as 30s, 15m, 2h or 30d")
		}
		*d = span(n * 24 * float64(time.Hour))
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return errors.New("it is a time such as 30s, 15m, 2h or 30d")
	}
	*d = span(v)
	return nil
}
func (d *span) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}
func (d *span) Type() string { return "time" }

// bound is a flag for a number of bytes that may also be 0, and may be left out.
type bound struct{ value **int64 }

func (b bound) Set(s string) error {
	var n int64
	if s != "0" {
		var err error
		if n, err = parseSize(s); err != nil {
			return err
		}
	}
	*b.value = &n
	return nil
}
func (b bound) String() string {
	if b.value == nil || *b.value == nil {
		return ""
	}
	return strconv.FormatInt(**b.value, 10)
}
func (b bound) Type() string { return "size" }

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

func (c choice) Set(s string) error {
	for _, w := range c.words {
		if s == w {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("it is %s", orList(c.words))
}
func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}
func (c choice) Type() string { return "word" }

// platform is a flag whose value names a platform as Docker does.
type platform struct{ value *string }

func (p platform) Set(s string) error {
	if err := ctrd.ValidPlatform(s); err != nil {
		return err
	}
	*p.value = s
	return nil
}

func (p platform) String() string {
	if p.value == nil {
		return ""
	}
	return *p.value
}
func (p platform) Type() string { return "platform" }

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// timeText is how long something took, for a table: "-" when it did not, days from two of them on.
func timeText(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < 48*time.Hour:
		return human.Duration(d)
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}
