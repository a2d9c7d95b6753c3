package artifact

import (
	"path"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	nonBlock   = syscall.O_NONBLOCK
	maxElement = 255  // bytes of one name (INF-26)
	maxName    = 4095 // PATH_MAX without its NUL
)

// memberName checks the name of an archive's member and returns it as a path below the directory, "." for the directory
// itself. Leading "./" are usual; everything else must be plain: no absolute path, no "." or ".." and no empty or blank
// element, no NUL, no element over 255 bytes (INF-26, INF-31).
func memberName(name string) (string, bool) {
	name = strings.TrimSuffix(name, "/")
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	if name == "." || name == "" {
		return ".", true
	}
	if len(name) > maxName || strings.ContainsRune(name, 0) {
		return "", false
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "." || element == ".." || strings.TrimSpace(element) == "" || len(element) > maxElement {
			return "", false
		}
	}
	return name, true
}

// staysInside reports whether a symbolic link at name, a path of real directories, cannot lead out of the root. Only
// leading ".." count upwards, and not beyond the root; one that follows a name could climb from wherever that name leads.
func staysInside(name, target string) bool {
	if target == "" || path.IsAbs(target) || strings.ContainsRune(target, 0) {
		return false
	}
	depth := strings.Count(path.Clean(name), "/")
	down := false
	for element := range strings.SplitSeq(target, "/") {
		switch element {
		case "", ".":
		case "..":
			if down {
				return false
			}
			if depth--; depth < 0 {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// printable shortens a name for an error.
func printable(name string) string {
	if len(name) > 300 {
		name = name[:300] + "…"
	}
	if !utf8.ValidString(name) {
		name = strings.ToValidUTF8(name, "\uFFFD")
	}
	return name
}
