package fastmongo_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// What streams do without faults is tested by package mongotest.

// replicaSet starts a server and returns a collection on it.
func replicaSet(t testing.TB, cfg fastmongo.Config) (*fastmongo.Server, *mongo.Collection) {
	t.Helper()
	cfg.ReplicaSet = "rs"
	s := start(t, cfg)
	return s, connect(t, s.URI()).Database("db").Collection("c")
}

func watch(t testing.TB, c *mongo.Collection, opts *options.ChangeStreamOptionsBuilder) *mongo.ChangeStream {
	t.Helper()
	if opts == nil {
		opts = options.ChangeStream()
	}
	cs, err := c.Watch(t.Context(), bson.A{}, opts.SetMaxAwaitTime(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close(context.Background()) })
	return cs
}

func put(t testing.TB, s *fastmongo.Server, ids ...any) {
	t.Helper()
	for _, id := range ids {
		if err := s.Insert("db.c", bson.D{{Key: "_id", Value: id}}); err != nil {
			t.Fatal(err)
		}
	}
}

// wantEvents reads events and compares their documents' ids.
func wantEvents(t testing.TB, cs *mongo.ChangeStream, ids ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range ids {
		if !cs.Next(ctx) {
			t.Fatalf("instead of %s: %v", id, cs.Err())
		}
		if got, _ := cs.Current.Lookup("documentKey", "_id").StringValueOK(); got != id {
			t.Fatalf("%v, want %s", cs.Current, id)
		}
	}
}

// wantEnd reads until the stream fails.
func wantEnd(t testing.TB, cs *mongo.ChangeStream, code int, label string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for cs.Err() == nil && cs.ID() != 0 {
		cs.TryNext(ctx)
	}
	wantCodeAndLabel(t, cs.Err(), code, label)
}

func wantCodeAndLabel(t testing.TB, err error, code int, label string) {
	t.Helper()
	if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorCode(code) || (label != "") != se.HasErrorLabel(cmp.Or(label, lost)) {
		t.Errorf("%v, want the code %d and the label %q", err, code, label)
	}
}

const lost = "NonResumableChangeStreamError"

func open(c *mongo.Collection, opts *options.ChangeStreamOptionsBuilder) error {
	cs, err := c.Watch(context.Background(), bson.A{}, opts)
	if err == nil {
		err = cs.Close(context.Background())
	}
	return err
}

// What is beyond a bound of the oplog is lost, for tokens, times and open streams.
func TestOplogBounds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var mu sync.Mutex
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	for name, c := range map[string]struct {
		oplog  fastmongo.Oplog
		exceed func(s *fastmongo.Server)
	}{
		"entries": {fastmongo.Oplog{Entries: 5}, func(s *fastmongo.Server) { put(t, s, "1", "2", "3", "4", "5") }},
		"bytes": {fastmongo.Oplog{Bytes: 20_000}, func(s *fastmongo.Server) {
			for i := range 30 {
				put(t, s, fmt.Sprint(i)+strings.Repeat("x", 1000))
			}
		}},
		"age": {fastmongo.Oplog{Age: time.Hour, Now: clock}, func(s *fastmongo.Server) {
			mu.Lock()
			now = now.Add(2 * time.Hour)
			mu.Unlock()
			put(t, s, "late")
		}},
		"truncation": {fastmongo.Oplog{}, func(s *fastmongo.Server) { s.TruncateOplog() }},
	} {
		t.Run(name, func(t *testing.T) {
			s, coll := replicaSet(t, fastmongo.Config{Oplog: c.oplog})
			put(t, s, "first")
			read, unread := watch(t, coll, nil), watch(t, coll, nil)
			at := s.OperationTime()
			put(t, s, "a")
			wantEvents(t, read, "a")
			token := read.ResumeToken()
			if err := open(coll, options.ChangeStream().SetStartAfter(token)); err != nil {
				t.Fatal(err)
			}
			c.exceed(s)
			wantCodeAndLabel(t, open(coll, options.ChangeStream().SetStartAfter(token)), 286, lost)
			wantCodeAndLabel(t, open(coll, options.ChangeStream().SetResumeAfter(token)), 286, lost)
			wantCodeAndLabel(t, open(coll, options.ChangeStream().SetStartAtOperationTime(&at)), 286, lost)
			wantEnd(t, unread, 286, lost)
			again := watch(t, coll, nil)
			put(t, s, "z")
			wantEvents(t, again, "z")
		})
	}
}

