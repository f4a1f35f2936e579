package codec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// mongoKafka returns an encoder of that profile with the connector's defaults, changed by change.
func mongoKafka(change func(*codec.Config)) codec.Encoder {
	c := codec.Defaults()
	c.Profile = codec.MongoKafka
	if change != nil {
		change(&c)
	}
	return c.Encoder()
}

func document(t testing.TB, d bson.D) syncd.Document {
	t.Helper()
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return bsondoc.NewDocument(raw)
}

// The golden file was written by the connector's producers and Kafka Connect's converters, from the same event: a line holds
// format, wire form, whether it is the key or the value, and behind a tab the bytes.
func TestMongoKafkaGolden(t *testing.T) {
	doc, _ := everyType(t)
	golden, err := os.ReadFile("testdata/mongo_kafka.golden")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(golden)) {
		name, want, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		t.Run(name, func(t *testing.T) {
			words := strings.Fields(name)
			e := mongoKafka(func(c *codec.Config) { c.JSON, c.Wire = codec.Format(words[0]), codec.Wire(words[1]) })
			got, err := e.AppendKey([]byte("kept"), "ignored", doc)
			if words[2] == "value" {
				got, err = e.AppendValue([]byte("kept"), syncd.Insert, target, "ignored", doc)
			}
			if err != nil || string(got) != "kept"+want {
				t.Errorf("got\n%s, %v\nwant\nkept%s", got, err, want)
			}
		})
		lines++
	}
	if lines != 3*3*2 {
		t.Errorf("%d lines", lines)
	}
}

func TestMongoKafkaBSON(t *testing.T) {
	id := bson.ObjectID{0x66, 0x5f, 0x1c, 0x2e, 0x9b, 0x3d, 0x4a, 0x00, 0x12, 0xab, 0xcd, 0xef}
	full := bson.D{{Key: "_id", Value: id}, {Key: "n", Value: int32(1)}}
	ns := bson.D{{Key: "db", Value: "d"}, {Key: "coll", Value: "c"}}
	key := bson.D{{Key: "_id", Value: id}}
	copied := bson.D{{Key: "_id", Value: id}, {Key: "copyingData", Value: true}}
	e := mongoKafka(func(c *codec.Config) { c.Wire = codec.WireBSON })
	bare := mongoKafka(func(c *codec.Config) { c.Wire, c.ID = codec.WireBSON, codec.NoID })
	to := syncd.Target{Database: "d", Collection: "c"}
	doc := document(t, full)
	for name, tc := range map[string]struct {
		write func([]byte) ([]byte, error)
		want  bson.D
	}{
		"key":              {func(b []byte) ([]byte, error) { return e.AppendKey(b, "", doc) }, key},
		"key, no document": {func(b []byte) ([]byte, error) { return e.AppendKey(b, id.Hex(), nil) }, key},
		"insert": {
			func(b []byte) ([]byte, error) { return e.AppendValue(b, syncd.Insert, to, "", doc) },
			bson.D{{Key: "_id", Value: copied}, {Key: "operationType", Value: "insert"}, {Key: "documentKey", Value: key}, {Key: "fullDocument", Value: full}, {Key: "ns", Value: ns}},
		},
		"delete": {
			func(b []byte) ([]byte, error) { return e.AppendValue(b, syncd.Delete, to, id.Hex(), nil) },
			bson.D{{Key: "_id", Value: copied}, {Key: "operationType", Value: "delete"}, {Key: "documentKey", Value: key}, {Key: "ns", Value: ns}},
		},
		"without id": {
			func(b []byte) ([]byte, error) { return bare.AppendValue(b, syncd.Replace, to, "", doc) },
			bson.D{{Key: "operationType", Value: "replace"}, {Key: "documentKey", Value: key}, {Key: "fullDocument", Value: full}, {Key: "ns", Value: ns}},
		},
	} {
		want, err := bson.Marshal(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tc.write([]byte("kept"))
		if err != nil || !bytes.Equal(got, append([]byte("kept"), want...)) {
			t.Errorf("%s: got %x, %v\nwant %x", name, got, err, want)
		}
	}
}

func TestMongoKafkaShape(t *testing.T) {
	doc := document(t, bson.D{{Key: "n", Value: 1e10}, {Key: "_id", Value: int64(7)}})
	to := syncd.Target{Database: "shop", Collection: "itäms🌍"}
	const ns = `"ns": {"db": "shop", "coll": "itäms\ud83c\udf0d"}`
	copied := mongoKafka(nil)
	for name, tc := range map[string]struct {
		encoder codec.Encoder
		op      syncd.Operation
		id      string
		doc     syncd.Document
		want    string
	}{
		"insert": {
			copied, syncd.Insert, "7", doc,
			`{"_id": {"_id": {"$numberLong": "7"}, "copyingData": true}, "operationType": "insert", "documentKey": {"_id": {"$numberLong": "7"}}, "fullDocument": {"n": 1.0E+10, "_id": {"$numberLong": "7"}}, ` + ns + `}`,
		},
		"replace": {
			mongoKafka(func(c *codec.Config) { c.ID, c.ConnectorVersion = codec.NoID, 2 }), syncd.Replace, "7", doc,
			`{"operationType": "replace", "documentKey": {"_id": {"$numberLong": "7"}}, "fullDocument": {"n": 1.0E10, "_id": {"$numberLong": "7"}}, ` + ns + `}`,
		},
		"delete": {
			copied, syncd.Delete, "665f1c2e9b3d4a0012abcdef", nil,
			`{"_id": {"_id": {"$oid": "665f1c2e9b3d4a0012abcdef"}, "copyingData": true}, "operationType": "delete", "documentKey": {"_id": {"$oid": "665f1c2e9b3d4a0012abcdef"}}, ` + ns + `}`,
		},
	} {
		got, err := tc.encoder.AppendValue(nil, tc.op, to, tc.id, tc.doc)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: got\n%s, %v\nwant\n%s", name, got, err, tc.want)
		}
	}
}

