package transform

import "testing"

func TestOutputName(t *testing.T) { // BT-130 to BT-137, BT-43, Appendix A
	for _, c := range []struct{ prefix, key, want string }{
		{"in/", "in/x.csv", "x.csv.out"},
		{"in", "in/x.csv", "x.csv.out"},
		{"in/", "in/d/x.csv.gz", "d/x.csv.gz.out"},
		{"in/x.csv", "in/x.csv", "x.csv.out"},
		{"in/part-", "in/part-1.csv", "part-1.csv.out"},
		{"p/", "p/q/x", "q/x.out"},
		{"batch_input", "batch_input/iris_test.tfrecords", "iris_test.tfrecords.out"},
		{"in", "in2/x.csv", "in2/x.csv.out"},
		{"in", "input.tar.gz", "input.tar.gz.out"},
		{"", "a/b", "a/b.out"},
		{"a/in", "a/in2/x", "in2/x.out"},
		{"a/b/pa", "a/b/part/c", "part/c.out"},
		{"in/", "in//x", "x.out"},
		{"x", "x", "x.out"},
		{"in/d/", "in/d/", "d.out"},
		{"ünï/", "ünï/ö.csv", "ö.csv.out"},
		{"input-name-prefix/", "input-name-prefix/dataset01/data.csv", "dataset01/data.csv.out"}, // BT-135: not the documentation's own example
		{"elsewhere/", "in/x", "in/x.out"},
	} {
		if got := OutputName(c.prefix, c.key); got != c.want {
			t.Errorf("prefix %q, key %q: %q, want %q", c.prefix, c.key, got, c.want)
		}
	}
}

func TestNameClash(t *testing.T) { // BT-138
	objects := []*object{{Object: Object{Key: "in/x"}, name: OutputName("in/x", "in/x")}, {Object: Object{Key: "in/x/x"}, name: OutputName("in/x", "in/x/x")}}
	if err := clash(objects); err == nil || err.Error() != `two input objects have the same output name: "in/x" and "in/x/x" both give "x.out"` {
		t.Errorf("got %v", err)
	}
	if err := clash(objects[:1]); err != nil {
		t.Error(err)
	}
}
