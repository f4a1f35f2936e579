package codec_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// shown is what was decoded as one line: relaxed Extended JSON of the document and, behind <, of what is known from before.
func shown(d codec.Decoded, err error) string {
	if err != nil {
		return fmt.Sprintf("%s %q: %v", d.Collection, d.ID, err)
	}
	if d.Skipped != "" {
		return "skipped: " + d.Skipped
	}
	text := func(doc bson.Raw) string {
		if doc == nil {
			return "-"
		}
		out, err := bsondoc.AppendJSON(nil, doc, syncd.Relaxed)
		if err != nil {
			return err.Error()
		}
		return string(out)
	}
	line := fmt.Sprintf("%s %s.%s %s %s", d.Operation, d.Database, d.Collection, d.ID, text(d.Document))
	if d.Before != nil {
		line += " < " + text(d.Before)
	}
	if len(d.Touched) > 0 || !d.Whole {
		line += fmt.Sprintf(" touched %v whole %t", d.Touched, d.Whole)
	}
	if d.Raw != nil {
		line += " raw"
	}
	return line
}

const (
	oid    = "65a000000000000000000001"
	source = `"source":{"connector":"postgresql","db":"db","schema":"public","table":"page"}`
	mongo  = `"source":{"connector":"mongodb","db":"db","collection":"page"}`
)

