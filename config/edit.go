package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Edit returns the text of the file in.Path, or in.Text, with all that its flat form is to be. Only what differs changes: comments,
// references, the order and what is extended stay, and so does a value that is written as Flatten shows it. Problems are of settings
// that can't be set, and whether the result can be used is not looked at: see Check. A file that is not there yet has an empty, not a
// nil, in.Text; then what only the environment sets need not be wanted.
func (forms *Forms) Edit(in Input, want map[string]string) (text []byte, problems []FlatProblem) {
	in.Registry = forms.registry
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	l := &loader{in: in}
	l.files(in.Path)
	tree, err := l.tree()
	broken := slices.IndexFunc(l.diags, func(d spec.Diagnostic) bool {
		return d.Severity == spec.Error && (d.Code == spec.CodeSyntax || d.Code == spec.CodeMissingFile || d.Code == spec.CodeWrongType)
	})
	switch {
	case err != nil:
		return nil, []FlatProblem{{FlatName, err.Error()}}
	case broken >= 0:
		return nil, []FlatProblem{{FlatName, "the file can't be changed here, since it can't be read: " + l.finish()[0].String()}}
	}
	data, err := in.Text, error(nil)
	if data == nil {
		data, err = readFile(in.Path)
	}
	if err != nil {
		return nil, []FlatProblem{{FlatName, "the file can't be read: " + err.Error()}}
	}
	e := &flatEdit{
		in: in, forms: forms, now: forms.flatten(in.Path, tree), want: maps.Clone(want), fresh: in.Text != nil && len(bytes.TrimSpace(data)) == 0,
	}
	if e.fresh { // the name is written even where the file's would do
		delete(e.now.Values, FlatName)
	}
	if e.check(); len(e.problems) > 0 {
		return nil, e.problems
	}
	f := &fileEdit{path: in.Path, data: string(data)}
	e.apply(f)
	if len(e.problems) == 0 {
		e.verify(f.data)
	}
	return []byte(f.data), e.problems
}

// flatEdit is what is to change of a configuration.
type flatEdit struct {
	in       Input
	forms    *Forms
	now      *Flat
	want     map[string]string
	fresh    bool // there is no file yet
	set      []flatChange
	remove   []flatChange
	problems []FlatProblem
}

type flatChange struct {
	key   string
	path  []string
	value *yaml.Node // nil: the key goes
	order int
}

func (e *flatEdit) problem(key, format string, args ...any) {
	e.problems = append(e.problems, FlatProblem{key, fmt.Sprintf(format, args...)})
}

// check finds out what is to change, and what of that can't.
func (e *flatEdit) check() {
	e.plugin()
	if _, both := e.want[FlatTasks]; both {
		if _, readers := e.want[strings.Join(readersPath, ".")]; readers {
			e.problem(FlatTasks, "tasks.max and run.readers are one setting: keep one")
		}
	}
	order := map[string]int{}
	number(order, e.forms.shape, nil)
	for _, key := range slices.Sorted(maps.Keys(e.want)) {
		if key != FlatClass {
			e.wanted(key, e.want[key], order)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e.now.Values)) {
		if _, kept := e.want[key]; kept || key == FlatClass || key == FlatName {
			continue
		}
		if e.now.origins[key].Source == e.in.Path { // what others set stays, which verify finds
			e.remove = append(e.remove, flatChange{key: key, path: pathOf(key)})
		}
	}
	slices.SortStableFunc(e.set, func(a, b flatChange) int { return cmp.Compare(a.order, b.order) })
}

// plugin has connector.class choose the source.
func (e *flatEdit) plugin() {
	class, ok := e.want[FlatClass]
	if !ok {
		return // the caller knows whether that is an error
	}
	var others []string
	there := false
	for key := range e.want {
		if path, err := FlatPath(key); err == nil && len(path) > 1 && path[0] == string(syncd.KindSource) {
			there = there || path[1] == class
			if path[1] != class {
				others = append(others, key)
			}
		}
	}
	if slices.Sort(others); len(others) > 0 {
		e.problem(others[0], "%s is a setting of another source than connector.class names, %s", others[0], class)
	}
	if key := FlatKey([]string{string(syncd.KindSource), class}); !there && e.now.Values[FlatClass] != class {
		e.want[key] = ""
	}
}

