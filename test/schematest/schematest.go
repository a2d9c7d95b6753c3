// Package schematest holds a JSON schema in docs/ to the struct that it describes.
package schematest

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"reflect"
	"strings"
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
	// Of two types with one name the second has its room's before it.
	named := map[string]reflect.Type{}
	r.Namer = func(t reflect.Type) string {
		name := t.Name()
		if first := named[name]; name != "" && first != nil && first != t {
			room := path.Base(t.PkgPath())
			name = strings.ToUpper(room[:1]) + room[1:] + name
		}
		named[name] = t
		return name
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
