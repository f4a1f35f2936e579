package fastmongo

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

func tokens() []token {
	id := uuid.MustParse("b7cd4a16-abc2-4a2f-a3ed-4dbe4c4a7e51")
	return []token{
		{time: 0x63516bc2<<32 | 1},
		{time: 1<<63 | 5, event: true, uuid: id, op: opInsert},
		{time: 7<<32 | 300, event: true, index: 1, uuid: id, op: opDelete},
		{time: 7<<32 | 300, event: true, index: 100_000, uuid: id, op: opUpdate, fragment: 1},
		{time: 7<<32 | 300, event: true, uuid: id, op: opUpdate, fragment: 300},
		{time: 7 << 32, event: true, invalidate: true, uuid: id, op: opInvalidate},
		{time: 7 << 32, event: true, op: opDropDatabase},
	}
}

func (t token) document() value {
	return value{Type: bsoncore.TypeEmbeddedDocument, Data: t.appendDocument(nil)}
}

func TestTokens(t *testing.T) {
	for _, want := range tokens() {
		got, err := parseToken(want.document())
		if err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

// These bytes are MongoDB's: clients read the time from them.
func TestTokenText(t *testing.T) {
	for want, tok := range map[string]token{
		"8263516BC2000000012B0429296E1404": tokens()[0],
		"8280000000000000052B042C0100296E5A1004B7CD4A16ABC24A2FA3ED4DBE4C4A7E51463C6F7065726174696F6E54797065003C696E73657274000004": tokens()[1],
	} {
		if string(tok.appendHex(nil)) != want {
			t.Errorf("%s, want %s", tok.appendHex(nil), want)
		}
	}
}

// A token's order as text is that of its events.
func TestTokenOrder(t *testing.T) {
	id := uuid.New()
	last := ""
	for _, tok := range []token{
		{time: 5}, {time: 5, event: true, uuid: id, op: opInsert}, {time: 5, event: true, index: 1, uuid: id, op: opInsert},
		{time: 5, event: true, index: 200, uuid: id, op: opInsert}, {time: 6}, {time: 6, event: true, uuid: id, op: opDrop},
		{time: 6, event: true, invalidate: true, uuid: id, op: opInvalidate}, {time: 1 << 32}, {time: 300 << 32},
	} {
		if text := string(tok.appendHex(nil)); text <= last {
			t.Errorf("%+v is not behind the one before", tok)
		} else {
			last = text
		}
	}
}

func TestMalformedTokens(t *testing.T) {
	text := func(s string) value {
		return value{Type: bsoncore.TypeEmbeddedDocument, Data: bsoncore.NewDocumentBuilder().AppendString("_data", s).Build()}
	}
	for name, c := range map[string]struct {
		doc  value
		code int32
	}{
		"no document":                            {value{Type: bsoncore.TypeInt32, Data: []byte{1, 0, 0, 0}}, 40647},
		"nothing inside":                         {value{Type: bsoncore.TypeEmbeddedDocument, Data: []byte{5, 0, 0, 0, 0}}, 40647},
		"no digits":                              {text("82x"), 9},
		"an odd number":                          {text("826"), 9},
		"empty":                                  {text(""), 40649},
		"other bytes":                            {text("AA00BB11"), 50811},
		"cut":                                    {text("8263516BC2000000012B0429296E14"), 50811},
		"more behind it":                         {text("8263516BC2000000012B0429296E140404"), 6189504},
		"another version":                        {text("8263516BC2000000012B0229296E1404"), 50795},
		"another kind":                           {text("8263516BC2000000012B042B08296E1404"), 51057},
		"a mark with index":                      {text("8263516BC2000000012B04292B026E1404"), 6189504},
		"an event without a collection and kind": {text("8263516BC2000000012B042C0100296E1404"), 50811},
	} {
		_, err := parseToken(c.doc)
		if f, ok := errors.AsType[*failure](err); !ok || f.code != c.code {
			t.Errorf("%s: %v, want code %d", name, err, c.code)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, t := range tokens() {
		f.Add(string(t.appendHex(nil)))
	}
	f.Add("82")
	f.Fuzz(func(t *testing.T, text string) {
		doc := bsoncore.NewDocumentBuilder().AppendString("_data", text).Build()
		got, err := parseToken(value{Type: bsoncore.TypeEmbeddedDocument, Data: doc})
		if err != nil {
			return
		}
		again, err := parseToken(got.document())
		if err != nil || again != got {
			t.Errorf("%s is %+v, which comes back as %+v, %v", text, got, again, err)
		}
	})
}
