package main

import "strconv"

// invoker is who called optml by sudo (or doas, which sets the same variables by convention): what is written for the
// user is theirs. It is 0 and 0 without one, and for who is not root, whose files are theirs in any case.
func invoker(euid int, getenv func(string) string) (uid, gid int) {
	if euid != 0 {
		return 0, 0
	}
	u, uerr := strconv.ParseUint(getenv("SUDO_UID"), 10, 31)
	g, gerr := strconv.ParseUint(getenv("SUDO_GID"), 10, 31)
	if uerr != nil || gerr != nil {
		return 0, 0
	}
	return int(u), int(g)
}
