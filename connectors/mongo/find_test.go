package mongo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// idServer is a finder that compares ids as MongoDB does, numbers by value, and keeps what it was asked.
type idServer struct {
	ids     []bson.RawValue
	fail    func(call int) error
	queries []query

	breakAfter int // the first question for guesses breaks off after so many documents; 0 never does
}

func (s *idServer) find(_ context.Context, q query) (cursor, error) {
	s.queries = append(s.queries, q)
	if s.fail != nil {
		if err := s.fail(len(s.queries) - 1); err != nil {
			return nil, err
		}
	}
	var found []bson.Raw
	for _, id := range s.ids {
		if matches(q, id) {
			found = append(found, element(id.Type, "_id", id.Value))
		}
	}
	answer := &docs{list: found}
	if _, guesses := inOf(q); guesses && s.breakAfter > 0 {
		answer.list, answer.err = found[:s.breakAfter], mongodriver.CommandError{Labels: []string{"NetworkError"}}
		s.breakAfter = 0
	}
	return answer, nil
}

func matches(q query, id bson.RawValue) bool {
	if asked, ok := inOf(q); ok {
		return slices.ContainsFunc(asked, func(v bson.RawValue) bool { return compareValues(v, id) == 0 })
	}
	want := q.filter.(bson.D)[0].Value.(bson.D)[0].Value.(int32) // the only other question
	return id.Type == bson.Type(want)
}

// inOf returns the guesses in a query.
func inOf(q query) ([]bson.RawValue, bool) {
	filter, ok := q.filter.(bson.Raw)
	if !ok {
		return nil, false
	}
	v, ok := bsondoc.Lookup(filter, "_id.$in")
	if !ok {
		return nil, false
	}
	list, err := bson.RawArray(v.Value).Values()
	return list, err == nil
}

type docs struct {
	list []bson.Raw
	at   int
	err  error // at the end
}

func (d *docs) Next(ctx context.Context) bool {
	d.at++
	return ctx.Err() == nil && d.at <= len(d.list)
}
func (d *docs) Doc() bson.Raw { return d.list[d.at-1] }
func (d *docs) Buffered() int { return len(d.list) - d.at }
func (d *docs) Last() bool    { return true }
func (d *docs) Err() error    { return d.err }
func (d *docs) Close()        {}

func (d *docs) SetBatchSize(int) {}

// findIn finds texts in a collection that holds ids.
func findIn(t *testing.T, server *idServer) *source {
	t.Helper()
	stub := newStub(t)
	stub.set(t, "c")
	src := openAndClose(t, stub)
	src.finder = server
	return src
}

func raw(t bson.Type, parts ...[]byte) bson.RawValue {
	return bson.RawValue{Type: t, Value: slices.Concat(parts...)}
}

func le32(n int) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

func binaryOf(subtype byte, data string) bson.RawValue {
	return raw(bson.TypeBinary, le32(len(data)), []byte{subtype}, []byte(data))
}

// everyID has ids of every type that an _id can have, the numbers that differ from one type to another among them.
func everyID(t testing.TB) []bson.RawValue {
	var ids []bson.RawValue
	for _, d := range mixed() {
		doc, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, bson.Raw(doc).Lookup("_id"))
	}
	for _, v := range []any{
		int32(0), int32(-7), int64(math.MaxInt64), int64(math.MinInt64), int64(1<<53 + 1),
		5.0, 0.1, -0.5, 1e21, 1e-7, 5e-324, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1),
		float64(1 << 53), float64(1 << 62), float64(1 << 63), 1234567890123456789.0, 1e20,
		bson.DateTime(1718000000123), bson.DateTime(-62167219200001), bson.DateTime(253402300800000),
		bson.DateTime(math.MaxInt64), bson.DateTime(math.MinInt64), bson.DateTime(951782400000),
		"true", "5", "0.1", "NaN", "{}", "AAAA", "507f1f77bcf86cd799439012", "00112233-4455-6677-8899-aabbccddeeff", "Ä \"x\"\n\u2028",
		"2024-06-10T06:13:20.123Z", "$where", "{\"$minKey\":1}",
		bson.D{{Key: "a", Value: bson.D{{Key: "b", Value: bson.A{1.0, int64(2), nil, "x"}}}}, {Key: "t", Value: bson.DateTime(0)}},
		bson.D{{Key: "$ref", Value: "c"}, {Key: "$id", Value: int32(1)}},
		bson.D{{Key: "$ref", Value: "c"}, {Key: "$id", Value: bson.ObjectID{1}}, {Key: "$db", Value: "d"}, {Key: "more", Value: "x"}},
		bson.D{{Key: "", Value: bson.Regex{Pattern: "a", Options: "i"}}, {Key: "d", Value: bson.NewDecimal128(0x3040<<48, 7)}},
	} {
		ids = append(ids, value(t, v))
	}
	for _, d := range []string{"0.1", "5.00", "0", "-0", "12345678901234567890", "9223372036854776000", "1E-6176", "1E+6144", "0.3", "NaN", "-Infinity"} {
		dec, err := bson.ParseDecimal128(d)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, value(t, dec))
	}
	for _, data := range []string{"", "a", "0123456789abcdef", "twelve bytes", "18 bytes, 24 digits"[:18]} {
		for _, subtype := range []byte{0, 1, 3, 4, 5, 6, 7, 8, 9, 127, 128, 255} {
			ids = append(ids, binaryOf(subtype, data))
		}
		ids = append(ids, raw(bson.TypeBinary, le32(len(data)+4), []byte{2}, le32(len(data)), []byte(data)))
	}
	return ids
}