// wanted notes that a setting is to have a value.
func (e *flatEdit) wanted(key, value string, order map[string]int) {
	now, there := e.now.Values[key]
	if there && value == now {
		return
	}
	path, err := FlatPath(key)
	if err != nil {
		e.problem(key, "%s is no name of a setting: %s", key, err)
		return
	}
	if strings.Contains(value, spec.Redacted) {
		if there && value == spec.Redacted && strings.Contains(now, spec.Redacted) {
			e.want[key] = now
			return
		}
		e.problem(key, "%s holds %s, which stands for a secret: write the whole value, or what was shown before", key, spec.Redacted)
		return
	}
	if path[0] == extends {
		e.problem(key, "extends can't be set here: which files a job's file builds on is written in the file")
		return
	}
	if key == FlatTasks {
		if problem := tasksProblem(value); problem != "" {
			e.problem(key, "%s", problem)
			return
		}
	}
	if at := e.now.origins[key]; strings.HasPrefix(at.Source, envSource) {
		e.problem(key, "%s is set by the %s, which takes precedence: change it there", key, at.Source)
		return
	}
	node, err := flatNode(formOf(e.forms.shape, path), value)
	if err != nil {
		e.problem(key, "Invalid value for configuration %s: %s", key, err)
		return
	}
	at, known := order[spec.PathString(generic(e.forms.shape, path))]
	if !known {
		at = len(order) // behind what is known
	}
	e.set = append(e.set, flatChange{key, path, node, at})
}

// pathOf is the path of a name that has one.
func pathOf(key string) []string {
	path, _ := FlatPath(key)
	return path
}

// number gives the settings their order.
func number(order map[string]int, s *spec.Shape, path []string) {
	if s == nil {
		return
	}
	order[spec.PathString(path)] = len(order)
	for i := range s.Fields {
		number(order, &s.Fields[i].Shape, append(slices.Clone(path), s.Fields[i].Name))
	}
	for i := range s.Either {
		number(order, &s.Either[i], path)
	}
	if s.Item != nil && s.Form == spec.NamedForm {
		number(order, s.Item, append(slices.Clone(path), spec.FreeName))
	}
}

// generic is a path with what stands for the names that are free.
func generic(s *spec.Shape, path []string) []string {
	out := slices.Clone(path)
	for i, name := range path {
		if s != nil && s.Form == spec.NamedForm {
			out[i] = spec.FreeName
		}
		s = formAt(s, name)
	}
	return out
}

// apply changes the file.
func (e *flatEdit) apply(f *fileEdit) {
	for _, changes := range [][]flatChange{e.set, e.remove} { // what comes to stand in a block keeps the block
		for _, c := range changes {
			if err := f.change(c, e.keeps); err != nil {
				e.problem(c.key, "%s can't be changed here: %s", c.key, err)
				return
			}
		}
	}
}

// keeps reports whether a block stays though nothing is left in it: a plugin without settings.
func (e *flatEdit) keeps(path []string) bool {
	_, wanted := e.want[FlatKey(path)]
	return wanted || len(path) == 2 && path[0] == string(syncd.KindSource) && path[1] == cmp.Or(e.want[FlatClass], e.now.Values[FlatClass])
}

