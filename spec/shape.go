package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// Form is the kind of value that a setting holds, as the person who writes it sees it.
type Form uint8

// The forms.
const (
	AnyForm    Form = iota // whatever YAML can say; its sentence says what is meant
	TextForm               // text
	SecretForm             // text that is never shown; a number or a switch counts as its text
	WholeForm              // a whole number
	NumberForm             // a number
	SwitchForm             // true or false
	SpanForm               // a time span such as 500ms; a plain number is seconds
	ListForm               // a list of Item
	BlockForm              // a block of Fields
	NamedForm              // a block whose names are free, each with an Item
	OneOfForm              // a block that holds exactly one of Fields
	EitherForm             // one of the shapes in Either
)

// Shape is what a setting may hold: what documentation and JSON Schema are made from.
type Shape struct {
	Form   Form
	Rule   string    // rules in the vocabulary of the `rule` tag
	Item   *Shape    // of ListForm and NamedForm
	Names  string    // of NamedForm: a regular expression, of what Go and ECMAScript agree on, that every name matches
	Fields []Setting // of BlockForm and OneOfForm
	Either []Shape   // of EitherForm

	Default string // the default in words, where it is not a scalar or a list of them
}

// Describer is implemented by a config type whose YAML form is not simply its fields (a NodeDecoder) so that documentation
// and JSON Schema can tell what it accepts. It describes the value that it is called on, which holds the defaults; path is
// where that stands in a configuration. A NodeDecoder without it is described as accepting anything.
type Describer interface {
	DescribeShape(path []string) Shape
}

// Type names the shape in an operator's words.
func (s Shape) Type() string {
	if words := s.words(); words != nil {
		return "one of: " + strings.Join(words, ", ")
	}
	switch s.Form {
	case TextForm:
		return "text"
	case SecretForm:
		return "secret text"
	case WholeForm:
		return "whole number"
	case NumberForm:
		return "number"
	case SwitchForm:
		return "true or false"
	case SpanForm:
		return "time span"
	case ListForm:
		return "list of " + s.Item.Type()
	case BlockForm:
		return "block"
	case NamedForm:
		if s.Item.Form == AnyForm {
			return "block"
		}
		return "block of names, each " + s.Item.Type()
	case OneOfForm:
		names := make([]string, len(s.Fields))
		for i, f := range s.Fields {
			names[i] = f.Name
		}
		return "block with one of: " + strings.Join(names, ", ")
	case EitherForm:
		types := make([]string, len(s.Either))
		for i, e := range s.Either {
			types[i] = e.Type()
			if rules := e.Rules(); rules != "" {
				types[i] += " (" + rules + ")"
			}
		}
		return strings.Join(types, " or ")
	case AnyForm:
	}
	return "any value"
}

// scalar reports whether the shape is written as one value, so that a variable can set it.
func (s Shape) scalar() bool {
	switch s.Form {
	case TextForm, SecretForm, WholeForm, NumberForm, SwitchForm, SpanForm:
		return true
	case EitherForm:
		for _, e := range s.Either {
			if !e.scalar() {
				return false
			}
		}
		return true
	case AnyForm, ListForm, BlockForm, NamedForm, OneOfForm:
	}
	return false
}

// clause is one rule: min=1 is {min 1}.
type clause struct{ name, param string }

// clauses splits a rule tag. Those behind dive are the items' own.
func clauses(rule string) (own []clause, items string) {
	rule, items, _ = cutClause(rule, "dive")
	for c := range strings.SplitSeq(rule, ",") {
		if c == "" {
			continue
		}
		name, param, _ := strings.Cut(c, "=")
		own = append(own, clause{name, param})
	}
	return own, items
}

// cutClause cuts a rule tag around the first clause of that name.
func cutClause(rule, name string) (before, after string, found bool) {
	parts := strings.Split(rule, ",")
	for i, p := range parts {
		if p == name {
			return strings.Join(parts[:i], ","), strings.Join(parts[i+1:], ","), true
		}
	}
	return rule, "", false
}

func (s Shape) clause(names ...string) (string, bool) {
	own, _ := clauses(s.Rule)
	for _, c := range own {
		for _, name := range names {
			if c.name == name {
				return c.param, true
			}
		}
	}
	return "", false
}

// words are the only texts or numbers that the shape accepts, or nil.
func (s Shape) words() []string {
	list, ok := s.clause("oneof")
	if !ok {
		return nil
	}
	return strings.Fields(list)
}

// Rules says in an operator's words what a value must be beyond its type. The words of oneof are part of Type, as are the
// rules of each of several shapes.
func (s Shape) Rules() string {
	own, _ := clauses(s.Rule)
	var out []string
	minimum, hasMin := s.clause("min", "gte")
	maximum, hasMax := s.clause("max", "lte")
	_, required := s.clause("required")
	unit := ""
	switch s.Form {
	case TextForm, SecretForm:
		unit = "characters"
	case ListForm, NamedForm:
		unit = "entries"
	case AnyForm, WholeForm, NumberForm, SwitchForm, SpanForm, BlockForm, OneOfForm, EitherForm:
	}
	if minimum == "1" && unit != "" {
		required, hasMin = true, false
	}
	if required && s.Form != SwitchForm {
		out = append(out, "not empty")
	}
	if s.Form == SpanForm {
		minimum, maximum = span(minimum), span(maximum)
	}
	switch {
	case hasMin && hasMax:
		out = append(out, join(minimum, "to", maximum, unit))
	case hasMin:
		out = append(out, join("at least", minimum, unit))
	case hasMax:
		out = append(out, join("at most", maximum, unit))
	}
	for _, c := range own {
		switch c.name {
		case "required", "omitempty", "min", "gte", "max", "lte", "oneof":
		case "gt":
			out = append(out, "more than "+c.param)
		case "lt":
			out = append(out, "less than "+c.param)
		case "hostname_port":
			out = append(out, "host:port")
		case "url":
			out = append(out, "a URL")
		case "file":
			out = append(out, "an existing file")
		case ruleName:
			out = append(out, "no blanks at its ends")
		default:
			out = append(out, join(strings.ReplaceAll(c.name, "_", " "), c.param))
		}
	}
	if s.Item != nil {
		if rules := s.Item.Rules(); rules != "" && s.Item.Form != EitherForm {
			out = append(out, "each "+rules)
		}
	}
	return strings.Join(out, ", ")
}

func join(words ...string) string {
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

// inWords gives a scalar default, or a list of them, as text.
func inWords(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return strings.Join(v, ", ")
	}
	return fmt.Sprint(v)
}
