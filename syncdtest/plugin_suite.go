package syncdtest

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// TestPlugin tests a plugin's declaration: its name, its summary and everything that its config struct says about the
// settings. It opens nothing.
func TestPlugin(t *testing.T, p syncd.Plugin) {
	t.Helper()
	if _, err := syncd.NewRegistry(p); err != nil {
		t.Fatal(err)
	}
	t.Run("names", func(t *testing.T) { pluginNames(t, p) })
	ct := reflect.TypeOf(p.Config())
	if ct.Kind() != reflect.Pointer || ct.Elem().Kind() != reflect.Struct {
		t.Fatalf("the configuration of %s %q must be a struct", p.Kind(), p.Name())
	}
	t.Run("settings", func(t *testing.T) {
		for _, fault := range lintSettings(ct.Elem(), nil, nil) {
			t.Error(fault)
		}
	})
	t.Run("defaults", func(t *testing.T) { pluginDefaults(t, p) })
	t.Run("required", func(t *testing.T) { pluginRequired(t, p) })
	t.Run("filters", func(t *testing.T) { pluginFilters(t, p) })
}

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	secretName = regexp.MustCompile(
		`(^|_)(password|passwd|passphrase|secret|token|api_?key|access_?key|secret_?key|private_?key|credentials?)$`)
)

func pluginNames(t *testing.T, p syncd.Plugin) {
	if !slices.Contains([]syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindStage, syncd.KindSink}, p.Kind()) {
		t.Errorf("%q is no kind of plugin", p.Kind())
	}
	if !pluginName.MatchString(p.Name()) {
		t.Errorf("the name %q is not in snake_case", p.Name())
	}
	if fault := sentenceFault(p.Summary()); fault != "" {
		t.Errorf("the summary %s: %q", fault, p.Summary())
	}
}

// sentenceFault says why a text is not a sentence, or "".
func sentenceFault(s string) string {
	switch {
	case s == "":
		return "is lacking"
	case strings.TrimSpace(s) != s || strings.Contains(s, "\n"):
		return "is not one line"
	case !strings.HasSuffix(s, "."):
		return "does not end with a period"
	}
	return ""
}

// lintSettings describes what is wrong with the declarations of a config struct and of the structs inside it.
func lintSettings(st reflect.Type, path []string, inside []reflect.Type) []string {
	if slices.Contains(inside, st) {
		return nil // a recursive type; once is enough
	}
	var faults []string
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(st) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || name == "-" || name == "" && f.Anonymous {
			continue
		}
		at := spec.PathString(append(slices.Clone(path), name))
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("setting %q: ", at)+fmt.Sprintf(format, args...))
		}
		if name == "" {
			at = spec.PathString(append(slices.Clone(path), f.Name))
			fault("the field has no yaml name (use \"-\" if it is not a setting)")
			continue
		}
		if seen[name] {
			fault("two settings have this name")
		}
		seen[name] = true
		if !pluginName.MatchString(name) {
			fault("the name is not in snake_case")
		}
		if s := sentenceFault(f.Tag.Get("doc")); s != "" {
			fault("its doc %s: %q", s, f.Tag.Get("doc"))
		}
		inner := f.Type
		for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, inner.Kind()) {
			inner = inner.Elem()
		}
		if secretName.MatchString(name) && inner.Kind() == reflect.String && inner != reflect.TypeFor[spec.Secret]() {
			fault("it holds a secret and must be a spec.Secret, so that it is never shown")
		}
		if inner.Kind() == reflect.Struct && !decodesItself(inner) {
			faults = append(faults, lintSettings(inner, append(slices.Clone(path), name), append(inside, st))...)
		}
	}
	return faults
}

// decodesItself reports whether a struct is one value to the decoder, so that its fields are not settings.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[spec.NodeDecoder]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) ||
		t == reflect.TypeFor[spec.Node]() || t == reflect.TypeFor[time.Time]()
}

func pluginDefaults(t *testing.T, p syncd.Plugin) {
	a, b := p.Config(), p.Config()
	if a == b && reflect.TypeOf(a).Elem().Size() > 0 { // all pointers to nothing may be equal
		t.Fatal("Config returns the same struct twice")
	}
	if diff := cmp.Diff(settings(a), settings(b)); diff != "" {
		t.Errorf("the defaults differ from one call of Config to the next (-first +second):\n%s", diff)
	}
	for _, name := range shared(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()) {
		t.Errorf("setting %q: its default list or map belongs to all configurations; a change of one changes all", name)
	}
	for _, d := range decode(t, nil, b) {
		if d.Code != spec.CodeMissingField {
			t.Errorf("the defaults break a rule of their own: %v", d)
		}
	}
}

// settings gives the values of a config as cmp can compare them.
func settings(config any) map[string]string {
	out := map[string]string{}
	for _, f := range spec.Fields(config) {
		out[f.Name] = fmt.Sprintf("%+v", f.Default)
	}
	return out
}

