package mongo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/spec"
)

func secret(s string) spec.Secret { return spec.Secret(s) }

func parsed(k syncd.Key) (bson.RawValue, error) { return bsondoc.ParseKey(string(k)) }

func TestURI(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://localhost":                                        "",
		"mongodb://localhost:27017/":                                 "",
		"mongodb://a:1,b:2/admin?replicaSet=rs0":                     "",
		"mongodb://mia:p%40ss@h/?tls=true":                           "",
		"mongodb://[::1]:27017/":                                     "",
		"mongodb://%2Ftmp%2Fmongodb-27017.sock/":                     "",
		"mongodb+srv://mia:pass@cluster0.example.mongodb.net":        "",
		"mongodb+srv://no.such.host.invalid/?srvMaxHosts=2&tls=true": "",
		"mongodb+srv://no.such.host.invalid/db?srvServiceName=x":     "",
		"":                                       "must start with",
		"localhost:27017":                        "must start with",
		"http://localhost":                       "must start with",
		"mongodb://":                             "no host",
		"mongodb:///db":                          "no host",
		"mongodb://mia:s3cret@":                  "no host",
		"mongodb://a,,b":                         "host 2 of 3",
		"mongodb://h:99999":                      "no valid port",
		"mongodb://mia:s3cret/db":                "no valid port",
		"mongodb://h?tls=true":                   "a / must stand before the ?",
		"mongodb://mia:s3@cret@h":                "more than one @",
		"mongodb://mia:s3/cret@h":                "written %2F",
		"mongodb://mia:s3:cret@h":                "written %3A",
		"mongodb://mia:s3%cret@h":                "written %25",
		"mongodb://:s3cret@h":                    "is empty",
		"mongodb://h/?tls=maybe":                 "tls",
		"mongodb://h/?authMechanism=NONE":        "invalid auth mechanism",
		"mongodb+srv://a,b":                      "exactly one host",
		"mongodb+srv://mia:s3cret@a:27017":       "without a port",
		"mongodb+srv://a/?readPreference=s3cret": "",
	} {
		_, err := parseURI(uri)
		if want == "" && err != nil && !strings.Contains(uri, "readPreference") {
			t.Errorf("%q: %v", uri, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", uri, err, want)
		}
		if err != nil && strings.Contains(uri, "mia") {
			noSecret(t, err, "s3cret", "cret")
		}
	}
	at, err := parseURI("mongodb://m%40a:x@a:1,b/?tls=true")
	if diff := cmp.Diff(target{hosts: "a:1,b", user: "m@a", tls: true, tlsSaid: true}, at, cmp.AllowUnexported(target{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestScrub(t *testing.T) {
	for _, c := range []struct{ uri, secret string }{
		{"mongodb://mia:s3cret@h/", "s3cret"},
		{"mongodb://mia:s3%40c%2Fr%25t@h/", "s3@c/r%t"},
		{"mongodb://mia:s3%40c%2Fr%25t@h/", "s3%40c%2Fr%25t"},
		{"mongodb://mia:a+b%20c@h/", "a+b c"},
		{"mongodb://mia:a%20b@h/", url.QueryEscape("a b")},
		{`mongodb://mia:q"uo\te@h/`, `q"uo\te`},
		{`mongodb://mia:q"uo\te@h/`, `q\"uo\\te`},
		{"mongodb://mia:s3@cret@h/", "s3@cret"},
		{"mongodb://mia:s3/cret@h/", "s3/cret"},
		{"mia:s3cret@h", "s3cret"},
		{"mongodb+srv://mia:s3cret@h/?a=b", "s3cret"},
		{"mongodb://mia:x@h/", "mia:x"},
		{"mongodb://h/?tlsCertificateKeyFile=f&tlsCertificateKeyFilePassword=k3y", "k3y"},
		{"mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:t0ken,SERVICE_NAME:mongodb", "t0ken"},
		{"mongodb://h/?proxyPassword=pr0xy", "pr0xy"},
		{"mongodb://mia:passwörd@h/", "passwörd"},
	} {
		s := newScrubber(c.uri)
		cause := fmt.Errorf("dialing %s with %s: %w", c.uri, c.secret, context.DeadlineExceeded)
		err := fmt.Errorf("connecting: %w", s.scrub(cause))
		noSecret(t, err, c.secret, c.uri)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the cause is lost", c.uri)
		}
		if !strings.Contains(err.Error(), "dialing") {
			t.Errorf("%s: too much is taken out: %v", c.uri, err)
		}
	}
	plain := errors.New("no secrets on localhost")
	if got := newScrubber("mongodb://localhost/").scrub(plain); got.Error() != plain.Error() {
		t.Error(got)
	}
}

func scalar(text string) *spec.Node { return &spec.Node{Kind: spec.Scalar, Text: text} }

func TestConfig(t *testing.T) {
	block := func(entries ...spec.Entry) *spec.Node { return &spec.Node{Kind: spec.Map, Entries: entries} }
	good := []spec.Entry{{Name: "uri", Value: scalar("mongodb://h/")}, {Name: "database", Value: scalar("db")}}
	for _, c := range []struct {
		node *spec.Node
		want []string
	}{
		{block(good...), nil},
		{block(), []string{`missing field "uri"`, `missing field "database"`}},
		{block(append(good, spec.Entry{Name: "batch_size", Value: scalar("-1")})...), []string{"source.mongo.batch_size must be at least 0"}},
		{block(append(good, spec.Entry{Name: "splits", Value: scalar("10001")})...), []string{"source.mongo.splits must be at most 10000"}},
		{block(append(good, spec.Entry{Name: "batch_size", Value: scalar("100001")})...), []string{"must be at most 100000"}},
		{block(append(good, spec.Entry{Name: "connect_timeout", Value: scalar("0s")})...), []string{"must be at least 1ms"}},
		{block(spec.Entry{Name: "uri", Value: scalar("mongodb://mia:s3/cret@h")}, good[1]), []string{"source.mongo.uri is not a MongoDB connection string: a / in"}},
		{block(good[0], spec.Entry{Name: "database", Value: scalar("a.b")}), []string{`can't hold the character "."`}},
		{block(good[0], spec.Entry{Name: "database", Value: scalar(strings.Repeat("x", 64))}), []string{"63 bytes"}},
	} {
		ds := spec.Decode(c.node, Plugin().Config(), "source", "mongo")
		text := ds.Error()
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q lacks %q", text, want)
			}
		}
		if len(ds) != len(c.want) || strings.Contains(text, "cret") {
			t.Errorf("%d problems, want %d: %s", len(ds), len(c.want), text)
		}
	}
}

func TestFilter(t *testing.T) {
	cfg := Plugin().Config().(*Config)
	for filter, want := range map[string]string{
		"":                                      "",
		"{}":                                    "",
		`{"archived": false, "n": {"$gte": 1}}`: "",
		`{"_id": {"$oid": "507f1f77bcf86cd799439011"}}`:      "",
		`{"at": {"$gt": {"$date": {"$numberLong": "1"}}}}`:   "",
		`{"at": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}`: "",
		`[]`:                     "a filter is an object",
		`"x"`:                    "a filter is an object",
		`null`:                   "a filter is an object",
		`{"a": 1} {"b": 2}`:      "something follows it",
		`{"a": 1}}`:              "something follows it",
		`{"a": `:                 "Extended JSON",
		`{a: 1}`:                 "at character 2",
		`{"_id": ObjectId("x")}`: "$oid",
		`{"_id": {"$oid": "x"}}`: "Extended JSON",
		` `:                      "Extended JSON",
	} {
		err := cfg.CheckFilter(filter)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", filter, err, want)
		}
	}
}