func idText(t testing.TB, id bson.RawValue) string {
	t.Helper()
	text, err := bsondoc.AppendIDText(nil, id)
	if err != nil {
		t.Fatalf("%v: %v", id, err)
	}
	return string(text)
}

// tried returns the guesses at a text's id.
func tried(text string, add ...func(g *idGuesses, text string)) []bson.RawValue {
	var g idGuesses
	for _, a := range add {
		a(&g, text)
	}
	list, _ := inOf(query{filter: g.in()})
	return list
}

func rare(g *idGuesses, text string) { g.addRare(text, true, true) }

// The guesses at an id by its text have one that MongoDB holds equal to it.
func roundTrip(t *testing.T, id bson.RawValue) {
	t.Helper()
	text := idText(t, id)
	list := tried(text, (*idGuesses).addUsual, rare)
	if !slices.ContainsFunc(list, func(v bson.RawValue) bool { return compareValues(v, id) == 0 }) {
		t.Errorf("%v has the text %q, whose guesses are %v", id, text, list)
	}
	for _, v := range list {
		if got := idText(t, v); got != text {
			t.Errorf("%v is a guess at %q, and has the text %q", v, text, got)
		}
	}
}

func TestEveryIDIsAGuessAtItsText(t *testing.T) {
	for _, id := range everyID(t) {
		roundTrip(t, id)
	}
	r := rand.New(rand.NewPCG(1, 2))
	bytesOf := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	for range 1000 {
		roundTrip(t, raw(bson.TypeObjectID, []byte(bytesOf(12))))
		roundTrip(t, binaryOf(4, bytesOf(16)))
		roundTrip(t, binaryOf([]byte{0, 1, 3, 4, 5, 128}[r.IntN(6)], bytesOf(r.IntN(30))))
		roundTrip(t, value(t, int64(r.Uint64())>>r.IntN(64)))
		roundTrip(t, value(t, bson.DateTime(int64(r.Uint64())>>r.IntN(40))))
		roundTrip(t, value(t, math.Float64frombits(r.Uint64())))
		roundTrip(t, value(t, float64(int64(r.Uint64())>>r.IntN(64))/math.Pow(10, float64(r.IntN(20)))))
		roundTrip(t, value(t, bson.Timestamp{T: r.Uint32(), I: r.Uint32()}))
		roundTrip(t, value(t, bson.NewDecimal128(r.Uint64()&(1<<63|1<<48-1)|uint64(6176+r.IntN(60)-40)<<49, r.Uint64())))
	}
}

// The first question must be one that any server can answer: some drop the connection on a type that they don't know.
func TestUsualGuessesAreOfUsualTypes(t *testing.T) {
	usual := []bson.Type{
		bson.TypeString, bson.TypeObjectID, bson.TypeInt64, bson.TypeDouble, bson.TypeBoolean, bson.TypeDateTime, bson.TypeBinary,
		bson.TypeEmbeddedDocument, bson.TypeTimestamp,
	}
	for _, id := range everyID(t) {
		for _, v := range tried(idText(t, id), (*idGuesses).addUsual) {
			if f, ok := v.DoubleOK(); !slices.Contains(usual, v.Type) || ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
				t.Errorf("%v is a usual guess", v)
			}
		}
	}
	for text, want := range map[string]int{
		"507f1f77bcf86cd799439011": 2, "page-1": 1, "42": 2, "00112233-4455-6677-8899-aabbccddeeff": 3, "": 2, "1.5": 2,
	} {
		if got := tried(text, (*idGuesses).addUsual); len(got) != want {
			t.Errorf("%q has the usual guesses %v, want %d", text, got, want)
		}
	}
}

