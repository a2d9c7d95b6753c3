package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/optml/optml/human"
)

// text is a figure for people, with three digits.
func text(unit string, v float64) string {
	switch unit {
	case "s":
		return secondsText(v)
	case "B":
		return bytesText(v)
	case "%":
		return digits(v) + " %"
	case "1/s":
		return digits(v) + "/s"
	}
	return digits(v)
}

func secondsText(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.0009995:
		return digits(v*1e6) + " µs"
	case a < 0.9995:
		return digits(v*1e3) + " ms"
	case a < 99.95:
		return digits(v) + " s"
	}
	n := int64(math.Round(v))
	if n < 3600 {
		return fmt.Sprintf("%d m %02d s", n/60, n%60)
	}
	return fmt.Sprintf("%d h %02d m", n/3600, n/60%60)
}

func bytesText(v float64) string {
	if v < 1024 {
		return fmt.Sprintf("%.0f B", v)
	}
	unit := ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		v, unit = v/1024, u
		if v < 999.5 {
			break
		}
	}
	return digits(v) + " " + unit
}

// digits is a number with three of them, and with those of its whole part.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a < 0.0995:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 9.995:
		return fmt.Sprintf("%.2f", v)
	case a < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// plainLines is human.Line of each line.
func plainLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(human.Line(l), " ")
	}
	return strings.Join(lines, "\n")
}
