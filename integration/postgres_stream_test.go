package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd"
	source "github.com/syncd-io/syncd/connectors/postgres"
	"github.com/syncd-io/syncd/integration/postgres"
)

// followPostgres opens a source, and takes the position of its stream, with a slot of the test's own.
func followPostgres(t *testing.T, d *database, slot string, collections ...string) *followed {
	t.Helper()
	f := reopenPostgres(t, d, slot, collections...)
	f.use(f.stream)
	return f
}

// reopenPostgres is followPostgres without a position.
func reopenPostgres(t *testing.T, d *database, slot string, collections ...string) *followed {
	t.Helper()
	f := &followed{t: t}
	f.Source = openPostgres(t, d.dsn, func(c *source.Config) { c.Stream.Slot, c.Stream.Publication = slot, slot })
	closeAfter(t, f.Close)
	streams, err := f.streams(collections...)
	if err != nil || len(streams) != 1 {
		t.Fatalf("%v, %v (%s)", streams, err, syncd.HintOf(err))
	}
	f.stream = streams[0]
	return f
}

func TestPostgresStream(t *testing.T) {
	server := ownPostgres(t, postgres.Debian)

	t.Run("every kind", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY, title text, meta jsonb, at timestamptz, raw bytea, tags text[])`)
		d.exec(`CREATE TABLE other (id integer PRIMARY KEY)`)
		d.exec(`CREATE TABLE pair (a text, b integer, note text, PRIMARY KEY (a, b))`)
		d.exec(`ALTER TABLE pair REPLICA IDENTITY FULL`)
		f := followPostgres(t, d, "kinds", "page", "pair")
		d.exec(`INSERT INTO page VALUES (1, 'one', '{"x": [1, 2]}', '2024-01-02 03:04:05+02', '\x00ff', '{a,"b c"}')`)
		d.exec(`INSERT INTO other VALUES (1)`)
		d.exec(`UPDATE page SET title = NULL WHERE id = 1`)
		d.exec(`INSERT INTO pair VALUES ('x,y', 1, 'n')`)
		d.exec(`UPDATE pair SET note = 'm' WHERE b = 1`)
		d.exec(`UPDATE pair SET b = 2`)
		d.exec(`DELETE FROM pair`)
		d.exec(`UPDATE page SET id = 7`)
		d.exec(`DELETE FROM page`)
		got, err := f.changes(10)
		if err != nil {
			t.Fatal(err)
		}
		const rest = `"meta":{"x":[1,2]},"at":"2024-01-02T01:04:05Z","raw":"AP8=","tags":["a","b c"]}`
		wantShown(t, got,
			`insert page 1 {"_id":"1","id":1,"title":"one",`+rest, `update page 1 {"_id":"1","id":1,`+rest,
			`insert pair x%2Cy,1 {"_id":"x%2Cy,1","a":"x,y","b":1,"note":"n"}`, `update pair x%2Cy,1 {"_id":"x%2Cy,1","a":"x,y","b":1,"note":"m"}`,
			`delete pair x%2Cy,1`, `insert pair x%2Cy,2 {"_id":"x%2Cy,2","a":"x,y","b":2,"note":"m"}`, `delete pair x%2Cy,2`,
			`delete page 1`, `insert page 7 {"_id":"7","id":7,`+rest, `delete page 7`)
		if c := got[3].Streamed; c.Whole || !slices.Equal(c.Touched, []string{"note"}) {
			t.Errorf("the update touched %q, %t", c.Touched, c.Whole)
		}
		if !got[1].Streamed.Whole {
			t.Error("what an update touched is said to be known")
		}
		if v, err := got[6].Streamed.Before.Lookup("note"); err != nil || v.Text != "m" {
			t.Errorf("before the delete the row had the note %q, %v", v.Text, err)
		}
		if at := got[0].Streamed.At; time.Since(at) > time.Minute || time.Since(at) < -time.Minute {
			t.Errorf("it was changed at %s", at)
		}
	})

	t.Run("the same as a snapshot says", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok')`)
		d.exec(`CREATE DOMAIN cents AS integer`)
		d.exec(`CREATE TABLE kinds (id numeric PRIMARY KEY, f float8, m mood, ms mood[], money cents, span interval, day date, local timestamp, times timestamptz[], rng int4range, c char(3), jb jsonb, js json, b boolean, u uuid)`)
		f := followPostgres(t, d, "same", "kinds")
		d.exec(`INSERT INTO kinds VALUES (1.50, 'NaN', 'ok', '{ok,NULL}', 7, '1 day 2 hours', 'infinity', '2024-01-02 03:04:05.6', '{"2024-01-02 00:00:00+05"}', '[1,5)', 'x', '{"a": 1.0}', '{"a" : [ ]}', true, '6ba7b811-9dad-11d1-80b4-00c04fd430c8')`)
		got, err := f.changes(1)
		if err != nil {
			t.Fatal(err)
		}
		all := readAll(t, f, syncd.Collection{Name: "kinds"}, 10, true)
		streamed, err1 := got[0].Document.AppendJSON(nil, syncd.Plain)
		read, err2 := all[0].Document.AppendJSON(nil, syncd.Plain)
		if err := errors.Join(err1, err2); err != nil || string(streamed) != string(read) || got[0].Key != all[0].Key || got[0].ID != all[0].ID {
			t.Errorf("the stream says\n%s\nand the snapshot\n%s, %v", streamed, read, err)
		}
	})

	t.Run("a large value that was not written again", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY, n integer, body text)`)
		d.exec(`ALTER TABLE page ALTER COLUMN body SET STORAGE EXTERNAL`)
		d.exec(`INSERT INTO page SELECT g, 0, repeat('x', 10000) FROM generate_series(1, 3) g`)
		f := followPostgres(t, d, "toast", "page")
		d.exec(`UPDATE page SET n = 1 WHERE id < 3`)
		d.exec(`DELETE FROM page WHERE id = 2`)
		got, err := f.changes(3)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := got[0].Document.Lookup("body"); err != nil || len(v.Text) != 10000 {
			t.Errorf("the body has %d bytes, %v", len(v.Text), err)
		}
		if got[1].Document != nil || got[1].Operation != syncd.Update || got[2].Operation != syncd.Delete {
			t.Errorf("of the row that is gone came %s", shown(got[1:]))
		}
		d.exec(`ALTER TABLE page REPLICA IDENTITY FULL`)
		d.exec(`UPDATE page SET n = 2 WHERE id = 3`)
		d.exec(`DELETE FROM page WHERE id = 3`)
		if got, err = f.changes(2); err != nil {
			t.Fatal(err)
		}
		if v, err := got[0].Document.Lookup("body"); err != nil || len(v.Text) != 10000 || !slices.Equal(got[0].Streamed.Touched, []string{"n"}) {
			t.Errorf("the body has %d bytes, %v, touched %q", len(v.Text), err, got[0].Streamed.Touched)
		}
	})

	t.Run("every place can be resumed from", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY)`)
		f := followPostgres(t, d, "places", "page")
		start := f.after
		for i := range 5 { // transactions of one row, and of many, between which others are rolled back
			d.exec("BEGIN; INSERT INTO page SELECT generate_series(900, 950); ROLLBACK; INSERT INTO page SELECT generate_series($1::int, $1 + 9)", pgx.QueryExecModeSimpleProtocol, i*20)
			d.exec("INSERT INTO page VALUES ($1)", i*20+10)
		}
		const changes = 55
		places := map[syncd.Offset]int{start: 0}
		read := func(after syncd.Offset, size, want int) (ids []string) {
			t.Helper()
			req := syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: after, BatchSize: size}
			for b, err := range f.Read(t.Context(), req) {
				if err != nil {
					t.Fatalf("behind %q: %v", after, err)
				}
				ids = append(ids, idsOf(b.Changes)...)
				if after == start {
					places[b.Offset] = len(ids)
				}
				if len(ids) >= want {
					return ids
				}
			}
			return ids
		}
		whole := read(start, 3, changes)
		for place, n := range places {
			if n == changes {
				continue
			}
			if got := read(place, 4, changes-n); !slices.Equal(got, whole[n:]) {
				t.Errorf("behind %d changes, %q: %q", n, place, got)
			}
		}
		if len(places) < 20 {
			t.Errorf("only %d places", len(places))
		}
	})

	t.Run("a quiet stream moves on, and the server forgets", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY)`)
		d.exec(`CREATE TABLE busy (id integer)`)
		f := followPostgres(t, d, "quiet", "page")
		confirmed := func() string {
			return d.one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'quiet'")
		}
		before := confirmed()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		offsets := map[syncd.Offset]bool{}
		n := 0
		for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 3}) {
			if err != nil {
				t.Fatal(err)
			}
			offsets[b.Offset] = true
			if n++; n < 5 {
				d.exec("INSERT INTO busy SELECT generate_series(1, 1000)")
			}
			if n == 3 && confirmed() != before {
				t.Error("the server was told to forget what nobody confirmed")
			}
			if n > 4 {
				f.Abilities().Stream.Confirm(f.stream, b.Offset)
			}
			if len(offsets) > 3 && n > 4 && confirmed() != before {
				break
			}
		}
		w, err := f.Abilities().Stream.Window(t.Context(), f.stream)
		if err != nil || w.Retained < 0 {
			t.Errorf("%+v, %v", w, err)
		}
	})

	t.Run("tables that go", func(t *testing.T) {
		d := newDatabase(t, server)
		for _, name := range []string{"page", "blog", "news"} {
			d.exec("CREATE TABLE " + name + " (id integer PRIMARY KEY)")
		}
		f := followPostgres(t, d, "going", "page", "blog", "news")
		expect := func(want syncd.CollectionGoneError, before ...string) {
			t.Helper()
			got, err := f.changes(1000)
			var gone *syncd.CollectionGoneError
			if !errors.As(err, &gone) || gone.Collection != want.Collection || gone.Renamed != want.Renamed || gone.Emptied != want.Emptied {
				t.Fatalf("%v instead of %s", err, want.Error())
			}
			wantShown(t, got, before...)
		}
		d.exec("INSERT INTO page VALUES (1)")
		d.exec("TRUNCATE page")
		d.exec("INSERT INTO page VALUES (2)")
		expect(syncd.CollectionGoneError{Collection: "page", Emptied: true}, `insert page 1 {"_id":"1","id":1}`)
		renamed := false
		var gone *syncd.CollectionGoneError
		for b, err := range f.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 10}) {
			if errors.As(err, &gone) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.after = b.Offset; !renamed { // while it is read
				d.exec("ALTER TABLE blog RENAME TO weblog")
				d.exec("INSERT INTO weblog VALUES (1)")
				d.exec("INSERT INTO news VALUES (1)")
				renamed = true
			}
		}
		if gone == nil || gone.Collection != "blog" || !gone.Renamed {
			t.Fatalf("%v", gone)
		}
		f.after = gone.After
		got, err := f.changes(1)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert news 1 {"_id":"1","id":1}`)
		d.exec("ALTER TABLE news ADD COLUMN title text")
		d.exec("INSERT INTO news VALUES (2, 'x')")
		if got, err = f.changes(1); err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert news 2 {"_id":"2","id":2,"title":"x"}`)
	})

	t.Run("partitions", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE parts (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)`)
		d.exec(`CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')`)
		d.exec(`CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`)
		f := followPostgres(t, d, "parts", "parts")
		d.exec(`INSERT INTO parts VALUES (1, '2024-01-05')`)
		d.exec(`UPDATE parts SET day = '2024-02-05'`)
		got, err := f.changes(3)
		if err != nil {
			t.Fatal(err)
		}
		wantShown(t, got, `insert parts 1,2024-01-05 {"_id":"1,2024-01-05","id":1,"day":"2024-01-05"}`, `delete parts 1,2024-01-05`, `insert parts 1,2024-02-05 {"_id":"1,2024-02-05","id":1,"day":"2024-02-05"}`)
	})

	t.Run("what can't be followed", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY)`)
		d.exec(`CREATE TABLE loose (id integer)`)
		d.exec(`CREATE VIEW seen AS SELECT id FROM page`)
		d.exec(`CREATE ROLE nobody_special LOGIN`)
		d.exec(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO nobody_special`)
		d.exec(`CREATE PUBLICATION inserts FOR TABLE page WITH (publish = 'insert')`)
		d.exec(`CREATE PUBLICATION few FOR TABLE page WHERE (id > 5)`)
		set := func(c *source.Config) {
			c.Keys = map[string]string{"loose": "id", "seen": "id"}
			c.Stream.Slot = "refused"
		}
		for name, test := range map[string]struct {
			dsn, collection, want, hint string
			set                         func(*source.Config)
		}{
			"a view":         {collection: "seen", want: "only tables have changes", hint: "--every"},
			"no identity":    {collection: "loose", want: "replica identity lacks", hint: "REPLICA IDENTITY FULL"},
			"not there":      {collection: "nothing", want: "not found", hint: "before it is followed"},
			"not allowed":    {dsn: strings.Replace(d.dsn, "postgres@", "nobody_special@", 1), collection: "page", want: "permission denied", hint: "CREATE PUBLICATION"},
			"not to be made": {collection: "page", want: "lacks", hint: "CREATE PUBLICATION", set: func(c *source.Config) { c.Stream.Create = false }},
			"only inserts":   {collection: "page", want: "leaves some operations out", hint: "SET (publish", set: func(c *source.Config) { c.Stream.Publication = "inserts" }},
			"only some rows": {collection: "page", want: "leaves rows or columns", hint: "whole tables", set: func(c *source.Config) { c.Stream.Publication = "few" }},
		} {
			dsn := test.dsn
			if dsn == "" {
				dsn = d.dsn
			}
			s := openPostgres(t, dsn, func(c *source.Config) {
				set(c)
				if test.set != nil {
					test.set(c)
				}
			})
			closeAfter(t, s.Close)
			_, err := s.Abilities().Stream.Streams(t.Context(), []syncd.Collection{{Name: test.collection}})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(syncd.HintOf(err), test.hint) {
				t.Errorf("%s: %v (%s)", name, err, syncd.HintOf(err))
			}
		}
	})

	t.Run("positions that are lost", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY)`)
		f := followPostgres(t, d, "lost", "page")
		first := f.after
		isLost := func(what string, after syncd.Offset) {
			t.Helper()
			f.after = after
			if _, err := f.changes(1); !errors.Is(err, syncd.ErrPositionLost) {
				t.Errorf("%s: %v", what, err)
			}
		}
		isLost("damage", "x")
		isLost("another server", "1"+first)
		parts := strings.Split(string(first), " ")
		isLost("another timeline", syncd.Offset(parts[0]+" 9 "+parts[2]))
		isLost("behind the end", syncd.Offset(parts[0]+" "+parts[1]+" FFFF/0"))
		d.exec("INSERT INTO page VALUES (1)")
		isLost("a transaction that is not there", first+" FFFF/0 1")
		left := func() { // the server notices a little later that a reader is gone
			t.Helper()
			d.exec("DO $$ BEGIN WHILE (SELECT active FROM pg_replication_slots WHERE slot_name = 'lost') LOOP PERFORM pg_sleep(0.01); END LOOP; END $$")
		}
		// Somebody else reads the slot.
		left()
		d.exec("SELECT * FROM pg_replication_slot_advance('lost', pg_current_wal_lsn())")
		isLost("read by somebody else", first)
		left()
		d.exec("SELECT pg_drop_replication_slot('lost')")
		isLost("dropped", first)
		f.use(f.stream) // makes it anew
		d.exec("INSERT INTO page VALUES (2)")
		if got, err := f.changes(1); err != nil || len(got) != 1 || got[0].ID != "2" {
			t.Errorf("%v, %v", shown(got), err)
		}
		// A slot of a time before there was a publication tells nothing.
		left()
		d.exec("SELECT pg_drop_replication_slot('lost')")
		d.exec("DROP PUBLICATION lost")
		d.exec("SELECT pg_create_logical_replication_slot('lost', 'pgoutput')")
		d.exec("INSERT INTO page VALUES (3)")
		f = followPostgres(t, d, "lost", "page")
		if _, err := f.changes(1); !errors.Is(err, syncd.ErrPositionLost) {
			t.Errorf("a slot without its publication: %v", err)
		}
		f.use(f.stream)
		d.exec("INSERT INTO page VALUES (4)")
		if got, err := f.changes(1); err != nil || len(got) != 1 || got[0].ID != "4" {
			t.Errorf("%v, %v", shown(got), err)
		}
	})

	// The hand-over: writers are at work while the slot is made and the snapshot read. Snapshot and stream together give each row's
	// last state, and where nothing is fetched, no change is told that the snapshot has seen.
	t.Run("hand-over", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY, n integer)`)
		d.exec(`INSERT INTO page SELECT g, 0 FROM generate_series(1, 2000) g`)
		ctx, stop := context.WithCancel(t.Context())
		const writers = 4
		written := make(chan error, writers)
		for w := range writers {
			go func() {
				written <- func() error {
					c, err := pgx.Connect(context.Background(), d.dsn)
					if err != nil {
						return err
					}
					defer c.Close(context.Background())
					for i := 0; ctx.Err() == nil; i++ {
						sql := []string{"UPDATE page SET n = n + 1 WHERE id = $1", "INSERT INTO page VALUES ($1 + 100000, 0) ON CONFLICT DO NOTHING", "DELETE FROM page WHERE id = $1 + 50"}[i%3]
						if _, err := c.Exec(context.Background(), sql, i*writers+w); err != nil {
							return err
						}
					}
					return nil
				}()
			}()
		}
		f := reopenPostgres(t, d, "handover", "page")
		f.Source = openPostgres(t, d.dsn, func(c *source.Config) { c.Stream.Slot, c.Stream.Publication, c.Splits = "handover", "handover", 4 })
		closeAfter(t, f.Close)
		f.use(f.stream)
		state := map[string]string{}
		for split, err := range f.Splits(t.Context(), syncd.Collection{Name: "page"}) {
			if err != nil {
				t.Fatal(err)
			}
			all, _ := readSplit(t, f, syncd.ReadRequest{Split: split, BatchSize: 1000, Documents: true})
			for _, c := range all {
				v, _ := c.Document.Lookup("n")
				state[c.ID] = v.Text
			}
		}
		stop()
		for range writers {
			if err := <-written; err != nil {
				t.Fatal(err)
			}
		}
		got, err := f.changes(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got {
			_, there := state[c.ID]
			switch c.Operation {
			case syncd.Insert:
				if there {
					t.Fatalf("%s: the snapshot had it", show(c))
				}
			case syncd.Update:
				v, _ := c.Document.Lookup("n")
				var was, is int
				fmt.Sscan(state[c.ID], &was)
				fmt.Sscan(v.Text, &is)
				if !there || is != was+1 {
					t.Fatalf("%s: it was %q", show(c), state[c.ID])
				}
			case syncd.Delete:
				if !there {
					t.Fatalf("%s: it was not there", show(c))
				}
				delete(state, c.ID)
				continue
			}
			v, _ := c.Document.Lookup("n")
			state[c.ID] = v.Text
		}
		if want := d.one("SELECT count(*)::text FROM page"); fmt.Sprint(len(state)) != want || len(got) == 0 {
			t.Errorf("snapshot and %d changes give %d rows, and there are %s", len(got), len(state), want)
		}
	})

	t.Run("a server that is restarted", func(t *testing.T) {
		d := newDatabase(t, server)
		d.exec(`CREATE TABLE page (id integer PRIMARY KEY)`)
		f := followPostgres(t, d, "restarted", "page")
		d.exec("INSERT INTO page VALUES (1)")
		seen := make(chan string, 10)
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for b, err := range f.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &f.stream}, After: f.after, BatchSize: 10}) {
				if err != nil {
					ended <- err
					return
				}
				for _, c := range b.Changes {
					seen <- c.ID
				}
			}
		}()
		next := func(want string) {
			t.Helper()
			select {
			case id := <-seen:
				if id != want {
					t.Errorf("%q came instead of %q", id, want)
				}
			case err := <-ended:
				t.Fatal(err)
			case <-time.After(patience):
				t.Fatalf("%q never came", want)
			}
		}
		next("1")
		d.exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'restarted'")
		d.exec("INSERT INTO page VALUES (2)")
		next("2")
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.exec("INSERT INTO page VALUES (3)")
		next("3")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
}