func TestFilterOperators(t *testing.T) {
	cfg := Plugin().Config().(*Config)
	for filter, want := range map[string]string{ // what the error and its hint say; "" is none
		`{"a": {"$gt": 1, "$lt": 5}, "b": {"$in": [1, 2]}, "c": {"$exists": true}}`:                     "",
		`{"$or": [{"a": 1}, {"$and": [{"b": {"$ne": null}}]}]}`:                                         "",
		`{"a": {"$not": {"$regex": "x", "$options": "i"}}}`:                                             "",
		`{"a": {"$elemMatch": {"b": {"$gte": 1}, "$or": [{"c": 1}]}}}`:                                  "",
		`{"a": {"$elemMatch": {"$gte": 1, "$lt": 2}}}`:                                                  "",
		`{"a": {"$elemMatch": {"$or": [{"b": 1}]}}}`:                                                    "",
		`{"$expr": {"$gt": ["$a", {"$add": ["$b", 1]}]}}`:                                               "",
		`{"$where": "this.a > 1", "$comment": "x"}`:                                                     "",
		`{"$jsonSchema": {"required": ["a"], "properties": {"a": {"bsonType": "int"}}}}`:                "",
		`{"$text": {"$search": "x", "$caseSensitive": true}}`:                                           "",
		`{"at": {"$geoWithin": {"$centerSphere": [[1, 2], 3]}}}`:                                        "",
		`{"at": {"$near": {"$geometry": {"type": "Point", "coordinates": [1, 2]}, "$maxDistance": 5}}}`: "",
		`{"a": {"$mod": [4, 0]}, "b": {"$size": 2}, "c": {"$bitsAllSet": 3}, "d": {"$type": "string"}}`: "",
		`{"ref": {"$ref": "page", "$id": {"$oid": "507f1f77bcf86cd799439011"}}}`:                        "",
		`{"a": {"b": 1}}`:   "",
		`{"a": {"gte": 1}}`: "", // a value, as far as one can tell
		`{"a": {"$regularExpression": {"pattern": "x", "options": ""}}}`: "",
		`{"price.$numberOfUnits": 1}`:                                    "",

		`{"a": {"$gte ": 1}}`:                       `unknown operator "$gte " of the field "a"; did you mean "$gte"?`,
		`{"a": {"$gtee": 1}}`:                       `did you mean "$gte"?`,
		`{"a": {"$exist": true}}`:                   `did you mean "$exists"?`,
		`{"a": {"$between": [1, 2]}}`:               `unknown operator "$between"`,
		`{"a": {"$GTE": 1}}`:                        `did you mean "$gte"?`,
		`{"a": {"$elemMatch": {"$gtt": 1}}}`:        `unknown operator "$gtt"`,
		`{"a": {"$elemMatch": {"b": {"$gtt": 1}}}}`: `unknown operator "$gtt" of the field "b"`,
		`{"a": {"$not": {"$gtt": 1}}}`:              `unknown operator "$gtt"`,
		`{"$orr": [{"a": 1}]}`:                      `did you mean "$or"?`,
		`{"$or": [{"a": {"$eqq": 1}}]}`:             `did you mean "$eq"?`,
		`{"$gte": {"a": 1}}`:                        `unknown operator "$gte" where a field's name`,
		`{"$updatedAt": 1}`:                         `unknown operator "$updatedAt"`,
		`{"$or": {"a": 1}}`:                         "$or takes a list",
		`{"$or": []}`:                               "must not be empty",
		`{"$and": [1]}`:                             "$and takes a list of queries",
		`{"a": {"$in": "x"}}`:                       `$in of the field "a" takes a list`,
		`{"a": {"$elemMatch": 1}}`:                  `$elemMatch of the field "a" takes a query`,
		`{"a": {"$gte": 1, "b": 2}}`:                `operators and fields are asked at once: "b"; a field inside of it is written "a.b"`,
		`{"a": {"b": 2, "$gte": 1}}`:                "operators and fields",
	} {
		err := cfg.CheckFilter(filter)
		said := ""
		if err != nil {
			said = err.Error() + "; " + syncd.HintOf(err)
		}
		if want == "" && err != nil || want != "" && !strings.Contains(said, want) {
			t.Errorf("%s: %q; want %q", filter, said, want)
		}
	}
}

