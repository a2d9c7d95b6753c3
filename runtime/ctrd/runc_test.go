package ctrd

import "testing"

func TestSeccompOf(t *testing.T) {
	for text, want := range map[string]bool{
		`{"linux":{"seccomp":{"enabled":true}}}`: true, `{"linux":{"seccomp":{"enabled":false}}}`: false,
		`{"linux":{"seccomp":{}}}`: true, `{"linux":{}}`: false, `not json`: false,
	} {
		if got := seccompOf([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
