package codec_test

import (
	"os"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// streamed is a change of a stream whose event is given as Extended JSON.
func streamed(t testing.TB, event string) syncd.Change {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(event), false, &raw); err != nil {
		t.Fatal(err)
	}
	c := syncd.Change{ID: "1", Key: "1", Target: &target, Streamed: &syncd.Streamed{Raw: raw}}
	word, _ := raw.Lookup("operationType").StringValueOK()
	for _, op := range []syncd.Operation{syncd.Insert, syncd.Update, syncd.Replace, syncd.Delete} {
		if op.String() == word {
			c.Operation = op
		}
	}
	if doc, ok := raw.Lookup("fullDocument").DocumentOK(); ok {
		d := bsondoc.NewDocument(doc)
		c.Document = &d
	}
	return c
}

// The golden file holds records that the connector 2.0.1 wrote of changes as they happened, on Kafka Connect with StringConverter: the
// connector's settings, the key and the value.
func TestStreamedChangesAreTheConnectorsEvents(t *testing.T) {
	golden, err := os.ReadFile("testdata/mongo_kafka_streamed.golden")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(golden)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		settings, key, value := fields[0], fields[1], fields[2]
		event := value
		e := mongoKafka(func(c *codec.Config) {
			c.ConnectorVersion = 2
			if settings == "simplified" {
				c.JSON = codec.SimplifiedJSON
			}
		})
		if settings == "simplified" { // in which a date is a text
			at := strings.Index(event, `"wallTime": `) + len(`"wallTime": `)
			event = event[:at] + `{"$date": ` + event[at:at+26] + "}" + event[at+26:]
		}
		c := streamed(t, event)
		gotKey, gotValue, err := e.Preview(&c)
		if err != nil || string(gotKey) != key || string(gotValue) != value {
			t.Errorf("%s: got\n%s %s, %v\nwant\n%s %s", settings, gotKey, gotValue, err, key, value)
		}
		lines++
	}
	if lines != 16 {
		t.Errorf("%d lines", lines)
	}
}

// TestStreamedChangesInOtherForms: what the connector has settings for, and what only syncd sends.
func TestStreamedChangesInOtherForms(t *testing.T) {
	const (
		insert = `{"_id": {"_data": "01"}, "operationType": "insert", "fullDocument": {"_id": 1, "s": "x", "v": 1}, "ns": {"db": "d", "coll": "c"}, "documentKey": {"s": "x", "_id": 1}}`
		update = `{"_id": {"_data": "02"}, "operationType": "update", "fullDocument": null, "documentKey": {"_id": 1}}`
		remove = `{"_id": {"_data": "03"}, "operationType": "delete", "documentKey": {"_id": 1}}`
	)
	only := func(c *codec.Config) { c.FullDocumentOnly, c.DeleteFormat = true, codec.DeleteTombstone }
	tombstones := func(c *codec.Config) { c.DeleteFormat = codec.DeleteTombstone }
	plain := func(c *codec.Config) { c.Profile = codec.Plain }
	for name, c := range map[string]struct {
		event      string
		set        func(*codec.Config)
		reference  bool
		key, value string
		err        string
	}{
		"the shard key is in the key": {event: insert, key: `{"s": "x", "_id": 1}`, value: insert},
		"document only":               {event: insert, set: only, key: `{"s": "x", "_id": 1}`, value: `{"_id": 1, "s": "x", "v": 1}`},
		"document only, no document":  {event: update, set: only, err: "the change has no document"},
		"document only, delete":       {event: remove, set: only, key: `{"_id": 1}`},
		"document only, a reference":  {event: insert, set: only, reference: true, key: `{"s": "x", "_id": 1}`, value: `{"s": "x", "_id": 1}`},
		"a document that is gone":     {event: update, key: `{"_id": 1}`, value: update},
		"tombstone":                   {event: remove, set: tombstones, key: `{"_id": 1}`},
		"a tombstone is for deletes":  {event: insert, set: tombstones, key: `{"s": "x", "_id": 1}`, value: insert},
		"a reference lacks the document": {event: insert, reference: true, key: `{"s": "x", "_id": 1}`,
			value: `{"_id": {"_data": "01"}, "operationType": "insert", "ns": {"db": "d", "coll": "c"}, "documentKey": {"s": "x", "_id": 1}}`},
		"json converter": {event: remove, set: func(c *codec.Config) { c.Wire = codec.WireConnectJSON }, key: `"{\"_id\": 1}"`,
			value: `"{\"_id\": {\"_data\": \"03\"}, \"operationType\": \"delete\", \"documentKey\": {\"_id\": 1}}"`},
		"plain":                      {event: insert, set: plain, key: "1", value: `{"operationType":"insert","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"1"},"fullDocument":{"_id":"1","s":"x","v":1}}`},
		"plain, a delete":            {event: remove, set: plain, key: "1", value: `{"operationType":"delete","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"1"}}`},
		"plain, no document":         {event: update, set: plain, err: "the change has no document"},
		"without documentKey":        {event: `{"operationType": "insert"}`, err: "the change has no documentKey"},
		"documentKey is no document": {event: `{"operationType": "insert", "documentKey": 1}`, err: "the change has no documentKey"},
	} {
		t.Run(name, func(t *testing.T) {
			set := c.set
			if set == nil {
				set = func(*codec.Config) {}
			}
			change := streamed(t, c.event)
			change.Reference = c.reference
			key, value, err := mongoKafka(set).Preview(&change)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || string(key) != c.key || string(value) != c.value {
				t.Errorf("got\n%s %s, %v\nwant\n%s %s", key, value, err, c.key, c.value)
			}
		})
	}
}

