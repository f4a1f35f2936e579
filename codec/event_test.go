package codec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

var target = syncd.Target{Database: "Project\"Management", Collection: "workItem", ContentType: "work_item"}

// everyType is the document with every BSON type that the transcoder's own golden files describe.
func everyType(t testing.TB) (syncd.Document, json.RawMessage) {
	t.Helper()
	canonical, err := os.ReadFile("../internal/bsondoc/testdata/every_type_canonical.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile("../internal/bsondoc/testdata/every_type.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc bson.D
	if err := bson.UnmarshalExtJSON(canonical, true, &doc); err != nil {
		t.Fatal(err)
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, plain); err != nil {
		t.Fatal(err)
	}
	return bsondoc.NewDocument(raw), compact.Bytes()
}

// TestGolden compares an event byte by byte: the order of its fields, its spacing, and the text of every type.
func TestGolden(t *testing.T) {
	doc, body := everyType(t)
	const id = "665f1c2e9b3d4a0012abcdef"
	got, err := codec.AppendValue([]byte("kept"), syncd.Insert, target, id, doc)
	if err != nil {
		t.Fatal(err)
	}
	want := `kept{"operationType":"insert","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"` + id +
		`"},"fullDocument":` + string(body) + `}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !json.Valid(got[len("kept"):]) {
		t.Error("the event is not valid JSON")
	}
}

func TestDeleteHasNoDocument(t *testing.T) {
	got, err := codec.AppendValue(nil, syncd.Delete, target, "a\nb", nil)
	want := `{"operationType":"delete","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"a\nb"}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestErrorsLeaveTheBufferAlone(t *testing.T) {
	bad := bsondoc.NewDocument(bson.Raw{0xff, 0xff, 0xff, 0x7f, 0})
	for name, f := range map[string]func([]byte) ([]byte, error){
		"document": func(b []byte) ([]byte, error) { return codec.AppendValue(b, syncd.Insert, target, "x", bad) },
		"id":       func(b []byte) ([]byte, error) { return codec.AppendValue(b, syncd.Insert, target, "\xff", nil) },
	} {
		got, err := f([]byte("kept"))
		if err == nil || string(got) != "kept" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := codec.AppendValue(nil, syncd.Insert, target, "\xff", nil); !errors.Is(err, bsondoc.ErrInvalidUTF8) {
		t.Errorf("an id that is not UTF-8: %v", err)
	}
}

func BenchmarkAppendValue(b *testing.B) {
	doc, _ := everyType(b)
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		var err error
		if buf, err = codec.AppendValue(buf[:0], syncd.Insert, target, "665f1c2e9b3d4a0012abcdef", doc); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}
