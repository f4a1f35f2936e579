package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	source "github.com/syncd-io/syncd/connectors/postgres"
	"github.com/syncd-io/syncd/integration/postgres"
)

// readAll reads all splits of a collection in batches of a size, each from its start and again behind every batch, and returns what came.
func readAll(t *testing.T, s syncd.Source, c syncd.Collection, size int, documents bool) (all []syncd.Change) {
	t.Helper()
	for split, err := range s.Splits(t.Context(), c) {
		if err != nil {
			t.Fatal(err)
		}
		req := syncd.ReadRequest{Split: split, BatchSize: size, Documents: documents}
		whole, offsets := readSplit(t, s, req)
		for n, after := range offsets {
			req.After = after
			rest, _ := readSplit(t, s, req)
			if got, want := idsOf(rest), idsOf(whole[n:]); !slices.Equal(got, want) {
				t.Fatalf("behind %d changes of split %d: %q, want %q", n, split.Index, got, want)
			}
		}
		all = append(all, whole...)
	}
	return all
}

func readSplit(t *testing.T, s syncd.Source, req syncd.ReadRequest) (all []syncd.Change, offsets map[int]syncd.Offset) {
	t.Helper()
	offsets = map[int]syncd.Offset{}
	for b, err := range s.Read(t.Context(), req) {
		if err != nil {
			t.Fatalf("%v (%s)", err, syncd.HintOf(err))
		}
		all = append(all, b.Changes...)
		if b.Offset != "" {
			offsets[len(all)] = b.Offset
		}
	}
	return all, offsets
}

func idsOf(changes []syncd.Change) (ids []string) {
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	return ids
}

