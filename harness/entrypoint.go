package harness

import (
	"fmt"
	"path"
	"strings"
)

// initWarning says what tini as an image's entrypoint means on SageMaker (INF-5).
func initWarning(entrypoint []string) (string, bool) {
	if len(entrypoint) == 0 || !strings.HasPrefix(path.Base(entrypoint[0]), "tini") {
		return "", false
	}
	return fmt.Sprintf("the image's entrypoint is %s, which SageMaker advises against: it may take the argument \"serve\" for its own", entrypoint[0]), true
}
