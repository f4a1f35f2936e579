package mongo

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
)

// feed gives a stub change streams: it keeps events in order, and cursors over them. An event's token is its number times ten, and
// what a server says behind an event where nothing follows is five more.
type feed struct {
	*stub
	events  []bson.Raw
	cursors map[int64]*feedCursor
	next    int64
	// faults are the answers to the next commands of a name; nil is the true answer.
	faults map[string][]bson.D
	// always is the answer to every command of a name.
	always map[string]bson.D
	large  map[int]bool // events, by number from 1, that are sent only without their documents

	noToken, noTokenInFirst bool
	noSplit, noStartAfter   bool
	noTime, noMatch         bool
}

type feedCursor struct {
	pos    int // a token's number
	batch  int
	names  []string // of the collections that pass; nil is all
	narrow bool
	ended  bool
}

// cutting is a fault: the connection ends.
var cutting = bson.D{{Key: "cut", Value: true}}

func labelled(code int, labels ...string) bson.D {
	return append(failure(code, fmt.Sprintf("code %d", code)), bson.E{Key: "errorLabels", Value: labels})
}

func newFeed(t testing.TB) *feed {
	t.Helper()
	f := &feed{stub: newStub(t), cursors: map[int64]*feedCursor{}, next: 1000, faults: map[string][]bson.D{}, always: map[string]bson.D{}, large: map[int]bool{}}
	f.intercept = f.answer
	return f
}

// do changes the feed while the server runs.
func (f *feed) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func token(n int) bson.Raw {
	raw, err := bson.Marshal(bson.D{{Key: "_data", Value: fmt.Sprintf("%08d", n)}})
	if err != nil {
		panic(err)
	}
	return raw
}

func tokenNumber(v bson.RawValue) int {
	n := 0
	if d, ok := v.DocumentOK(); ok {
		_, _ = fmt.Sscanf(d.Lookup("_data").StringValue(), "%d", &n)
	}
	return n
}

// change adds an event; what it lacks is added.
func (f *feed) change(operation, collection string, id any, more ...bson.E) {
	n := len(f.events) + 1
	e := bson.D{
		{Key: "_id", Value: token(10 * n)}, {Key: "operationType", Value: operation},
		{Key: "clusterTime", Value: bson.Timestamp{T: uint32(1_700_000_000 + n), I: 1}},
		{Key: "wallTime", Value: bson.DateTime(1_700_000_000_000 + 1000*int64(n) + 7)},
	}
	if collection != "" {
		e = append(e, bson.E{Key: "ns", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: collection}}})
	}
	if id != nil {
		e = append(e, bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}})
	}
	f.raw(append(e, more...))
}

func (f *feed) raw(e bson.D) {
	raw, err := bson.Marshal(e)
	if err != nil {
		panic(err)
	}
	f.events = append(f.events, raw)
}

func full(id any, more ...bson.E) bson.E {
	return bson.E{Key: "fullDocument", Value: append(bson.D{{Key: "_id", Value: id}}, more...)}
}

func to(collection string) bson.E {
	return bson.E{Key: "to", Value: bson.D{{Key: "db", Value: "db"}, {Key: "coll", Value: collection}}}
}

func (f *feed) answer(name string, cmd bson.Raw) (bson.D, bool) {
	stage, err := cmd.LookupErr("pipeline", "0", "$changeStream")
	opening := name == "aggregate" && err == nil
	var cursor *feedCursor
	if name == "getMore" {
		cursor = f.cursors[cmd.Lookup("getMore").AsInt64()]
	}
	if !opening && cursor == nil && name != "hello" && len(f.always) == 0 {
		return nil, false
	}
	if queue := f.faults[name]; len(queue) > 0 && (opening || cursor != nil) {
		f.faults[name] = queue[1:]
		if queue[0] != nil {
			return queue[0], slices.Equal(queue[0], cutting)
		}
	}
	if always := f.always[name]; always != nil {
		return always, false
	}
	switch {
	case opening:
		return f.open(cmd, stage.Document()), false
	case cursor != nil:
		return f.more(cmd.Lookup("getMore").AsInt64(), cursor, "nextBatch"), false
	}
	return nil, false
}

