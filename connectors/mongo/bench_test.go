package mongo

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
)

// The server of these benchmarks sends the same prepared replies over and over. It shares the process, and so the
// allocations and the CPU time of both sides count, but it does nothing for each document.
const (
	benchReplies = 20
	benchSize    = 10_000 // documents in a reply
)

func newBenchServer(b *testing.B, doc func() bson.D) *stub {
	b.Helper()
	prepare := func(id int64, field string) bson.Raw {
		var docs bson.A
		for range benchSize {
			docs = append(docs, doc())
		}
		raw, err := bson.Marshal(cursorReply(id, field, docs))
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	first, next, last := prepare(1, "firstBatch"), prepare(1, "nextBatch"), prepare(0, "nextBatch")
	server := newStub(b)
	var sent atomic.Int64
	server.prepared = func(cmd bson.Raw) bson.Raw {
		e, err := cmd.IndexErr(0)
		if err != nil {
			return nil
		}
		switch e.Key() {
		case "find":
			sent.Store(1)
			return first
		case "getMore":
			if sent.Add(1) == benchReplies {
				return last
			}
			return next
		}
		return nil
	}
	return server
}

func idOnly() bson.D { return bson.D{{Key: "_id", Value: bson.NewObjectID()}} }

func wholeDocument() bson.D {
	return bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "text", Value: string(make([]byte, 1000))}}
}

// measure reports what one document costs.
func measure(b *testing.B, read func() int) {
	b.Helper()
	b.ReportAllocs()
	cpu := cpuTime(b)
	documents := 0
	for b.Loop() {
		n := read()
		if n != benchReplies*benchSize {
			b.Fatal(n)
		}
		documents += n
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(documents), "ns/document")
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(documents), "cpu-ns/document")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRead reads what a server sends through the source, and through the loop that one would write by hand.
func BenchmarkRead(b *testing.B) {
	for name, c := range map[string]struct {
		doc       func() bson.D
		documents bool
	}{
		"ids":       {idOnly, false},
		"documents": {wholeDocument, true},
	} {
		b.Run(name+"/source", func(b *testing.B) {
			server := newBenchServer(b, c.doc)
			s, err := Plugin().OpenSource(b.Context(), config("mongodb://"+server.addr()+"/"), syncd.Env{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			req := syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 1000, Documents: c.documents}
			measure(b, func() int {
				n := 0
				for batch, err := range s.Read(b.Context(), req) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(batch.Changes)
				}
				return n
			})
		})
		b.Run(name+"/by-hand", func(b *testing.B) {
			server := newBenchServer(b, c.doc)
			client, err := mongodriver.Connect(options.Client().ApplyURI("mongodb://" + server.addr() + "/"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = client.Disconnect(b.Context()) })
			coll := client.Database("db").Collection("c")
			type change struct {
				id  string
				doc bson.Raw
			}
			measure(b, func() int {
				cur, err := coll.Find(b.Context(), bson.D{}, options.Find().SetBatchSize(benchSize))
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				batch := make([]change, 0, 1000)
				for cur.Next(b.Context()) {
					id, ok := cur.Current.Lookup("_id").ObjectIDOK()
					if !ok {
						b.Fatal("no id")
					}
					r := change{id: id.Hex()}
					if c.documents {
						r.doc = append(bson.Raw(nil), cur.Current...)
					}
					if batch = append(batch, r); len(batch) == cap(batch) {
						n += len(batch)
						batch = make([]change, 0, 1000) // as for a consumer that keeps it
					}
				}
				if err := cur.Err(); err != nil {
					b.Fatal(err)
				}
				return n + len(batch)
			})
		})
	}
}
