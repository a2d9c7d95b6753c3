package main

import (
	"testing"
	"time"
)

func TestSizesAreReadAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]int64{
		"4096": 4096, "64MiB": 64 << 20, "64mib": 64 << 20, "2g": 2 << 30, "1.5GB": 1_500_000_000, "1 KiB": 1024, "7B": 7, "3k": 3 << 10, "1TB": 1e12,
	} {
		got, err := parseSize(in)
		if err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "MiB", "-1", "0", "1e999", "NaN", "Inf", "0x10", "1_000", "9999999TiB", "1 2"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestTimesMayBeDays(t *testing.T) {
	for in, want := range map[string]time.Duration{"30s": 30 * time.Second, "15m": 15 * time.Minute, "1.5d": 36 * time.Hour, "0s": 0} {
		var d span
		if err := d.Set(in); err != nil || time.Duration(d) != want {
			t.Errorf("%q = %v, %v; want %v", in, time.Duration(d), err, want)
		}
	}
	for _, in := range []string{"", "5", "-1s", "d", "-1d", "soon", "1e9d"} {
		var d span
		if err := d.Set(in); err == nil {
			t.Errorf("%q = %v, want an error", in, time.Duration(d))
		}
	}
}

func TestTextsOfTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "-", -1: "-", 1500 * time.Microsecond: "2ms", 2345 * time.Millisecond: "2.3s", 90 * time.Second: "1m30s", 72 * time.Hour: "3d",
	} {
		if got := timeText(d); got != want {
			t.Errorf("timeText(%v) = %q, want %q", d, got, want)
		}
	}
}
