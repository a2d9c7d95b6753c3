package job

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/optml/optml/human"
)

// place is where a node stands, in the document's spelling and in the service's.
type place struct{ path, aws string }

func (p place) member(name string) place {
	return place{join(p.path, name), join(p.aws, lowerFirst(name))}
}

// entry is an entry of a map; the service names the map.
func (p place) entry(key string) place {
	return place{join(p.path, human.Clip(key, maxPathName)), p.aws}
}

func (p place) item(i int) place {
	return place{index(p.path, i), p.aws + "." + strconv.Itoa(i+1) + ".member"}
}

// awsPath is a document's path in the service's spelling: first letters lower, list items counted from 1.
func awsPath(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, ".") {
		name, rest, _ := strings.Cut(part, "[")
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(lowerFirst(name))
		for rest != "" {
			num, next, _ := strings.Cut(rest, "]")
			if i, err := strconv.Atoi(num); err == nil {
				b.WriteString("." + strconv.Itoa(i+1) + ".member")
			}
			rest = strings.TrimPrefix(next, "[")
		}
	}
	return b.String()
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToLower(r)) + s[n:]
}