// TestPostgresKeys: of every type of key no row is lost, in one split and in several, from the start and from every place, and each is
// found by its key and by its id.
func TestPostgresKeys(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.Debian))
	d.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'it''s', 'z')`)
	d.exec(`CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%')`)
	d.exec(`CREATE EXTENSION citext`)
	numbers := "SELECT %s FROM generate_series(-150, 150) g"
	for name, test := range map[string]struct {
		columns string // with the key
		rows    string // a query of them
		ids     []string
	}{
		"smallint":         {"k smallint PRIMARY KEY", fmt.Sprintf(numbers, "g"), []string{"-150", "0"}},
		"integer":          {"k integer PRIMARY KEY", fmt.Sprintf(numbers, "g*10000000"), []string{"-1500000000"}},
		"bigint":           {"k bigint PRIMARY KEY", fmt.Sprintf(numbers, "g*10000000000000000"), []string{"1500000000000000000"}},
		"text":             {"k text PRIMARY KEY", `SELECT md5(g::text) FROM generate_series(1, 300) g UNION VALUES (''), ('a'), ('A'), ('á'), ('Z'), ('_x'), ('a b'), ('''"\'), ('漢'), (E'\x01'), ('%,')`, []string{"", "á", `'"\`, "%,"}},
		"varchar":          {"k varchar(40) PRIMARY KEY", fmt.Sprintf(numbers, "'x' || g"), []string{"x-7"}},
		"char":             {"k char(6) PRIMARY KEY", fmt.Sprintf(numbers, "'x' || g"), []string{"x-7   "}},
		"uuid":             {"k uuid PRIMARY KEY", fmt.Sprintf(numbers, "md5(g::text)::uuid"), nil},
		"numeric":          {"k numeric PRIMARY KEY", fmt.Sprintf(numbers, "g * 1.50") + " UNION VALUES ('NaN'::numeric), ('1e30'), ('0.000000001')", []string{"1.50", "NaN", "0.000000001"}},
		"double":           {"k double precision PRIMARY KEY", fmt.Sprintf(numbers, "g / 3.0") + " UNION VALUES ('NaN'), ('-Infinity'), (1e300), (5e-324)", []string{"NaN", "-Infinity", "1e+300", "5e-324"}},
		"boolean":          {"k boolean PRIMARY KEY", "VALUES (true), (false)", []string{"true", "false"}},
		"date":             {"k date PRIMARY KEY", fmt.Sprintf(numbers, "date '2000-01-01' + g * 30") + " UNION VALUES ('infinity'::date), ('0044-03-15 BC')", []string{"infinity", "0044-03-15 BC"}},
		"timestamptz":      {"k timestamptz PRIMARY KEY", fmt.Sprintf(numbers, "timestamptz '2000-01-01 00:00:00.000001+02' + g * interval '1 day'"), []string{"1999-12-31T22:00:00.000001Z"}},
		"timestamp":        {"k timestamp PRIMARY KEY", fmt.Sprintf(numbers, "timestamp '2000-01-01' + g * interval '1 hour'"), []string{"2000-01-01T00:00:00"}},
		"time":             {"k time PRIMARY KEY", fmt.Sprintf(numbers, "time '00:00' + g * interval '1 minute'"), nil},
		"interval":         {"k interval PRIMARY KEY", fmt.Sprintf(numbers, "g * interval '1 day 2 hours'"), []string{"P1DT2H"}},
		"bytea":            {"k bytea PRIMARY KEY", fmt.Sprintf(numbers, "decode(md5(g::text), 'hex')") + ` UNION VALUES ('\x'::bytea), ('\x00')`, []string{"", "AA=="}},
		"enum":             {"k mood PRIMARY KEY", "SELECT unnest(enum_range(NULL::mood))", []string{"it's"}},
		"domain":           {"k email PRIMARY KEY", fmt.Sprintf(numbers, "g || '@x'"), []string{"7@x"}},
		"citext":           {"k citext PRIMARY KEY", fmt.Sprintf(numbers, "'Ab' || g"), []string{"Ab7"}},
		"inet":             {"k inet PRIMARY KEY", fmt.Sprintf(numbers, "inet '10.0.0.0' + (g + 150)"), []string{"10.0.0.7"}},
		"jsonb":            {"k jsonb PRIMARY KEY", fmt.Sprintf(numbers, "jsonb_build_object('a', g)") + ` UNION VALUES ('"1"'::jsonb), ('1'), ('null')`, []string{`"1"`, "1", `{"a":7}`}},
		"array":            {"k integer[] PRIMARY KEY", fmt.Sprintf(numbers, "ARRAY[g, g+1]") + " UNION VALUES ('{}'::integer[])", []string{"[7,8]", "[]"}},
		"array of text":    {"k text[] PRIMARY KEY", fmt.Sprintf(numbers, `ARRAY['a"' || g, NULL, '\']`), []string{`["a\"7",null,"\\"]`}},
		"bit":              {"k bit(10) PRIMARY KEY", "SELECT g::bit(10) FROM generate_series(0, 300) g", []string{"0000000111"}},
		"two columns":      {"tenant text, n integer, PRIMARY KEY (tenant, n)", "SELECT 'te,nant%' || g % 7, g FROM generate_series(-150, 150) g", []string{"te%2Cnant%253,150"}},
		"three, turned":    {"a bigint, b uuid, c timestamptz, PRIMARY KEY (c, a, b)", "SELECT g % 5, md5(g::text)::uuid, timestamptz '2000-01-01+00' + g % 11 * interval '1 day' FROM generate_series(0, 300) g", nil},
		"arrays and bytes": {"a integer[], b bytea, PRIMARY KEY (a, b)", `SELECT ARRAY[g], '\x01'::bytea FROM generate_series(0, 300) g`, []string{"[7],AQ=="}},
		"with a name":      {`"Odd "" name" integer PRIMARY KEY, "select" text`, "SELECT g, 'x' FROM generate_series(1, 300) g", []string{"7"}},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			name := "of " + name
			d.exec("CREATE TABLE " + ident(name) + " (" + test.columns + ")")
			d.exec("INSERT INTO " + ident(name) + " " + test.rows)
			d.exec("ANALYZE " + ident(name))
			want := d.one("SELECT count(*)::text FROM " + ident(name))
			c := syncd.Collection{Name: name}
			var ids []string
			for _, splits := range []int{1, 7} {
				s := openPostgres(t, d.dsn, func(c *source.Config) { c.Splits = splits })
				all := readAll(t, s, c, 70, splits == 7)
				closeAfter(t, s.Close)
				if fmt.Sprint(len(all)) != want {
					t.Fatalf("%d splits have %d rows, not %s", splits, len(all), want)
				}
				ids = idsOf(all)
				keys, seen := []syncd.Key{}, map[string]bool{}
				for _, change := range all {
					if change.Err != nil || seen[change.ID] {
						t.Fatalf("row %q: %v, or twice", change.ID, change.Err)
					}
					seen[change.ID] = true
					keys = append(keys, change.Key)
				}
				fetched := 0
				for f, err := range s.Fetch(t.Context(), c, keys) {
					if err != nil {
						t.Fatal(err)
					}
					if v, err := f.Document.Lookup("_id"); err != nil || v.Text != all[f.Index].ID {
						t.Fatalf("the row of %q has the id %q", all[f.Index].ID, v.Text)
					}
					fetched++
				}
				if fetched != len(all) {
					t.Errorf("%d of %d rows are fetched", fetched, len(all))
				}
				asked := append(slices.Clone(ids), "nobody", "[1", "{", "true", "999999999999999999999", "x@y", "\x00", "\xff", "[[1]]", `{"b":1}`, ",", "a,b,c")
				found, err := s.Abilities().Find(t.Context(), c, asked)
				if err != nil {
					t.Fatalf("%v (%s)", err, syncd.HintOf(err))
				}
				for i := range asked {
					if i < len(ids) && found[i] != keys[i] || i >= len(ids) && found[i] != "" && !seen[asked[i]] {
						t.Fatalf("%q is found as %q", asked[i], found[i])
					}
				}
			}
			for _, id := range test.ids {
				if !slices.Contains(ids, id) {
					t.Errorf("no row has the id %q, but %q…", id, ids[:min(5, len(ids))])
				}
			}
		})
	}
}

