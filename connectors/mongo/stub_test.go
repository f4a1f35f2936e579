package mongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// stub is as much of a MongoDB server as this package talks to: enough for the driver to connect, log in (always refused),
// list, find and count. It keeps documents in memory, in the order of compareValues, and can be told to misbehave.
// Behaviour that matters in earnest is tested against real servers elsewhere; this one makes rare faults repeatable.
type stub struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu          sync.Mutex
	collections map[string][]bson.Raw
	uuids       map[string]byte // what tells each collection from one of its name that was there before
	made        byte
	open        []net.Conn
	cursors     map[int64][]bson.Raw
	nextCursor  int64
	random      *rand.Rand
	commands    []bson.Raw

	ignoreBounds bool
	rejectBounds bool
	ignoreMax    bool
	noCount      bool
	noSample     bool
	noHint       bool              // as for a view
	kinds        map[string]bson.D // what listCollections says about a collection beside its name
	estimates    map[string]int64  // what the metadata says, where that is not the truth
	// prepared may answer a command with bytes, without locks: for benchmarks. Set it before the first connection.
	prepared func(cmd bson.Raw) bson.Raw
	// intercept may answer a command in the stub's place: with a reply, or by cutting the connection.
	intercept func(name string, cmd bson.Raw) (reply bson.D, cut bool)
}

func newStub(t testing.TB) *stub {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{listener: l, collections: map[string][]bson.Raw{}, uuids: map[string]byte{}, cursors: map[int64][]bson.Raw{}, nextCursor: 1, random: rand.New(rand.NewPCG(1, 2))}
	s.conns.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.conns.Wait()
	})
	return s
}

func (s *stub) addr() string { return s.listener.Addr().String() }

func (s *stub) set(t testing.TB, collection string, docs ...any) {
	t.Helper()
	raws := make([]bson.Raw, len(docs))
	for i, d := range docs {
		b, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		raws[i] = b
	}
	slices.SortStableFunc(raws, func(a, b bson.Raw) int { return compareValues(a.Lookup("_id"), b.Lookup("_id")) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[collection] = raws
	if s.uuids[collection] == 0 {
		s.made++
		s.uuids[collection] = s.made
	}
}

func (s *stub) remove(collection string, id bson.RawValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[collection] = slices.DeleteFunc(slices.Clone(s.collections[collection]), func(d bson.Raw) bool {
		return d.Lookup("_id").Equal(id)
	})
}

func (s *stub) drop(collection string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.collections, collection)
	delete(s.uuids, collection)
}

func (s *stub) sent(name string) []bson.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.commands), func(c bson.Raw) bool {
		e, err := c.IndexErr(0)
		return err != nil || e.Key() != name
	})
}

func (s *stub) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open = append(s.open, c)
		s.mu.Unlock()
		s.conns.Go(func() {
			defer c.Close()
			for s.serve(c) == nil {
			}
		})
	}
}

// The wire protocol: a header of four int32 (length, request id, id answered, operation), then a body.
const (
	headerSize = 16
	opReply    = 1
	opQuery    = 2004
	opMsg      = 2013
)

func (s *stub) serve(c net.Conn) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(header[:])
	id := binary.LittleEndian.Uint32(header[4:])
	op := binary.LittleEndian.Uint32(header[12:])
	body := make([]byte, size-headerSize)
	if _, err := io.ReadFull(c, body); err != nil {
		return err
	}
	var cmd bson.Raw
	switch op {
	case opMsg:
		cmd = bson.Raw(body[5:]) // flags and the kind of section
	case opQuery:
		name := bytes.IndexByte(body[4:], 0)
		cmd = bson.Raw(body[4+name+1+8:])
	default:
		return errors.New("unknown operation")
	}
	cmd = cmd[:binary.LittleEndian.Uint32(cmd)]
	var doc bson.Raw
	if s.prepared != nil {
		doc = s.prepared(cmd)
	}
	if doc == nil {
		reply, cut := s.answer(cmd)
		if cut {
			return io.EOF
		}
		var err error
		if doc, err = bson.Marshal(reply); err != nil {
			return err
		}
	}
	prefix, answerOp := []byte{0, 0, 0, 0, 0}, uint32(opMsg)
	if op == opQuery {
		prefix, answerOp = make([]byte, 20), opReply
		prefix[16] = 1 // documents
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(headerSize+len(prefix)+len(doc)))
	out = binary.LittleEndian.AppendUint32(out, id)
	out = binary.LittleEndian.AppendUint32(out, id)
	out = binary.LittleEndian.AppendUint32(out, answerOp)
	_, err := (&net.Buffers{append(out, prefix...), doc}).WriteTo(c)
	return err
}

