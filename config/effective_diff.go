package config

import (
	"fmt"
	"slices"

	"github.com/syncd-io/syncd/spec"
)

// Difference is a setting that two configurations do not share.
type Difference struct {
	Path string
	A, B *Shown // nil in the configuration that has no such setting
}

// Shown is a value without its secrets and where it was set.
type Shown struct {
	Value  string // YAML in one line
	Origin string
}

func (s Shown) String() string { return s.Value + " (" + s.Origin + ")" }

// String gives one line: a changed value with an arrow, a value that only B has behind a plus, one that only A has behind a
// minus.
func (d Difference) String() string {
	switch {
	case d.A == nil:
		return fmt.Sprintf("+ %s: %s", d.Path, d.B)
	case d.B == nil:
		return fmt.Sprintf("- %s: %s", d.Path, d.A)
	}
	line := fmt.Sprintf("  %s: %s -> %s", d.Path, d.A, d.B)
	if d.A.Value == d.B.Value {
		line += ", which differ"
	}
	return line
}

// Differences lists the settings whose values differ, those of a in its order, each group of b's own behind its
// predecessor. What is set to the same value in different places is no difference, nor is a block that one side lacks and
// the other leaves empty, nor are names that both jobs have from their files.
func (e *Effective) Differences(b *Effective) ([]Difference, error) {
	left, right := e.leaves(), b.leaves()
	absent := func(s *setting) bool {
		return s.value.IsNull() && !s.value.Broken || s.value.Kind == spec.Map && len(s.value.Entries) == 0
	}
	left, right = slices.DeleteFunc(left, absent), slices.DeleteFunc(right, absent)
	named := func(s *setting) bool { return len(s.path) == 1 && s.name == "name" && !s.isDefault() }
	if !slices.ContainsFunc(left, named) && !slices.ContainsFunc(right, named) {
		unnamed := func(s *setting) bool { return len(s.path) == 1 && s.name == "name" }
		left, right = slices.DeleteFunc(left, unnamed), slices.DeleteFunc(right, unnamed)
	}
	same := func(s *setting) func(*setting) bool {
		return func(o *setting) bool { return slices.Equal(s.comparedAs(), o.comparedAs()) }
	}
	var out []Difference
	add := func(a, b *setting) error {
		d := Difference{}
		var err error
		if a != nil {
			d.Path = spec.PathString(a.comparedAs())
			if d.A, err = a.show(); err != nil {
				return err
			}
		}
		if b != nil {
			d.Path = spec.PathString(b.comparedAs())
			if d.B, err = b.show(); err != nil {
				return err
			}
		}
		out = append(out, d)
		return nil
	}
	next := 0
	// Settings of b that a lacks come right behind the one before them, or before the next one that both have.
	only := func(until int) error {
		for ; next < until; next++ {
			if !slices.ContainsFunc(left, same(right[next])) {
				if err := add(nil, right[next]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, s := range left {
		i := slices.IndexFunc(right, same(s))
		if i < 0 {
			if err := add(s, nil); err != nil {
				return nil, err
			}
			continue
		}
		if err := only(i); err != nil {
			return nil, err
		}
		if !equal(s.value, right[i].value) {
			if err := add(s, right[i]); err != nil {
				return nil, err
			}
		}
		last := i + 1
		for last < len(right) && !slices.ContainsFunc(left, same(right[last])) {
			last++
		}
		if err := only(last); err != nil {
			return nil, err
		}
	}
	if err := only(len(right)); err != nil {
		return nil, err
	}
	return out, nil
}

// comparedAs is the path under which s is compared: a collection's content type is the same setting in its line and in its
// block.
func (s *setting) comparedAs() []string {
	if len(s.path) == 4 && s.path[0] == "mapping" && s.path[1] == "collections" && s.path[3] == contentType {
		return s.path[:3]
	}
	return s.path
}

func (s *setting) show() (*Shown, error) {
	value, err := inline(s.shown)
	if err != nil {
		return nil, err
	}
	return &Shown{Value: value, Origin: s.origin}, nil
}

// equal compares what takes effect. References to what is not set are equal if they are the same.
func equal(a, b *spec.Node) bool {
	if a.Broken || b.Broken {
		return a.Broken && b.Broken && a.Raw == b.Raw
	}
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case spec.List:
		return slices.EqualFunc(a.Items, b.Items, equal)
	case spec.Map:
		return slices.EqualFunc(a.Entries, b.Entries, func(x, y spec.Entry) bool {
			return x.Name == y.Name && equal(x.Value, y.Value)
		})
	}
	return a.Type == b.Type && a.Text == b.Text
}