// One document's events have one key, whatever they are for, and the key is what documentKey says.
func TestMongoKafkaKeys(t *testing.T) {
	oid := bson.ObjectID{0x65, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x07, 0x18, 0x29, 0x3a, 0x4b}
	uuid := bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
	const uuidText = "30313233-3435-3637-3839-616263646566"
	for _, tc := range []struct {
		id      any
		text    string
		key     string
		guessed string // the same where the id's text is enough
	}{
		{oid, oid.Hex(), `{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}`, `{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}`},
		{"PROJ-12", "PROJ-12", `{"_id": "PROJ-12"}`, `{"_id": "PROJ-12"}`},
		{"", "", `{"_id": ""}`, `{"_id": ""}`},
		{"65A1B2C3D4E5F60718293A4B", "65A1B2C3D4E5F60718293A4B", `{"_id": "65A1B2C3D4E5F60718293A4B"}`, `{"_id": "65A1B2C3D4E5F60718293A4B"}`},
		{uuidText, uuidText, `{"_id": "` + uuidText + `"}`, `{"_id": "` + uuidText + `"}`},
		// What a text can't tell.
		{uuid, uuidText, `{"_id": {"$binary": "MDEyMzQ1Njc4OWFiY2RlZg==", "$type": "04"}}`, `{"_id": "` + uuidText + `"}`},
		{int32(42), "42", `{"_id": 42}`, `{"_id": "42"}`},
		{oid.Hex(), oid.Hex(), `{"_id": "65a1b2c3d4e5f60718293a4b"}`, `{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}`},
		{bson.D{{Key: "a", Value: "ä"}, {Key: "b", Value: true}}, `{"a":"ä","b":true}`, `{"_id": {"a": "ä", "b": true}}`, `{"_id": "{\"a\":\"ä\",\"b\":true}"}`},
	} {
		doc := document(t, bson.D{{Key: "x", Value: 1}, {Key: "_id", Value: tc.id}})
		e := mongoKafka(nil)
		if got, err := e.AppendKey([]byte("kept"), tc.text, doc); err != nil || string(got) != "kept"+tc.key {
			t.Errorf("%v: key %s, %v; want %s", tc.id, got, err, tc.key)
		}
		if got, err := e.AppendKey([]byte("kept"), tc.text, nil); err != nil || string(got) != "kept"+tc.guessed {
			t.Errorf("%v: key of a delete %s, %v; want %s", tc.id, got, err, tc.guessed)
		}
		for _, op := range []syncd.Operation{syncd.Insert, syncd.Replace} {
			if value, err := e.AppendValue(nil, op, target, tc.text, doc); err != nil || !bytes.Contains(value, []byte(`"documentKey": `+tc.key+`, `)) {
				t.Errorf("%v: %s, %v", tc.id, value, err)
			}
		}
		if value, err := e.AppendValue(nil, syncd.Delete, target, tc.text, nil); err != nil || !bytes.Contains(value, []byte(`"documentKey": `+tc.guessed+`, `)) {
			t.Errorf("%v: %s, %v", tc.id, value, err)
		}
	}
}