func failure(code int, name string) bson.D {
	return bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "codeName", Value: name}, {Key: "errmsg", Value: name + " by the stub"}}
}

// wanted reports whether a filter of listCollections takes a name: none, a text, or {$in: texts}.
func wanted(filter bson.RawValue, name string) bool {
	text, ok := filter.StringValueOK()
	if in, isIn := filter.DocumentOK(); isIn {
		values, _ := in.Lookup("$in").Array().Values()
		return slices.ContainsFunc(values, func(v bson.RawValue) bool { return v.StringValue() == name })
	}
	return !ok || text == name
}

func (s *stub) answer(cmd bson.Raw) (bson.D, bool) {
	first, err := cmd.IndexErr(0)
	if err != nil {
		return failure(9, "FailedToParse"), false
	}
	name := first.Key()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, bytes.Clone(cmd))
	if s.intercept != nil {
		if reply, cut := s.intercept(name, cmd); reply != nil || cut {
			return reply, cut
		}
	}
	ok := bson.E{Key: "ok", Value: 1}
	switch name {
	case "hello", "isMaster", "ismaster":
		return bson.D{
			{Key: "ismaster", Value: true}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true},
			{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000},
			{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 25}, {Key: "readOnly", Value: false},
			{Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}}, ok,
		}, false
	case "ping", "endSessions", "killCursors":
		return bson.D{ok}, false
	case "saslStart":
		return failure(codeAuthenticationFailed, "AuthenticationFailed"), false
	case "listCollections":
		var batch bson.A
		for c := range s.collections {
			if wanted(cmd.Lookup("filter", "name"), c) {
				kind := s.kinds[c]
				if kind == nil {
					uuid := bson.Binary{Subtype: bson.TypeBinaryUUID, Data: append(make([]byte, 15), s.uuids[c])}
					kind = bson.D{{Key: "type", Value: "collection"}, {Key: "info", Value: bson.D{{Key: "uuid", Value: uuid}}}}
				}
				batch = append(batch, append(bson.D{{Key: "name", Value: c}}, kind...))
			}
		}
		return cursorReply(0, "firstBatch", batch), false
	case "count": // EstimatedDocumentCount
		if s.noCount {
			return failure(59, "CommandNotFound"), false
		}
		c := cmd.Lookup("count").StringValue()
		n, known := s.estimates[c]
		if !known {
			n = int64(len(s.collections[c]))
		}
		return bson.D{{Key: "n", Value: n}, ok}, false
	case "aggregate":
		if size, err := cmd.LookupErr("pipeline", "0", "$sample", "size"); err == nil {
			return s.sample(cmd, int(size.AsInt64())), false
		}
		if _, err := cmd.LookupErr("pipeline", "0", "$collStats", "count"); err == nil {
			return s.stats(cmd), false
		}
		// CountDocuments
		docs := s.matching(s.collections[cmd.Lookup("aggregate").StringValue()], cmd.Lookup("pipeline", "0", "$match").Document())
		if len(docs) == 0 {
			return cursorReply(0, "firstBatch", nil), false
		}
		return cursorReply(0, "firstBatch", bson.A{bson.D{{Key: "n", Value: len(docs)}}}), false
	case "find":
		return s.find(cmd), false
	case "getMore":
		id := cmd.Lookup("getMore").AsInt64()
		docs, found := s.cursors[id]
		if !found {
			return failure(43, "CursorNotFound"), false
		}
		return s.batch(id, "nextBatch", docs, cmd), false
	}
	return failure(59, "CommandNotFound"), false
}

// stats answers a pipeline of $collStats and, for each further collection, $unionWith.
func (s *stub) stats(cmd bson.Raw) bson.D {
	names := []string{cmd.Lookup("aggregate").StringValue()}
	stages, _ := cmd.Lookup("pipeline").Array().Values()
	for _, stage := range stages[1:] {
		names = append(names, stage.Document().Lookup("$unionWith", "coll").StringValue())
	}
	var batch bson.A
	for _, name := range names {
		docs, found := s.collections[name]
		if !found {
			return failure(26, "NamespaceNotFound")
		}
		batch = append(batch, bson.D{{Key: "ns", Value: "db." + name}, {Key: "host", Value: "h:1"}, {Key: "count", Value: int32(len(docs))}})
	}
	return cursorReply(0, "firstBatch", batch)
}

func cursorReply(id int64, field string, batch bson.A) bson.D {
	if batch == nil {
		batch = bson.A{}
	}
	return bson.D{
		{Key: "cursor", Value: bson.D{{Key: "id", Value: id}, {Key: "ns", Value: "db.c"}, {Key: field, Value: batch}}},
		{Key: "ok", Value: 1},
	}
}

