package integration

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/sample"
)

// contentTypes are those of the sample's collections, and of one whose ids are of all types.
var contentTypes = map[string]string{
	"page": "page", "workItem": "work_item", "project": "project", "cycle": "cycle", "module": "module", "epic": "epic",
	"features": "feature", "userStory": "user_story", "mixed": "mixed",
}

// mixedIDs are ids of many types by their texts.
func mixedIDs() map[string]any {
	id := uuid.MustParse("a1b2c3d4-e5f6-7890-abcd-ef1234567890")
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	decimal, _ := bson.ParseDecimal128("12.50")
	return map[string]any{
		"507f1f77bcf86cd799439011":             oid,
		"text":                                 "text",
		"":                                     "",
		"naïve 日本":                             "naïve 日本",
		"42":                                   int32(42),
		"-9007199254740993":                    int64(-1<<53 - 1),
		"1.5":                                  1.5,
		"12.5":                                 decimal, // stored as 12.50
		"a1b2c3d4-e5f6-7890-abcd-ef1234567890": bson.Binary{Subtype: 4, Data: id[:]},
		"3q2+7w==":                             bson.Binary{Subtype: 0, Data: []byte{0xde, 0xad, 0xbe, 0xef}},
		"2024-05-06T07:08:09.010Z":             bson.NewDateTimeFromTime(time.Date(2024, 5, 6, 7, 8, 9, 10e6, time.UTC)),
		"true":                                 true,
		`{"a":{"$numberInt":"1"},"b":"x"}`:     bson.D{{Key: "a", Value: int32(1)}, {Key: "b", Value: "x"}},
		`{"$timestamp":{"t":5,"i":6}}`:         bson.Timestamp{T: 5, I: 6},
	}
}

// TestBackfill is what syncd is for: everything is sent and indexed, then only what is added, and then index and source are
// equal.
func TestBackfill(t *testing.T) {
	for name, server := range mongoServers() {
		t.Run(name, func(t *testing.T) { testBackfill(t, server(t)) })
	}
}

func testBackfill(t *testing.T, mongoURI string) {
	const loaded, added = 1500, 100
	p := newPlace(t, mongoURI, kafkaAddr(t))
	db := p.database(t)
	index := sync.OnceFunc(func() { p.index(t, contentTypes) }) // when there are topics
	config := p.config(t, contentTypes, createTopics)

	want := map[string]string{} // content type by topic and key
	load := func(from, count int) {
		t.Helper()
		if _, err := sample.Load(t.Context(), mongoURI, p.name, from, count); err != nil {
			t.Fatal(err)
		}
		for _, d := range sample.Documents(from, count) {
			want[p.name+"."+d.Collection+" "+idText(t, d.ID())] = contentTypes[d.Collection]
		}
	}
	load(0, loaded)
	for text, id := range mixedIDs() {
		if _, err := db.Collection("mixed").InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "mixed"}}); err != nil {
			t.Fatal(err)
		}
		want[p.name+".mixed "+text] = "mixed"
	}
	total := loaded + len(mixedIDs())

	// run runs syncd, checks that all events ever sent are those wanted, each sent once, and waits until they are indexed.
	run := func(sent int, patterns ...string) {
		t.Helper()
		r := invoke(t, "run", "-c", config)
		r.wants(t, 0, patterns...)
		left := map[string]string{}
		for key, contentType := range want {
			left[key] = contentType
		}
		for _, rec := range p.records(t) {
			at := rec.Topic + " " + string(rec.Key)
			if _, ok := left[at]; !ok {
				t.Errorf("the event of %q was sent twice, or never asked for", at)
				continue
			}
			checkEvent(t, rec, left[at])
			delete(left, at)
		}
		if len(left) > 0 {
			t.Errorf("%d events were not sent: %v", len(left), left)
		}
		index()
		until(t, "all events are indexed", func() bool { return p.indexed(t) == total })
		t.Logf("%d events in %s", sent, r.took.Round(time.Millisecond))
	}
	run(total, fmt.Sprintf(`^Complete: %d events sent, all confirmed$`, total))
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 0, `^Equal: `)
	run(0, `^Complete: nothing had to be sent$`, fmt.Sprintf(`^Total +%d +%d +0 +0`, total, total))

	load(loaded, added)
	total += added
	run(added, fmt.Sprintf(`^Complete: %d events sent, all confirmed$`, added))
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 0, `^Equal: `, fmt.Sprintf(`^Total +%d +%d +100\.00%%`, total, total))

	// What verify can find, it finds.
	if _, err := db.Collection("mixed").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: "naïve 日本"}}); err != nil {
		t.Fatal(err)
	}
	invoke(t, "verify", "-c", config, "--min-age", "0s").wants(t, 4)
}

// idText is the text of a sample document's id.
func idText(t *testing.T, id any) string {
	t.Helper()
	switch id := id.(type) {
	case bson.ObjectID:
		return id.Hex()
	case bson.Binary:
		u, err := uuid.FromBytes(id.Data)
		if err != nil {
			t.Fatal(err)
		}
		return u.String()
	}
	t.Fatalf("an id of type %T", id)
	return ""
}

// checkEvent looks at an event's value and headers.
func checkEvent(t *testing.T, rec *kgo.Record, contentType string) {
	t.Helper()
	var event struct {
		OperationType string
		NS            struct{ DB, Coll string }
		DocumentKey   map[string]any
		FullDocument  map[string]any
	}
	if err := json.Unmarshal(rec.Value, &event); err != nil {
		t.Fatalf("%s: %v", rec.Value, err)
	}
	if event.OperationType != "insert" || event.NS.DB+"."+event.NS.Coll != rec.Topic ||
		event.DocumentKey["_id"] != string(rec.Key) || event.FullDocument["_id"] != string(rec.Key) {
		t.Errorf("the event of %q: %s", rec.Key, rec.Value)
	}
	for name, want := range map[string]string{
		"syncd-reason":       "missing",
		"syncd-content-type": contentType,
		"syncd-point-id":     uuid.NewSHA1(uuid.NameSpaceURL, []byte(string(rec.Key)+"/"+contentType+"/0")).String(),
	} {
		if got := header(rec, name); got != want {
			t.Errorf("the event of %q: header %s is %q, want %q", rec.Key, name, got, want)
		}
	}
	if header(rec, "syncd-run-id") == "" {
		t.Errorf("the event of %q names no run", rec.Key)
	}
}
