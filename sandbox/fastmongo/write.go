package fastmongo

import (
	"bytes"
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// parts are the documents of a write command, which stand in its body or beside it.
func (r *request) parts(field string) []bsoncore.Document {
	if docs, ok := r.sections[field]; ok {
		return docs
	}
	var out []bsoncore.Document
	for rest := body(lookup(r.body, field).Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			return out
		}
		if d, ok := e.Value().DocumentOK(); ok {
			out = append(out, d)
		}
	}
}

// writeErrors answers a write of which some parts failed.
func (r *request) writeReply(dst []byte, d bson.D, errs bson.A) ([]byte, error) {
	if len(errs) > 0 {
		d = append(d, bson.E{Key: "writeErrors", Value: errs})
	}
	return reply(dst, append(d, fine))
}

func writeError(index int, err error) bson.D {
	f := asFailure(err)
	return append(bson.D{{Key: "index", Value: index}, {Key: "code", Value: f.code}, {Key: "errmsg", Value: f.msg}}, f.extra...)
}

// ordered reports whether a write ends at its first error.
func (r *request) ordered() bool {
	v := lookup(r.body, "ordered")
	return v.Type == 0 || truthy(v)
}

func insert(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if err := checkNamespace(r.ns()); err != nil {
		return dst, fail(73, "%v", err)
	}
	into, err := c.server.writableIn(r, true)
	if err != nil {
		return dst, err
	}
	n, errs := 0, bson.A{}
	for i, d := range r.parts("documents") {
		err := into.insertChecked(r.ns(), bytes.Clone(d))
		if errors.Is(err, errDropped) { // meanwhile
			if into, err = c.server.writableIn(r, true); err == nil {
				err = into.insertChecked(r.ns(), bytes.Clone(d))
			}
		}
		if err != nil {
			errs = append(errs, writeError(i, err))
			if r.ordered() {
				break
			}
			continue
		}
		n++
	}
	return r.writeReply(dst, bson.D{{Key: "n", Value: n}}, errs)
}

var errDropped = fail(175, "collection dropped")

// insertChecked stores a document as a server takes it from a client: with an _id, in front, of a type that is allowed there.
func (s *stored) insertChecked(ns string, doc bsoncore.Document) error {
	id := lookup(doc, "_id")
	switch id.Type {
	case bsoncore.TypeArray, bsoncore.TypeRegex, bsoncore.TypeUndefined:
		return fail(codeBadValue, "can't use a %s for _id", id.Type)
	}
	if len(doc) > maxDocument {
		return fail(10334, "BSONObj size: %d is invalid", len(doc))
	}
	if first, err := doc.IndexErr(0); err != nil || first.Key() != "_id" {
		doc = idFirst(doc, id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		return errDropped
	}
	if !s.insertLocked(doc) {
		id := lookup(doc, "_id")
		key := bson.D{{Key: "_id", Value: bson.RawValue{Type: bson.Type(id.Type), Value: id.Data}}}
		f := fail(codeDuplicateKey, "E11000 duplicate key error collection: %s index: _id_ dup key: { _id: %s }", ns, id)
		f.extra = bson.D{{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "keyValue", Value: key}}
		return f
	}
	return nil
}

// idFirst rebuilds a document with its _id, or a new one, in front.
func idFirst(doc bsoncore.Document, id value) bsoncore.Document {
	if id.Type == 0 {
		oid := bson.NewObjectID()
		id = value{Type: bsoncore.TypeObjectID, Data: oid[:]}
	}
	start, out := bsoncore.AppendDocumentStart(make([]byte, 0, len(doc)+32))
	out = append(bsoncore.AppendHeader(out, id.Type, "_id"), id.Data...)
	for rest := body(doc); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		if e.Key() != "_id" {
			out = append(out, e...)
		}
	}
	out, _ = bsoncore.AppendDocumentEnd(out, start)
	return out
}

// remove deletes the document with an _id.
func (s *stored) remove(id value) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.find(id)
	if found {
		s.removeLocked(i)
	}
	return found
}

