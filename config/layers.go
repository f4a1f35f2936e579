package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"

	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// separator joins the keys of a path inside koanf. Names of collections and properties contain dots, slashes and colons;
// none contains the ASCII unit separator.
const separator = "\x1f"

// extends is the field that names the files below a file.
const extends = "extends"

// files reads a configuration's file and all that it extends, each once.
func (l *loader) files(path string) {
	r := reader{loader: l, read: map[string]*layer{}}
	r.file(path, spec.Pos{}).stack(&l.layers)
	slices.Reverse(l.layers)
}

// layer is a file that was read.
type layer struct {
	root    *spec.Node
	extends []*layer
	read    bool // with all that it extends
	stacked bool
}

// stack appends the layer and what it extends, the last to be merged first. What several files extend counts where the last of
// them names it, as if it were merged anew for each: that gives the same values, without 2^n merges for n files that extend one
// another twice.
func (y *layer) stack(layers *[]*spec.Node) {
	if y == nil || y.stacked {
		return
	}
	y.stacked = true
	*layers = append(*layers, y.root)
	for _, parent := range slices.Backward(y.extends) {
		parent.stack(layers)
	}
}

// reader walks through files that extend one another.
type reader struct {
	*loader
	read map[string]*layer // by the files' places
}

// placeOf tells files apart, whatever links lead to their folders. A link to a file is a file of its own: what it extends is
// relative to the link.
func placeOf(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(dir, filepath.Base(abs))
	}
	return abs
}

// file reads one file, which is named at from, and then those that it extends. A broken file is reported and left out.
func (r reader) file(path string, from spec.Pos) *layer {
	report := func(code spec.Code, hint, format string, args ...any) {
		r.diags = append(r.diags, spec.Diagnostic{
			Severity: spec.Error, Code: code, Pos: from, Path: "extends", Message: fmt.Sprintf(format, args...), Hint: hint,
		})
	}
	place := placeOf(path)
	if y, seen := r.read[place]; seen {
		if y != nil && !y.read {
			r.broken = true
			through := ""
			if placeOf(from.Source) != place {
				through = ", through " + from.Source
			}
			report(spec.CodeExtendsCycle, "take this extends out, or name the file that it is to build on", "%s extends itself%s", path, through)
			return nil
		}
		return y
	}
	data, err := r.in.Text, error(nil)
	if !from.IsZero() || data == nil {
		data, err = readFile(path)
	}
	if err != nil {
		r.broken = true
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "no such file"
			if near := nearbyFile(path); near != "" {
				hint += fmt.Sprintf("; did you mean %q?", near)
			} else if from.IsZero() && !strings.HasSuffix(path, string(os.PathSeparator)) {
				hint += "; syncd init writes one to start from"
			}
		} else if perr := (*fs.PathError)(nil); errors.As(err, &perr) {
			hint = perr.Err.Error()
		}
		if from.IsZero() {
			from = spec.Pos{Source: path}
		}
		report(spec.CodeMissingFile, hint, "can't read the configuration file %s", path)
		return nil
	}
	defer func() { r.Files = append(r.Files, path) }() // after those that it extends
	p := &parser{file: path, env: r.in.Env, unsetOK: r.in.AllowUnsetEnv}
	root := p.parse(data)
	r.diags = append(r.diags, p.diags...)
	if root != nil {
		r.diags = append(r.diags, masked(root)...)
	}
	r.parsed = append(r.parsed, parsedFile{p.text, root})
	if root == nil || root.Kind != spec.Map {
		r.broken = true
		r.read[place] = nil
		if root != nil {
			r.diags = append(r.diags, spec.Diagnostic{
				Severity: spec.Error, Code: spec.CodeWrongType, Pos: root.Pos, Message: "a configuration is a block of fields",
			})
		}
		return nil
	}
	y := &layer{root: root}
	r.read[place] = y
	y.extends = r.extended(path, root.Get(extends))
	y.read = true
	root.Entries = slices.DeleteFunc(root.Entries, func(e spec.Entry) bool { return e.Name == extends })
	return y
}

