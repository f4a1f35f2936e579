package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// planned is what a plan says in JSON.
type planned struct {
	Total struct {
		Stale      int64 `json:"stale"`
		Missing    int64 `json:"missing"`
		OtherModel int64 `json:"other_model"`
	} `json:"total"`
	Embed struct {
		Model     string  `json:"model"`
		Tokens    int64   `json:"tokens"`
		Texts     int64   `json:"texts"`
		Unchanged int64   `json:"unchanged_texts"`
		Cost      float64 `json:"cost"`
		Documents int64   `json:"documents"`
		Read      int64   `json:"documents_read"`
		CountedBy string  `json:"counted_by"`
		Estimate  bool    `json:"estimate"`
		Asked     bool    `json:"asked"`
	} `json:"embed"`
	Differences []struct {
		Why string `json:"why"`
	} `json:"differences"`
}

func plan(t *testing.T, s *sandbox.Sandbox, args ...string) (p planned) {
	t.Helper()
	r := syncd(t, s.Environ(), append([]string{"plan", "-o", "json"}, args...)...)
	r.wants(t, 0)
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return p
}

// TestPlanCountsTokens: a plan says how many texts and tokens a run would have embedded, which is what the run then has embedded, and leaves
// out what the index holds already.
func TestPlanCountsTokens(t *testing.T) {
	s := direct(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 200); err != nil {
		t.Fatal(err)
	}
	file := configFile(t, "extends: $ROOT/configs/direct.yaml\nstages: {embed: {price_per_million: 20}}\n")
	p := plan(t, s, "-c", file)
	e := p.Embed
	if e.Documents != 200 || e.Read != 200 || e.Texts < 200 || e.Unchanged != 0 || e.Model != "all-minilm" || e.CountedBy != "cl100k_base" || e.Estimate || !e.Asked {
		t.Errorf("the plan says %+v", e)
	}
	if want := float64(e.Tokens) * 20 / 1e6; e.Tokens < 2000 || e.Cost < want-1e-9 || e.Cost > want+1e-9 {
		t.Errorf("%d tokens cost %v", e.Tokens, e.Cost)
	}
	if s.Embed.Requests() != 0 {
		t.Errorf("a plan asked the embedder %d times", s.Embed.Requests())
	}
	syncd(t, s.Environ(), "plan", "-c", file).wants(t, 0, `^A run would send 200 events$`,
		fmt.Sprintf(`^It would embed %d tokens, (about|less than) \$0\.\d\d, in %d texts by all-minilm$`, e.Tokens, e.Texts), `^Tokens are counted by cl100k_base$`)
	syncd(t, s.Environ(), "run", "-c", file).wants(t, 0, fmt.Sprintf(`Embedded: %d texts of \d+ tokens in \d+ requests? by all-minilm, (about|less than) \$0`, e.Texts+1)) // and one to learn the dimensions

	// Nothing is to be done; and of a long document that is changed at its end, only the end is embedded.
	if p := plan(t, s, "-c", file); p.Embed.Tokens != 0 || p.Embed.Documents != 0 {
		t.Errorf("with nothing to do: %+v", p.Embed)
	}
	db := database(t, s, "ProjectManagement")
	long := strings.Repeat("Every sentence of this page says something of its own. ", 400)
	at := time.Now()
	insert(t, db, "page", bson.D{{Key: "_id", Value: "long"}, {Key: "title", Value: "Long"}, {Key: "content", Value: long}, {Key: "updatedAt", Value: at}})
	syncd(t, s.Environ(), "run", "-c", file).wants(t, 0)
	if _, err := db.Collection("page").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: "long"}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "content", Value: long + "And this is new."}, {Key: "updatedAt", Value: at.Add(time.Second)},
	}}}); err != nil {
		t.Fatal(err)
	}
	before := s.Embed.Texts()
	p = plan(t, s, "-c", file)
	syncd(t, s.Environ(), "plan", "-c", file).wants(t, 0, `in 1 text by all-minilm; \d+ texts are unchanged and would not be embedded again$`)
	syncd(t, s.Environ(), "run", "-c", file).wants(t, 0)
	if n := s.Embed.Texts() - before; p.Embed.Texts != 1 || n != 1 || p.Embed.Unchanged < 5 || p.Total.Stale != 1 || p.Total.OtherModel != 0 {
		t.Errorf("the plan says %+v, and %d texts were embedded", p, n)
	}
}

