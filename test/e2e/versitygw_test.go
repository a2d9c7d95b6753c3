//go:build e2e

package e2e

import "testing"

func versitygwSite(t *testing.T) *site { t.Skip("TODO"); return nil }
