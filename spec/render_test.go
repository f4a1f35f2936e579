package spec_test

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/spec"
)

// TestExcerpts checks that the caret stands under its character: what is in front of both is equally wide on a terminal.
func TestExcerpts(t *testing.T) {
	long := strings.Repeat("0123456789", 30)
	for _, c := range []struct{ name, line, under, before string }{ // before: the caret's line up to it, without the gutter
		{"plain", "a: bcd", "b", "   "},
		{"begin", "abc", "a", ""},
		{"tab", "\ta:\tb", "b", "          "},
		{"wide", "ページ: x", "x", "        "},
		{"wide itself", "aページ", "ペ", " "},
		{"emoji", "🚀: x", "x", "    "},
		{"combining", "e\u0301e\u0301: x", "x", "    "},
		{"control", "a\x1b[31mb: x", "x", "         "},
		{"invisible", "a\u200bb: x", "x", "     "},
		{"long, near the beginning", "x" + long, "x", ""},
		{"long, in the middle", long + "x" + long, "x", strings.Repeat(" ", 34)},
		{"long, at the end", long + "x", "x", strings.Repeat(" ", 98)},
		{"long and wide", strings.Repeat("日", 200) + "x" + strings.Repeat("本", 200), "x", strings.Repeat(" ", 33)},
	} {
		column := strings.Index(c.line, c.under) + 1
		diags := spec.Diagnostics{{
			Severity: spec.Error, Code: spec.CodeSyntax, Message: "m", Pos: spec.Pos{Source: "f", Line: 7, Column: column},
			Excerpt: spec.Excerpt{Text: c.line, Column: column},
		}}
		var b strings.Builder
		if err := diags.Write(&b, spec.FormatText); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		if len(lines) != 4 || lines[0] != diags[0].String() || !strings.HasPrefix(lines[1], "    7 | ") {
			t.Errorf("%s: %q", c.name, b.String())
			continue
		}
		if want := "      | " + c.before + "^"; lines[2] != want {
			t.Errorf("%s:\n%s\n%s\nwant\n%s", c.name, lines[1], lines[2], want)
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Errorf("%s: an escape sequence gets through: %q", c.name, b.String())
		}
		if n := len([]rune(lines[1])); n > 108 {
			t.Errorf("%s: %d characters: %s", c.name, n, lines[1])
		}
	}
}

func TestExcerptAtTheEnd(t *testing.T) {
	d := spec.Diagnostics{{Severity: spec.Error, Pos: spec.Pos{Source: "f", Line: 100000, Column: 4}, Excerpt: spec.Excerpt{Text: "abc", Column: 4}}}
	var b strings.Builder
	if err := d.Write(&b, spec.FormatText); err != nil {
		t.Fatal(err)
	}
	if want := "100000 | abc\n       |    ^\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q", b.String())
	}
}

func TestGitHubEscapes(t *testing.T) {
	d := spec.Diagnostics{{
		Severity: spec.Warning, Code: "a-code", Message: "50%\r\nmore: a, b", Pos: spec.Pos{Source: "a,b:c%.yaml", Line: 1, Column: 2},
	}}
	var b strings.Builder
	if err := d.Write(&b, spec.FormatGitHub); err != nil {
		t.Fatal(err)
	}
	if want := "::warning file=a%2Cb%3Ac%25.yaml,line=1,col=2,title=a-code::50%25%0D%0Amore: a, b\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestCodes checks that every code is described once.
func TestCodes(t *testing.T) {
	seen := map[spec.Code]bool{}
	for _, c := range spec.Codes() {
		if seen[c.Code] || c.Meaning == "" || c.Remedy == "" || !strings.HasSuffix(c.Meaning, ".") || !strings.HasSuffix(c.Remedy, ".") {
			t.Errorf("%+v", c)
		}
		seen[c.Code] = true
	}
}

type renamed struct {
	Old   string `yaml:"old_size" deprecated:"use size" doc:"A size."`
	Size  int    `yaml:"size" doc:"A size."`
	Fixed string `yaml:"fixed" rule:"required" doc:"UUID of a thing. More."`
}

func TestDeprecated(t *testing.T) {
	var c renamed
	diags := spec.Decode(block(
		spec.Entry{Name: "old_size", Value: scalar("x", spec.Text, 2)},
		spec.Entry{Name: "fixed", Value: scalar("x", spec.Text, 3)},
	), &c, "sink", "x")
	if len(diags) != 1 || diags[0].String() != "f:2:3: warning: sink.x.old_size is deprecated; use size [deprecated]" || c.Old != "x" {
		t.Errorf("%v, %+v", diags, c)
	}
	diags = spec.Decode(block(spec.Entry{Name: "old_siz", Value: scalar("x", spec.Text, 2)}), &c, "sink", "x")
	if len(diags) != 1 || strings.Contains(diags[0].Hint, "old_size") {
		t.Errorf("what is deprecated is proposed: %v", diags)
	}
	c = renamed{}
	diags = spec.Decode(nil, &c)
	if len(diags) != 1 || diags[0].Hint != `add "fixed": UUID of a thing` {
		t.Errorf("%v", diags)
	}
}

// TestPartial checks that parts of a configuration miss nothing, but that what they have is checked.
func TestPartial(t *testing.T) {
	c := defaults()
	d := spec.NewDecoder()
	d.AllowMissing()
	d.Decode(block(spec.Entry{Name: "ratio", Value: scalar("x", spec.Text, 2)}), &c)
	if diags := d.Diagnostics(); len(diags) != 1 || diags[0].Code != spec.CodeWrongType {
		t.Errorf("%v", diags)
	}
}

func TestAt(t *testing.T) {
	for _, c := range []struct {
		written, text  string
		quoted         bool
		offset, column int // of the text; from the scalar's first byte
	}{
		{"abc # c", "abc", false, 2, 2},
		{`"abc"`, "abc", true, 0, 1},
		{`"abc"`, "abc", true, -1, 0},
		{`"a\tb\\c"`, "a\tb\\c", true, 4, 7},
		{`"\u00e9\x41\Nb"`, "éA\u0085b", true, 5, 13},
		{`"\U0001F680b"`, "🚀b", true, 4, 11},
		{`'it''s {x}'`, "it's {x}", true, 5, 7},
		{`"abc`, "abc def", true, 5, 0}, // in another line
		{"abc", "abc def", false, 5, 0},
	} {
		n := &spec.Node{Kind: spec.Scalar, Text: c.text, Quoted: c.quoted, Written: c.written, Pos: spec.Pos{Source: "f", Line: 1, Column: 1}}
		if got := n.At(c.offset); got.Column != 1+c.column {
			t.Errorf("%s at %d: column %d, want %d", c.written, c.offset, got.Column, 1+c.column)
		}
	}
}
