package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
)

// truthful writes a configuration that looks at versions and chunks.
func truthful(t *testing.T, more string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "truth.yaml")
	text := `extends: ` + filepath.Join(root, "configs/sandbox.yaml") + `
mapping:
  version: {field: [updatedAt, createdAt], payload: updatedAt}
  chunks: {payload: chunk_count}
  owner: {exclusive: true}
run:
  wait_timeout: 5s
` + more
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// index connects a Qdrant client of the test's own.
func index(t *testing.T, s *sandbox.Sandbox) *qdrant.Client {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Qdrant.Addr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c, err := qdrant.NewClient(&qdrant.Config{Host: host, Port: n, SkipCompatibilityCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestTruth is the life of an index: documents are updated, deleted, half lost, added, and some can never be indexed.
func TestTruth(t *testing.T) {
	const total, updated, deleted, broken, added, never = 1600, 40, 30, 25, 20, 5
	s := indexed(t, sandbox.Config{Embed: refusing("never-"), Indexer: sandbox.IndexerConfig{ChunkSize: 1000}})
	if err := s.Load(t.Context(), 0, total); err != nil {
		t.Fatal(err)
	}
	config := truthful(t, "  attempts: {max: 2, file: "+filepath.Join(t.TempDir(), "attempts.db")+"}\n")
	syncd(t, s.Environ(), "run", "-c", config).wants(t, 0, `^Complete: 1600 events sent`)
	if err := s.AwaitIndexed(t.Context()); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "verify", "-c", config, "--min-age", "0s").wants(t, 0, `^Equal: `, `^Total +1600 +1600 +100.00%`)
	before := len(records(t, s))

	// The points of chunk 2 of some documents are lost.
	client := index(t, s)
	points, err := client.Scroll(t.Context(), &qdrant.ScrollPoints{
		CollectionName: "pms_collection", Limit: qdrant.PtrOf(uint32(broken)), WithPayload: qdrant.NewWithPayload(true),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchInt("chunk_index", 2)}},
	})
	if err != nil || len(points) != broken {
		t.Fatalf("%d documents have three chunks, %v", len(points), err)
	}
	partial := map[string]bool{}
	var lost []*qdrant.PointId
	for _, p := range points {
		partial[p.Payload["mongo_id"].GetStringValue()] = true
		lost = append(lost, p.Id)
	}
	if _, err := client.Delete(t.Context(), &qdrant.DeletePoints{
		CollectionName: "pms_collection", Wait: qdrant.PtrOf(true), Points: qdrant.NewPointsSelectorIDs(lost),
	}); err != nil {
		t.Fatal(err)
	}
	// Of the others, some are updated and some are deleted.
	db := database(t, s, "ProjectManagement")
	cursor, err := db.Collection("workItem").Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct {
		ID bson.ObjectID `bson:"_id"`
	}
	if err := cursor.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	touched := 0
	for _, d := range docs {
		if partial[d.ID.Hex()] || touched == updated+deleted {
			continue
		}
		if touched++; touched <= updated {
			_, err = db.Collection("workItem").UpdateByID(t.Context(), d.ID, bson.D{{Key: "$set", Value: bson.D{{Key: "updatedAt", Value: time.Now()}}}})
		} else {
			_, err = db.Collection("workItem").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: d.ID}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var fresh []any
	for i := range added {
		fresh = append(fresh, bson.D{{Key: "_id", Value: fmt.Sprintf("new-%d", i)}, {Key: "title", Value: "New"}, {Key: "updatedAt", Value: time.Now()}})
	}
	for i := range never {
		fresh = append(fresh, bson.D{{Key: "_id", Value: fmt.Sprintf("never-%d", i)}, {Key: "title", Value: "x"}, {Key: "content", Value: "never-ever"}})
	}
	insert(t, db, "page", fresh...)

	plan := filepath.Join(t.TempDir(), "plan.ndjson")
	r := syncd(t, s.Environ(), "plan", "-c", config, "-o", plan)
	r.wants(t, 0, fmt.Sprintf(`^Total +%d +%d +%d +%d +%d +%d +%d +\d+ *$`,
		total-deleted+added+never, total-updated-deleted-broken, added+never, updated, broken, deleted, added+never+updated+broken))
	data, err := os.ReadFile(plan)
	if err != nil {
		t.Fatal(err)
	}
	sigils := map[string]int{}
	for line := range strings.Lines(string(data)) {
		var l struct{ Sigil string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		sigils[l.Sigil]++
	}
	if sigils["+"] != added+never || sigils["~"] != updated || sigils["%"] != broken || sigils["-"] != deleted || sigils["="] != 0 {
		t.Errorf("the plan has %v", sigils)
	}
	if n := len(records(t, s)); n != before {
		t.Fatalf("the plan sent %d events", n-before)
	}
	differences := filepath.Join(t.TempDir(), "differences.ndjson")
	syncd(t, s.Environ(), "verify", "-c", config, "--min-age", "100ms", "-o", differences).wants(t, 4, fmt.Sprintf(`differs from the source in %d documents`, added+never+updated+broken+deleted))
	syncd(t, s.Environ(), "run", "-c", config, "--plan", differences, "--dry-run").wants(t, 0, fmt.Sprintf(`a run would send %d events`, added+never+updated+broken))
	syncd(t, s.Environ(), "explain", "-c", config, "page", "new-1").wants(t, 4, `^verdict +missing: `)

	r = syncd(t, s.Environ(), "run", "-c", config, "--plan", plan, "--prune")
	r.wants(t, 0, fmt.Sprintf(`^Complete: %d events and 30 deletes sent`, added+never+updated+broken))
	if n := len(records(t, s)) - before; n != added+never+updated+broken+deleted {
		t.Errorf("the plan sent %d events", n)
	}
	if err := s.AwaitIndexed(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = syncd(t, s.Environ(), "verify", "-c", config, "--min-age", "2s")
	r.wants(t, 4, `differs from the source in 5 documents`, `^  \+ page never-`)
	// A third run sends what the attempts allow, and after that nothing.
	syncd(t, s.Environ(), "run", "-c", config, "--prune").wants(t, 0, `^Complete: 5 events sent`)
	syncd(t, s.Environ(), "run", "-c", config, "--prune").wants(t, 0, `^Complete: nothing had to be sent`, `^Left alone, .*: 5 documents$`)
	syncd(t, s.Environ(), "verify", "-c", config).wants(t, 0, `^Equal but for 5 unindexed: `)
	syncd(t, s.Environ(), "explain", "-c", config, "page", "new-1").wants(t, 0, `^verdict +present: `)
}

// TestDrift changes one character of the seed where the index is populated.
func TestDrift(t *testing.T) {
	s := indexed(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 200); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "run", "-c", config).wants(t, 0, `^Complete: 200 events sent`)
	if err := s.AwaitIndexed(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := len(records(t, s))
	file := filepath.Join(t.TempDir(), "drift.yaml")
	text := "extends: " + filepath.Join(root, config) + "\nmapping: {seed: \"{mongo_id}/{content_type}:{chunk_index}\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := syncd(t, s.Environ(), "run", "-c", file)
	r.wants(t, 4, `^error: stopped before anything was sent: the ids have drifted`, `^hint: .*mapping.seed`)
	if n := len(records(t, s)); n != before {
		t.Errorf("%d events were sent", n-before)
	}
	// The documents are there under another content type, or under other payload keys.
	for name, c := range map[string]struct{ mapping, says string }{
		"another case": {"{collections: {workItem: Work_Item, page: Page}}", `as content_type "(work_item|page)".*; looked for: content_type "(Work_Item|Page)".*; the index holds: content_type .*"page" \(\d+\)`},
		"more behind":  {"{collections: {page: \"page\\u00a0x\"}}", `as content_type "page".*; looked for: content_type "page\\u00a0x"`},
		"other keys":   {"{payload: {content_type: meta.type, id: meta.id, chunk_index: chunk}, seed: \"{mongo_id}/{content_type}:{chunk_index}\"}", `looked for: meta.type "[a-z_]+", payload keys meta.type, meta.id, chunk; the index holds.* payload keys .*content_type`},
	} {
		file := filepath.Join(t.TempDir(), "elsewhere.yaml")
		if err := os.WriteFile(file, []byte("extends: "+filepath.Join(root, config)+"\nmapping: "+c.mapping+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		syncd(t, s.Environ(), "run", "-c", file).wants(t, 4, `^error: stopped by a guard: nothing was sent: .*`+c.says, `^hint: .*--allow-drift`)
		if n := len(records(t, s)); n != before {
			t.Errorf("%s: %d events were sent", name, n-before)
		}
	}
	// Both ids of one document are named, and they are right.
	for line := range strings.Lines(r.stderr) {
		_, rest, ok := strings.Cut(line, `the seed "`)
		if !ok {
			continue
		}
		seed, rest, _ := strings.Cut(rest, `" gives point id `)
		computed, rest, _ := strings.Cut(rest, ", but the index holds it as ")
		held, _, _ := strings.Cut(rest, " ")
		if uuid.NewSHA1(uuid.NameSpaceURL, []byte(seed)).String() != computed ||
			uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.Replace(seed, ":", "/", 1))).String() != held {
			t.Errorf("ids in %q", line)
		}
	}
}
