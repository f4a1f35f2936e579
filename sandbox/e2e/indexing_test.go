package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// contentOf is the text that the index holds of a page of one chunk; empty where it holds none.
func contentOf(t *testing.T, c *qdrant.Client, id string) string {
	t.Helper()
	found, err := c.Get(t.Context(), &qdrant.GetPoints{
		CollectionName: "pms_collection", WithPayload: qdrant.NewWithPayload(true),
		Ids: []*qdrant.PointId{qdrant.NewID(uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/page/0")).String())},
	})
	if err != nil && status.Code(err) != codes.NotFound && status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return ""
	}
	return found[0].GetPayload()["content"].GetStringValue()
}

// following runs the direct way with --follow until the test ends; log is what it has written so far.
func following(t *testing.T, environ []string, args ...string) (log *buffer) {
	t.Helper()
	cmd, _, _ := command(context.Background(), environ, append([]string{"run", "--follow"}, args...)...)
	log = &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if t.Failed() {
			t.Log(log)
		}
	})
	return log
}

// apart is the environment of a test that runs beside others of the same job: it has a state folder of its own.
func apart(t *testing.T, s *sandbox.Sandbox) []string {
	return append(s.Environ(), "XDG_STATE_HOME="+t.TempDir())
}

// buffer is safe for concurrent use.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestADocumentThatChangesWhileItIsEmbedded: the version that was read is written as what it is, so that the next run finds it stale, and
// a job that follows replaces it.
func TestADocumentThatChangesWhileItIsEmbedded(t *testing.T) {
	t.Parallel()
	var s *sandbox.Sandbox
	changed := map[string]func(){}
	s = direct(t, sandbox.Config{Embed: embedserver.Config{Fault: func(_ http.ResponseWriter, _ *http.Request, input []string) bool {
		for _, text := range input {
			if change := changed[text]; change != nil {
				change()
			}
		}
		return false
	}}})
	pages := database(t, s, "ProjectManagement").Collection("page")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	set := func(id, text string, at time.Time) func() {
		return sync.OnceFunc(func() {
			if _, err := pages.UpdateOne(context.Background(), bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{
				{Key: "content", Value: text}, {Key: "updatedAt", Value: at},
			}}}); err != nil {
				t.Error(err)
			}
		})
	}
	changed["first of one"] = set("one", "second of one", at.Add(time.Second))
	changed["first of two"] = set("two", "second of two", at.Add(time.Second))
	add := func(id string) {
		insert(t, pages.Database(), "page", bson.D{{Key: "_id", Value: id}, {Key: "content", Value: "first of " + id}, {Key: "updatedAt", Value: at}})
	}
	add("one")
	c := qdrantOf(t, s)
	environ, config := apart(t, s), []string{"-c", "configs/direct.yaml", "--collections", "page"}
	syncd(t, environ, append([]string{"run"}, config...)...).wants(t, 0, `^Complete: 1 `)
	if text := contentOf(t, c, "one"); text != "first of one" {
		t.Fatalf("the index holds %q", text)
	}
	syncd(t, environ, append([]string{"run"}, config...)...).wants(t, 0, `^Complete: 1 `)
	if text := contentOf(t, c, "one"); text != "second of one" {
		t.Errorf("behind the next run the index holds %q", text)
	}
	log := following(t, environ, config...)
	await(t, "following", log, func() bool { return strings.Contains(log.String(), "Following the changes") })
	add("two")
	await(t, "the second version", log, func() bool { return contentOf(t, c, "two") == "second of two" })
	syncd(t, environ, append([]string{"verify"}, config...)...).wants(t, 0, `^Equal: `)
}

