package mongotest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// followed is a source that follows collections of a replica set.
type followed struct {
	syncd.Source
	t      testing.TB
	stream syncd.Stream
	after  syncd.Offset
}

func replicaSet(t testing.TB, cfg fastmongo.Config) (*fastmongo.Server, server) {
	t.Helper()
	cfg.ReplicaSet = "rs"
	s, err := fastmongo.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, connectTo(t, s.URI())
}

func (s server) follow(t testing.TB, collections []string, settings ...string) *followed {
	t.Helper()
	f := &followed{t: t, Source: s.open(t, settings...)}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	var cs []syncd.Collection
	for _, c := range collections {
		cs = append(cs, syncd.Collection{Name: c})
	}
	streams, err := f.Abilities().Stream.Streams(t.Context(), cs)
	if err != nil || len(streams) != 1 {
		t.Fatalf("%v, %v (%s)", streams, err, syncd.HintOf(err))
	}
	f.stream = streams[0]
	f.now()
	return f
}

func (f *followed) now() {
	f.t.Helper()
	var err error
	if f.after, err = f.Abilities().Stream.Now(f.t.Context(), f.stream); err != nil {
		f.t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
}

// changes reads on until it has n changes, or fails.
func (f *followed) changes(n int) (all []syncd.Change, err error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	req := syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 50, BatchBytes: 4 << 20, Documents: true}
	for b, err := range f.Read(ctx, req) {
		if gone, ok := errors.AsType[*syncd.CollectionGoneError](err); ok {
			f.after = gone.After
		}
		if err != nil {
			return all, err
		}
		all = append(all, b.Changes...)
		if f.after = b.Offset; len(all) >= n {
			return all, nil
		}
	}
	return all, errors.New("the read ended by itself")
}

func shown(changes []syncd.Change) (out []string) {
	for _, c := range changes {
		line := c.Operation.String() + " " + c.Streamed.Collection + " " + c.ID
		if c.Document == nil {
			line += " (none)"
		}
		out = append(out, line)
	}
	return out
}

func wantShown(t testing.TB, got []syncd.Change, err error, want ...string) {
	t.Helper()
	if err != nil || !slices.Equal(shown(got), want) {
		t.Fatalf("%q, %v; want %q", shown(got), err, want)
	}
}

func (s server) insert(t testing.TB, collection string, ids ...any) {
	t.Helper()
	for _, id := range ids {
		if _, err := s.Collection(collection).InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}}); err != nil {
			t.Fatal(err)
		}
	}
}

// State per key, from the changes alone, must equal the database, whatever happens on the way; and changes of one key must come in
// order, each at least once.
func TestStreamedStateEqualsTheDatabase(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s, db := replicaSet(t, fastmongo.Config{})
			f := db.follow(t, []string{"page", "blog"}, "batch_size", "13")
			random := rand.New(rand.NewPCG(seed, 1))
			const writes = 700
			wrote := make(chan error, 1)
			go func() { wrote <- db.writeAtRandom(t.Context(), random, writes) }()
			docs := map[string]string{} // what the changes make of the database
			var last bson.Timestamp
			faults := rand.New(rand.NewPCG(seed, 2))
			done, batches := false, 0
			for !done {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 5, Documents: true}) {
					if err != nil {
						t.Fatalf("%v (%s)", err, syncd.HintOf(err))
					}
					for _, c := range b.Changes {
						// Each event comes once, behind those that were before it: the reader goes on behind what it has.
						raw := bson.Raw(c.Streamed.Raw)
						at, i := raw.Lookup("clusterTime").Timestamp()
						if now := (bson.Timestamp{T: at, I: i}); !now.After(last) {
							t.Fatalf("%v comes behind %v", now, last)
						} else {
							last = now
						}
						key := c.Streamed.Collection + "/" + string(c.Key)
						switch {
						case c.Operation == syncd.Delete:
							delete(docs, key)
						case c.Document != nil:
							docs[key] = bson.Raw(c.Document.(syncd.BSONDocument).BSON()).String()
						}
						done = done || c.ID == "end"
					}
					f.after = b.Offset
					if batches++; done || faults.IntN(40) == 0 {
						break // the reader is stopped
					}
					switch faults.IntN(60) {
					case 0:
						s.CloseConnections()
					case 1:
						s.Election(time.Millisecond)
					case 2:
						s.Inject(fastmongo.StreamError("getMore", 1, 43))
					case 3:
						s.Inject(fastmongo.StreamError("getMore", 1, 11600, fastmongo.ResumableLabel))
					}
				}
				cancel()
			}
			if err := <-wrote; err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // the client has connections that were closed
				for db.Client().Ping(context.Background(), nil) != nil {
				}
			})
			want := map[string]string{}
			for _, name := range []string{"page", "blog"} {
				for b, err := range f.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: name}}, BatchSize: 100, Documents: true}) {
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range b.Changes {
						want[name+"/"+string(c.Key)] = bson.Raw(c.Document.(syncd.BSONDocument).BSON()).String()
					}
				}
			}
			if !maps.Equal(docs, want) || len(want) < 5 {
				t.Errorf("behind %d batches %d documents, not %d, or they differ", batches, len(docs), len(want))
			}
		})
	}
}

