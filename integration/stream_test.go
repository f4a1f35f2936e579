package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
	source "github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/integration/secantus"
	"github.com/syncd-io/syncd/spec"
)

func secantusWith(t *testing.T, args ...string) *secantus.Server {
	t.Helper()
	s, err := secantus.Start(t.Context(), t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, func() error { return s.Close() })
	logOnFailure(t, "SecantusDB", func() string { return s.Log() })
	return s
}

func connect(t *testing.T, uri string) *mongo.Client {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

// followed is a source that follows collections of a database.
type followed struct {
	syncd.Source
	t      *testing.T
	stream syncd.Stream
	after  syncd.Offset
	fields []string
	log    *bytes.Buffer
	told   []string
}

func openFollowed(t *testing.T, uri, database string, set func(*source.Config)) *followed {
	t.Helper()
	plugin := source.Plugin()
	cfg := plugin.Config().(*source.Config)
	cfg.URI, cfg.Database = spec.Secret(uri), database
	if set != nil {
		set(cfg)
	}
	f := &followed{t: t, log: &bytes.Buffer{}}
	s, err := plugin.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.NewTextHandler(f.log, nil)), Retried: func(reason string) { f.told = append(f.told, reason) }})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	closeAfter(t, s.Close)
	f.Source = s
	return f
}

// follow opens a source, and takes the position of its only stream.
func follow(t *testing.T, uri, database string, set func(*source.Config), collections ...string) *followed {
	t.Helper()
	f := openFollowed(t, uri, database, set)
	streams, err := f.streams(collections...)
	if err != nil || len(streams) != 1 {
		t.Fatalf("%v, %v (%s)", streams, err, syncd.HintOf(err))
	}
	f.use(streams[0])
	return f
}

func (f *followed) streams(collections ...string) ([]syncd.Stream, error) {
	var cs []syncd.Collection
	for _, c := range collections {
		cs = append(cs, syncd.Collection{Name: c})
	}
	return f.Abilities().Stream.Streams(f.t.Context(), cs)
}

func (f *followed) use(s syncd.Stream) {
	f.t.Helper()
	var err error
	f.stream = s
	if f.after, err = f.Abilities().Stream.Now(f.t.Context(), s); err != nil {
		f.t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
}

// changes reads on until it has n changes or fails. With n = 0 it reads until nothing has come for two seconds.
func (f *followed) changes(n int) (all []syncd.Change, err error) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	quiet := 0
	req := syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 64, BatchBytes: 4 << 20, Fields: f.fields, Documents: true}
	for b, err := range f.Read(f.t.Context(), req) {
		var gone *syncd.CollectionGoneError
		if errors.As(err, &gone) {
			f.after = gone.After
		}
		if err != nil {
			return all, err
		}
		all = append(all, b.Changes...)
		f.after = b.Offset
		if quiet++; len(b.Changes) > 0 {
			quiet = 0
		}
		if n > 0 && len(all) >= n || n == 0 && quiet > 2 {
			return all, nil
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%d of %d changes came", len(all), n)
		}
	}
	return all, errors.New("the read ended by itself")
}

func show(c syncd.Change) string {
	doc := ""
	if c.Document != nil {
		b, err := c.Document.AppendJSON(nil, syncd.Relaxed)
		if err != nil {
			return err.Error()
		}
		doc = " " + string(b)
	}
	return fmt.Sprintf("%s %s %s%s", c.Operation, c.Streamed.Collection, c.ID, doc)
}

func shown(changes []syncd.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, show(c))
	}
	return out
}

func wantShown(t *testing.T, got []syncd.Change, want ...string) {
	t.Helper()
	if !slices.Equal(shown(got), want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(shown(got), "\n  "), strings.Join(want, "\n  "))
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func id(v any) bson.D { return bson.D{{Key: "_id", Value: v}} }

func setting(field string, v any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: v}}}}
}