// A stream that has read everything outlives a truncation.
func TestTruncationBehindReader(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	put(t, s, "a")
	wantEvents(t, cs, "a")
	s.TruncateOplog()
	put(t, s, "b")
	wantEvents(t, cs, "b")
}

// Times never go back, and go on within a second.
func TestClockGoesBack(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s, c := replicaSet(t, fastmongo.Config{Oplog: fastmongo.Oplog{Now: func() time.Time { now = now.Add(-time.Second); return now }}})
	cs := watch(t, c, nil)
	last := s.OperationTime()
	for i := range 5 {
		put(t, s, fmt.Sprint(i))
		at := s.OperationTime()
		if !last.Before(at) {
			t.Errorf("%v is not behind %v", at, last)
		}
		last = at
	}
	wantEvents(t, cs, "0", "1", "2", "3", "4")
}

// A token from a collection is not one of another.
func TestTokenNotFound(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	put(t, s, "a")
	wantEvents(t, cs, "a")
	wantCodeAndLabel(t, open(c.Database().Collection("other"), options.ChangeStream().SetStartAfter(cs.Current.Lookup("_id").Document())), 280, lost)
	if err := open(c.Database().Collection("other"), options.ChangeStream().SetStartAfter(watch(t, c, nil).ResumeToken())); err != nil {
		t.Errorf("a token that names no event: %v", err)
	}
}

// A stream on a collection that is resumed behind its drop has yet to end.
func TestResumeBehindDrop(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	put(t, s, "a")
	s.Drop("db.c")
	wantEvents(t, cs, "a")
	if !cs.Next(t.Context()) {
		t.Fatal(cs.Err())
	}
	again := watch(t, c, options.ChangeStream().SetResumeAfter(cs.Current.Lookup("_id").Document()))
	if !again.Next(t.Context()) || again.Current.Lookup("operationType").StringValue() != "invalidate" || again.TryNext(t.Context()) || again.ID() != 0 {
		t.Errorf("%v, %v", again.Current, again.Err())
	}
}

// A rename onto a collection ends streams on that, too.
func TestRenameOnto(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	put(t, s, "a")
	onto := watch(t, c.Database().Collection("target"), nil)
	if err := s.Rename("db.c", "db.target", false); err != nil || len(s.Stored("db.target")) != 1 || s.Stored("db.c") != nil {
		t.Fatalf("renamed: %v", err)
	}
	if err := s.Rename("db.absent", "db.x", false); err == nil {
		t.Error("nothing was renamed")
	}
	for _, want := range []string{"rename", "invalidate"} {
		if !onto.Next(t.Context()) || onto.Current.Lookup("operationType").StringValue() != want {
			t.Fatalf("%v, %v", onto.Current, onto.Err())
		}
	}
	put(t, s, "b")
	if err := s.Rename("db.target", "db.c", false); err == nil {
		t.Error("a collection was overwritten")
	}
	if err := s.Rename("db.target", "db.c", true); err != nil || len(s.Stored("db.c")) != 1 {
		t.Errorf("onto another: %v", err)
	}
}

// Put, Insert, Delete and Drop are seen by streams.
func TestFunctionsAreEvents(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs, err := c.Database().Watch(t.Context(), bson.A{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cs.Close(context.Background()) }()
	id := func(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }
	if err := errors.Join(s.Put("db.c", id("b"), id("a")), s.Insert("db.c", id("c")), s.Put("db.c", id("d")), s.Generate("db.g", fastmongo.Documents(5, 100))); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Delete("db.c", "d"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	s.DropDatabase("db")
	var got []string
	for cs.Next(t.Context()) {
		what := cs.Current.Lookup("operationType").StringValue()
		if id, ok := cs.Current.Lookup("documentKey", "_id").StringValueOK(); ok {
			what += " " + id
		}
		if got = append(got, what); what == "invalidate" {
			break
		}
	}
	if want := []string{"insert b", "insert a", "insert c", "drop", "insert d", "delete d", "drop", "drop", "dropDatabase", "invalidate"}; !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, cs.Err())
	}
}

