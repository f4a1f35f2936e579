package codec_test

import (
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// TestReadLetter: the id of a dead letter is that of its document, whatever form the key has.
func TestReadLetter(t *testing.T) {
	oid := bson.ObjectID{1, 2, 3}
	configs := []codec.Config{codec.Defaults()}
	for _, wire := range []codec.Wire{codec.WireString, codec.WireConnectJSON, codec.WireConnectJSONSchema, codec.WireBSON} {
		c := codec.Defaults()
		c.Profile, c.Wire = codec.MongoKafka, wire
		configs = append(configs, c)
	}
	for _, c := range configs {
		for want, id := range map[string]any{
			oid.Hex(): oid, "a": "a", `{"_id": 7}`: `{"_id": 7}`, "7": int32(7), "8": int64(8), `"quoted"`: `"quoted"`, "": "",
		} {
			key, err := c.Encoder().AppendKey(nil, want, document(t, bson.D{{Key: "_id", Value: id}}))
			if err != nil {
				t.Fatal(err)
			}
			headers := codec.AppendErrorHeaders([]codec.Header{{Name: codec.HeaderContentType, Value: "doc"}, {Name: codec.HeaderRunID, Value: "run"}},
				&syncd.DocumentError{Stage: syncd.FailedWrite, Route: "db.page", Cause: errors.New("boom")})
			l, ok := codec.ReadLetter(headers, key, []byte("value"))
			if !ok || l.ID != want && c.Profile == codec.MongoKafka || l.ContentType != "doc" || l.RunID != "run" || l.Stage != "KAFKA_PRODUCE" || l.Reason != "boom" || l.Route != "db.page" {
				t.Errorf("%s %s: key %q: %+v, %t, want %q", c.Profile, c.Wire, key, l, ok, want)
			}
			if c.Profile == codec.Plain && l.ID != want && want[0] != '{' {
				t.Errorf("plain key %q: %q", key, l.ID)
			}
		}
	}
	if _, ok := codec.ReadLetter([]codec.Header{{Name: codec.HeaderRunID}}, []byte("a"), nil); ok {
		t.Error("an event is taken for a dead letter")
	}
}

func FuzzReadLetter(f *testing.F) {
	for _, key := range []string{"a", `{"_id": "a"}`, `{"schema":{},"payload":"{\"_id\": {\"$oid\": \"010203000000000000000000\"}}"}`, `"{\"_id\": 1}"`, "\x05\x00\x00\x00\x00", "\xff"} {
		f.Add([]byte(key))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		before := slices.Clone(key)
		if _, ok := codec.ReadLetter(nil, key, nil); ok {
			t.Error("without headers it is no letter")
		}
		if !slices.Equal(before, key) {
			t.Error("the key was changed")
		}
	})
}
