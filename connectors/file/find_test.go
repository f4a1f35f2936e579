package file

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

func find(t *testing.T, dir string, ids ...string) ([]syncd.Key, error) {
	t.Helper()
	return openDir(t, dir).Abilities().Find(t.Context(), syncd.Collection{Name: "c"}, ids)
}

func TestFindByTextOfAnyType(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte(
		`{"_id":{"$oid":"507f1f77bcf86cd799439011"}}`+"\n"+
			`{"_id":{"$numberDecimal":"1.50"}}`+"\n\n"+
			`{"title":"no id"}`+"\n"+
			`{"_id":null}`+"\n"+
			`{"_id":5}`+"\n"+
			`{"_id":"5"}`+"\n"+
			`{"_id":{"a":{"$numberInt":"1"}}}`+"\n"))
	ids := []string{`{"a":{"$numberInt":"1"}}`, "5", "1.5", "507f1f77bcf86cd799439011", "none", "5"}
	keys, err := find(t, dir, ids...)
	if err != nil {
		t.Fatal(err)
	}
	_, changes, err := readAll(t, openDir(t, dir), syncd.ReadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		at := slices.IndexFunc(changes, func(c syncd.Change) bool { return c.Err == nil && c.ID == id })
		switch {
		case at < 0 && keys[i] != "":
			t.Errorf("%q was found", id)
		case at >= 0 && keys[i] != changes[at].Key: // the first of two
			t.Errorf("%q has the key %q, want %q", id, keys[i], changes[at].Key)
		}
	}
}

// What can't be read may be what was looked for.
func TestFindBesideDamage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte(`{"_id":"a"}`+"\n"+`{"_id":"b`+"\n"+`{"_id":"c"}`+"\n"))
	if keys, err := find(t, dir, "c", "a"); err != nil || keys[0] == "" || keys[1] == "" {
		t.Errorf("%q, %v", keys, err)
	}
	if keys, err := find(t, dir, "b", "a"); err == nil || keys != nil || !strings.Contains(err.Error(), "c.ndjson:2") {
		t.Errorf("%q, %v", keys, err)
	}

	dir = t.TempDir()
	write(t, dir, "c.bson", append(marshal(t, bson.D{{Key: "_id", Value: "a"}}), 1, 2, 3))
	if keys, err := find(t, dir, "a"); err != nil || keys[0] == "" { // no need to read that far
		t.Errorf("%q, %v", keys, err)
	}
	if keys, err := find(t, dir, "b"); err == nil || keys != nil {
		t.Errorf("%q, %v", keys, err)
	}
}

// TestFindBesideTwoIDs: a document of two ids may be the one with either.
func TestFindBesideTwoIDs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", append(marshal(t, bson.D{{Key: "_id", Value: "a"}, {Key: "_id", Value: "b"}}), marshal(t, bson.D{{Key: "_id", Value: "c"}})...))
	if keys, err := find(t, dir, "c"); err != nil || keys[0] == "" {
		t.Errorf("%q, %v", keys, err)
	}
	if keys, err := find(t, dir, "b"); err == nil || keys != nil || !strings.Contains(err.Error(), "document 1 at byte 0") {
		t.Errorf("%q, %v", keys, err)
	}
}

func TestFindNeedsAFile(t *testing.T) {
	if _, err := find(t, t.TempDir(), "a"); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Error(err)
	}
	dir := t.TempDir()
	write(t, dir, "c.ndjson", nil)
	if _, err := openDir(t, dir).Abilities().Find(t.Context(), syncd.Collection{Name: "c", Filter: "{}"}, nil); err == nil {
		t.Error("took a filter")
	}
}

// BenchmarkFind looks for 100 of 10,000 documents, the last of which is among them.
func BenchmarkFind(b *testing.B) {
	const n = 10_000
	var bsonFile, ndjson []byte
	for i := range n {
		doc := bson.D{{Key: "_id", Value: fmt.Sprintf("doc-%05d", i)}, {Key: "text", Value: strings.Repeat("lorem ", 300)}}
		bsonFile = append(bsonFile, marshal(b, doc)...)
		line, err := bson.MarshalExtJSON(doc, true, false)
		if err != nil {
			b.Fatal(err)
		}
		ndjson = append(append(ndjson, line...), '\n')
	}
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("doc-%05d", n-1-i*97)
	}
	for name, data := range map[string][]byte{"c.bson": bsonFile, "c.ndjson": ndjson} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			write(b, dir, name, data)
			find := openDir(b, dir).Abilities().Find
			b.ReportAllocs()
			for b.Loop() {
				keys, err := find(b.Context(), syncd.Collection{Name: "c"}, ids)
				if err != nil || slices.Contains(keys, "") {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/doc")
		})
	}
}
