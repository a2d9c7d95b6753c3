package job

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"
)

// The file is made by hack/constraints from the published service model; "go run ./hack/constraints -h" says how.
//
//go:embed constraints.json
var constraintsJSON []byte

// shape is what the service's model says of one shape: facts, no prose. hack/constraints makes the file.
type shape struct {
	Name     string            `json:"-"`
	Type     string            `json:"type"`
	Members  map[string]string `json:"members"`
	Required []string          `json:"required"`
	Member   string            `json:"member"`
	Key      string            `json:"key"`
	Value    string            `json:"value"`
	Min      *json.Number      `json:"min"`
	Max      *json.Number      `json:"max"`
	Pattern  string            `json:"pattern"`
	Enum     []string          `json:"enum"`

	min, max *int64
	match    func() func(string) bool // compiles the pattern when first used
	enum     func() map[string]bool
	inEnum   func() string // the constraint's text: some have 277 values
}

type model struct {
	Operations map[string]string `json:"operations"` // operation to the shape of its request
	Replies    map[string]*reply `json:"replies"`    // by the operation of the request
	Shapes     map[string]*shape `json:"shapes"`
}

// reply is what a Describe call answers beside members of the request.
type reply struct {
	Operation string   `json:"operation"` // DescribeTrainingJob
	Only      []string `json:"only"`      // members that the request has not
}

// facts is the table of constraints, read once when first needed.
var facts = sync.OnceValue(func() *model {
	m := &model{}
	if err := json.Unmarshal(constraintsJSON, m); err != nil {
		panic("job: embedded constraints.json: " + err.Error()) // our own file; a test loads it
	}
	for name, s := range m.Shapes {
		s.Name = name
		s.min, s.max = whole(s.Min), whole(s.Max)
		s.match = sync.OnceValue(func() func(string) bool {
			f, err := compilePattern(s.Pattern)
			if err != nil {
				panic("job: pattern of " + s.Name + ": " + err.Error()) // a test compiles all
			}
			return f
		})
		s.inEnum = sync.OnceValue(func() string { return mustBeIn(s.Enum) })
		s.enum = sync.OnceValue(func() map[string]bool {
			set := make(map[string]bool, len(s.Enum))
			for _, v := range s.Enum {
				set[v] = true
			}
			return set
		})
	}
	return m
})

func whole(n *json.Number) *int64 {
	if n == nil {
		return nil
	}
	v, err := n.Int64()
	if err != nil {
		panic("job: embedded constraints.json: bound " + n.String())
	}
	return &v
}

// javaClasses turns what Java's regular expressions mean otherwise than RE2 into RE2: a dot excludes five line ends,
// not one, and \s has the vertical tab.
var javaClasses = strings.NewReplacer(`[\S]`, `[^\s\x0b]`, `\p{Alnum}`, `a-zA-Z0-9`)

const javaDot = `[^\n\r\x{85}\x{2028}\x{2029}]`

