package main

import (
	"os"

	"github.com/optml/optml/runtime/ctrd"
)

// role is something else that this one binary can be. optml starts itself in these roles; people do not.
type role struct {
	name string
	what string
	main func(args []string) int
}

// roles is the table of them. The command line is what is left when none of them is meant. The GPU helper is no role of
// this binary: it loads NVIDIA's library, for which a program must be linked dynamically (cmd/optml-gpu).
var roles = []role{
	{ctrd.RoleDaemon, "containerd, until nobody uses it any more", ctrd.DaemonMain},
	{ctrd.RoleShim, "containerd's shim, one for each container", func([]string) int { return ctrd.ShimMain() }},
	{ctrd.RoleLogger, "writes a container's log, and kills the container when its job's owner has died", ctrd.LoggerMain},
	{roleOwner, "carries out one job, fed from its directory alone", func(args []string) int { return ownerMain(args, os.Stderr) }},
}

// roleOwner is the owner of a detached job: `optml internal job DIR`.
const roleOwner = "job"

// roleOf finds the role that a process was started in, by the name that it was called by, by its environment, or by
// `optml internal <role>`, and what is left of the arguments.
func roleOf(argv []string, getenv func(string) string) (role, []string, bool) {
	if len(argv) == 0 {
		return role{}, nil, false
	}
	name, args := ctrd.Role(argv[0], getenv(ctrd.RoleEnv)), argv[1:]
	if name == "" && len(argv) > 2 && argv[1] == "internal" {
		name, args = argv[2], argv[3:]
	}
	for _, r := range roles {
		if r.name == name {
			return r, args, true
		}
	}
	return role{}, nil, false
}