func TestStreamOfChanges(t *testing.T) {
	s := secantusWith(t, "--enable-test-commands", "--noop-heartbeat-seconds", "1")
	client := connect(t, s.URI())
	ctx := t.Context()
	ok := must[any](t)
	do := func(v any, err error) { t.Helper(); ok(v, err) }

	t.Run("every kind", func(t *testing.T) {
		db := client.Database("kinds")
		f := follow(t, s.URI(), "kinds", nil, "page", "blog")
		f.fields = []string{"slug"}
		page := db.Collection("page")
		do(page.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}, {Key: "slug", Value: "one"}, {Key: "n", Value: 1}}))
		do(db.Collection("other").InsertOne(ctx, id(1)))
		got, err := f.changes(1)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert page a {"_id":"a","slug":"one","n":1}`)
		do(page.UpdateOne(ctx, id("a"), bson.D{{Key: "$set", Value: bson.D{{Key: "sub.x", Value: 1}}}, {Key: "$unset", Value: bson.D{{Key: "n", Value: 1}}}}))
		if got, err = f.changes(1); err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `update page a {"_id":"a","slug":"one","sub":{"x":1}}`)
		touched := slices.Sorted(slices.Values(got[0].Streamed.Touched))
		if got[0].Streamed.Whole || len(touched) != 2 || touched[0] != "n" || touched[1] != "sub" && touched[1] != "sub.x" {
			t.Errorf("it touched %q", touched)
		}
		do(page.ReplaceOne(ctx, id("a"), bson.D{{Key: "slug", Value: "two"}}))
		do(page.UpdateOne(ctx, id("b"), setting("n", 1), options.UpdateOne().SetUpsert(true)))
		do(page.UpdateMany(ctx, bson.D{}, setting("m", 1)))
		do(page.DeleteOne(ctx, id("a")))
		if got, err = f.changes(5); err != nil {
			t.Fatal(err)
		}
		// Both updates are looked up when they are sent: the document may be gone by then.
		if c := got[2]; c.Operation != syncd.Update || c.ID != "a" {
			t.Errorf("%s", show(c))
		}
		got = slices.Delete(got, 2, 3)
		wantShown(t, got, `replace page a {"_id":"a","slug":"two"}`, got[1].Operation.String()+` page b {"_id":"b","n":1}`,
			`update page b {"_id":"b","n":1,"m":1}`, `delete page a`)
		if v := got[0].Fields[0]; v.Text != "two" {
			t.Errorf("the field is %q", v.Text)
		}
		if at := got[0].Streamed.At; time.Since(at) > time.Minute || time.Since(at) < -time.Minute {
			t.Errorf("it was changed at %s", at)
		}
		if raw := bson.Raw(got[0].Streamed.Raw); raw.Lookup("operationType").StringValue() != "replace" || raw.Validate() != nil {
			t.Errorf("the event is %s", raw)
		}
	})

	t.Run("updated and deleted", func(t *testing.T) {
		db := client.Database("gone")
		c := db.Collection("page")
		do(c.InsertOne(ctx, id(1)))
		f := follow(t, s.URI(), "gone", nil, "page")
		do(c.UpdateOne(ctx, id(1), setting("n", 1)))
		do(c.DeleteOne(ctx, id(1)))
		got, err := f.changes(2)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, "update page 1", "delete page 1")
	})

	t.Run("mixed ids", func(t *testing.T) {
		c := client.Database("ids").Collection("page")
		f := follow(t, s.URI(), "ids", nil, "page")
		ids := []any{int32(1), int64(2), 3.5, 4.0, "5", "", true, bson.NewObjectID(), bson.DateTime(7), bson.D{{Key: "a", Value: 1}}, bson.Binary{Subtype: 4, Data: make([]byte, 16)}}
		for _, v := range ids {
			do(c.InsertOne(ctx, id(v)))
		}
		got, err := f.changes(len(ids))
		if err != nil {
			t.Fatal(err)
		}
		keys := map[syncd.Key]string{}
		for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "page"}}, BatchSize: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range b.Changes {
				keys[c.Key] = c.ID
			}
		}
		for _, c := range got {
			if text, there := keys[c.Key]; !there || text != c.ID {
				t.Errorf("the snapshot has no %q", c.ID)
			}
		}
		if len(keys) != len(ids) {
			t.Errorf("%d documents", len(keys))
		}
	})

	t.Run("one document 10000 times", func(t *testing.T) {
		c := client.Database("often").Collection("page")
		do(c.InsertOne(ctx, id(1)))
		f := follow(t, s.URI(), "often", nil, "page")
		const times = 10_000
		for part := range 10 {
			models := make([]mongo.WriteModel, times/10)
			for i := range models {
				models[i] = mongo.NewUpdateOneModel().SetFilter(id(1)).SetUpdate(setting("n", part*len(models)+i+1))
			}
			do(c.BulkWrite(ctx, models))
		}
		got, err := f.changes(times)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range got {
			n := bson.Raw(c.Streamed.Raw).Lookup("updateDescription", "updatedFields", "n").AsInt64()
			if n != int64(i+1) || c.ID != "1" {
				t.Fatalf("change %d is %s, of %d", i, show(c), n)
			}
		}
		doc, _ := got[times-1].Document.Lookup("n")
		if len(got) != times || doc.Text != fmt.Sprint(times) {
			t.Errorf("%d changes, the last to %s", len(got), doc.Text)
		}
	})

	t.Run("a transaction", func(t *testing.T) {
		db := client.Database("many")
		for _, name := range []string{"a", "b", "c", "d"} {
			if err := db.CreateCollection(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		f := follow(t, s.URI(), "many", nil, "a", "b", "d")
		session := must[*mongo.Session](t)(client.StartSession())
		defer session.EndSession(ctx)
		write := func(commit bool, n int) {
			err := mongo.WithSession(ctx, session, func(ctx context.Context) error {
				if err := session.StartTransaction(); err != nil {
					return err
				}
				for i := range 300 {
					if _, err := db.Collection([]string{"a", "b", "c", "d"}[i%4]).InsertOne(ctx, id(n+i)); err != nil {
						return err
					}
				}
				if commit {
					return session.CommitTransaction(ctx)
				}
				return session.AbortTransaction(ctx)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		write(false, 0)
		write(true, 1000)
		got, err := f.changes(225)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range 300 {
			if name := []string{"a", "b", "c", "d"}[i%4]; name != "c" {
				if want := fmt.Sprintf(`insert %s %d {"_id":%d}`, name, 1000+i, 1000+i); show(got[n]) != want {
					t.Fatalf("change %d is %s, not %s", n, show(got[n]), want)
				}
				n++
			}
		}
	})

	t.Run("every place can be resumed from", func(t *testing.T) {
		c := client.Database("places").Collection("page")
		f := follow(t, s.URI(), "places", func(c *source.Config) { c.BatchSize = 7 }, "page")
		start := f.after
		for i := range 40 {
			do(c.InsertOne(ctx, id(i)))
		}
		n := 0
		places := map[syncd.Offset]int{start: 0}
		req := syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: start, BatchSize: 3}
		for b, err := range f.Read(ctx, req) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(b.Changes)
			places[b.Offset] = n
			if n == 40 {
				break
			}
		}
		other := openFollowed(t, s.URI(), "places", nil)
		other.stream = f.stream
		for place, n := range places {
			if other.after = place; n == 40 {
				continue
			}
			got, err := other.changes(40 - n)
			if err != nil || len(got) != 40-n || got[0].ID != fmt.Sprint(n) {
				t.Errorf("behind %d: %d changes, %v", n, len(got), err)
			}
		}
	})

	t.Run("a quiet stream moves on", func(t *testing.T) {
		f := follow(t, s.URI(), "quiet", nil, "page")
		var last syncd.Offset
		moved := 0
		for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 3}) {
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Changes) > 0 || b.Offset == "" {
				t.Errorf("%+v", b)
			}
			if b.Offset != last {
				moved++
			}
			if last = b.Offset; moved == 4 {
				break
			}
		}
	})

	t.Run("collections that go", func(t *testing.T) {
		db := client.Database("going")
		f := follow(t, s.URI(), "going", nil, "page", "blog", "news")
		expect := func(renamed bool, name string, before ...string) {
			t.Helper()
			got, err := f.changes(1000)
			var gone *syncd.CollectionGoneError
			if !errors.As(err, &gone) || gone.Collection != name || gone.Renamed != renamed {
				t.Fatalf("%v instead of %s", err, name)
			}
			wantShown(t, got, before...)
		}
		do(db.Collection("page").InsertOne(ctx, id(1)))
		do(db.Collection("other").InsertOne(ctx, id(1)))
		do(nil, db.Collection("other").Drop(ctx))
		do(nil, db.Collection("page").Drop(ctx))
		do(db.Collection("page").InsertOne(ctx, id(2)))
		expect(false, "page", `insert page 1 {"_id":1}`)
		rename := func(from, to string) {
			t.Helper()
			do(nil, client.Database("admin").RunCommand(ctx, bson.D{{Key: "renameCollection", Value: "going." + from}, {Key: "to", Value: "going." + to}, {Key: "dropTarget", Value: true}}).Err())
		}
		rename("page", "old")
		do(db.Collection("blog").InsertOne(ctx, id(3)))
		expect(true, "page", `insert page 2 {"_id":2}`)
		rename("blog", "news") // both are followed
		expect(true, "blog", `insert blog 3 {"_id":3}`)
		expect(true, "news")
		rename("old", "page")
		expect(true, "page")
		do(db.Collection("blog").InsertOne(ctx, id(4)))
		do(nil, db.Drop(ctx))
		names := map[string]bool{}
		for range 3 {
			got, err := f.changes(1000)
			var gone *syncd.CollectionGoneError
			if !errors.As(err, &gone) || gone.Renamed {
				t.Fatalf("%v, behind %q", err, shown(got))
			}
			names[gone.Collection] = true
		}
		if len(names) != 3 {
			t.Errorf("%v", names)
		}
		do(db.Collection("news").InsertOne(ctx, id(5)))
		got, err := f.changes(1)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert news 5 {"_id":5}`)
	})

	t.Run("a collection's own stream", func(t *testing.T) {
		c := client.Database("own").Collection("page")
		f := openFollowed(t, s.URI(), "own", nil)
		f.use(syncd.Stream{Name: "collection page", Collections: []syncd.Collection{{Name: "page"}}})
		do(c.InsertOne(ctx, id(1)))
		do(nil, c.Drop(ctx))
		do(c.InsertOne(ctx, id(2)))
		got, err := f.changes(9)
		var gone *syncd.CollectionGoneError
		if !errors.As(err, &gone) || gone.Collection != "page" {
			t.Fatal(err)
		}
		wantShown(t, got, `insert page 1 {"_id":1}`)
		if got, err = f.changes(1); err != nil { // the stream has ended, and another goes on behind its end
			t.Fatal(err)
		}
		wantShown(t, got, `insert page 2 {"_id":2}`)
	})

	t.Run("failures", func(t *testing.T) { testStreamFailures(t, s.URI(), client) })
	t.Run("large", func(t *testing.T) { testLargeEvents(t, s.URI(), client) })
	t.Run("images", func(t *testing.T) { testImages(t, s.URI(), client) })

	t.Run("window", func(t *testing.T) {
		f := follow(t, s.URI(), "window", nil, "page")
		w, err := f.Abilities().Stream.Window(ctx, f.stream)
		if err != nil || w.First.IsZero() || w.Last.Before(w.First) || time.Since(w.Last) > time.Minute {
			t.Errorf("%+v, %v (%s)", w, err, syncd.HintOf(err))
		}
	})
}

