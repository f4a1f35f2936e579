package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
)

func (h SourceHarness) emptyCollection(t *testing.T) {
	c := h.open(t, 0)
	c.whole(t, syncd.ReadRequest{BatchSize: 10})
	c.whole(t, syncd.ReadRequest{BatchSize: 10, BatchBytes: 1, Documents: true})
	if count := c.Abilities().Count; count != nil {
		if n, err := count(t.Context(), c.Collection); err != nil || n != 0 {
			t.Errorf("Count = %d, %v; want 0", n, err)
		}
	}
}

func (h SourceHarness) missingCollection(t *testing.T) {
	c := h.open(t, 1)
	missing := syncd.Collection{Name: c.Name + "_missing"}
	splits := 0
	err := read(c.Splits(t.Context(), missing), func(syncd.Split) bool {
		splits++
		return true
	})
	if splits > 0 || !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("Splits gave %d splits, then: %v; want only ErrCollectionNotFound", splits, err)
	}
	if count := c.Abilities().Count; count != nil {
		if n, err := count(t.Context(), missing); !errors.Is(err, syncd.ErrCollectionNotFound) {
			t.Errorf("Count = %d, %v; want ErrCollectionNotFound", n, err)
		}
	}
	c.whole(t, syncd.ReadRequest{BatchSize: 10})
}

func (h SourceHarness) oneDocument(t *testing.T) {
	c := h.open(t, 1)
	for _, size := range []int{1, 2, 1000} {
		c.whole(t, syncd.ReadRequest{BatchSize: size})
	}
}

func (h SourceHarness) everyBatchSize(t *testing.T) {
	const n = 24 // with every size up to n+2, batches that fit exactly, that leave one over and that lack one
	c := h.open(t, n)
	first := c.whole(t, syncd.ReadRequest{BatchSize: n})
	for size := 1; size <= n+2; size++ {
		for _, documents := range []bool{false, true} {
			got := c.whole(t, syncd.ReadRequest{BatchSize: size, Documents: documents})
			sameOrder(t, fmt.Sprintf("the order depends on the batch size: with %d", size), first, got)
		}
	}
}

func (h SourceHarness) fields(t *testing.T) {
	c := h.open(t, 20)
	paths := []string{"even", "title", "absent", "meta.owner", "meta.absent", "title.absent"}
	for _, documents := range []bool{false, true} {
		changes := c.whole(t, syncd.ReadRequest{BatchSize: 7, Fields: paths, Documents: documents})
		for _, r := range changes {
			want := make([]syncd.Value, len(paths))
			for i, path := range paths {
				want[i].Text, want[i].Set = c.docs[r.ID].Fields[path], c.docs[r.ID].Fields[path] != ""
			}
			if diff := cmp.Diff(want, r.Fields); diff != "" {
				t.Errorf("document %q, fields %q (-stored +read):\n%s", r.ID, paths, diff)
			}
		}
	}
}

func (h SourceHarness) documentsChangeNothingElse(t *testing.T) {
	c := h.open(t, 30)
	req := syncd.ReadRequest{BatchSize: 8, Fields: []string{"title"}}
	without := c.whole(t, req)
	req.Documents = true
	with := c.whole(t, req)
	sameOrder(t, "a read with documents differs from one without", without, with)
	for i := range without {
		if diff := cmp.Diff(without[i].Fields, with[i].Fields); diff != "" {
			t.Errorf("document %q: fields without and with documents (-without +with):\n%s", without[i].ID, diff)
		}
	}
}

func (h SourceHarness) documents(t *testing.T) {
	docs := someDocs(10)
	docs = append(docs,
		Doc{ID: "bare"},
		Doc{ID: "padded", Pad: 3000},
		Doc{ID: "text", Fields: map[string]string{
			"quotes": `"it's" \ / <b>&amp;`, "control": "a\tb\nc\rd\u0001\u007f\u2028", "unicode": "žluťoučký 漢字 🐎", "empty": "",
		}})
	c := h.openWith(t, docs)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 5, Documents: true})
	for _, r := range changes {
		if err := c.checkDocument(r.ID, r.Document); err != nil {
			t.Error(err)
		}
	}
}

