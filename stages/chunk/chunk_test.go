package chunk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestStage(t *testing.T) {
	syncdtest.TestStage(t, syncdtest.StageHarness{
		Open: func(t *testing.T) syncd.Stage { return opened(t, defaults()) },
		Change: func(n int) syncd.Change {
			return change(map[string]any{"title": fmt.Sprint("Title ", n), "content": strings.Repeat(fmt.Sprint("Sentence ", n, ". "), 50*n)})
		},
		Refused: func() syncd.Change {
			c := change(map[string]any{"content": "text"})
			c.Document = unreadable{c.Document}
			return c
		},
	})
}

func opened(t *testing.T, conf Config) syncd.Stage {
	t.Helper()
	s, err := open(t.Context(), conf, syncd.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(fields map[string]any) syncd.Change {
	return syncd.Change{ID: "1", Target: &syncd.Target{Collection: "page"}, Document: syncdtest.Document(syncdtest.MemoryDoc{ID: "1", Fields: fields})}
}

// content has one document divided.
func content(t *testing.T, conf Config, fields map[string]any) *syncd.Content {
	t.Helper()
	changes := []syncd.Change{change(fields)}
	if err := opened(t, conf).Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if changes[0].Err != nil {
		t.Fatal(changes[0].Err)
	}
	return changes[0].Content
}

func texts(c *syncd.Content) []string {
	var out []string
	for _, k := range c.Chunks {
		out = append(out, k.Text)
	}
	return out
}

func TestTemplates(t *testing.T) {
	fields := map[string]any{
		"title": " A\n title ", "name": "other", "empty": "", "list": `["one","two"]`, "a": map[string]any{"b": "inner"}, "n": 7,
		"brackets": `["not a list`, "null": nil, "blank": " \n ",
	}
	for _, c := range []struct{ template, want string }{
		{"{title}", "A\n title"},
		{"{name|title}", "other"},
		{"{empty|null|blank|lacking|name}", "other"},
		{"{list}", "one\ntwo"},
		{"{a.b} and {n}", "inner and 7"},
		{"{{{name}}}", "{other}"},
		{"{brackets}", `["not a list`},
		{"{name}\n\n{lacking}\n\n{n}", "other\n\n7"},
		{"{lacking}\n\n{n}", "7"},
		{"around {lacking}", ""},
	} {
		parsed, err := parse(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if got, err := parsed.render(change(fields).Document, Plain); err != nil || got != c.want {
			t.Errorf("%s gives %q, %v, want %q", c.template, got, err, c.want)
		}
	}
	for _, bad := range []string{"{", "}", "{}", "{a|}", "{a", "a}", "{a{b}}", "{|}"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		text   string
		want   string
	}{
		{"paragraphs", HTML, "<p>One <b>bold</b> word.</p><p>Two</p>", "One bold word.\n\nTwo"},
		{"entities and breaks", HTML, "a &amp; b<br>c&nbsp;d", "a & b\nc d"},
		{"lists", HTML, "<ul><li>one</li><li>two</li></ul>after", "one\ntwo\n\nafter"},
		{"a head", HTML, "<html><head><title>t</title><style>p{}</style></head><body><p>a</p>", "a"},
		{"a head without its end", HTML, "<html><head><title>t</title><body><p>a</p>", "a"},
		{"scripts and styles", HTML, "<style>p{}</style>a<script>alert('x')</script>b", "ab"},
		{"not closed", HTML, "<div><p>one<div>two", "one\ntwo"},
		{"preformatted", HTML, "<pre>a\n  b</pre>", "a\n  b"},
		{"tables", HTML, "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"},
		{"pictures", HTML, `a<img src="x" alt="a picture">b`, "a a picture b"},
		{"auto tells HTML", Auto, "<p>x</p>", "x"},
		{"auto leaves text", Auto, "if a < b && b > c { }", "if a < b && b > c { }"},
		{"auto leaves generics", Auto, "List<String> x", "List<String> x"},
		{"headings and marks", Markdown, "# Title\n\nSome *emphasis* and `code`, [a link](http://x).\n\n- one\n- two\n", "Title\n\nSome emphasis and code, a link.\n\none\ntwo"},
		{"code blocks", Markdown, "```go\nfunc f() {\n\treturn\n}\n```\n", "func f() {\n\treturn\n}"},
		{"soft breaks", Markdown, "one\ntwo", "one two"},
		{"tables in Markdown", Markdown, "|a|b|\n|-|-|\n|c|d|\n", "a b\nc d"},
		{"HTML in Markdown", Markdown, "<div>inside</div>\n\ntext", "inside\n\ntext"},
	} {
		conf := defaults()
		conf.Format, conf.Title = c.format, ""
		if got := texts(content(t, conf, map[string]any{"content": c.text})); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestEmptyAndBinaryTexts(t *testing.T) {
	for name, fields := range map[string]map[string]any{
		"no field": {}, "an empty one": {"content": ""}, "blanks": {"content": " \n\t "}, "control characters": {"content": "\x00\x01\x02"},
		"only a title": {"title": "T"}, "HTML without text": {"content": "<p> </p>"},
	} {
		c := content(t, defaults(), fields)
		if len(c.Chunks) != 1 || c.Chunks[0].Text != "" || c.Prefix != "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	got := content(t, defaults(), map[string]any{"content": "a\x00b\r\nc\xffd\x1b[31m"})
	if text := got.Chunks[0].Text; text != "ab\nc\ufffdd[31m" || !utf8.ValidString(text) {
		t.Errorf("%q", text)
	}
}

// TestChunksKeepTheirSize: whatever the text, no chunk is longer than size by the unit, all of the text is in some chunk in its order, and
// the same comes of it again.
func TestChunksKeepTheirSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"word ", "sentence. ", "Überraschung! ", "東京都に行った。", "\n\n", "a", "https://example.com/a?b=c ", "don't ", "1,234.5 ", "🙂", "\t"}
	for _, unit := range []Unit{Tokens, Characters, Sentences} {
		for _, tokenizer := range []string{"cl100k_base", "words"} {
			if unit != Tokens && tokenizer == "words" {
				continue
			}
			for range 60 {
				var b strings.Builder
				for range r.IntN(400) {
					b.WriteString(alphabet[r.IntN(len(alphabet))])
					fmt.Fprintf(&b, "%x", r.Uint64()) // nothing stands in the text twice
					if r.IntN(50) == 0 {
						for range 50 {
							fmt.Fprintf(&b, "%x", r.Uint64()) // a very long word
						}
					}
				}
				text := clean(b.String())
				measure, err := measureOf(unit, tokenizer)
				if err != nil {
					t.Fatal(err)
				}
				d := divider{measure: measure, size: 5 + r.IntN(60), most: 10_000}
				d.overlap = r.IntN(d.size)
				chunks, err := d.divide("", text)
				if err != nil {
					t.Fatal(err)
				}
				again, _ := d.divide("", text)
				at := 0
				covered := 0
				for i, c := range chunks {
					if c.Text != again[i].Text {
						t.Fatal("another time, another chunk")
					}
					if measure != nil && measure(c.Text) > d.size {
						t.Fatalf("a chunk of %d %s, of which %d are allowed: %q", measure(c.Text), unit, d.size, c.Text)
					}
					if len(chunks) > 1 && c.Text == "" {
						t.Fatal("an empty chunk")
					}
					at = max(at, covered-len(c.Text)+1) // each chunk brings something new
					for !utf8.RuneStart(text[at]) {
						at++
					}
					found := strings.Index(text[at:], c.Text)
					if found < 0 {
						t.Fatalf("chunk %d is not in the text behind the one before: %q", i, c.Text)
					}
					at += found
					if covered < at && strings.TrimSpace(text[covered:at]) != "" {
						t.Fatalf("%q is in no chunk", text[covered:at])
					}
					covered = max(covered, at+len(c.Text))
				}
				if rest := text[covered:]; strings.TrimSpace(rest) != "" && text != "" {
					t.Fatalf("%q is in no chunk", rest)
				}
			}
		}
	}
}

func TestOverlap(t *testing.T) {
	conf := defaults()
	conf.Unit, conf.Size, conf.Overlap, conf.Title = Sentences, 3, 1, ""
	got := texts(content(t, conf, map[string]any{"content": "One. Two. Three. Four. Five. Six."}))
	if want := "[One. Two. Three. Three. Four. Five. Five. Six.]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestTitleCountsAndStandsBeforeEachChunk(t *testing.T) {
	conf := defaults()
	conf.Unit, conf.Size, conf.Overlap = Characters, 40, 0
	got := content(t, conf, map[string]any{"title": "A long title", "content": strings.Repeat("some words ", 20)})
	if got.Prefix != "A long title\n\n" || len(got.Chunks) < 5 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got.Chunks {
		if n := utf8.RuneCountInString(got.Prefix + c.Text); n > conf.Size {
			t.Errorf("%d characters with the title", n)
		}
	}
	conf.WithTitle = false
	if got := content(t, conf, map[string]any{"title": "T", "content": "c"}); got.Prefix != "" || got.Title != "T" {
		t.Errorf("%+v", got)
	}
}

func TestCollectionsHaveTheirOwnTemplates(t *testing.T) {
	conf := defaults()
	conf.Fields = map[string]Collection{"page": {Text: "{body}"}}
	if got := texts(content(t, conf, map[string]any{"body": "the body", "content": "not this"})); fmt.Sprint(got) != "[the body]" {
		t.Errorf("%v", got)
	}
}

func TestTooManyChunksAreOneDocumentsError(t *testing.T) {
	conf := defaults()
	conf.MaxChunks, conf.Unit, conf.Size, conf.Overlap = 3, Characters, 10, 0
	changes := []syncd.Change{change(map[string]any{"content": strings.Repeat("word ", 10_000_000)}), change(map[string]any{"content": "short"})}
	began := time.Now()
	if err := opened(t, conf).Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if changes[0].Err == nil || !strings.Contains(changes[0].Err.Error(), "more than 3 chunks") || syncd.HintOf(changes[0].Err) == "" {
		t.Errorf("a document of 50 MB: %v", changes[0].Err)
	}
	if changes[1].Err != nil || changes[1].Content == nil {
		t.Errorf("the next one: %v", changes[1].Err)
	}
	t.Log(time.Since(began))
}

func TestAFieldThatCannotBeReadIsADocumentError(t *testing.T) {
	c := change(nil)
	c.Document = unreadable{c.Document}
	changes := []syncd.Change{c}
	if err := opened(t, defaults()).Apply(t.Context(), changes); err != nil || changes[0].Err == nil || !strings.Contains(changes[0].Err.Error(), "reading field title") {
		t.Errorf("%v, %v", err, changes[0].Err)
	}
}

type unreadable struct{ syncd.Document }

func (unreadable) Lookup(string) (syncd.Value, error) {
	return syncd.Value{}, errors.New("it is corrupt")
}

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"size: 10\noverlap: 10":           "overlap must be less than size",
		"text: '{'":                       `"{" without "}"`,
		"text: words":                     "names no field",
		"title: '}'":                      `"}" without "{"`,
		"collections: {a: {text: 'x{}'}}": "names no field",
		"unit: pages":                     "unit",
	} {
		conf := defaults()
		diags := spec.Decode(syncdtest.Node(t, text), &conf, "stages", "chunk")
		if !strings.Contains(fmt.Sprint(diags), want) {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
	}
}

// FuzzFormats: no text brings the readers of formats down, or comes out as what Qdrant does not take.
func FuzzFormats(f *testing.F) {
	for _, s := range []string{"<p>a</p>", "# a\n* b", "<<<", "a\x00", "\xff", "[a](b", "|a|\n|-|", "&#x0;", "<pre><p>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, format := range []Format{HTML, Markdown, Auto} {
			if text := clean(format.text(s)); !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				t.Fatalf("%q", text)
			}
		}
	})
}
