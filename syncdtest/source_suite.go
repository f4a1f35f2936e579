package syncdtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// Doc is a document that a harness stores for the suite.
type Doc struct {
	ID     string            // the document's _id, stored as a string
	Fields map[string]string // stored as strings; a name with dots is a path: "a.b" is the field b of the embedded document a
	Pad    int               // bytes of text in a field named pad; none if 0
}

// Map returns the whole document to store: _id, the fields (embedded documents are maps of the same type) and pad.
func (d Doc) Map() map[string]any {
	m := tree(d.Fields)
	m["_id"] = d.ID
	if d.Pad > 0 {
		m["pad"] = strings.Repeat("x", d.Pad)
	}
	return m
}

// tree makes of paths the objects that they lead through.
func tree(fields map[string]string) map[string]any {
	m := map[string]any{}
	for path, text := range fields {
		at := m
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			next, ok := at[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		at[names[len(names)-1]] = text
	}
	return m
}

// SourceHarness tells TestSource how to reach a source.
type SourceHarness struct {
	// Open returns an open source whose collection exists and holds exactly docs, even if there are none; Doc.Map is
	// the document to store. Opening a collection again with the same docs leaves it as it was. The suite closes the
	// source; what else Open started ends with t.Cleanup.
	Open func(t *testing.T, collection string, docs []Doc) syncd.Source

	// Delete removes a document from a collection that Open filled, beside the open source. Nil skips the cases that
	// need it.
	Delete func(t *testing.T, collection, id string)

	// Drop removes a collection that Open filled, beside the open source; Open makes it again. Nil skips what needs it.
	Drop func(t *testing.T, collection string)

	// Filter returns the collection filter for documents whose top-level field has that text. Nil skips the cases that
	// need it.
	Filter func(field, text string) string

	// Except names cases that the source can't pass, and why; they are skipped with that reason.
	Except map[string]string

	// Background names functions (as in a stack trace) of goroutines that a client library keeps for good.
	Background []string
}

// TestSource tests that a source does what [syncd.Source] says, one subtest per case. Keys are opaque, so the order that
// it holds a source to is the source's own: the same in every read, and the one that offsets mean.
func TestSource(t *testing.T, h SourceHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h SourceHarness) cases() []testCase {
	cases := []testCase{
		{"empty_collection", h.emptyCollection},
		{"missing_collection", h.missingCollection},
		{"one_document", h.oneDocument},
		{"every_batch_size", h.everyBatchSize},
		{"fields", h.fields},
		{"documents_change_nothing_else", h.documentsChangeNothingElse},
		{"documents", h.documents},
		{"difficult_ids", h.difficultIDs},
		{"batch_bytes", h.batchBytes},
		{"batches_belong_to_the_caller", h.batchesBelongToTheCaller},
		{"resume_behind_each_offset", h.resumeBehindEachOffset},
		{"resume_by_another_source", h.resumeByAnotherSource},
		{"divide", h.divide},
		{"resume_behind_a_deleted_document", h.resumeBehindDeleted},
		{"delete_during_a_read", h.deleteDuringRead},
		{"stop_early", h.stopEarly},
		{"cancel_during_a_read", h.cancelDuringRead},
		{"cancel_during_a_fetch", h.cancelDuringFetch},
		{"context_that_has_ended", h.contextThatHasEnded},
		{"fetch", h.fetch},
		{"fetch_nothing", h.fetchNothing},
		{"fetch_a_key_twice", h.fetchKeyTwice},
		{"fetch_a_deleted_document", h.fetchDeleted},
		{"many_documents", h.manyDocuments},
		{"concurrent_use", h.concurrentUse},
		{"read_a_dropped_collection", h.readDropped},
		{"abilities", h.abilities},
		{"count", h.count},
		{"collections", h.collections},
		{"close_unused", func(t *testing.T) { h.open(t, 1) }},
	}
	return slices.Concat(cases, h.identityCases(), h.findCases(), h.findAllCases())
}

// collection is a source, one of its collections and what it holds. Its methods return errors rather than end the test,
// so that they can be used in any goroutine.
type collection struct {
	syncd.Source
	syncd.Collection
	docs map[string]Doc
}

// open opens a source whose collection is named after the case and holds n documents, stored in no order.
func (h SourceHarness) open(t *testing.T, n int) *collection {
	t.Helper()
	return h.openWith(t, someDocs(n))
}

func (h SourceHarness) openWith(t *testing.T, docs []Doc) *collection {
	t.Helper()
	c := &collection{Collection: syncd.Collection{Name: "conformance_" + caseName(t)}, docs: map[string]Doc{}}
	for _, d := range docs {
		c.docs[d.ID] = d
	}
	c.Source = h.Open(t, c.Name, slices.Clone(docs))
	closeLater(t, c.Source)
	return c
}

func (h SourceHarness) needDelete(t *testing.T) {
	t.Helper()
	if h.Delete == nil {
		t.Skip("the harness has no Delete")
	}
}

// delete removes a document, and no longer expects it.
func (h SourceHarness) delete(t *testing.T, c *collection, id string) {
	t.Helper()
	h.Delete(t, c.Name, id)
	delete(c.docs, id)
}

func someDocs(n int) []Doc {
	docs := make([]Doc, n)
	for i, k := range rand.New(rand.NewPCG(1, uint64(n))).Perm(n) {
		docs[i] = Doc{ID: fmt.Sprintf("doc-%05d", k), Fields: map[string]string{
			"title":      fmt.Sprintf("Title %d", k),
			"meta.owner": fmt.Sprintf("owner %d", k%7),
		}}
		if k%2 == 0 {
			docs[i].Fields["even"] = "yes"
		}
	}
	return docs
}

// split reads the splits and checks their form.
func (c *collection) split(ctx context.Context) ([]syncd.Split, error) {
	var splits []syncd.Split
	err := read(c.Splits(ctx, c.Collection), func(s syncd.Split) bool {
		splits = append(splits, s)
		return true
	})
	for i, s := range splits {
		if s.Index != i {
			return nil, fmt.Errorf("Splits: split %d has the index %d", i, s.Index)
		}
		if s.Collection != c.Collection {
			return nil, fmt.Errorf("Splits: split %d is of collection %+v, not of %+v", i, s.Collection, c.Collection)
		}
	}
	if err != nil {
		return splits, fmt.Errorf("Splits: %w", err)
	}
	return splits, nil
}

// read reads one split (or what is left of it) and checks the form of every batch. each may be nil.
func (c *collection) read(ctx context.Context, req syncd.ReadRequest, each func(syncd.Batch) bool) ([]syncd.Change, error) {
	var changes []syncd.Change
	var wrong error
	err := read(c.Read(ctx, req), func(batch syncd.Batch) bool {
		switch {
		case len(batch.Changes) == 0:
			wrong = errors.New("Read: a batch has no changes")
		case len(batch.Changes) > req.BatchSize:
			wrong = fmt.Errorf("Read: a batch has %d changes where BatchSize is %d", len(batch.Changes), req.BatchSize)
		case len(changes) > 2*len(c.docs)+req.BatchSize:
			wrong = fmt.Errorf("Read: more than %d changes from %d documents; it seems not to end", len(changes), len(c.docs))
		}
		for _, change := range batch.Changes {
			if wrong == nil {
				wrong = checkChange(change, req)
			}
		}
		if wrong == nil && batch.Offset == "" {
			wrong = fmt.Errorf("Read: the batch with change %q has no offset, and no change with an error; it would be sent again", batch.Changes[0].ID)
		}
		changes = append(changes, batch.Changes...)
		return wrong == nil && (each == nil || each(batch))
	})
	if wrong != nil {
		return changes, wrong
	}
	if err != nil {
		return changes, fmt.Errorf("Read: %w", err)
	}
	return changes, nil
}

func checkChange(c syncd.Change, req syncd.ReadRequest) error {
	switch {
	case c.Err != nil:
		return fmt.Errorf("Read: change %q: %w", c.ID, c.Err)
	case c.Key == "":
		return fmt.Errorf("Read: change %q has no key", c.ID)
	case len(c.Fields) != len(req.Fields):
		return fmt.Errorf("Read: change %q has %d fields, not the %d asked for", c.ID, len(c.Fields), len(req.Fields))
	case req.Documents && c.Document == nil:
		return fmt.Errorf("Read: change %q has no document, though documents were asked for", c.ID)
	case !req.Documents && c.Document != nil:
		return fmt.Errorf("Read: change %q has a document, though none were asked for", c.ID)
	case c.Target != nil || c.PointID != uuid.Nil || c.Operation != syncd.Insert || c.Reason != syncd.ReasonMissing ||
		c.Verdict != syncd.Unknown || c.Reference || c.ReadAt != 0 || c.Placement != (syncd.Placement{}) || c.Bytes != 0:
		return fmt.Errorf("Read: change %q has fields set that are not the source's: %+v", c.ID, c)
	}
	return nil
}

// all splits and reads the whole collection; req says how, its Split is set here. each may be nil.
func (c *collection) all(ctx context.Context, req syncd.ReadRequest, each func(syncd.Batch) bool) ([]syncd.Change, error) {
	splits, err := c.split(ctx)
	if err != nil {
		return nil, err
	}
	var changes []syncd.Change
	for _, req.Split = range splits {
		got, err := c.read(ctx, req, each)
		if err != nil {
			return nil, err
		}
		changes = append(changes, got...)
	}
	return changes, nil
}

// complete returns all changes, having checked that every document is among them exactly once.
func (c *collection) complete(ctx context.Context, req syncd.ReadRequest) ([]syncd.Change, error) {
	changes, err := c.all(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(c.docs)), slices.Sorted(slices.Values(ids(changes)))); diff != "" {
		return nil, fmt.Errorf("reading all splits must give every document once (-stored +read):\n%s", diff)
	}
	keys := map[syncd.Key]string{}
	for _, r := range changes {
		if other, ok := keys[r.Key]; ok {
			return nil, fmt.Errorf("documents %q and %q have the same key", other, r.ID)
		}
		keys[r.Key] = r.ID
	}
	return changes, nil
}

