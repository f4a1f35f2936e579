package fastmongo

import (
	"context"
	"math/rand/v2"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

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
			id = toInt(v)
		case "collection":
			coll, _ = v.StringValueOK()
		case "batchSize":
			if n := toInt(v); n < 0 {
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
		id := toInt(e.Value())
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