// In $in a regular expression is a pattern, and a document of operators an error for the whole question.
func TestGuessesAreNoOperators(t *testing.T) {
	for _, text := range []string{
		`{"$regularExpression":{"pattern":"a","options":""}}`, `{"$foo":"a"}`, `{"a":"b","$gt":"c"}`, `[{"$numberInt":"1"}]`,
		`{"$ref":"a","$gt":"b"}`, `{"$id":"b","$ref":"a"}`, `{"$ref":"a","$id":"b","$gt":"c"}`, `{"$undefined":true}`, `{}, "v":{}`, `{"a":`, `{"$oid":"507f1f77bcf86cd799439011"}`,
	} {
		got := tried(text, (*idGuesses).addUsual, rare)
		if len(got) != 1 || got[0].Type != bson.TypeString {
			t.Errorf("%s has the guesses %v", text, got)
		}
	}
	if got := tried("a\xff", (*idGuesses).addUsual, rare); len(got) != 0 {
		t.Errorf("text that no id has: %v", got)
	}
}

func FuzzIDGuesses(f *testing.F) {
	for _, id := range everyID(f) {
		f.Add(idText(f, id))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range tried(text, (*idGuesses).addUsual, rare) {
			if got := idText(t, v); got != text {
				t.Errorf("%v is a guess at %q, and has the text %q", v, text, got)
			}
		}
	})
}

func TestFindEveryID(t *testing.T) {
	all := everyID(t)
	for _, together := range []bool{true, false} {
		var texts []string
		for _, id := range all {
			texts = append(texts, idText(t, id), idText(t, id)+"?")
		}
		server := &idServer{ids: all}
		src := findIn(t, server)
		for i, id := range all {
			if !together { // one document in the collection, so that no other can stand for it
				server.ids = []bson.RawValue{id}
			}
			ask := texts[2*i : 2*i+2]
			if together && i == 0 {
				ask = texts
			} else if together {
				break
			}
			keys, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, ask)
			if err != nil || len(keys) != len(ask) {
				t.Fatal(len(keys), err)
			}
			for k, text := range ask {
				if k%2 == 1 {
					if keys[k] != "" {
						t.Errorf("%q was found", text)
					}
					continue
				}
				found, err := parsed(keys[k])
				if err != nil || idText(t, found) != text || !together && !found.Equal(id) {
					t.Errorf("%q, of %v: found %v, %v", text, id, found, err)
				}
			}
		}
	}
}

// Equal is not the same: the server finds {a: 1.0} for {a: 1}, but its text is another, and so is its point.
// TestFindAllFindsEveryDocumentOfAText, of every type, each as often as it is there: on two shards, for example.
func TestFindAllFindsEveryDocumentOfAText(t *testing.T) {
	all := everyID(t)
	all = append(all, binaryOf(5, "\x00\x01\x02\x03"), binaryOf(0, "\x00\x01\x02\x03"), value(t, "AAECAw=="), value(t, "twice"), value(t, "twice"))
	want := map[string]int{"nobody": 0}
	for _, id := range all {
		want[idText(t, id)]++
	}
	if want["AAECAw=="] != 3 || want["twice"] != 2 {
		t.Fatal(want)
	}
	var texts []string
	for text := range want {
		texts = append(texts, text)
	}
	src := findIn(t, &idServer{ids: all})
	found, err := src.FindAll(t.Context(), syncd.Collection{Name: "c"}, texts)
	if err != nil || len(found) != len(texts) {
		t.Fatal(len(found), err)
	}
	for i, text := range texts {
		if len(found[i]) != want[text] {
			t.Errorf("%q: %d documents, want %d: %v", text, len(found[i]), want[text], found[i])
		}
		names := map[string]bool{}
		for _, f := range found[i] {
			names[f.Text] = true
		}
		if len(names) != want[text] && text != "twice" {
			t.Errorf("%q: %v have the same name", text, found[i])
		}
	}
}

