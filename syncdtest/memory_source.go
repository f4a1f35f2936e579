package syncdtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// MemoryDoc is a document of a MemorySource. It must not change once inserted.
type MemoryDoc struct {
	ID     any            // string, int, int64, uuid.UUID or fmt.Stringer; anything else, nil too, is an id that no change can have
	Fields map[string]any // what encoding/json can encode; embedded documents are map[string]any

	Err       error // makes the document unreadable: it arrives as Change.Err
	EncodeErr error // makes AppendJSON fail
}

// MemorySource is a source whose documents are in memory. Documents come in the order of their keys: numbers before
// texts, numbers by value, texts by their bytes. A filter is an object of top-level fields and the text that each must
// have. Every method is safe for concurrent use, so documents may come and go while they are read.
type MemorySource struct {
	mu          sync.RWMutex
	collections map[string][]*memoryDoc // sorted by key, each key once
	identities  map[string]string
	splits      int
	closes      int

	changes   []memoryChange // that were recorded, without those that were forgotten
	forgotten int
	grown     chan struct{} // closed and made again with each change; nil records nothing
}

// NewMemorySource returns a source without collections. Close leaves its documents in place.
func NewMemorySource() *MemorySource {
	return &MemorySource{collections: map[string][]*memoryDoc{}, identities: map[string]string{}, splits: 1}
}

// SetSplits sets into how many splits of about equal size Splits divides a collection, at least 1.
func (s *MemorySource) SetSplits(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splits = max(1, n)
}

// Create makes a collection exist, without documents if it is new.
func (s *MemorySource) Create(collection string) { s.Insert(collection) }

// Insert stores documents, in place of those that have the same ids.
func (s *MemorySource) Insert(collection string, docs ...MemoryDoc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.collections[collection]
	if !exists {
		s.identities[collection] = uuid.NewString()
	}
	merged := slices.Clone(old) // a read may still read the old one
	for _, d := range docs {
		m := newMemoryDoc(d)
		change := memoryChange{collection: collection, key: m.key, id: m.id, err: m.err, doc: m}
		if i, found := findKey(old, m.key); found {
			change.operation, change.before = syncd.Replace, old[i]
		}
		s.record(change)
		merged = append(merged, m)
	}
	slices.SortStableFunc(merged, func(a, b *memoryDoc) int { return strings.Compare(string(a.key), string(b.key)) })
	latest := merged[:0]
	for i, d := range merged {
		if i+1 < len(merged) && merged[i+1].key == d.key {
			continue
		}
		latest = append(latest, d)
	}
	s.collections[collection] = latest
}

// Delete removes the document with that id and reports whether there was one.
func (s *MemorySource) Delete(collection string, id any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	docs := s.collections[collection]
	i, found := findKey(docs, memoryKey(id))
	if found {
		s.record(memoryChange{collection: collection, operation: syncd.Delete, key: docs[i].key, id: docs[i].id, err: docs[i].err, before: docs[i]})
		s.collections[collection] = slices.Concat(docs[:i], docs[i+1:])
	}
	return found
}

// Drop removes a collection.
func (s *MemorySource) Drop(collection string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.collections, collection)
	s.record(memoryChange{collection: collection, gone: true})
}

// SetIdentity sets what Identity says about a collection: "" is that it can't tell. Without it each collection has one of its
// own, and another when it is dropped and made again.
func (s *MemorySource) SetIdentity(collection, identity string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities[collection] = identity
}

// Closes says how often Close was called.
func (s *MemorySource) Closes() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closes
}

// Plugin declares a source of that name; opening it gives s itself.
func (s *MemorySource) Plugin(name string) syncd.Plugin {
	return syncd.NewSource(name, "Reads documents that are held in memory.", memorySourceConfig{Database: "memory"},
		func(context.Context, memorySourceConfig, syncd.Env) (syncd.Source, error) { return s, nil })
}

type memorySourceConfig struct {
	Database string `yaml:"database" doc:"Name of the database, for topics, seeds and events."`
}

