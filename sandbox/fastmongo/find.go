package fastmongo

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// firstBatch is how many documents a server returns first if it is not told.
const firstBatch = 101

// query is what a find asks for, before it is planned.
type query struct {
	ns          string
	filter      bsoncore.Document
	projection  bsoncore.Document
	sort        bsoncore.Document
	min, max    bsoncore.Document
	hint        value // missing, a name or a key pattern
	skip, limit int64
	batchSize   int
	single      bool
}

// Fields of commands that change nothing here. Every other unknown field is an error, as in MongoDB.
var ignoredFields = map[string]bool{
	"$db": true, "lsid": true, "$clusterTime": true, "$readPreference": true, "readConcern": true, "writeConcern": true, "comment": true,
	"maxTimeMS": true, "noCursorTimeout": true, "allowDiskUse": true, "allowPartialResults": true, "let": true, "txnNumber": true,
	"apiVersion": true, "apiStrict": true, "apiDeprecationErrors": true, "bypassDocumentValidation": true, "cursor": true,
	"ordered": true, "maxTime": true, "oplogReplay": true,
}

func readFind(r *request) (query, error) {
	q := query{ns: r.ns(), batchSize: firstBatch}
	for rest := body(r.body); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		switch key := e.Key(); key {
		case "find":
		case "filter":
			q.filter = v.Data
		case "projection":
			q.projection = v.Data
		case "sort":
			q.sort = v.Data
		case "min":
			q.min = v.Data
		case "max":
			q.max = v.Data
		case "hint":
			q.hint = v
		case "skip":
			q.skip = v.AsInt64()
		case "limit":
			q.limit = v.AsInt64()
		case "batchSize":
			if v.AsInt64() < 0 {
				return q, fail(51024, "BSON field 'batchSize' value must be >= 0, actual value '%d'", v.AsInt64())
			}
			q.batchSize = int(v.AsInt64())
		case "singleBatch":
			q.single = truthy(v)
		case "collation":
			if locale, _ := lookup(v.Data, "locale").StringValueOK(); locale != "simple" {
				return q, fail(238, "collation %q is not implemented here", locale)
			}
		case "returnKey", "showRecordId", "tailable", "awaitData":
			if truthy(v) {
				return q, fail(238, "%s is not implemented here", key)
			}
		default:
			if !ignoredFields[key] {
				return q, fail(40415, "BSON field 'FindCommandRequest.%s' is an unknown field.", key)
			}
		}
	}
	if q.skip < 0 {
		return q, fail(51024, "BSON field 'skip' value must be >= 0, actual value '%d'", q.skip)
	}
	if q.limit < 0 {
		return q, fail(51024, "BSON field 'limit' value must be >= 0, actual value '%d'", q.limit)
	}
	return q, nil
}

// plan makes a cursor of a query.
func (s *Server) plan(q query) (*cursor, error) {
	c := &cursor{ns: q.ns, skip: q.skip, left: -1}
	if q.limit > 0 {
		c.left = q.limit
	}
	var err error
	if c.filter, err = compileFilter(q.filter); err != nil {
		return nil, err
	}
	s.count.inKeys.Add(int64(c.filter.inKeys))
	if c.projection, err = compileProjection(q.projection); err != nil {
		return nil, err
	}
	o, bySort, err := sortOrder(q.sort)
	if err != nil {
		return nil, err
	}
	coll := s.lookup(q.ns)
	if coll == nil {
		c.walk = nothing{}
		return c, nil
	}
	hinted, err := s.useHint(&q)
	if err != nil {
		return nil, err
	}
	b := c.filter.bounds
	bounded, err := s.minMax(&b, q, hinted)
	if err != nil {
		return nil, err
	}
	// Any of these makes MongoDB read the _id index; if nothing but _id is asked for, it reads nothing else. With min or max
	// it fetches each document that it has to filter.
	c.keys = hinted == ascending || o != natural || c.filter.usesID
	if c.keys && o == natural {
		o = ascending
	}
	if hinted == natural && q.hint.Type != 0 {
		c.keys = false
	}
	c.covered = c.keys && c.projection.onlyID() && len(c.filter.byDoc) == 0 && bySort == nil && (!bounded || len(body(q.filter)) <= 1)
	if c.walk, err = coll.walk(b, o); err != nil {
		return nil, err
	}
	if bySort != nil {
		err = s.sorted(c, bySort)
	}
	return c, err
}