// writeAtRandom makes changes of every kind, of ids of many types, with a version v that only grows, and one more with the id "end".
func (s server) writeAtRandom(ctx context.Context, random *rand.Rand, n int) error {
	ids := []any{int32(1), int64(2), 3.5, "1", "a", true, bson.DateTime(5), bson.D{{Key: "x", Value: 1}}, bson.NewObjectID(), ""}
	for v := range n {
		c := s.Collection([]string{"page", "blog", "other"}[random.IntN(3)])
		byID := bson.D{{Key: "_id", Value: ids[random.IntN(len(ids))]}}
		version := bson.E{Key: "v", Value: int64(v + 1)}
		write := func() error {
			switch random.IntN(4) {
			case 0:
				_, err := c.DeleteOne(ctx, byID)
				return err
			case 1:
				_, err := c.ReplaceOne(ctx, byID, bson.D{version, {Key: "pad", Value: strings.Repeat("r", random.IntN(50))}}, options.Replace().SetUpsert(true))
				return err
			default:
				_, err := c.UpdateOne(ctx, byID, bson.D{{Key: "$set", Value: bson.D{version}}}, options.UpdateOne().SetUpsert(true))
				return err
			}
		}
		err := write()
		for tries := 0; err != nil && tries < 50 && ctx.Err() == nil; tries++ { // the server steps down now and then
			time.Sleep(5 * time.Millisecond)
			err = write()
		}
		if err != nil {
			return err
		}
	}
	var err error
	for range 50 {
		if _, err = s.Collection("page").InsertOne(ctx, bson.D{{Key: "_id", Value: "end"}, {Key: "v", Value: int64(n + 1)}}); err == nil || mongodriver.IsDuplicateKeyError(err) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

func TestStreamOverAnElection(t *testing.T) {
	s, db := replicaSet(t, fastmongo.Config{})
	f := db.follow(t, []string{"page"})
	db.insert(t, "page", 1)
	got, err := f.changes(1)
	wantShown(t, got, err, "insert page 1")
	s.Election(300 * time.Millisecond)
	for {
		if _, err := db.Collection("page").InsertOne(t.Context(), bson.D{{Key: "_id", Value: 2}}); err == nil || mongodriver.IsDuplicateKeyError(err) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	got, err = f.changes(1)
	wantShown(t, got, err, "insert page 2")
}

// The oplog passes the stream, both while it is stopped and while it is read.
func TestStreamBehindTheOplog(t *testing.T) {
	s, db := replicaSet(t, fastmongo.Config{})
	f := db.follow(t, []string{"page"})
	db.insert(t, "page", 1)
	s.TruncateOplog()
	if _, err := f.changes(1); !errors.Is(err, syncd.ErrPositionLost) {
		t.Errorf("stopped: %v", err)
	}
	f.now()
	n := 0
	for b, err := range f.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 5, Documents: true}) {
		if err != nil {
			if !errors.Is(err, syncd.ErrPositionLost) {
				t.Errorf("running: %v", err)
			}
			return
		}
		if len(b.Changes) > 0 {
			t.Fatalf("%q came, though it was held back and forgotten", shown(b.Changes))
		}
		if n++; n == 2 {
			s.HoldStreams(true)
			db.insert(t, "page", 2)
			s.TruncateOplog()
			s.HoldStreams(false)
		}
		if n > 20 {
			t.Fatal("what was forgotten is passed over in silence")
		}
	}
}

func TestStreamWithLargeDocuments(t *testing.T) {
	const most = 16<<20 - 200
	for name, quirks := range map[string]fastmongo.Quirks{"in pieces": {}, "that can't be sent": {NoSplit: true}} {
		t.Run(name, func(t *testing.T) {
			s, db := replicaSet(t, fastmongo.Config{})
			s.SetQuirks(quirks)
			f := db.follow(t, []string{"page"})
			set := func(id any, text string) {
				t.Helper()
				_, err := db.Collection("page").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "text", Value: text}}}}, options.UpdateOne().SetUpsert(true))
				if err != nil {
					t.Fatal(err)
				}
			}
			db.insert(t, "page", 1)
			set("large", strings.Repeat("x", most))
			db.insert(t, "page", 2)
			set("large", strings.Repeat("y", most-100))
			db.insert(t, "page", 3)
			got, err := f.changes(5)
			wantShown(t, got, err, "insert page 1", "insert page large", "insert page 2", "update page large", "insert page 3")
			if v, err := got[3].Document.Lookup("text"); err != nil || v.Text != strings.Repeat("y", most-100) {
				t.Errorf("the text has %d bytes, %v", len(v.Text), err)
			}
			raw := bson.Raw(got[3].Streamed.Raw)
			if (raw == nil) != quirks.NoSplit || raw != nil && (raw.Validate() != nil || len(raw) < 2*(most-100)) {
				t.Errorf("an event of %d bytes", len(raw))
			}
		})
	}
}

