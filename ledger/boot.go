package ledger

import (
	"os"
	"strings"
)

// BootID names this boot of the host: a container that was started in another boot is gone for certain, whatever has
// its pid now. OPTML_BOOT_ID stands in for it, so that a test can reboot without rebooting. It is empty where the
// kernel does not tell.
func BootID() string {
	if id := os.Getenv("OPTML_BOOT_ID"); id != "" {
		return id
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
