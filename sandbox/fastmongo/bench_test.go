package fastmongo_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// rawClient is as little of a client as can ask: what it costs is the least that any client costs.
type rawClient struct {
	net.Conn
	in, out []byte
}

func dialRaw(b testing.TB, s *fastmongo.Server) *rawClient {
	b.Helper()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", s.Addr())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return &rawClient{Conn: c}
}

// ask sends a command and returns the reply's document, which the next call overwrites.
func (c *rawClient) ask(b testing.TB, cmd bson.D) []byte {
	b.Helper()
	doc, err := bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "db"}))
	if err != nil {
		b.Fatal(err)
	}
	start, out := wiremessage.AppendHeaderStart(c.out[:0], 1, 0, wiremessage.OpMsg)
	out = wiremessage.AppendMsgSectionType(wiremessage.AppendMsgFlags(out, 0), wiremessage.SingleDocument)
	out = append(out, doc...)
	binary.LittleEndian.PutUint32(out[start:], uint32(len(out)))
	c.out = out
	if _, err := c.Write(out); err != nil {
		b.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		b.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint32(size[:])) - 4
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	if _, err := io.ReadFull(c, c.in); err != nil {
		b.Fatal(err)
	}
	return c.in[17:]
}

// cursorID is that of a find's or getMore's reply. It stands near its end, so the batch in front need not be read.
func cursorID(b testing.TB, reply []byte) int64 {
	b.Helper()
	const tail = "\x12id\x00" // then the id, ns and ok
	for i := len(reply) - len(tail) - 8; i > 0; i-- {
		if string(reply[i:i+len(tail)]) == tail {
			return int64(binary.LittleEndian.Uint64(reply[i+len(tail):]))
		}
	}
	b.Fatal("a reply without a cursor")
	return 0
}

func (c *rawClient) scan(b *testing.B, projection bson.D, batchSize int) {
	b.Helper()
	find := bson.D{{Key: "find", Value: "c"}, {Key: "sort", Value: byID}, {Key: "hint", Value: byID}, {Key: "batchSize", Value: batchSize}}
	if projection != nil {
		find = append(find, bson.E{Key: "projection", Value: projection})
	}
	for id := cursorID(b, c.ask(b, find)); id != 0; {
		id = cursorID(b, c.ask(b, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "batchSize", Value: batchSize}}))
	}
}

const benchDocuments = 1_000_000

func benchServer(b *testing.B) *fastmongo.Server {
	b.Helper()
	s := start(b, fastmongo.Config{})
	if err := s.Generate("db.c", fastmongo.Documents(benchDocuments, 2000)); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkIDs reads ids only: "raw" is what the server can do, "driver" what a client with the driver sees of it.
func BenchmarkIDs(b *testing.B) {
	s := benchServer(b)
	for _, size := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("raw/%d", size), func(b *testing.B) {
			c := dialRaw(b, s)
			for b.Loop() {
				c.scan(b, byID, size)
			}
			b.ReportMetric(float64(b.N)*benchDocuments/b.Elapsed().Seconds(), "ids/s")
		})
	}
	coll := connect(b, s.URI()).Database("db").Collection("c")
	for _, size := range []int32{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("driver/%d", size), func(b *testing.B) {
			for b.Loop() {
				cur, err := coll.Find(b.Context(), bson.D{}, idsOnly().SetBatchSize(size))
				if n, _ := drain(b, cur, err); n != benchDocuments {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(b.N)*benchDocuments/b.Elapsed().Seconds(), "ids/s")
		})
	}
}

// BenchmarkDocuments reads whole documents of 2000 bytes.
func BenchmarkDocuments(b *testing.B) {
	s := benchServer(b)
	b.Run("raw", func(b *testing.B) {
		c := dialRaw(b, s)
		b.SetBytes(benchDocuments * 2000)
		for b.Loop() {
			c.scan(b, nil, 1000)
		}
	})
	coll := connect(b, s.URI()).Database("db").Collection("c")
	b.Run("driver", func(b *testing.B) {
		b.SetBytes(benchDocuments * 2000)
		for b.Loop() {
			cur, err := coll.Find(b.Context(), bson.D{}, options.Find().SetSort(byID).SetBatchSize(1000))
			drain(b, cur, err)
		}
	})
}