// difficultDocs have ids that mean something to a query language, a pattern, a path or a parser.
func difficultDocs() []Doc {
	var docs []Doc
	for _, id := range []string{
		"a", "aa", "a\x01", "a b", "A", "Z", "1", "01", "10", "9", "-1", "1.5", "true", "null", "$where", "a.b", "a/b/0", "{mongo_id}",
		`"quoted"`, `back\slash`, "tab\tnew\nline", "žluť", "漢字", "🐎", "\u2028", "%s%00", "507f1f77bcf86cd799439011",
		"6ba7b811-9dad-11d1-80b4-00c04fd430c8", strings.Repeat("long", 200),
	} {
		docs = append(docs, Doc{ID: id, Fields: map[string]string{"title": id}})
	}
	return docs
}

func (h SourceHarness) difficultIDs(t *testing.T) {
	docs := difficultDocs()
	c := h.openWith(t, docs)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 4, Documents: true})
	for _, r := range changes {
		if err := c.checkDocument(r.ID, r.Document); err != nil {
			t.Error(err)
		}
	}
	found := c.fetches(t, changes)
	if len(found) != len(changes) {
		t.Errorf("Fetch found %d of %d documents", len(found), len(changes))
	}
	c.resumeEach(t, syncd.ReadRequest{BatchSize: 4})
}

func (h SourceHarness) batchBytes(t *testing.T) {
	const n, pad, limit = 40, 1000, 6000
	docs := someDocs(n)
	for i := range docs {
		docs[i].Pad = pad
	}
	docs[n/2].Pad = 3 * limit // larger than a batch may be
	c := h.openWith(t, docs)
	plain := c.whole(t, syncd.ReadRequest{BatchSize: n})
	for _, limit := range []int{1, pad, limit, 100 * n * pad} {
		// "About": twice the limit and one document more, so that no source has to know a size before it has read it.
		atMost := func(batch syncd.Batch) bool {
			size, largest := 0, 0
			for _, r := range batch.Changes {
				size += r.Document.Size()
				largest = max(largest, r.Document.Size())
			}
			if size-largest > 2*limit {
				t.Errorf("a batch has %d bytes of documents in %d changes where BatchBytes is %d", size, len(batch.Changes), limit)
			}
			return true
		}
		got, err := c.all(t.Context(), syncd.ReadRequest{BatchSize: n, BatchBytes: limit, Documents: true}, atMost)
		must(t, err)
		sameOrder(t, fmt.Sprintf("with BatchBytes %d", limit), plain, got)
	}
}

func (h SourceHarness) batchesBelongToTheCaller(t *testing.T) {
	c := h.open(t, 40)
	req := syncd.ReadRequest{BatchSize: 6, Documents: true, Fields: []string{"title", "even"}}
	splits := c.splitsOf(t)
	for _, req.Split = range splits {
		var kept [][]syncd.Change
		var copied []syncd.Change
		c.reads(t, req, func(batch syncd.Batch) bool {
			for _, r := range batch.Changes {
				r.Fields = slices.Clone(r.Fields)
				r.ID, r.Key = strings.Clone(r.ID), syncd.Key(strings.Clone(string(r.Key)))
				copied = append(copied, r)
			}
			kept = append(kept, batch.Changes)
			return true
		})
		for i, r := range slices.Concat(kept...) {
			if r.ID != copied[i].ID || r.Key != copied[i].Key || !slices.Equal(r.Fields, copied[i].Fields) {
				t.Errorf("change %q is another now than when it was read; its batch was used again", copied[i].ID)
			}
			if err := c.checkDocument(copied[i].ID, r.Document); err != nil {
				t.Errorf("after later batches were read: %v", err)
			}
		}
		var seen []syncd.Change
		c.reads(t, req, func(batch syncd.Batch) bool {
			seen = append(seen, slices.Clone(batch.Changes)...)
			for _, r := range batch.Changes {
				clear(r.Fields)
			}
			clear(batch.Changes)
			clear(batch.Changes[len(batch.Changes):cap(batch.Changes)])
			return true
		})
		sameOrder(t, "after the caller has overwritten its batches", copied, seen)
	}
}