// DatabaseName implements syncd.DatabaseNamer.
func (c memorySourceConfig) DatabaseName() string { return c.Database }

// CheckFilter implements syncd.FilterChecker.
func (memorySourceConfig) CheckFilter(filter string) error {
	_, err := parseFilter(filter)
	return err
}

// Splits implements syncd.Source.
func (s *MemorySource) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		docs, err := s.matching(ctx, c)
		if err != nil {
			yield(syncd.Split{}, fmt.Errorf("splitting collection %s: %w", c.Name, err))
			return
		}
		s.mu.RLock()
		n := max(1, min(s.splits, len(docs)))
		s.mu.RUnlock()
		// The first split has no lower and the last no upper bound, so that what is inserted meanwhile has a place.
		var lower syncd.Key
		for i := range n {
			var upper syncd.Key
			if i+1 < n {
				upper = docs[len(docs)*(i+1)/n].key
			}
			if !yield(syncd.Split{Collection: c, Index: i, Lower: lower, Upper: upper}, nil) {
				return
			}
			lower = upper
		}
	}
}

// Read implements syncd.Source. An offset is the key of the change before it.
func (s *MemorySource) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if req.Split.Stream != nil {
		return s.readStream(ctx, req)
	}
	return func(yield func(syncd.Batch, error) bool) {
		for after := syncd.Key(req.After); ; {
			changes, err := s.batch(ctx, req, after)
			if err != nil {
				yield(syncd.Batch{}, fmt.Errorf("reading collection %s: %w", req.Split.Collection.Name, err))
				return
			}
			if len(changes) == 0 {
				return
			}
			after = changes[len(changes)-1].Key
			for b := range syncd.KeyedBatches(changes) {
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

// batch reads the changes that follow after. Each batch looks the documents up anew, since they may change between two.
func (s *MemorySource) batch(ctx context.Context, req syncd.ReadRequest, after syncd.Key) ([]syncd.Change, error) {
	docs, err := s.snapshot(ctx, req.Split.Collection.Name)
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		return nil, nil // it has been dropped since it was split
	}
	if err != nil {
		return nil, err
	}
	filter, err := parseFilter(req.Split.Collection.Filter)
	if err != nil {
		return nil, err
	}
	from, _ := findKey(docs, req.Split.Lower)
	if after != "" {
		i, found := findKey(docs, after)
		if found {
			i++
		}
		from = max(from, i)
	}
	var batch []syncd.Change
	size := 0
	for _, d := range docs[from:] {
		if req.Split.Upper != "" && d.key >= req.Split.Upper {
			break
		}
		if !d.matches(filter) {
			continue
		}
		if len(batch) > 0 && req.Documents && req.BatchBytes > 0 && size+d.Size() > req.BatchBytes {
			break
		}
		batch = append(batch, d.change(req.Fields, req.Documents))
		size += d.Size()
		if len(batch) >= req.BatchSize {
			break
		}
	}
	return batch, nil
}

// Divide is the ability Divide.
func (s *MemorySource) Divide(ctx context.Context, split syncd.Split, after syncd.Offset) (syncd.Key, error) {
	docs, err := s.snapshot(ctx, split.Collection.Name)
	if err != nil {
		return "", err
	}
	from, _ := findKey(docs, max(split.Lower, syncd.Key(after)))
	to := len(docs)
	if split.Upper != "" {
		to, _ = findKey(docs, split.Upper)
	}
	if to-from < 4 {
		return "", nil
	}
	return docs[(from+to)/2].key, nil
}

// Fetch implements syncd.Source.
func (s *MemorySource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		docs, err := s.matching(ctx, c)
		done := make(map[syncd.Key]bool, len(keys))
		for i := 0; i < len(keys) && err == nil; i++ {
			at, found := findKey(docs, keys[i])
			if found && !done[keys[i]] && !yield(syncd.Fetched{Index: i, Document: docs[at]}, nil) {
				return
			}
			done[keys[i]] = true
			err = ctx.Err()
		}
		if err != nil {
			yield(syncd.Fetched{}, fmt.Errorf("fetching documents of collection %s: %w", c.Name, err))
		}
	}
}

// Abilities implements syncd.Source.
func (s *MemorySource) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{
		Divide: s.Divide, Count: s.Count, Find: s.Find, FindAll: s.FindAll, Identity: s.Identity, Collections: s.Collections, Stream: s.streaming(),
	}
}

