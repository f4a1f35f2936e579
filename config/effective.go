package config

import (
	"cmp"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// Effective is a configuration as it takes effect: every setting with its value, defaults included, and where that was set.
// What it shows is free of secrets.
type Effective struct {
	root *setting
}

// setting is a block of settings or one value.
type setting struct {
	name     string
	path     []string
	block    bool
	children []*setting // of a block

	value  *spec.Node // what takes effect
	shown  *spec.Node // the same without secrets
	origin string
	// unused marks a default that can't be written out, since it contradicts what is set: a port beside a whole address.
	unused bool
}

// originDefault is the origin of what nobody set.
const originDefault = "default"

// Resolve loads a configuration as Load does and tells what takes effect. Like Load's Config it is nil if a diagnostic is an
// error.
func Resolve(in Input) (*Effective, spec.Diagnostics) {
	c, diags := Load(in)
	if c == nil {
		return nil, diags
	}
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	// Load keeps values, not where they were set, so the files are read once more.
	l := &loader{in: in}
	l.files(in.Path)
	if l.diags.HasErrors() { // changed meanwhile
		return nil, l.diags.Sorted()
	}
	tree, err := l.tree()
	if err != nil {
		return nil, append(diags, spec.Diagnostic{Severity: spec.Error, Code: spec.CodeSyntax, Message: err.Error()})
	}
	e := &Effective{root: &setting{block: true}}
	for _, f := range spec.Fields(&file{}) {
		if s := section(c, f.Name, f.Default, tree.Get(f.Name)); s != nil {
			e.root.children = append(e.root.children, s)
		}
	}
	e.findUnused(l, diags)
	return e, diags
}

// section builds a top-level block. empty is its field of file, which tells what it is.
func section(c *Config, name string, empty any, n *spec.Node) *setting {
	plugin := func(p Plugin) *setting {
		if p.Settings == nil {
			return nil
		}
		inner := build(reflect.ValueOf(p.Settings).Elem(), n.Get(p.Name()), name, p.Name())
		return &setting{name: name, path: []string{name}, block: true, children: []*setting{inner}}
	}
	switch empty.(type) {
	case stagesBlock:
		if len(c.Stages) == 0 {
			return nil
		}
		block := &setting{name: name, path: []string{name}, block: true}
		for _, p := range c.Stages {
			block.children = append(block.children, build(reflect.ValueOf(p.Settings).Elem(), n.Get(p.Name()), name, p.Name()))
		}
		return block
	case string:
		return build(reflect.ValueOf(&c.Name).Elem(), n, name)
	case pluginSection:
		switch syncd.Kind(name) {
		case syncd.KindSource:
			return plugin(c.Source)
		case syncd.KindChecker:
			return plugin(c.Checker)
		case syncd.KindSink:
			return plugin(c.Sink)
		}
		return nil
	case mapping.Config: // Config has it compiled
		m := mapping.Defaults()
		_ = spec.Decode(n, &m, name) // what is wrong with it Load has said
		return build(reflect.ValueOf(&m).Elem(), n, name)
	}
	for _, v := range reflect.ValueOf(c).Elem().Fields() {
		if v.Type() == reflect.TypeOf(empty) {
			return build(v, n, name)
		}
	}
	return nil
}

// build describes the value v, which was decoded from n over its default.
func build(v reflect.Value, n *spec.Node, path ...string) *setting {
	s := &setting{name: path[len(path)-1], path: slices.Clone(path), origin: originOf(n)}
	if n != nil && n.Broken {
		return s.leaf(n, n)
	}
	if n.IsNull() {
		n = nil // the default stands
	}
	switch x := v.Interface().(type) {
	case spec.Secret:
		text := &spec.Node{Type: spec.Text, Text: x.Reveal()}
		return s.leaf(text, secretly(text, s.name))
	case time.Duration:
		return s.open(&spec.Node{Type: spec.Text, Text: shortSpan(x)})
	case *spec.Node:
		if x.IsNull() {
			return s.open(&spec.Node{Type: spec.Null, Text: "null"})
		}
		return s.open(x)
	case mapping.Collections:
		return s.collections(x, n)
	case pluginSection:
		if x.config == nil {
			return s.open(&spec.Node{Type: spec.Null, Text: "null"})
		}
		s.block = true
		s.children = []*setting{build(reflect.ValueOf(x.config).Elem(), n.Get(x.plugin.Name()), append(slices.Clone(path), x.plugin.Name())...)}
		return s
	}
	if n != nil && v.Kind() != reflect.Pointer && !isScalar(v.Kind()) && reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[spec.NodeDecoder]()) {
		// A form of its own, which only the plugin could write from the value.
		if holdsSecret(v.Type()) {
			return s.leaf(n, secretly(n, s.name))
		}
		return s.open(n)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return s.open(&spec.Node{Type: spec.Null, Text: "null"})
		}
		return build(v.Elem(), n, path...)
	case reflect.Struct:
		return s.structure(v, n)
	case reflect.Map:
		return s.named(v, n)
	}
	value := nodeOf(v)
	markSecrets(value, n)
	if holdsSecret(v.Type()) {
		return s.leaf(value, secretly(value, s.name))
	}
	return s.open(value)
}

