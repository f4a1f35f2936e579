// Package chunk is the stage that makes texts of documents and divides them into chunks.
//
// Invariants:
//   - equal documents and settings make equal chunks, on any machine;
//   - a chunk is not longer than size says, by the unit of the settings; what it holds is valid UTF-8 without control characters;
//   - a document has at least one chunk; the only chunk of a document without text has none;
//   - chunks follow one another in the text, and leave out nothing but white space between them.
package chunk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Config is the stage's configuration.
type Config struct {
	Text      string                `yaml:"text" doc:"Template of a document's text, such as {title}: a name in braces is the field at that path, of several with | between them the first that is there; what is lacking is left out, with the empty lines around it." rule:"required"`
	Title     string                `yaml:"title" doc:"Template of a document's title, likewise; an empty one makes none."`
	Fields    map[string]Collection `yaml:"collections" doc:"Templates of collections whose documents have other fields."`
	WithTitle bool                  `yaml:"with_title" doc:"Embed the title in front of each chunk; the chunk's own text is kept without it."`
	Format    Format                `yaml:"format" doc:"What the fields hold: plain text, Markdown or HTML, of which the text is taken; auto tells HTML by its tags, and takes all else as it is." rule:"oneof=plain markdown html auto"`

	Unit      Unit   `yaml:"unit" doc:"What size and overlap count: tokens, characters or sentences." rule:"oneof=tokens characters sentences"`
	Size      int    `yaml:"size" doc:"How long a chunk is at most, its title included." rule:"min=1,max=1000000"`
	Overlap   int    `yaml:"overlap" doc:"How much of the end of a chunk the next one begins with, at most: whole sentences, or words of a long one." rule:"min=0,max=1000000"`
	Tokenizer string `yaml:"tokenizer" doc:"Which tokens are counted: those of cl100k_base (text-embedding-3 and text-embedding-ada-002) or o200k_base; words estimates by words and marks, for models that have none of these." rule:"oneof=cl100k_base o200k_base words"`
	MaxChunks int    `yaml:"max_chunks" doc:"A document of more chunks is a document error." rule:"min=1,max=10000"`
}

// Collection has the templates of a collection, where they differ.
type Collection struct {
	Text  string `yaml:"text" doc:"Template of a document's text."`
	Title string `yaml:"title" doc:"Template of a document's title."`
}

// Format is what fields hold.
type Format string

// The formats.
const (
	Plain    Format = "plain"
	Markdown Format = "markdown"
	HTML     Format = "html"
	Auto     Format = "auto"
)

// Unit is what sizes count.
type Unit string

// The units.
const (
	Tokens     Unit = "tokens"
	Characters Unit = "characters"
	Sentences  Unit = "sentences"
)

func defaults() Config {
	return Config{
		Text: "{content|text|description|story}", Title: "{title|name}", WithTitle: true, Format: Auto,
		Unit: Tokens, Size: 512, Overlap: 64, Tokenizer: "cl100k_base", MaxChunks: 2000,
	}
}

// Plugin declares the stage.
func Plugin() syncd.Plugin {
	return syncd.NewStage("chunk", "Makes texts of documents and divides them into chunks.", defaults(), open).WithVersion("1", syncd.Experimental)
}

// DividesIntoChunks implements syncd.Chunker.
func (Config) DividesIntoChunks() {}

// CheckConfig reports templates that can't be read, and an overlap that leaves no room.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	check := func(text string, path ...string) {
		t, err := parse(text)
		if err == nil && text != "" && !slices.ContainsFunc(t, func(p part) bool { return p.paths != nil }) {
			err = errors.New("it names no field")
		}
		if err != nil {
			at, _ := n.Nearest(path)
			d.Errorf(at, spec.CodeBadValue, `a field is {name} or {a|b}; write "{{" for the character itself`, "%s.%s: %v", d.Path(), strings.Join(path, "."), err)
		}
	}
	check(c.Text, "text")
	check(c.Title, "title")
	for name, t := range c.Fields {
		check(t.Text, "collections", name, "text")
		check(t.Title, "collections", name, "title")
	}
	if c.Overlap >= c.Size {
		d.Errorf(n.Get("overlap"), spec.CodeBadValue, "a tenth of size is common", "%s.overlap must be less than size, which is %d", d.Path(), c.Size)
	}
}

type stage struct {
	conf        Config
	all         templates
	collections map[string]templates
	divider     divider
	fingerprint string
	tokens      syncd.Tokens
}

type templates struct{ text, title template }

func open(_ context.Context, conf Config, _ syncd.Env) (syncd.Stage, error) {
	s := &stage{conf: conf, collections: map[string]templates{}}
	var err error
	if s.all, err = compile(conf.Text, conf.Title); err != nil {
		return nil, err
	}
	for name, c := range conf.Fields {
		if c.Text == "" {
			c.Text = conf.Text
		}
		if c.Title == "" {
			c.Title = conf.Title
		}
		if s.collections[name], err = compile(c.Text, c.Title); err != nil {
			return nil, err
		}
	}
	measure, err := measureOf(conf.Unit, conf.Tokenizer)
	if err != nil {
		return nil, err
	}
	s.tokens = syncd.Tokens{By: conf.Tokenizer, Estimate: conf.Tokenizer == "words"}
	if s.tokens.Count, err = measureOf(Tokens, conf.Tokenizer); err != nil {
		return nil, err
	}
	s.divider = divider{measure: measure, size: conf.Size, overlap: conf.Overlap, most: conf.MaxChunks}
	// The texts themselves are part of a chunk's hash, so what makes them need not be.
	s.fingerprint = fmt.Sprintf("chunk/1 %t", conf.WithTitle)
	return s, nil
}

func compile(text, title string) (t templates, err error) {
	if t.text, err = parse(text); err != nil {
		return t, fmt.Errorf("reading the template of texts: %w", err)
	}
	if t.title, err = parse(title); err != nil {
		return t, fmt.Errorf("reading the template of titles: %w", err)
	}
	return t, nil
}

// Apply implements syncd.Stage.
func (s *stage) Apply(ctx context.Context, changes []syncd.Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Document == nil || c.Err != nil {
			continue
		}
		c.Content, c.Err = s.content(c)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("dividing documents into chunks: %w", err)
		}
	}
	return nil
}

// content makes the chunks of a document.
func (s *stage) content(c *syncd.Change) (*syncd.Content, error) {
	t := s.all
	if c.Target != nil {
		if own, ok := s.collections[c.Target.Collection]; ok {
			t = own
		}
	}
	title, err := t.title.render(c.Document, Plain)
	if err != nil {
		return nil, fmt.Errorf("making the title: %w", err)
	}
	text, err := t.text.render(c.Document, s.conf.Format)
	if err != nil {
		return nil, fmt.Errorf("making the text: %w", err)
	}
	out := &syncd.Content{Title: strings.Join(strings.Fields(title), " ")}
	if s.conf.WithTitle && out.Title != "" && text != "" {
		out.Prefix = out.Title + "\n\n"
	}
	if out.Chunks, err = s.divider.divide(out.Prefix, text); err != nil {
		return nil, err
	}
	return out, nil
}

// Abilities implements syncd.Stage.
func (s *stage) Abilities() syncd.StageAbilities {
	return syncd.StageAbilities{Fingerprint: s.fingerprint, Tokens: &s.tokens}
}

// Close implements syncd.Stage.
func (s *stage) Close() error { return nil }
