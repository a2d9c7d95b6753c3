package ctrd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseListeners(t *testing.T) {
	const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0200D50A:1F90 0200D50A:B2C4 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   3: nonsense
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1 0 100 0 0 10 0
`
	var got []string
	for _, a := range parseListeners([]byte(text)) {
		got = append(got, a.String())
	}
	if d := cmp.Diff([]string{"127.0.0.1:8080", "0.0.0.0:8000", "[::1]:8080"}, got); d != "" {
		t.Error(d)
	}
}
