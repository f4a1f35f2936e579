package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/embedserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// aliased is a sandbox whose embedder and whose switching of aliases can be held.
type aliased struct {
	*sandbox.Sandbox
	client *qdrant.Client

	texts atomic.Int64 // asked for
	most  atomic.Int64 // texts after which the embedder answers no more until free is closed; 0 is none
	free  chan struct{}

	method  atomic.Pointer[string] // of Qdrant that is held until its caller is gone
	reached chan struct{}          // gets one for each such call
}

const documentsOfAliased = 60

func newAliased(t *testing.T) *aliased {
	t.Helper()
	a := &aliased{free: make(chan struct{}), reached: make(chan struct{}, 100)}
	a.Sandbox = direct(t, sandbox.Config{
		Embed: embedserver.Config{Fault: func(_ http.ResponseWriter, r *http.Request, input []string) bool {
			if n := a.texts.Add(int64(len(input))); a.most.Load() > 0 && n > a.most.Load() {
				select {
				case <-r.Context().Done():
					return true
				case <-a.free:
				}
			}
			return false
		}},
		Qdrant: qdrantserver.Config{Intercept: func(ctx context.Context, method string) error {
			if held := a.method.Load(); held == nil || method != *held {
				return nil
			}
			a.reached <- struct{}{}
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}},
	})
	if err := a.Load(t.Context(), 0, documentsOfAliased); err != nil {
		t.Fatal(err)
	}
	a.client = qdrantOf(t, a.Sandbox)
	return a
}

// holdEmbedder has the embedder answer no more after so many texts.
func (a *aliased) holdEmbedder(after int64) {
	a.texts.Store(0)
	a.most.Store(after)
}

// job is a configuration that fills a collection with a model's vectors, and switches the alias documents to it. Requests to the embedder
// are small: on a busy machine one may have all documents otherwise, and an embedder that is held then answers none of them.
func (a *aliased) job(t *testing.T, collection, model, more string) string {
	t.Helper()
	return configFile(t, fmt.Sprintf(`
name: %[1]s
extends: $ROOT/configs/direct.yaml
checker: {qdrant: {collection: %[1]s}}
stages: {embed: {model: %[2]s, batch_size: 5}}
sink: {qdrant: {collection: %[1]s, alias: documents}}
%[3]s
`, collection, model, more))
}

// target is what the alias documents stands for; "" is nothing.
func (a *aliased) target(t *testing.T) string {
	t.Helper()
	all, err := a.client.ListAliases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.GetAliasName() == "documents" {
			return d.GetCollectionName()
		}
	}
	return ""
}

// read is what a reader finds under a name: the documents of each model.
func (a *aliased) read(ctx context.Context, name string) (map[string]int, error) {
	out := map[string]int{}
	found, err := a.client.Scroll(ctx, &qdrant.ScrollPoints{
		CollectionName: name, Limit: qdrant.PtrOf(uint32(10_000)), WithPayload: qdrant.NewWithPayloadInclude("embedding_model"),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatchInt("chunk_index", 0)}},
	})
	for _, p := range found {
		out[p.GetPayload()["embedding_model"].GetStringValue()]++
	}
	return out, err
}

// watch reads through the alias until stop, and fails the test when it does not find all documents of one model.
func (a *aliased) watch(t *testing.T, least int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		for ctx.Err() == nil {
			found, err := a.read(ctx, "documents")
			if ctx.Err() != nil {
				return
			}
			n := 0
			for _, k := range found {
				n += k
			}
			if err != nil || len(found) != 1 || n < least {
				t.Errorf("a reader of the alias finds %v, %v", found, err)
				return
			}
		}
	})
	return func() {
		cancel()
		reader.Wait()
	}
}

func (a *aliased) run(t *testing.T, args ...string) result {
	t.Helper()
	return syncd(t, a.Environ(), append([]string{"run"}, args...)...)
}

// begin starts a run that does not end by itself.
func (a *aliased) begin(t *testing.T, args ...string) (*exec.Cmd, *lockedBuffer) {
	t.Helper()
	cmd, _, _ := command(t.Context(), a.Environ(), append([]string{"run"}, args...)...)
	output := &lockedBuffer{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, output
}

// await waits until done.
func await(t *testing.T, what string, output fmt.Stringer, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s never came: %s", what, output)
		}
	}
}