// markSecrets marks the texts of a value that came from secret files, and restores the references to what is not set.
func markSecrets(value, from *spec.Node) {
	switch {
	case from == nil:
	case from.Kind == spec.Scalar && from.Secret:
		markAll(value)
	case from.Kind == spec.List && value.Kind == spec.List && len(from.Items) == len(value.Items):
		for i, item := range value.Items {
			if from.Items[i].Broken {
				*item = *from.Items[i]
			}
			markSecrets(item, from.Items[i])
		}
	case from.Kind == spec.Map && value.Kind == spec.Map:
		for _, e := range value.Entries {
			markSecrets(e.Value, from.Get(e.Name))
		}
	}
}

func markAll(n *spec.Node) {
	n.Secret = true
	for _, item := range n.Items {
		markAll(item)
	}
	for _, e := range n.Entries {
		markAll(e.Value)
	}
}

func (s *setting) structure(v reflect.Value, n *spec.Node) *setting {
	s.block = true
	pointer := reflect.New(v.Type()) // Fields needs an address
	pointer.Elem().Set(v)
	for _, f := range spec.Fields(pointer.Interface()) {
		if f.Deprecated != "" && n.Get(f.Name).IsNull() {
			continue
		}
		value := reflect.New(reflect.TypeOf(f.Default)).Elem()
		value.Set(reflect.ValueOf(f.Default))
		s.children = append(s.children, build(value, n.Get(f.Name), append(s.path, f.Name)...))
	}
	return s
}

// named describes a block whose names are free, in the order in which the files name them.
func (s *setting) named(v reflect.Value, n *spec.Node) *setting {
	if v.Len() == 0 {
		return s.open(&spec.Node{Kind: spec.Map})
	}
	s.block = true
	order := map[string]int{}
	if n != nil {
		for i, e := range n.Entries {
			order[e.Name] = i
		}
	}
	for _, key := range v.MapKeys() {
		s.children = append(s.children, build(v.MapIndex(key), n.Get(key.String()), append(s.path, key.String())...))
	}
	slices.SortFunc(s.children, func(a, b *setting) int {
		return cmp.Or(order[a.name]-order[b.name], strings.Compare(a.name, b.name))
	})
	return s
}

// collections describes the mapping's collections: one line each where that says it all.
func (s *setting) collections(list mapping.Collections, n *spec.Node) *setting {
	s.block = true
	for _, c := range list {
		entry := n.Get(c.Name)
		whole := build(reflect.ValueOf(c), entry, append(s.path, c.Name)...)
		if entry != nil && entry.Kind == spec.Scalar {
			whole.children[0].origin = originOf(entry)
			if entry.Broken {
				whole.children[0] = whole.leaf(entry, entry)
			}
		}
		// What a collection's own settings leave empty is taken from the mapping's, so only what is set is shown.
		whole.children = slices.DeleteFunc(whole.children, func(f *setting) bool {
			return f.name != contentType && f.origin == originDefault
		})
		if len(whole.children) == 1 && whole.children[0].name == contentType {
			one := whole.children[0]
			one.name, one.path = whole.name, whole.path
			whole = one
		}
		s.children = append(s.children, whole)
	}
	return s
}

const contentType = "content_type"

// open makes s a value that is shown but for the secrets inside of it.
func (s *setting) open(value *spec.Node) *setting { return s.leaf(value, scrubbed(value)) }

func (s *setting) leaf(value, shown *spec.Node) *setting {
	if value.Broken {
		shown = scrubbed(value)
		s.origin += ", not set"
	}
	s.block, s.children, s.value, s.shown = false, nil, value, shown
	return s
}

// originOf says where a value was set: its place, and what the place took it from.
func originOf(n *spec.Node) string {
	if n.IsNull() && (n == nil || !n.Broken) {
		return originDefault
	}
	var from []string
	var gather func(*spec.Node)
	gather = func(n *spec.Node) {
		for _, f := range n.From {
			if !slices.Contains(from, f) {
				from = append(from, f)
			}
		}
		if n.Kind == spec.List || n.Kind == spec.Map {
			for _, item := range n.Items {
				gather(item)
			}
			for _, e := range n.Entries {
				gather(e.Value)
			}
		}
	}
	gather(n)
	origin := n.Pos.String()
	if len(from) > 0 {
		origin += ", from " + strings.Join(from, " and ")
	}
	return origin
}