func TestStreamOfServersThatKnowLess(t *testing.T) {
	s, db := replicaSet(t, fastmongo.Config{})
	s.SetQuirks(fastmongo.Quirks{NoSplit: true, NoStartAfter: true})
	f := db.follow(t, []string{"page"})
	db.insert(t, "page", 1)
	got, err := f.changes(1)
	wantShown(t, got, err, "insert page 1")
	db.insert(t, "page", 2)
	got, err = f.changes(1)
	wantShown(t, got, err, "insert page 2")
	s.SetQuirks(fastmongo.Quirks{NoChangeStreams: true})
	if _, err := f.Abilities().Stream.Now(t.Context(), f.stream); err == nil || !strings.Contains(syncd.HintOf(err), "--every") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	alone, err := fastmongo.Start(t.Context(), fastmongo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alone.Close() })
	src := connectTo(t, alone.URI()).open(t)
	defer src.Close()
	if _, err := src.Abilities().Stream.Streams(t.Context(), f.stream.Collections); err == nil || !strings.Contains(syncd.HintOf(err), "--replSet") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

func TestStreamOfCollectionsThatGo(t *testing.T) {
	_, db := replicaSet(t, fastmongo.Config{})
	rename := func(from, to string) {
		t.Helper()
		err := db.Client().Database("admin").RunCommand(t.Context(), bson.D{
			{Key: "renameCollection", Value: sourceDatabase + "." + from}, {Key: "to", Value: sourceDatabase + "." + to}, {Key: "dropTarget", Value: true},
		}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	drop := func(name string) {
		t.Helper()
		if err := db.Collection(name).Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(f *followed, gone string, renamed bool, before ...string) {
		t.Helper()
		got, err := f.changes(1000)
		e, ok := errors.AsType[*syncd.CollectionGoneError](err)
		if !ok || e.Collection != gone || e.Renamed != renamed {
			t.Fatalf("%s: %v instead of %s, behind %q", f.stream.Name, err, gone, shown(got))
		}
		wantShown(t, got, nil, before...)
	}
	for _, scope := range []string{"database " + sourceDatabase, "collection page"} {
		f := db.follow(t, []string{"page", "blog"})
		f.stream.Name = scope
		if scope != "database "+sourceDatabase {
			f.stream.Collections = f.stream.Collections[:1]
		}
		f.now()
		db.insert(t, "page", 1)
		drop("page")
		db.insert(t, "page", 2)
		rename("page", "old")
		db.insert(t, "page", 3)
		db.insert(t, "new", 4)
		drop("page")
		rename("new", "page")
		db.insert(t, "page", 5)
		expect(f, "page", false, "insert page 1")
		expect(f, "page", true, "insert page 2")
		expect(f, "page", false, "insert page 3")
		expect(f, "page", true) // there is another of that name
		got, err := f.changes(1)
		wantShown(t, got, err, "insert page 5")
		if scope == "collection page" {
			continue
		}
		db.insert(t, "blog", 6)
		drop("blog")
		rename("page", "blog")
		db.insert(t, "blog", 7)
		expect(f, "blog", false, "insert blog 6")
		expect(f, "page", true)
		expect(f, "blog", true)
		if err := db.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		db.insert(t, "page", 8)
		expect(f, "blog", false, "insert blog 7")
		got, err = f.changes(1)
		wantShown(t, got, err, "insert page 8")
		drop("page")
	}
}

func TestStreamImages(t *testing.T) {
	_, db := replicaSet(t, fastmongo.Config{})
	with := options.CreateCollection().SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
	if err := errors.Join(db.CreateCollection(t.Context(), "with", with), db.CreateCollection(t.Context(), "without")); err != nil {
		t.Fatal(err)
	}
	lookup := db.follow(t, []string{"with", "without"})
	f := db.follow(t, []string{"with", "without"}, "stream.full_document", "when_available", "stream.before", "when_available")
	for _, name := range []string{"with", "without"} {
		c := db.Collection(name)
		db.insert(t, name, 1)
		for n := range 2 {
			if _, err := c.UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := f.changes(3)
		wantShown(t, got, err, "insert "+name+" 1", "update "+name+" 1", "update "+name+" 1")
		first, _ := got[1].Document.Lookup("n")
		if want := map[string]string{"with": "0", "without": "1"}[name]; first.Text != want {
			t.Errorf("%s: the first update has the document of number %s", name, first.Text)
		}
		if _, err := c.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
			t.Fatal(err)
		}
		got, err = f.changes(1)
		wantShown(t, got, err, "delete "+name+" 1 (none)")
	}
	got, err := lookup.changes(8)
	wantShown(t, got, err, "insert with 1", "update with 1 (none)", "update with 1 (none)", "delete with 1 (none)",
		"insert without 1", "update without 1 (none)", "update without 1 (none)", "delete without 1 (none)")
	strict := db.follow(t, []string{"without"}, "stream.full_document", "required")
	db.insert(t, "without", 2)
	if _, err := db.Collection("without").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: 2}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 2}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := strict.changes(2); err == nil || !strings.Contains(syncd.HintOf(err), "changeStreamPreAndPostImages") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

func TestStreamWindow(t *testing.T) {
	_, db := replicaSet(t, fastmongo.Config{})
	f := db.follow(t, []string{"page"})
	db.insert(t, "page", 1)
	w, err := f.Abilities().Stream.Window(t.Context(), f.stream)
	if err != nil || w.First.IsZero() || w.Last.Before(w.First) || time.Since(w.Last) > time.Minute {
		t.Errorf("%+v, %v", w, err)
	}
}

// wantNoStreams wants a server that has no change streams to be refused before anything is read.
func wantNoStreams(t *testing.T, uri string) {
	t.Helper()
	src := connectTo(t, uri).open(t)
	defer src.Close()
	_, err := src.Abilities().Stream.Streams(t.Context(), []syncd.Collection{{Name: "page"}})
	if err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.HasPrefix(err.Error(), "following database "+sourceDatabase+": ") || !strings.Contains(syncd.HintOf(err), "--every") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	t.Logf("%v (%s)", err, syncd.HintOf(err))
}

func TestStreamOfJavaServer(t *testing.T) { wantNoStreams(t, startJava(t).URI()) }
