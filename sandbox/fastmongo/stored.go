package fastmongo

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// stored holds documents in memory, sorted by _id. Documents are never changed in place: an update puts another one there.
type stored struct {
	mu      sync.RWMutex
	entries []entry // no two _ids are equal, in MongoDB's sense: 1 and 1.0 are
	version uint64  // changes when positions do
	inserts uint64
	bytes   int64
	dropped bool

	// What the oplog knows the collection as.
	db, coll string
	uuid     uuid.UUID
	images   bool         // before and after changes are kept
	note     func(change) // takes changes in; nil if nobody does
}

// noteLocked takes a change to the oplog. It is called with mu held, so that the oplog has the order of the changes.
func (s *stored) noteLocked(c change) {
	if s.note == nil {
		return
	}
	c.db, c.coll, c.uuid, c.of, c.images = s.db, s.coll, s.uuid, s, s.images
	s.note(c)
}

// attach makes the collection known, with all that it holds.
func (s *stored) attach(ns string, id uuid.UUID, note func(change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db, s.coll, _ = strings.Cut(ns, ".")
	s.uuid, s.note = id, note
	s.noteLocked(change{op: opCreate})
	if note == nil {
		return
	}
	for _, e := range s.bySerial() {
		s.noteLocked(change{op: opInsert, id: e.id, after: e.doc})
	}
}

// keepImages takes the option changeStreamPreAndPostImages, unless it is missing.
func (s *stored) keepImages(option value) {
	if option.Type == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images = truthy(lookup(option.Data, "enabled"))
}

// get returns the document with an _id, or nil.
func (s *stored) get(id value) bsoncore.Document {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, found := s.find(id); found {
		return s.entries[i].doc
	}
	return nil
}

type entry struct {
	id     value // a part of doc
	doc    bsoncore.Document
	serial uint64 // of insertion
}

func (s *stored) idAt(i int) value { return s.entries[i].id }

func (s *stored) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.entries)
}

func (s *stored) size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bytes
}

// find returns where id is, or would be.
func (s *stored) find(id value) (int, bool) {
	i := searchIDs(len(s.entries), s.idAt, before(id))
	return i, i < len(s.entries) && compare(s.entries[i].id, id) == 0
}

// insert adds a document, which it keeps, unless there is one with an equal _id.
func (s *stored) insert(doc bsoncore.Document) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.insertLocked(doc)
}

func (s *stored) insertLocked(doc bsoncore.Document) bool {
	id := lookup(doc, "_id")
	i := len(s.entries)
	if i > 0 && compare(s.entries[i-1].id, id) >= 0 {
		var found bool
		if i, found = s.find(id); found {
			return false
		}
	}
	s.inserts++
	s.version++
	s.bytes += int64(len(doc))
	s.entries = slices.Insert(s.entries, i, entry{id, doc, s.inserts})
	s.noteLocked(change{op: opInsert, id: id, after: doc})
	return true
}

// replaceLocked puts another document with an equal _id at i. diff says how it came about; nil means as a whole.
func (s *stored) replaceLocked(i int, doc bsoncore.Document, diff *description) {
	e := &s.entries[i]
	c := change{op: opReplace, before: e.doc, after: doc, diff: diff}
	if diff != nil {
		c.op = opUpdate
	}
	s.bytes += int64(len(doc)) - int64(len(e.doc))
	e.doc, e.id = doc, lookup(doc, "_id")
	c.id = e.id
	s.noteLocked(c)
}

func (s *stored) removeLocked(i int) {
	e := s.entries[i]
	s.bytes -= int64(len(e.doc))
	s.entries = slices.Delete(s.entries, i, i+1)
	s.version++
	s.noteLocked(change{op: opDelete, id: e.id, before: e.doc})
}

func (s *stored) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(change{op: opDrop})
	s.dropped = true
	s.entries, s.bytes = nil, 0
	s.version++
}

func (s *stored) within(b bounds) (int, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if b.points == nil {
		start, end := b.search(len(s.entries), s.idAt)
		return end - start, true
	}
	n := 0
	for _, p := range b.points {
		if i, found := s.find(p); found && b.holds(s.entries[i].id) {
			n++
		}
	}
	return n, true
}

func (s *stored) sample(n int) []bsoncore.Document {
	s.mu.RLock()
	defer s.mu.RUnlock()
	perm := rand.Perm(len(s.entries)) // for few documents; generated collections do it without
	out := make([]bsoncore.Document, 0, min(n, len(perm)))
	for _, i := range perm[:min(n, len(perm))] {
		out = append(out, s.entries[i].doc)
	}
	return out
}

