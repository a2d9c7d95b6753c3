package expression

import (
	"errors"
	"regexp/syntax"
	"strings"
)

// constructs that other dialects have: how Go's error quotes them, longest first, and what they are called.
var constructs = []struct{ prefix, name string }{
	{"(?<=", "a lookbehind"},
	{"(?<!", "a negative lookbehind"},
	{"(?=", "a lookahead"},
	{"(?!", "a negative lookahead"},
	{"(?>", "an atomic group"},
	{"(?#", "a comment"},
	{"(?P=", "a named backreference"},
	{"(?(", "a conditional"},
	{"(?|", "a branch reset"},
	{"(?R", "a recursion"},
	{`\Z`, "the anchor"},
	{`\G`, "the anchor"},
	{`\h`, "the class"},
	{`\R`, "the class"},
	{`\K`, "the match reset"},
	{`\k`, "a named backreference"},
	{`\u`, "the escape"},
	{`\N`, "the class"},
}

// construct names what a pattern has that Go's dialect lacks.
func construct(pattern string, err error) string {
	e, ok := errors.AsType[*syntax.Error](err)
	if !ok {
		return err.Error()
	}
	for _, c := range constructs {
		if strings.HasPrefix(e.Expr, c.prefix) || e.Expr == "(?P" && c.prefix == "(?P=" && strings.Contains(pattern, c.prefix) {
			return c.name + " " + c.prefix
		}
	}
	switch e.Code {
	case syntax.ErrInvalidEscape:
		if len(e.Expr) == 2 && e.Expr[1] >= '1' && e.Expr[1] <= '9' {
			return "a backreference " + e.Expr
		}
		return "the escape " + e.Expr
	case syntax.ErrInvalidRepeatOp:
		if strings.HasSuffix(e.Expr, "+") {
			return "a possessive quantifier " + e.Expr
		}
		return "the repetition " + e.Expr
	case syntax.ErrInvalidRepeatSize:
		return "the repetition " + e.Expr + " (at most 1000)"
	case syntax.ErrInvalidPerlOp:
		return "the group " + e.Expr
	case syntax.ErrInvalidCharRange:
		return "the class " + e.Expr
	}
	if e.Expr == "" || e.Expr == pattern {
		return e.Code.String()
	}
	return e.Code.String() + " " + e.Expr
}
