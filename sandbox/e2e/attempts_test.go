package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
)

// TestAttempts has five documents that are never indexed, with two attempts each.
func TestAttempts(t *testing.T) {
	never := []string{"doc-00001", "doc-00012", "doc-00020", "doc-00033", "doc-00039"}
	s := indexed(t, sandbox.Config{Embed: refusing(never...)})
	db := database(t, s, "ProjectManagement")
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, d := range textDocs(40) {
		insert(t, db, "page", append(d.(bson.D), bson.E{Key: "updatedAt", Value: at}))
	}
	state := t.TempDir()
	environ := append(s.Environ(), "XDG_STATE_HOME="+state, "BACKFILL_COLLECTIONS=page")
	file := overlay(t, `
mapping:
  version: {field: updatedAt, payload: updatedAt}
run:
  attempts: {max: 2}
  wait_timeout: 0
`)
	total := 0
	run := func(what string, sent int, patterns []string, args ...string) {
		t.Helper()
		r := syncd(t, environ, append([]string{"run", "-c", file}, args...)...)
		r.wants(t, 0, patterns...)
		total += sent
		if n := len(records(t, s)); n != total {
			t.Fatalf("%s: %d events were sent in all, want %d: %s", what, n, total, r)
		}
	}
	left := []string{`^Left alone, since Qdrant never showed them .*: 5 documents$`, `^  page doc-00001: sent \d times, last on 20`, `^  Never indexed, left alone +5 *$`}
	run("first", 40, []string{`^Complete: 40 events sent`})
	if err := s.AwaitIndexed(t.Context()); err != nil {
		t.Fatal(err)
	}
	run("second", 5, []string{`^Complete: 5 events sent`})
	run("third", 0, append(left, `^Complete: nothing had to be sent$`), "--detail", "full")
	run("dry", 0, left, "--dry-run")
	run("retry", 5, []string{`^Complete: 5 events sent`}, "--retry-unindexed")
	run("after the retry", 0, left, "--detail", "full")
	if _, err := db.Collection("page").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "doc-00012"}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "updatedAt", Value: at.Add(time.Hour)}}}}); err != nil {
		t.Fatal(err)
	}
	run("updated", 1, []string{`: 4 documents$`, `^Complete: 1 event sent`})
	if n := sent(t, s)["ProjectManagement.page doc-00012"]; n != 4 {
		t.Errorf("the updated document was sent %d times", n)
	}
	files, err := filepath.Glob(filepath.Join(state, "syncd", "attempts-pms_collection-*.db"))
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}
