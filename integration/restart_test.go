package integration

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/syncd-io/syncd/integration/kafka"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// events is how many the tests send that end a broker or a run in the middle.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv(eventsEnv)
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		t.Fatalf("%s must be a number, at least 1000: %q", eventsEnv, text)
	}
	return n
}

// manyPages is a place whose collection page holds n documents of 300 bytes, and what they are made by.
func manyPages(t *testing.T, kafkaAddr string, n int) (*place, fastmongo.Generated) {
	t.Helper()
	s := generated(t)
	p := newPlace(t, s.URI(), kafkaAddr)
	docs := fastmongo.Documents(n, 300)
	if err := s.Generate(p.name+".page", docs); err != nil {
		t.Fatal(err)
	}
	return p, docs
}

// wantsAll fails the test unless the topics hold an event of every document, and of nothing else. It returns how many events
// repeat another.
func (p *place) wantsAll(t *testing.T, docs fastmongo.Generated) (repeats int) {
	t.Helper()
	ordinal := make(map[[12]byte]int, docs.N)
	for i := range docs.N {
		_, id := docs.ID(i, nil)
		ordinal[[12]byte(id)] = i
	}
	seen := make([]bool, docs.N)
	distinct := 0
	p.read(t, func(r *kgo.Record) {
		if r.Topic != p.name+".page" {
			return
		}
		var id [12]byte
		if n, err := hex.Decode(id[:], r.Key); err != nil || n != len(id) {
			t.Fatalf("an event's key is %q", r.Key)
		}
		i, ok := ordinal[id]
		switch {
		case !ok:
			t.Fatalf("an event of no document: %q", r.Key)
		case seen[i]:
			repeats++
		default:
			seen[i] = true
			distinct++
		}
	})
	if distinct != docs.N {
		t.Errorf("the topics hold %d of %d documents; the first that is lost has number %d", distinct, docs.N, slices.Index(seen, false))
	}
	return repeats
}

