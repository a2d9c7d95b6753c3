package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/optml/optml/human"
)

// checker holds a document's tree against the table of constraints: unknown members, wrong types, required members,
// lengths, ranges, patterns, enumerations, all at once.
type checker struct {
	doc *Document
	out *problems
}

func (c *checker) add(offset int, at place, p Problem) {
	if c.out.full(p.soft) {
		return
	}
	p.File = c.doc.Name
	p.Line, p.Col = c.doc.src.position(offset)
	p.Path, p.AWSPath = at.path, at.aws
	c.out.add(p)
}

// breaks reports a broken constraint in the service's words; value is as the service prints it.
func (c *checker) breaks(n *Node, at place, s softness, value, constraint, text, hint string) {
	if value != "null" {
		value = "'" + value + "'"
	}
	c.add(n.Offset, at, Problem{
		Code: CodeValidation, constraint: true, soft: s, Text: text, Hint: hint,
		Message: fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, at.aws, constraint),
	})
}

// wrongType reports a value of another type than the model's, as the service's JSON reader does.
func (c *checker) wrongType(n *Node, at place, want string) {
	if c.out.full(hard) {
		return
	}
	var msg string
	switch {
	case n.Kind == Object && want != "map" && want != "structure":
		msg = "Start of structure or map found where not expected."
	case n.Kind == Array && want != "list":
		msg = "Start of list found where not expected"
	case want == "list":
		msg = "Expected list or null"
	case want == "structure" || want == "map":
		msg = "Expected structure or null"
		if want == "map" {
			msg = "Expected map or null"
		}
	default:
		have := map[NodeKind]string{String: "STRING_VALUE", Number: "NUMBER_VALUE", Bool: strings.ToUpper(n.Text) + "_VALUE"}[n.Kind]
		java := map[string]string{"string": "a String", "integer": "an Integer", "long": "a Long", "boolean": "a Boolean"}[want]
		msg = have + " can not be converted to " + java
	}
	plain := map[string]string{"string": "a string", "integer": "a whole number", "long": "a whole number", "boolean": "true or false",
		"list": "a list", "map": "an object", "structure": "an object"}[want]
	hint := ""
	if want == "string" && n.Kind != Object && n.Kind != Array {
		hint = fmt.Sprintf("write it in quotes: %q", n.Text) // a number has at most 64 characters
	} else if n.Kind == String && (want == "integer" || want == "long" || want == "boolean") {
		hint = "write it without quotes"
	}
	c.add(n.Offset, at, Problem{Code: CodeSerialization, Message: msg, Text: "must be " + plain + ", is " + describe(n), Hint: hint})
}

func describe(n *Node) string {
	switch n.Kind {
	case Object:
		return "an object"
	case Array:
		return "a list"
	case String:
		return "the string " + strconv.Quote(human.Clip(n.Text, 64))
	case Null:
		return "null"
	default:
		return n.Text
	}
}

// check holds a node against a shape. It returns false when the types do not fit, so that the tree cannot be decoded.
func (c *checker) check(n *Node, name string, at place) bool {
	s := facts().Shapes[name]
	switch s.Type {
	case "structure":
		return c.structure(n, s, at)
	case "list":
		return c.list(n, s, at)
	case "map":
		return c.mapping(n, s, at)
	case "boolean":
		if n.Kind != Bool {
			c.wrongType(n, at, s.Type)
			return false
		}
	case "integer", "long":
		return c.number(n, s, at)
	default: // string: the closure holds no other type, a test says so
		if n.Kind != String {
			c.wrongType(n, at, "string")
			return false
		}
		for _, v := range s.violated(n.Text) {
			if c.out.full(c.softString(s, n.Text, v)) {
				continue
			}
			text, hint := c.plain(n.Text, s, v)
			c.breaks(n, at, c.softString(s, n.Text, v), human.Clip(n.Text, 4096), v, text, hint)
		}
	}
	return true
}

