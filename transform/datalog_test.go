package transform_test

import (
	"testing"

	tt "github.com/optml/optml/transform/transformtest"
)

func TestDataLogKeepsBytes(t *testing.T) { // ST-24: no escapes, no character set
	const body = "\x1f\x00\xff\tü#037"
	b := setup(tt.Serve(t, &tt.Container{Invoke: tt.Status(400, body)}), tt.Object("in/x", "1"))
	if _, err := b.run(t); err == nil {
		t.Fatal("the job completed")
	}
	same(t, "data log", b.logged(), []string{firstLine, "bucket/in/x: ClientError: 400", "bucket/in/x: ", "bucket/in/x: Message:", "bucket/in/x: " + body})
}
