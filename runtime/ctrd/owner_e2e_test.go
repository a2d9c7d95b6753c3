//go:build e2e

package ctrd

const ownerEnv = "OPTML_E2E_OWNER"

func ownerMain() int { return 0 }
