// Package e2e runs the built program against servers that speak the real protocols.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/change"
	"github.com/syncd-io/syncd/sandbox/embedserver"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

// program is the built syncd, and root the repository.
var program, root string

// stateHome is where runs keep their state unless a test says otherwise.
var stateHome string

// asSandbox is a variable that makes this test binary the commands of bin/sandbox that change data: building that program, with all
// its servers, would take longer than the tests.
const asSandbox = "SYNCD_TEST_AS_SANDBOX"

func TestMain(m *testing.M) {
	if os.Getenv(asSandbox) != "" {
		if err := change.Command(context.Background(), os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(func() int {
		var err error
		if root, err = filepath.Abs("../.."); err != nil {
			panic(err)
		}
		dir, err := os.MkdirTemp("", "syncd-e2e-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program, stateHome = filepath.Join(dir, "syncd"), filepath.Join(dir, "state")
		build := exec.Command("go", "build", "-o", program, "./cmd/syncd")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building syncd: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// indexed starts a sandbox with an indexer: the program itself, as configs/sandbox-index.yaml has it, for which a document is one point.
func indexed(t *testing.T, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	cfg.Indexer.Syncd = program
	if cfg.Indexer.Config == "" {
		cfg.Indexer.Config = filepath.Join(root, "configs/sandbox-index.yaml")
	}
	s := start(t, cfg)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the end of the indexer's log\n%s", s.Indexer.Log())
		}
	})
	return s
}

// start starts a sandbox that ends with the test.
func start(t *testing.T, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// result is what an invocation left behind.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s\n--- stderr\n%s", r.code, r.stdout, r.stderr)
}

// command prepares an invocation with only the given variables, so that nothing of this machine's reaches it.
func command(ctx context.Context, environ []string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = root
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "XDG_STATE_HOME=" + stateHome}, environ...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func syncd(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd, stdout, stderr := command(ctx, environ, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// wants fails the test unless the exit code and every pattern (of stdout or stderr) match.
func (r result) wants(t *testing.T, code int, patterns ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("want exit code %d, got %s", code, r)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(r.stdout + "\n" + r.stderr) {
			t.Errorf("nothing matches %q: %s", p, r)
		}
	}
}

func (r result) wantsNot(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%q shows: %s", text, r)
		}
	}
}

// sent returns the events on all topics by topic and key, each with how often it is there.
func sent(t *testing.T, s *sandbox.Sandbox) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, r := range records(t, s) {
		out[r.Topic+" "+string(r.Key)]++
	}
	return out
}

func records(t *testing.T, s *sandbox.Sandbox) []kafkaserver.Record {
	t.Helper()
	recs, _, err := s.Kafka.Consume(t.Context(), kafkaserver.ConsumeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

// database connects a client of the test's own.
func database(t *testing.T, s *sandbox.Sandbox, name string) *mongo.Database {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(s.Mongo.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(name)
}

func insert(t *testing.T, db *mongo.Database, collection string, docs ...any) {
	t.Helper()
	if _, err := db.Collection(collection).InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
}

// interrupt waits until cond holds and then sends the signal.
func interrupt(t *testing.T, cmd *exec.Cmd, sig syscall.Signal, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Error("the run never came far enough to be interrupted")
			_ = cmd.Process.Kill()
			return
		}
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
}

func plainDocs(n int) []any {
	docs := make([]any, n)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: fmt.Sprintf("doc-%05d", i)}, {Key: "title", Value: "x"}}
	}
	return docs
}

// textDocs have a text, which names them.
func textDocs(n int) []any {
	docs := plainDocs(n)
	for i := range docs {
		d := docs[i].(bson.D)
		docs[i] = append(d, bson.E{Key: "content", Value: fmt.Sprint("The text of ", d[0].Value)})
	}
	return docs
}

// refusing is an embedding service that refuses texts with one of these words in them: an indexer never has their documents.
func refusing(words ...string) embedserver.Config {
	return embedserver.Config{Fault: func(w http.ResponseWriter, _ *http.Request, input []string) bool {
		for _, text := range input {
			if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) }) {
				embedserver.Refuse(w, http.StatusBadRequest, "invalid_request_error", "that is nothing to be embedded")
				return true
			}
		}
		return false
	}}
}
