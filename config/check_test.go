package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// TestScopes checks what is missed in a whole configuration and not in a part of one.
func TestScopes(t *testing.T) {
	dir := write(t, map[string]string{
		"base.yaml":     "source: {mongo: {batch_size: 5}}\nmapping: {collections: {page: {topic: x}}}\nrun: {collections: [epic]}\n",
		"bad.yaml":      "source: {mongo: {batch_size: 0}}\nrun: {mode: x}\n",
		"fragment.yaml": "extends: gone.yaml\nrun: {collections: [elsewhere]}\n",
		"broken.yaml":   "run: [\n",
		"over.yaml":     "extends: broken.yaml\nsource: {mongo: {batch_size: 0}}\n",
	})
	for _, c := range []struct {
		file  string
		scope config.Scope
		want  string
	}{
		{"base.yaml", config.Whole, "missing-field missing-field missing-field missing-field missing-field"},
		{"base.yaml", config.Base, "unknown-collection"},
		{"bad.yaml", config.Base, "out-of-range not-one-of"},
		{"fragment.yaml", config.Base, "missing-file"},
		{"fragment.yaml", config.Fragment, ""},
		{"over.yaml", config.Whole, "syntax out-of-range"}, // what a broken file holds is not missed
	} {
		r := config.Check(config.Input{Path: filepath.Join(dir, c.file), Scope: c.scope, Registry: registry(t)})
		var got []string
		for _, d := range r.Diagnostics {
			got = append(got, string(d.Code))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s, scope %d: %s\n%v", c.file, c.scope, s, r.Diagnostics)
		}
		if c.scope != config.Whole && r.Config != nil {
			t.Errorf("%s: a part is no configuration", c.file)
		}
	}
}

func TestText(t *testing.T) {
	r := config.Check(config.Input{Path: "stdin", Text: []byte(minimal), Registry: registry(t)})
	if len(r.Diagnostics) > 0 || r.Config == nil || len(r.Files) != 1 || r.Files[0] != "stdin" {
		t.Errorf("%v", r)
	}
	r = config.Check(config.Input{Path: "stdin", Text: []byte{}, Registry: registry(t)})
	if len(r.Diagnostics) != 1 || r.Diagnostics[0].Pos.String() != "stdin:1:1" {
		t.Errorf("%v", r.Diagnostics)
	}
}

// TestFilesAreInOrder: the most basic first, each once.
func TestFilesAreInOrder(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": minimal, "b.yaml": "extends: a.yaml\n", "c.yaml": "extends: a.yaml\n", "d.yaml": "extends: [b.yaml, c.yaml]\n",
	})
	r := config.Check(config.Input{Path: filepath.Join(dir, "d.yaml"), Registry: registry(t)})
	var names []string
	for _, f := range r.Files {
		names = append(names, filepath.Base(f))
	}
	if got := strings.Join(names, " "); got != "a.yaml b.yaml c.yaml d.yaml" || len(r.Diagnostics) > 0 {
		t.Errorf("%s, %v", got, r.Diagnostics)
	}
}