// place is a point at which a read can resume: behind so many changes of its split.
type place struct {
	changes int
	offset  syncd.Offset
}

// places reads a split, and returns its changes and the offset of every batch.
func (c *collection) places(t *testing.T, req syncd.ReadRequest) (changes []syncd.Change, places []place) {
	t.Helper()
	n := 0
	changes = c.reads(t, req, func(batch syncd.Batch) bool {
		n += len(batch.Changes)
		places = append(places, place{n, batch.Offset})
		return true
	})
	return changes, places
}

// resumeEach resumes every split behind each of its batches, by batches of another size, without and with documents: what comes
// is exactly the rest.
func (c *collection) resumeEach(t *testing.T, req syncd.ReadRequest) {
	t.Helper()
	splits := c.splitsOf(t)
	for _, req.Split = range splits {
		whole, places := c.places(t, req)
		for _, p := range places {
			for _, again := range []syncd.ReadRequest{{BatchSize: 2}, {BatchSize: 1000, Documents: true}} {
				again.Split, again.After = req.Split, p.offset
				rest := c.reads(t, again, nil)
				sameOrder(t, fmt.Sprintf("resuming split %d behind its first %d changes", req.Split.Index, p.changes), whole[p.changes:], rest)
			}
		}
	}
}

func (h SourceHarness) resumeBehindEachOffset(t *testing.T) {
	c := h.open(t, 24)
	c.resumeEach(t, syncd.ReadRequest{BatchSize: 1})
	c.resumeEach(t, syncd.ReadRequest{BatchSize: 5})
	c.resumeEach(t, syncd.ReadRequest{BatchSize: 1, Documents: true})
	c.resumeEach(t, syncd.ReadRequest{BatchSize: 24, BatchBytes: 1, Documents: true})
}

func (h SourceHarness) resumeByAnotherSource(t *testing.T) {
	docs := someDocs(20)
	c := h.openWith(t, docs)
	splits := c.splitsOf(t)
	other := h.openWith(t, docs)
	for _, split := range splits {
		req := syncd.ReadRequest{Split: split, BatchSize: 3}
		whole, places := c.places(t, req)
		for _, p := range places {
			req.After = p.offset
			rest := other.reads(t, req, nil)
			sameOrder(t, "another source resumes the split", whole[p.changes:], rest)
		}
	}
}

// resumeBehindDeleted stops behind a change in front, in the middle and at the end of each split, whose document then is
// deleted: a read resumes strictly behind where it was, with no change twice and none left out.
func (h SourceHarness) resumeBehindDeleted(t *testing.T) {
	h.needDelete(t)
	c := h.open(t, 20)
	splits := c.splitsOf(t)
	tried := 0
	for _, split := range splits {
		req := syncd.ReadRequest{Split: split, BatchSize: 1}
		left, places := c.places(t, req)
		for len(left) > 0 {
			for _, at := range []int{0, len(left) / 2, len(left) - 1} {
				if _, there := c.docs[left[at].ID]; there {
					h.delete(t, c, left[at].ID)
				}
				req.After = places[at].offset
				rest := c.reads(t, req, nil)
				want := slices.DeleteFunc(slices.Clone(left[at+1:]), func(r syncd.Change) bool {
					_, there := c.docs[r.ID]
					return !there
				})
				sameOrder(t, "resuming behind a change whose document is gone", want, rest)
				tried++
			}
			req.After = ""
			left, places = c.places(t, req)
		}
	}
	if tried == 0 {
		t.Error("no split had a change")
	}
}

