package human

import (
	"slices"
	"strings"
)

const (
	maxNear = 300 // words among which the nearest is looked for: the longest list of SageMaker's model has 277
	maxWord = 64  // bytes of a word that may be meant for another
)

// Nearest returns the word of the list that is closest to s, or "" when none is close enough to be meant.
func Nearest(s string, list []string) string {
	if len(s) > maxWord {
		return ""
	}
	best, at := "", max(2, len(s)/3)+1
	for _, w := range list[:min(len(list), maxNear)] {
		if strings.EqualFold(s, w) {
			return w
		}
		if d := Distance(s, w, at); d < at {
			best, at = w, d
		}
	}
	return best
}

// Distance is how many bytes to insert, delete or replace (Levenshtein's), cut off at limit.
func Distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
		if slices.Min(row) >= limit {
			return limit
		}
	}
	return row[len(b)]
}