// BenchmarkField reads _id and one field, for which the server makes each document and cuts it down.
func BenchmarkField(b *testing.B) {
	s := benchServer(b)
	c := dialRaw(b, s)
	for b.Loop() {
		c.scan(b, bson.D{{Key: "_id", Value: 1}, {Key: "updatedAt", Value: 1}}, 10_000)
	}
	b.ReportMetric(float64(b.N)*benchDocuments/b.Elapsed().Seconds(), "documents/s")
}

// BenchmarkIn fetches a thousand documents by _id.
func BenchmarkIn(b *testing.B) {
	s := benchServer(b)
	g := fastmongo.Documents(benchDocuments, 2000)
	var ids bson.A
	for i := range 1000 {
		t, data := g.ID(i*997, nil)
		ids = append(ids, bson.RawValue{Type: t, Value: data})
	}
	find := bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}}, {Key: "batchSize", Value: 1001}}
	c := dialRaw(b, s)
	for b.Loop() {
		if cursorID(b, c.ask(b, find)) != 0 {
			b.Fatal("a cursor is left")
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "documents/s")
}

const benchEvents = 200_000

// BenchmarkChangeStream reads inserts of 500 bytes: "raw" is what the server can do, "driver" what a client with the driver sees
// of it; "live" has them written meanwhile, "write" only written.
func BenchmarkChangeStream(b *testing.B) {
	s, c := replicaSet(b, fastmongo.Config{})
	start := s.OperationTime()
	docs := make([]any, benchEvents)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "body", Value: string(make([]byte, 460))}}
	}
	if err := s.Insert("db.c", docs...); err != nil {
		b.Fatal(err)
	}
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
	}
	for name, stages := range map[string]bson.A{"raw": {}, "raw, matched": {bson.D{{Key: "$match", Value: bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$in", Value: bson.A{"c", "d"}}}}}}}}} {
		b.Run(name, func(b *testing.B) {
			raw := dialRaw(b, s)
			pipeline := append(bson.A{bson.D{{Key: "$changeStream", Value: bson.D{{Key: "startAtOperationTime", Value: bson.Timestamp{T: start.T, I: start.I + 1}}}}}}, stages...)
			for b.Loop() {
				reply := raw.ask(b, bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: pipeline}, {Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 0}}}})
				for id := cursorID(b, reply); len(reply) > 1000 || bson.Raw(reply).Lookup("cursor", "firstBatch").Type != 0; {
					reply = raw.ask(b, bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "maxTimeMS", Value: 1}})
				}
			}
			report(b)
		})
	}
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			cs, err := c.Watch(b.Context(), bson.A{}, options.ChangeStream().SetStartAtOperationTime(&bson.Timestamp{T: start.T, I: start.I + 1}).SetBatchSize(5000))
			if err != nil {
				b.Fatal(err)
			}
			for range benchEvents {
				if !cs.Next(b.Context()) {
					b.Fatal(cs.Err())
				}
			}
			_ = cs.Close(b.Context())
		}
		report(b)
	})
	b.Run("live", func(b *testing.B) { // written while they are read
		for b.Loop() {
			s, c := replicaSet(b, fastmongo.Config{})
			cs, err := c.Watch(b.Context(), bson.A{})
			if err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for part := range slices.Chunk(docs, 100) {
					if err := s.Insert("db.c", part...); err != nil {
						b.Error(err)
					}
				}
			})
			for range benchEvents {
				if !cs.Next(b.Context()) {
					b.Fatal(cs.Err())
				}
			}
			wg.Wait()
			_ = cs.Close(b.Context())
		}
		report(b)
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			s, _ := replicaSet(b, fastmongo.Config{})
			if err := s.Insert("db.c", docs...); err != nil {
				b.Fatal(err)
			}
		}
		report(b)
	})
}
