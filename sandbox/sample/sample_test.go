package sample_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/sample"
)

// golden is the hash of the first 1,500 documents. It changes only together with the
// words or the shape of the documents, on purpose.
const golden = "a3a7d2e1ab652bfde69b90c6c87a0e615e95f56c394a128b82e94d833456a5bc"

func TestDocumentsAreDeterministic(t *testing.T) {
	t.Parallel()
	h := sha256.New()
	docs := sample.Documents(0, 1500)
	for _, d := range docs {
		b, err := bson.Marshal(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %x\n", d.Collection, b)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != golden {
		t.Errorf("hash of the documents is %s, want %s", got, golden)
	}
	// What comes before and after makes no difference.
	if diff := cmp.Diff(docs[700:750], sample.Documents(700, 50)); diff != "" {
		t.Errorf("documents 700 to 750 depend on where one begins:\n%s", diff)
	}
	other := sample.Generator{Seed: 2}.Document(0)
	if cmp.Equal(docs[0].ID(), other.ID()) {
		t.Error("another seed gives the same _id")
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	counts := func(from, n int) map[string]int {
		m := map[string]int{}
		for _, d := range sample.Documents(from, n) {
			m[d.Collection]++
		}
		return m
	}
	want := map[string]int{
		sample.WorkItem: 600, sample.Page: 240, sample.UserStory: 240, sample.Features: 120,
		sample.Module: 120, sample.Cycle: 60, sample.Epic: 60, sample.Project: 60,
	}
	if diff := cmp.Diff(want, counts(0, 1500)); diff != "" {
		t.Errorf("1,500 documents (-want +got):\n%s", diff)
	}
	for c, n := range want {
		want[c] = n / 15
	}
	if diff := cmp.Diff(want, counts(1500, 100)); diff != "" {
		t.Errorf("the next 100 (-want +got):\n%s", diff)
	}
	if n := len(sample.Collections()); n != len(want) {
		t.Errorf("%d collections, want %d", n, len(want))
	}
}

func TestIDsAndReferences(t *testing.T) {
	t.Parallel()
	docs := sample.Documents(0, 5000)
	at := map[any]int{}
	uuids := 0
	var last bson.ObjectID
	for i, d := range docs {
		var key any
		switch id := d.ID().(type) {
		case bson.ObjectID:
			key = id
			if bytes.Compare(last[:], id[:]) >= 0 {
				t.Errorf("document %d: ObjectId %s does not come after %s", i, id.Hex(), last.Hex())
			}
			last = id
		case bson.Binary:
			key = string(id.Data)
			uuids++
			if id.Subtype != 4 || len(id.Data) != 16 || id.Data[6]>>4 != 4 || id.Data[8]>>6 != 2 {
				t.Errorf("document %d: %v is not a version 4 UUID", i, id)
			}
			if d.Collection != sample.UserStory {
				t.Errorf("document %d: UUID in %s", i, d.Collection)
			}
		default:
			t.Fatalf("document %d: _id is a %T", i, id)
		}
		if _, ok := at[key]; ok {
			t.Errorf("document %d: _id %v is taken", i, key)
		}
		at[key] = i
	}
	if uuids != 600 {
		t.Errorf("%d UUIDs, want 600, three of four user stories", uuids)
	}
	for i, d := range docs {
		for _, e := range d.Body[1:] {
			id, ok := e.Value.(bson.ObjectID)
			if sub, isDoc := e.Value.(bson.D); isDoc && e.Key == "project" {
				id, ok = sub[0].Value.(bson.ObjectID)
			}
			if !ok {
				continue
			}
			target, exists := at[id]
			if !exists || target/25 > i/25 {
				t.Errorf("document %d: %s leads to document %d (%v)", i, e.Key, target, exists)
			} else if c := docs[target].Collection; !strings.HasPrefix(c, e.Key) {
				t.Errorf("document %d: %s leads to a %s", i, e.Key, c)
			}
		}
	}
}

func TestDocumentsArePlausible(t *testing.T) {
	t.Parallel()
	docs := sample.Documents(0, 1500)
	texts := map[string]int{}
	long := 0
	types := map[string]bool{}
	for i, d := range docs {
		field := func(key string) any {
			for _, e := range d.Body {
				if e.Key == key {
					return e.Value
				}
			}
			return nil
		}
		title, _ := field("title").(string)
		if title == "" {
			title, _ = field("name").(string)
		}
		body, _ := field("description").(string)
		if body == "" {
			body, _ = field("content").(string)
		}
		if len(title) < 3 || len(title) > 140 || !unicode.IsUpper([]rune(title)[0]) {
			t.Errorf("document %d (%s): title %q", i, d.Collection, title)
		}
		if len(body) < 20 || !strings.HasSuffix(strings.Split(body, "\n")[0], ".") || strings.ContainsAny(body+title, "{}") {
			t.Errorf("document %d (%s): text %q", i, d.Collection, body)
		}
		if len(body) > 1500 {
			long++
		}
		texts[body]++
		created, _ := field("createdAt").(bson.DateTime)
		updated, _ := field("updatedAt").(bson.DateTime)
		if created == 0 || updated < created || updated.Time().Sub(created.Time()) > 41*24*time.Hour {
			t.Errorf("document %d: created %v, updated %v", i, created.Time(), updated.Time())
		}
		raw, err := bson.Marshal(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		mail := bson.Raw(raw).Lookup("createdBy", "email").StringValue()
		if strings.ContainsFunc(mail, func(r rune) bool { return r > unicode.MaxASCII || r == ' ' }) {
			t.Errorf("document %d: address %q", i, mail)
		}
		elements, err := bson.Raw(raw).Elements()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range elements {
			types[e.Value().Type.String()] = true
		}
	}
	if len(texts) < 1480 {
		t.Errorf("%d of 1,500 texts are different", len(texts))
	}
	if long < 60 || long > 400 {
		t.Errorf("%d of 1,500 texts are long enough for several chunks, want some but not most", long)
	}
	for _, want := range []string{"objectID", "binary", "string", "32-bit integer", "64-bit integer", "double", "UTC datetime", "boolean", "null", "array", "embedded document"} {
		if !types[want] {
			t.Errorf("no field is a %s; there are %v", want, types)
		}
	}
}

func TestDecimal128(t *testing.T) {
	t.Parallel()
	for _, e := range (sample.Generator{Seed: 1, Decimal128: true}).Document(0).Body {
		if _, ok := e.Value.(bson.Decimal128); ok {
			return
		}
	}
	t.Error("a project has no Decimal128 field, though asked for")
}

func BenchmarkDocument(b *testing.B) {
	b.ReportAllocs()
	g := sample.Generator{Seed: 1}
	for i := 0; b.Loop(); i++ {
		g.Document(i)
	}
}