func (h SourceHarness) deleteDuringRead(t *testing.T) {
	h.needDelete(t)
	c := h.open(t, 30)
	before := c.whole(t, syncd.ReadRequest{BatchSize: 30})
	gone := []string{before[0].ID, before[15].ID, before[29].ID}
	got, err := c.all(t.Context(), syncd.ReadRequest{BatchSize: 2}, func(syncd.Batch) bool {
		for _, id := range gone {
			if _, ok := c.docs[id]; ok {
				h.delete(t, c, id)
			}
		}
		return true
	})
	must(t, err)
	// Whether a deleted document is still seen is a matter of luck; the others must all be seen, once and in order.
	left := func(changes []syncd.Change) []syncd.Change {
		return slices.DeleteFunc(slices.Clone(changes), func(r syncd.Change) bool { return slices.Contains(gone, r.ID) })
	}
	sameOrder(t, "documents that were not deleted", left(before), left(got))
	if len(got) > len(before) {
		t.Errorf("%d changes from %d documents", len(got), len(before))
	}
}

func (h SourceHarness) stopEarly(t *testing.T) {
	c := h.open(t, 100)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 100})
	splits := c.splitsOf(t)
	ctx := t.Context()
	inTime(t, patience, "a sequence that is no longer read", func() error {
		if err := read(c.Splits(ctx, c.Collection), func(syncd.Split) bool { return false }); err != nil {
			return fmt.Errorf("Splits: %w", err)
		}
		if err := read(c.Fetch(ctx, c.Collection, keys(changes)), func(syncd.Fetched) bool { return false }); err != nil {
			return fmt.Errorf("Fetch: %w", err)
		}
		for _, documents := range []bool{false, true} {
			req := syncd.ReadRequest{Split: splits[0], BatchSize: 1, Documents: documents}
			if _, err := c.read(ctx, req, func(syncd.Batch) bool { return false }); err != nil {
				return err
			}
			// The engine hands batches to other goroutines; here the reader sits in a coroutine that is abandoned.
			next, stop := iter.Pull2(c.Read(ctx, req))
			if _, err, ok := next(); err != nil || !ok {
				return fmt.Errorf("Read: %v, %v", err, ok)
			}
			stop()
		}
		c.Read(ctx, syncd.ReadRequest{Split: splits[0], BatchSize: 1}) // never read at all
		c.Fetch(ctx, c.Collection, keys(changes))
		return nil
	})
	again := c.whole(t, syncd.ReadRequest{BatchSize: 100})
	sameOrder(t, "a read after others were left early", changes, again)
}

func (h SourceHarness) cancelDuringRead(t *testing.T) {
	c := h.open(t, 1000)
	splits := c.splitsOf(t)
	const enough = 100 // changes in a split, to be more than any source has at hand when the context ends
	for _, documents := range []bool{false, true} {
		tried := false
		for _, split := range splits {
			req := syncd.ReadRequest{Split: split, BatchSize: 2, Documents: documents}
			if whole, err := c.read(t.Context(), req, nil); err != nil || len(whole) < enough {
				must(t, err)
				continue
			}
			tried = true
			ctx, cancel := context.WithCancel(t.Context())
			inTime(t, patience, "Read, after its context ended,", func() error {
				_, err := c.read(ctx, req, func(syncd.Batch) bool {
					cancel()
					return true
				})
				if !errors.Is(err, context.Canceled) {
					return fmt.Errorf("the context ended during the read, and the read with: %v; want context.Canceled", err)
				}
				return nil
			})
			cancel()
		}
		if !tried {
			t.Skipf("no split has %d changes", enough)
		}
	}
}

func (h SourceHarness) cancelDuringFetch(t *testing.T) {
	c := h.open(t, 500)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 500})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inTime(t, patience, "Fetch, after its context ended,", func() error {
		found := 0
		err := read(c.Fetch(ctx, c.Collection, keys(changes)), func(syncd.Fetched) bool {
			cancel()
			found++
			return true
		})
		return noSilence("Fetch", err, context.Canceled, found == len(changes))
	})
}