// TestFindAllCountsTheAnswerOfOneTry: what a try found that failed half-way is not found twice.
func TestFindAllCountsTheAnswerOfOneTry(t *testing.T) {
	server := &idServer{ids: []bson.RawValue{value(t, "a"), value(t, int32(7)), value(t, "7")}, breakAfter: 2}
	found, err := findIn(t, server).FindAll(t.Context(), syncd.Collection{Name: "c"}, []string{"a", "7"})
	if err != nil || len(found[0]) != 1 || len(found[1]) != 2 {
		t.Errorf("%v, %v", found, err)
	}
	if server.breakAfter != 0 {
		t.Error("nothing broke")
	}
}

func TestFindVerifiesTheText(t *testing.T) {
	stored := value(t, bson.D{{Key: "a", Value: 1.0}})
	asked := idText(t, value(t, bson.D{{Key: "a", Value: int32(1)}}))
	src := findIn(t, &idServer{ids: []bson.RawValue{stored}})
	keys, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{asked, idText(t, stored)})
	if err != nil || keys[0] != "" || keys[1] == "" {
		t.Errorf("%q, %v", keys, err)
	}
	if keys, err = src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{asked}); err != nil || keys[0] != "" {
		t.Errorf("%q, %v", keys, err)
	}
	all, err := src.FindAll(t.Context(), syncd.Collection{Name: "c"}, []string{asked, idText(t, stored), asked, idText(t, stored)})
	if err != nil || len(all[0]) != 0 || len(all[1]) != 1 || len(all[2]) != 0 || len(all[3]) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestFindAsksAgainOnlyForWhatIsMissing(t *testing.T) {
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	server := &idServer{ids: []bson.RawValue{value(t, oid), value(t, "page")}}
	src := findIn(t, server)
	find := func(ids ...string) int {
		t.Helper()
		before := len(server.queries)
		if _, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, ids); err != nil {
			t.Fatal(err)
		}
		return len(server.queries) - before
	}
	if n := find("page", oid.Hex(), "page"); n != 1 {
		t.Errorf("%d questions where all is found", n)
	}
	if n := find("page", "507f1f77bcf86cd799439012"); n != 2 { // whether there are binary ids; there are none
		t.Errorf("%d questions where an ObjectId is missing", n)
	}
	if n := find("page", "0.1"); n != 3 { // and a Decimal128
		t.Errorf("%d questions where a number is missing", n)
	}
	server.ids = append(server.ids, binaryOf(5, "abc"))
	if n := find("AAAA"); n != 3 { // and binaries of other subtypes
		t.Errorf("%d questions where there are binary ids", n)
	}
	for i, q := range server.queries {
		if list, ok := inOf(q); len(q.projection) != 1 || ok && (q.batchSize != len(list) || len(list) > maxGuesses+256) || !ok && q.limit != 1 {
			t.Errorf("question %d: %+v", i, q)
		}
	}
}

func TestFindAsksInParts(t *testing.T) {
	const n = 5000
	server := &idServer{}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%024x", i)
	}
	src := findIn(t, server)
	if _, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, ids); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, q := range server.queries {
		list, _ := inOf(q)
		total += len(list)
	}
	if total != 2*n || len(server.queries) != 2*n/maxGuesses+1 {
		t.Errorf("%d guesses in %d questions", total, len(server.queries))
	}
	server.queries = nil
	long := []string{strings.Repeat("a", 3<<20), strings.Repeat("b", 3<<20), strings.Repeat("c", 3<<20+1)}
	if _, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, long); err != nil {
		t.Fatal(err)
	}
	for _, q := range server.queries {
		if f, ok := q.filter.(bson.Raw); ok && len(f) > 16<<20 {
			t.Errorf("a question of %d bytes", len(f))
		}
	}
}