// TestStreamedDocumentThatWasRead: a document that the source read itself, since the event has none, is not put into the server's event, and
// is the event where that is the document alone.
func TestStreamedDocumentThatWasRead(t *testing.T) {
	const event = `{"_id": {"_data": "02"}, "operationType": "update", "fullDocument": null, "documentKey": {"_id": 1}}`
	raw, err := bson.Marshal(bson.D{{Key: "_id", Value: 1}, {Key: "v", Value: 2}})
	if err != nil {
		t.Fatal(err)
	}
	d := bsondoc.NewDocument(raw)
	for only, want := range map[bool]string{false: event, true: `{"_id": 1, "v": 2}`} {
		c := streamed(t, event)
		c.Document = &d
		key, value, err := mongoKafka(func(c *codec.Config) { c.FullDocumentOnly, c.DeleteFormat = only, codec.DeleteTombstone }).Preview(&c)
		if err != nil || string(key) != `{"_id": 1}` || string(value) != want {
			t.Errorf("got %s %s, %v, want %s", key, value, err, want)
		}
	}
}

// TestStreamedBSON: key and value are the server's bytes.
func TestStreamedBSON(t *testing.T) {
	c := streamed(t, `{"_id": {"_data": "01"}, "operationType": "insert", "fullDocument": {"_id": 1}, "documentKey": {"_id": 1}}`)
	key, value, err := mongoKafka(func(c *codec.Config) { c.Wire = codec.WireBSON }).Preview(&c)
	documentKey, _ := bson.Raw(c.Streamed.Raw).Lookup("documentKey").DocumentOK()
	if err != nil || string(value) != string(c.Streamed.Raw) || string(key) != string(documentKey) {
		t.Errorf("%x %x, %v", key, value, err)
	}
	c.Streamed.Raw = c.Streamed.Raw[:len(c.Streamed.Raw)-1]
	if _, _, err := mongoKafka(func(c *codec.Config) { c.Wire = codec.WireBSON }).Preview(&c); err == nil {
		t.Error("damage is passed on")
	}
}

// TestDocumentOnly: what a run sends is the document alone, too, with the key that its events always have.
func TestDocumentOnly(t *testing.T) {
	raw, err := bson.Marshal(bson.D{{Key: "_id", Value: 7}, {Key: "v", Value: int64(1)}})
	if err != nil {
		t.Fatal(err)
	}
	d := bsondoc.NewDocument(raw)
	for _, reference := range []bool{false, true} {
		c := syncd.Change{ID: "7", Document: &d, Target: &target, Reference: reference}
		e := mongoKafka(func(c *codec.Config) { c.FullDocumentOnly, c.DeleteFormat = true, codec.DeleteTombstone })
		want := `{"_id": 7, "v": {"$numberLong": "1"}}`
		if reference {
			want = `{"_id": 7}`
		}
		key, value, err := e.Preview(&c)
		if err != nil || string(key) != `{"_id": 7}` || string(value) != want {
			t.Errorf("%s %s, %v", key, value, err)
		}
	}
}