// TestMissingInOverlays checks where something that no layer sets is missing: in the block of the file that is closest to
// the person who asked, never at a variable or a flag that only mentions the block.
func TestMissingInOverlays(t *testing.T) {
	dir := write(t, map[string]string{
		"base.yaml": strings.Replace(minimal, ", database: db", "", 1),
		"far.yaml":  "extends: base.yaml\nrun: {batch_size: 1}\n",
		"near.yaml": "extends: base.yaml\n\nsource:\n  mongo:\n    batch_size: 5\n",
	})
	for file, want := range map[string]string{"far.yaml": "base.yaml:1:10", "near.yaml": "near.yaml:4:3"} {
		r := config.Check(config.Input{
			Path: filepath.Join(dir, file), Registry: registry(t),
			Environ:   []string{"SYNCD_SOURCE__MONGO__BATCH_SIZE=7"},
			Overrides: []config.Override{{Flag: "--x", Path: []string{"source", "mongo", "batch_size"}, Value: "8"}},
		})
		if len(r.Diagnostics) != 1 || r.Diagnostics[0].Pos.String() != filepath.Join(dir, want) {
			t.Errorf("%s: %v, want it at %s", file, r.Diagnostics, want)
		}
	}
	// With no file that mentions it, the variable is all there is.
	r := config.Check(config.Input{
		Path: filepath.Join(write(t, map[string]string{"c.yaml": minimal[strings.Index(minimal, "\n")+1:]}), "c.yaml"), Registry: registry(t),
		Environ: []string{"SYNCD_SOURCE__MONGO__BATCH_SIZE=7"},
	})
	if len(r.Diagnostics) != 2 || r.Diagnostics[0].Pos.Source != "environment variable SYNCD_SOURCE__MONGO__BATCH_SIZE" {
		t.Errorf("%v", r.Diagnostics)
	}
}

// TestUnsetVariablesHideNothingElse: with --allow-unset-env what depends on them is not judged, all else is.
func TestUnsetVariablesHideNothingElse(t *testing.T) {
	text := "source: {mongo: {uri: \"${A}\", database: \"${B}\"}}\nchecker: {qdrant: {url: \"${C}\"}}\nsink: {kafka: {topic: \"${D}\"}}\n" +
		"mapping: {collections: {page: \"${E}\", epic: {content_type: \"${F}\", filter: {a: {$bad: 1}}}}}\nrun: {batch_size: \"${G}\", mode: x}\n"
	r := config.Check(config.Input{Path: "c.yaml", Text: []byte(text), Registry: registry(t), AllowUnsetEnv: true})
	if len(r.Diagnostics) != 2 || r.Diagnostics[0].Pos.Line != 4 || r.Diagnostics[1].Code != spec.CodeNotOneOf {
		t.Errorf("%v", r.Diagnostics)
	}
	r = config.Check(config.Input{Path: "c.yaml", Text: []byte(text), Registry: registry(t)})
	if len(r.Diagnostics) != 9 {
		t.Errorf("%v", r.Diagnostics)
	}
}

// TestAnchors checks that anchors, aliases and merge keys are ordinary YAML here.
func TestAnchors(t *testing.T) {
	_, diags := load(t, plugins+`mapping:
  collections:
    page: &common {content_type: page, filter: {archived: false}}
    epic: {<<: *common, content_type: &e epic}
    cycle: {<<: [*common], content_type: cycle, topic: *e}
`)
	if len(diags) > 0 {
		t.Error(diags)
	}
}

func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.yaml")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<30); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "it is a folder", huge: "it is larger than 8 MiB", filepath.Join(dir, "x"): "no such file"} {
		_, diags := config.Load(config.Input{Path: path, Registry: registry(t)})
		if len(diags) != 1 || diags[0].Code != spec.CodeMissingFile || !strings.HasPrefix(diags[0].Hint, want) {
			t.Errorf("%s: %v", path, diags)
		}
	}
}

// BenchmarkCheck is the time that validate takes for one file, three layers of it, beside the program's start.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	text.WriteString("extends: base.yaml\nmapping:\n  collections:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "    collection%d: {content_type: content_type_%d, filter: {archived: {$ne: true}}}\n", i, i)
	}
	for name, t := range map[string]string{"base.yaml": minimal, "bad.yaml": text.String() + "run: {batchsize: 1}\n", "good.yaml": text.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(t), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	r := registryOf(b)
	for _, name := range []string{"base.yaml", "good.yaml", "bad.yaml"} {
		b.Run(strings.TrimSuffix(name, ".yaml"), func(b *testing.B) {
			for b.Loop() {
				config.Check(config.Input{Path: filepath.Join(dir, name), Registry: r})
			}
		})
	}
}
