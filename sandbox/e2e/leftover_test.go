package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
)

// TestLeftOverChunks: what a process leaves that is killed between writing a shorter version and deleting what is left over of the one before,
// is named by verify, and the next run repairs it without embedding anything; so it is with what is left of a document that is gone.
func TestLeftOverChunks(t *testing.T) {
	s := direct(t, sandbox.Config{})
	db := database(t, s, "ProjectManagement")
	for _, id := range []string{"whole", "left", "long"} {
		insert(t, db, "page", bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "T"}, {Key: "content", Value: "Some text."}, {Key: "updatedAt", Value: time.Now()}})
	}
	run := func(args ...string) result {
		return syncd(t, append(s.Environ(), "BACKFILL_COLLECTIONS=page"), append(args, "-c", "configs/direct.yaml")...)
	}
	run("run").wants(t, 0)
	c := qdrantOf(t, s)
	want := points(t, c)
	size := len(want[uuid.NewSHA1(uuid.NameSpaceURL, []byte("whole/page/0")).String()].GetVectors().GetVector().GetDense().GetData())
	leave := func(id string, from, to int) {
		t.Helper()
		var left []*qdrant.PointStruct
		for k := from; k < to; k++ {
			left = append(left, &qdrant.PointStruct{
				Id:      qdrant.NewIDUUID(uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/%d", id, k)).String()),
				Vectors: qdrant.NewVectorsDense(make([]float32, size)),
				Payload: qdrant.NewValueMap(map[string]any{
					"mongo_id": id, "parent_id": id, "content_type": "page", "chunk_index": k, "chunk_count": to, "database": "ProjectManagement",
				}),
			})
		}
		if _, err := c.Upsert(t.Context(), &qdrant.UpsertPoints{CollectionName: "pms_collection", Wait: qdrant.PtrOf(true), Points: left}); err != nil {
			t.Fatal(err)
		}
	}
	leave("left", 1, 2)
	leave("long", 1, 60)
	run("verify", "--min-age", "0s").wants(t, 4, `% page left`, `% page long`)
	run("explain", "page", "left").wants(t, 4, "the index holds more chunks of it than chunk 0 says")
	asked := s.Embed.Requests()
	run("run").wants(t, 0)
	if n := s.Embed.Requests() - asked; n != 0 {
		t.Errorf("a repair of what is left over asked the embedder %d times", n)
	}
	if got := points(t, c); len(got) != len(want) {
		t.Errorf("%d points are there, want %d", len(got), len(want))
	}
	run("verify", "--min-age", "0s").wants(t, 0)

	leave("gone", 3, 4) // chunk 0 is not there any more
	run("verify", "--min-age", "0s").wants(t, 4, `gone`)
	run("run", "--prune").wants(t, 0)
	if got := points(t, c); len(got) != len(want) {
		t.Errorf("%d points are there, want %d", len(got), len(want))
	}
	run("verify", "--min-age", "0s").wants(t, 0)
}