// extended reads the files that a file extends, as n says.
func (r reader) extended(path string, n *spec.Node) []*layer {
	if n == nil {
		return nil
	}
	names := n.Items
	if n.Kind != spec.List {
		names = []*spec.Node{n}
	}
	var out []*layer
	for _, name := range names {
		switch {
		case name.Broken:
			r.broken = true
		case name.Kind != spec.Scalar || name.Type != spec.Text || name.Text == "":
			r.broken = true
			r.diags = append(r.diags, spec.Diagnostic{
				Severity: spec.Error, Code: spec.CodeWrongType, Pos: name.Pos, Path: "extends",
				Message: "extends must be a file's name, or a list of them",
			})
		case r.in.Scope == Fragment:
			r.broken = true
		case filepath.IsAbs(name.Text):
			out = append(out, r.file(name.Text, name.Pos))
		default:
			out = append(out, r.file(filepath.Join(filepath.Dir(path), name.Text), name.Pos))
		}
	}
	return out
}

// masked reports values in which a secret was printed as what stands for it: the file is a copy of what syncd config print writes, or of a
// log. What is about documents may hold any text.
func masked(root *spec.Node) (out spec.Diagnostics) {
	eachScalar(root, nil, func(n *spec.Node, path []string) {
		if len(path) < 2 || path[0] == "mapping" || !strings.Contains(n.Text, spec.Redacted) {
			return
		}
		n.Broken = true
		setting := spec.PathString(path)
		out = append(out, spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeBadValue, Pos: n.Pos, Path: setting,
			Message: fmt.Sprintf("%s holds %s, which is printed in place of a secret, as are all values of a client library's properties", setting, spec.Redacted),
			Hint:    "write the value itself, or ${NAME} with a variable that has it; what the default is can be left out",
		})
	})
	return out
}

// maxFileSize bounds a file, against a path that names something else than a configuration, such as a device.
const maxFileSize = 8 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is a folder")}
	case info.Size() > maxFileSize:
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %d MiB", maxFileSize>>20)}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return io.ReadAll(io.LimitReader(f, maxFileSize))
}

// nearbyFile proposes a file of the same folder for one that is not there.
func nearbyFile(path string) string {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	stem := func(name string) string { return strings.TrimSuffix(name, filepath.Ext(name)) }
	var stems, names []string // an extension is no resemblance
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && !e.IsDir() {
			stems, names = append(stems, stem(e.Name())), append(names, e.Name())
		}
	}
	if i := slices.Index(stems, spec.Nearest(stem(filepath.Base(path)), stems)); i >= 0 {
		return filepath.Join(dir, names[i])
	}
	return ""
}

// merged is the tree under construction. koanf merges the layers: maps merge, scalars and lists replace. The values it
// merges are indices into leaves, and beside it stands where each key was set and when it was first seen, since koanf keeps
// neither position nor order.
type merged struct {
	ko     *koanf.Koanf
	leaves []*spec.Node
	places map[string]place
	diags  spec.Diagnostics
}

// place is where a value was set last. A block is at its last mention in a file: that is where a person would add what it
// lacks, also if a variable sets something in it.
type place struct {
	key, value spec.Pos
	order      int
	block      bool // with at least one entry
}

func merge(layers []*spec.Node) (*spec.Node, spec.Diagnostics, error) {
	m := &merged{ko: koanf.New(separator), places: map[string]place{}}
	for _, layer := range layers {
		if len(layer.Entries) == 0 { // of the environment, say: to load it would go through all that is there
			continue
		}
		m.dropReplacedPlugins(layer)
		if err := m.ko.Load(mapProvider(m.values(layer, "")), nil); err != nil {
			return nil, nil, fmt.Errorf("merging the configuration: %w", err)
		}
	}
	root := m.tree(m.ko.Raw(), "")
	if len(layers) > 0 {
		root.Pos = layers[len(layers)-1].Pos
	}
	return root, m.diags, nil
}

