package dataset

import (
	"fmt"
	"slices"
	"testing"
)

// TestPermutation: one seed gives one order, for ever: these are the orders that jobs have run with.
func TestPermutation(t *testing.T) {
	for _, c := range []struct {
		n     int
		seed  int64
		epoch int
		want  []int
	}{
		{0, 1, 0, []int{}},
		{1, 1, 0, []int{0}},
		{8, 1, 0, []int{1, 5, 4, 6, 7, 2, 0, 3}},
		{8, 1, 1, []int{3, 7, 2, 5, 1, 4, 6, 0}},
		{8, -1, 0, []int{5, 1, 6, 0, 4, 3, 7, 2}},
	} {
		if got := Permutation(c.n, c.seed, c.epoch); !slices.Equal(got, c.want) {
			t.Errorf("Permutation(%d, %d, %d) = %v, want %v", c.n, c.seed, c.epoch, got, c.want)
		}
	}
}

// TestPermutationIsFair: of three units each of the six orders comes about as often; a bias in the draw would show.
func TestPermutationIsFair(t *testing.T) {
	count := map[string]int{}
	const n = 6000
	for epoch := range n {
		count[fmt.Sprint(Permutation(3, 42, epoch))]++
	}
	if len(count) != 6 {
		t.Errorf("%d orders of 6", len(count))
	}
	for order, c := range count {
		if c < n/6-150 || c > n/6+150 { // five standard deviations
			t.Errorf("%s came %d times of %d", order, c, n)
		}
	}
}

func FuzzPermutation(f *testing.F) {
	f.Add(10, int64(0), 0)
	f.Fuzz(func(t *testing.T, n int, seed int64, epoch int) {
		n = max(0, min(n, 1000))
		p := Permutation(n, seed, epoch)
		seen := make([]bool, n)
		for _, i := range p {
			if seen[i] {
				t.Fatalf("%d comes twice", i)
			}
			seen[i] = true
		}
		if len(p) != n {
			t.Fatalf("%d of %d", len(p), n)
		}
	})
}

// TestMine: every place belongs to exactly one host, and shares differ by one at most (SHARD-1).
func TestMine(t *testing.T) {
	for _, hosts := range []int{1, 2, 3, 7} {
		var share [7]int
		for place := range 20 {
			owners := 0
			for rank := range hosts {
				if isMine(place, rank, hosts) {
					owners++
					share[rank]++
				}
			}
			if owners != 1 {
				t.Errorf("%d hosts: place %d has %d owners", hosts, place, owners)
			}
		}
		if s := share[:hosts]; slices.Max(s)-slices.Min(s) > 1 {
			t.Errorf("shares of %d hosts: %v", hosts, s)
		}
	}
}
