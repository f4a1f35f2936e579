package config

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// none is the settings of a plugin without any.
type none struct{}

func noPlugins(t testing.TB) *syncd.Registry {
	t.Helper()
	r, err := syncd.NewRegistry(syncd.NewSource("none", "A source.", none{}, func(context.Context, none, syncd.Env) (syncd.Source, error) { return nil, nil }))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// layersOf reads files and returns the loader, and what each layer sets as run.mode.
func layersOf(t *testing.T, path string) (*loader, string) {
	t.Helper()
	l := &loader{in: Input{Path: path, Registry: noPlugins(t), Env: lookupIn(nil)}}
	l.files(path)
	var order []string
	for _, n := range l.layers {
		if mode := n.Get("run").Get("mode"); mode != nil {
			order = append(order, mode.Text)
		}
	}
	return l, strings.Join(order, " ")
}

// TestEachFileIsReadOnce counts what is read and merged of files that extend one another.
func TestEachFileIsReadOnce(t *testing.T) {
	doubled := map[string]string{}
	for i := range 30 {
		doubled[fmt.Sprintf("x%d.yaml", i)] = fmt.Sprintf("extends: [x%d.yaml, ./x%d.yaml]\nrun: {mode: %d}\n", i+1, i+1, i)
	}
	doubled["x30.yaml"] = "run: {mode: 30}\n"
	grid := map[string]string{}
	for i := range 20 {
		for _, side := range []string{"a", "b"} {
			grid[fmt.Sprintf("%s%d.yaml", side, i)] = fmt.Sprintf("extends: [a%d.yaml, b%d.yaml]\nrun: {mode: %s%d}\n", i+1, i+1, side, i)
		}
	}
	grid["a20.yaml"], grid["b20.yaml"] = "run: {mode: a20}\n", "run: {mode: b20}\n"
	for _, c := range []struct {
		name, top    string
		files        map[string]string
		read         int
		merged, said string
	}{
		{"one twice", "a.yaml", map[string]string{"a.yaml": "extends: [b.yaml, b.yaml]\nrun: {mode: a}\n", "b.yaml": "run: {mode: b}\n"}, 2, "b a", ""},
		{"a diamond", "a.yaml", map[string]string{
			"a.yaml": "extends: [b.yaml, c.yaml]\nrun: {mode: a}\n", "b.yaml": "extends: d.yaml\nrun: {mode: b}\n",
			"c.yaml": "extends: d.yaml\nrun: {mode: c}\n", "d.yaml": "run: {mode: d}\n",
		}, 4, "b d c a", ""},
		{"a file and what it extends", "a.yaml", map[string]string{
			"a.yaml": "extends: [b.yaml, d.yaml]\nrun: {mode: a}\n", "b.yaml": "extends: d.yaml\nrun: {mode: b}\n", "d.yaml": "run: {mode: d}\n",
		}, 3, "b d a", ""},
		{"what a file extends and itself", "a.yaml", map[string]string{
			"a.yaml": "extends: [d.yaml, b.yaml]\nrun: {mode: a}\n", "b.yaml": "extends: d.yaml\nrun: {mode: b}\n", "d.yaml": "run: {mode: d}\n",
		}, 3, "d b a", ""},
		{"a chain, each twice", "x0.yaml", doubled, 31, "", ""},
		{"a grid", "a0.yaml", grid, 41, "", ""},
		{"a circle of two", "a.yaml", map[string]string{"a.yaml": "extends: b.yaml\nrun: {mode: a}\n", "b.yaml": "extends: [a.yaml, a.yaml]\nrun: {mode: b}\n"}, 2, "b a", "extends-cycle extends-cycle"},
		{"missing twice", "a.yaml", map[string]string{"a.yaml": "extends: [b.yaml, gone.yaml]\nrun: {mode: a}\n", "b.yaml": "extends: gone.yaml\nrun: {mode: b}\n"}, 2, "b a", "missing-file missing-file"},
		{"broken twice", "a.yaml", map[string]string{"a.yaml": "extends: [b.yaml, bad.yaml]\nrun: {mode: a}\n", "b.yaml": "extends: bad.yaml\nrun: {mode: b}\n", "bad.yaml": "run: [\n"}, 3, "b a", "syntax"},
	} {
		dir := writeFiles(t, c.files)
		l, merged := layersOf(t, filepath.Join(dir, c.top))
		var said []string
		for _, d := range l.diags {
			said = append(said, string(d.Code))
		}
		if len(l.parsed) != c.read || len(l.layers) > c.read || c.merged != "" && merged != c.merged || strings.Join(said, " ") != c.said {
			t.Errorf("%s: %d files read, merged %s, said %v", c.name, len(l.parsed), merged, l.diags)
		}
		if last := l.Files[len(l.Files)-1]; filepath.Base(last) != c.top || len(l.Files) != c.read {
			t.Errorf("%s: files %v", c.name, l.Files)
		}
	}
}

// TestLinkedFoldersAreReadOnce: a folder that holds a link to itself gives a file endless names.
func TestLinkedFoldersAreReadOnce(t *testing.T) {
	files := map[string]string{"x20.yaml": "run: {mode: 20}\n", "a/here.yaml": "run: {mode: a}\n", "b/here.yaml": "run: {mode: b}\n", "shared.yaml": "extends: here.yaml\n"}
	for i := range 20 {
		files[fmt.Sprintf("x%d.yaml", i)] = fmt.Sprintf("extends: [x%d.yaml, d/x%d.yaml]\nrun: {mode: %d}\n", i+1, i+1, i)
	}
	dir := writeFiles(t, files)
	for link, to := range map[string]string{"d": ".", "a/job.yaml": "../shared.yaml", "b/job.yaml": "../shared.yaml"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skipf("the file system makes no symbolic links: %v", err)
		}
	}
	if l, _ := layersOf(t, filepath.Join(dir, "x0.yaml")); len(l.parsed) != 21 || len(l.diags) > 0 {
		t.Errorf("%d files read, %v", len(l.parsed), l.diags)
	}
	// A link to a file is not that file: what it extends is beside the link.
	if err := os.WriteFile(filepath.Join(dir, "both.yaml"), []byte("extends: [a/job.yaml, b/job.yaml]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, _ := layersOf(t, filepath.Join(dir, "both.yaml")); len(l.parsed) != 5 || !slices.ContainsFunc(l.Files, func(f string) bool { return strings.HasSuffix(f, "b/here.yaml") }) {
		t.Errorf("files %v, %v", l.Files, l.diags)
	}
}

// TestMergedOnceAsIfMergedAnew compares with merging what files extend each time that it is named.
func TestMergedOnceAsIfMergedAnew(t *testing.T) {
	files := map[string]string{
		"a.yaml": "extends: [b.yaml, c.yaml, d.yaml]\nrun: {e: a}\n", "b.yaml": "extends: d.yaml\nrun: {a: b, b: {x: b}, c: b, l: [b]}\n",
		"c.yaml": "extends: [e.yaml, d.yaml]\nrun: {b: c, c: c, m: {y: c}}\n", "d.yaml": "extends: e.yaml\nrun: {a: d, b: {y: d}, l: [d, d]}\n",
		"e.yaml": "run: {a: e, b: e, f: e, m: {x: e}}\n",
	}
	dir := writeFiles(t, files)
	l := &loader{in: Input{Registry: noPlugins(t), Env: lookupIn(nil)}}
	l.files(filepath.Join(dir, "a.yaml"))
	once, _, err := merge(l.layers)
	if err != nil {
		t.Fatal(err)
	}
	var all []*spec.Node
	var each func(name string)
	each = func(name string) {
		p := &parser{file: name, env: lookupIn(nil)}
		n := p.parse([]byte(files[name]))
		if parents := n.Get(extends); parents != nil && parents.Kind == spec.List {
			for _, item := range parents.Items {
				each(item.Text)
			}
		} else if parents != nil {
			each(parents.Text)
		}
		n.Entries = slices.DeleteFunc(n.Entries, func(e spec.Entry) bool { return e.Name == extends })
		all = append(all, n)
	}
	each("a.yaml")
	again, _, err := merge(all)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(plainOf(once)), fmt.Sprint(plainOf(again)); got != want {
		t.Errorf("once %s, again %s", got, want)
	}
}

// TestOffsetsInAnyOrder asks for places in a line that holds more than ASCII, forth and back.
func TestOffsetsInAnyOrder(t *testing.T) {
	text := newText("f", []byte("éé: x\né: éé"))
	for _, c := range [][3]int{{1, 5, 6}, {1, 2, 2}, {1, 5, 6}, {2, 4, 12}, {1, 3, 4}, {2, 2, 10}, {2, 4, 12}} {
		if got := text.offset(c[0], c[1]); got != c[2] {
			t.Errorf("line %d, column %d is at %d, not at %d", c[0], c[1], got, c[2])
		}
	}
}

// TestBadCollections: an error at or below a collection's entry counts, whatever dots its name holds.
func TestBadCollections(t *testing.T) {
	bad := badCollections(spec.Diagnostics{
		{Severity: spec.Error, Path: "mapping.collections.page"}, {Severity: spec.Error, Path: "mapping.collections.a.b.version.payload"},
		{Severity: spec.Warning, Path: "mapping.collections.epic"}, {Severity: spec.Error, Code: spec.CodeUnknownField, Path: "mapping.collections.cycle.x"},
		{Severity: spec.Error, Path: "mapping.collections"}, {Severity: spec.Error, Path: "mapping.seed"},
	})
	for name, want := range map[string]bool{"page": true, "a.b": true, "epic": false, "cycle": false, "seed": false, "": false} {
		if bad[name] != want {
			t.Errorf("%q: %v", name, bad[name])
		}
	}
}

// manyCollections is a configuration of n collections.
func manyCollections(n int, line string) string {
	var b strings.Builder
	b.WriteString("source: {none: {}}\nmapping:\n  collections:\n")
	for i := range n {
		fmt.Fprintf(&b, "    "+line+"\n", i)
	}
	return b.String()
}

// BenchmarkLoad loads large mappings: 10,000 collections should take well below a second.
func BenchmarkLoad(b *testing.B) {
	const n = 10_000
	oneLine := strings.NewReplacer("collections:\n    ", "collections: {é: é, ", "\n    ", ", ").Replace(strings.TrimSpace(manyCollections(n, "c%[1]d: t%[1]d"))) + "}\n"
	var selected strings.Builder
	for i := range n {
		fmt.Fprintf(&selected, "c%d,", i)
	}
	for name, text := range map[string]string{
		"plain":       manyCollections(n, "c%[1]d: t%[1]d"),
		"blocks":      manyCollections(n, "c%[1]d: {content_type: t%[1]d, topic: x}"),
		"one type":    manyCollections(n, "c%[1]d: t"),
		"typos":       manyCollections(n, "c%[1]d: {content_tipe: t%[1]d}"),
		"errors":      manyCollections(n, "c%[1]d: 'c%[1]d '"),
		"one line":    oneLine,
		"selected":    manyCollections(n, "c%[1]d: t%[1]d") + "run: {collections: [" + selected.String() + "]}\n",
		"all unknown": manyCollections(n, "x%[1]d: t%[1]d") + "run: {collections: [" + selected.String() + "]}\n",
	} {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			in := Input{Path: "c.yaml", Text: []byte(text), Registry: noPlugins(b)}
			for b.Loop() {
				Check(in)
			}
		})
	}
}