// TestFollowingWhileServersAreAway: an embedding service, and then an index, that are away for longer than each request is repeated are
// waited for; both are told of when that begins and when it is over, and what changed meanwhile arrives.
func TestFollowingWhileServersAreAway(t *testing.T) {
	t.Parallel()
	s := direct(t, sandbox.Config{})
	embedder, err := embedserver.Start(embedserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	addr := embedder.Addr()
	defer func() { _ = embedder.Close() }()
	db, c := database(t, s, "ProjectManagement"), qdrantOf(t, s)
	add := func(id string) {
		insert(t, db, "page", bson.D{{Key: "_id", Value: id}, {Key: "content", Value: "text of " + id}, {Key: "updatedAt", Value: time.Now()}})
	}
	add("first")
	environ := append(apart(t, s), "EMBEDDING_URL="+embedder.URL(), "SYNCD_STAGES__EMBED__RETRY__MAX_ELAPSED=3s", "SYNCD_SINK__QDRANT__RETRY__MAX_ELAPSED=3s")
	log := following(t, environ, "-c", "configs/direct.yaml", "--collections", "page")
	await(t, "following", log, func() bool { return strings.Contains(log.String(), "Following the changes") })
	if contentOf(t, c, "first") != "text of first" {
		t.Fatal("the first document is not there")
	}

	if err := embedder.Close(); err != nil {
		t.Fatal(err)
	}
	add("second")
	await(t, "a word about the embedder", log, func() bool {
		return strings.Contains(log.String(), "the embedding service can't be asked: trying again")
	})
	await(t, "the end of patience", log, func() bool { return strings.Contains(log.String(), "can't follow: trying again until it works") })
	if embedder, err = embedserver.Start(embedserver.Config{Addr: addr}); err != nil {
		t.Fatal(err)
	}
	await(t, "what was written meanwhile", log, func() bool { return contentOf(t, c, "second") == "text of second" })
	await(t, "the end of the outage", log, func() bool { return strings.Contains(log.String(), "following again") })

	s.Qdrant.FailNext(qdrant.Points_Upsert_FullMethodName, 15, status.Error(codes.Unavailable, "restarting"))
	add("third")
	await(t, "a word about the index", log, func() bool { return strings.Contains(log.String(), "Qdrant can't be written to: trying again") })
	await(t, "the third document", log, func() bool { return contentOf(t, c, "third") == "text of third" })
	if n := strings.Count(log.String(), "level=WARN"); n > 8 {
		t.Errorf("%d warnings", n)
	}
}

// TestWhatCannotBeIndexed: a document of 50 MB, one of bytes, one without text and one that the model refuses do not keep others from
// being indexed, and each is what it is.
func TestWhatCannotBeIndexed(t *testing.T) {
	t.Parallel()
	s := direct(t, sandbox.Config{Embed: refusing("unspeakable")})
	data, dir := t.TempDir(), t.TempDir()
	big := `{"_id":"big","content":"` + strings.Repeat("Fifty megabytes of text. ", 2<<20) + "\"}\n"
	lines := `{"_id":"good","content":"A good one."}` + "\n" + big +
		`{"_id":"bytes","content":"\u0000\u0001\u001b[31m\ud800 red"}` + "\n" + `{"_id":"empty","content":" "}` + "\n" +
		`{"_id":"number","content":17}` + "\n" + `{"_id":"refused","content":"It is unspeakable."}` + "\n" + `{"_id":"last","content":"The last one."}` + "\n"
	if err := os.WriteFile(filepath.Join(data, "page.ndjson"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file.yaml")
	text := fmt.Sprintf("extends: %s\nsource: {file: {path: %s, database: ProjectManagement}}\nrun: {state_dir: %s}\n", filepath.Join(root, "configs/direct.yaml"), data, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := apart(t, s)
	run := func() result { return syncd(t, environ, "run", "-c", file, "--collections", "page") }
	run().wants(t, 5, `page big: transform: it has more than 2000 chunks`, `page refused: transform: embedding chunk 0: .*nothing to be embedded`, `^error: 2 documents could not be sent`)
	c := qdrantOf(t, s)
	for id, want := range map[string]string{"good": "A good one.", "bytes": "[31m\ufffd red", "empty": "", "number": "17", "last": "The last one.", "big": "", "refused": ""} {
		if got := contentOf(t, c, id); got != want {
			t.Errorf("%s: the index holds %q, want %q", id, got, want)
		}
	}
	if n := len(points(t, c)); n != 5 {
		t.Errorf("the index holds %d points", n)
	}
}

// TestAnIndexThatDoesNotFit: a collection that lacks, and one of another dimension, end the run and say what to do; nothing is written.
func TestAnIndexThatDoesNotFit(t *testing.T) {
	t.Parallel()
	s := direct(t, sandbox.Config{})
	environ := apart(t, s)
	insert(t, database(t, s, "ProjectManagement"), "page", textDocs(3)...)
	run := func(args ...string) result {
		return syncd(t, append(slices.Clip(environ), "SYNCD_SINK__QDRANT__CREATE__ENABLED=false"), append(args, "-c", "configs/direct.yaml", "--collections", "page")...)
	}
	run("run").wants(t, 1, `^error: .*has no collection "pms_collection"`, `^hint: .*create.enabled: true`)
	asked := s.Embed.Requests()
	c := qdrantOf(t, s)
	if err := c.CreateCollection(t.Context(), &qdrant.CreateCollection{
		CollectionName: "pms_collection", VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 7, Distance: qdrant.Distance_Cosine}),
	}); err != nil {
		t.Fatal(err)
	}
	syncd(t, environ, "validate", "--connect", "-c", "configs/direct.yaml").wants(t, 1,
		`^stage: embed at http://`, `^  ok +model all-minilm +it gives vectors of 64 numbers$`, `^  FAILED +vectors +the model gives vectors of 64 numbers, and the index takes 7$`)
	run("run").wants(t, 1, `^error: .*64 dimensions, where the collection has 7`, `^hint: `)
	if n := len(points(t, c)); n != 0 {
		t.Errorf("%d points were written", n)
	}
	if asked == s.Embed.Requests() {
		t.Error("the embedding service was never asked")
	}
}