// nodeOf is the node that a decoded value could have been read from.
func nodeOf(v reflect.Value) *spec.Node {
	switch v.Kind() {
	case reflect.String:
		return &spec.Node{Type: spec.Text, Text: v.String()}
	case reflect.Bool:
		return &spec.Node{Type: spec.Bool, Text: strconv.FormatBool(v.Bool())}
	case reflect.Int, reflect.Int32, reflect.Int64:
		if d, ok := v.Interface().(time.Duration); ok {
			return &spec.Node{Type: spec.Text, Text: shortSpan(d)}
		}
		return &spec.Node{Type: spec.Int, Text: strconv.FormatInt(v.Int(), 10)}
	case reflect.Float64:
		return &spec.Node{Type: spec.Float, Text: strconv.FormatFloat(v.Float(), 'g', -1, 64)}
	case reflect.Slice:
		list := &spec.Node{Kind: spec.List}
		for i := range v.Len() {
			list.Items = append(list.Items, nodeOf(v.Index(i)))
		}
		return list
	case reflect.Map, reflect.Struct, reflect.Pointer, reflect.Interface:
		return plain(build(v, nil, "item"))
	}
	return &spec.Node{Type: spec.Null, Text: "null"}
}

func isScalar(k reflect.Kind) bool {
	switch k {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return true
	}
	return false
}

// plain is the node of everything in s, as if all of it stood in one file.
func plain(s *setting) *spec.Node {
	somewhere := spec.Pos{Source: "everything", Line: 1, Column: 1}
	if !s.block {
		n := *s.value
		n.Pos, n.Key = somewhere, somewhere
		return &n
	}
	n := &spec.Node{Kind: spec.Map, Pos: somewhere, Key: somewhere}
	for _, c := range s.children {
		if !c.unused {
			n.Entries = append(n.Entries, spec.Entry{Name: c.name, Value: plain(c)})
		}
	}
	return n
}

// holdsSecret reports whether a value of the type can hold secrets.
func holdsSecret(t reflect.Type) bool {
	if t == reflect.TypeFor[spec.Secret]() {
		return true
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Array:
		return holdsSecret(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if holdsSecret(f.Type) {
				return true
			}
		}
	}
	return false
}

// addressName matches the names of settings that hold an address. What a password looks like does not make it one.
var addressName = regexp.MustCompile(`(^|_)(ur[il]s?|dsn|address(es)?)$`)

// secretly is what may be shown of a value that is a secret, or a list or block of them.
func secretly(n *spec.Node, name string) *spec.Node {
	return mapTexts(n, func(n *spec.Node) string {
		switch s := spec.Secret(n.Text); {
		case n.Broken:
			return referenceOf(n)
		case addressName.MatchString(name) && !n.Secret:
			return s.Outline()
		default:
			return s.String()
		}
	})
}

// scrubbed is what may be shown of a value that is no secret: all but passwords in addresses and what files held. Of a
// reference to what is not set it is the reference.
func scrubbed(n *spec.Node) *spec.Node {
	return mapTexts(n, func(n *spec.Node) string {
		switch {
		case n.Broken:
			return referenceOf(n)
		case n.Secret:
			return spec.Redacted
		}
		return spec.ScrubURLs(n.Text)
	})
}

// referenceOf is how a value that is not set stands in its file, if it is nothing but a reference.
func referenceOf(n *spec.Node) string {
	if reference.MatchString(n.Raw) {
		return n.Raw
	}
	return spec.Redacted
}

var reference = regexp.MustCompile(`^\$\{[^${}]+\}$`)

// mapTexts copies n with another text in its scalars. Whatever the text replaces is text.
func mapTexts(n *spec.Node, f func(*spec.Node) string) *spec.Node {
	out := *n
	switch n.Kind {
	case spec.Scalar:
		if text := f(n); text != n.Text || n.Broken {
			out.Text, out.Type = text, spec.Text
		}
	case spec.List:
		out.Items = make([]*spec.Node, len(n.Items))
		for i, item := range n.Items {
			out.Items[i] = mapTexts(item, f)
		}
	case spec.Map:
		out.Entries = make([]spec.Entry, len(n.Entries))
		for i, e := range n.Entries {
			out.Entries[i] = spec.Entry{Name: e.Name, Value: mapTexts(e.Value, f)}
		}
	}
	return &out
}

// shortSpan writes a time span as a person would: 2m, not 2m0s.
func shortSpan(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// findUnused finds the defaults that would be refused if they were set, by decoding everything as if it were.
func (e *Effective) findUnused(l *loader, known spec.Diagnostics) {
	told := map[string]bool{}
	for _, d := range known {
		told[d.Path+"\n"+d.Message] = true
	}
	for range 10 { // one may come to light only when another is gone
		again := &loader{in: l.in}
		again.decode(plain(e.root))
		found := false
		for _, d := range again.diags {
			if told[d.Path+"\n"+d.Message] {
				continue
			}
			if s := e.root.find(d.Path); s != nil && !s.unused && s.isDefault() {
				s.unused, found = true, true
			}
		}
		if !found {
			return
		}
	}
}

// find returns the setting at a path as diagnostics write it, or nil.
func (s *setting) find(path string) *setting {
	for _, c := range s.children {
		if spec.PathString(c.path) == path {
			return c
		}
		if found := c.find(path); found != nil {
			return found
		}
	}
	return nil
}

// isDefault reports whether nothing of s was set.
func (s *setting) isDefault() bool {
	if !s.block {
		return s.origin == originDefault
	}
	return !slices.ContainsFunc(s.children, func(c *setting) bool { return !c.isDefault() })
}