// An election ends waits with an error that drivers know what to do about, and closes what is open.
func TestElection(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	for _, away := range []time.Duration{0, 100 * time.Millisecond} {
		cs := watch(t, c, options.ChangeStream())
		put(t, s, "a")
		wantEvents(t, cs, "a")
		s.Delete("db.c", "a")
		if !cs.Next(t.Context()) {
			t.Fatal(cs.Err())
		}
		before := s.Counters().Commands["aggregate"]
		waiting := make(chan struct{})
		var once sync.Once
		s.OnCommand(func(name string, _ bson.Raw) {
			if name == "getMore" {
				once.Do(func() { close(waiting) })
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() { wantEvents(t, cs, "b") })
		<-waiting
		s.OnCommand(nil)
		s.Election(away)
		put(t, s, "b")
		wg.Wait()
		if opened := s.Counters().Commands["aggregate"] - before; opened == 0 {
			t.Error("the stream was not opened again")
		}
		s.Delete("db.c", "b")
	}
}

// While a server is away it is no primary.
func TestAway(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	direct := connect(t, strings.Replace(s.URI(), "replicaSet=rs", "directConnection=true", 1)+"&retryWrites=false&retryReads=false").Database("db")
	put(t, s, "a")
	s.Election(time.Hour)
	if err := direct.RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := direct.Collection("c").InsertOne(t.Context(), bson.D{})
	wantCode(t, err, 10107)
	_, err = direct.Collection("c").Find(t.Context(), bson.D{})
	wantCode(t, err, 13435)
	s.Election(0)
	if _, err := c.InsertOne(t.Context(), bson.D{}); err != nil {
		t.Error(err)
	}
}

// Without a majority streams are silent, while writes go on.
func TestHoldStreams(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	put(t, s, "a")
	wantEvents(t, cs, "a")
	s.HoldStreams(true)
	put(t, s, "b")
	token, times := cs.ResumeToken().String(), func() (last, majority bson.RawValue) {
		raw, err := c.Database().RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return raw.Lookup("lastWrite", "opTime", "ts"), raw.Lookup("lastWrite", "majorityOpTime", "ts")
	}
	late := watch(t, c, nil)
	for _, cs := range []*mongo.ChangeStream{cs, late} {
		if cs.TryNext(t.Context()) || cs.Err() != nil {
			t.Errorf("held: %v, %v", cs.Current, cs.Err())
		}
	}
	if got := cs.ResumeToken().String(); got != token {
		t.Errorf("the token moved from %s to %s", token, got)
	}
	if last, majority := times(); last.Equal(majority) {
		t.Error("the majority is at the end")
	}
	s.HoldStreams(false)
	wantEvents(t, cs, "b")
	wantEvents(t, late, "b")
	if last, majority := times(); !last.Equal(majority) {
		t.Errorf("%v, %v", last, majority)
	}
}

// A getMore that waits learns that its cursor was killed.
func TestKillWaitingCursor(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs, err := c.Watch(t.Context(), bson.A{}, options.ChangeStream().SetMaxAwaitTime(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		cs.Next(context.Background())
		ended <- cs.Err()
	}()
	for s.OpenCursors() > 0 { // until it is in use
		time.Sleep(time.Millisecond)
	}
	if n := s.KillCursors(); n != 1 {
		t.Errorf("%d cursors", n)
	}
	wantCode(t, <-ended, 237)
}

// A write that comes while a getMore begins to wait ends the wait: one that was overlooked would let this test wait for an hour.
func TestNoWakeUpIsLost(t *testing.T) {
	s, _ := replicaSet(t, fastmongo.Config{})
	reader := dialRaw(t, s)
	if err := reader.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	id := cursorID(t, reader.ask(t, bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$changeStream", Value: bson.D{}}}}}, {Key: "cursor", Value: bson.D{}}}))
	const rounds = 15_000
	asked := make(chan int, rounds)
	i := 0
	s.OnCommand(func(command string, _ bson.Raw) {
		if command != "getMore" { // the driver asks now and then how the server is
			return
		}
		asked <- i
		i++
		for begin := time.Now(); time.Since(begin) < time.Duration(i%400)*100*time.Nanosecond; { // so that it looks when the write comes
		}
	})
	var writer sync.WaitGroup
	writer.Go(func() {
		for range rounds {
			put(t, s, <-asked)
		}
	})
	for range rounds {
		reader.ask(t, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "maxTimeMS", Value: int64(time.Hour / time.Millisecond)}})
	}
	writer.Wait()
}

// Faults of streams leave other commands alone.
func TestStreamErrors(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	put(t, s, "x", "y", "z")
	s.Inject(fastmongo.StreamError("getMore", 1, 286))
	s.Inject(fastmongo.StreamError("aggregate", 1, 40573))
	wantCodeAndLabel(t, open(c, options.ChangeStream()), 40573, "")
	cs := watch(t, c, nil)
	if n, err := c.CountDocuments(t.Context(), bson.D{}); n != 3 || err != nil {
		t.Errorf("an aggregate that is no stream: %d, %v", n, err)
	}
	cur, err := c.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(1))
	if n, _ := drain(t, cur, err); n != 3 {
		t.Errorf("a cursor that is no stream: %d", n)
	}
	wantEnd(t, cs, 286, lost)
	s.Inject(fastmongo.StreamError("getMore", 2, 234, fastmongo.ResumableLabel))
	cs = watch(t, c, nil)
	put(t, s, "a")
	wantEvents(t, cs, "a")
}

func TestSilence(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	s.Inject(fastmongo.Fault{Commands: []string{"getMore"}, Streams: true, Times: fastmongo.Always, Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if cs.Next(ctx) || cs.Err() == nil {
		t.Errorf("%v, %v", cs.Current, cs.Err())
	}
}

func TestCloseConnections(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	put(t, s, "a")
	cs := watch(t, c, options.ChangeStream().SetBatchSize(1))
	for i := range 5 {
		put(t, s, fmt.Sprint(i))
		s.CloseConnections()
		wantEvents(t, cs, fmt.Sprint(i))
	}
}

// A driver goes on with a server that comes back, with what happened meanwhile, and the position of a client that ended is good.
func TestRestart(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cs := watch(t, c, nil)
	put(t, s, "a")
	wantEvents(t, cs, "a")
	token := cs.ResumeToken()
	if err := s.GoDown(); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, s.URI()+"&serverSelectionTimeoutMS=50").Ping(t.Context(), nil); err == nil {
		t.Error("the server answers while it is down")
	}
	put(t, s, "b")
	if n := s.OpenCursors(); n != 0 {
		t.Errorf("%d cursors", n)
	}
	if err := s.ComeUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, cs, "b")
	wantEvents(t, watch(t, connect(t, s.URI()).Database("db").Collection("c"), options.ChangeStream().SetStartAfter(token)), "b")
}

func TestFailPoints(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	admin := c.Database().Client().Database("admin")
	set := func(name string, mode any, data ...bson.E) error {
		return admin.RunCommand(t.Context(), bson.D{{Key: "configureFailPoint", Value: name}, {Key: "mode", Value: mode}, {Key: "data", Value: bson.D(data)}}).Err()
	}
	code := func(n int) bson.E { return bson.E{Key: "errorCode", Value: n} }
	find := bson.E{Key: "failCommands", Value: bson.A{"find"}}
	put(t, s, "a")
	read := func() error { return c.FindOne(t.Context(), bson.D{}).Err() }
	if err := errors.Join(set("failCommand", "alwaysOn", find, code(8000)), set("failCommand", "alwaysOn", find, code(8001))); err != nil {
		t.Fatal(err)
	}
	wantCode(t, read(), 8001) // the second replaces the first
	wantCode(t, read(), 8001)
	if err := errors.Join(set("failCommand", "off"), read(), set("failCommand", bson.D{{Key: "skip", Value: 1}, {Key: "times", Value: 1}}, find, code(8002)), read()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, read(), 8002)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	// The server labels what fails inside a getMore of a stream.
	cs := watch(t, c, nil)
	if err := set("failGetMoreAfterCursorCheckout", bson.D{{Key: "times", Value: 1}}, code(6)); err != nil {
		t.Fatal(err)
	}
	put(t, s, "b")
	wantEvents(t, cs, "b")
	for name, err := range map[string]error{
		"another":      set("noSuchPoint", "alwaysOn"),
		"no mode":      set("failCommand", "sometimes"),
		"unknown data": set("failCommand", "alwaysOn", bson.E{Key: "nonsense", Value: 1}),
	} {
		if err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func TestStreamQuirks(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	token := watch(t, c, nil).ResumeToken()
	s.SetQuirks(fastmongo.Quirks{NoChangeStreams: true})
	wantCodeAndLabel(t, open(c, options.ChangeStream()), 40324, "")
	s.SetQuirks(fastmongo.Quirks{NoStartAfter: true, NoSplit: true})
	wantCodeAndLabel(t, open(c, options.ChangeStream().SetStartAfter(token)), 40415, "")
	if err := open(c, options.ChangeStream().SetResumeAfter(token)); err != nil {
		t.Error(err)
	}
	_, err := c.Watch(t.Context(), bson.A{bson.D{{Key: "$changeStreamSplitLargeEvent", Value: bson.D{}}}})
	wantCodeAndLabel(t, err, 40324, "")
}

// The oplog can be read as MongoDB's can: its ends are the window that streams have.
func TestOplogCollection(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	put(t, s, "a", "b")
	log := c.Database().Client().Database("local").Collection("oplog.rs")
	ends := map[int]bson.Timestamp{}
	for _, way := range []int{1, -1} {
		var e struct {
			TS bson.Timestamp `bson:"ts"`
			Op string         `bson:"op"`
			NS string         `bson:"ns"`
		}
		if err := log.FindOne(t.Context(), bson.D{}, options.FindOne().SetSort(bson.D{{Key: "$natural", Value: way}})).Decode(&e); err != nil {
			t.Fatal(err)
		}
		if ends[way] = e.TS; way < 0 && (e.Op != "i" || e.NS != "db.c") {
			t.Errorf("%+v", e)
		}
	}
	if ends[-1] != s.OperationTime() || !ends[1].Before(ends[-1]) {
		t.Errorf("%v, the last operation at %v", ends, s.OperationTime())
	}
	if n, err := log.CountDocuments(t.Context(), bson.D{{Key: "op", Value: "i"}}); n != 2 || err != nil {
		t.Errorf("%d inserts, %v", n, err)
	}
	if _, err := log.InsertOne(t.Context(), bson.D{}); err == nil {
		t.Error("the oplog was written to")
	}
}

// Of two transactions on a document one is told to try again; so is one that a plain write has overtaken.
func TestWriteConflict(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	put(t, s, "a")
	cs := watch(t, c, nil)
	set := func(n int) bson.D {
		return bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}}
	}
	one := bson.D{{Key: "_id", Value: "a"}}
	session, err := c.Database().Client().StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(t.Context())
	tries := 0
	_, err = session.WithTransaction(t.Context(), func(ctx context.Context) (any, error) {
		if _, err := c.UpdateOne(ctx, one, set(1)); err != nil {
			return nil, err
		}
		if tries++; tries == 1 {
			_, err := c.UpdateOne(t.Context(), one, set(2))
			return nil, err
		}
		return nil, nil
	})
	if err != nil || tries != 2 {
		t.Fatalf("%d tries, %v", tries, err)
	}
	for _, want := range []int32{2, 1} {
		if !cs.Next(t.Context()) || cs.Current.Lookup("updateDescription", "updatedFields", "n").Int32() != want {
			t.Fatalf("%v, %v", cs.Current, cs.Err())
		}
	}
}

// A write that a driver repeats, since the answer was lost, is carried out once.
func TestRetriedWrite(t *testing.T) {
	s, c := replicaSet(t, fastmongo.Config{})
	cmd := bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 1}}}},
		{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}}, {Key: "txnNumber", Value: int64(1)}}
	insert := func() error { return c.Database().RunCommand(t.Context(), cmd).Err() }
	for range 2 {
		if err := insert(); err != nil {
			t.Error(err)
		}
	}
	cmd[3].Value = int64(2)
	wantCode(t, insert(), 11000) // another write
	if n := len(s.Stored("db.c")); n != 1 {
		t.Errorf("%d documents", n)
	}
}
