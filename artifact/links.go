package artifact

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// link stores a link that stays inside as a link where there are links, one that ends at a file of the directory or of
// o.Around as that file (OUT-8).
func (p *packer) link(name string, info fs.FileInfo) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return &Error{Op: p.op, Member: name, Err: err}
	}
	inside, ok := p.inside(name, target)
	from := name // to the file that its content is, if it is not stored as a link
	if ok {
		if stored, err := p.out.link(name, info, inside); stored || err != nil {
			p.stats.Links++
			return err
		}
		from = path.Join(path.Dir(name), inside) // its text may be absolute, which Root does not follow
	}
	if info, err := p.root.Stat(from); err == nil && info.Mode().IsRegular() {
		return p.out.file(p.root, from, name) // inside, perhaps by a way that its text does not show
	}
	if ok {
		p.skip(name, fmt.Sprintf("a link to %q, which is no file", target))
		return nil
	}
	if from, ok := p.nearby(name, target); ok {
		if info, err := p.around.Stat(from); err == nil && info.Mode().IsRegular() {
			return p.out.file(p.around, from, name)
		}
	}
	p.stats.Outside++
	p.skip(name, fmt.Sprintf("a link to %q, which is outside", target))
	return nil
}

// inside returns the target to store for a link of the directory that does not leave it.
func (p *packer) inside(name, target string) (string, bool) {
	if path.IsAbs(target) {
		if p.o.At == "" {
			return "", false
		}
		rel, err := filepath.Rel(p.o.At, path.Clean(target))
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", false
		}
		if target, err = filepath.Rel(path.Dir(name), rel); err != nil {
			return "", false
		}
	}
	return target, staysInside(name, target)
}

// nearby returns where below o.Around a link of the directory ends, by its text alone.
func (p *packer) nearby(name, target string) (string, bool) {
	if p.around == nil || p.o.At == "" || p.o.AroundAt == "" {
		return "", false
	}
	if !path.IsAbs(target) {
		target = path.Join(p.o.At, path.Dir(name), target)
	}
	rel, err := filepath.Rel(p.o.AroundAt, path.Clean(target))
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return rel, true
}
