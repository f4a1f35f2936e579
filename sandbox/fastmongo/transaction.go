package fastmongo

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// transaction is one of several writes, which nobody else sees until it is committed. Each collection that it touches it has
// as it was when it touched it first; a document that has changed meanwhile is a conflict, which comes up at the commit.
type transaction struct {
	number int64
	lsid   bsoncore.Document

	views   map[string]*stored // what it sees of the collections that it has touched, by namespace
	changes []change
	base    map[*stored]map[string]bsoncore.Document // documents of views before they were changed, by key
	ended   string                                   // "", "committed" or "aborted"
}

// sessions are the sessions that have had a transaction or a write that may be repeated, each with its last one.
type sessions struct {
	mu     sync.Mutex
	last   map[string]*transaction
	writes map[string]written
}

// written is a write that a client may repeat, since it may not have got the answer.
type written struct {
	number int64
	reply  []byte
}

// once carries a command out unless it is a write that was carried out already: that gets its answer again.
func (s *Server) once(r *request, dst []byte, run func() ([]byte, error)) ([]byte, error) {
	number := lookup(r.body, "txnNumber")
	if s.oplog == nil || number.Type == 0 || r.txn != nil {
		return run()
	}
	id := string(lookup(lookup(r.body, "lsid").Data, "id").Data)
	s.sessions.mu.Lock()
	before, ok := s.sessions.writes[id]
	s.sessions.mu.Unlock()
	if ok && before.number == toInt(number) {
		return append(dst, before.reply...), nil
	}
	mark := len(dst)
	out, err := run()
	if err == nil {
		s.sessions.mu.Lock()
		defer s.sessions.mu.Unlock()
		if s.sessions.writes == nil {
			s.sessions.writes = map[string]written{}
		}
		s.sessions.writes[id] = written{toInt(number), bytes.Clone(out[mark:])}
	}
	return out, err
}

// join puts a request into its transaction, which it may start.
func (s *Server) join(r *request) error {
	autocommit := lookup(r.body, "autocommit")
	if autocommit.Type == 0 || truthy(autocommit) {
		return nil
	}
	if s.oplog == nil {
		return fail(codeIllegalOperation, "Transaction numbers are only allowed on a replica set member or mongos")
	}
	lsid, number := lookup(r.body, "lsid"), toInt(lookup(r.body, "txnNumber"))
	id := lookup(lsid.Data, "id")
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if s.sessions.last == nil {
		s.sessions.last = map[string]*transaction{}
	}
	t := s.sessions.last[string(id.Data)]
	if truthy(lookup(r.body, "startTransaction")) {
		t = &transaction{
			number: number,
			lsid: marshal(bson.D{
				{Key: "id", Value: bson.RawValue{Type: bson.Type(id.Type), Value: id.Data}}, {Key: "uid", Value: bson.Binary{Data: nobody[:]}},
			}),
			views: map[string]*stored{}, base: map[*stored]map[string]bsoncore.Document{},
		}
		s.sessions.last[string(id.Data)] = t
	}
	if t == nil || t.number != number || t.ended == "aborted" {
		f := fail(251, "Given transaction number %d does not match any in-progress transactions.", number)
		f.labels = []string{"TransientTransactionError"}
		return f
	}
	if t.ended != "" && r.name != "commitTransaction" && r.name != "abortTransaction" {
		return fail(256, "Transaction with { txnNumber: %d } has been committed.", number)
	}
	r.txn = t
	return nil
}

// lookupIn is a collection as a request sees it.
func (s *Server) lookupIn(t *transaction, ns string) collection {
	if t != nil {
		if v, ok := t.views[ns]; ok {
			return v
		}
	}
	return s.lookup(ns)
}

// writableIn is writable for a request, which may be in a transaction.
func (s *Server) writableIn(r *request, create bool) (*stored, error) {
	c, err := s.writable(r.ns(), create)
	if r.txn == nil || err != nil || c == nil {
		return c, err
	}
	if v, ok := r.txn.views[r.ns()]; ok {
		return v, nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	view := &stored{entries: slices.Clone(c.entries), inserts: c.inserts, bytes: c.bytes, images: c.images, uuid: c.uuid, db: c.db, coll: c.coll}
	t, before := r.txn, map[string]bsoncore.Document{}
	t.views[r.ns()], t.base[c] = view, before
	view.note = func(ch change) {
		ch.of = c
		if key := keyOf(ch.id); !t.touched(c, ch.id) {
			before[key] = ch.before // nil for an insert
		}
		t.changes = append(t.changes, ch)
	}
	return view, nil
}

func keyOf(id value) string { return string(rune(rank(id))) + string(id.Data) }

func (t *transaction) touched(c *stored, id value) bool {
	_, ok := t.base[c][keyOf(id)]
	return ok
}

func commitTransaction(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if r.txn == nil {
		return dst, fail(251, "commitTransaction must be run within a transaction")
	}
	if r.txn.ended == "" {
		if err := c.server.commit(r.txn); err != nil {
			r.txn.ended = "aborted"
			return dst, err
		}
		r.txn.ended = "committed"
	}
	return reply(dst, bson.D{fine})
}

func abortTransaction(_ context.Context, _ *conn, r *request, dst []byte) ([]byte, error) {
	switch {
	case r.txn == nil:
		return dst, fail(251, "abortTransaction must be run within a transaction")
	case r.txn.ended == "committed":
		return dst, fail(256, "Transaction with { txnNumber: %d } has been committed.", r.txn.number)
	}
	r.txn.ended, r.txn.views, r.txn.changes = "aborted", nil, nil
	return reply(dst, bson.D{fine})
}

// commit makes all changes at once, as one entry of the oplog, or none.
func (s *Server) commit(t *transaction) error {
	var locked []*stored
	for c := range t.base {
		locked = append(locked, c)
	}
	slices.SortFunc(locked, func(a, b *stored) int { return bytes.Compare(a.uuid[:], b.uuid[:]) })
	for _, c := range locked {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	for _, ch := range t.changes {
		var now bsoncore.Document
		if i, found := ch.of.find(ch.id); found {
			now = ch.of.entries[i].doc
		}
		if was := t.base[ch.of][keyOf(ch.id)]; ch.of.dropped || !bytes.Equal(now, was) {
			f := fail(112, "Caused by :: WriteConflict error: this operation conflicted with another operation. Please retry your operation or multi-document transaction.")
			f.labels = []string{"TransientTransactionError"}
			return f
		}
	}
	for _, ch := range t.changes {
		ch.of.apply(ch)
	}
	if len(t.changes) > 0 {
		s.oplog.append(t, t.changes...)
	}
	t.views, t.changes, t.base = nil, nil, nil
	return nil
}

// apply makes a change that is noted by somebody else. It is called with mu held.
func (s *stored) apply(c change) {
	note := s.note
	s.note = nil
	defer func() { s.note = note }()
	i, found := s.find(c.id)
	switch {
	case c.op == opInsert:
		s.insertLocked(c.after)
	case found && c.op == opDelete:
		s.removeLocked(i)
	case found:
		s.replaceLocked(i, c.after, nil)
	}
}