// verify finds what did not become what it was to be.
func (e *flatEdit) verify(text string) {
	in := e.in
	in.Text = []byte(text)
	l := &loader{in: in}
	l.files(in.Path)
	tree, err := l.tree()
	if err != nil {
		e.problem(FlatName, "%s", err)
		return
	}
	after := e.forms.flatten(in.Path, tree)
	changed := map[string]*yaml.Node{}
	for _, c := range e.set {
		changed[c.key] = c.value
	}
	for _, key := range slices.Sorted(maps.Keys(e.want)) {
		if key == FlatClass || e.want[key] == "" && strings.HasPrefix(key, string(syncd.KindSource)+".") {
			continue
		}
		right := e.now.raw[key]
		if value := changed[key]; value != nil {
			p := &parser{file: in.Path, env: in.Env, unsetOK: true, text: newText(in.Path, nil)}
			if right = ""; value.Kind != yaml.MappingNode || len(value.Content) > 0 || !descends(formOf(e.forms.shape, pathOf(key))) {
				right = flatText(p.node(value), func(n *spec.Node) string { return n.Raw })
			}
		}
		got, there := after.raw[key]
		if there && got == right || !there && right == "" {
			continue
		}
		switch at := after.origins[key]; {
		case strings.HasPrefix(at.Source, envSource):
			e.problem(key, "%s is set by the %s, which takes precedence: change it there", key, at.Source)
		case at.Source != "" && at.Source != in.Path:
			e.problem(key, "%s is set at %s, and can't be changed here: change it there", key, at)
		default:
			e.problem(key, "%s can't be changed here: change it in %s", key, in.Path)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after.Values)) {
		if _, wanted := e.want[key]; !wanted && key != FlatName && key != FlatClass && !e.fresh {
			e.problem(key, "%s is set at %s, and can't be taken back here: write it as it is, or change it there", key, after.origins[key])
		}
	}
}

// flatNode is the YAML of a value.
func flatNode(s *spec.Shape, value string) (*yaml.Node, error) {
	text := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	if strings.Contains(value, "${") || slices.Contains(oldSwitches, strings.ToLower(value)) || strings.ContainsFunc(value, isBreak) {
		text.Style = yaml.DoubleQuotedStyle
	}
	if s == nil {
		return text, nil
	}
	trimmed := strings.TrimSpace(value)
	structured := strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	switch s.Form {
	case spec.TextForm, spec.SecretForm:
		return text, nil
	case spec.WholeForm, spec.NumberForm, spec.SwitchForm, spec.SpanForm:
		return plainNode(text), nil
	case spec.ListForm:
		if strings.HasPrefix(trimmed, "[") {
			return jsonNode(trimmed)
		}
		list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				item, err := flatNode(s.Item, part)
				if err != nil {
					return nil, err
				}
				list.Content = append(list.Content, item)
			}
		}
		return list, nil
	case spec.EitherForm:
		for i := range s.Either {
			if form := s.Either[i].Form; structured == (form == spec.ListForm || descends(&s.Either[i]) || form == spec.NamedForm || form == spec.AnyForm) {
				return flatNode(&s.Either[i], value)
			}
		}
		if len(s.Either) > 0 {
			return flatNode(&s.Either[0], value)
		}
	case spec.BlockForm, spec.OneOfForm, spec.NamedForm:
		if trimmed == "" {
			return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}, nil
		}
		if structured {
			return jsonNode(trimmed)
		}
	case spec.AnyForm:
		if structured {
			return jsonNode(trimmed)
		}
	}
	return text, nil
}

func isBreak(r rune) bool {
	return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029
}

// plainNode is a number or a switch where the text is one, and else the text, which the decoder refuses.
func plainNode(text *yaml.Node) *yaml.Node {
	if text.Style == yaml.DoubleQuotedStyle {
		return text
	}
	if tag := (&yaml.Node{Kind: yaml.ScalarNode, Value: text.Value}).ShortTag(); tag != "!!null" && tag != "!!str" && tag != "!!merge" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text.Value}
	}
	return text
}

// jsonNode is JSON as YAML, which it is already.
func jsonNode(text string) (*yaml.Node, error) {
	if !json.Valid([]byte(text)) {
		return nil, errors.New("it begins like JSON, and is none")
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return nil, errors.New("it can't be written as YAML")
	}
	var clean func(n *yaml.Node)
	clean = func(n *yaml.Node) {
		n.Line, n.Column = 0, 0
		for _, c := range n.Content {
			clean(c)
		}
	}
	clean(doc.Content[0])
	return doc.Content[0], nil
}
