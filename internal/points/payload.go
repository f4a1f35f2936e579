// Package points is what sinks share that write a point for each chunk of a document: the payload's keys and what stands under them, what
// an index holds of documents, and the writing of many documents of which some are refused.
package points

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Payload names the payload keys of points. An empty one is not written where that is allowed.
type Payload struct {
	ID          string `yaml:"id" doc:"The text of the document's id." rule:"required,name"`
	Parent      string `yaml:"parent" doc:"The same, for those who group chunks by it." rule:"name"`
	ContentType string `yaml:"content_type" doc:"The content type." rule:"required,name"`
	ChunkIndex  string `yaml:"chunk_index" doc:"The chunk's number, from 0." rule:"required,name"`
	ChunkCount  string `yaml:"chunk_count" doc:"How many chunks the document has." rule:"required,name"`
	Title       string `yaml:"title" doc:"The document's title." rule:"name"`
	Text        string `yaml:"content" doc:"The chunk's text; empty for a document without text, whose point has no vector." rule:"name"`
	Model       string `yaml:"model" doc:"The model of the vector; a point of another model is stale." rule:"name"`
	Hash        string `yaml:"hash" doc:"A hash of what the vector follows from; a chunk whose hash is the same is not embedded again." rule:"name"`
	Database    string `yaml:"database" doc:"The source's database, for mapping.owner." rule:"name"`
}

// DefaultPayload has the keys of the described consumer.
func DefaultPayload() Payload {
	return Payload{
		ID: "mongo_id", Parent: "parent_id", ContentType: "content_type", ChunkIndex: "chunk_index", ChunkCount: "chunk_count",
		Title: "title", Text: "content", Model: "embedding_model", Hash: "content_hash", Database: "database",
	}
}

// Layout is all that stands in a payload: beside what Payload names, fields of the document under their own names.
type Layout struct {
	Payload
	UpdatedAt string // "" keeps none
	Fields    []string
}

// named is a payload key and the setting that names it.
type named struct{ setting, key string }

func (l *Layout) named() []named {
	return []named{
		{"id", l.ID}, {"parent", l.Parent}, {"content_type", l.ContentType}, {"chunk_index", l.ChunkIndex}, {"chunk_count", l.ChunkCount},
		{"title", l.Title}, {"content", l.Text}, {"model", l.Model}, {"hash", l.Hash}, {"database", l.Database}, {"updated_at", l.UpdatedAt},
	}
}

// Keys are the keys that a payload may have, in a fixed order.
func (l *Layout) Keys() (keys []string) {
	for _, k := range l.named() {
		if k.key != "" {
			keys = append(keys, k.key)
		}
	}
	return append(keys, l.Fields...)
}

// Check reports keys that two settings name. block is the setting that holds the Payload; beside it are updated_at and fields.
func (l *Layout) Check(d *spec.Decoder, n *spec.Node, block string) {
	seen := map[string]string{}
	for _, k := range l.named() {
		if k.key == "" {
			continue
		}
		if other, again := seen[k.key]; again {
			d.Errorf(n.Get(block), spec.CodeBadValue, "give each a name of its own", "%s: %s and %s have one payload key, %q", d.Path(), other, k.setting, k.key)
		}
		seen[k.key] = k.setting
	}
	for _, f := range l.Fields {
		if other, again := seen[f]; again {
			d.Errorf(n.Get("fields"), spec.CodeBadValue, "leave it out", "%s.fields: %q is the payload key of %s", d.Path(), f, other)
		}
	}
}

// PayloadKeys is what [syncd.Indexer] asks for.
func (l *Layout) PayloadKeys() syncd.PayloadKeys {
	return syncd.PayloadKeys{
		ID: l.ID, ContentType: l.ContentType, ChunkIndex: l.ChunkIndex, ChunkCount: l.ChunkCount,
		Database: l.Database, Model: l.Model, UpdatedAt: l.UpdatedAt, Fields: l.Fields,
	}
}

var errNotText = fmt.Errorf("its id is not valid UTF-8: %w", syncd.ErrNotEncodable)

// Shared is the payload that all chunks of a document have: texts, whole numbers (int64), and of the document's own fields what
// encoding/json makes of JSON, with numbers as json.Number.
func (l *Layout) Shared(c *syncd.Change) (map[string]any, error) {
	if !utf8.ValidString(c.ID) {
		return nil, errNotText
	}
	out := make(map[string]any, 16)
	if err := l.fields(c, out); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		key   string
		value any
	}{
		{l.ID, c.ID}, {l.Parent, c.ID}, {l.ChunkCount, int64(len(c.Content.Chunks))}, {l.ContentType, c.Target.ContentType},
		{l.Database, c.Target.Database}, {l.Model, c.Content.Model}, {l.Title, c.Content.Title},
	} {
		if p.key != "" {
			out[p.key] = p.value
		}
	}
	return out, nil
}

// Chunk calls set with what one chunk has of its own.
func (l *Layout) Chunk(number int, chunk *syncd.Chunk, set func(key string, value any)) {
	set(l.ChunkIndex, int64(number))
	if l.Text != "" {
		set(l.Text, chunk.Text)
	}
	if l.Hash != "" {
		set(l.Hash, chunk.Hash)
	}
}

// fields adds the document's own fields to a payload.
func (l *Layout) fields(c *syncd.Change, out map[string]any) error {
	if path := l.UpdatedAt; path != "" && c.Document != nil {
		v, err := c.Document.Lookup(path)
		if err != nil {
			return fmt.Errorf("reading field %s: %w", path, err)
		}
		switch n, err := strconv.ParseInt(v.Text, 10, 64); {
		case !v.Set:
		case err == nil && strconv.FormatInt(n, 10) == v.Text:
			out[path] = n
		default:
			out[path] = strings.ToValidUTF8(v.Text, "\ufffd")
		}
	}
	if len(l.Fields) == 0 || c.Document == nil {
		return nil
	}
	text, err := c.Document.AppendJSON(nil, syncd.Plain)
	if err != nil {
		return fmt.Errorf("reading fields: %w: %w", syncd.ErrNotEncodable, err)
	}
	var whole map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&whole); err != nil {
		return fmt.Errorf("reading fields: %w: %w", syncd.ErrNotEncodable, err)
	}
	for _, path := range l.Fields {
		if v, there := Lookup(whole, path); there {
			place(out, path, v)
		}
	}
	return nil
}

// place sets the value at a dotted path, as nested as it was in the document.
func place(in map[string]any, path string, v any) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		in[name] = v
		return
	}
	inner, ok := in[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		in[name] = inner
	}
	place(inner, rest, v)
}

// Lookup finds the value at a dotted path.
func Lookup(in map[string]any, path string) (any, bool) {
	if v, ok := in[path]; ok {
		return v, true
	}
	name, rest, ok := strings.Cut(path, ".")
	if !ok {
		return nil, false
	}
	inner, ok := in[name].(map[string]any)
	if !ok {
		return nil, false
	}
	return Lookup(inner, rest)
}