// TestPostgresValues says what a row of many types looks like.
func TestPostgresValues(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.Debian))
	d.exec(`CREATE TYPE mood AS ENUM ('sad', 'ok')`)
	d.exec(`CREATE TYPE pair AS (a integer, b text)`)
	d.exec(`CREATE DOMAIN cents AS integer CHECK (VALUE >= 0)`)
	d.exec(`CREATE DOMAIN bag AS jsonb`)
	d.exec(`CREATE TABLE kinds (id uuid PRIMARY KEY, s smallint, i integer, l bigint, r real, f float8, nan float8, n numeric(10,2), b boolean, t text, c char(3), v varchar(5),
at timestamptz, local timestamp, day date, clock time, clockz timetz, span interval, raw bytea, js json, jb jsonb, m mood, ms mood[], money cents, moneys cents[], things bag,
ints integer[], grid integer[][], texts text[], blobs bytea[], times timestamptz[], jsons jsonb[], p pair, ip inet, rng int4range, pt point, x xml, nothing text)`)
	d.exec(`INSERT INTO kinds VALUES ('6BA7B811-9DAD-11D1-80B4-00C04FD430C8', 1, -2, 9007199254740993, 0.1, 1e-7, 'NaN', 12.50, true, 'a"b', 'x', 'y',
'2024-01-02 03:04:05.678901+02', '2024-01-02 03:04:05', '2024-01-02', '03:04:05', '03:04:05+02', '1 year 2 days 03:04:05', '\x00ff', '{"a" :  1.0, "a":2}', '{"b": [1.50, "é"], "a": null}', 'ok', '{ok,NULL}', 7, '{1,2}', '{"x": true}',
'{1,NULL}', '{{1,2},{3,4}}', '{"a b","","NULL"}', '{"\\x01"}', '{"2024-01-02 00:00:00+00"}', '{"{\"a\": 1}"}', '(1,"x y")', '10.0.0.1/8', '[1,5)', '(1,2)', '<a>1</a>', NULL)`)
	s := openPostgres(t, d.dsn, nil)
	closeAfter(t, s.Close)
	all := readAll(t, s, syncd.Collection{Name: "kinds"}, 10, true)
	got, err := all[0].Document.AppendJSON(nil, syncd.Plain)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"_id":"6ba7b811-9dad-11d1-80b4-00c04fd430c8","id":"6ba7b811-9dad-11d1-80b4-00c04fd430c8","s":1,"i":-2,"l":9007199254740993,"r":0.1,"f":1e-07,"nan":"NaN","n":"12.50","b":true,"t":"a\"b","c":"x  ","v":"y",` +
		`"at":"2024-01-02T01:04:05.678901Z","local":"2024-01-02T03:04:05","day":"2024-01-02","clock":"03:04:05","clockz":"03:04:05+02","span":"P1Y2DT3H4M5S","raw":"AP8=","js":{"a":1.0,"a":2},"jb":{"a":null,"b":[1.50,"é"]},"m":"ok","ms":["ok",null],"money":7,"moneys":[1,2],"things":{"x":true},` +
		`"ints":[1,null],"grid":[[1,2],[3,4]],"texts":["a b","","NULL"],"blobs":["AQ=="],"times":["2024-01-02T00:00:00Z"],"jsons":[{"a":1}],"p":"(1,\"x y\")","ip":"10.0.0.1/8","rng":"[1,5)","pt":"(1,2)","x":"<a>1</a>"}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	req := syncd.ReadRequest{BatchSize: 10, Fields: []string{"at", "jb.b.1", "raw", "things.x", "nothing", "id", "_id", "ints", "absent.x", "moneys.1"}}
	for split := range s.Splits(t.Context(), syncd.Collection{Name: "kinds"}) {
		req.Split = split
	}
	changes, _ := readSplit(t, s, req)
	var texts []string
	for _, v := range changes[0].Fields {
		texts = append(texts, map[bool]string{true: v.Text, false: "-"}[v.Set])
	}
	if want := "2024-01-02T01:04:05.678901Z é AP8= true - 6ba7b811-9dad-11d1-80b4-00c04fd430c8 6ba7b811-9dad-11d1-80b4-00c04fd430c8 [1,null] - 2"; strings.Join(texts, " ") != want {
		t.Errorf("the fields are %q, want %q", texts, want)
	}
}

