package measure

import (
	"math"
	"math/rand/v2"
	"time"
)

// Takes are n values in an order by chance that have exactly the percentiles of a log-normal distribution.
func Takes(n int, median time.Duration, sigma float64) []time.Duration {
	out := make([]time.Duration, n)
	for i, place := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		z := math.Sqrt2 * math.Erfinv(2*(float64(place)+0.5)/float64(n)-1)
		out[i] = time.Duration(float64(median) * math.Exp(sigma*z))
	}
	return out
}
