package human

import (
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10188: "9.9 KiB", 10189: "10 KiB", 1 << 20: "1.0 MiB",
		1048063: "1.0 MiB", 1 << 30: "1.0 GiB", 5 << 40: "5.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{-1: "0s", 0: "0s", 1500 * time.Microsecond: "2ms", 2345 * time.Millisecond: "2.3s", 90 * time.Second: "1m30s", 72 * time.Hour: "72h0m0s"} {
		if got := Duration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 object": Count(1, "object"), "0 objects": Count(0, "object"), "2 objects": Count(int64(2), "object"),
		"1 process": Count(1, "process", "processes"), "3 processes": Count(3, "process", "processes"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		s    string
		n    int
		want string
	}{{"", 0, ""}, {"a", 0, "…"}, {"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"日本語", 2, "日本…"}} {
		if got := Clip(tc.s, tc.n); got != tc.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tc.s, tc.n, got, tc.want)
		}
	}
}

func TestLine(t *testing.T) {
	for s, want := range map[string]string{"a é 漢": "a é 漢", "a\tb": "a    b", "\x1b[1m": `\x1b[1m`, "\xff": `\xff`, "\uFFFD": "\uFFFD", "a\nb\r": `a\nb\r`, "\u200e": `\u200e`, "\u00a0": "\u00a0"} {
		if got := Line(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	list := []string{"TrainingJobName", "Tags", "RoleArn"}
	for s, want := range map[string]string{"trainingjobname": "TrainingJobName", "TrainigJobName": "TrainingJobName", "Tag": "Tags", "Foo": "", "Completely": ""} {
		if got := Nearest(s, list); got != want {
			t.Errorf("%s: got %q, want %q", s, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"kitten", "sitting", 3}, {"iris", "iris", 0}, {"ab", "ba", 2}} {
		if got := Distance(tc.a, tc.b, 9); got != tc.want || Distance(tc.b, tc.a, 9) != got {
			t.Errorf("%s %s: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