func (s *stub) find(cmd bson.Raw) bson.D {
	filter, _ := cmd.Lookup("filter").DocumentOK()
	docs := s.matching(s.collections[cmd.Lookup("find").StringValue()], filter)
	lower, minErr := cmd.LookupErr("min", "_id")
	upper, maxErr := cmd.LookupErr("max", "_id")
	if (minErr == nil || maxErr == nil) && s.rejectBounds {
		return failure(238, "NotImplemented")
	}
	if _, err := cmd.LookupErr("hint"); err == nil && s.noHint {
		return failure(2, "BadValue")
	}
	if (minErr == nil || maxErr == nil) && !s.ignoreBounds {
		// As MongoDB does it: what is not given is MinKey and MaxKey, and the upper one is always exclusive.
		if minErr != nil {
			lower, minErr = bson.RawValue{Type: bson.TypeMinKey}, nil
		}
		if maxErr != nil {
			upper, maxErr = bson.RawValue{Type: bson.TypeMaxKey}, nil
		}
		if _, err := cmd.LookupErr("hint"); err != nil {
			return failure(51173, "no hint")
		}
		if compareValues(lower, upper) >= 0 {
			return failure(51175, "min does not come before max")
		}
		docs = slices.DeleteFunc(docs, func(d bson.Raw) bool {
			id := d.Lookup("_id")
			return minErr == nil && compareValues(id, lower) < 0 || maxErr == nil && !s.ignoreMax && compareValues(id, upper) >= 0
		})
	}
	if cmd.Lookup("sort", "_id").AsInt64() < 0 {
		slices.Reverse(docs)
	}
	if limit, err := cmd.LookupErr("limit"); err == nil {
		docs = docs[:min(len(docs), int(limit.AsInt64()))]
	}
	id := s.nextCursor
	s.nextCursor++
	return s.batch(id, "firstBatch", docs, cmd)
}

// sample gives documents at random, some more than once, as MongoDB may.
func (s *stub) sample(cmd bson.Raw, n int) bson.D {
	docs := s.collections[cmd.Lookup("aggregate").StringValue()]
	if s.noSample {
		return failure(40324, "Unrecognized pipeline stage name")
	}
	var picked []bson.Raw
	for range min(n, 3*len(docs)) {
		picked = append(picked, docs[s.random.IntN(len(docs))])
	}
	slices.SortStableFunc(picked, func(a, b bson.Raw) int { return compareValues(a.Lookup("_id"), b.Lookup("_id")) })
	id := s.nextCursor
	s.nextCursor++
	return s.batch(id, "firstBatch", picked, cmd.Lookup("cursor").Document())
}

// matching knows the filters that tests use: {_id: {$in: […]}}, {field: value}, and {$and: […]} of them.
func (s *stub) matching(docs []bson.Raw, filter bson.Raw) []bson.Raw {
	match := compileFilter(filter)
	return slices.DeleteFunc(slices.Clone(docs), func(d bson.Raw) bool { return !match(d) })
}

func compileFilter(filter bson.Raw) func(doc bson.Raw) bool {
	var parts []func(bson.Raw) bool
	elements, _ := filter.Elements()
	for _, e := range elements {
		name, want := e.Key(), e.Value()
		if name == "$and" {
			list, _ := want.Array().Values()
			for _, p := range list {
				parts = append(parts, compileFilter(p.Document()))
			}
			continue
		}
		is := func(v bson.RawValue) bool { return compareValues(v, want) == 0 }
		if d, ok := want.DocumentOK(); ok {
			if in, err := d.LookupErr("$in"); err == nil {
				// By exact bytes: no test needs numbers of different types to match.
				set := map[string]bool{}
				list, _ := in.Array().Values()
				for _, v := range list {
					set[string(rune(v.Type))+string(v.Value)] = true
				}
				is = func(v bson.RawValue) bool { return set[string(rune(v.Type))+string(v.Value)] }
			}
		}
		parts = append(parts, func(doc bson.Raw) bool { return is(doc.Lookup(name)) })
	}
	return func(doc bson.Raw) bool {
		return !slices.ContainsFunc(parts, func(p func(bson.Raw) bool) bool { return !p(doc) })
	}
}

func (s *stub) batch(id int64, field string, docs []bson.Raw, cmd bson.Raw) bson.D {
	n := 101 // what a server gives first unless told otherwise
	if size, err := cmd.LookupErr("batchSize"); err == nil {
		n = int(size.AsInt64())
	}
	n = min(n, len(docs))
	var batch bson.A
	for _, d := range docs[:n] {
		batch = append(batch, d)
	}
	delete(s.cursors, id)
	if single, _ := cmd.Lookup("singleBatch").BooleanOK(); n == len(docs) || single {
		id = 0
	} else {
		s.cursors[id] = docs[n:]
	}
	return cursorReply(id, field, batch)
}
