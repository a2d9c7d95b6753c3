package harness

import (
	"fmt"
	"path"
	"strings"
)

// shellWarning says what an ENTRYPOINT in Docker's shell form means: the shell takes the job's argument for $0 (START-3,
// INF-1).
func shellWarning(entrypoint []string, argument string) (string, bool) {
	if len(entrypoint) != 3 || entrypoint[1] != "-c" || strings.Contains(entrypoint[2], "$") {
		return "", false
	}
	switch path.Base(entrypoint[0]) {
	case "sh", "bash", "ash", "dash":
		return fmt.Sprintf("the image's ENTRYPOINT is in shell form (%s -c %q): its command never sees the argument %q", entrypoint[0], entrypoint[2], argument), true
	}
	return "", false
}

// initWarning says what tini as an image's entrypoint means on SageMaker (INF-5).
func initWarning(entrypoint []string) (string, bool) {
	if len(entrypoint) == 0 || !strings.HasPrefix(path.Base(entrypoint[0]), "tini") {
		return "", false
	}
	return fmt.Sprintf("the image's entrypoint is %s, which SageMaker advises against: it may take the argument \"serve\" for its own", entrypoint[0]), true
}
