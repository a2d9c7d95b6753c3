package transform_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"strings"
	"testing"

	tt "github.com/optml/optml/transform/transformtest"
)

type ctx = context.Context

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func TestGzip(t *testing.T) { // BT-40 to BT-43
	plain := "1\n2\n3\n"
	for _, c := range []struct {
		name, compression, in string
		payload               int
		want                  []string
	}{
		{"one member", "Gzip", gzipped(plain), 6, []string{plain}},
		{"two members", "Gzip", gzipped("1\n2") + gzipped("\n3\n"), 6, []string{plain}},
		{"not asked for", "None", gzipped(plain), 6, []string{gzipped(plain)}},
		{"empty content", "Gzip", gzipped(""), 6, nil},
		{"streamed", "Gzip", gzipped(plain), 0, []string{plain}},
		{"empty content, streamed", "Gzip", gzipped(""), 0, nil},
	} {
		for _, split := range []string{"None", "Line"} {
			t.Run(c.name+"/"+split, func(t *testing.T) {
				model := &tt.Container{}
				b := setup(tt.Serve(t, model), tt.Object("in/x.csv.gz", c.in))
				b.Job.Input.Compression, b.Job.Input.SplitType, b.Job.MaxPayloadMB = c.compression, split, &c.payload
				b.must(t)
				same(t, "requests", model.Invocations(), c.want)
				var want strings.Builder
				for _, w := range c.want {
					want.WriteString(w)
				}
				outputs(t, b, map[string]string{"x.csv.gz.out": want.String()})
			})
		}
	}
}