// testStreamFailures has the server answer with errors that it would give on worse days.
func testStreamFailures(t *testing.T, uri string, client *mongo.Client) {
	type outcome int
	const (
		goesOn outcome = iota
		lost
		final
	)
	for _, c := range []struct {
		command string
		code    int
		labels  []string
		times   int
		want    outcome
	}{
		{"getMore", 286, []string{"NonResumableChangeStreamError"}, 1, lost},
		{"getMore", 10334, nil, 2, goesOn},
		{"getMore", 136, nil, 1, goesOn},
		{"getMore", 43, nil, 1, goesOn},
		{"getMore", 237, nil, 1, goesOn},
		{"getMore", 11600, []string{"ResumableChangeStreamError"}, 1, goesOn},
		{"getMore", 11600, []string{"ResumableChangeStreamError"}, 3, goesOn},
		{"getMore", 280, nil, 1, goesOn},
		{"getMore", 47, nil, 1, final},
		{"aggregate", 286, nil, 1, lost},
		{"aggregate", 260, nil, 1, lost},
		{"aggregate", 280, nil, 9, lost},
		{"aggregate", 40573, nil, 1, final},
		{"aggregate", 189, []string{"ResumableChangeStreamError"}, 1, goesOn},
	} {
		t.Run(fmt.Sprintf("%s %d %d times", c.command, c.code, c.times), func(t *testing.T) {
			database := fmt.Sprintf("fail%s%d%d", c.command, c.code, c.times)
			f := follow(t, uri, database, func(c *source.Config) { c.BatchSize = 2 }, "page")
			for i := range 5 {
				if _, err := client.Database(database).Collection("page").InsertOne(t.Context(), id(i)); err != nil {
					t.Fatal(err)
				}
			}
			data := bson.D{{Key: "failCommands", Value: bson.A{c.command}}, {Key: "errorCode", Value: c.code}}
			if c.labels != nil {
				data = append(data, bson.E{Key: "errorLabels", Value: c.labels})
			}
			fail := func(mode any) {
				t.Helper()
				err := client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: data}}).Err()
				if err != nil {
					t.Fatal(err)
				}
			}
			fail(bson.D{{Key: "times", Value: c.times}})
			got, err := f.changes(5)
			fail("off")
			switch isLost := errors.Is(err, syncd.ErrPositionLost); {
			case c.want == goesOn && err != nil, c.want == lost && !isLost, c.want == final && (err == nil || isLost || errors.Is(err, syncd.ErrUnavailable)):
				t.Fatalf("%v (%s)", err, syncd.HintOf(err))
			}
			if c.want == goesOn {
				wantShown(t, got, `insert page 0 {"_id":0}`, `insert page 1 {"_id":1}`, `insert page 2 {"_id":2}`, `insert page 3 {"_id":3}`, `insert page 4 {"_id":4}`)
			}
		})
	}
}