func killed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestSwitchingAnAlias: readers of an alias find all documents of the old model, and then all of the new, whatever happens to the run that
// fills the new collection. What changed meanwhile is there when they do. Nothing takes back what somebody does with the alias behind it.
func TestSwitchingAnAlias(t *testing.T) {
	a := newAliased(t)
	first, second := a.job(t, "docs_1", "one", ""), a.job(t, "docs_2", "two", "run: {batch_size: 5}")
	a.run(t, "-c", first).wants(t, 0, `^Readers: the alias "documents" stands for the collection "docs_1" now; before it stood for nothing`)
	a.run(t, "-c", first).wantsNot(t, "Readers:", "once more")
	stop := a.watch(t, documentsOfAliased)

	// It is killed while it fills the new collection.
	a.holdEmbedder(documentsOfAliased / 3)
	cmd, output := a.begin(t, "-c", second)
	written := func() bool {
		found, err := a.read(t.Context(), "docs_2")
		return err == nil && a.texts.Load() > documentsOfAliased/3 && found["two"] > 0
	}
	await(t, "a point", output, written)
	killed(t, cmd)
	if to := a.target(t); to != "docs_1" {
		t.Fatalf("behind a run that was killed the alias stands for %q", to)
	}
	// Nor is it switched by one that looks only at some.
	a.most.Store(0)
	a.run(t, "-c", second, "--collections", "epic", "--fresh").wants(t, 0, `^Readers: the alias "documents" stands for the collection "docs_1" still: only some collections were looked at`)

	// What changes while the rest is embedded is there when readers are switched.
	a.holdEmbedder(1)
	cmd, output = a.begin(t, "-c", second)
	await(t, "the embedder", output, func() bool { return a.texts.Load() > 1 })
	db := database(t, a.Sandbox, "ProjectManagement")
	held, err := a.client.Scroll(t.Context(), &qdrant.ScrollPoints{
		CollectionName: "docs_2", Limit: qdrant.PtrOf(uint32(1)), WithPayload: qdrant.NewWithPayload(true),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("content_type", "epic"), qdrant.NewMatchInt("chunk_index", 0)}},
	})
	if err != nil || len(held) != 1 {
		t.Fatalf("%v, %v", held, err)
	}
	changed := held[0].GetPayload()["mongo_id"].GetStringValue()
	id, err := bson.ObjectIDFromHex(changed)
	var key any = id
	if err != nil {
		key = changed
	}
	done, err := db.Collection("epic").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: key}}, bson.D{{Key: "$set", Value: bson.D{
		{Key: "description", Value: "What was said meanwhile."}, {Key: "updatedAt", Value: time.Now()},
	}}})
	if err != nil || done.ModifiedCount != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	insert(t, db, "page", bson.D{{Key: "_id", Value: "late"}, {Key: "title", Value: "Late"}, {Key: "content", Value: "It came late."}, {Key: "updatedAt", Value: time.Now()}})
	close(a.free)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	stop()
	if out := output.String(); !strings.Contains(out, `Readers: the alias "documents" stands for the collection "docs_2" now; before it stood for the collection "docs_1", which is kept`) {
		t.Errorf("it says %s", out)
	}
	if found, err := a.read(t.Context(), "documents"); err != nil || found["two"] != documentsOfAliased+1 || len(found) != 1 {
		t.Errorf("readers find %v, %v", found, err)
	}
	now, err := a.client.Scroll(t.Context(), &qdrant.ScrollPoints{
		CollectionName: "documents", WithPayload: qdrant.NewWithPayload(true),
		Filter: &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("mongo_id", changed), qdrant.NewMatchInt("chunk_index", 0)}},
	})
	if err != nil || len(now) != 1 || !strings.Contains(now[0].GetPayload()["content"].GetStringValue(), "meanwhile") {
		t.Errorf("what changed meanwhile is %v, %v", now, err)
	}
	syncd(t, a.Environ(), "verify", "-c", second).wants(t, 0)
	if found, err := a.read(t.Context(), "docs_1"); err != nil || found["one"] != documentsOfAliased {
		t.Errorf("the old collection holds %v, %v", found, err)
	}

	// The job of the old collection does not take it back, and neither does that of the new one when somebody has.
	a.run(t, "-c", first).wants(t, 0, `^Readers: the alias "documents" was switched to the collection "docs_1" before, stands for the collection "docs_2" since, and is left there`)
	if to := a.target(t); to != "docs_2" {
		t.Errorf("the old job switched the alias to %q", to)
	}
	_, err = a.client.GetCollectionsClient().UpdateAliases(t.Context(), &qdrant.ChangeAliases{Actions: []*qdrant.AliasOperations{
		qdrant.NewAliasDelete("documents"), qdrant.NewAliasCreate("documents", "docs_1"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.run(t, "-c", second).wants(t, 0, "is left there", "^Complete: ")
	if to := a.target(t); to != "docs_1" {
		t.Errorf("what somebody took back was switched again, to %q", to)
	}
}

// TestKilledAtTheSwitch: before Qdrant has switched, behind it and before it is noted, and then again: the next run ends it. A Qdrant that
// refuses leaves everything as it was.
func TestKilledAtTheSwitch(t *testing.T) {
	a := newAliased(t)
	first, second := a.job(t, "docs_1", "one", ""), a.job(t, "docs_2", "two", "")
	a.run(t, "-c", first).wants(t, 0)
	stop := a.watch(t, documentsOfAliased)
	hold := func(method string) {
		a.method.Store(&method)
		cmd, output := a.begin(t, "-c", second)
		select {
		case <-a.reached:
		case <-time.After(time.Minute):
			t.Fatalf("%s was never called: %s", method, output)
		}
		killed(t, cmd)
		a.method.Store(nil)
	}
	hold(qdrant.Collections_UpdateAliases_FullMethodName)
	if to := a.target(t); to != "docs_1" {
		t.Fatalf("killed before the switch, the alias stands for %q", to)
	}
	a.Qdrant.FailNext(qdrant.Collections_UpdateAliases_FullMethodName, 1, status.Error(codes.PermissionDenied, "Forbidden: Global manage access is required"))
	a.run(t, "-c", second).wants(t, 1, `having the alias "documents" stand for the collection "docs_2"`, "Forbidden", "^NOT complete: ", "hint: set sink.qdrant.api_key")
	if to := a.target(t); to != "docs_1" {
		t.Fatalf("where Qdrant refused, the alias stands for %q", to)
	}
	asked := a.Embed.Texts()
	hold(qdrant.Collections_Update_FullMethodName) // which notes it
	stop()
	if to := a.target(t); to != "docs_2" {
		t.Fatalf("killed behind the switch, the alias stands for %q", to)
	}
	a.run(t, "-c", second).wants(t, 0, "^Complete: ")
	if n := a.Embed.Texts() - asked; n != 0 {
		t.Errorf("%d texts were embedded for a switch", n)
	}
	// It is noted now.
	info, err := a.client.GetCollectionInfo(t.Context(), "docs_2")
	if _, noted := info.GetConfig().GetMetadata()["syncd_switched:documents"]; err != nil || !noted {
		t.Errorf("the collection's metadata are %v, %v", info.GetConfig().GetMetadata(), err)
	}
	a.run(t, "-c", first).wants(t, 0, "is left there")
}

// TestWhatIsNotSwitched: what verify would call a difference keeps readers where they are, and says so.
func TestWhatIsNotSwitched(t *testing.T) {
	a := newAliased(t)
	db := database(t, a.Sandbox, "ProjectManagement")
	a.run(t, "-c", a.job(t, "docs_1", "one", "")).wants(t, 0)
	unswitched := func(why string) {
		t.Helper()
		if to := a.target(t); to != "docs_1" {
			t.Fatalf("with %s the alias stands for %q", why, to)
		}
	}
	second := a.job(t, "docs_2", "two", "")
	a.run(t, "-c", second, "--dry-run").wants(t, 0)
	a.run(t, "-c", second, "--no-incremental").wants(t, 4, `the alias "documents" was not switched to the collection "docs_2": the index was not asked`)
	unswitched("an index that was not asked")

	// A document that can't be embedded, and a document that is gone.
	insert(t, db, "page", bson.D{{Key: "_id", Value: "long"}, {Key: "title", Value: "Long"}, {Key: "content", Value: strings.Repeat("One sentence. ", 20_000)}, {Key: "updatedAt", Value: time.Now()}})
	strict := configFile(t, "extends: "+second+"\nstages: {chunk: {max_chunks: 5}}\n")
	a.run(t, "-c", strict).wants(t, 5, `^Readers: the alias "documents" stands for the collection "docs_1" still: 1 document could not be sent, such as long: .*more than 5 chunks`)
	unswitched("a document that can't be embedded")
	if _, err := db.Collection("page").DeleteOne(t.Context(), bson.D{{Key: "_id", Value: "long"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Collection("epic").DeleteOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	a.run(t, "-c", second).wants(t, 4, "was not switched to the collection \"docs_2\": the index holds points of 1 deleted document", "hint: run it with --prune")
	unswitched("points of documents that are gone")
	syncd(t, a.Environ(), "plan", "-c", second, "-o", t.TempDir()+"/plan.ndjson").wants(t, 0)

	r := a.run(t, "-c", second, "--prune", "--report", t.TempDir()+"/report.json")
	r.wants(t, 0, `^Readers: the alias "documents" stands for the collection "docs_2" now`)
	if to := a.target(t); to != "docs_2" {
		t.Errorf("the alias stands for %q: %s", to, r)
	}

	// Names that can't be.
	a.run(t, "-c", configFile(t, "extends: "+second+"\nsink: {qdrant: {alias: docs_1}}\n")).wants(t, 1, `"docs_1" is a collection, so that it can't be an alias`, "hint: choose another name")
	a.run(t, "-c", configFile(t, "extends: "+second+"\nchecker: {qdrant: {collection: documents}}\nsink: {qdrant: {collection: documents, alias: other}}\n")).
		wants(t, 1, `"documents" is an alias of the collection "docs_2", and an alias can't stand for an alias`)
	a.run(t, "-c", configFile(t, "extends: "+second+"\nsink: {qdrant: {alias: docs_2}}\n")).wants(t, 3, "alias is the collection itself")
	a.run(t, "-c", configFile(t, "extends: "+second+"\nchecker: {qdrant: {collection: documents}}\n")).wants(t, 3, "the checker asks collection \"documents\"")
	syncd(t, a.Environ(), "validate", configFile(t, "extends: $ROOT/configs/index.yaml\nsink: {qdrant: {alias: documents}}\n")).wants(t, 3, "which the source kafka does not have")
	// A collection of another dimension ends the run, and switches nothing.
	err := a.client.CreateCollection(t.Context(), &qdrant.CreateCollection{
		CollectionName: "docs_3", VectorsConfig: qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 3, Distance: qdrant.Distance_Cosine}),
	})
	if err != nil {
		t.Fatal(err)
	}
	a.run(t, "-c", a.job(t, "docs_3", "three", "")).wants(t, 1, "a vector of 64 dimensions, where the collection has 3")
	syncd(t, a.Environ(), "validate", "--connect", second).wants(t, 0, "alias documents.*it stands for the collection docs_2")
	if to := a.target(t); to != "docs_2" {
		t.Errorf("the alias stands for %q", to)
	}
}

// TestSwitchingWhileFollowing: a job that follows switches readers once it has looked at all documents and has followed what changed
// meanwhile; killed between, it looks again.
func TestSwitchingWhileFollowing(t *testing.T) {
	a := newAliased(t)
	db := database(t, a.Sandbox, "ProjectManagement")
	a.run(t, "-c", a.job(t, "docs_1", "one", "")).wants(t, 0)
	stop := a.watch(t, documentsOfAliased)
	second := a.job(t, "docs_2", "two", "run: {follow: true}")
	write := func(id string) {
		insert(t, db, "page", bson.D{{Key: "_id", Value: id}, {Key: "title", Value: id}, {Key: "content", Value: "A page of its own."}, {Key: "updatedAt", Value: time.Now()}})
	}
	method := qdrant.Collections_UpdateAliases_FullMethodName
	a.method.Store(&method)
	a.holdEmbedder(1)
	cmd, output := a.begin(t, "-c", second)
	await(t, "the embedder", output, func() bool { return a.texts.Load() > 1 })
	write("meanwhile") // while all documents are looked at
	close(a.free)
	select {
	case <-a.reached:
	case <-time.After(time.Minute):
		t.Fatalf("it never switches: %s", output)
	}
	found, err := a.read(t.Context(), "docs_2")
	if err != nil || found["two"] != documentsOfAliased+1 {
		t.Errorf("when it would switch the new collection holds %v, %v", found, err)
	}
	killed(t, cmd)
	a.method.Store(nil)
	write("later")
	cmd, output = a.begin(t, "-c", second)
	await(t, "the switch", output, func() bool { return a.target(t) == "docs_2" })
	stop()
	if found, err := a.read(t.Context(), "documents"); err != nil || found["two"] != documentsOfAliased+2 {
		t.Errorf("when it has switched readers find %v, %v: %s", found, err, output)
	}
	write("behind")
	await(t, "a change behind the switch", output, func() bool {
		found, err := a.read(t.Context(), "documents")
		return err == nil && found["two"] == documentsOfAliased+3
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	if out := output.String(); !strings.Contains(out, `the alias \"documents\" stands for the collection \"docs_2\" now`) {
		t.Errorf("it says %s", out)
	}
	// Started again, it has nothing to switch and nothing to look at.
	cmd, output = a.begin(t, "-c", second)
	await(t, "following", output, func() bool { return strings.Contains(output.String(), "Following the changes") })
	if out := output.String(); strings.Contains(out, "Running incremental") {
		t.Errorf("it looks at all documents again: %s", out)
	}
	killed(t, cmd)
}