// TestMistakenFilters: what a document says about a filter that matches nothing.
func TestMistakenFilters(t *testing.T) {
	oid, at := bson.ObjectID{1}, bson.NewDateTimeFromTime(time.Unix(1700000000, 0))
	doc, err := bson.Marshal(bson.D{
		{Key: "_id", Value: oid}, {Key: "at", Value: at}, {Key: "s", Value: "x"}, {Key: "n", Value: 1}, {Key: "tags", Value: bson.A{"x"}},
		{Key: "o", Value: bson.D{{Key: "at", Value: at}}}, {Key: "none", Value: nil}, {Key: "u", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"_id": "507f1f77bcf86cd799439011"}`:                            `_id is compared with text, but the first document has an ObjectId there: write {"$oid": "…"}`,
		`{"_id": {"$in": ["507f1f77bcf86cd799439011"]}}`:                 "_id is compared with text",
		`{"at": {"$gte": "2024-01-10T00:00:00Z"}}`:                       `at is compared with text, but the first document has a date there: write {"$date": "…"}`,
		`{"at": {"$gte": 1704844800000}}`:                                "at is compared with a number",
		`{"$or": [{"s": "y"}, {"at": "2024-01-10"}]}`:                    "at is compared with text",
		`{"o.at": {"$lt": "2024-01-10"}}`:                                "o.at is compared with text",
		`{"n": "1"}`:                                                     "n is compared with text, but the first document has a number",
		`{"s": 1}`:                                                       "s is compared with a number, but the first document has text there",
		`{"u": "00000000-0000-0000-0000-000000000000"}`:                  "binary data",
		`{"at": {"gte": {"$date": "2024-01-10T00:00:00Z"}}}`:             `at is compared with an object that has a field "gte": did you mean "$gte"?`,
		`{"_id": {"$oid": "507f1f77bcf86cd799439011"}}`:                  "",
		`{"at": {"$gte": {"$date": "2034-01-10T00:00:00Z"}}}`:            "",
		`{"n": {"$gt": {"$numberDouble": "5.5"}}, "s": {"$regex": "y"}}`: "",
		`{"tags": "y", "none": "z", "missing": 1, "s": null}`:            "",
		`{"s": {"$exists": false}, "at": {"$type": "string"}}`:           "",
		`{"o": {"at": 1}}`:                                               "",
		`{"$expr": {"$gt": ["$n", 5]}}`:                                  "",
		`{"tags.0": 5}`:                                                  "tags.0 is compared with a number, but the first document has text there",
	} {
		filter, err := parseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := mistaken(filter, doc); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestProjection(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   []string
	}{
		{nil, []string{"_id"}},
		{[]string{"a", "b.c"}, []string{"_id", "a", "b.c"}},
		{[]string{"a.b", "a"}, []string{"_id", "a"}},
		{[]string{"a", "a.b", "a.b.c", "ab"}, []string{"_id", "a", "ab"}},
		{[]string{"_id", "_id.x"}, []string{"_id"}},
		{[]string{"a", "a"}, []string{"_id", "a"}},
		{[]string{"a.0.b", "c.d.10", "e.1x", "f."}, []string{"_id", "a", "f.", "c.d", "e.1x"}},
	} {
		var got []string
		for _, e := range projection(c.fields) {
			got = append(got, e.Key)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.fields, diff)
		}
	}
}

func TestCompareValues(t *testing.T) {
	dec := func(s string) bson.Decimal128 {
		d, err := bson.ParseDecimal128(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	// Ascending; what stands in one list is equal.
	for i, equal := range ordered(dec) {
		for j, other := range ordered(dec) {
			for _, a := range equal {
				for _, b := range other {
					want := 0
					if i < j {
						want = -1
					} else if i > j {
						want = 1
					}
					if got := compareValues(value(t, a), value(t, b)); got != want {
						t.Errorf("%T %v against %T %v: %d, want %d", a, a, b, b, got, want)
					}
				}
			}
		}
	}
}

func ordered(dec func(string) bson.Decimal128) [][]any {
	return [][]any{
		{bson.MinKey{}},
		{bson.Null{}},
		{dec("NaN")},
		{dec("-Infinity")},
		{dec("-1E+6000")},
		{int64(-1 << 63), dec("-9223372036854775808"), float64(-1 << 63)},
		{-1.5, dec("-1.5")},
		{int32(0), int64(0), 0.0, dec("0"), dec("-0.00")},
		{dec("1E-6000")},
		{int32(1), int64(1), 1.0, dec("1.00")},
		{int64(1 << 53), float64(1 << 53)},
		{int64(1<<53 + 1)},
		{int64(1<<53 + 2), float64(1<<53 + 2)},
		{int64(1<<63 - 1)},
		{float64(1 << 63)},
		{dec("Infinity")},
		{"", bson.Symbol("")},
		{"a"}, {"a\x00"}, {"ab"}, {"b"},
		{bson.D{}},
		{bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: 1.0}}},
		{bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 1}}},
		{bson.D{{Key: "b", Value: 1}}},
		{bson.D{{Key: "a", Value: "x"}}},
		{bson.A{}}, {bson.A{1}},
		{bson.Binary{}}, {bson.Binary{Data: []byte{9}}}, {bson.Binary{Subtype: 4, Data: []byte{1}}}, {bson.Binary{Data: []byte{1, 0}}},
		{bson.ObjectID{}}, {bson.ObjectID{1}},
		{false}, {true},
		{bson.DateTime(-1)}, {bson.DateTime(0)},
		{bson.Timestamp{T: 1, I: 2}}, {bson.Timestamp{T: 2}},
		{bson.Regex{Pattern: "a"}}, {bson.Regex{Pattern: "b"}},
		{bson.DBPointer{DB: "d"}},
		{bson.JavaScript("x")},
		{bson.CodeWithScope{Code: "x", Scope: bson.D{}}},
		{bson.MaxKey{}},
	}
}

func TestTransient(t *testing.T) {
	command := func(code int32, labels ...string) error {
		return fmt.Errorf("asking: %w", mongodriver.CommandError{Code: code, Labels: labels})
	}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"cursor not found": {command(43), true},
		"not primary":      {command(10107), true},
		"network":          {command(0, "NetworkError"), true},
		"retryable":        {command(0, "RetryableError"), true},
		"bad value":        {command(2), false},
		"unauthorized":     {command(13), false},
		"wrong password":   {command(18), false},
		"text only":        {errors.New("cursor id 1 not found"), false},
		"cancelled":        {context.Canceled, false},
	} {
		if got := isTransient(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{retried: func(string) {}}
		attempts := func(err error) (n int, took time.Duration) {
			start := time.Now()
			_, _ = retried(t.Context(), s, func() (int, error) { n++; return 0, err })
			return n, time.Since(start)
		}
		passing := mongodriver.CommandError{Code: 91}
		if n, took := attempts(passing); n != maxAttempts || took < 5*time.Second || took > 11*time.Second {
			t.Errorf("%d attempts in %v", n, took)
		}
		if n, _ := attempts(mongodriver.CommandError{Code: 2}); n != 1 {
			t.Error("a lasting error is tried again")
		}
		start := time.Now()
		if err := s.retrier().Start().Again(t.Context(), mongodriver.CommandError{Code: 43}); err != nil || time.Since(start) > 0 {
			t.Fatalf("a lost cursor was waited for: %v", time.Since(start))
		}
	})
}

// listFinder serves queries from documents, through the driver's own cursor.
type listFinder struct {
	docs []any
	err  error
}

func (f listFinder) find(context.Context, query) (cursor, error) {
	c, err := mongodriver.NewCursorFromDocuments(f.docs, f.err, nil)
	if err != nil {
		return nil, err
	}
	return driverCursor{c}, nil
}

func TestBadDocumentsAreChangesWithErrors(t *testing.T) {
	s := &source{cfg: defaults(), finder: listFinder{docs: []any{
		bson.D{{Key: "title", Value: "a view may have no _id"}},
		bson.D{{Key: "_id", Value: "good"}},
		bson.D{{Key: "title", Value: "another one"}},
		bson.D{{Key: "_id", Value: nil}},
		bson.D{{Key: "_id", Value: "\xff"}},
		bson.D{{Key: "_id", Value: "field"}, {Key: "f", Value: "\xff"}},
		bson.D{{Key: "_id", Value: "also good"}, {Key: "f", Value: int64(7)}},
	}}}
	var got []string
	for batch, err := range s.Read(t.Context(), syncd.ReadRequest{BatchSize: 4, Fields: []string{"f"}, Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range batch.Changes {
			if c.Err != nil {
				letter := ""
				if c.Document != nil {
					b, _ := c.Document.AppendJSON(nil, syncd.Relaxed)
					letter = " " + string(b)
				}
				got = append(got, fmt.Sprintf("%s: %v%s %v", c.ID, c.Err, letter, errors.Is(c.Err, syncd.ErrNoID)))
			} else {
				got = append(got, fmt.Sprintf("%s %v", c.ID, c.Fields))
			}
		}
	}
	want := []string{
		`: the first document: no _id {"title":"a view may have no _id"} true`,
		"good [{ false}]",
		`: the document behind the one with _id "good": no _id {"title":"another one"} true`,
		`: the document behind the one with _id "good": _id is null true`,
		`: the document behind the one with _id null: _id is not valid UTF-8: "\xff" true`,
		`field: looking up "f": string is not valid UTF-8 false`,
		"also good [{7 true}]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Two shards may each have a document with the same _id.
func TestFetchYieldsADocumentOnce(t *testing.T) {
	s := &source{cfg: defaults(), finder: listFinder{docs: []any{
		bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 1}}, bson.D{{Key: "_id", Value: 1}, {Key: "n", Value: 2}},
		bson.D{{Key: "_id", Value: 1.0}}, bson.D{{Key: "_id", Value: 3}},
	}}}
	var got []int
	for f, err := range s.Fetch(t.Context(), syncd.Collection{Name: "c"}, []syncd.Key{key(value(t, 2)), key(value(t, 1)), key(value(t, 3))}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Index)
	}
	if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPlaces: a document without a usable id is named by its neighbour's, whatever that one is.
func TestPlaces(t *testing.T) {
	key := func(v any) syncd.Key {
		if v == nil {
			return syncd.Key([]byte{byte(bson.TypeNull)})
		}
		typ, b, err := bson.MarshalValue(v)
		if err != nil {
			t.Fatal(err)
		}
		return syncd.Key(bsondoc.AppendKey(nil, bson.RawValue{Type: typ, Value: b}))
	}
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	for _, tc := range []struct {
		last, lower syncd.Key
		want        string
	}{
		{"", "", "the first document"},
		{key("a"), "", `the document behind the one with _id "a"`},
		{key("5"), key(1), `the document behind the one with _id "5"`},
		{key(int32(5)), "", "the document behind the one with _id 5"},
		{key(1.5), "", "the document behind the one with _id 1.5"},
		{key(oid), "", "the document behind the one with _id 507f1f77bcf86cd799439011"},
		{key(true), "", "the document behind the one with _id true"},
		{key(nil), "", "the document behind the one with _id null"},
		{key(""), "", `the document behind the one with _id ""`},
		{key("a\nerror: forged"), "", `the document behind the one with _id "a\nerror: forged"`},
		{key("caf\xe9"), "", `the document behind the one with _id "caf\xe9"`},
		{key(bson.D{{Key: "a", Value: 1}}), "", `the document behind the one with _id "{\"a\":{\"$numberInt\":\"1\"}}"`},
		{key(bson.DateTime(0)), "", `the document behind the one with _id "1970-01-01T00:00:00.000Z"`},
		{key(strings.Repeat("x", 600_000)), "", `the document behind the one with _id "` + strings.Repeat("x", 200) + `"… (600000 bytes)`},
		{"", key(7), "the first document from _id 7 on"},
		{"", behind + key(7), "the document behind the one with _id 7"},
		{"\x07", "", "the document behind the one with _id (unreadable)"},
	} {
		r := reading{last: []byte(tc.last), req: syncd.ReadRequest{Split: syncd.Split{Lower: tc.lower}}}
		if got := r.place(); got != tc.want {
			t.Errorf("%q after %.20q: %.300s", tc.lower, tc.last, got)
		}
	}
}

// TestAnExplainedErrorStaysAsItIs: what a question inside another one failed of keeps its hint, and that the server can't be reached.
func TestAnExplainedErrorStaysAsItIs(t *testing.T) {
	s := &source{scrub: newScrubber("mongodb://user:secret@localhost/")}
	first := syncd.Hint(fmt.Errorf("%w: no usable server at localhost", syncd.ErrUnavailable), "start it")
	again := s.explain(t.Context(), fmt.Errorf("reading: %w", first))
	if syncd.HintOf(again) != "start it" || !errors.Is(again, syncd.ErrUnavailable) {
		t.Errorf("%v, hint %q", again, syncd.HintOf(again))
	}
}
