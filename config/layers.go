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

	"github.com/syncd-io/syncd/spec"
)

// separator joins the keys of a path inside koanf. Names of collections and properties contain dots, slashes and colons;
// none contains the ASCII unit separator.
const separator = "\x1f"

// extends is the field that names the files below a file.
const extends = "extends"

// files reads path and all that it extends, the most basic first. A broken file is reported and left out.
func (l *loader) files(path string, from spec.Pos, chain []string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	report := func(code spec.Code, hint, format string, args ...any) {
		l.diags = append(l.diags, spec.Diagnostic{
			Severity: spec.Error, Code: code, Pos: from, Path: "extends", Message: fmt.Sprintf(format, args...), Hint: hint,
		})
	}
	if slices.Contains(chain, abs) {
		report(spec.CodeExtendsCycle, "", "%s extends itself", path)
		return
	}
	data, err := l.in.Text, error(nil)
	if len(chain) > 0 || data == nil {
		data, err = readFile(path)
	}
	if err != nil {
		l.broken = true
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "no such file"
			if near := nearbyFile(path); near != "" {
				hint += fmt.Sprintf("; did you mean %q?", near)
			}
		} else if perr := (*fs.PathError)(nil); errors.As(err, &perr) {
			hint = perr.Err.Error()
		}
		if from.IsZero() {
			from = spec.Pos{Source: path}
		}
		report(spec.CodeMissingFile, hint, "can't read the configuration file %s", path)
		return
	}
	defer func() { // after those that it extends
		if !slices.Contains(l.Files, path) {
			l.Files = append(l.Files, path)
		}
	}()
	p := &parser{file: path, env: l.in.Env, unsetOK: l.in.AllowUnsetEnv}
	root := p.parse(data)
	l.diags = append(l.diags, p.diags...)
	l.parsed = append(l.parsed, parsedFile{p.text, root})
	if root == nil {
		l.broken = true
		return
	}
	if root.Kind != spec.Map {
		l.broken = true
		l.diags = append(l.diags, spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeWrongType, Pos: root.Pos, Message: "a configuration is a block of fields",
		})
		return
	}
	for _, e := range root.Entries {
		if e.Name != extends {
			continue
		}
		parents := e.Value.Items
		if e.Value.Kind != spec.List {
			parents = []*spec.Node{e.Value}
		}
		for _, parent := range parents {
			if parent.Broken {
				l.broken = true
				continue
			}
			if parent.Kind != spec.Scalar || parent.Type != spec.Text || parent.Text == "" {
				l.broken = true
				l.diags = append(l.diags, spec.Diagnostic{
					Severity: spec.Error, Code: spec.CodeWrongType, Pos: parent.Pos, Path: "extends",
					Message: "extends must be a file's name, or a list of them",
				})
				continue
			}
			if l.in.Scope == Fragment {
				l.broken = true
				continue
			}
			name := parent.Text
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(path), name)
			}
			l.files(name, parent.Pos, append(slices.Clone(chain), abs))
		}
	}
	root.Entries = slices.DeleteFunc(root.Entries, func(e spec.Entry) bool { return e.Name == extends })
	l.layers = append(l.layers, root)
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
		next := n.Get(name)
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
	return &spec.Node{Kind: spec.Scalar, Pos: pos, Key: pos, Text: text, Type: resolve(text), Rewrote: true}
}
