package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/internal/text"
)

// streamStages puts together what the batches of streams go through. The index is not asked: a change is sent because it was
// made.
func (e *Engine) streamStages() []stage {
	s := []stage{&identifyStreamed{e: e}}
	if watch := newWatch(e.followed, e.committer == nil); watch != nil {
		s = append(s, watch)
	}
	for _, f := range e.followed {
		if f.rule.Collection.Filter != "" {
			s = append(s, &filtered{e: e})
			break
		}
	}
	s = append(s, countChanges{}, leaveGone{raw: e.Sink.Abilities().Raw})
	unlimited := gate{events: &eventLimit{}} // max_events bounds a run, and a stream has no end
	return append(s, deliverAll{e.deliverer(unlimited)}, &writeDeadLetters{e})
}

// identifyStreamed addresses changes of a stream, makes their point ids, and takes out those that have none.
type identifyStreamed struct {
	e    *Engine
	seed []byte // scratch of PointID
}

func (s *identifyStreamed) apply(_ context.Context, b *batch) error {
	failed := false
	read := b.read.UnixNano()
	var counts map[*followed]FollowedCounts
	if len(b.changes) > 0 {
		counts = map[*followed]FollowedCounts{}
	}
	for i := range b.changes {
		c := &b.changes[i]
		f := s.e.followed[c.Streamed.Collection]
		if f == nil {
			return fmt.Errorf("following %s: the source gave a change of collection %s, which was not asked for", b.split.Stream.Name, text.Of(c.Streamed.Collection))
		}
		c.Target, c.ReadAt, c.Reason = &f.target, read, syncd.ReasonChanged
		n := counts[f]
		switch c.Operation {
		case syncd.Insert:
			n.Inserts++
		case syncd.Update:
			n.Updates++
		case syncd.Replace:
			n.Replaces++
		case syncd.Delete:
			n.Deletes++
		}
		counts[f] = n
		err := s.identify(f, c)
		if err != nil {
			s.e.failures.fail(b, c, syncd.FailedRead, err)
			c.Err, failed = err, true
		}
	}
	for f, n := range counts {
		f.count(n)
	}
	if failed {
		b.keep(func(c *syncd.Change) bool { return c.Err == nil })
	}
	return nil
}

// errNoFields says why a change whose document is gone has no point id.
var errNoFields = errors.New("its point id is made of fields of the document, which is gone, and the source has no image of it from before")

// identify sets the fields that the rule needs, from the document or from what it was before, and the point id.
func (s *identifyStreamed) identify(f *followed, c *syncd.Change) (err error) {
	if c.Err != nil {
		return c.Err
	}
	if len(f.fields) > 0 {
		document := c.Document
		if document == nil {
			document = c.Streamed.Before
		}
		if document == nil && f.rule.SeedFields() > 0 {
			return errNoFields
		}
		c.Fields = make([]syncd.Value, len(f.fields))
		for i, path := range f.fields {
			if document == nil {
				continue
			}
			if c.Fields[i], err = document.Lookup(path); err != nil {
				return err
			}
		}
	}
	c.PointID, err = f.rule.PointID(&s.seed, c, 0)
	if err != nil && c.Document == nil {
		return fmt.Errorf("%w: %w", errNoFields, err)
	}
	return err
}

// countChanges counts the changes that are to be sent.
type countChanges struct{}

func (countChanges) apply(_ context.Context, b *batch) error {
	b.counts.Unasked += int64(len(b.changes))
	return nil
}

// leaveGone takes out updates and replaces of documents that were deleted since: their deletes follow. With raw those stay that the sink
// passes on in the source's own form.
type leaveGone struct{ raw bool }

func (s leaveGone) apply(_ context.Context, b *batch) error {
	b.keep(func(c *syncd.Change) bool {
		passedOn := s.raw && c.Streamed.Raw != nil
		if c.Document == nil && c.Operation != syncd.Delete && !passedOn {
			b.counts.Gone++
			return false
		}
		return true
	})
	return nil
}

// filtered leaves of the collections that have a filter only the changes of documents that it selects. It asks the source, which
// gives the document as it is by now: a later change of it follows. Deletes pass, since nobody can tell any more.
type filtered struct {
	e    *Engine
	keys []syncd.Key
	of   []int // the index in keys of each change's document; -1 is not asked about
}

