package framing

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func zip(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func TestGunzip(t *testing.T) { // BT-40 to BT-42
	text := strings.Repeat("hello, ", 10000)
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		in    io.Reader
		want  string
		class error
	}{
		{"one member", strings.NewReader(zip(text)), text, nil},
		{"two members", strings.NewReader(zip(text) + zip("more")), text + "more", nil},
		{"empty content", strings.NewReader(zip("")), "", nil},
		{"not gzip", strings.NewReader("a,b\n1,2\n"), "", ErrNotGzip},
		{"nothing", strings.NewReader(""), "", ErrNotGzip},
		{"truncated", strings.NewReader(zip(text)[:60]), "", ErrGzip},
		{"truncated in the second member", strings.NewReader(zip("a") + zip("b")[:12]), "", ErrGzip},
		{"rubbish after the end", strings.NewReader(zip("a") + "rubbish after the end"), "", ErrGzip},
		{"checksum", strings.NewReader(zip("a")[:len(zip("a"))-8] + "\x00\x00\x00\x00\x01\x00\x00\x00"), "", ErrGzip},
		{"broken reader", io.MultiReader(strings.NewReader(zip(text)[:60]), iotest.ErrReader(broken)), "", broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := io.ReadAll(Gunzip(c.in))
			if c.class == nil && (err != nil || string(got) != c.want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if !errors.Is(err, c.class) {
				t.Errorf("error %v, want %v", err, c.class)
			}
		})
	}
}