func (s *stored) all() []bson.Raw {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]bson.Raw, len(s.entries))
	for i, e := range s.entries {
		out[i] = slices.Clone(bson.Raw(e.doc))
	}
	return out
}

func (s *stored) walk(b bounds, o order) (walk, error) {
	if o == natural || o == backward {
		s.mu.RLock()
		defer s.mu.RUnlock()
		entries := s.bySerial()
		if o == backward {
			slices.Reverse(entries)
		}
		return &listWalk{of: s, bounds: b, entries: entries}, nil
	}
	return &indexWalk{of: s, bounds: b, down: o == descending}, nil
}

// bySerial returns the documents in the order of insertion. It is called with mu held.
func (s *stored) bySerial() []entry {
	snapshot := slices.Clone(s.entries)
	slices.SortFunc(snapshot, func(x, y entry) int { return cmp.Compare(x.serial, y.serial) })
	return snapshot
}

// check fails for a collection that was dropped. It is called with mu held.
func (s *stored) check() error {
	if s.dropped {
		return fail(175, "collection dropped")
	}
	return nil
}

// listWalk goes through the documents as they were at its start.
type listWalk struct {
	of      *stored
	bounds  bounds
	entries []entry
}

func (w *listWalk) each(visit func(*row) verdict) (bool, error) {
	w.of.mu.RLock()
	err := w.of.check()
	w.of.mu.RUnlock()
	if err != nil {
		return false, err
	}
	var r row
	for i, e := range w.entries {
		if !w.bounds.holds(e.id) || (w.bounds.points != nil && !sameAs(e.id, w.bounds.points)) {
			continue
		}
		r.id, r.doc = e.id, e.doc
		switch visit(&r) {
		case stopBehind:
			w.entries = w.entries[i+1:]
			return false, nil
		case stopBefore:
			w.entries = w.entries[i:]
			return false, nil
		}
	}
	w.entries = nil
	return true, nil
}

// indexWalk goes through the documents in the order of _id, as they are when it comes by. Its place is an _id, not a number,
// so inserts and deletes elsewhere neither hide a document nor show one twice.
type indexWalk struct {
	of     *stored
	bounds bounds
	down   bool

	point int // the next of bounds.points

	started bool
	last    value // the last _id that was visited
	version uint64
	next    int // the next position, valid while version is that of the collection
}

func (w *indexWalk) each(visit func(*row) verdict) (bool, error) {
	s := w.of
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.check(); err != nil {
		return false, err
	}
	return w.eachLocked(visit), nil
}

// eachLocked is each, with the collection's mu held.
func (w *indexWalk) eachLocked(visit func(*row) verdict) (end bool) {
	s := w.of
	if w.bounds.points != nil {
		return w.eachPoint(visit)
	}
	start, behind := w.bounds.search(len(s.entries), s.idAt)
	w.place(start, behind)
	var r row
	for ; w.next >= start && w.next < behind; w.step() {
		e := &s.entries[w.next]
		r.id, r.doc = e.id, e.doc
		v := visit(&r)
		if v == stopBefore {
			return false
		}
		w.last = e.id
		if v == stopBehind {
			w.step()
			return false
		}
	}
	return true
}

func (w *indexWalk) step() {
	if w.down {
		w.next--
	} else {
		w.next++
	}
}

// place finds the next position.
func (w *indexWalk) place(start, end int) {
	s := w.of
	if w.started && w.version == s.version {
		return
	}
	w.started, w.version = true, s.version
	switch {
	case w.last.Type == 0 && w.down:
		w.next = end - 1
	case w.last.Type == 0:
		w.next = start
	case w.down:
		w.next = searchIDs(len(s.entries), s.idAt, before(w.last)) - 1
		w.next = min(w.next, end-1)
	default:
		w.next = max(searchIDs(len(s.entries), s.idAt, behind(w.last)), start)
	}
}

func (w *indexWalk) eachPoint(visit func(*row) verdict) bool {
	s := w.of
	var r row
	for ; w.point < len(w.bounds.points); w.point++ {
		p := w.bounds.points[w.point]
		if w.down {
			p = w.bounds.points[len(w.bounds.points)-1-w.point]
		}
		i, found := s.find(p)
		if !found || !w.bounds.holds(s.entries[i].id) {
			continue
		}
		r.id, r.doc = s.entries[i].id, s.entries[i].doc
		switch visit(&r) {
		case stopBehind:
			w.point++
			return false
		case stopBefore:
			return false
		}
	}
	return true
}