func testLargeEvents(t *testing.T, uri string, client *mongo.Client) {
	c := client.Database("large").Collection("page")
	// One by one: this server puts more into an answer than the driver takes.
	f := follow(t, uri, "large", func(c *source.Config) { c.BatchSize = 1 }, "page")
	text := func(n int, letter string) string { return strings.Repeat(letter, n) }
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	const most = 16<<20 - 100
	do(c.InsertOne(ctx, bson.D{{Key: "_id", Value: "small"}}))
	do(c.InsertOne(ctx, bson.D{{Key: "_id", Value: "large"}, {Key: "text", Value: text(most, "x")}}))
	do(c.UpdateOne(ctx, id("large"), setting("text", text(most-10, "y"))))
	do(c.InsertOne(ctx, bson.D{{Key: "_id", Value: "last"}}))
	got, err := f.changes(4)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		operation syncd.Operation
		id        string
	}{{syncd.Insert, "small"}, {syncd.Insert, "large"}, {syncd.Update, "large"}, {syncd.Insert, "last"}} {
		if c := got[i]; c.Operation != want.operation || c.ID != want.id || c.Document == nil {
			t.Errorf("change %d is a %s of %s", i, c.Operation, c.ID)
		}
	}
	v, err := got[2].Document.Lookup("text")
	if err != nil || v.Text != text(most-10, "y") || !slices.Equal(got[2].Streamed.Touched, []string{"text"}) {
		t.Errorf("%d bytes, %v; touched %q", len(v.Text), err, got[2].Streamed.Touched)
	}
	if raw := bson.Raw(got[2].Streamed.Raw); raw.Validate() != nil || len(raw) < 2*most {
		t.Errorf("an event of %d bytes", len(raw))
	}
}

