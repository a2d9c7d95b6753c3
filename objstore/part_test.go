package objstore

import "testing"

// TestPartLimit: 10,000 parts hold the largest object that S3 can have, whether its size is known or not, and while an
// object is below 8 GiB its parts stay small.
func TestPartLimit(t *testing.T) {
	var total int64
	for i := range maxParts {
		p := partLimit(firstPart, i, 0)
		if total < 7<<30 && p != firstPart {
			t.Fatalf("part %d of an object of %d bytes so far has %d", i, total, p)
		}
		if p > 5<<30 && total < maxObject {
			t.Fatalf("part %d has %d bytes: S3 allows 5 GiB", i, p)
		}
		total += p
	}
	if total < maxObject {
		t.Errorf("all parts hold %d bytes", total)
	}
	for _, size := range []int64{1, firstPart, 160 << 30, 157<<30 + 1, maxObject - 1, maxObject} {
		p := partLimit(firstPart, 0, size)
		if n := (size + p - 1) / p; n > maxParts || p < firstPart || p > 5<<30 {
			t.Errorf("%d bytes: %d parts of %d", size, n, p)
		}
	}
}
