package job

import (
	"strings"

	"github.com/optml/optml/human"
)

// javaPrint is a value as the service prints it in a message: maps {k=v, k2=v2}, lists [a, b], structures
// Name(member=value). It is cut at 4096 characters: a message stays readable whatever the document holds.
func javaPrint(n *Node, s *shape) string {
	var b strings.Builder
	printJava(&b, n, s)
	return human.Clip(b.String(), 4096)
}

func printJava(b *strings.Builder, n *Node, s *shape) {
	const enough = 5 * 4096 // bytes; what lies beyond is cut anyway
	if b.Len() > enough {
		return
	}
	shapes := facts().Shapes
	switch {
	case n.Kind == Array && s.Type == "list":
		b.WriteByte('[')
		for i, it := range n.Items {
			if i > 0 {
				b.WriteString(", ")
			}
			printJava(b, it, shapes[s.Member])
		}
		b.WriteByte(']')
	case n.Kind == Object:
		open, end := "{", "}"
		if s.Type == "structure" {
			open, end = s.Name+"(", ")"
		}
		b.WriteString(open)
		for i, m := range n.Members {
			if i > 0 {
				b.WriteString(", ")
			}
			name, next := m.Name, shapes[s.Value]
			if s.Type == "structure" {
				name, next = lowerFirst(name), shapes[s.Members[m.Name]]
			}
			b.WriteString(human.Clip(name, 4096) + "=")
			if next == nil {
				next = &shape{}
			}
			printJava(b, m.Value, next)
		}
		b.WriteString(end)
	default:
		b.WriteString(human.Clip(n.Text, 4096))
	}
}