// written is how many offsets the topics of collections have given away: about the number of their events.
func (p *place) written(t *testing.T) int64 {
	t.Helper()
	topics := slices.DeleteFunc(p.topics(t), func(name string) bool { return strings.HasSuffix(name, ".state") })
	if len(topics) == 0 {
		return 0
	}
	var n int64
	offsets(t, p.admin.ListEndOffsets, topics).Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// await waits until a run has brought the topic to so many offsets, and fails the test if it ends before.
func (p *place) await(t *testing.T, i *invocation, offsets int64) {
	t.Helper()
	until(t, fmt.Sprintf("%d events are written", offsets), func() bool {
		if !i.running() {
			t.Fatalf("the run ended early:\n%s", i.wait(t).output)
		}
		return p.written(t) >= offsets
	})
}

// exactlyOnce is for config.
func (p *place) exactlyOnce() []string {
	return []string{createTopics, "delivery: exactly_once", fmt.Sprintf("transactions: {id: %s, state_topic: %s.state, timeout: 30s}", p.name, p.name)}
}

// TestBrokerRestart kills the broker in the middle of a run and starts it again: the run goes on as if nothing had been, and
// every document's event is there.
func TestBrokerRestart(t *testing.T) {
	t.Run("at least once", func(t *testing.T) {
		testBrokerRestart(t, func(*place) []string { return []string{createTopics} })
	})
	t.Run("exactly once", func(t *testing.T) {
		if repeats := testBrokerRestart(t, (*place).exactlyOnce); repeats != 0 {
			t.Errorf("%d events are there twice", repeats)
		}
	})
}

func testBrokerRestart(t *testing.T, settings func(*place) []string) (repeats int) {
	n := events(t)
	b := ownBroker(t)
	p, docs := manyPages(t, b.Addr(kafka.Plain), n)
	i := start(t, "run", "-c", p.config(t, page, settings(p)...))
	p.await(t, i, int64(n/3))
	before := p.written(t)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if !i.running() {
		t.Fatal("the run was over before the broker was killed")
	}
	down := time.Now()
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	outage := time.Since(down)
	r := i.wait(t)
	r.wants(t, 0, fmt.Sprintf(`^Complete: %d events sent, all confirmed$`, n))
	began := time.Now()
	repeats = p.wantsAll(t, docs)
	t.Logf("%d events in %s; the broker was killed after %d and away for %s; %d events are there twice; read back in %s",
		n, r.took.Round(time.Millisecond), before, outage.Round(time.Millisecond), repeats, time.Since(began).Round(time.Millisecond))
	return repeats
}

// TestBrokerStaysAway has a broker that is gone for longer than a run waits: the run must fail and say so, and the next one
// must leave nothing out.
func TestBrokerStaysAway(t *testing.T) {
	n := events(t)
	b := ownBroker(t)
	p, docs := manyPages(t, b.Addr(kafka.Plain), n)
	config := p.config(t, page, createTopics, "delivery_timeout: 3s")
	i := start(t, "run", "-c", config)
	p.await(t, i, 1)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	// Either the events that were sent last were not confirmed in time, or those sent first were, and where they are can't be asked.
	i.wait(t).wants(t, 1, `^error: .*(delivery_timeout|looking where topics end: unavailable)`, `^NOT complete: `)
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	invoke(t, "run", "-c", config).wants(t, 0, `^Complete: \d+ events sent, all confirmed$`)
	p.wantsAll(t, docs)
}

// TestKilledRun kills syncd in the middle of a run, twice: the next run must leave nothing out.
func TestKilledRun(t *testing.T) {
	t.Run("at least once", func(t *testing.T) {
		testKilledRun(t, func(*place) []string { return []string{createTopics} })
	})
	t.Run("exactly once", func(t *testing.T) {
		if repeats := testKilledRun(t, (*place).exactlyOnce); repeats != 0 {
			t.Errorf("%d events are there twice", repeats)
		}
	})
}

func testKilledRun(t *testing.T, settings func(*place) []string) (repeats int) {
	n := events(t)
	p, docs := manyPages(t, kafkaAddr(t), n)
	config := p.config(t, page, settings(p)...)
	for range 2 {
		i := start(t, "run", "-c", config)
		p.await(t, i, p.written(t)+int64(n/10))
		i.kill(t)
		if i.cmd.ProcessState.Exited() {
			t.Fatalf("the run was over before it was killed:\n%s", i.wait(t).output)
		}
	}
	r := invoke(t, "run", "-c", config)
	r.wants(t, 0, `^Complete: \d+ events sent, all confirmed$`)
	repeats = p.wantsAll(t, docs)
	if t.Failed() {
		t.Logf("the last run said:\n%s", r.output)
	}
	t.Logf("the last run took %s; %d events are there twice, and %d offsets were used", r.took.Round(time.Millisecond), repeats, p.written(t))
	return repeats
}

// TestKilledPrune kills syncd twice while it deletes what is gone: the next run must leave nothing out.
func TestKilledPrune(t *testing.T) {
	t.Run("at least once", func(t *testing.T) {
		testKilledPrune(t, func(*place) []string { return []string{createTopics} })
	})
	t.Run("exactly once", func(t *testing.T) {
		if repeats := testKilledPrune(t, (*place).exactlyOnce); repeats != 0 {
			t.Errorf("%d deletes are there twice", repeats)
		}
	})
}

func testKilledPrune(t *testing.T, settings func(*place) []string) (repeats int) {
	const (
		documents             = 10 // that are still there, and indexed
		kills, batch, workers = 2, 100, 4
	)
	n := events(t)
	p := pages(t, kafkaAddr(t), numbered(0, documents)...)
	p.holds(t, numbered(0, documents+n))
	config := filepath.Join(t.TempDir(), "prune.yaml")
	text := fmt.Sprintf("extends: %s\nrun: {orphans: prune, batch_size: %d, workers: %d}\nlimits: {max_deletes: %d}\nmapping: {owner: {exclusive: true}}\n",
		p.config(t, page, settings(p)...), batch, workers, n)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "-c", config}
	for range kills {
		i := start(t, args...)
		p.await(t, i, p.written(t)+int64(n/10))
		i.kill(t)
		if i.cmd.ProcessState.Exited() {
			t.Fatalf("the run was over before it was killed:\n%s", i.wait(t).output)
		}
	}
	r := invoke(t, args...)
	r.wants(t, 0, `^Complete: no document had to be sent; \d+ deletes sent, all confirmed$`)
	seen := map[string]int{}
	p.read(t, func(r *kgo.Record) {
		if r.Topic != p.name+".page" {
			return
		}
		if !strings.Contains(string(r.Value), `{"operationType":"delete",`) || header(r, "syncd-reason") != "orphan" {
			t.Errorf("an event that is no delete: %s", r.Value)
		}
		seen[string(r.Key)]++
	})
	for _, id := range numbered(documents, documents+n) {
		if seen[id.(string)] == 0 {
			t.Fatalf("%d of %d deletes are there; %s is lost", len(seen), n, id)
		}
		repeats += seen[id.(string)] - 1
	}
	if len(seen) != n {
		t.Errorf("%d documents were deleted, and %d are gone", len(seen), n)
	}
	if limit := kills * 2 * workers * batch; repeats > limit {
		t.Errorf("%d deletes are there twice, more than the %d that can have been under way", repeats, limit)
	}
	t.Logf("the last run took %s; %d deletes are there twice, and %d offsets were used", r.took.Round(time.Millisecond), repeats, p.written(t))
	return repeats
}

// numbered are ids.
func numbered(from, to int) (ids []any) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("doc-%07d", i))
	}
	return ids
}

// holds has the index hold the points of documents of the collection page.
func (p *place) holds(t *testing.T, ids []any) {
	t.Helper()
	c := p.qdrantClient(t)
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.CreateCollection(t.Context(), &qdrantclient.CreateCollection{
		CollectionName: p.name,
		VectorsConfig:  qdrantclient.NewVectorsConfig(&qdrantclient.VectorParams{Size: 4, Distance: qdrantclient.Distance_Cosine}),
	}))
	_, err := c.CreateFieldIndex(t.Context(), &qdrantclient.CreateFieldIndexCollection{
		CollectionName: p.name, FieldName: "content_type", Wait: qdrantclient.PtrOf(true), FieldType: qdrantclient.FieldType_FieldTypeKeyword.Enum(),
	})
	must(err)
	for some := range slices.Chunk(ids, 1000) {
		points := make([]*qdrantclient.PointStruct, len(some))
		for i, id := range some {
			point := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/0", id))
			points[i] = &qdrantclient.PointStruct{
				Id: qdrantclient.NewID(point.String()), Vectors: qdrantclient.NewVectors(1, 0, 0, 0),
				Payload: qdrantclient.NewValueMap(map[string]any{"mongo_id": id, "content_type": "page", "chunk_index": 0}),
			}
		}
		_, err := c.Upsert(t.Context(), &qdrantclient.UpsertPoints{CollectionName: p.name, Wait: qdrantclient.PtrOf(true), Points: points})
		must(err)
	}
}
