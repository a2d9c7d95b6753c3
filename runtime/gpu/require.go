package gpu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/optml/optml/human"
	"github.com/optml/optml/runtime/container"
)

// required holds an image's requirements of the driver against what there is, as NVIDIA's container runtime does before
// it starts one: NVIDIA_REQUIRE_* have alternatives with blanks between, each with terms that must all hold, comma between.
// An image without them may say with a label which CUDA it has. warnings are terms that cannot be judged.
func required(env, labels map[string]string, inv Inventory, some []GPU) (warnings []string, err error) {
	if off, _ := strconv.ParseBool(env["NVIDIA_DISABLE_REQUIRE"]); off {
		return nil, nil
	}
	said := false
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, "NVIDIA_REQUIRE_") || strings.TrimSpace(env[name]) == "" {
			continue
		}
		said = true
		w, err := satisfied(name, env[name], inv, some)
		warnings = append(warnings, w...)
		if err != nil {
			return warnings, err
		}
	}
	const label = "com.nvidia.cuda.version"
	if v := majorMinor(labels[label]); !said && v != "" {
		_, err = satisfied("label "+label, "cuda>="+v, inv, some)
	}
	return warnings, err
}

func majorMinor(v string) string {
	p := strings.SplitN(v, ".", 3)
	if len(p) < 2 {
		return v
	}
	return p[0] + "." + p[1]
}

func satisfied(source, text string, inv Inventory, some []GPU) (warnings []string, err error) {
	var failed []term
	for alternative := range strings.FieldsSeq(text) {
		holds := true
		for s := range strings.SplitSeq(alternative, ",") {
			t, ok := parseTerm(s)
			if !ok {
				warnings = append(warnings, fmt.Sprintf("%s asks for %q, which optml cannot judge", source, human.Clip(s, 60)))
				continue
			}
			if !t.holds(inv, some) {
				holds = false
				failed = append(failed, t)
			}
		}
		if holds {
			return warnings, nil
		}
	}
	e := &container.GPUError{Help: "install a newer driver, take an image for an older CUDA, or switch the check off with NVIDIA_DISABLE_REQUIRE=1 in its environment"}
	have := fmt.Sprintf("the driver %s offers %s", inv.Driver, inv.CUDA)
	if i := slices.IndexFunc(failed, func(t term) bool { return t.name == "cuda" }); i >= 0 {
		e.Text = fmt.Sprintf("the image needs CUDA %s (%s), %s", strings.TrimPrefix(failed[i].op+failed[i].value, ">="), source, have)
	} else {
		e.Text = fmt.Sprintf("the image needs %s (%s), %s", human.Clip(text, 200), source, have)
	}
	return warnings, e
}

// term is one requirement: cuda>=12.2.
type term struct{ name, op, value string }

func parseTerm(s string) (term, bool) {
	for _, op := range []string{">=", "<=", "!=", "==", "=", ">", "<"} { // longest first
		name, value, ok := strings.Cut(s, op)
		if !ok || strings.ContainsAny(name, "<>=!") {
			continue
		}
		t := term{strings.TrimSpace(name), op, strings.TrimSpace(value)}
		return t, slices.Contains([]string{"cuda", "driver", "arch", "brand"}, t.name) && t.value != ""
	}
	return term{}, false
}

// holds says whether it does; what the driver does not say is taken to hold.
func (t term) holds(inv Inventory, some []GPU) bool {
	switch t.name {
	case "cuda":
		return t.compare(inv.CUDA)
	case "driver":
		return t.compare(inv.Driver)
	case "arch":
		return !slices.ContainsFunc(some, func(g GPU) bool { return !t.compare(g.ComputeCapability) })
	}
	return !slices.ContainsFunc(some, func(g GPU) bool { return g.Brand != "" && (g.Brand == t.value) == (t.op == "!=") })
}

func (t term) compare(have string) bool {
	if have == "" {
		return true
	}
	c := versions(have, t.value)
	switch t.op {
	case ">=":
		return c >= 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	case "<":
		return c < 0
	case "!=":
		return c != 0
	}
	return c == 0
}

// versions compares the parts that both have, as numbers: a driver 450.80.02 is driver<451, and is driver=450 too.
func versions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m - n
		}
	}
	return 0
}