// plain says a string's broken constraint in a plain sentence.
func (c *checker) plain(v string, s *shape, constraint string) (text, hint string) {
	q := strconv.Quote(human.Clip(v, 64))
	switch {
	case strings.Contains(constraint, "length less"):
		return fmt.Sprintf("%s has %d characters, more than %d", q, utf8.RuneCountInString(v), *s.max), ""
	case strings.Contains(constraint, "length greater"):
		return fmt.Sprintf("%s has %d characters, fewer than %d", q, utf8.RuneCountInString(v), *s.min), ""
	case strings.Contains(constraint, "enum"):
		near := human.Nearest(v, s.Enum)
		if len(s.Enum) <= 12 {
			hint = "one of " + strings.Join(s.Enum, ", ")
		}
		if near != "" {
			hint = "did you mean " + near + "?"
		}
		return q + " is not one of the values that the service takes", hint
	default:
		return q + " is not " + s.form(), ""
	}
}

// localPathShapes are addresses that may be a local path here (D6).
var localPathShapes = map[string]bool{"S3Uri": true, "Url": true, "S3ModelUri": true}

// instanceTypeShapes are enumerations of instance types, which only the cloud has to know (ruling 3).
var instanceTypeShapes = map[string]bool{"TrainingInstanceType": true, "TransformInstanceType": true,
	"ProductionVariantInstanceType": true, "ProcessingInstanceType": true}

// softString says how much a broken constraint of a string matters.
func (c *checker) softString(s *shape, v, constraint string) softness {
	switch {
	case instanceTypeShapes[s.Name], s.Name == "RoleArn":
		return awsOnly
	case localPathShapes[s.Name] && strings.Contains(constraint, "pattern") && isLocalPath(v):
		return awsOnly
	}
	return hard
}

// isLocalPath tells file:// and plain paths (D6) from a mistyped address.
func isLocalPath(v string) bool {
	if rest, ok := strings.CutPrefix(v, "file://"); ok {
		return rest != "" && !strings.ContainsRune(v, 0)
	}
	if v == "" || strings.ContainsRune(v, 0) {
		return false
	}
	colon, slash := strings.IndexByte(v, ':'), strings.IndexByte(v, '/')
	return colon < 0 || slash >= 0 && slash < colon
}

func (c *checker) structure(n *Node, s *shape, at place) bool {
	if n.Kind != Object {
		c.wrongType(n, at, s.Type)
		return false
	}
	ok := true
	for _, m := range n.Members {
		member, known := s.Members[m.Name]
		if !known {
			c.unknown(m, s, at)
			ok = false
			continue
		}
		if m.Value.Kind == Null {
			continue // the service takes null for absent
		}
		ok = c.check(m.Value, member, at.member(m.Name)) && ok
	}
	for _, r := range s.Required {
		if n.Get(r) == nil {
			soft := hard
			if s.Members[r] == "RoleArn" {
				soft = awsOnly
			}
			c.breaks(n, at.member(r), soft, "null", "Member must not be null", "is required and missing", "")
		}
	}
	return ok
}

