package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// FuzzLoad checks that no file makes loading panic, that every position lies inside of the file, and that what is shown of
// it can be shown: valid text with the column in it.
func FuzzLoad(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &a [*a]\nb: {<<: *a}\n\tc: ${X:-${Y}}")
	f.Add("source: {mongo: {uri: ${U}, database: !!binary aGk=}}\nmapping: {seed: \"{\", collections: {a: , b: [1]}}")
	f.Add("\ufeffrun: {batch_size: \u0085 é: *x}\r\rmode: 'a''{'\n---\n")
	f.Add("mapping: {seed: \"\\u00e9\\x41\\N{nope}\", collections: {*a : *b}}\nrun: |\n  x\n")
	f.Add("checker: {qdrant: {api_key: |\n  secret\n  more\n, url: 'mongodb://u:p@h'}}\n")
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(string(data))
		}
	}
	plugins := registryOf(f)
	f.Fuzz(func(t *testing.T, text string) {
		const file = "f.yaml"
		lines := strings.Split(text, "\n")
		diags := config.Check(config.Input{Path: file, Text: []byte(text), Registry: plugins}).Diagnostics
		inside := func(d spec.Diagnostic, p spec.Pos) {
			if p.Source == file && p.Line > 0 && (p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1) {
				t.Errorf("%s is outside of the file", d)
			}
		}
		for _, d := range diags {
			inside(d, d.Pos)
			inside(d, d.Related)
			if d.Pos.Source == file && d.Pos.Line > 0 && (d.Excerpt.Column < 1 || d.Excerpt.Column > len(d.Excerpt.Text)+1) {
				t.Errorf("%s: column %d is outside of its line %q", d, d.Excerpt.Column, d.Excerpt.Text)
			}
		}
		var b strings.Builder
		for _, format := range spec.Formats() {
			if err := diags.Write(&b, format); err != nil {
				t.Error(err)
			}
		}
		if utf8.ValidString(text) && !utf8.ValidString(b.String()) {
			t.Errorf("what is shown is not text: %q", b.String())
		}
	})
}

// FuzzExamples checks that the examples of a document keep their places in it.
func FuzzExamples(f *testing.F) {
	f.Add("# a\n\n```yaml\nrun: {mode: full}\n```\n\n  ~~~~ yml fragment\n  x: y\n  ~~~~\n")
	f.Add("```yaml\nrun:")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range config.Examples([]byte(text)) {
			want, got := strings.Split(text, "\n"), strings.Split(string(e.Text), "\n")
			if len(got) > len(want) {
				t.Fatalf("%d lines of %d", len(got), len(want))
			}
			for i, line := range got {
				if line != "" && line != want[i] {
					t.Errorf("line %d is %q, not %q", i+1, line, want[i])
				}
			}
		}
	})
}
