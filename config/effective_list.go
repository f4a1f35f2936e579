package config

import "github.com/syncd-io/syncd/spec"

// Setting is one value of a configuration, without secrets.
type Setting struct {
	Path   string
	Value  string // YAML in one line
	Origin string // where it was set
	Set    bool   // by somebody; if not, it is a default
	Unused bool   // a default that has no meaning beside what is set
}

// Settings lists all values, in the order of the reference.
func (e *Effective) Settings() ([]Setting, error) {
	var out []Setting
	for _, s := range e.leaves() {
		value, err := inline(s.shown)
		if err != nil {
			return nil, err
		}
		out = append(out, Setting{Path: spec.PathString(s.path), Value: value, Origin: s.origin, Set: s.origin != originDefault, Unused: s.unused})
	}
	return out, nil
}