func (c *checker) unknown(m Member, s *shape, at place) {
	if c.out.full(hard) {
		return
	}
	names := make([]string, 0, len(s.Members))
	for k := range s.Members {
		names = append(names, k)
	}
	slices.Sort(names)
	hint := ""
	if near := human.Nearest(m.Name, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(names) <= 12 {
		hint = "known here: " + strings.Join(names, ", ")
	}
	where := "the request"
	if at.path != "" {
		where = at.path
	}
	// The service itself drops members that it does not know; its clients refuse them, in these words.
	name := human.Clip(m.Name, maxPathName)
	c.add(m.Offset, place{join(at.path, name), join(at.aws, name)}, Problem{
		Code:    CodeParameters,
		Message: unknownParameters + fmt.Sprintf("Unknown parameter in %s: %q, must be one of: %s", orInput(at.path), name, strings.Join(names, ", ")),
		Text:    fmt.Sprintf("%s has no member of this name", where), Hint: hint,
	})
}

func orInput(path string) string {
	if path == "" {
		return "input"
	}
	return path
}

func (c *checker) list(n *Node, s *shape, at place) bool {
	if n.Kind != Array {
		c.wrongType(n, at, s.Type)
		return false
	}
	ok := true
	c.count(n, s, at, len(n.Items), "items")
	item := facts().Shapes[s.Member]
	if item.Type == "string" && item.Name != "" {
		return c.strings(n, s, item, at)
	}
	for i, it := range n.Items {
		if it.Kind == Null {
			c.breaks(it, at.item(i), hard, "null", "Member must not be null", "must not be null", "")
			continue
		}
		ok = c.check(it, s.Member, at.item(i)) && ok
	}
	return ok
}

// strings checks a list of strings. The service reports a broken item at the list, with all the item's constraints.
func (c *checker) strings(n *Node, s, item *shape, at place) bool {
	ok := true
	bad := map[softness]bool{}
	for i, it := range n.Items {
		switch {
		case it.Kind == Null:
			c.breaks(it, at.item(i), hard, "null", "Member must not be null", "must not be null", "")
		case it.Kind != String:
			c.wrongType(it, at.item(i), "string")
			ok = false
		default:
			for j, v := range item.violated(it.Text) {
				soft := c.softString(item, it.Text, v)
				if c.out.full(soft) {
					continue
				}
				text, hint := c.plain(it.Text, item, v)
				if bad[soft] || j > 0 { // one line of the service's, a sentence for each
					c.add(it.Offset, at.item(i), Problem{Code: CodeValidation, soft: soft, Text: text, Hint: hint})
					continue
				}
				bad[soft] = true
				c.breaks(it, at, soft, javaPrint(n, s), "Member must satisfy constraint: "+item.all(), "item "+strconv.Itoa(i+1)+": "+text, hint)
			}
		}
	}
	return ok
}

// count checks the number of items or entries.
func (c *checker) count(n *Node, s *shape, at place, have int, what string) {
	if s.max != nil && int64(have) > *s.max {
		soft, hint := hard, ""
		switch s.Name {
		case "AlgorithmValidationProfiles", "ModelPackageValidationProfiles": // ruling 4
			soft, hint = lenient, "--lenient runs each profile in order"
		case "ChannelSpecifications": // VAL-12
			if have <= 20 {
				soft, hint = lenient, "AWS accepts at most 8 here; --lenient takes 20"
			}
		}
		c.breaks(n, at, soft, javaPrint(n, s), lengthAtMost(*s.max), fmt.Sprintf("has %d %s, more than %d", have, what, *s.max), hint)
	}
	if s.min != nil && int64(have) < *s.min {
		c.breaks(n, at, hard, javaPrint(n, s), lengthAtLeast(*s.min), fmt.Sprintf("has %d %s, fewer than %d", have, what, *s.min), "")
	}
}

// mapping checks a map of strings: the service reports keys and values at the map, with all their constraints.
func (c *checker) mapping(n *Node, s *shape, at place) bool {
	if n.Kind != Object {
		c.wrongType(n, at, s.Type)
		return false
	}
	c.count(n, s, at, len(n.Members), "entries")
	key, value := facts().Shapes[s.Key], facts().Shapes[s.Value]
	ok, badKey, badValue := true, false, false
	report := func(offset int, m Member, once *bool, what string, sh *shape, text, hint string) {
		msg := ""
		if !*once {
			msg = fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: %s must satisfy constraint: %s", javaPrint(n, s), at.aws, what, sh.all())
		}
		c.add(offset, at.entry(m.Name), Problem{Code: CodeValidation, constraint: !*once, Message: msg, Text: text, Hint: hint})
		*once = true
	}
	for _, m := range n.Members {
		if broken := key.violated(m.Name); len(broken) > 0 && !c.out.full(hard) {
			text, hint := c.plain(m.Name, key, broken[0])
			report(m.Offset, m, &badKey, "Map keys", key, "key "+text, hint)
		}
		switch {
		case m.Value.Kind == Null && !c.out.full(hard):
			report(m.Value.Offset, m, &badValue, "Map value", value, "must not be null", "")
		case m.Value.Kind == Null:
		case m.Value.Kind != String:
			c.wrongType(m.Value, at.entry(m.Name), "string")
			ok = false
		default:
			if broken := value.violated(m.Value.Text); len(broken) > 0 && !c.out.full(hard) {
				text, hint := c.plain(m.Value.Text, value, broken[0])
				report(m.Value.Offset, m, &badValue, "Map value", value, text, hint)
			}
		}
	}
	return ok
}
