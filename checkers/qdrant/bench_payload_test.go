package qdrant

import (
	"fmt"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// The benchmarks of Read and List, each beside the loop by hand; see bench_test.go. Every point is there and carries what a
// reverse pass needs.

var benchKeys = []string{"mongo_id", "content_type", "updatedAt"}

func benchPoint(i int) *qdrant.RetrievedPoint {
	return &qdrant.RetrievedPoint{Id: qdrant.NewIDUUID(pointID(i).String()), Payload: map[string]*qdrant.Value{
		"mongo_id":     qdrant.NewValueString(fmt.Sprintf("507f1f77bcf86cd7%08x", i)),
		"content_type": qdrant.NewValueString("work_item"),
		"updatedAt":    qdrant.NewValueString("2024-06-10T06:13:20.123Z"),
	}}
}

var benchSizes = []int{1000, 5000}

func benchNS(b *testing.B, points int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/id")
}

// readable serves n points to a lookup.
func readable(b *testing.B, n int) *checker {
	b.Helper()
	r := &qdrant.GetResponse{}
	for i := range n {
		r.Result = append(r.Result, benchPoint(i))
	}
	conf := testConfig(serveEncoded(b, map[string]proto.Message{qdrant.Points_Get_FullMethodName: r}))
	conf.BatchSize = n
	c, _ := opened(b, conf)
	return c
}

func BenchmarkRead(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := readable(b, n)
			asked, found := points(pointIDs(0, n)...), make([]syncd.Found, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Read(b.Context(), asked, benchKeys, found); err != nil {
					b.Fatal(err)
				}
			}
			if !found[n-1].Present || found[n-1].Payload[1].Text != "work_item" {
				b.Fatal(found[n-1])
			}
			benchNS(b, n)
		})
	}
}

func BenchmarkReadFloor(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := readable(b, n)
			asked := points(pointIDs(0, n)...)
			b.ReportAllocs()
			for b.Loop() {
				ids := make([]*qdrant.PointId, len(asked))
				for i, p := range asked {
					ids[i] = qdrant.NewIDUUID(p.ID.String())
				}
				found, err := c.client.Get(b.Context(), &qdrant.GetPoints{
					CollectionName: collection,
					Ids:            ids,
					WithPayload:    qdrant.NewWithPayloadInclude(benchKeys...),
					WithVectors:    qdrant.NewWithVectors(false),
				})
				if err != nil {
					b.Fatal(err)
				}
				payloads := make(map[string]map[string]*qdrant.Value, len(found))
				for _, p := range found {
					payloads[p.GetId().GetUuid()] = p.GetPayload()
				}
				for _, id := range ids {
					for _, k := range benchKeys {
						if payloads[id.GetUuid()][k].GetStringValue() == "" {
							b.Fatal(id)
						}
					}
				}
			}
			benchNS(b, n)
		})
	}
}

// listable serves one page of n points.
func listable(b *testing.B, n int) *checker {
	b.Helper()
	r := &qdrant.ScrollResponse{}
	for _, id := range sorted(pointIDs(0, n)) {
		p := benchPoint(0)
		p.Id = qdrant.NewIDUUID(id.String())
		r.Result = append(r.Result, p)
	}
	conf := testConfig(serveEncoded(b, map[string]proto.Message{qdrant.Points_Scroll_FullMethodName: r}))
	conf.BatchSize = n
	c, _ := opened(b, conf)
	return c
}

func BenchmarkList(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := listable(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if got, err := list(b, c, syncd.ListRequest{Keys: benchKeys}); err != nil || len(got) != n {
					b.Fatal(len(got), err)
				}
			}
			benchNS(b, n)
		})
	}
}

func BenchmarkListFloor(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := listable(b, n)
			b.ReportAllocs()
			for b.Loop() {
				page, _, err := c.client.ScrollAndOffset(b.Context(), &qdrant.ScrollPoints{
					CollectionName: collection,
					Limit:          new(uint32(n)),
					WithPayload:    qdrant.NewWithPayloadInclude(benchKeys...),
					WithVectors:    qdrant.NewWithVectors(false),
				})
				if err != nil || len(page) != n {
					b.Fatal(len(page), err)
				}
				ids := make([]string, 0, n)
				for _, p := range page {
					ids = append(ids, p.GetPayload()["mongo_id"].GetStringValue())
				}
				if ids[n-1] == "" {
					b.Fatal(page[n-1])
				}
			}
			benchNS(b, n)
		})
	}
}