// compilePattern returns a full match, which is how the service applies its patterns.
func compilePattern(p string) (func(string) bool, error) {
	if p == "" {
		return nil, nil
	}
	if f, ok := substitutes()[p]; ok {
		return f, nil
	}
	re, err := regexp.Compile(`\A(?:` + dots(javaClasses.Replace(p)) + `)\z`)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// dots replaces each dot that stands for any character; those that are escaped or in a class stay.
func dots(p string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '\\' && i+1 < len(p):
			b.WriteByte(c)
			i++
			b.WriteByte(p[i])
			continue
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '.' && !class:
			b.WriteString(javaDot)
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// lazyRegexp compiles itself when first used: a document uses few of all.
type lazyRegexp func() *regexp.Regexp

func (l lazyRegexp) MatchString(s string) bool            { return l().MatchString(s) }
func (l lazyRegexp) FindStringSubmatch(s string) []string { return l().FindStringSubmatch(s) }

// substitutes stand for the patterns that RE2 refuses (look-around and repeat counts above 1000) and for those that are
// slow with it. A test fails on any pattern that neither compiles nor is listed.
var substitutes = sync.OnceValue(func() map[string]func(string) bool {
	full := func(p string) lazyRegexp {
		return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A(?:` + p + `)\z`) })
	}
	const arnOrName = `(?:arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*/)?[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
	packageARN := func(kind string) func(string) bool {
		re := full(`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:` + kind + `/([^\s\x0b]+)`)
		return func(s string) bool {
			m := re.FindStringSubmatch(s)
			return m != nil && utf8.RuneCountInString(m[1]) <= 2048
		}
	}
	upTo := func(n int, class string) func(string) bool {
		re := full(class + `*`)
		return func(s string) bool { return utf8.RuneCountInString(s) <= n && re.MatchString(s) }
	}
	// Not refused, but common and long: a look for line ends is ten times faster than the automaton.
	oneLine := func(s string) bool { return !strings.ContainsAny(s, "\n\r\u0085\u2028\u2029") }
	endpointPath := full(`/[a-zA-Z0-9/_.\-]+`)
	environmentKey := full(`[a-zA-Z_][a-zA-Z0-9_]*`)
	return map[string]func(string) bool{
		`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)`:                full(arnOrName).MatchString,
		`(arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]*:[0-9]{12}:[a-z\-]*\/)?([a-zA-Z0-9]([a-zA-Z0-9-]){0,62})(?<!-)(\/[0-9]{1,9})?`: full(arnOrName + `(?:/[0-9]{1,9})?`).MatchString,
		`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package-group/[\S]{1,2048}`:                               packageARN("model-package-group"),
		`arn:aws[a-z\-]*:sagemaker:[a-z0-9\-]{9,16}:[0-9]{12}:model-package/[\S]{1,2048}`:                                     packageARN("model-package"),
		`.*`:                                  oneLine,
		`.+`:                                  func(s string) bool { return s != "" && oneLine(s) },
		`[\S\s]*`:                             func(string) bool { return true },
		`[\S\s]+`:                             func(s string) bool { return s != "" },
		`.{0,1024}`:                           upTo(1024, javaDot),
		`[\p{L}\p{M}\p{Z}\p{N}\p{P}]{0,1024}`: upTo(1024, `[\p{L}\p{M}\p{Z}\p{N}\p{P}]`),
		`[a-zA-Z_][a-zA-Z0-9_]{0,1023}`:       func(s string) bool { return len(s) <= 1024 && environmentKey.MatchString(s) },
		`/(?!.*\.\.)[a-zA-Z0-9/_.\-]+`: func(s string) bool {
			return endpointPath.MatchString(s) && !strings.Contains(s[1:], "..")
		},
	}
})

// maxMatched is the length up to which a string that is too long is held against its pattern too.
const maxMatched = 256 << 10

// violated returns what a string breaks, in the service's words and order: length, then pattern, then enumeration.
func (s *shape) violated(v string) []string {
	var out []string
	n := int64(utf8.RuneCountInString(v))
	if s.max != nil && n > *s.max {
		out = append(out, lengthAtMost(*s.max))
	}
	if s.min != nil && n < *s.min {
		out = append(out, lengthAtLeast(*s.min))
	}
	if s.Pattern != "" && (s.max == nil || n <= max(*s.max, maxMatched)) && !s.match()(v) {
		out = append(out, mustMatch(s.Pattern))
	}
	if len(s.Enum) > 0 && !s.enum()[v] {
		out = append(out, s.inEnum())
	}
	return out
}

// all returns every constraint of a string shape: the service lists them all for a map's values and keys.
func (s *shape) all() string {
	var out []string
	if s.max != nil {
		out = append(out, lengthAtMost(*s.max))
	}
	if s.min != nil {
		out = append(out, lengthAtLeast(*s.min))
	}
	if s.Pattern != "" {
		out = append(out, mustMatch(s.Pattern))
	}
	if len(s.Enum) > 0 {
		out = append(out, s.inEnum())
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func lengthAtMost(n int64) string {
	return fmt.Sprintf("Member must have length less than or equal to %d", n)
}

func lengthAtLeast(n int64) string {
	return fmt.Sprintf("Member must have length greater than or equal to %d", n)
}

func valueAtMost(n int64) string {
	return fmt.Sprintf("Member must have value less than or equal to %d", n)
}

func valueAtLeast(n int64) string {
	return fmt.Sprintf("Member must have value greater than or equal to %d", n)
}

func mustMatch(p string) string { return "Member must satisfy regular expression pattern: " + p }

func mustBeIn(set []string) string {
	return "Member must satisfy enum value set: [" + strings.Join(set, ", ") + "]"
}