// matching returns the _ids of the documents that match, at most so many unless most is 0. It is called with mu held.
func (s *stored) matching(f *filter, most int) (out []value) {
	w := indexWalk{of: s, bounds: f.bounds}
	w.eachLocked(func(r *row) verdict {
		if f.matchID(r.id) && f.matchDoc(r.doc) {
			out = append(out, r.id)
			if len(out) == most {
				return stopBehind
			}
		}
		return goOn
	})
	return out
}

func remove(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	from, err := c.server.writableIn(r, false)
	if err != nil {
		return dst, err
	}
	n, errs := 0, bson.A{}
	for i, d := range r.parts("deletes") {
		f, err := compileFilter(lookup(d, "q").Data)
		if err != nil {
			errs = append(errs, writeError(i, err))
			if r.ordered() {
				break
			}
			continue
		}
		if from == nil {
			continue
		}
		from.mu.Lock()
		for _, id := range from.matching(f, int(toInt(lookup(d, "limit")))) {
			at, _ := from.find(id)
			from.removeLocked(at)
			n++
		}
		from.mu.Unlock()
	}
	return r.writeReply(dst, bson.D{{Key: "n", Value: n}}, errs)
}

func update(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	in, err := c.server.writableIn(r, true)
	if err != nil {
		return dst, err
	}
	matched, modified, upserted, errs := 0, 0, bson.A{}, bson.A{}
	for i, d := range r.parts("updates") {
		n, m, id, err := in.update(r.ns(), d)
		matched, modified = matched+n, modified+m
		if id.Type != 0 {
			upserted = append(upserted, bson.D{{Key: "index", Value: i}, {Key: "_id", Value: bson.RawValue{Type: bson.Type(id.Type), Value: id.Data}}})
			matched++
		}
		if err != nil {
			errs = append(errs, writeError(i, err))
			if r.ordered() {
				break
			}
		}
	}
	out := bson.D{{Key: "n", Value: matched}, {Key: "nModified", Value: modified}}
	if len(upserted) > 0 {
		out = append(out, bson.E{Key: "upserted", Value: upserted})
	}
	return r.writeReply(dst, out, errs)
}

func (s *stored) update(ns string, d bsoncore.Document) (matched, modified int, upserted value, err error) {
	q, u := bsoncore.Document(lookup(d, "q").Data), lookup(d, "u")
	f, err := compileFilter(q)
	if err != nil {
		return 0, 0, value{}, err
	}
	change, err := compileUpdate(u)
	if err != nil {
		return 0, 0, value{}, err
	}
	most := 1
	if truthy(lookup(d, "multi")) {
		most = 0
	}
	s.mu.Lock()
	ids := s.matching(f, most)
	for _, id := range ids {
		at, _ := s.find(id)
		old := s.entries[at].doc
		next, diff, err := change(old)
		if err != nil {
			s.mu.Unlock()
			return matched, modified, value{}, err
		}
		if compare(lookup(next, "_id"), id) != 0 {
			s.mu.Unlock()
			return matched, modified, value{}, fail(66, "the (immutable) field '_id' was found to have been altered")
		}
		if len(next) > maxDocument {
			s.mu.Unlock()
			return matched, modified, value{}, fail(17419, "Resulting document after update is larger than %d", maxDocument)
		}
		matched++
		if !bytes.Equal(old, next) {
			s.replaceLocked(at, next, diff)
			modified++
		}
	}
	s.mu.Unlock()
	if len(ids) > 0 || !truthy(lookup(d, "upsert")) {
		return matched, modified, value{}, nil
	}
	start, fresh := bsoncore.AppendDocumentStart(nil)
	if id := lookup(q, "_id"); id.Type != 0 && (id.Type != bsoncore.TypeEmbeddedDocument || !isOperators(id.Data)) {
		fresh = append(bsoncore.AppendHeader(fresh, id.Type, "_id"), id.Data...)
	}
	fresh, _ = bsoncore.AppendDocumentEnd(fresh, start)
	doc, _, err := change(fresh)
	if err != nil {
		return 0, 0, value{}, err
	}
	if lookup(doc, "_id").Type == 0 {
		doc = idFirst(doc, value{})
	}
	return 0, 0, lookup(doc, "_id"), s.insertChecked(ns, doc)
}

func encoded(t bson.Type, data []byte) value { return value{Type: bsoncore.Type(t), Data: data} }
