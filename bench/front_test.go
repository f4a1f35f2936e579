package main

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

func mustMarshal(t *testing.T, d bson.D) bsoncore.Document {
	t.Helper()
	out, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The reply to the connector's copy has its events, in the order and with the keys that its pipeline makes.
func TestFrontMakesEventsOfDocuments(t *testing.T) {
	f := &front{copies: map[int64]bool{}}
	for _, batch := range []string{"firstBatch", "nextBatch"} {
		reply := mustMarshal(t, bson.D{{Key: "cursor", Value: bson.D{
			{Key: batch, Value: bson.A{bson.D{{Key: "_id", Value: 7}, {Key: "a", Value: "x"}}, bson.D{{Key: "_id", Value: "s"}}}},
			{Key: "id", Value: int64(42)}, {Key: "ns", Value: topic},
		}}, {Key: "ok", Value: 1.0}})
		got, err := f.events(reply)
		if err != nil {
			t.Fatal(err)
		}
		event := func(id any, doc bson.D) bson.D {
			return bson.D{
				{Key: "_id", Value: bson.D{{Key: "_id", Value: id}, {Key: "copyingData", Value: true}}}, {Key: "operationType", Value: "insert"},
				{Key: "documentKey", Value: bson.D{{Key: "_id", Value: id}}}, {Key: "fullDocument", Value: doc},
				{Key: "__", Value: bson.D{{Key: "db", Value: database}, {Key: "coll", Value: collection}}},
			}
		}
		want := mustMarshal(t, bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
			{Key: "id", Value: int64(42)}, {Key: "ns", Value: topic},
			{Key: batch, Value: bson.A{event(7, bson.D{{Key: "_id", Value: 7}, {Key: "a", Value: "x"}}), event("s", bson.D{{Key: "_id", Value: "s"}})}},
		}}})
		if string(got) != string(want) {
			t.Errorf("%s\ngot  %s\nwant %s", batch, bson.Raw(got), bson.Raw(want))
		}
	}
}

func TestFrontAnswersOnlyWhatTheServerCannot(t *testing.T) {
	f := &front{copies: map[int64]bool{42: true}}
	pipeline := func(stage string) bson.E {
		return bson.E{Key: "pipeline", Value: bson.A{bson.D{{Key: stage, Value: bson.D{}}}}}
	}
	for _, test := range []struct {
		name       string
		command    bson.D
		own, wraps bool
		sent       string // first key of what the server is asked
	}{
		{"change stream", bson.D{{Key: "aggregate", Value: "docs"}, pipeline("$changeStream"), {Key: "$db", Value: "bench"}}, true, false, ""},
		{"its copy", bson.D{{Key: "aggregate", Value: "docs"}, pipeline("$replaceRoot"), {Key: "$db", Value: "bench"}}, false, true, "find"},
		{"more of the copy", bson.D{{Key: "getMore", Value: int64(42)}}, false, true, "getMore"},
		{"more of another cursor", bson.D{{Key: "getMore", Value: int64(43)}}, false, false, "getMore"},
		{"another aggregation", bson.D{{Key: "aggregate", Value: "docs"}, pipeline("$match")}, false, false, "aggregate"},
		{"anything else", bson.D{{Key: "hello", Value: 1}}, false, false, "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := mustMarshal(t, test.command)
			instead, own, wrap := f.look(opMsg(make([]byte, headerBytes), doc), doc)
			if (own != nil) != test.own || (wrap != nil) != test.wraps {
				t.Errorf("own reply %v, wraps %v", own, wrap != nil)
			}
			if sent, ok := body(instead); !test.own && (!ok || sent.Index(0).Key() != test.sent) {
				t.Errorf("sent %s", bson.Raw(sent))
			}
		})
	}
}
