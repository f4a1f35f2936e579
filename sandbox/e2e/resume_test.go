package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// servers are what a run of many documents talks to: no indexer reads the events, so the index stays empty and every document
// is missing throughout.
type servers struct {
	mongo  *fastmongo.Server
	qdrant *qdrantserver.Server
	kafka  *kafkaserver.Server
}

func startServers(t *testing.T, documents int) servers {
	t.Helper()
	mongo, err := fastmongo.Start(t.Context(), fastmongo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mongo.Close() })
	if err := mongo.Generate("ProjectManagement.page", fastmongo.Documents(documents, 200)); err != nil {
		t.Fatal(err)
	}
	qdrant, err := qdrantserver.Start(qdrantserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qdrant.Close() })
	kafka, err := kafkaserver.Start(kafkaserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Close() })
	return servers{mongo, qdrant, kafka}
}

func (s servers) environ(t *testing.T) []string {
	return []string{
		"MONGODB_URI=" + s.mongo.URI(), "QDRANT_URL=http://" + s.qdrant.Addr(), "KAFKA_BOOTSTRAP_SERVERS=" + s.kafka.Addr(),
		"BACKFILL_COLLECTIONS=page", "XDG_STATE_HOME=" + t.TempDir(),
	}
}

// tally counts the events on the topics, by key, as they come.
type tally struct {
	from  kafkaserver.Offsets
	keys  map[string]int
	total int
}

// read counts what came since the last read, and returns how many these are.
func (y *tally) read(t *testing.T, k *kafkaserver.Server) int {
	t.Helper()
	records, next, err := k.Consume(t.Context(), kafkaserver.ConsumeConfig{From: y.from})
	if err != nil {
		t.Fatal(err)
	}
	y.from = next
	for _, r := range records {
		y.keys[r.Topic+" "+string(r.Key)]++
	}
	y.total += len(records)
	return len(records)
}

// kept is what `syncd state show --json` prints, as far as it matters here.
type kept struct {
	Outcome     string `json:"outcome"`
	Handled     int    `json:"handled"`
	RunID       string `json:"run_id"`
	Collections map[string]struct {
		Splits []struct {
			Counts struct {
				Acked int `json:"acked"`
			} `json:"counts"`
		} `json:"splits"`
	} `json:"collections"`
}

func (k kept) acked() (n int) {
	for _, c := range k.Collections {
		for _, s := range c.Splits {
			n += s.Counts.Acked
		}
	}
	return n
}

func stateOf(t *testing.T, environ []string) kept {
	t.Helper()
	r := syncd(t, environ, "state", "show", "--json")
	r.wants(t, 0)
	var k kept
	if err := json.Unmarshal([]byte(r.stdout), &k); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return k
}

// TestKilled kills a run of 200,000 documents twenty times, each time after a random number of further events, and lets the
// last one come to its end.
func TestKilled(t *testing.T) {
	const documents, kills, batch, workers = 200_000, 20, 100, 4
	s := startServers(t, documents)
	environ := s.environ(t)
	file := overlay(t, fmt.Sprintf("run: {batch_size: %d, workers: %d, wait_timeout: 0}\n", batch, workers))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	seen := tally{keys: map[string]int{}}
	var before kept
	for i := range kills {
		args := []string{"run", "-c", file}
		cmd, stdout, stderr := command(t.Context(), environ, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		after, sent := random.IntN(documents/kills*9/10), 0
		for sent < after {
			select {
			case err := <-ended:
				t.Fatalf("run %d ended by itself: %v\n%s\n%s", i, err, stdout, stderr)
			default:
				sent += seen.read(t, s.kafka)
			}
		}
		kill(t, cmd)
		<-ended
		seen.read(t, s.kafka)
		now := stateOf(t, environ)
		if now.Outcome != "interrupted" {
			t.Errorf("kill %d: the state says %q", i, now.Outcome)
		}
		// What the state says was confirmed is there; what is there and not in the state was under way.
		if distinct := len(seen.keys); now.acked() > distinct || distinct-now.acked() > 2*workers*batch {
			t.Errorf("kill %d: the state says that %d were confirmed, on the topics are %d", i, now.acked(), distinct)
		}
		if now.acked() < before.acked() || before.RunID != "" && before.RunID != now.RunID {
			t.Errorf("kill %d: the state fell from %+v to %+v", i, before.acked(), now.acked())
		}
		if i > 0 && before.acked() > 0 && !strings.Contains(stdout.String(), "Resuming the run that was interrupted on ") {
			t.Errorf("kill %d: the run did not say that it resumes:\n%s", i, stdout)
		}
		if repeats := seen.total - len(seen.keys); repeats > (i+1)*2*workers*batch {
			t.Errorf("kill %d: %d events were repeated so far", i, repeats)
		}
		before = now
	}
	r := syncd(t, environ, "run", "-c", file)
	r.wants(t, 0, `^Resuming the run`, `^Resumed: \d+ documents of these were handled`, fmt.Sprintf(`^Complete: %d events sent, all confirmed$`, documents))
	seen.read(t, s.kafka)
	if len(seen.keys) != documents {
		t.Errorf("%d documents are on the topics, want %d", len(seen.keys), documents)
	}
	t.Logf("%d events for %d documents: %d repeats in %d kills", seen.total, documents, seen.total-documents, kills)
	if k := stateOf(t, environ); k.Outcome != "complete" || k.Handled != documents || k.acked() != documents {
		t.Errorf("the state of the complete run: %+v", k.Outcome)
	}
	// The next run looks at everything again.
	syncd(t, environ, "run", "-c", file, "--dry-run").wants(t, 0, fmt.Sprintf(`a run would send %d events`, documents))
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}
