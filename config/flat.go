package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// The flat form of a configuration is the one that clients of Kafka Connect know: names with dots, and texts. These names stand for
// settings that Connect calls otherwise; all other names are the settings' paths, in which a \ stands before each dot and \ that
// belongs to a name.
const (
	FlatName  = "name"
	FlatClass = "connector.class" // the source's plugin
	FlatTasks = "tasks.max"       // run.readers
)

var readersPath = []string{"run", "readers"}

// Flat is a configuration in its flat form: what its files and the environment set, and no defaults.
type Flat struct {
	// Values are free of secrets. A value that refers to a variable or a file is shown as that reference.
	Values map[string]string
	Files  []string // that were read

	raw     map[string]string
	origins map[string]spec.Pos
}

// Forms knows what the settings of a program's configurations hold, for their flat forms. To make one takes a while; it is safe for
// concurrent use.
type Forms struct {
	registry *syncd.Registry
	shape    *spec.Shape // of a whole configuration
	secrets  *secretSettings
}

// FormsOf returns the forms of configurations of a program with these plugins.
func FormsOf(registry *syncd.Registry) *Forms {
	settings := Describe(registry)
	f := &Forms{registry, &spec.Shape{Form: spec.BlockForm, Fields: settings}, &secretSettings{secret: map[string]bool{}, open: map[string]bool{}}}
	f.secrets.add(settings)
	return f
}

// Settings lists everything that a configuration can say, as Describe does.
func (f *Forms) Settings() []spec.Setting { return f.shape.Fields }

// Flatten reads a configuration. Of one that is broken it gives what can be read; the name is always there.
func (f *Forms) Flatten(in Input) *Flat {
	in.Registry = f.registry
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	l := &loader{in: in}
	l.files(in.Path)
	tree, err := l.tree()
	if err != nil {
		tree = &spec.Node{Kind: spec.Map}
	}
	flat := f.flatten(in.Path, tree)
	flat.Files = l.Files
	return flat
}

func (f *Forms) flatten(file string, tree *spec.Node) *Flat {
	flat := &Flat{Values: map[string]string{}, raw: map[string]string{}, origins: map[string]spec.Pos{}}
	for _, e := range tree.Entries {
		(&flattening{flat, f.secrets}).walk(e.Value, []string{e.Name}, formAt(f.shape, e.Name), false)
	}
	if source := tree.Get(string(syncd.KindSource)); source != nil && source.Kind == spec.Map && len(source.Entries) == 1 {
		flat.put(FlatClass, source.Entries[0].Name, source.Entries[0].Name, source.Entries[0].Value.Key)
	}
	if flat.Values[FlatName] == "" {
		base := filepath.Base(file)
		name := strings.TrimSuffix(base, filepath.Ext(base))
		flat.put(FlatName, name, name, spec.Pos{Source: file})
	}
	return flat
}

type flattening struct {
	*Flat
	secrets *secretSettings
}

func (f *Flat) put(key, raw, shown string, at spec.Pos) {
	f.raw[key], f.Values[key], f.origins[key] = raw, shown, at
}

// walk puts what n sets. chosen says that its name is that of a plugin, which is something to say even if nothing of it is set.
func (f *flattening) walk(n *spec.Node, path []string, s *spec.Shape, chosen bool) {
	at := n.Pos
	if !n.Key.IsZero() {
		at = n.Key
	}
	switch {
	case n.Kind == spec.Map && descends(s) && len(n.Entries) > 0:
		for _, e := range n.Entries {
			f.walk(e.Value, append(slices.Clone(path), e.Name), formAt(s, e.Name), s != nil && s.Form == spec.OneOfForm)
		}
	case n.IsNull() || n.Kind == spec.Map && descends(s):
		if chosen && path[0] != string(syncd.KindSource) {
			f.put(FlatKey(path), "", "", at)
		}
	default:
		f.put(FlatKey(path), flatText(n, func(n *spec.Node) string { return written(n) }), flatText(n, f.shown(path)), at)
	}
}

// shown returns how scalars at the path are shown.
func (f *flattening) shown(path []string) func(n *spec.Node) string {
	secret := f.secrets.hidden(path) || f.secrets.declared(path[:len(path)-1])
	return func(n *spec.Node) string {
		text := written(n)
		switch {
		case !secret && n.Pos.Line == 0 && n.Secret:
			return spec.Redacted
		case !secret:
			return spec.ScrubURLs(text)
		case n.Pos.Line > 0 && onlyReferences(text):
			return text
		case addressName.MatchString(path[len(path)-1]):
			return spec.Secret(text).Outline()
		}
		return spec.Secret(text).String()
	}
}

// written is a scalar as its place writes it, with its references.
func written(n *spec.Node) string {
	if n.Pos.Line == 0 {
		return n.Text
	}
	return n.Raw
}

// onlyReferences reports whether a text is nothing but references, without defaults, which may be secrets.
func onlyReferences(text string) bool {
	return text != "" && variable.ReplaceAllStringFunc(text, func(ref string) string {
		if ref == "$${" || strings.Contains(ref, ":-") {
			return "literal"
		}
		return ""
	}) == ""
}