func TestKeyWire(t *testing.T) {
	doc := document(t, bson.D{{Key: "_id", Value: "a\"\\b"}})
	const text = `{"_id": "a\"\\b"}`
	for wire, want := range map[codec.Wire]string{
		"":                          text, // as wire
		codec.WireString:            text,
		codec.WireConnectJSON:       `"{\"_id\": \"a\\\"\\\\b\"}"`,
		codec.WireConnectJSONSchema: `{"schema":{"type":"string","optional":false},"payload":"{\"_id\": \"a\\\"\\\\b\"}"}`,
	} {
		e := mongoKafka(func(c *codec.Config) { c.KeyWire = wire })
		key, err := e.AppendKey(nil, "", doc)
		if err != nil || string(key) != want {
			t.Errorf("%s: %s, %v; want %s", wire, key, err, want)
		}
		if value, err := e.AppendValue(nil, syncd.Insert, target, "", doc); err != nil || value[0] != '{' || !json.Valid(value) {
			t.Errorf("%s: the value changed: %s, %v", wire, value, err)
		}
	}
}

// The zero Encoder and that of the defaults write what AppendValue does.
func TestPlainEncoder(t *testing.T) {
	doc, _ := everyType(t)
	want, err := codec.AppendValue(nil, syncd.Insert, target, "a\"b", doc)
	if err != nil {
		t.Fatal(err)
	}
	if codec.Defaults().Encoder() != (codec.Encoder{}) {
		t.Error("the default is not the zero value")
	}
	var e codec.Encoder
	if got, err := e.AppendValue(nil, syncd.Insert, target, "a\"b", doc); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if got, err := e.AppendKey([]byte("x"), "a\"b", doc); err != nil || string(got) != `xa"b` {
		t.Errorf("key %s, %v", got, err)
	}
}

// opaque is a document of a source that has no BSON.
type opaque struct{ syncd.Document }