func (s *filtered) apply(ctx context.Context, b *batch) error {
	for _, f := range s.e.followed {
		if f.rule.Collection.Filter != "" {
			if err := s.collection(ctx, b, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *filtered) collection(ctx context.Context, b *batch, f *followed) error {
	s.keys, s.of = s.keys[:0], s.of[:0]
	index := map[syncd.Key]int{}
	for i := range b.changes {
		c := &b.changes[i]
		if c.Target != &f.target || c.Operation == syncd.Delete {
			s.of = append(s.of, -1)
			continue
		}
		at, there := index[c.Key]
		if !there {
			at = len(s.keys)
			index[c.Key] = at
			s.keys = append(s.keys, c.Key)
		}
		s.of = append(s.of, at)
	}
	if len(s.keys) == 0 {
		return nil
	}
	inside, leave := b.clock.enter(ctx, StageFetch, len(s.keys))
	found := make([]syncd.Document, len(s.keys))
	err := func() error {
		for d, err := range fetch.Documents(inside, s.e.Source, f.rule.Collection, s.keys) {
			if err != nil {
				return err
			}
			found[d.Index] = d.Document
		}
		return inside.Err() // a source may end quietly when its context does
	}()
	leave(err)
	if err != nil {
		return text.Doing(err, "fetching documents of collection %s", f.rule.Collection.Name)
	}
	i := -1
	b.keep(func(c *syncd.Change) bool {
		i++
		if s.of[i] < 0 {
			return true
		}
		if found[s.of[i]] == nil {
			b.counts.Unmatched++
			return false
		}
		c.Document = found[s.of[i]]
		return true
	})
	return nil
}

// watch takes out updates that touch none of the fields that their collection watches, and replaces that leave them as they were
// when the document was last seen, as far as that is remembered. It remembers only where one worker sees all changes of a document.
type watch struct {
	fields map[string]watched // by collection
	seen   []seenFields       // by a part of the hash of the document's point id
	seed   maphash.Seed
}

// watched is what of a collection is watched. Of one with a filter nothing is remembered: a document may leave the filter and come
// back as it was.
type watched struct {
	fields   []string
	filtered bool
}

// seenFields is what is remembered of one document: 16 bytes.
type seenFields struct{ document, fields uint64 }

// watchMemory is of how many documents each worker remembers the watched fields, 1 MiB. It is a power of two.
const watchMemory = 1 << 16

// newWatch returns the stage, or nil where no collection watches fields.
func newWatch(collections map[string]*followed, remember bool) *watch {
	w := &watch{fields: map[string]watched{}, seed: maphash.MakeSeed()}
	for name, f := range collections {
		if len(f.rule.Watch) > 0 {
			w.fields[name] = watched{f.rule.Watch, f.rule.Collection.Filter != ""}
		}
	}
	if len(w.fields) == 0 {
		return nil
	}
	if remember {
		w.seen = make([]seenFields, watchMemory)
	}
	return w
}

func (w *watch) apply(_ context.Context, b *batch) error {
	b.keep(func(c *syncd.Change) bool {
		of, watches := w.fields[c.Streamed.Collection]
		if !watches || w.touches(c, of) {
			return true
		}
		b.counts.Unwatched++
		return false
	})
	return nil
}

func (w *watch) touches(c *syncd.Change, of watched) bool {
	if c.Document == nil { // a delete, or one that follows
		return true
	}
	if c.Operation == syncd.Update && !c.Streamed.Whole && !touch(c.Streamed.Touched, of.fields) {
		return false
	}
	if w.seen == nil || of.filtered {
		return true
	}
	hash, ok := w.hash(c.Document, of.fields)
	if !ok {
		return true
	}
	document := maphash.Bytes(w.seed, c.PointID[:])
	seen := &w.seen[document%watchMemory]
	same := seen.document == document && seen.fields == hash
	*seen = seenFields{document, hash}
	// An update that touched a watched field says so itself; its document may be that of a later change.
	return !same || c.Operation != syncd.Replace
}

// hash sums up the watched fields of a document; ok is false where one can't be read.
func (w *watch) hash(d syncd.Document, fields []string) (sum uint64, ok bool) {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, path := range fields {
		v, err := d.Lookup(path)
		if err != nil {
			return 0, false
		}
		if v.Set {
			_ = h.WriteByte(1)
		} else {
			_ = h.WriteByte(0)
		}
		_, _ = h.WriteString(v.Text)
		_ = h.WriteByte(0)
	}
	return h.Sum64(), true
}

// touch reports whether any path is one of the fields, inside one, or around one.
func touch(paths, fields []string) bool {
	for _, p := range paths {
		for _, f := range fields {
			if p == f || strings.HasPrefix(p, f+".") || strings.HasPrefix(f, p+".") {
				return true
			}
		}
	}
	return false
}
