package report

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/optml/optml/human"
)

// secondsText is a duration for people: 12 ms, 3.4 s, 2 m 05 s, 1 h 02 m.
func secondsText(s float64) string {
	switch {
	case s < 0.0005:
		return "0 s"
	case s < 0.9995:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 59.95:
		return fmt.Sprintf("%.1f s", s)
	}
	n := int64(math.Round(s))
	if n < 3600 {
		return fmt.Sprintf("%d m %02d s", n/60, n%60)
	}
	n = (n + 30) / 60
	if n < 48*60 {
		return fmt.Sprintf("%d h %02d m", n/60, n%60)
	}
	return fmt.Sprintf("%d d %02d h", n/(24*60), n/60%24)
}

// latencyText is a short duration for people, with three digits: 820 µs, 1.24 ms, 3.05 s.
func latencyText(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 0.0009995:
		return strconv.FormatFloat(roughly(s*1e6), 'g', -1, 64) + " µs"
	case s < 0.9995:
		return strconv.FormatFloat(roughly(s*1e3), 'g', -1, 64) + " ms"
	case s < 59.95:
		return strconv.FormatFloat(roughly(s), 'g', -1, 64) + " s"
	}
	return secondsText(s)
}

// countText is a number with its noun: 1 object, 1,234 objects.
func countText(n int64, noun string) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n != 1 {
		noun += "s"
	}
	return s + " " + noun
}

// rateText is bytes a second, "" when it says nothing.
func rateText(bytes int64, seconds float64) string {
	if bytes < 1<<20 || seconds < 0.001 {
		return ""
	}
	return human.Bytes(int64(float64(bytes)/seconds)) + "/s"
}

// valueText is a metric's value with six significant digits.
func valueText(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
