package job

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string; p.pos is at its opening quote.
func (p *parser) str() (string, *syntaxError) {
	start := p.pos
	i, d := p.pos+1, p.data
	for i < len(d) && d[i] != '"' && d[i] != '\\' && d[i] >= 0x20 {
		i++
	}
	if i < len(d) && d[i] == '"' { // nothing escaped: the usual case
		s := d[start+1 : i]
		if !utf8.Valid(s) {
			return "", p.badUTF8(start + 1)
		}
		p.pos = i + 1
		return string(s), nil
	}
	b := append([]byte(nil), d[start+1:i]...)
	for i < len(d) {
		switch c := d[i]; {
		case c == '"':
			if !utf8.Valid(b) {
				return "", p.badUTF8(start + 1)
			}
			p.pos = i + 1
			return string(b), nil
		case c < 0x20:
			return "", &syntaxError{i, fmt.Sprintf("control character 0x%02x inside a string", c), `write it as an escape: \n, \t, \u001b`}
		case c != '\\':
			b = append(b, c)
			i++
		default:
			n, out, err := p.escape(i)
			if err != nil {
				return "", err
			}
			b = append(b, out...)
			i += n
		}
	}
	return "", p.fail(start, "this string is not closed")
}

var escapes = map[byte]string{'"': `"`, '\\': `\`, '/': "/", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t"}

// escape reads the escape sequence at i and returns its length and what it stands for.
func (p *parser) escape(i int) (int, string, *syntaxError) {
	d := p.data
	if i+1 >= len(d) {
		return 0, "", p.fail(i, "the document ends inside a string")
	}
	if s, ok := escapes[d[i+1]]; ok {
		return 2, s, nil
	}
	r, ok := hex4(d, i)
	if !ok {
		p.pos = i
		return 0, "", p.fail(i, "%s is not an escape sequence of JSON", p.near())
	}
	if !utf16.IsSurrogate(r) {
		return 6, string(r), nil
	}
	r2, ok := hex4(d, i+6)
	if full := utf16.DecodeRune(r, r2); ok && full != utf8.RuneError {
		return 12, string(full), nil
	}
	return 0, "", p.fail(i, `half of a surrogate pair: \u%04x`, r)
}

// hex4 reads an escape of four hexadecimal digits at i.
func hex4(d []byte, i int) (rune, bool) {
	if i+6 > len(d) || d[i] != '\\' || d[i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range d[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// badUTF8 finds the first byte that is not UTF-8 from offset i on.
func (p *parser) badUTF8(i int) *syntaxError {
	for i < len(p.data) {
		r, n := utf8.DecodeRune(p.data[i:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		i += n
	}
	return p.fail(i, "byte 0x%02x is not UTF-8", p.data[min(i, len(p.data)-1)])
}
