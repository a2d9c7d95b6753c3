package job

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

func (c *checker) number(n *Node, s *shape, at place) bool {
	if n.Kind != Number {
		c.wrongType(n, at, s.Type)
		return false
	}
	v, ok := wholeNumber(n.Text)
	bits, java := 32, "an Integer"
	if s.Type == "long" {
		bits, java = 64, "a Long"
	}
	if !ok || v.BitLen() > bits-1 && v.Cmp(big.NewInt(0).Lsh(big.NewInt(-1), uint(bits-1))) != 0 {
		text := n.Text + " is not a whole number"
		if ok {
			text = n.Text + " is out of the range of " + java
		}
		c.add(n.Offset, at, Problem{Code: CodeSerialization, Message: "NUMBER_VALUE can not be converted to " + java, Text: text})
		return false
	}
	if s.max != nil && v.Cmp(big.NewInt(*s.max)) > 0 {
		c.breaks(n, at, hard, v.String(), valueAtMost(*s.max), fmt.Sprintf("%s is more than %d", v, *s.max), "")
	}
	if s.min != nil && v.Cmp(big.NewInt(*s.min)) < 0 {
		c.breaks(n, at, hard, v.String(), valueAtLeast(*s.min), fmt.Sprintf("%s is less than %d", v, *s.min), "")
	}
	return true
}

// wholeNumber reads a JSON number that is whole, 1.0 and 1e3 too. The exponent is bounded so that 1e999999999 does not
// become a number of a gigabyte.
func wholeNumber(text string) (*big.Int, bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if e, err := strconv.Atoi(text[i+1:]); err != nil || e > 30 || e < -30 {
			return nil, false
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok || !r.IsInt() {
		return nil, false
	}
	return r.Num(), true
}