// whole is complete, whose error ends the test; splitsOf, reads and fetches are split, read and fetched.
func (c *collection) whole(t *testing.T, req syncd.ReadRequest) []syncd.Change {
	t.Helper()
	changes, err := c.complete(t.Context(), req)
	must(t, err)
	return changes
}

func (c *collection) splitsOf(t *testing.T) []syncd.Split {
	t.Helper()
	splits, err := c.split(t.Context())
	must(t, err)
	return splits
}

func (c *collection) reads(t *testing.T, req syncd.ReadRequest, each func(syncd.Batch) bool) []syncd.Change {
	t.Helper()
	changes, err := c.read(t.Context(), req, each)
	must(t, err)
	return changes
}

func (c *collection) fetches(t *testing.T, changes []syncd.Change) map[int]string {
	t.Helper()
	found, err := c.fetched(t.Context(), changes)
	must(t, err)
	return found
}

// fetched fetches by key and checks that each document is the one of its key. It returns the ids found, by index.
func (c *collection) fetched(ctx context.Context, changes []syncd.Change) (map[int]string, error) {
	found := map[int]string{}
	kept := map[int]syncd.Document{}
	var wrong error
	err := read(c.Fetch(ctx, c.Collection, keys(changes)), func(f syncd.Fetched) bool {
		switch {
		case f.Index < 0 || f.Index >= len(changes):
			wrong = fmt.Errorf("Fetch: index %d of %d keys", f.Index, len(changes))
		case f.Document == nil:
			wrong = fmt.Errorf("Fetch: %q came without a document", changes[f.Index].ID)
		case kept[f.Index] != nil:
			wrong = fmt.Errorf("Fetch: %q came twice", changes[f.Index].ID)
		default:
			kept[f.Index] = f.Document
		}
		return wrong == nil
	})
	if wrong != nil {
		return nil, wrong
	}
	// Looked at only now: a document may not live in a buffer that the next one overwrites.
	for i, doc := range kept {
		found[i] = changes[i].ID
		if v, err := doc.Lookup("_id"); err != nil || v.Text != changes[i].ID {
			return nil, fmt.Errorf("Fetch: under the key of %q: %q, %v", changes[i].ID, v.Text, err)
		}
		if i%50 > 0 && len(kept) > 1000 {
			continue // most of many documents are only told apart, to save time
		}
		if err := c.checkDocument(changes[i].ID, doc); err != nil {
			return nil, fmt.Errorf("Fetch: %w", err)
		}
	}
	if err != nil {
		return found, fmt.Errorf("Fetch: %w", err)
	}
	return found, nil
}