func (f *feed) open(cmd, stage bson.Raw) bson.D {
	c := &feedCursor{pos: 10*len(f.events) + 5, batch: int(cmd.Lookup("cursor", "batchSize").AsInt64())}
	after, afterErr := stage.LookupErr("startAfter")
	resume, resumeErr := stage.LookupErr("resumeAfter")
	at, atErr := stage.LookupErr("startAtOperationTime")
	switch {
	case afterErr == nil && f.noStartAfter:
		return failure(40415, "unknown field startAfter")
	case afterErr == nil:
		c.pos = tokenNumber(after)
	case resumeErr == nil:
		c.pos = tokenNumber(resume)
		if i := c.pos/10 - 1; c.pos%10 == 0 && i >= 0 && i < len(f.events) && operationOf(f.events[i]) == opInvalidate {
			return failure(260, "InvalidResumeToken")
		}
	case atErr == nil:
		t, _, _ := at.TimestampOK()
		c.pos = 0
		for i, e := range f.events {
			if u, v, ok := e.Lookup("clusterTime").TimestampOK(); ok && (u < t || u == t && v < 1) {
				c.pos = 10 * (i + 1)
			}
		}
		if _, i, _ := at.TimestampOK(); i > 1 { // behind all of that second
			c.pos = 10 * int(t-1_700_000_000)
		}
	}
	stages, _ := cmd.Lookup("pipeline").Array().Values()
	for _, s := range stages {
		d := s.Document()
		if in, err := d.LookupErr("$match", "$or", "0", "ns.coll", "$in"); err == nil && !f.noMatch {
			list, _ := in.Array().Values()
			for _, v := range list {
				c.names = append(c.names, v.StringValue())
			}
		}
		if _, err := d.LookupErr("$project"); err == nil {
			c.narrow = true
		}
		if _, err := d.LookupErr("$changeStreamSplitLargeEvent"); err == nil && f.noSplit {
			return failure(40324, "Unrecognized pipeline stage name")
		}
	}
	if name, ok := cmd.Lookup("aggregate").StringValueOK(); ok {
		c.names = []string{name}
	}
	f.next++
	f.cursors[f.next] = c
	first := f.reply(f.next, "firstBatch", nil, c)
	if f.noTokenInFirst {
		first = cursorReply(f.next, "firstBatch", nil)
	}
	return first
}

func operationOf(e bson.Raw) string {
	o, _ := e.Lookup("operationType").StringValueOK() // a piece need not have one
	return o
}

func (c *feedCursor) passes(e bson.Raw) bool {
	if c.names == nil || operationOf(e) == opInvalidate {
		return true
	}
	from, _ := e.Lookup("ns", "coll").StringValueOK()
	other, _ := e.Lookup("to", "coll").StringValueOK()
	return slices.Contains(c.names, from) || slices.Contains(c.names, other)
}

func (f *feed) more(id int64, c *feedCursor, field string) bson.D {
	if c.ended {
		delete(f.cursors, id)
		return cursorReply(0, field, nil)
	}
	pos := c.pos
	var batch bson.A
	for i := pos / 10; i < len(f.events) && len(batch) < c.batch && !c.ended; i++ {
		e := f.events[i]
		pos = 10 * (i + 1)
		if !c.passes(e) {
			continue
		}
		if f.large[i+1] && !c.narrow {
			return failure(10334, "BSONObjectTooLarge")
		}
		if c.narrow {
			var all bson.D
			if err := bson.Unmarshal(e, &all); err != nil {
				panic(err)
			}
			all = slices.DeleteFunc(all, func(e bson.E) bool {
				return slices.Contains([]string{"fullDocument", "fullDocumentBeforeChange", "updateDescription"}, e.Key)
			})
			e, _ = bson.Marshal(all)
		}
		batch = append(batch, e)
		c.ended = operationOf(f.events[i]) == opInvalidate
	}
	c.pos = max(c.pos, pos)
	if c.pos == 10*len(f.events) && !c.ended && len(batch) == 0 {
		c.pos += 5
	}
	if len(batch) == 0 {
		time.Sleep(time.Millisecond)
	}
	if c.ended {
		delete(f.cursors, id)
		id = 0
	}
	return f.reply(id, field, batch, c)
}

func (f *feed) reply(id int64, field string, batch bson.A, c *feedCursor) bson.D {
	r := cursorReply(id, field, batch)
	if !f.noToken {
		r[0].Value = append(r[0].Value.(bson.D), bson.E{Key: "postBatchResumeToken", Value: token(c.pos)})
	}
	if !f.noTime {
		r = append(r, bson.E{Key: "operationTime", Value: bson.Timestamp{T: uint32(1_700_000_000 + len(f.events)), I: 1}})
	}
	return r
}

// openFeed opens a source on the feed whose pauses take no time.
func openFeed(t *testing.T, f *feed, set ...func(*Config)) (*source, *reasons) {
	t.Helper()
	cfg := config("mongodb://" + f.addr() + "/")
	for _, s := range set {
		s(cfg)
	}
	var r reasons
	opened, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler), Retried: r.add})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*source)
	s.awaitTime = 5 * time.Millisecond
	s.clock = retry.Clock{Now: time.Now, Sleep: noPause}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, &r
}

// whole is the stream of a database with such collections.
func whole(names ...string) *syncd.Stream {
	st := &syncd.Stream{Name: "database db"}
	for _, n := range names {
		st.Collections = append(st.Collections, syncd.Collection{Name: n})
	}
	return st
}

// read reads a stream until it has so many changes, or fails.
func read(t *testing.T, s *source, req syncd.ReadRequest, changes int) (all []syncd.Change, batches []syncd.Batch, err error) {
	t.Helper()
	if req.BatchSize == 0 {
		req.BatchSize = 100
	}
	seen := 0
	for b, err := range s.Read(t.Context(), req) {
		if err != nil {
			return all, batches, err
		}
		batches = append(batches, b)
		all = append(all, b.Changes...)
		if len(b.Changes) == 0 {
			seen++
		}
		if len(all) >= changes || seen > 2000 {
			break
		}
	}
	return all, batches, nil
}

func behindEvent(n int) syncd.Offset { return position{token: token(10 * n)}.offset() }
