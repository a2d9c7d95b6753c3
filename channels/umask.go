package channels

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// umask reads this process's umask without changing it: the system call can only swap it, for all threads. Where
// /proc does not say, every bit is taken to be masked, which merely costs a chmod.
var umask = sync.OnceValue(func() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			if m, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32); err == nil {
				return m
			}
		}
	}
	return 0o777
})
