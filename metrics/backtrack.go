package metrics

import (
	"sync/atomic"
	"time"
)

// A definition that backtracks may take backPerByte of what it is tried on, which is some fifty times what a simple one
// takes, and backAllowance beside. One that takes more is not tried any further: a job of a few minutes must not wait for
// hours on the expression of a metric.
const (
	backAllowance = 10 * time.Second
	backPerByte   = 100 * time.Nanosecond
)

// budget is what is left to a definition that backtracks; several streams may draw on it.
type budget struct{ spent atomic.Int64 } // nanoseconds beyond backPerByte

// backtrack are the matches of a definition that backtracks.
func (d *definition) backtrack(line []byte, n *Definition) [][]int {
	if time.Duration(d.budget.spent.Load()) > backAllowance {
		n.Dropped++
		return nil
	}
	began := time.Now()
	all, err := d.expr.FindAll(line)
	if err != nil {
		n.GaveUp++
	}
	if took := time.Since(began) - time.Duration(len(line))*backPerByte; d.budget.spent.Add(int64(took)) < 0 {
		d.budget.spent.Store(0) // what was saved on quick lines is not for slow ones
	}
	return all
}
