package harness

import (
	"testing"
	"time"
)

func TestParseFailpoint(t *testing.T) {
	for in, want := range map[string]Failpoint{
		"":           {},
		"image":      {Step: "image"},
		"image+20ms": {Step: "image", After: 20 * time.Millisecond},
		"upload!":    {Step: "upload", AtEnd: true},
	} {
		if got, err := ParseFailpoint(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"imgae", "image+soon", "+20ms!"} {
		if got, err := ParseFailpoint(in); err == nil && got != (Failpoint{}) {
			t.Errorf("%q: %+v", in, got)
		}
	}
	if _, err := ParseFailpoint("imgae"); err == nil {
		t.Error("an unknown step must not pass in silence")
	}
}
