package fastmongo

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

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
		s.forgetCursor(id)
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

func getMore(ctx context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	most := -1
	var id int64
	coll, patience := "", value{}
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
			patience = v
		default:
			if !ignoredFields[key] {
				return dst, fail(40415, "BSON field 'getMore.%s' is an unknown field.", key)
			}
		}
	}
	cur, err := s.takeCursor(id)
	if err != nil {
		return dst, err
	}
	if cur.ns != r.db+"."+coll {
		err = fail(codeUnauthorized, "Requested getMore on namespace '%s.%s', but cursor belongs to a different namespace %s", r.db, coll, cur.ns)
	} else if patience.Type != 0 && cur.stream == nil {
		err = fail(codeBadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor")
	}
	if err != nil {
		if _, lost := s.keepCursor(id, cur); lost != nil {
			return dst, lost
		}
		return dst, err
	}
	if cur.stream == nil {
		dst, err = s.replyCursor(dst, "nextBatch", id, cur, most, false)
	} else {
		wait := defaultAwait
		if patience.Type != 0 {
			wait = time.Duration(toInt(patience)) * time.Millisecond
		}
		dst, err = s.replyStream(ctx, dst, "nextBatch", id, cur, most, wait)
	}
	if err != nil {
		s.forgetCursor(id)
	}
	return dst, err
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

// takeCursor takes a cursor into use, which no other connection may do until it is kept or forgotten.
func (s *Server) takeCursor(id int64) (*cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cursors[id]
	switch {
	case c == nil:
		return nil, cursorNotFound(id)
	case c.busy:
		return nil, fail(12051, "cursor id %d is already in use", id)
	}
	c.busy = true
	return c, nil
}

// keepCursor keeps a cursor under its id, or a new one if that is 0. It fails if the cursor was killed while it was in use.
func (s *Server) keepCursor(id int64, c *cursor) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != 0 && s.cursors[id] != c {
		return 0, cmp.Or(c.killed, cursorNotFound(id))
	}
	// Unlike a small number, a random one can't be mixed up with another value by a client.
	for id == 0 || (s.cursors[id] != nil && s.cursors[id] != c) {
		id = rand.Int64()
	}
	c.busy = false
	s.cursors[id] = c
	return id, nil
}

// alive fails if a cursor in use was killed.
func (s *Server) alive(id int64, c *cursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != 0 && s.cursors[id] != c {
		return cmp.Or(c.killed, cursorNotFound(id))
	}
	return nil
}

func cursorNotFound(id int64) error { return fail(codeCursorNotFound, "cursor id %d not found", id) }

func (s *Server) forgetCursor(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.cursors[id]
	if ok && c.stream != nil && c.busy {
		c.killed = errKilled
		defer s.oplog.interrupt()
	}
	delete(s.cursors, id)
	return ok
}

var errKilled = fail(237, "operation was interrupted because a client killed the cursor")

// KillCursors ends all cursors and returns how many there were. The next getMore of each gets CursorNotFound (43), one under
// way, which waits for a change stream's events, CursorKilled (237).
func (s *Server) KillCursors() int { return s.killAll(errKilled) }

// killAll ends all cursors; getMores that are under way fail with err.
func (s *Server) killAll(err error) int {
	s.mu.Lock()
	n := len(s.cursors)
	for _, c := range s.cursors {
		if c.stream != nil {
			c.killed = err
		}
	}
	clear(s.cursors)
	s.mu.Unlock()
	s.oplog.interrupt()
	return n
}

// OpenCursors is the number of cursors that wait for a getMore.
func (s *Server) OpenCursors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.cursors {
		if !c.busy {
			n++
		}
	}
	return n
}
