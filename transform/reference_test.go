package transform_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/optml/optml/transform"
	tt "github.com/optml/optml/transform/transformtest"
)

// referenceCase is what testdata/reference.py says of one object.
type referenceCase struct {
	Split, Strategy string
	Limit           int64
	Keep            bool
	Compression     string
	Object          []byte
	Bodies          [][]byte
	Fail            *struct {
		Record  int64
		Offsets []int64 // one of them
	}
}

// referenceSeed makes the same objects each time; OPTML_SEED makes others.
const referenceSeed = 20261126

// BT-50 to BT-74, BT-80 to BT-82, BT-94 to BT-98: on objects made at random, intact and damaged, the requests are those of
// an independent implementation in Python.
func TestAgainstTheReference(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: apt-get install python3")
	}
	seed, count := strconv.Itoa(referenceSeed), 200
	if os.Getenv("OPTML_FULL") != "" {
		count = 2000
	}
	if s := os.Getenv("OPTML_SEED"); s != "" {
		seed, count = s, 6000
	}
	out, err := exec.Command(python, "-B", "testdata/reference.py", seed, strconv.Itoa(count)).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var model atomic.Pointer[tt.Container]
	in := tt.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { model.Load().ServeHTTP(w, r) }))
	seen, failed := 0, 0
	for s := bufio.NewReader(bytes.NewReader(out)); ; seen++ {
		line, err := s.ReadBytes('\n')
		if err != nil {
			break
		}
		var c referenceCase
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if c.Fail != nil {
			failed++
		}
		for _, concurrent := range []int{1, 3} {
			model.Store(&tt.Container{})
			if !c.check(t, model.Load(), in, concurrent) {
				t.Fatalf("seed %s, case %d: %s, %s, limit %d, framing kept %v, compression %s, object %q", seed, seen, c.Split, c.Strategy, c.Limit, c.Keep, c.Compression, c.Object)
			}
		}
	}
	if seen != count || failed < count/20 || failed > count/2 {
		t.Errorf("%d cases, %d of them failing, of %d", seen, failed, count)
	}
}

func (c *referenceCase) check(t *testing.T, model *tt.Container, in transform.Instance, concurrent int) bool {
	t.Helper()
	b := setup(in, tt.Object("in/x", string(c.Object)))
	b.Job.Input.SplitType, b.Job.BatchStrategy, b.Job.Input.Compression = c.Split, &c.Strategy, c.Compression
	b.KeepFraming, b.Job.MaxConcurrent, b.Job.MaxPayloadMB = c.Keep, &concurrent, new(1)
	if c.Limit == 0 {
		b.Job.MaxPayloadMB = new(0)
	} else {
		b.Config = b.WithPayloadBytes(c.Limit)
	}
	res, err := b.run(t)
	got := model.Invocations()
	var want []string
	for _, body := range c.Bodies {
		want = append(want, string(body))
	}
	ok := true
	wrong := func(format string, args ...any) {
		t.Errorf("%d at once: "+format, append([]any{concurrent}, args...)...)
		ok = false
	}
	if c.Fail != nil {
		// What was sent before the damage was seen depends on who was faster.
		if concurrent == 1 && !(len(got) <= len(want) && slices.Equal(got, want[:len(got)])) {
			wrong("requests %q, want the first of %q", got, want)
		}
		if err == nil || len(res.Failures) != 1 || res.Failures[0].Record != c.Fail.Record || !slices.Contains(c.Fail.Offsets, res.Failures[0].Offset) {
			wrong("%v, %+v; want it to fail at record %d, byte %v", err, res.Failures, c.Fail.Record, c.Fail.Offsets)
		}
		if all := b.out.All(); len(all) > 0 {
			wrong("an object that failed has an output: %q", all)
		}
		return ok
	}
	if err != nil {
		wrong("%v", err)
		return false
	}
	if concurrent == 1 && !slices.Equal(got, want) {
		wrong("requests %q, want %q", got, want)
	}
	if all := b.out.All()["x.out"]; all != strings.Join(want, "") {
		wrong("output %q, want %q", all, strings.Join(want, ""))
	}
	return ok
}
