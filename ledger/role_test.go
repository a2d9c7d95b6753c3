package ledger

// runRole is what this test binary does as a child process.
func runRole(role string) int { return 2 }
