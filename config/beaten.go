package config

import (
	"regexp"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// unheard are values of files that variables of the environment beat. They are checked all the same: where the variable is not set,
// they count.
type unheard struct {
	files *spec.Node // what takes effect without the environment
	paths []string
}

// beaten warns of variables that beat a value which a file writes out, and returns the paths of those values. What a file fills in from
// variables is no such value, and what a flag sets beats both.
func (l *loader) beaten(files, environment, flags *spec.Node) (paths []string) {
	var walk func(n *spec.Node, path []string)
	walk = func(n *spec.Node, path []string) {
		if n.Kind == spec.Map {
			for _, e := range n.Entries {
				walk(e.Value, append(path[:len(path):len(path)], e.Name))
			}
			return
		}
		own, found := at(files, path)
		if _, flag := at(flags, path); !found || flag || !writtenOut(own) || plainText(own) == blanks.ReplaceAllString(n.Text, ",") && own.Kind == spec.List || plainText(own) == n.Text {
			return
		}
		dotted := strings.Join(path, ".")
		paths = append(paths, dotted)
		l.diags = append(l.diags, spec.Diagnostic{
			Severity: spec.Warning, Code: spec.CodeBeaten, Pos: n.Pos, Related: own.Pos, Path: dotted,
			Message: dotted + " is set by a file, too, and the variable counts",
			Hint:    "unset the variable, or write ${NAME:-value} in the file where it is meant to differ",
		})
	}
	walk(environment, nil)
	return paths
}

// at finds the value at a path; null is none.
func at(n *spec.Node, path []string) (*spec.Node, bool) {
	for _, name := range path {
		if n == nil || n.Kind != spec.Map {
			return nil, false
		}
		n = n.Get(name)
	}
	return n, n != nil && !n.IsNull()
}

// writtenOut reports whether a value stands in a file as it is.
func writtenOut(n *spec.Node) bool {
	switch n.Kind {
	case spec.Scalar:
		return n.Raw == n.Text && !n.Broken && n.Text != ""
	case spec.List:
		for _, item := range n.Items {
			if !writtenOut(item) {
				return false
			}
		}
		return true
	}
	return false
}

var blanks = regexp.MustCompile(`\s*,\s*`) // around the commas of a list

// plainText is a value as a variable would have it.
func plainText(n *spec.Node) string {
	if n.Kind == spec.Scalar {
		return n.Text
	}
	var items []string
	for _, item := range n.Items {
		items = append(items, item.Text)
	}
	return strings.Join(items, ",")
}

// checkUnheard reports what is wrong with the values that variables beat.
func (l *loader) checkUnheard() {
	if l.unheard == nil {
		return
	}
	own := &loader{in: l.in, broken: true} // what is missing may come from the environment
	own.decode(l.unheard.files)
	for _, d := range own.diags {
		for _, path := range l.unheard.paths {
			if d.Severity == spec.Error && d.Pos.Line > 0 && (d.Path == path || strings.HasPrefix(d.Path, path+".")) {
				l.diags = append(l.diags, d)
				break
			}
		}
	}
}