// noSilence checks a call whose context has ended: it says so, or it has done all its work. Anything else would pass for
// documents that are not there.
func noSilence(what string, err, want error, complete bool) error {
	switch {
	case err == nil && !complete:
		return fmt.Errorf("%s: the context had ended; nothing was said and something is lacking", what)
	case err != nil && !errors.Is(err, want):
		return fmt.Errorf("%s: %w; want %w", what, err, want)
	}
	return nil
}

func (h SourceHarness) contextThatHasEnded(t *testing.T) {
	c := h.open(t, 50)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 50})
	splits := c.splitsOf(t)
	ended(t, "a call", func(ctx context.Context, want error) error {
		if _, err := c.read(ctx, syncd.ReadRequest{Split: splits[0], BatchSize: 1}, nil); !errors.Is(err, want) {
			return fmt.Errorf("Read ended with: %v; want %w", err, want)
		}
		got, splitErr := c.split(ctx)
		found, fetchErr := c.fetched(ctx, changes)
		errs := []error{
			noSilence("Splits", splitErr, want, slices.Equal(got, splits)),
			noSilence("Fetch", fetchErr, want, len(found) == len(changes)),
		}
		if count := c.Abilities().Count; count != nil {
			n, err := count(ctx, c.Collection)
			errs = append(errs, noSilence("Count", err, want, n == int64(len(changes))))
		}
		return errors.Join(errs...)
	})
	c.whole(t, syncd.ReadRequest{BatchSize: 50})
}

func (h SourceHarness) fetch(t *testing.T) {
	c := h.open(t, 60)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 60})
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 59, 60} {
		random.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
		found := c.fetches(t, changes[:n])
		if len(found) != n {
			t.Errorf("Fetch found %d of %d documents", len(found), n)
		}
	}
}

func (h SourceHarness) fetchNothing(t *testing.T) {
	c := h.open(t, 3)
	for _, changes := range [][]syncd.Change{nil, {}} {
		found := c.fetches(t, changes)
		if len(found) > 0 {
			t.Errorf("Fetch of no keys found %v", found)
		}
	}
}

func (h SourceHarness) fetchKeyTwice(t *testing.T) {
	c := h.open(t, 3)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 3})
	twice := []syncd.Change{changes[0], changes[1], changes[0]}
	found := c.fetches(t, twice)
	// Whether the second of two equal keys gets an answer of its own is the source's choice.
	got := slices.Compact(slices.Sorted(maps.Values(found)))
	if want := slices.Sorted(slices.Values([]string{changes[0].ID, changes[1].ID})); !slices.Equal(got, want) {
		t.Errorf("Fetch of a key twice found %q, want %q", got, want)
	}
}

func (h SourceHarness) fetchDeleted(t *testing.T) {
	h.needDelete(t)
	c := h.open(t, 5)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 5})
	h.delete(t, c, changes[2].ID)
	found := c.fetches(t, changes)
	want := map[int]string{0: changes[0].ID, 1: changes[1].ID, 3: changes[3].ID, 4: changes[4].ID}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("Fetch, after one document was deleted (-want +found):\n%s", diff)
	}
	found = c.fetches(t, changes[2:3])
	if len(found) > 0 {
		t.Errorf("Fetch of a deleted document found %v", found)
	}
}