func testImages(t *testing.T, uri string, client *mongo.Client) {
	ctx := t.Context()
	db := client.Database("images")
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	with := options.CreateCollection().SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
	do(nil, db.CreateCollection(ctx, "with", with))
	do(nil, db.CreateCollection(ctx, "without"))
	images := func(full, before string) func(*source.Config) {
		return func(c *source.Config) { c.Stream.FullDocument, c.Stream.Before = full, before }
	}
	f := follow(t, uri, "images", images("when_available", "when_available"), "with", "without")
	f.fields = []string{"slug"}
	for _, name := range []string{"with", "without"} {
		c := db.Collection(name)
		do(c.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}, {Key: "slug", Value: "a"}}))
		do(c.UpdateOne(ctx, id(1), setting("n", 2)))
		got, err := f.changes(2)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, fmt.Sprintf(`insert %s 1 {"_id":1,"slug":"a"}`, name), fmt.Sprintf(`update %s 1 {"_id":1,"slug":"a","n":2}`, name))
		do(c.DeleteOne(ctx, id(1)))
		if got, err = f.changes(1); err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, fmt.Sprintf("delete %s 1", name))
		if v := got[0].Fields[0]; v.Text != "a" && name == "with" {
			t.Errorf("%s: the deleted document's field is %q", name, v.Text)
		}
	}
	f = follow(t, uri, "images", images("required", "off"), "without")
	do(db.Collection("without").InsertOne(ctx, id(2)))
	do(db.Collection("without").UpdateOne(ctx, id(2), setting("n", 1)))
	if _, err := f.changes(2); err == nil || !strings.Contains(syncd.HintOf(err), "source.mongo.stream.full_document: when_available") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

