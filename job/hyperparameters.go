package job

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/optml/optml/human"
)

// withDefaults puts an algorithm's default values into a job's hyperparameters where they are missing (VAL-14).
func withDefaults(hp map[string]string, specs []hyperParameterSpecification) map[string]string {
	out := maps.Clone(hp)
	if out == nil {
		out = map[string]string{}
	}
	for _, s := range specs {
		if _, given := out[s.Name]; !given && s.DefaultValue != nil {
			out[s.Name] = *s.DefaultValue
		}
	}
	return out
}

// tuningMetric is put into a tuning job's trainings by the service; it is never refused (HP-3).
const tuningMetric = "_tuning_objective_metric"

// hyperParameters holds a job's values against the algorithm's specification, one problem a parameter (HP-1 to HP-5).
// The service's own texts are not published; these are the words of its Python SDK and of its container toolkit.
func (c *ruling) hyperParameters(t trainingView, a *createAlgorithmInput) {
	specs := a.TrainingSpecification.SupportedHyperParameters
	names, known := make([]string, len(specs)), make(map[string]bool, len(specs))
	path := t.at("HyperParameters")
	for i, s := range specs {
		names[i], known[s.Name] = s.Name, true
		v, given := t.hyperParameters[s.Name]
		if !given {
			if s.IsRequired && s.DefaultValue == nil {
				c.broken(path, fmt.Sprintf("Required hyperparameter: %s is not set", s.Name), fmt.Sprintf("%q is required and missing", s.Name), "")
			}
			continue
		}
		if message, text := s.refuses(v); message != "" {
			c.broken(join(path, s.Name), message, text, "")
		}
	}
	for _, n := range slices.Sorted(maps.Keys(t.hyperParameters)) {
		if n == tuningMetric || known[n] {
			continue
		}
		hint := ""
		if c.out.room(hard) {
			if near := human.Nearest(n, names); near != "" {
				hint = "did you mean " + near + "?"
			}
		}
		c.broken(join(path, n), fmt.Sprintf("Invalid hyperparameter: %s is not supported by %s", n, a.AlgorithmName),
			fmt.Sprintf("algorithm %s has no hyperparameter of this name", a.AlgorithmName), hint)
	}
}

// refuses says what is wrong with a value; "" is nothing.
func (s hyperParameterSpecification) refuses(v string) (message, text string) {
	quoted := fmt.Sprintf("%q", human.Clip(v, 64))
	unparsed := fmt.Sprintf("Hyperparameter %s: could not parse value", s.Name)
	switch s.Type {
	case "Integer", "Continuous":
		number, word := parseContinuous, "a number"
		if s.Type == "Integer" {
			number, word = parseInteger, "a whole number"
		}
		n, ok := number(v)
		if !ok {
			return unparsed, quoted + " is not " + word
		}
		lowText, highText, given := s.bounds()
		if !given {
			if n.inf != 0 {
				return unparsed, quoted + " is infinite"
			}
			return "", ""
		}
		low, ok1 := number(lowText)
		high, ok2 := number(highText)
		if ok1 && ok2 && (n.cmp(low) < 0 || n.cmp(high) > 0) {
			return fmt.Sprintf("Invalid value: %s Supported range: [%s, %s]", v, lowText, highText), fmt.Sprintf("%s is not between %s and %s", quoted, lowText, highText)
		}
	case "Categorical":
		if s.Range == nil || s.Range.CategoricalParameterRangeSpecification == nil {
			return "", ""
		}
		values := s.Range.CategoricalParameterRangeSpecification.Values
		if !slices.Contains(values, v) {
			list := strings.Join(values, ", ")
			return fmt.Sprintf("Invalid value: %s Supported range: [%s]", v, list), fmt.Sprintf("%s is none of %s", quoted, human.Clip(list, 200))
		}
	}
	return "", ""
}

// bounds are the ends of a numeric range, both inclusive.
func (s hyperParameterSpecification) bounds() (low, high string, given bool) {
	switch r := s.Range; {
	case r == nil:
	case s.Type == "Integer" && r.IntegerParameterRangeSpecification != nil:
		i := r.IntegerParameterRangeSpecification
		return i.MinValue, i.MaxValue, true
	case s.Type == "Continuous" && r.ContinuousParameterRangeSpecification != nil:
		i := r.ContinuousParameterRangeSpecification
		return i.MinValue, i.MaxValue, true
	}
	return "", "", false
}

// quantity is an exact number, or an infinity.
type quantity struct {
	rat *big.Rat
	inf int // -1, 0, 1
}

func (a quantity) cmp(b quantity) int {
	if a.inf != 0 || b.inf != 0 {
		return a.inf - b.inf
	}
	return a.rat.Cmp(b.rat)
}

var (
	integerForm  = regexp.MustCompile(`^[+-]?[0-9]+$`)
	decimalForm  = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)
	infinityForm = regexp.MustCompile(`^([+-]?)(?i:inf|infinity)$`)
)

// maxDigits bounds the arithmetic. It is no part of the expressions: counting to hundreds takes longer to compile than all
// else that the program does before it begins.
const maxDigits = 400

// parseInteger reads a base-10 integer with an optional sign and nothing around it; 5.0 is none (HP-1).
func parseInteger(v string) (quantity, bool) {
	if len(v) > 1+maxDigits || !integerForm.MatchString(v) {
		return quantity{}, false
	}
	r, ok := new(big.Rat).SetString(v)
	return quantity{rat: r}, ok
}

// parseContinuous reads a decimal number with an optional exponent; not NaN (HP-1).
func parseContinuous(v string) (quantity, bool) {
	if m := infinityForm.FindStringSubmatch(v); m != nil {
		if m[1] == "-" {
			return quantity{inf: -1}, true
		}
		return quantity{inf: 1}, true
	}
	if len(v) > 2*maxDigits || !decimalForm.MatchString(v) {
		return quantity{}, false
	}
	r, ok := new(big.Rat).SetString(v)
	return quantity{rat: r}, ok
}