// shared names the settings whose memory two configs have in common.
func shared(a, b reflect.Value) []string {
	var out []string
	for _, f := range reflect.VisibleFields(a.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		x, y := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)
		switch x.Kind() {
		case reflect.Struct:
			for _, inner := range shared(x, y) {
				out = append(out, name+"."+inner)
			}
		case reflect.Map, reflect.Pointer:
			if !x.IsNil() && x.Pointer() == y.Pointer() {
				out = append(out, name)
			}
		case reflect.Slice:
			if x.Cap() > 0 && x.Pointer() == y.Pointer() {
				out = append(out, name)
			}
		}
	}
	return out
}

// decode decodes a node over a config. A rule that the validator does not know is a panic there, and an error here.
func decode(t *testing.T, n *spec.Node, config any) spec.Diagnostics {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("decoding the configuration: %v", r)
		}
	}()
	return spec.Decode(n, config)
}

// sample returns a node that a setting of type t can be decoded from, or nil where none is known.
func sample(t reflect.Type) *spec.Node {
	text := func(s string, st spec.ScalarType) *spec.Node { return &spec.Node{Text: s, Type: st} }
	if reflect.PointerTo(t).Implements(reflect.TypeFor[spec.NodeDecoder]()) {
		return nil
	}
	if t == reflect.TypeFor[time.Duration]() {
		return text("1s", spec.Text)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return sample(t.Elem())
	case reflect.String:
		return text("sample", spec.Text)
	case reflect.Bool:
		return text("true", spec.Bool)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return text("1", spec.Int)
	case reflect.Slice:
		if item := sample(t.Elem()); item != nil {
			return &spec.Node{Kind: spec.List, Items: []*spec.Node{item}}
		}
	case reflect.Map:
		if item := sample(t.Elem()); item != nil {
			return &spec.Node{Kind: spec.Map, Entries: []spec.Entry{{Name: "sample", Value: item}}}
		}
	case reflect.Struct:
		return sampleBlock(t, func(string) bool { return true }, nil)
	}
	return nil
}

// sampleBlock returns a block with a sample of every setting of struct st that keep says; path is where st stands.
func sampleBlock(st reflect.Type, keep func(path string) bool, path []string) *spec.Node {
	block := &spec.Node{Kind: spec.Map}
	for _, f := range reflect.VisibleFields(st) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		at := append(slices.Clone(path), name)
		if !keep(spec.PathString(at)) {
			continue
		}
		n := sample(f.Type)
		if f.Type.Kind() == reflect.Struct && n != nil {
			n = sampleBlock(f.Type, keep, at)
		}
		if n != nil {
			block.Entries = append(block.Entries, spec.Entry{Name: name, Value: n})
		}
	}
	return block
}

func pluginRequired(t *testing.T, p syncd.Plugin) {
	st := reflect.TypeOf(p.Config()).Elem()
	missing := func(left string) (paths []string) {
		block := sampleBlock(st, func(path string) bool { return path != left }, nil)
		for _, d := range decode(t, block, p.Config()) {
			if d.Code == spec.CodeMissingField {
				paths = append(paths, d.Path)
			}
		}
		return paths
	}
	complete := missing("")
	for path, hasDefault := range required(reflect.ValueOf(p.Config()).Elem(), nil) {
		switch {
		case hasDefault: // required means only that it can't be emptied
		case slices.Contains(complete, path):
			t.Errorf("setting %q is reported as missing though it is set", path)
		case !slices.Contains(missing(path), path):
			t.Errorf("setting %q is required, and nothing is reported when it is missing", path)
		}
	}
}

// required lists the settings that must be set, and whether the defaults set them.
func required(v reflect.Value, path []string) map[string]bool {
	out := map[string]bool{}
	for _, f := range spec.Fields(v.Addr().Interface()) {
		at := append(slices.Clone(path), f.Name)
		value := reflect.ValueOf(f.Default)
		if !value.IsValid() || decodesItself(value.Type()) {
			continue
		}
		if f.Required && value.Kind() != reflect.Bool {
			out[spec.PathString(at)] = !value.IsZero()
		}
		if value.Kind() == reflect.Struct {
			inner := reflect.New(value.Type()).Elem()
			inner.Set(value)
			for path, set := range required(inner, at) {
				out[path] = set
			}
		}
	}
	return out
}

func pluginFilters(t *testing.T, p syncd.Plugin) {
	fc, ok := p.Config().(syncd.FilterChecker)
	if !ok {
		t.Skip("collections of this plugin have no filters")
	}
	if err := fc.CheckFilter(`{}`); err != nil {
		t.Errorf("CheckFilter of the filter that every document passes: %v", err)
	}
	for _, filter := range []string{`{`, `[]`, `{"a":1}}`} {
		if fc.CheckFilter(filter) == nil {
			t.Errorf("CheckFilter has nothing against %s", filter)
		}
	}
}