// Places outlast the server, and a stream that is read goes on over its end.
func TestStreamOverRestarts(t *testing.T) {
	// What it has sent must not be lost when it is killed: the place would be ahead of what is there.
	s := secantusWith(t, secantus.Durable)
	client := connect(t, s.URI())
	f := follow(t, s.URI(), "restarts", nil, "page")
	page := client.Database("restarts").Collection("page")
	for i := range 5 {
		if _, err := page.InsertOne(t.Context(), id(i)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	ends := []func() error{s.Kill, s.Close}
	req := syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 100}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for b, err := range f.Read(ctx, req) {
		if err != nil {
			t.Fatalf("behind %d: %v", n, err)
		}
		for _, c := range b.Changes {
			if c.ID != fmt.Sprint(n) {
				t.Fatalf("%s instead of %d", show(c), n)
			}
			n++
		}
		f.after = b.Offset
		if n%5 != 0 || n == 0 || len(b.Changes) == 0 {
			continue
		}
		if len(ends) == 0 {
			break
		}
		end := ends[0]
		ends = ends[1:]
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(t.Context(), secantus.Durable); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := page.InsertOne(t.Context(), id(n+i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(f.told) == 0 {
		t.Error("no retry was told")
	}
	if _, err := page.InsertOne(t.Context(), id(n)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Kill(), s.Restart(t.Context(), secantus.Durable)); err != nil {
		t.Fatal(err)
	}
	other := openFollowed(t, s.URI(), "restarts", nil)
	other.stream, other.after = f.stream, f.after
	got, err := other.changes(1)
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, got, fmt.Sprintf(`insert page %d {"_id":%d}`, n, n))
}

// The oplog forgets, and the place is lost: nothing is passed over in silence.
func TestStreamBehindTheOplog(t *testing.T) {
	s := secantusWith(t, "--oplog-max-entries", "50")
	client := connect(t, s.URI())
	f := follow(t, s.URI(), "oplog", nil, "page")
	if _, err := client.Database("oplog").Collection("page").InsertOne(t.Context(), id(-1)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.changes(1); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if _, err := client.Database("oplog").Collection("page").InsertOne(t.Context(), id(i)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := f.changes(1); !errors.Is(err, syncd.ErrPositionLost) || errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("%q, %v", shown(got), err)
	}
	f.use(f.stream)
	if _, err := client.Database("oplog").Collection("page").InsertOne(t.Context(), id("new")); err != nil {
		t.Fatal(err)
	}
	got, err := f.changes(1)
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, got, `insert page new {"_id":"new"}`)
}

func TestStreamOfAStandaloneServer(t *testing.T) {
	s := secantusWith(t, "--standalone")
	f := openFollowed(t, s.URI(), "alone", nil)
	_, err := f.streams("page")
	if err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), "--replSet") || !strings.Contains(syncd.HintOf(err), "--every") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

func TestStreamRights(t *testing.T) {
	s := secantusWith(t)
	ctx := t.Context()
	create := func(client *mongo.Client, user string, roles ...bson.D) {
		t.Helper()
		err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "createUser", Value: user}, {Key: "pwd", Value: "secret"}, {Key: "roles", Value: roles}}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	role := func(name, db string) bson.D { return bson.D{{Key: "role", Value: name}, {Key: "db", Value: db}} }
	client := connect(t, s.URI())
	create(client, "root", role("root", "admin"))
	create(client, "reader", role("read", "shop"))
	create(client, "stranger", role("read", "elsewhere"))
	only := bson.D{{Key: "resource", Value: bson.D{{Key: "db", Value: "shop"}, {Key: "collection", Value: "page"}}}, {Key: "actions", Value: bson.A{"find", "changeStream"}}}
	err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "createRole", Value: "pages"}, {Key: "privileges", Value: bson.A{only}}, {Key: "roles", Value: bson.A{}}}).Err()
	ownRoles := err == nil
	if ownRoles {
		create(client, "pager", role("pages", "admin"))
	} else {
		t.Logf("no roles of one's own: %v", err)
	}
	if err := errors.Join(s.Close(), s.Restart(ctx, "--auth")); err != nil {
		t.Fatal(err)
	}
	root := connect(t, s.URIAs("root", "secret"))
	f := follow(t, s.URIAs("reader", "secret"), "shop", nil, "page")
	if f.stream.Name != "database shop" {
		t.Errorf("it follows %s", f.stream.Name)
	}
	if _, err := root.Database("shop").Collection("page").InsertOne(ctx, id(1)); err != nil {
		t.Fatal(err)
	}
	got, err := f.changes(1)
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, got, `insert page 1 {"_id":1}`)
	stranger := openFollowed(t, s.URIAs("stranger", "secret"), "shop", nil)
	if _, err := stranger.streams("page"); err == nil || !strings.Contains(syncd.HintOf(err), "changeStream") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	if ownRoles {
		f := follow(t, s.URIAs("pager", "secret"), "shop", nil, "page")
		t.Logf("with rights on one collection: %s; %s", f.stream.Name, f.log)
		if _, err := root.Database("shop").Collection("page").InsertOne(ctx, id(2)); err != nil {
			t.Fatal(err)
		}
		got, err := f.changes(1)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert page 2 {"_id":2}`)
	}
	// The right is taken away while the stream is read.
	n := 0
	for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 10}) {
		if err != nil {
			if errors.Is(err, syncd.ErrUnavailable) || errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(syncd.HintOf(err), "changeStream") {
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			}
			return
		}
		_ = b
		if n++; n == 1 {
			err := root.Database("admin").RunCommand(ctx, bson.D{{Key: "revokeRolesFromUser", Value: "reader"}, {Key: "roles", Value: bson.A{role("read", "shop")}}}).Err()
			if err != nil {
				t.Logf("rights can't be revoked: %v", err)
				return
			}
		}
		if n > 20 {
			t.Log("the server lets a stream go on whose rights are gone")
			return
		}
	}
}
