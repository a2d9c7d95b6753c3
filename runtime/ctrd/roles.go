package ctrd

import (
	"os"
	"path/filepath"

	"github.com/optml/optml/runtime/logger"
	"github.com/optml/optml/runtime/shim"
)

// The roles in which a program that uses this package is re-executed.
const (
	RoleDaemon = "containerd" // the embedded containerd
	RoleShim   = "shim"       // containerd's shim, one for each container
	RoleLogger = "logger"     // writes a container's log and guards it
)

// RoleEnv is set in the shim, since a shim re-executes its binary by the real path and so loses the name in argv[0].
const RoleEnv = "OPTML_ROLE"

// The names under which the binary is called in its roles.
const (
	daemonName = "optml-containerd"
	loggerName = "optml-logger"
	shimName   = "containerd-shim-runc-v2" // what containerd looks for
)

// Role says which role a process was started for, from its argv[0] and its RoleEnv; "" is none of ours.
func Role(argv0, env string) string {
	switch filepath.Base(argv0) {
	case daemonName:
		return RoleDaemon
	case shimName:
		return RoleShim
	case loggerName:
		return RoleLogger
	}
	if env == RoleShim {
		return RoleShim
	}
	return ""
}

// ShimMain is the shim role of a program that has others too.
func ShimMain() int {
	os.Setenv(RoleEnv, RoleShim)
	return shim.Main()
}

// LoggerMain is the logger role.
func LoggerMain(args []string) int { return logger.Main(args) }
