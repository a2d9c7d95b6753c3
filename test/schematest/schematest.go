// Package schematest holds a JSON schema in docs/ to the struct that it describes.
package schematest

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

// Check compares the schema in file with that of v, whose comments lie in the rooms (their directories from here), and
// writes it first when update is set.
func Check(t *testing.T, file, title string, v any, update bool, rooms map[string]string) {
	t.Helper()
	r := jsonschema.Reflector{AllowAdditionalProperties: true} // members may be added
	for room, dir := range rooms {
		if err := r.AddGoComments("github.com/optml/optml/"+room, dir, jsonschema.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(v)
	s.ID, s.Title = "", title
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		t.Fatal(err)
	}
	if update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}