// formAt is the shape of what stands under a name in a block, nil where nothing is declared there.
func formAt(s *spec.Shape, name string) *spec.Shape {
	if s == nil {
		return nil
	}
	switch s.Form {
	case spec.BlockForm, spec.OneOfForm:
		for i := range s.Fields {
			if s.Fields[i].Name == name {
				return &s.Fields[i].Shape
			}
		}
	case spec.NamedForm:
		return s.Item
	case spec.EitherForm:
		for i := range s.Either {
			if found := formAt(&s.Either[i], name); found != nil {
				return found
			}
		}
	case spec.AnyForm, spec.TextForm, spec.SecretForm, spec.WholeForm, spec.NumberForm, spec.SwitchForm, spec.SpanForm, spec.ListForm:
	}
	return nil
}

func formOf(s *spec.Shape, path []string) *spec.Shape {
	for _, name := range path {
		s = formAt(s, name)
	}
	return s
}

// descends reports whether a block of that shape is settings of their own; else it is one value.
func descends(s *spec.Shape) bool {
	switch {
	case s == nil, s.Form == spec.BlockForm, s.Form == spec.OneOfForm:
		return true
	case s.Form == spec.NamedForm:
		return s.Item.Form != spec.AnyForm
	case s.Form == spec.EitherForm:
		return slices.ContainsFunc(s.Either, func(e spec.Shape) bool { return descends(&e) })
	}
	return false
}

// flatText is a value as text: a list of plain texts with commas, and whatever else is no scalar as JSON.
func flatText(n *spec.Node, scalar func(*spec.Node) string) string {
	switch n.Kind {
	case spec.Scalar:
		return scalar(n)
	case spec.List:
		items := make([]string, 0, len(n.Items))
		for _, item := range n.Items {
			if item.Kind == spec.Scalar && !item.IsNull() {
				items = append(items, scalar(item))
			}
		}
		if len(items) == len(n.Items) && listable(items) {
			return strings.Join(items, ",")
		}
	case spec.Map:
	}
	return string(appendFlat(nil, n, scalar))
}

// listable reports whether texts can be joined by commas, and told apart again.
func listable(items []string) bool {
	return len(items) > 0 && !strings.HasPrefix(items[0], "[") && !slices.ContainsFunc(items, func(s string) bool {
		return s == "" || strings.Contains(s, ",") || strings.TrimSpace(s) != s
	})
}

func appendFlat(b []byte, n *spec.Node, scalar func(*spec.Node) string) []byte {
	text := func(s string) []byte {
		quoted, err := json.Marshal(s)
		if err != nil { // a text can be written
			return []byte(`""`)
		}
		return quoted
	}
	switch n.Kind {
	case spec.List:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFlat(b, item, scalar)
		}
		return append(b, ']')
	case spec.Map:
		b = append(b, '{')
		for i, e := range n.Entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, text(e.Name)...), ':')
			b = appendFlat(b, e.Value, scalar)
		}
		return append(b, '}')
	}
	shown := scalar(n)
	if !n.Quoted && n.Type == spec.Null {
		return append(b, "null"...)
	}
	if !n.Quoted && n.Type != spec.Text && json.Valid([]byte(shown)) {
		return append(b, shown...)
	}
	return append(b, text(shown)...)
}

// FlatKey is the name of the setting at a path.
func FlatKey(path []string) string {
	if slices.Equal(path, readersPath) {
		return FlatTasks
	}
	escaped := make([]string, len(path))
	for i, name := range path {
		escaped[i] = strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), ".", `\.`)
	}
	return strings.Join(escaped, ".")
}

// FlatPath is the path of the setting that a name stands for.
func FlatPath(key string) ([]string, error) {
	switch key {
	case FlatTasks:
		return slices.Clone(readersPath), nil
	case FlatClass:
		return nil, errors.New("it names the source, and stands for no setting")
	}
	var path []string
	var name strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			name.WriteByte(key[i])
		case c == '\\':
			return nil, errors.New(`a \ stands before a dot or another \ only`)
		case c == '.':
			path = append(path, name.String())
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	path = append(path, name.String())
	if slices.Contains(path, "") {
		return nil, errors.New("a name between dots is empty")
	}
	return path, nil
}

// FlatProblem is what is wrong with one setting of a flat configuration.
type FlatProblem struct {
	Key     string
	Message string
}

func (p FlatProblem) String() string { return p.Message }

// tasksProblem says what is wrong with tasks.max, in Connect's words.
func tasksProblem(value string) string {
	switch n, err := strconv.Atoi(value); {
	case err != nil:
		return fmt.Sprintf("Invalid value %s for configuration tasks.max: Not a number of type INT", strconv.Quote(value))
	case n < 1:
		return fmt.Sprintf("Invalid value %d for configuration tasks.max: Value must be at least 1", n)
	}
	return ""
}

// Mask returns settings without what must not be shown of them, as Flatten shows those of a file.
func (f *Forms) Mask(settings map[string]string) map[string]string {
	out := make(map[string]string, len(settings))
	for key, text := range settings {
		out[key] = spec.ScrubURLs(text)
		path, err := FlatPath(key)
		if err == nil {
			shown := (&flattening{secrets: f.secrets}).shown(path)
			out[key] = shown(&spec.Node{Text: text, Raw: text, Pos: spec.Pos{Line: 1}})
		} else if key != FlatClass && secretName(key) {
			out[key] = spec.Redacted
		}
	}
	return out
}