// TestPostgresCollections: views, other schemas, partitions, keys of one's own, rows without a key, and what can't be read.
func TestPostgresCollections(t *testing.T) {
	d := newDatabase(t, postgresServer(t, postgres.Debian))
	d.exec(`CREATE SCHEMA sales`)
	d.exec(`CREATE TABLE sales.orders (id integer PRIMARY KEY)`)
	d.exec(`INSERT INTO sales.orders SELECT generate_series(1, 20)`)
	d.exec(`CREATE TABLE "dotted.name" (id integer PRIMARY KEY)`)
	d.exec(`CREATE TABLE parts (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)`)
	d.exec(`CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')`)
	d.exec(`CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`)
	d.exec(`INSERT INTO parts SELECT g, date '2024-01-01' + g FROM generate_series(0, 50) g`)
	d.exec(`CREATE TABLE loose (a integer, b text)`)
	d.exec(`INSERT INTO loose SELECT g, nullif(g % 10, 0)::text FROM generate_series(1, 100) g`)
	d.exec(`INSERT INTO loose VALUES (NULL, 'x')`)
	d.exec(`CREATE VIEW even AS SELECT id AS n, 'e' AS kind FROM sales.orders WHERE id % 2 = 0`)
	d.exec(`CREATE MATERIALIZED VIEW kept AS SELECT id FROM sales.orders`)
	d.exec(`CREATE TABLE hidden (id integer PRIMARY KEY)`)
	d.exec(`ALTER TABLE hidden ENABLE ROW LEVEL SECURITY`)
	d.exec(`CREATE ROLE reader LOGIN`)
	d.exec(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader`)
	set := func(c *source.Config) {
		c.Splits = 3
		c.Keys = map[string]string{"even": "n", "kept": "id", "loose": "a b", "wrong": "x", "parts": "id"}
	}
	s := openPostgres(t, d.dsn, set)
	closeAfter(t, s.Close)
	for name, rows := range map[string]int{"sales.orders": 20, "dotted.name": 0, "parts": 51, "even": 10, "kept": 20} {
		all := readAll(t, s, syncd.Collection{Name: name}, 4, true)
		if len(all) != rows {
			t.Errorf("%s has %d rows, not %d", name, len(all), rows)
		}
		if n, err := s.Abilities().Count(t.Context(), syncd.Collection{Name: name}); err != nil || n != int64(rows) {
			t.Errorf("%s counts %d rows, %v", name, n, err)
		}
	}
	names, err := s.Abilities().Collections(t.Context())
	if want := []string{"dotted.name", "even", "hidden", "kept", "loose", "parts", "sales.orders"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("the collections are %q, %v", names, err)
	}
	filtered := readAll(t, s, syncd.Collection{Name: "sales.orders", Filter: "id > 5 OR id = 2 -- not all"}, 3, false)
	if len(filtered) != 16 {
		t.Errorf("the filter leaves %q", idsOf(filtered))
	}
	failed, read := 0, 0
	for _, c := range func() (all []syncd.Change) {
		for split := range s.Splits(t.Context(), syncd.Collection{Name: "loose"}) {
			changes, _ := readSplit(t, s, syncd.ReadRequest{Split: split, BatchSize: 7, Documents: true})
			all = append(all, changes...)
		}
		return all
	}() {
		read++
		if c.Err != nil {
			failed++
		}
	}
	if read != 101 || failed != 11 {
		t.Errorf("of a table whose key may be NULL came %d rows, %d of them errors; want 101 and 11", read, failed)
	}
	for name, want := range map[string]string{"wrong": "not found", "parts_1": ""} {
		_, err := s.Abilities().Count(t.Context(), syncd.Collection{Name: name})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := openPostgres(t, strings.Replace(d.dsn, "postgres@", "reader@", 1), set)
	closeAfter(t, other.Close)
	for name, want := range map[string]string{"hidden": "row-level security", "sales.orders": "permission denied"} {
		_, err := other.Abilities().Count(t.Context(), syncd.Collection{Name: name})
		if err == nil || !strings.Contains(err.Error(), want) || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, syncd.HintOf(err))
		}
	}
	none := openPostgres(t, d.dsn, nil)
	closeAfter(t, none.Close)
	if _, err := none.Abilities().Count(t.Context(), syncd.Collection{Name: "loose"}); err == nil || !strings.Contains(syncd.HintOf(err), "source.postgres.keys") {
		t.Errorf("a table without a key: %v", err)
	}
	var shown []string
	for _, f := range s.Abilities().Probe(t.Context(), []syncd.ProbeTarget{
		{Target: syncd.Target{Collection: "sales.orders"}, Filter: "id > 5"}, {Target: syncd.Target{Collection: "sales.orders"}, Filter: "nothing > 5"},
		{Target: syncd.Target{Collection: "sales.orders"}, Filter: "id > 500"}, {Target: syncd.Target{Collection: "sale.orders"}}, {Target: syncd.Target{Collection: "even"}},
	}) {
		shown = append(shown, fmt.Sprintf("%s %s: %s | %s", f.Status, f.Subject, f.Detail, f.Hint))
	}
	for i, want := range []string{"ok server: PostgreSQL 15", "ok collection sales.orders: about ", "failed collection sales.orders: the server refuses the filter: ERROR: column \"nothing\"",
		"warning collection sales.orders: about ", `did you mean "sales.orders"?`, "ok collection even: a view, key n"} {
		if !strings.Contains(shown[i], want) {
			t.Errorf("finding %d is %s", i, shown[i])
		}
	}
}

// TestPostgresSnapshot: readers of a table see one moment, a key that moves meanwhile is neither lost nor doubled, and what was read
// is let go of.
func TestPostgresSnapshot(t *testing.T) {
	s := ownPostgres(t, postgres.Debian)
	d := newDatabase(t, s)
	d.exec("CREATE TABLE moving (id integer PRIMARY KEY, moved boolean)")
	d.exec("INSERT INTO moving SELECT g, false FROM generate_series(1, 10000) g")
	held := func() string {
		return d.one("SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
	}
	src := openPostgres(t, d.dsn, func(c *source.Config) { c.Splits = 4 })
	closeAfter(t, src.Close)
	c := syncd.Collection{Name: "moving"}
	var splits []syncd.Split
	for split, err := range src.Splits(t.Context(), c) {
		if err != nil {
			t.Fatal(err)
		}
		splits = append(splits, split)
	}
	if len(splits) != 4 || held() != "1" {
		t.Fatalf("%d splits, and %s snapshots are held", len(splits), held())
	}
	seen := map[string]int{}
	for i := len(splits) - 1; i >= 0; i-- { // from the end, while rows move from the start to behind all others
		d.exec("UPDATE moving SET id = id + 100000, moved = true WHERE NOT moved AND id % 4 = 0")
		all, _ := readSplit(t, src, syncd.ReadRequest{Split: splits[i], BatchSize: 1000})
		for _, change := range all {
			seen[change.ID]++
		}
	}
	if len(seen) != 10000 || seen["4"] != 1 || seen["100004"] != 0 {
		t.Errorf("%d rows were seen", len(seen))
	}
	for end := time.Now().Add(patience); held() != "0"; { // the server notices a little later that its reader is gone
		if time.Now().After(end) {
			t.Fatal("the snapshot is still held")
		}
	}
	// A split that was read is read as it is now.
	again, _ := readSplit(t, src, syncd.ReadRequest{Split: splits[3], BatchSize: 1000})
	if len(again) < 4000 {
		t.Errorf("the last split has %d rows by now", len(again))
	}
	// The connection that holds a snapshot is lost: the rest is read all the same.
	for range src.Splits(t.Context(), c) {
	}
	d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
	if all := readAll(t, src, c, 1000, false); len(all) != 10000 {
		t.Errorf("%d rows", len(all))
	}
	// So is a server that is restarted in the midst of a read.
	n := 0
	for b, err := range src.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: c}, BatchSize: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		if n += len(b.Changes); n == 500 {
			d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}
	}
	if n != 10000 {
		t.Errorf("%d rows came in spite of a lost connection", n)
	}
}
