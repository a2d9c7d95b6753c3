package dataset

import "math/rand/v2"

// isMine says whether the unit at a place is rank's of so many hosts: place modulo hosts, the places being those of the
// sorted keys (SHARD-2, BT-38), of an augmented manifest's lines (AUG-7), or of an epoch's shuffled order.
func isMine(place, rank, hosts int) bool { return place%hosts == rank }

// Permutation is the order of n units in an epoch: all orders are equally likely, each (seed, epoch) has its own, and it
// is the same on every host and in every version of optml, since the service says that one seed gives one order.
func Permutation(n int, seed int64, epoch int) []int {
	// Of package rand only the generator is promised to stay as it is, so what is drawn from it is ours.
	g := rand.NewPCG(uint64(seed), uint64(epoch))
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := below(g, uint64(i+1))
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// below draws from 0 to n-1, without the bias of a mere modulo.
func below(g *rand.PCG, n uint64) int {
	limit := -n % n // 2^64 modulo n
	for {
		if v := g.Uint64(); v >= limit {
			return int(v % n)
		}
	}
}
