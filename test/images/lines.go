package images

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// fill is what numbered lines are filled up with.
const fill = "x"

// CheckLines reads a log and checks the numbered lines that tiny printed to one stream ("out" or "err"): each of the n
// lines is there once, in order and whole. Other lines are skipped, but a numbered line inside another one is an error.
func CheckLines(r io.Reader, stream string, n int64) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), 1<<20)
	var next int64
	var length int // of every line, known from the first
	mark := stream + " 0"
	for s.Scan() {
		line := s.Text()
		if !strings.HasPrefix(line, mark) {
			if i := strings.Index(line, mark); i > 0 && strings.HasSuffix(line, strings.Repeat(fill, 4)) {
				return fmt.Errorf("numbered line inside another after %s %012d: %.80q", stream, next-1, line)
			}
			continue
		}
		want := fmt.Sprintf("%s %012d ", stream, next)
		if !strings.HasPrefix(line, want) || strings.Trim(line[len(want):], fill) != "" || (next > 0 && len(line) != length) {
			return fmt.Errorf("wanted line %q, got %.80q", want, line)
		}
		length = len(line)
		next++
	}
	if err := s.Err(); err != nil {
		return err
	}
	if next != n {
		return fmt.Errorf("%d lines of %s, wanted %d", next, stream, n)
	}
	return nil
}
