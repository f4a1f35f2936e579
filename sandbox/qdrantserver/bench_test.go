package qdrantserver_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// BenchmarkGet is the whole way of an existence check, both ends in this process: half of the ids exist. The
// time per id is the ceiling of whatever is measured against this server.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("ids=%d", size), func(b *testing.B) {
			server, err := qdrantserver.Start(qdrantserver.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			client, err := newClient(server.Addr(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			if err := createCollection(b.Context(), client); err != nil {
				b.Fatal(err)
			}
			ids := make([]*qdrant.PointId, size)
			var present []*qdrant.PointStruct
			for i := range ids {
				ids[i] = qdrant.NewIDUUID(uuid.NewString())
				if i%2 == 0 {
					present = append(present, &qdrant.PointStruct{Id: ids[i], Vectors: qdrant.NewVectors(3, 4)})
				}
			}
			wait := true
			if _, err := client.Upsert(b.Context(), &qdrant.UpsertPoints{CollectionName: "c", Wait: &wait, Points: present}); err != nil {
				b.Fatal(err)
			}
			req := &qdrant.GetPoints{CollectionName: "c", Ids: ids}
			b.ReportAllocs()
			for b.Loop() {
				if found, err := client.Get(b.Context(), req); err != nil || len(found) != len(present) {
					b.Fatalf("got %d points and error %v", len(found), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/id")
		})
	}
}