// Count is the ability of that name.
func (s *MemorySource) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	docs, err := s.matching(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("counting collection %s: %w", c.Name, err)
	}
	return int64(len(docs)), nil
}

// Identity is the ability of that name.
func (s *MemorySource) Identity(ctx context.Context, c syncd.Collection) (string, error) {
	if _, err := s.snapshot(ctx, c.Name); err != nil {
		return "", fmt.Errorf("identifying collection %s: %w", c.Name, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.identities[c.Name], nil
}

// Find is the ability of that name, by walking the collection.
func (s *MemorySource) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	docs, err := s.matching(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	keys := make(map[string]syncd.Key, len(docs))
	for _, d := range docs {
		if d.err == nil {
			keys[d.id] = d.key
		}
	}
	found := make([]syncd.Key, len(ids))
	for i, id := range ids {
		found[i] = keys[id]
	}
	return found, nil
}

// FindAll is the ability of that name, by walking the collection.
func (s *MemorySource) FindAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	docs, err := s.matching(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %q: %w", c.Name, err)
	}
	all := make(map[string][]syncd.FoundID, len(docs))
	for _, d := range docs {
		if d.err == nil {
			text := d.id
			if d.key[0] == 't' {
				text = strconv.Quote(d.id)
			}
			all[d.id] = append(all[d.id], syncd.FoundID{Key: d.key, Text: text})
		}
	}
	found := make([][]syncd.FoundID, len(ids))
	for i, id := range ids {
		found[i] = all[id]
	}
	return found, nil
}

// Collections is the ability of that name.
func (s *MemorySource) Collections(ctx context.Context) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.collections))
	for name := range s.collections {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, ctx.Err()
}

// Close implements syncd.Source.
func (s *MemorySource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closes++
	return nil
}

// snapshot returns the documents of a collection; they never change in place.
func (s *MemorySource) snapshot(ctx context.Context, collection string) ([]*memoryDoc, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	docs, ok := s.collections[collection]
	if !ok {
		return nil, syncd.ErrCollectionNotFound
	}
	return docs, nil
}

func (s *MemorySource) matching(ctx context.Context, c syncd.Collection) ([]*memoryDoc, error) {
	docs, err := s.snapshot(ctx, c.Name)
	if err != nil || c.Filter == "" {
		return docs, err
	}
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return nil, err
	}
	var out []*memoryDoc
	for _, d := range docs {
		if d.matches(filter) {
			out = append(out, d)
		}
	}
	return out, nil
}

func parseFilter(filter string) (map[string]string, error) {
	if filter == "" {
		return nil, nil
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(filter), &m); err != nil {
		return nil, fmt.Errorf("reading the filter: %w", err)
	}
	return m, nil
}

// memoryDoc is a stored document: its key, id and JSON are made once, when it is inserted.
type memoryDoc struct {
	doc     MemoryDoc
	key     syncd.Key
	id      string
	err     error // why no change can be made of it
	json    []byte
	jsonErr error
}

// Document is the document as a MemorySource gives it.
func Document(d MemoryDoc) syncd.Document { return newMemoryDoc(d) }

func newMemoryDoc(d MemoryDoc) *memoryDoc {
	m := &memoryDoc{doc: d, key: memoryKey(d.ID)}
	m.id, m.err = memoryID(d.ID)
	if d.Err != nil {
		m.err = d.Err
	}
	m.json, m.jsonErr = memoryJSON(m.id, d.Fields)
	if d.EncodeErr != nil {
		m.jsonErr = d.EncodeErr
	}
	return m
}