func TestDecode(t *testing.T) {
	quoted := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}
	wrapped := func(s string) string {
		return `{"schema":{"type":"string","optional":false},"payload":` + quoted(s) + `}`
	}
	copied := `{"_id": {"_id": {"$oid": "` + oid + `"}, "copyingData": true}, "operationType": "insert", "documentKey": {"_id": {"$oid": "` + oid + `"}}, "fullDocument": {"_id": {"$oid": "` + oid + `"}, "at": {"$date": 1700000000000}, "n": {"$numberLong": "7"}, "nan": NaN}, "ns": {"db": "db", "coll": "page"}}`
	copiedAs := `insert db.page ` + oid + ` {"_id":{"$oid":"` + oid + `"},"at":{"$date":"2023-11-14T22:13:20Z"},"n":7,"nan":{"$numberDouble":"NaN"}} raw`
	row := `{"before":null,"after":{"id":5,"title":"x"},` + source + `,"op":"c","ts_ms":1}`
	for name, c := range map[string]struct {
		form       codec.Form
		key, value string // "" is none
		reference  bool
		want       string
	}{
		"plain": {value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"},"fullDocument":{"_id":"a","n":1,"at":"2024-01-01T00:00:00Z"}}`,
			want: `insert db.page a {"_id":"a","n":1,"at":"2024-01-01T00:00:00Z"}`},
		"plain names are names": {form: codec.PlainForm, value: `{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{"_id":"a","b":{"$date":1,"c\n":2}}}`,
			want: `insert . a {"_id":"a","b":{"$date":1,"c\n":2}}`},
		"a dollar that is no wrapper": {value: `{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{"_id":"a","b":{"$x":1}}}`, want: `insert . a {"_id":"a","b":{"$x":1}}`},
		"plain delete":                {value: `{"operationType":"delete","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`, want: `delete db.page a - < {"_id":"a"}`},
		"no _id in the document":      {value: `{"operationType":"replace","documentKey":{"_id":"a"},"fullDocument":{"n":1}}`, want: `replace . a {"_id":"a","n":1}`},
		"an insert without document":  {value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`, want: `page "a": the change has no document`},
		"a reference": {reference: true, value: `{"operationType":"replace","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`,
			want: `page "a": the event was sent without its document, which was too large for its topic`},
		"no key":             {value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"fullDocument":{"n":1}}`, want: `page "": no usable id: the event has no documentKey`},
		"an id that is null": {value: `{"operationType":"delete","documentKey":{"_id":null}}`, want: ` "": reading _id: no usable id: no id: the value is missing or null`},
		"an empty id":        {value: `{"operationType":"delete","documentKey":{"_id":""}}`, want: `delete .  - < {"_id":""}`},

		"mongo_kafka":             {value: copied, want: copiedAs},
		"mongo_kafka in a string": {value: quoted(copied), want: copiedAs},
		"mongo_kafka with schema": {value: wrapped(copied), want: copiedAs},
		"an update": {value: `{"_id":{"_data":"82"},"operationType":"update","fullDocument":{"_id":1,"a":{"b":2}},"ns":{"db":"db","coll":"page"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a.b":2},"removedFields":["c"],"truncatedArrays":[{"field":"d","newSize":1}]}}`,
			want: `update db.page 1 {"_id":1,"a":{"b":2}} < {"_id":1} touched [a.b c d] whole false raw`},
		"an update of what is gone": {value: `{"_id":{"_data":"82"},"operationType":"update","fullDocument":null,"ns":{"db":"db","coll":"page"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a":2}}}`,
			want: `update db.page 1 - < {"_id":1} touched [a] whole false raw`},
		"an update without a look": {value: `{"_id":{"_data":"82"},"operationType":"update","ns":{"db":"db","coll":"page"},"documentKey":{"_id":1},"updateDescription":{"updatedFields":{"a":2}}}`,
			want: `page "1": the update does not hold its document: the change has no document`},
		"a delete with an image": {value: `{"_id":{"_data":"82"},"operationType":"delete","ns":{"db":"db","coll":"page"},"documentKey":{"_id":1},"fullDocumentBeforeChange":{"_id":1,"n":2}}`,
			want: `delete db.page 1 - < {"_id":1,"n":2} raw`},
		"a drop":        {value: `{"_id":{"_data":"82"},"operationType":"drop","ns":{"db":"db","coll":"page"}}`, want: `page "": the collection was dropped or renamed (drop): the topic does not say which documents are gone`},
		"an invalidate": {value: `{"_id":{"_data":"82"},"operationType":"invalidate"}`, want: "skipped: event invalidate"},

		"a row":             {key: `{"id":5}`, value: row, want: `insert db.page 5 {"_id":5,"id":5,"title":"x"} < {"_id":5}`},
		"a row with schema": {key: `{"schema":{"type":"struct","fields":[{"type":"int32","field":"id"}]},"payload":{"id":5}}`, value: `{"schema":{"type":"struct"},"payload":` + row + `}`, want: `insert db.page 5 {"_id":5,"id":5,"title":"x"} < {"_id":5}`},
		"a changed row":     {key: `{"id":5}`, value: `{"before":{"id":5,"title":"w"},"after":{"id":5,"title":"x"},` + source + `,"op":"u"}`, want: `update db.page 5 {"_id":5,"id":5,"title":"x"} < {"_id":5,"id":5,"title":"w"}`},
		"a snapshot's row":  {key: `{"id":5}`, value: `{"before":null,"after":{"id":5},` + source + `,"op":"r"}`, want: `insert db.page 5 {"_id":5,"id":5} < {"_id":5}`},
		"a deleted row":     {key: `{"id":5}`, value: `{"before":{"id":5,"title":"x"},"after":null,` + source + `,"op":"d"}`, want: `delete db.page 5 - < {"_id":5,"id":5,"title":"x"}`},
		"a key of two columns": {key: `{"a":1,"b":"x"}`, value: `{"after":{"a":1,"b":"x"},` + source + `,"op":"c"}`,
			want: `insert db.page {"a":{"$numberInt":"1"},"b":"x"} {"_id":{"a":1,"b":"x"},"a":1,"b":"x"} < {"_id":{"a":1,"b":"x"}}`},
		"a key of text":           {key: `{"id":"x"}`, value: `{"after":{"id":"x"},` + source + `,"op":"c"}`, want: `insert db.page x {"_id":"x","id":"x"} < {"_id":"x"}`},
		"a row without a key":     {value: row, want: `page "": no usable id: the record has no key that names its document`},
		"a row that is not whole": {key: `{"id":5}`, value: `{"after":{"id":5,"body":"__debezium_unavailable_value"},` + source + `,"op":"u"}`, want: `page "5": the column "body" is not in the event, since it was not changed: the document is not whole`},
		"truncate":                {key: ``, value: `{"before":null,"after":null,` + source + `,"op":"t"}`, want: `page "": the table "page" was truncated: the topic does not say which documents are gone`},
		"a message":               {value: `{"op":"m","source":{"db":"db"},"message":{}}`, want: "skipped: message"},
		"an op of the future":     {key: `{"id":5}`, value: `{"op":"x",` + source + `}`, want: `page "": the event of Debezium has the op "x", which is not known`},
		"a heartbeat":             {value: `{"ts_ms":1}`, want: "skipped: heartbeat"},
		"a transaction":           {value: `{"status":"END","id":"1","event_count":2,"data_collections":[],"ts_ms":1}`, want: "skipped: transaction"},
		"a schema change":         {value: `{"source":{},"ts_ms":1,"databaseName":"db","ddl":"CREATE TABLE x","tableChanges":[]}`, want: "skipped: schema change"},
		"types of columns": {key: `{"id":5}`, value: `{"schema":{"type":"struct","fields":[{"field":"after","type":"struct","fields":[{"field":"id","type":"int32"},
			{"field":"d","type":"int32","name":"io.debezium.time.Date"},{"field":"ms","type":"int64","name":"io.debezium.time.Timestamp"},
			{"field":"us","type":"int64","name":"io.debezium.time.MicroTimestamp"},{"field":"ns","type":"int64","name":"io.debezium.time.NanoTimestamp"},
			{"field":"z","type":"string","name":"io.debezium.time.ZonedTimestamp"},{"field":"price","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}},
			{"field":"v","type":"struct","name":"io.debezium.data.VariableScaleDecimal"},{"field":"blob","type":"bytes"},{"field":"none","type":"int64","name":"io.debezium.time.Timestamp"},
			{"field":"json","type":"string","name":"io.debezium.data.Json"}]}]},
			"payload":{"after":{"id":5,"d":19724,"ms":1700000000000,"us":1700000000000001,"ns":-1,"z":"2024-01-01T01:00:00+01:00","price":"` + base64.StdEncoding.EncodeToString([]byte{0xff, 0x85}) + `","v":{"scale":1,"value":"Dw=="},"blob":"AQI=","none":null,"json":"{\"a\":1}"},` + source + `,"op":"c"}}`,
			want: `insert db.page 5 {"_id":5,"id":5,"d":{"$date":"2024-01-02T00:00:00Z"},"ms":{"$date":"2023-11-14T22:13:20Z"},"us":{"$date":"2023-11-14T22:13:20Z"},"ns":{"$date":{"$numberLong":"-1"}},"z":{"$date":"2024-01-01T00:00:00Z"},"price":{"$numberDecimal":"-1.23"},"v":{"$numberDecimal":"1.5"},"blob":{"$binary":{"base64":"AQI=","subType":"00"}},"none":null,"json":"{\"a\":1}"} < {"_id":5}`},

		"MongoDB by Debezium": {key: `{"id":"{\"$oid\":\"` + oid + `\"}"}`, value: `{"before":null,"after":"{\"_id\": {\"$oid\": \"` + oid + `\"},\"at\": {\"$date\": 1700000000000}}",` + mongo + `,"op":"c"}`,
			want: `insert db.page ` + oid + ` {"_id":{"$oid":"` + oid + `"},"at":{"$date":"2023-11-14T22:13:20Z"}} < {"_id":{"$oid":"` + oid + `"}}`},
		"MongoDB by Debezium, deleted":           {key: `{"schema":{},"payload":{"id":"{\"$oid\":\"` + oid + `\"}"}}`, value: `{"schema":{},"payload":{"before":null,"after":null,` + mongo + `,"op":"d"}}`, want: `delete db.page ` + oid + ` - < {"_id":{"$oid":"` + oid + `"}}`},
		"MongoDB by Debezium, a text":            {key: `{"id":"\"a\""}`, value: `{"after":null,` + mongo + `,"op":"d"}`, want: `delete db.page a - < {"_id":"a"}`},
		"MongoDB by Debezium, a number":          {key: `{"id":"1004"}`, value: `{"after":null,` + mongo + `,"op":"d"}`, want: `delete db.page 1004 - < {"_id":"1004"}`},
		"MongoDB by Debezium, not looked up":     {key: `{"id":"1"}`, value: `{"after":null,"updateDescription":{"updatedFields":"{\"a\": 1}"},` + mongo + `,"op":"u"}`, want: `page "1": the event of Debezium does not hold its document: the change has no document`},
		"MongoDB by Debezium, corrupt":           {key: `{"id":"1"}`, value: `{"after":"{",` + mongo + `,"op":"c"}`, want: `page "": reading the event's after: not JSON: unexpected end of JSON input (column 1)`},
		"an after of another kind":               {key: `{"id":"1"}`, value: `{"after":5,` + mongo + `,"op":"c"}`, want: `page "": the event's after is neither an object nor a text`},
		"a document":                             {form: codec.DocumentForm, value: `{"_id": {"$oid": "` + oid + `"}, "n": 1}`, want: `replace . ` + oid + ` {"_id":{"$oid":"` + oid + `"},"n":1}`},
		"an unwrapped row":                       {form: codec.DocumentForm, key: `{"id":5}`, value: `{"id":5,"title":"x","__deleted":"false"}`, want: `replace . 5 {"_id":5,"id":5,"title":"x"}`},
		"an unwrapped row that is gone":          {form: codec.DocumentForm, key: `{"id":5}`, value: `{"id":5,"title":null,"__deleted":"true"}`, want: `delete . 5 - < {"_id":5,"id":5,"title":null}`},
		"a document that looks like an event":    {form: codec.DocumentForm, value: `{"_id":"a","operationType":"delete","op":"d"}`, want: `replace . a {"_id":"a","operationType":"delete","op":"d"}`},
		"a document without id":                  {form: codec.DocumentForm, value: `{"n":1}`, want: ` "": no usable id: the record has no key that names its document`},
		"a document where events are":            {value: `{"_id":"a","n":1}`, want: ` "": the value is no event in a form that is known: it has neither operationType nor op`},
		"a plain event where Debezium's are":     {form: codec.DebeziumForm, value: `{"operationType":"insert"}`, want: ` "": the value is no event of Debezium: it has no op`},
		"Debezium's where plain events are":      {form: codec.PlainForm, key: `{"id":5}`, value: row, want: ` "": the value is no event: it has no operationType`},
		"tombstone of a text":                    {key: "a", want: "delete . a -"},
		"tombstone of a connector's key":         {key: `{"_id": {"$oid": "` + oid + `"}}`, want: "delete . " + oid + " -"},
		"tombstone of a connector's key, schema": {key: wrapped(`{"_id": {"$oid": "` + oid + `"}}`), want: "delete . " + oid + " -"},
		"tombstone of a connector's key, string": {key: quoted(`{"_id": 7}`), want: "delete . 7 -"},
		"tombstone of a row":                     {key: `{"id":5}`, want: "delete . 5 -"},
		"tombstone of a row with schema":         {key: `{"schema":{"type":"struct"},"payload":{"id":5}}`, want: "delete . 5 -"},
		"tombstone of a quoted text":             {key: `"a"`, want: "delete . a -"},
		"tombstone of a quoted text, plain":      {form: codec.PlainForm, key: `"a"`, want: `delete . "a" -`},
		"tombstone of an id that is a document":  {key: `{"a":{"$numberInt":"1"},"b":"x"}`, want: `delete . {"a":{"$numberInt":"1"},"b":"x"} -`},
		"tombstone without a key":                {want: ` "": no usable id: the record has no key that names its document`},
		"tombstone of an empty key":              {key: `{}`, want: ` "": no usable id: the record has no key that names its document`},
		"tombstone of a registry's key":          {key: "\x00\x00\x00\x00\x07abc", want: ` "": the key was written with schema 7 of a Schema Registry (Avro, Protobuf or JSON Schema), which is not read`},
		"Avro":                                   {value: "\x00\x00\x00\x01\x02abc", want: ` "": the value was written with schema 258 of a Schema Registry (Avro, Protobuf or JSON Schema), which is not read`},
		"corrupt":                                {value: `{"operationType":"insert","documentKey":`, want: ` "": not JSON: unexpected end of JSON input (column 40)`},
		"text":                                   {value: `hello`, want: ` "": not JSON: invalid character 'h' looking for beginning of value (column 1)`},
		"an array":                               {value: `[1]`, want: ` "": not a document: a line must be a JSON object`},
		"blanks":                                 {value: "  ", want: ` "": the value is empty`},
		"half of a character":                    {value: `{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{"_id":"a","b":"\ud83d"}}`, want: `insert . a {"_id":"a","b":"�"}`},
	} {
		t.Run(name, func(t *testing.T) {
			form := c.form
			if form == "" {
				form = codec.AutoForm
			}
			var key, value []byte
			if c.key != "" {
				key = []byte(c.key)
			}
			if c.value != "" {
				value = []byte(c.value)
			}
			if got := shown(codec.Decoder{Form: form}.Decode(key, value, c.reference)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestDecodeWhatIsWritten reads back what every form of events is written as: id, operation and document are the same.
func TestDecodeWhatIsWritten(t *testing.T) {
	configs := map[string]codec.Config{"plain": codec.Defaults()}
	for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSON, codec.WireConnectJSONSchema, codec.WireBSON} {
		for _, format := range []codec.Format{codec.DefaultJSON, codec.ExtendedJSON, codec.SimplifiedJSON} {
			for _, only := range []bool{false, true} {
				c := codec.Defaults()
				c.Profile, c.Wire, c.JSON, c.FullDocumentOnly = codec.MongoKafka, wire, format, only
				configs[fmt.Sprintf("%s %s %t", wire, format, only)] = c
			}
		}
	}
	ids := map[string]any{
		oid: bson.ObjectID{0x65, 0xa0, 11: 1}, "a": "a", "7": int32(7), "8": int64(8), "1.5": 1.5,
		"2024-01-02T03:04:05.006Z": bson.NewDateTimeFromTime(time.Date(2024, 1, 2, 3, 4, 5, 6_000_000, time.UTC)),
	}
	page := syncd.Target{Database: "db", Collection: "page"}
	for name, config := range configs {
		for text, id := range ids {
			doc := document(t, bson.D{{Key: "_id", Value: id}, {Key: "n", Value: int64(1) << 40}, {Key: "t", Value: "é\n\""}, {Key: "b", Value: bson.Binary{Data: []byte{1}}}})
			for _, op := range []syncd.Operation{syncd.Insert, syncd.Replace, syncd.Delete} {
				change := syncd.Change{ID: text, Target: &page, Operation: op, Document: doc}
				key, value, err := config.Encoder().Preview(&change)
				if err != nil {
					t.Fatal(err)
				}
				forms := []codec.Form{codec.MongoKafkaForm, codec.AutoForm}
				switch {
				case config.Profile == codec.Plain:
					forms = []codec.Form{codec.PlainForm, codec.AutoForm}
				case config.FullDocumentOnly:
					forms = []codec.Form{codec.DocumentForm}
				}
				for _, form := range forms {
					d, err := codec.Decoder{Form: form}.Decode(key, value, false)
					where := fmt.Sprintf("%s of %s as %s (%s)", op, text, name, form)
					if err != nil {
						t.Fatalf("%s: %v\n%q %q", where, err, key, value)
					}
					if d.ID != text {
						t.Errorf("%s: the id is %q", where, d.ID)
					}
					if want := op; !config.FullDocumentOnly && d.Operation != want {
						t.Errorf("%s: %s", where, d.Operation)
					}
					if op == syncd.Delete {
						continue
					}
					got, err := bsondoc.AppendJSON(nil, d.Document, syncd.Plain)
					want, werr := doc.AppendJSON(nil, syncd.Plain)
					if err != nil || werr != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %s, want %s (%v)", where, got, want, err)
					}
				}
			}
		}
	}
}

// The connector's own records are read, and passed on as what they were.
func TestDecodeTheConnectorsRecords(t *testing.T) {
	golden, err := os.ReadFile("testdata/mongo_kafka_streamed.golden")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(golden)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if fields[0] == "simplified" {
			continue // which has no types to give back
		}
		d, err := codec.Decoder{Form: codec.AutoForm}.Decode([]byte(fields[1]), []byte(fields[2]), false)
		if notLookedUp := strings.Contains(fields[2], `"update"`) && !strings.Contains(fields[2], `"fullDocument"`); notLookedUp != (err != nil) || d.Raw == nil {
			t.Errorf("%v: %s", err, line)
		}
		if err != nil {
			continue
		}
		c := syncd.Change{ID: d.ID, Operation: d.Operation, Target: &target, Streamed: &syncd.Streamed{Raw: d.Raw}}
		if d.Document != nil {
			doc := bsondoc.NewDocument(d.Document)
			c.Document = &doc
		}
		_, value, err := mongoKafka(func(c *codec.Config) { c.ConnectorVersion = 2 }).Preview(&c)
		if err != nil || string(value) != fields[2] {
			t.Errorf("%v\n got %s\nwant %s", err, value, fields[2])
		}
		n++
	}
	if n < 5 {
		t.Errorf("only %d records", n)
	}
}

// TestLetterOfARecord: the dead letter of a record holds it as it was, with the headers of Kafka Connect behind its own.
func TestLetterOfARecord(t *testing.T) {
	record := &syncd.RecordError{
		Topic: "shop.page", Partition: 3, Offset: 41, Key: []byte("k"), Value: []byte("{\xff"), Cause: errors.New("not JSON"),
		Headers: []syncd.RecordHeader{{Name: "trace", Value: []byte{0xff}}, {Name: "__connect.errors.topic", Value: []byte("older")}, {Name: codec.HeaderRunID, Value: []byte("older")}},
	}
	c := syncd.Change{Target: &target, Err: &syncd.DocumentError{Stage: syncd.FailedRead, Route: "db.page", Split: 2, Cause: syncd.Hint(record, "mend it")}}
	var b codec.Batch
	b.Encode(codec.Encoder{}, "run", []syncd.Change{c})
	e := b.Events[0]
	if string(e.Key) != "k" || string(e.Value) != "{\xff" {
		t.Errorf("%q %q", e.Key, e.Value)
	}
	got := map[string]string{}
	for _, h := range e.Headers {
		if _, twice := got[h.Name]; twice {
			t.Errorf("%s stands there twice", h.Name)
		}
		got[h.Name] = h.Value
	}
	for name, want := range map[string]string{
		"trace": "\xff", codec.HeaderRunID: "run", codec.HeaderErrorTopic: "shop.page", codec.HeaderErrorPartition: "3", codec.HeaderErrorOffset: "41",
		codec.HeaderErrorTask: "2", codec.HeaderErrorStage: "TASK_POLL", codec.HeaderErrorClass: "syncd.RecordError", codec.HeaderErrorMessage: "shop.page, partition 3, offset 41: not JSON",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	record.Key, record.Value = []byte("k"), nil
	b.Encode(codec.Encoder{}, "run", []syncd.Change{c})
	if b.Events[0].Value != nil {
		t.Errorf("a tombstone has the value %q", b.Events[0].Value)
	}
}

// FuzzDecode: no record makes a decoder panic, change its input, or give a document that is none.
func FuzzDecode(f *testing.F) {
	for _, value := range []string{
		"", "a", `{"operationType":"update","documentKey":{"_id":{"$oid":"` + oid + `"}},"fullDocument":{"a":NaN},"updateDescription":{"updatedFields":{"a":1},"removedFields":["b"],"truncatedArrays":[{"field":"c"}]}}`,
		`{"schema":{"fields":[{"field":"after","fields":[{"field":"p","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"-3"}}]}]},"payload":{"after":{"p":"gA=="},"op":"c"}}`,
		`{"after":"{\"_id\": 1}","source":{"collection":"a"},"op":"u"}`, `"{\"op\":\"d\"}"`, "\x05\x00\x00\x00\x00", "\x00\x00\x00\x00\x01", `{"_id":1,"__deleted":true}`,
	} {
		for i, key := range []string{"", "a", `{"id":"{\"$oid\":\"` + oid + `\"}"}`, `{"schema":{"fields":[{"field":"a","name":"io.debezium.time.Date"}]},"payload":{"a":1}}`, `{"_id":{"_id":1}}`} {
			f.Add([]byte(key), []byte(value), uint8(i), i == 0)
		}
	}
	forms := []codec.Form{codec.AutoForm, codec.PlainForm, codec.MongoKafkaForm, codec.DebeziumForm, codec.DocumentForm}
	f.Fuzz(func(t *testing.T, key, value []byte, form uint8, reference bool) {
		k, v := bytes.Clone(key), bytes.Clone(value)
		if len(v) == 0 {
			v = nil
		}
		d, err := codec.Decoder{Form: forms[int(form)%len(forms)]}.Decode(k, v, reference)
		if !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Fatal("the record was changed")
		}
		if err != nil {
			return
		}
		for _, doc := range []bson.Raw{d.Document, d.Before, d.Raw} {
			if doc != nil && bsondoc.Validate(doc) != nil {
				t.Fatalf("%v is no document", doc)
			}
		}
		if d.Document != nil {
			id, ok := bsondoc.ID(d.Document)
			if !ok {
				t.Fatal("a document without _id")
			}
			if text, err := bsondoc.AppendIDText(nil, id); err == nil && d.ID == "" && len(text) > 0 {
				t.Fatalf("the document %s has no id", text)
			}
		}
	})
}
