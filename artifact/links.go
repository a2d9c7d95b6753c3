package artifact

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// link stores a link that stays inside as a link, one that ends at a file of o.Around as that file (OUT-8).
func (p *packer) link(name string, info fs.FileInfo) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return &Error{Op: "pack", Member: name, Err: err}
	}
	inside, ok := p.inside(name, target)
	if ok {
		if err := p.header(name, info, tar.TypeSymlink, inside, 0); err != nil {
			return err
		}
		p.stats.Links++
		return nil
	}
	if info, err := p.root.Stat(name); err == nil && info.Mode().IsRegular() {
		return p.file(p.root, name, name) // inside after all, by a way that its text does not show
	}
	if from, ok := p.nearby(name, target); ok {
		if info, err := p.around.Stat(from); err == nil && info.Mode().IsRegular() {
			return p.file(p.around, from, name)
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