// memoryID gives an id's text.
func memoryID(id any) (string, error) {
	switch id := id.(type) {
	case string:
		return id, nil
	case int:
		return strconv.Itoa(id), nil
	case int64:
		return strconv.FormatInt(id, 10), nil
	case uuid.UUID:
		return id.String(), nil
	case fmt.Stringer:
		return id.String(), nil
	case nil:
		return "", fmt.Errorf("the _id is missing: %w", syncd.ErrNoID)
	}
	return "", fmt.Errorf("a %T is no _id: %w", id, syncd.ErrNoID)
}

// memoryKey gives an id's key, whose bytes sort as the documents do.
func memoryKey(id any) syncd.Key {
	number := func(i int64) syncd.Key { return syncd.Key(fmt.Sprintf("n%016x", uint64(i)^1<<63)) }
	switch v := id.(type) {
	case int:
		return number(int64(v))
	case int64:
		return number(v)
	}
	text, err := memoryID(id)
	if err != nil {
		return syncd.Key(fmt.Sprintf("?%v", id))
	}
	return syncd.Key("t" + text)
}

// memoryJSON gives _id, then the fields by name.
func memoryJSON(id string, fields map[string]any) ([]byte, error) {
	idJSON, err := marshal(id)
	if err != nil {
		return nil, err
	}
	body, err := marshal(fields)
	if err != nil || len(fields) == 0 {
		return []byte(`{"_id":` + string(idJSON) + `}`), err
	}
	return slices.Concat([]byte(`{"_id":`), idJSON, []byte(`,`), body[1:]), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func (m *memoryDoc) change(fields []string, document bool) syncd.Change {
	c := syncd.Change{Key: m.key, ID: m.id, Err: m.err}
	if m.err != nil {
		return c
	}
	if len(fields) > 0 {
		c.Fields = make([]syncd.Value, len(fields))
	}
	for i, path := range fields {
		if c.Fields[i], c.Err = m.Lookup(path); c.Err != nil {
			return c
		}
	}
	if document {
		c.Document = m
	}
	return c
}

func (m *memoryDoc) matches(filter map[string]string) bool { return hasTexts(m.Lookup, filter) }

// hasTexts reports whether lookup finds the text of each path.
func hasTexts(lookup func(path string) (syncd.Value, error), texts map[string]string) bool {
	for path, want := range texts {
		if v, err := lookup(path); err != nil || !v.Set || v.Text != want {
			return false
		}
	}
	return true
}

// Lookup implements syncd.Document.
func (m *memoryDoc) Lookup(path string) (syncd.Value, error) {
	if path == "_id" {
		return syncd.Value{Text: m.id, Set: m.err == nil}, nil
	}
	return lookupText(m.doc.Fields, path)
}

// lookupText gives the text of the field at a dotted path.
func lookupText(fields map[string]any, path string) (syncd.Value, error) {
	var at any = fields
	for name := range strings.SplitSeq(path, ".") {
		fields, _ := at.(map[string]any)
		at = fields[name]
	}
	switch v := at.(type) {
	case nil:
		return syncd.Value{}, nil
	case map[string]any:
		b, err := marshal(v)
		return syncd.Value{Text: string(b), Set: err == nil}, err
	default:
		return syncd.Value{Text: fmt.Sprint(v), Set: true}, nil
	}
}

// AppendJSON implements syncd.Document; the dialects are the same, since every value is JSON's own.
func (m *memoryDoc) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	if m.jsonErr != nil {
		return dst, m.jsonErr
	}
	return append(dst, m.json...), nil
}

// Size implements syncd.Document.
func (m *memoryDoc) Size() int { return len(m.json) }

// findKey returns where key is, or would be.
func findKey(docs []*memoryDoc, key syncd.Key) (int, bool) {
	return slices.BinarySearchFunc(docs, key, func(d *memoryDoc, key syncd.Key) int {
		return strings.Compare(string(d.key), string(key))
	})
}
