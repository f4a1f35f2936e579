// Package folder is a complete source: each collection is a folder, and each file NAME.json in it is a document whose id is NAME.
package folder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
)

// Config is the only place where the source's settings are declared: names, defaults, rules and sentences.
type Config struct {
	Path     string `yaml:"path" rule:"required" example:"data" doc:"The folder that holds a folder for each collection."`
	Database string `yaml:"database" rule:"min=1" doc:"Name of the database, for topics, seeds and events."`
}

// DatabaseName implements syncd.DatabaseNamer.
func (c Config) DatabaseName() string { return c.Database }

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("folder", "Reads files of JSON, each of them a document.", Config{Database: "files"}, open).
		WithVersion("1", syncd.Experimental)
}

// open is called for a run and for validate --connect, never for the other checks of a configuration.
func open(_ context.Context, config Config, _ syncd.Env) (syncd.Source, error) {
	if _, err := os.Stat(config.Path); err != nil {
		return nil, syncd.Hint(fmt.Errorf("opening the folder: %w: %w", syncd.ErrUnavailable, err), "check source.folder.path")
	}
	return &source{config.Path}, nil
}

type source struct{ path string }

// Splits gives one split for the whole collection. A source of large collections divides them into ranges of keys, which are
// read at the same time.
func (s *source) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		_, err := s.keys(ctx, c)
		yield(syncd.Split{Collection: c}, err)
	}
}

// keys lists the keys of a collection in their order. A key is the name of a file without its extension.
func (s *source) keys(ctx context.Context, c syncd.Collection) (keys []syncd.Key, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(s.path, c.Name))
	if errors.Is(err, fs.ErrNotExist) {
		err = syncd.ErrCollectionNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("listing collection %s: %w", c.Name, err)
	}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			keys = append(keys, syncd.Key(name))
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// Read yields a split's documents. The offset of a batch is the key of its last document, so a read resumes behind it even if
// that document has been deleted.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		keys, err := s.keys(ctx, req.Split.Collection)
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			return // it has been deleted since it was split
		}
		var changes []syncd.Change
		size := 0
		for _, key := range keys {
			if key <= syncd.Key(req.After) {
				continue
			}
			if err = ctx.Err(); err != nil {
				break
			}
			c, err := s.change(req, key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has been deleted since the keys were listed
			}
			changes = append(changes, c)
			if c.Document != nil {
				size += c.Document.Size()
			}
			if len(changes) < req.BatchSize && (req.BatchBytes == 0 || size < req.BatchBytes) {
				continue
			}
			for batch := range syncd.KeyedBatches(changes) {
				if !yield(batch, nil) {
					return
				}
			}
			changes, size = nil, 0 // the batch belongs to the caller now
		}
		if err != nil {
			yield(syncd.Batch{}, err)
			return
		}
		for batch := range syncd.KeyedBatches(changes) {
			if !yield(batch, nil) {
				return
			}
		}
	}
}

// change reads one document. What is wrong with the document alone is the change's Err; the run continues without it.
func (s *source) change(req syncd.ReadRequest, key syncd.Key) (syncd.Change, error) {
	c := syncd.Change{Key: key}
	doc, err := s.document(req.Split.Collection, key)
	if err != nil {
		c.Err = err
		return c, err
	}
	c.ID = doc.id
	for _, path := range req.Fields {
		value, err := doc.Lookup(path)
		if err != nil {
			c.Err = err
		}
		c.Fields = append(c.Fields, value)
	}
	if req.Documents {
		c.Document = doc
	}
	return c, nil
}

func (s *source) document(c syncd.Collection, key syncd.Key) (document, error) {
	text, err := os.ReadFile(filepath.Join(s.path, c.Name, string(key)+".json"))
	if err != nil {
		return document{}, err
	}
	d := document{size: len(text)}
	if d.id, err = url.PathUnescape(string(key)); err != nil {
		return d, fmt.Errorf("the file's name is no id: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // so that long numbers keep all their digits
	if err := decoder.Decode(&d.fields); err != nil {
		return d, fmt.Errorf("reading the document: %w", err)
	}
	if d.fields == nil {
		return d, errors.New("the document is null")
	}
	d.fields["_id"] = d.id
	return d, nil
}

// Fetch reads the documents of keys that a read has yielded.
func (s *source) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		for i, key := range keys {
			if slices.Contains(keys[:i], key) {
				continue
			}
			doc, err := s.document(c, key)
			if errors.Is(err, fs.ErrNotExist) {
				continue // a key that is not yielded has been deleted
			}
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(syncd.Fetched{}, fmt.Errorf("fetching from collection %s: %w", c.Name, err))
				return
			}
			if !yield(syncd.Fetched{Index: i, Document: doc}, nil) {
				return
			}
		}
	}
}

// Abilities says what the source can do beyond reading: with Count a run proves that it saw every document, and with Find it
// can tell whether a point's document is gone.
func (s *source) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{Count: s.count, Find: s.find}
}

func (s *source) count(ctx context.Context, c syncd.Collection) (int64, error) {
	keys, err := s.keys(ctx, c)
	return int64(len(keys)), err
}

func (s *source) find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	keys, err := s.keys(ctx, c)
	if err != nil {
		return nil, err
	}
	found := make([]syncd.Key, len(ids))
	for i, id := range ids {
		key := syncd.Key(url.PathEscape(id))
		if _, ok := slices.BinarySearch(keys, key); ok {
			found[i] = key
		}
	}
	return found, nil
}

// Close has nothing to close.
func (s *source) Close() error { return nil }

// document is a file's content.
type document struct {
	id     string
	fields map[string]any
	size   int
}

// Lookup returns the text of a field, as seeds and versions are made of it.
func (d document) Lookup(path string) (syncd.Value, error) {
	var at any = d.fields
	for name := range strings.SplitSeq(path, ".") {
		fields, ok := at.(map[string]any)
		if !ok {
			return syncd.Value{}, nil
		}
		at = fields[name]
	}
	switch v := at.(type) {
	case nil:
		return syncd.Value{}, nil
	case string:
		return syncd.Value{Text: v, Set: true}, nil
	}
	text, err := json.Marshal(at)
	return syncd.Value{Text: string(text), Set: err == nil}, err
}

// AppendJSON appends the document. What is JSON already looks the same in all dialects.
func (d document) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	text, err := json.Marshal(d.fields)
	if err != nil {
		return dst, err
	}
	return append(dst, text...), nil
}

// Size is that of the file.
func (d document) Size() int { return d.size }