func (h SourceHarness) manyDocuments(t *testing.T) {
	const n = 5000
	c := h.open(t, n)
	changes := c.whole(t, syncd.ReadRequest{BatchSize: 1000})
	rand.New(rand.NewPCG(3, 4)).Shuffle(n, func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	found := c.fetches(t, changes)
	if len(found) != n {
		t.Errorf("Fetch found %d of %d documents", len(found), n)
	}
}

// divide divides splits behind some of their changes: what was read before and the two parts are the whole, each once.
func (h SourceHarness) divide(t *testing.T) {
	c := h.open(t, 9000)
	divide := c.Abilities().Divide
	if divide == nil {
		t.Skip("the source can't divide splits")
	}
	divided := false
	for _, split := range c.splitsOf(t) {
		req := syncd.ReadRequest{Split: split, BatchSize: 500}
		whole, places := c.places(t, req)
		for _, p := range []place{{}, places[len(places)/4], places[len(places)-1]} {
			at, err := divide(t.Context(), split, p.offset)
			if err != nil {
				t.Fatal(err)
			}
			if at == "" {
				continue
			}
			divided = true
			first, second := req, req
			first.After, first.Split.Upper, second.Split.Lower = p.offset, at, at
			a, b := c.reads(t, first, nil), c.reads(t, second, nil)
			sameOrder(t, "the parts of a divided split", whole[p.changes:], append(slices.Clone(a), b...))
			if least := (len(whole) - p.changes) / 5; len(a) < least || len(b) < least {
				t.Errorf("%d changes were divided into %d and %d", len(whole)-p.changes, len(a), len(b))
			}
		}
	}
	if !divided {
		t.Log("no split is worth dividing, or can be")
	}
}

func (h SourceHarness) concurrentUse(t *testing.T) {
	c := h.open(t, 200)
	shared := c.whole(t, syncd.ReadRequest{BatchSize: 200, Documents: true})
	ctx := t.Context()
	together(t, 8, func(i int) error {
		changes, err := c.complete(ctx, syncd.ReadRequest{BatchSize: 7 + i, Documents: i%2 == 0, Fields: []string{"title"}})
		if err != nil {
			return err
		}
		found, err := c.fetched(ctx, changes)
		if err != nil {
			return err
		}
		if len(found) != len(changes) {
			return fmt.Errorf("Fetch found %d of %d documents", len(found), len(changes))
		}
		for _, r := range shared {
			if err := c.checkDocument(r.ID, r.Document); err != nil {
				return err
			}
		}
		if count := c.Abilities().Count; count != nil {
			if n, err := count(ctx, c.Collection); err != nil || n != int64(len(changes)) {
				return fmt.Errorf("Count = %d, %v; want %d", n, err, len(changes))
			}
		}
		return nil
	})
}

func (h SourceHarness) count(t *testing.T) {
	c := h.open(t, 37)
	count := c.Abilities().Count
	if count == nil {
		t.Skip("the source can't count")
	}
	for want := int64(37); want > 35; want-- {
		if got, err := count(t.Context(), c.Collection); err != nil || got != want {
			t.Errorf("Count = %d, %v; want %d", got, err, want)
		}
		if h.Delete == nil {
			return
		}
		h.delete(t, c, fmt.Sprintf("doc-%05d", want-1))
	}
}

func (h SourceHarness) collections(t *testing.T) {
	c := h.open(t, 1)
	list := c.Abilities().Collections
	if list == nil {
		t.Skip("the source can't name its collections")
	}
	names, err := list(t.Context())
	must(t, err)
	if !slices.Contains(names, c.Name) {
		t.Errorf("Collections = %q; %q is not among them", names, c.Name)
	}
}

// readDropped reads what was split before the collection was dropped.
func (h SourceHarness) readDropped(t *testing.T) {
	if h.Drop == nil {
		t.Skip("the harness has no Drop")
	}
	c := h.open(t, 10)
	splits := c.splitsOf(t)
	h.Drop(t, c.Name)
	for _, split := range splits {
		changes := c.reads(t, syncd.ReadRequest{Split: split, BatchSize: 3}, nil)
		if len(changes) > 0 {
			t.Errorf("Read of a collection that is gone: %d changes", len(changes))
		}
	}
}

// abilities are the same at any moment.
func (h SourceHarness) abilities(t *testing.T) {
	c := h.open(t, 5)
	first := abilitiesOf(c.Abilities())
	must(t, sameAbilities(first, c.Abilities()))
	c.whole(t, syncd.ReadRequest{BatchSize: 2})
	must(t, sameAbilities(first, c.Abilities()))
	together(t, 8, func(int) error { return sameAbilities(first, c.Abilities()) })
}
