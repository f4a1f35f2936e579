package bsondoc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestLookup(t *testing.T) {
	d := doc(
		field{"a", vDoc(doc(
			field{"b", vInt32(1)},
			field{"b", vInt32(2)},
			field{"c.d", vInt32(3)},
			field{"", vInt32(4)},
			field{"list", vArray(vInt32(5), vDoc(doc(field{"x", vInt32(6)})), vArray(vInt32(7)))},
		))},
		field{"a.b", vInt32(8)},
		field{"a.e", vDoc(doc(field{"f", vInt32(9)}))},
		field{"s", vString("text")},
		field{"", vDoc(doc(field{"x", vInt32(10)}))},
		field{"s", vString("second")},
		field{"0", vInt32(11)},
		field{"scope", vCodeWithScope("", doc(field{"x", vInt32(12)}))},
		field{"twice", vInt32(0)},
		field{"twice", vDoc(doc(field{"x", vInt32(13)}))},
	)
	for _, tc := range []struct {
		path string
		want string // "" for not found
	}{
		{"a.b", "8"}, // the whole name first, though it stands later
		{"a.c.d", "3"},
		{"a.", "4"},
		{"a.list.0", "5"},
		{"a.list.1.x", "6"},
		{"a.list.2.0", "7"},
		{"s", "text"},
		{".x", "10"},
		{"0", "11"},
		{"a.e.f", ""}, // only the whole path or its first part can be a name
		{"a.list.3", ""},
		{"a.list.00", ""},
		{"a.list.-1", ""},
		{"a.list.x", ""},
		{"a.list.", ""},
		{"a.list.99999999999999999999", ""},
		{"s.x", ""},
		{"scope.x", ""},
		{"twice.x", ""}, // the first one counts
		{"a.b.c", ""},
		{"none", ""},
		{"none.x", ""},
		{".", ""},
		{"A", ""},
	} {
		t.Run(tc.path, func(t *testing.T) {
			v, ok := Lookup(d, tc.path)
			got, err := NewDocument(d).Lookup(tc.path)
			if err != nil || got.Set != ok {
				t.Fatalf("Document.Lookup: %v, %v", got.Set, err)
			}
			if !ok {
				if tc.want != "" || v.Type != 0 {
					t.Fatalf("not found; want %s", tc.want)
				}
				return
			}
			if got.Text != tc.want {
				t.Errorf("got %s, want %q", got.Text, tc.want)
			}
		})
	}
	if v, ok := Lookup(d, "a"); !ok || v.Type != bson.TypeEmbeddedDocument {
		t.Errorf("a: got %v, %v", v.Type, ok)
	}
}

func TestLookupAllocations(t *testing.T) {
	d := everyType(t)
	for _, path := range []string{"_id", "array.3._id", "document.at", "none.of.these"} {
		if n := testing.AllocsPerRun(100, func() { Lookup(d, path) }); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func TestDocument(t *testing.T) {
	raw := doc(
		field{"n", vNull()},
		field{"u", vUndefined()},
		field{"at", vDate(5)},
		field{"bad", vString("\xff")},
		field{"x", vDoc(doc(field{"y", vBool(true)}))},
	)
	d := NewDocument(raw)
	if d.Size() != len(raw) || string(d.BSON()) != string(raw) {
		t.Error("the document is not its bytes")
	}
	for path, want := range map[string]string{"at": "1970-01-01T00:00:00.005Z", "x.y": "true", "x": `{"y":true}`} {
		if got, err := d.Lookup(path); got.Text != want || !got.Set || err != nil {
			t.Errorf("%s: got %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{"n", "u", "none", "n.x"} {
		if got, err := d.Lookup(path); got.Text != "" || got.Set || err != nil {
			t.Errorf("%s: got %+v, %v", path, got, err)
		}
	}
	if v, err := d.Lookup("bad"); v.Set || !errors.Is(err, ErrInvalidUTF8) {
		t.Errorf("bad: %+v, %v", v, err)
	}
	if _, err := d.AppendJSON(nil, Plain); !errors.Is(err, ErrInvalidUTF8) {
		t.Errorf("AppendJSON: %v", err)
	}

	damaged := NewDocument(raw[:len(raw)-1])
	if v, err := damaged.Lookup("at"); v.Set || !errors.Is(err, ErrMalformed) {
		t.Errorf("damaged: %+v, %v", v, err)
	}
	inner := NewDocument(doc(field{"a", vDoc(doc(field{"b", bson.RawValue{Type: 0x44}}))}))
	_, err := inner.Lookup("a.c")
	if want := `looking up "a.c": field "b": malformed BSON: unknown type 0x44`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	deep := NewDocument(nested(MaxDepth + 10))
	if _, err := deep.Lookup(strings.Repeat("a.", MaxDepth+5) + "a"); !errors.Is(err, ErrTooDeep) {
		t.Errorf("deep: %v", err)
	}
}

func FuzzLookup(f *testing.F) {
	for _, path := range []string{"_id", "array.3._id", "document.at", "dotted.name", "", ".", "a.0.b"} {
		f.Add([]byte(everyType(f)), path)
	}
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		Lookup(b, path)
		b = framed(b)
		v, ok := Lookup(b, path)
		got, err := NewDocument(b).Lookup(path)
		if got.Set && (!ok || err != nil) {
			t.Errorf("%q: %q, but Lookup says %v, %v", path, got.Text, ok, err)
		}
		if !ok {
			return
		}
		if err := wholeValue(v); err != nil {
			t.Errorf("%q: the value is not whole: %v", path, err)
		}
		if strings.Contains(path, ".") || Validate(b) != nil {
			return
		}
		// Without dots the driver has the same idea of a path.
		want, err := bson.Raw(b).LookupErr(path)
		if path != "" && (err != nil || !want.Equal(v)) {
			t.Errorf("%q: got %v, the driver has %v, %v", path, v, want, err)
		}
	})
}

// TestIDIsLookup, whatever a document begins with, and with what damage.
func TestIDIsLookup(t *testing.T) {
	oid := bson.NewObjectID()
	random := rand.New(rand.NewPCG(1, 2))
	for _, doc := range []bson.D{
		{{Key: "_id", Value: oid}},
		{{Key: "_id", Value: oid}, {Key: "a", Value: "b"}},
		{{Key: "_id", Value: oid}, {Key: "_id", Value: 5}},
		{{Key: "a", Value: 1}, {Key: "_id", Value: oid}},
		{{Key: "_id", Value: "text"}},
		{{Key: "_id.a", Value: oid}},
		{{Key: "a", Value: oid}},
		{},
	} {
		raw, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		same := func(raw bson.Raw) {
			t.Helper()
			got, ok := ID(raw)
			want, wantOK := Lookup(raw, "_id")
			if ok != wantOK || got.Type != want.Type || !bytes.Equal(got.Value, want.Value) || cap(got.Value) != cap(want.Value) {
				t.Errorf("%x: %v %x, not %v %x", []byte(raw), got.Type, got.Value, want.Type, want.Value)
			}
		}
		for i := range raw {
			same(raw)
			same(raw[:i])
			same(append(slices.Clone(raw), raw[:i]...))
			for range 20 {
				changed := slices.Clone(raw)
				changed[i] = byte(random.UintN(256))
				same(changed)
			}
			short := slices.Clone(raw[:i])
			if len(short) > 4 { // damage that the length does not tell
				short[0], short[1] = byte(len(short)), 0
				same(short)
				same(append(short[:len(short)-1], 0))
			}
		}
	}
}