var dialects = map[syncd.Dialect]string{syncd.Plain: "Plain", syncd.Relaxed: "Relaxed", syncd.Canonical: "Canonical"}

// checkDocument compares a document with what was stored under id. Ids and fields are strings, which every dialect
// writes alike.
func (c *collection) checkDocument(id string, doc syncd.Document) error {
	stored := c.docs[id]
	if size := doc.Size(); size <= stored.Pad {
		return fmt.Errorf("document %q: Size is %d, less than its text of %d bytes", id, size, stored.Pad)
	}
	want := maps.Clone(stored.Fields)
	if want == nil {
		want = map[string]string{}
	}
	want["_id"] = id
	for path, text := range want {
		if v, err := doc.Lookup(path); err != nil || v != (syncd.Value{Text: text, Set: true}) {
			return fmt.Errorf("document %q: Lookup(%q) = %+v, %v; want the text %q", id, path, v, err, text)
		}
	}
	for _, path := range []string{"absent", "absent.too", "_id.absent", "meta.absent"} {
		if v, err := doc.Lookup(path); err != nil || v != (syncd.Value{}) {
			return fmt.Errorf("document %q: Lookup(%q) = %+v, %v; want it not set", id, path, v, err)
		}
	}
	for dialect, name := range dialects {
		const prefix = "before"
		out, err := doc.AppendJSON([]byte(prefix), dialect)
		if err != nil {
			return fmt.Errorf("document %q: AppendJSON(%s): %w", id, name, err)
		}
		body, kept := bytes.CutPrefix(out, []byte(prefix))
		if !kept {
			return fmt.Errorf("document %q: AppendJSON(%s) does not keep what dst holds", id, name)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, body); err != nil {
			return fmt.Errorf("document %q: AppendJSON(%s) is not JSON: %w\n%s", id, name, err, body)
		}
		if !bytes.Equal(compact.Bytes(), body) {
			return fmt.Errorf("document %q: AppendJSON(%s) has insignificant space:\n%s", id, name, body)
		}
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			return fmt.Errorf("document %q: AppendJSON(%s) is not an object: %w", id, name, err)
		}
		if diff := cmp.Diff(stored.Map(), got); diff != "" {
			return fmt.Errorf("document %q: AppendJSON(%s) (-stored +written):\n%s", id, name, diff)
		}
	}
	return nil
}

func ids(changes []syncd.Change) []string {
	out := make([]string, len(changes))
	for i, r := range changes {
		out[i] = r.ID
	}
	return out
}

func keys(changes []syncd.Change) []syncd.Key {
	out := make([]syncd.Key, len(changes))
	for i, r := range changes {
		out[i] = r.Key
	}
	return out
}

// sameOrder compares two readings of the same changes.
func sameOrder(t *testing.T, what string, want, got []syncd.Change) {
	t.Helper()
	if diff := cmp.Diff(ids(want), ids(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	if t.Failed() {
		return
	}
	for i := range want {
		if want[i].Key != got[i].Key {
			t.Errorf("%s: document %q had the key %q and now has %q", what, want[i].ID, want[i].Key, got[i].Key)
		}
	}
}