func TestMongoKafkaErrors(t *testing.T) {
	good, _ := everyType(t)
	raw := good.(syncd.BSONDocument).BSON()
	damaged := bytes.Clone(raw)
	damaged[len(damaged)-1] = 1 // the end byte: behind all that a look for _id needs
	nested := bytes.Clone(raw)
	i := bytes.Index(nested, []byte("stringEmpty\x00")) + len("stringEmpty\x00")
	nested[i] = 0xff // the length of the string
	for name, tc := range map[string]struct {
		doc   syncd.Document
		is    error
		keyOK bool
	}{
		"not BSON":       {doc: opaque{good}},
		"no id":          {doc: document(t, bson.D{{Key: "a", Value: 1}}), is: bsondoc.ErrNoID},
		"not a document": {doc: bsondoc.NewDocument(nil), is: bsondoc.ErrMalformed},
		"no end":         {doc: bsondoc.NewDocument(damaged), is: bsondoc.ErrMalformed},
		"damaged inside": {doc: bsondoc.NewDocument(nested), is: bsondoc.ErrMalformed, keyOK: true},
	} {
		for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSON, codec.WireConnectJSONSchema, codec.WireBSON} {
			e := mongoKafka(func(c *codec.Config) { c.Wire = wire })
			got, err := e.AppendValue([]byte("kept"), syncd.Insert, target, "x", tc.doc)
			if err == nil || string(got) != "kept" || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s, %s: %q, %v", name, wire, got, err)
			}
			got, err = e.AppendKey([]byte("kept"), "x", tc.doc)
			if tc.keyOK {
				if err != nil {
					t.Errorf("%s, %s: the key: %v", name, wire, err)
				}
				continue
			}
			if err == nil || string(got) != "kept" || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%s, %s: key %q, %v", name, wire, got, err)
			}
		}
	}
	text := document(t, bson.D{{Key: "_id", Value: "a\xff"}})
	for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSON} {
		e := mongoKafka(func(c *codec.Config) { c.Wire = wire })
		if got, err := e.AppendKey([]byte("kept"), "a\xff", text); !errors.Is(err, bsondoc.ErrInvalidUTF8) || string(got) != "kept" {
			t.Errorf("key %q, %v", got, err)
		}
		for _, doc := range []syncd.Document{text, nil} {
			if got, err := e.AppendValue([]byte("kept"), syncd.Insert, target, "a\xff", doc); !errors.Is(err, bsondoc.ErrInvalidUTF8) || string(got) != "kept" {
				t.Errorf("value %q, %v", got, err)
			}
		}
		for _, to := range []syncd.Target{{Database: "\xff"}, {Collection: "\xff"}} {
			if got, err := e.AppendValue([]byte("kept"), syncd.Insert, to, "a", nil); !errors.Is(err, bsondoc.ErrInvalidUTF8) || string(got) != "kept" {
				t.Errorf("value %q, %v", got, err)
			}
		}
	}
}

func TestMongoKafkaAllocations(t *testing.T) {
	doc := document(t, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "title", Value: "a \"quoted\" title"}, {Key: "n", Value: 1.5}})
	buf := make([]byte, 0, 1<<12)
	for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSON, codec.WireConnectJSONSchema, codec.WireBSON} {
		e := mongoKafka(func(c *codec.Config) { c.Wire = wire })
		n := testing.AllocsPerRun(100, func() {
			if _, err := e.AppendKey(buf, "", doc); err != nil {
				t.Fatal(err)
			}
			if _, err := e.AppendValue(buf, syncd.Insert, target, "", doc); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations", wire, n)
		}
	}
}

// A record reads back as the JSON text that it carries, whatever the document is.
func FuzzMongoKafka(f *testing.F) {
	doc, _ := everyType(f)
	f.Add(doc.(syncd.BSONDocument).BSON())
	f.Add([]byte(bson.Raw(document(f, bson.D{{Key: "_id", Value: "a\"\\\n🌍"}}).(syncd.BSONDocument).BSON())))
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc := bsondoc.NewDocument(raw)
		text, err := mongoKafka(func(c *codec.Config) { c.JSON = codec.ExtendedJSON }).AppendValue(nil, syncd.Insert, target, "", doc)
		if err == nil && !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		for _, wire := range []codec.Wire{codec.WireConnectJSON, codec.WireConnectJSONSchema} {
			got, wireErr := mongoKafka(func(c *codec.Config) { c.JSON, c.Wire = codec.ExtendedJSON, wire }).AppendValue(nil, syncd.Insert, target, "", doc)
			if (err == nil) != (wireErr == nil) {
				t.Fatalf("%s: %v, but %v as a string", wire, wireErr, err)
			}
			if err != nil {
				continue
			}
			var back string
			if wire == codec.WireConnectJSON {
				err = json.Unmarshal(got, &back)
			} else {
				var envelope struct{ Payload *string }
				envelope.Payload = &back
				err = json.Unmarshal(got, &envelope)
			}
			if err != nil || back != string(text) {
				t.Fatalf("%s: %s reads back as %s, %v", wire, got, back, err)
			}
		}
	})
}

func BenchmarkMongoKafka(b *testing.B) {
	doc, _ := everyType(b)
	for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSONSchema, codec.WireBSON} {
		e := mongoKafka(func(c *codec.Config) { c.Wire = wire })
		b.Run(string(wire), func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = e.AppendKey(buf[:0], "", doc); err != nil {
					b.Fatal(err)
				}
				if buf, err = e.AppendValue(buf, syncd.Insert, target, "", doc); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}