func TestFindRetries(t *testing.T) {
	server := &idServer{ids: []bson.RawValue{value(t, "a")}}
	server.fail = func(call int) error {
		if call == 0 {
			return commandError(43)
		}
		return nil
	}
	src := findIn(t, server)
	keys, err := src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{"a"})
	if err != nil || keys[0] == "" || len(server.queries) != 2 {
		t.Errorf("%q, %v, %d questions", keys, err, len(server.queries))
	}
	server.fail = func(int) error { return commandError(2) } // BadValue
	if keys, err = src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{"a"}); err == nil || keys != nil {
		t.Errorf("%q, %v", keys, err)
	}
	// A server that has no Decimal128 may drop the connection at the sight of one.
	server.ids = nil
	server.fail = func(call int) error {
		asked, ok := inOf(server.queries[call])
		if !ok && server.queries[call].filter.(bson.D)[0].Value.(bson.D)[0].Value == int32(bson.TypeDecimal128) {
			return commandError(codeNotImplemented)
		}
		if slices.ContainsFunc(asked, func(v bson.RawValue) bool { return v.Type == bson.TypeDecimal128 }) {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	if keys, err = src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{"0.5"}); err != nil || keys[0] != "" {
		t.Errorf("%q, %v", keys, err)
	}
	// A server that knows no $type is one whose ids may be binary.
	server.fail = func(call int) error {
		if _, ok := inOf(server.queries[call]); !ok {
			return commandError(2)
		}
		return nil
	}
	server.ids = []bson.RawValue{binaryOf(128, "abc")}
	if keys, err = src.Find(t.Context(), syncd.Collection{Name: "c"}, []string{"YWJj"}); err != nil || keys[0] == "" {
		t.Errorf("%q, %v", keys, err)
	}
}

func commandError(code int32) error { return mongodriver.CommandError{Code: code} }

// What a secondary does not have yet is not deleted.
func TestAbsenceIsThePrimarysWord(t *testing.T) {
	a, b := value(t, "a"), value(t, "b")
	src := findIn(t, &idServer{ids: []bson.RawValue{a}})
	primary := &idServer{ids: []bson.RawValue{a, b}}
	src.primary = primary
	c := syncd.Collection{Name: "c"}
	if keys, err := src.Find(t.Context(), c, []string{"b", "c"}); err != nil || keys[0] != key(b) || keys[1] != "" {
		t.Errorf("%q, %v", keys, err)
	}
	primary.queries = nil
	got := map[int]bool{}
	for f, err := range src.Fetch(t.Context(), c, []syncd.Key{key(b), key(value(t, "c")), key(a)}) {
		if err != nil {
			t.Fatal(err)
		}
		got[f.Index] = true
	}
	if len(got) != 2 || !got[0] || !got[2] || len(primary.queries) != 1 {
		t.Errorf("fetched %v, with %d questions to the primary", got, len(primary.queries))
	}
	if list, _ := inOf(primary.queries[0]); len(list) != 2 {
		t.Errorf("the primary was asked for %v", list)
	}
}

func TestPrimaryIsAskedWhereReadsAskOthers(t *testing.T) {
	server := newStub(t)
	for options, want := range map[string]bool{"": false, "?readPreference=primary": false, "?readPreference=secondaryPreferred": true, "?readPreference=nearest": true} {
		cfg := config("mongodb://" + server.addr() + "/" + options)
		src, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if s := src.(*source); (s.primary != nil) != want {
			t.Errorf("%q: %v", options, s.primary)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFindInAMissingCollection(t *testing.T) {
	src := openAndClose(t, newStub(t))
	keys, err := src.Find(t.Context(), syncd.Collection{Name: "gone"}, []string{"a"})
	if !errors.Is(err, syncd.ErrCollectionNotFound) || keys != nil {
		t.Errorf("%q, %v; a collection that is gone is not one without documents", keys, err)
	}
	if _, err := src.Find(t.Context(), syncd.Collection{Name: "gone", Filter: "{"}, []string{"a"}); err == nil {
		t.Error("took a filter that can't be read")
	}
}

func TestFindKeepsToTheFilter(t *testing.T) {
	stub := newStub(t)
	stub.set(t, "c", bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: "x"}}, bson.D{{Key: "_id", Value: "b"}, {Key: "n", Value: "y"}})
	src := openAndClose(t, stub)
	keys, err := src.Find(t.Context(), syncd.Collection{Name: "c", Filter: `{"n": "x"}`}, []string{"b", "a"})
	if err != nil || keys[0] != "" || keys[1] == "" {
		t.Errorf("%q, %v", keys, err)
	}
}

// BenchmarkFind is the client's work on 1,000 ids that are all found.
func BenchmarkFind(b *testing.B) {
	var g idGuesses
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("507f1f77bcf86cd7%08x", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		g.reset()
		for _, id := range ids {
			g.addUsual(id)
		}
		_ = g.in()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ids)), "ns/id")
}
