package rows

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

func marshal(t testing.TB, doc any) bson.Raw {
	t.Helper()
	b, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func add(b *Builder, key string, doc bson.Raw) {
	id, _ := doc.LookupErr("_id")
	b.Add([]byte(key), id, doc)
}

func TestBatchesAreIndependent(t *testing.T) {
	b := New(syncd.ReadRequest{Fields: []string{"f", "absent", "null"}, Documents: true, BatchSize: 2})
	var batches [][]syncd.Change
	var want []string
	for i := range 6 {
		doc := marshal(t, bson.D{{Key: "_id", Value: i}, {Key: "f", Value: fmt.Sprint("text ", i)}, {Key: "null", Value: nil}})
		add(b, fmt.Sprint("key ", i), doc)
		for j := range doc {
			doc[j] = 0xff // as a cursor does that reuses its buffer
		}
		want = append(want, fmt.Sprintf(`key %d %d [{text %d true} { false} { false}] {"_id":"%d","f":"text %d","null":null}`, i, i, i, i, i))
		if b.Full() != (b.Len() == 2) {
			t.Errorf("%d changes: Full is %v", b.Len(), b.Full())
		}
		if b.Full() {
			batches = append(batches, b.Take())
		}
	}
	var got []string
	for _, batch := range batches {
		for _, c := range batch {
			json, err := c.Document.AppendJSON(nil, syncd.Plain)
			if err != nil || c.Err != nil {
				t.Fatal(err, c.Err)
			}
			got = append(got, fmt.Sprintf("%s %s %v %s", c.Key, c.ID, c.Fields, json))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsLeaveTheirNeighboursAlone(t *testing.T) {
	b := New(syncd.ReadRequest{Fields: []string{"f", "g"}, Documents: true, BatchSize: 10})
	b.Place = func() string { return "here" }
	damaged := marshal(t, bson.D{{Key: "x", Value: 1}, {Key: "_id", Value: 1}})
	damaged[4] = 0x77
	add(b, "1", marshal(t, bson.D{{Key: "_id", Value: "a"}, {Key: "f", Value: "1"}, {Key: "g", Value: "2"}}))
	add(b, "2", marshal(t, bson.D{{Key: "_id", Value: "b"}, {Key: "f", Value: "1"}, {Key: "g", Value: "\xff"}}))
	add(b, "3", marshal(t, bson.D{{Key: "f", Value: "1"}}))
	b.Add([]byte("4"), bson.RawValue{}, damaged)
	b.Fail([]byte("5"), fmt.Errorf("line 7"))
	add(b, "6", marshal(t, bson.D{{Key: "_id", Value: "twice"}, {Key: "f", Value: "1"}, {Key: "_id", Value: 7}}))
	add(b, "7", marshal(t, bson.D{{Key: "_id", Value: "c"}, {Key: "g", Value: "3"}}))
	var got []string
	for _, c := range b.Take() {
		got = append(got, fmt.Sprintf("%s %q %v %v %v %v", c.Key, c.ID, c.Fields, c.Document != nil, errors.Is(c.Err, syncd.ErrNoID), c.Err))
	}
	want := []string{
		`1 "a" [{1 true} {2 true}] true false <nil>`,
		`2 "b" [] true false looking up "g": string is not valid UTF-8`,
		`3 "" [] true true here: no _id`,
		`4 "" [] true true here: looking up "_id": field "x": malformed BSON: unknown type 0x77`,
		`5 "" [] false true line 7`,
		`6 "" [] true true here: two fields _id`,
		`7 "c" [{ false} {3 true}] true false <nil>`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBatchBytes(t *testing.T) {
	doc := marshal(t, bson.D{{Key: "_id", Value: 1}, {Key: "pad", Value: string(bytes.Repeat([]byte("x"), 1000))}})
	for documents, want := range map[bool]int{true: 5, false: 100} {
		b := New(syncd.ReadRequest{Documents: documents, BatchSize: 100, BatchBytes: 5000})
		for !b.Full() {
			add(b, "k", doc)
		}
		if b.Len() != want {
			t.Errorf("documents %v: %d changes", documents, b.Len())
		}
	}
}

func TestLargeDocumentsAreCopiedAlone(t *testing.T) {
	var c Copies
	for _, n := range []int{1, blockSize / 8, blockSize/4 + 1, blockSize, 3 * blockSize} {
		raw := marshal(t, bson.D{{Key: "pad", Value: string(bytes.Repeat([]byte("x"), n))}})
		d := c.Document(raw)
		raw[len(raw)-5] = 'y'
		v, err := d.Lookup("pad")
		if err != nil || len(v.Text) != n || strings.ContainsRune(v.Text, 'y') || d.Size() != len(raw) {
			t.Errorf("%d bytes: %d came back, %v", n, len(v.Text), err)
		}
	}
}

func TestAllocations(t *testing.T) {
	doc := marshal(t, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "f", Value: "text"}, {Key: "pad", Value: string(make([]byte, 200))}})
	id := doc.Lookup("_id")
	key := []byte("0123456789abc")
	for _, documents := range []bool{false, true} {
		b := New(syncd.ReadRequest{Fields: []string{"f"}, Documents: documents, BatchSize: 1000})
		n := testing.AllocsPerRun(20, func() {
			for !b.Full() {
				b.Add(key, id, doc)
			}
			b.Take()
		})
		if n > 30 { // per batch of 1000
			t.Errorf("documents %v: %v allocations per batch", documents, n)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	doc := marshal(b, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "pad", Value: string(make([]byte, 2000))}})
	id := doc.Lookup("_id")
	for name, documents := range map[string]bool{"ids": false, "documents": true} {
		b.Run(name, func(b *testing.B) {
			r := New(syncd.ReadRequest{Documents: documents, BatchSize: 1000})
			b.ReportAllocs()
			for b.Loop() {
				r.Add(id.Value, id, doc)
				if r.Full() {
					r.Take()
				}
			}
		})
	}
}

func TestAPoolsBuildersAreLikeNewOnes(t *testing.T) {
	var p Pool
	first := p.New(syncd.ReadRequest{Fields: []string{"f"}, Documents: true, BatchSize: 10})
	add(first, "1", marshal(t, bson.D{{Key: "_id", Value: "a"}, {Key: "f", Value: "x"}}))
	kept := first.Take()
	first.Fail([]byte("2"), errors.New("line 7"))
	add(first, "3", marshal(t, bson.D{{Key: "_id", Value: "left behind"}, {Key: "f", Value: "y"}}))
	p.Put(first)
	for range 10 { // a sync.Pool may forget, so several are tried
		b := p.New(syncd.ReadRequest{BatchSize: 2})
		if cap(b.entries) > 0 {
			for _, e := range b.entries[:cap(b.entries)] {
				if e.err != nil {
					t.Errorf("it holds on to an error: %v", e.err)
				}
			}
		}
		add(b, "key", marshal(t, bson.D{{Key: "_id", Value: "bb"}, {Key: "f", Value: "zz"}}))
		got := b.Take()
		if len(got) != 1 || got[0].Key != "key" || got[0].ID != "bb" || got[0].Err != nil || got[0].Document != nil || got[0].Fields != nil {
			t.Errorf("%+v", got)
		}
		p.Put(b)
	}
	if c := kept[0]; c.Key != "1" || c.ID != "a" || c.Fields[0].Text != "x" || c.Document == nil {
		t.Errorf("what was taken has changed: %+v", c)
	}
}
