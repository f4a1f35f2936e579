package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/embedserver"
)

// TestWaitNamesWhatIsDropped runs against an indexer that never has 3 of 100 documents.
func TestWaitNamesWhatIsDropped(t *testing.T) {
	dropped := []string{"doc-00007", "doc-00042", "doc-00099"}
	s := indexed(t, sandbox.Config{Embed: refusing(dropped...)})
	insert(t, database(t, s, "ProjectManagement"), "page", textDocs(100)...)
	r := syncd(t, s.Environ(), "run", "-c", config, "--collections", "page", "--wait", "--wait-timeout", "5s")
	r.wants(t, 4, `^Qdrant shows 97 of 100 events sent after 5.*\(.*/s\)$`, `^Sent, but not in Qdrant:$`, `^Qdrant points: 0 -> 97 \(\+97\)`,
		`^NOT complete: 100 events sent, all confirmed; 3 of them not seen in Qdrant$`, `^error: 3 of 100 events sent did not appear in Qdrant within 5s$`, `^hint: `)
	named := regexp.MustCompile(`(?m)^  page (\S+): topic (\S+), partition (\d+), offset (\d+), point id \S+$`).FindAllStringSubmatch(r.stdout, -1)
	if len(named) != 3 {
		t.Fatalf("%d are named: %s", len(named), r)
	}
	where := map[string]string{}
	for _, rec := range records(t, s) {
		where[string(rec.Key)] = fmt.Sprint(rec.Topic, " ", rec.Partition, " ", rec.Offset)
	}
	for _, n := range named {
		if got := fmt.Sprint(n[2], " ", n[3], " ", n[4]); !slices.Contains(dropped, n[1]) || got != where[n[1]] {
			t.Errorf("%s is said to be at %s, and is at %s", n[1], got, where[n[1]])
		}
	}
}

func TestWaitUntilAllIsThere(t *testing.T) {
	s := indexed(t, sandbox.Config{Indexer: sandbox.IndexerConfig{ChunkSize: 300}})
	if err := s.Load(t.Context(), 0, 1000); err != nil {
		t.Fatal(err)
	}
	file := overlay(t, `
mapping:
  version: {field: [updatedAt, updatedTimeStamp], payload: updatedAt}
  chunks: {payload: chunk_count}
`)
	syncd(t, s.Environ(), "run", "-c", file, "--wait").wants(t, 0, `^Qdrant shows all 1000 events sent after .*\(\d.*/s\)$`, `^Complete: 1000 events sent`)
	syncd(t, s.Environ(), "run", "-c", file, "--wait").wants(t, 0, `^Complete: nothing had to be sent$`)
	if n := len(records(t, s)); n != 1000 {
		t.Errorf("%d events were sent", n)
	}
}

func TestWaitIsInterrupted(t *testing.T) {
	s := indexed(t, sandbox.Config{Embed: refusing("doc-00003")})
	insert(t, database(t, s, "ProjectManagement"), "page", textDocs(20)...)
	cmd, stdout, stderr := command(t.Context(), s.Environ(), "run", "-c", config, "--collections", "page", "--wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	interrupt(t, cmd, syscall.SIGINT, func() bool { return len(records(t, s)) == 20 && s.AwaitIndexed(t.Context()) == nil })
	_ = cmd.Wait()
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	r.wants(t, 130, `^Qdrant shows 19 of 20 events sent`, `^Sent, but not in Qdrant:$`, `^  page doc-00003: topic ProjectManagement.page, partition \d, offset \d`)
}

func TestWaitNeedsTheIndex(t *testing.T) {
	s := start(t, sandbox.Config{})
	insert(t, database(t, s, "ProjectManagement"), "page", plainDocs(5)...)
	syncd(t, s.Environ(), "run", "-c", config, "--wait", "--no-incremental").wants(t, 2, `^error: --wait needs the index`)
	environ := append(s.Environ(), "QDRANT_URL=http://"+closedPort(t), "SYNCD_CHECKER__QDRANT__CONNECT_TIMEOUT=1s")
	r := syncd(t, environ, "run", "-c", config, "--collections", "page", "--wait")
	r.wants(t, 1, `falling back to full backfill`, `^NOT complete: 5 events sent, all confirmed; whether they are in the index is not known; Qdrant was not asked$`, `^error: whether the 5 events sent have arrived is not known: Qdrant was not asked$`)
}

// TestSecondRunWaitsForTheConsumers starts a second run while the indexer has not read what the first one sent.
func TestSecondRunWaitsForTheConsumers(t *testing.T) {
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	s := indexed(t, sandbox.Config{Embed: embedserver.Config{Fault: func(_ http.ResponseWriter, _ *http.Request, input []string) bool {
		if strings.Contains(input[0], "doc-") { // else it asks what the model is like
			<-gate
		}
		return false
	}}})
	t.Cleanup(open) // before the sandbox is closed
	insert(t, database(t, s, "ProjectManagement"), "page", textDocs(300)...)
	file := overlay(t, "run: {consumer_group: qdrant-consumer}\n")
	environ := append(s.Environ(), "BACKFILL_COLLECTIONS=page,epic")
	syncd(t, append(environ, "SYNCD_RUN__WAIT_TIMEOUT=0"), "run", "-c", file).wants(t, 0, `^Complete: 300 events sent`)

	syncd(t, environ, "run", "-c", file, "--dry-run").wants(t, 0, `^Consumer group qdrant-consumer has 300 events to read;`, `a run would send 300 events`)
	syncd(t, append(environ, "SYNCD_RUN__CONSUMER_GROUP=nobody"), "run", "-c", file, "--wait-timeout", "1s").wants(t, 4,
		`^error: stopped before anything was sent: consumer group "nobody" still had 300 events to read after 1s$`, `^hint: check that run.consumer_group`)
	syncd(t, append(environ, "SYNCD_RUN__CONSUMER_LAG=report"), "run", "-c", file, "--dry-run").wants(t, 0, `has 300 events to read`)

	cmd, stdout, stderr := command(t.Context(), environ, "run", "-c", file)
	waiting := &notice{w: stdout, text: "Waiting for consumer group qdrant-consumer: 300 events to read", seen: make(chan struct{})}
	cmd.Stdout = waiting
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-waiting.seen:
	case <-done:
	}
	open()
	<-done
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	r.wants(t, 0, `^Waiting for consumer group`, `^Consumer group qdrant-consumer has read everything after `, `^Complete: nothing had to be sent$`)
	if n := len(records(t, s)); n != 300 {
		t.Errorf("%d events were sent", n)
	}
}

// notice passes on what is written, and closes seen when the text was.
type notice struct {
	w    *bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func (n *notice) Write(p []byte) (int, error) {
	k, err := n.w.Write(p)
	if strings.Contains(n.w.String(), n.text) {
		n.once.Do(func() { close(n.seen) })
	}
	return k, err
}

// overlay writes a configuration that extends the sandbox's.
func overlay(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "overlay.yaml")
	if err := os.WriteFile(file, []byte("extends: "+filepath.Join(root, config)+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