// configFile writes a configuration; $ROOT in it is the repository.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), strings.ReplaceAll(t.Name(), "/", "-")+".yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "$ROOT", root)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAnotherModel: documents of another model are stale by it, which plan and verify say. A run embeds them again, no faster than limits
// allows, resumes where it was killed, and leaves none; what it embedded it does not embed again.
func TestAnotherModel(t *testing.T) {
	const documents, perSecond = 240, 60
	var held atomic.Int64 // texts after which the embedder does not answer any more; 0 answers
	var asked atomic.Int64
	s := direct(t, sandbox.Config{Embed: embedserver.Config{Fault: func(_ http.ResponseWriter, r *http.Request, input []string) bool {
		if n := asked.Add(int64(len(input))); held.Load() > 0 && n > held.Load() {
			<-r.Context().Done()
			return true
		}
		return false
	}}})
	if err := s.Load(t.Context(), 0, documents); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "run", "-c", "configs/direct.yaml").wants(t, 0)
	chunks := int64(len(points(t, qdrantOf(t, s))))

	other := configFile(t, fmt.Sprintf(`
extends: $ROOT/configs/direct.yaml
stages: {embed: {model: another, version: "2"}}
limits: {documents_per_second: %d}
run: {batch_size: 20}
`, perSecond))
	p := plan(t, s, "-c", other)
	if p.Total.Stale != documents || p.Total.OtherModel != documents || p.Total.Missing != 0 || p.Embed.Texts != chunks || p.Embed.Unchanged != 0 || p.Embed.Model != "another@2" {
		t.Errorf("the plan says %+v, %+v", p.Total, p.Embed)
	}
	if len(p.Differences) == 0 || p.Differences[0].Why != "the index holds it with vectors of another model" {
		t.Errorf("the first of %d differences: %.1v", len(p.Differences), p.Differences)
	}
	syncd(t, s.Environ(), "plan", "-c", other).wants(t, 0, fmt.Sprintf("^Of %d stale documents, %d with vectors of another model", documents, documents))
	syncd(t, s.Environ(), "verify", "-c", other, "--min-age", "0s").wants(t, 4, `^  ~ \w+ \S+ [-0-9a-f]{36} of another model$`,
		fmt.Sprintf("^Of %d stale documents, %d with vectors of another model", documents, documents))

	models := func() map[string]int {
		out := map[string]int{}
		for _, p := range points(t, qdrantOf(t, s)) {
			out[p.GetPayload()["embedding_model"].GetStringValue()]++
		}
		return out
	}

	// Killed in the middle of it, and run again.
	began, before := time.Now(), s.Embed.Texts()
	asked.Store(0)
	held.Store(documents / 4)
	run, stdout, stderr := command(t.Context(), s.Environ(), "run", "-c", other)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); asked.Load() <= documents/4 || models()["another@2"] == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is embedded\n%s\n%s", stdout, stderr)
		}
	}
	if err := run.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait()
	held.Store(0)
	half := models()
	if half["another@2"] == 0 || half["all-minilm"] == 0 {
		t.Fatalf("when it was killed the index held %v", half)
	}
	if left := plan(t, s, "-c", other).Total.OtherModel; left == 0 || left >= documents {
		t.Errorf("behind the kill, %d are of another model", left)
	}
	syncd(t, s.Environ(), "run", "-c", other).wants(t, 0, "^Resuming the run that was interrupted", "^Complete: ")
	// Each process may read a second's documents at once.
	if took, least := time.Since(began), time.Duration(documents/perSecond-2)*time.Second; took < least {
		t.Errorf("%d documents took %s where limits allows %d a second", documents, took, perSecond)
	}
	if got := models(); got["another@2"] != int(chunks) || len(got) != 1 {
		t.Errorf("the index holds %v", got)
	}
	syncd(t, s.Environ(), "verify", "-c", other).wants(t, 0)
	// What was embedded and not written when it was killed is embedded twice.
	if n := s.Embed.Texts() - before; n < chunks || n > chunks+documents/4 {
		t.Errorf("%d texts were embedded, where the index holds %d", n, chunks)
	}
	before = s.Embed.Texts()
	syncd(t, s.Environ(), "run", "-c", other).wants(t, 0, "nothing had to be sent")
	if n := s.Embed.Texts() - before; n != 0 {
		t.Errorf("%d texts were embedded again", n)
	}
	if why := syncd(t, s.Environ(), "explain", "-c", "configs/direct.yaml", "page", anyID(t, s, "page")); !strings.Contains(why.stdout, "vectors of another model") {
		t.Errorf("explain says %s", why)
	}
}

// anyID is the text of the id of a document of a collection.
func anyID(t *testing.T, s *sandbox.Sandbox, collection string) string {
	t.Helper()
	var ids []string
	for _, p := range points(t, qdrantOf(t, s)) {
		if p.GetPayload()["content_type"].GetStringValue() == collection {
			ids = append(ids, p.GetPayload()["mongo_id"].GetStringValue())
		}
	}
	if len(ids) == 0 {
		t.Fatalf("the index holds no %s", collection)
	}
	return slices.Min(ids)
}