// sortOrder reads a sort: by _id alone an index gives it, by anything else it is made.
func sortOrder(sort bsoncore.Document) (order, sorting, error) {
	var by sorting
	for rest := body(sort); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		n, number := e.Value().AsInt64OK()
		if e.Key() == "$natural" {
			continue
		}
		if !number || (n != 1 && n != -1) {
			return natural, nil, fail(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
		}
		by = append(by, sortKey{path: strings.Split(e.Key(), "."), down: n < 0})
	}
	switch {
	case len(by) == 0:
		return natural, nil, nil
	case len(by[0].path) == 1 && by[0].path[0] == "_id" && by[0].down:
		return descending, nil, nil // _id is unique, whatever follows
	case len(by[0].path) == 1 && by[0].path[0] == "_id":
		return ascending, nil, nil
	}
	return natural, by, nil
}

type sorting []sortKey

type sortKey struct {
	path []string
	down bool
}

// compare looks at one value per key; MongoDB looks for the least or greatest element where that is an array.
func (s sorting) compare(a, b bsoncore.Document) int {
	for _, k := range s {
		c := compare(dig(a, k.path), dig(b, k.path))
		if k.down {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func dig(doc bsoncore.Document, path []string) value {
	v := lookup(doc, path[0])
	for _, name := range path[1:] {
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return value{}
		}
		v = lookup(v.Data, name)
	}
	return v
}

// mostSorted bounds what is sorted in memory, as MongoDB does with 100 MB.
const mostSorted = 100 << 20

// sorted replaces the cursor's walk by one through the sorted documents.
func (s *Server) sorted(c *cursor, by sorting) error {
	docs, err := s.collect(&cursor{walk: c.walk, filter: c.filter, keys: c.keys})
	if err != nil {
		return err
	}
	slices.SortStableFunc(docs, by.compare)
	c.walk, c.filter, c.keys = &results{docs}, nil, false
	return nil
}

// collect reads a cursor into memory.
func (s *Server) collect(c *cursor) ([]bsoncore.Document, error) {
	var docs []bsoncore.Document
	size := 0
	err := c.documents(&s.count, func(d bsoncore.Document) bool {
		docs = append(docs, bytes.Clone(d))
		size += len(d)
		return size <= mostSorted
	})
	if err == nil && size > mostSorted {
		err = fail(292, "this takes more memory than %d bytes", mostSorted)
	}
	return docs, err
}

// useHint reads the hint: ascending for the _id index, natural for none or the collection itself.
func (s *Server) useHint(q *query) (order, error) {
	bad := fail(codeBadValue, "error processing query: ns=%s planner returned error :: caused by :: "+
		"hint provided does not correspond to an existing index", q.ns)
	switch h := q.hint; h.Type {
	case 0:
		return natural, nil
	case bsoncore.TypeString:
		if h.StringValue() != "_id_" {
			return natural, bad
		}
		return ascending, nil
	case bsoncore.TypeEmbeddedDocument:
		switch keys, _ := bsoncore.Document(h.Data).Elements(); {
		case len(keys) == 0:
			q.hint = value{}
			return natural, nil
		case len(keys) == 1 && keys[0].Key() == "$natural":
			return natural, nil
		case len(keys) == 1 && keys[0].Key() == "_id" && keys[0].Value().IsNumber() && keys[0].Value().AsInt64() == 1:
			return ascending, nil
		}
		return natural, bad
	}
	return natural, fail(9, "hint must be a string or an object")
}

// minMax narrows the bounds as min and max say: min is inclusive, max exclusive. A missing max is MaxKey, exclusive too, so
// that a document whose _id is MaxKey lies in no range that has no max; that is MongoDB's way.
func (s *Server) minMax(b *bounds, q query, hinted order) (bool, error) {
	hasMin, hasMax := len(body(q.min)) > 1, len(body(q.max)) > 1
	quirks := s.quirks.Load()
	switch {
	case !hasMin && !hasMax, quirks.IgnoreBounds:
		return false, nil
	case quirks.RejectBounds:
		return false, fail(238, "min and max are not supported")
	case q.hint.Type == 0:
		return false, fail(51173, "When using min()/max() a hint of which index to use must be provided")
	case hinted != ascending:
		return false, fail(51174, "The index chosen is not compatible with min/max")
	}
	lower, upper := minKey, maxKey
	for _, side := range []struct {
		doc  bsoncore.Document
		have bool
		into *value
	}{{q.min, hasMin, &lower}, {q.max, hasMax, &upper}} {
		if !side.have {
			continue
		}
		elements, _ := side.doc.Elements()
		if len(elements) != 1 || elements[0].Key() != "_id" {
			return false, fail(51174, "The index chosen is not compatible with min/max")
		}
		*side.into = elements[0].Value()
	}
	if compare(lower, upper) >= 0 {
		return false, fail(51175, "The value provided for min() does not come before the value provided for max() in the hinted index")
	}
	b.lower = append(slices.Clone(b.lower), before(lower))
	b.upper = append(slices.Clone(b.upper), before(upper))
	return true, nil
}

func find(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	q, err := readFind(r)
	if err != nil {
		return dst, err
	}
	cur, err := c.server.plan(q)
	if err != nil {
		return dst, err
	}
	return c.server.replyCursor(dst, "firstBatch", 0, cur, q.batchSize, q.single)
}

// replyCursor appends a reply with the next batch of a cursor, and keeps the cursor if there may be more. id is 0 for a new
// one.
func (s *Server) replyCursor(dst []byte, field string, id int64, c *cursor, most int, single bool) ([]byte, error) {
	reply, dst := bsoncore.AppendDocumentStart(dst)
	inner, dst := bsoncore.AppendDocumentElementStart(dst, "cursor")
	b := batch{dst: dst, most: most, bytes: s.replyBytes}
	b.begin(field)
	end, err := c.fill(&b, &s.count)
	if err != nil {
		return dst, err
	}
	b.end()
	s.count.returned.Add(int64(b.n))
	if end || single {
		id = 0
	} else {
		if id, err = s.keepCursor(id, c); err != nil {
			return dst, err
		}
	}
	dst = bsoncore.AppendInt64Element(b.dst, "id", id)
	dst = bsoncore.AppendStringElement(dst, "ns", c.ns)
	dst, _ = bsoncore.AppendDocumentEnd(dst, inner)
	dst = bsoncore.AppendDoubleElement(dst, "ok", 1)
	dst, _ = bsoncore.AppendDocumentEnd(dst, reply)
	return dst, nil
}

func getMore(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	most := -1
	var id int64
	coll := ""
	for rest := body(r.body); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		switch key := e.Key(); key {
		case "getMore":
			id = v.AsInt64()
		case "collection":
			coll, _ = v.StringValueOK()
		case "batchSize":
			if n := v.AsInt64(); n < 0 {
				return dst, fail(51024, "BSON field 'batchSize' value must be >= 0, actual value '%d'", n)
			} else if n > 0 {
				most = int(n)
			}
		case "maxTimeMS":
			return dst, fail(codeBadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor")
		default:
			if !ignoredFields[key] {
				return dst, fail(40415, "BSON field 'getMore.%s' is an unknown field.", key)
			}
		}
	}
	cur := s.takeCursor(id)
	if cur == nil {
		return dst, cursorNotFound(id)
	}
	if cur.ns != r.db+"."+coll {
		if _, err := s.keepCursor(id, cur); err != nil {
			return dst, err
		}
		return dst, fail(codeUnauthorized, "Requested getMore on namespace '%s.%s', but cursor belongs to a different namespace %s", r.db, coll, cur.ns)
	}
	return s.replyCursor(dst, "nextBatch", id, cur, most, false)
}

func killCursors(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	killed, unknown := bson.A{}, bson.A{}
	for rest := body(lookup(r.body, "cursors").Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		id := e.Value().AsInt64()
		if c.server.forgetCursor(id) {
			killed = append(killed, id)
		} else {
			unknown = append(unknown, id)
		}
	}
	return reply(dst, bson.D{
		{Key: "cursorsKilled", Value: killed}, {Key: "cursorsNotFound", Value: unknown},
		{Key: "cursorsAlive", Value: bson.A{}}, {Key: "cursorsUnknown", Value: bson.A{}}, {Key: "ok", Value: 1.0},
	})
}

// takeCursor takes a cursor out, so that no other connection uses it at the same time.
func (s *Server) takeCursor(id int64) *cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cursors[id]
	delete(s.cursors, id)
	return c
}

// keepCursor keeps a cursor under its id, or a new one if that is 0. It fails if all cursors were killed while this one was
// out.
func (s *Server) keepCursor(id int64, c *cursor) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != 0 && c.epoch != s.cursorEpoch {
		return 0, cursorNotFound(id)
	}
	// Unlike a small number, a random one can't be mixed up with another value by a client.
	for id == 0 || (c.epoch == 0 && s.cursors[id] != nil) {
		id = rand.Int64()
	}
	c.epoch = s.cursorEpoch
	s.cursors[id] = c
	return id, nil
}

func cursorNotFound(id int64) error { return fail(codeCursorNotFound, "cursor id %d not found", id) }

func (s *Server) forgetCursor(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.cursors[id]
	delete(s.cursors, id)
	return ok
}

// KillCursors ends all cursors and returns how many there were. The next getMore of each gets CursorNotFound (43).
func (s *Server) KillCursors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.cursors)
	clear(s.cursors)
	s.cursorEpoch++
	return n
}

// OpenCursors is the number of cursors that wait for a getMore.
func (s *Server) OpenCursors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cursors)
}