// dropReplacedPlugins lets an overlay choose another plugin: where it names plugins of a section, those of the layers
// below that it does not name go.
func (m *merged) dropReplacedPlugins(layer *spec.Node) {
	for _, section := range pluginSections {
		block := layer.Get(string(section))
		if block == nil || block.Kind != spec.Map || len(block.Entries) == 0 {
			continue
		}
		for _, name := range m.ko.MapKeys(string(section)) {
			if block.Get(name) == nil {
				m.ko.Delete(string(section) + separator + name)
			}
		}
	}
}

func (m *merged) values(n *spec.Node, path string) map[string]any {
	out := make(map[string]any, len(n.Entries))
	for _, e := range n.Entries {
		p := path + separator + e.Name
		old, seen := m.places[p]
		if !seen {
			old.order = len(m.places)
		}
		block := e.Value.Kind == spec.Map
		if seen && old.block && e.Value.IsNull() && e.Value.Raw == "" && e.Value.Pos.Line > 0 {
			m.diags = append(m.diags, spec.Diagnostic{
				Severity: spec.Warning, Code: spec.CodeEmptyBlock, Pos: e.Value.Key, Related: old.key,
				Path:    strings.ReplaceAll(strings.TrimPrefix(p, separator), separator, "."),
				Message: e.Name + " is empty, which takes back what an extended file sets there",
				Hint:    "remove it, or write null if that is meant",
			})
		}
		if !seen || !block || !old.block || e.Value.Pos.Line > 0 {
			m.places[p] = place{key: e.Value.Key, value: e.Value.Pos, order: old.order, block: block && len(e.Value.Entries) > 0}
		}
		if block {
			out[e.Name] = m.values(e.Value, p)
			continue
		}
		out[e.Name] = len(m.leaves)
		m.leaves = append(m.leaves, e.Value)
	}
	return out
}

func (m *merged) tree(values map[string]any, path string) *spec.Node {
	at := m.places[path]
	n := &spec.Node{Kind: spec.Map, Pos: at.value, Key: at.key}
	for name, v := range values {
		var child *spec.Node
		switch v := v.(type) {
		case map[string]any:
			child = m.tree(v, path+separator+name)
		case int:
			child = m.leaves[v]
		}
		n.Entries = append(n.Entries, spec.Entry{Name: name, Value: child})
	}
	slices.SortFunc(n.Entries, func(a, b spec.Entry) int {
		return m.places[path+separator+a.Name].order - m.places[path+separator+b.Name].order
	})
	return n
}

// mapProvider hands a map to koanf.
type mapProvider map[string]any

// ReadBytes is not how a map is read.
func (mapProvider) ReadBytes() ([]byte, error) {
	return nil, errors.New("a map has no bytes")
}

// Read returns the map.
func (p mapProvider) Read() (map[string]any, error) { return p, nil }

// set puts a scalar at a path of a layer that is being built from variables or flags.
func set(layer *spec.Node, path []string, value *spec.Node) {
	n := layer
	for i, name := range path {
		var next *spec.Node
		if at := slices.IndexFunc(n.Entries, func(e spec.Entry) bool { return e.Name == name }); at >= 0 {
			next = n.Entries[at].Value
		}
		if i == len(path)-1 {
			if next != nil {
				*next = *value
				return
			}
			n.Entries = append(n.Entries, spec.Entry{Name: name, Value: value})
			return
		}
		if next == nil {
			next = &spec.Node{Kind: spec.Map, Pos: value.Pos, Key: value.Pos}
			n.Entries = append(n.Entries, spec.Entry{Name: name, Value: next})
		}
		n = next
	}
}

// scalarFrom is a value that a variable or a flag sets.
func scalarFrom(source, text string) *spec.Node {
	pos := spec.Pos{Source: source}
	_, date := mapping.Date(text)
	return &spec.Node{Kind: spec.Scalar, Pos: pos, Key: pos, Text: text, Type: resolve(text), Date: date, Rewrote: true}
}
