package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	kafkasource "github.com/syncd-io/syncd/connectors/kafka"
	"github.com/syncd-io/syncd/spec"
)

// producer is a client that writes to the place's broker.
func (p *place) producer(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(strings.Split(p.kafka, ",")...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// create creates a topic of the place.
func (p *place) create(t *testing.T, topic string, partitions int32) string {
	t.Helper()
	topic = p.name + "." + topic
	if _, err := p.admin.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	return topic
}

// event is a plain event of a collection page.
func (p *place) event(topic, id string, n int) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(id), Value: fmt.Appendf(nil,
		`{"operationType":"replace","ns":{"db":%q,"coll":"page"},"documentKey":{"_id":%q},"fullDocument":{"_id":%q,"n":%d}}`, p.name, id, id, n)}
}

func produce(t *testing.T, c *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// lag is how far the place's group is behind, and whether it has an offset of every partition of the topic.
func (p *place) lag(t *testing.T, topic string) (behind int64, known bool) {
	t.Helper()
	at, err := p.admin.FetchOffsets(t.Context(), p.name)
	if err != nil {
		t.Fatal(err)
	}
	known = true
	offsets(t, p.admin.ListEndOffsets, []string{topic}).Each(func(end kadm.ListedOffset) {
		o, ok := at.Lookup(end.Topic, end.Partition)
		known = known && ok && o.At >= 0
		behind += end.Offset - max(o.At, 0)
	})
	return behind, known
}

// TestKafkaSource has two processes of one consumer group deliver a topic to another, while records are written and the processes are
// killed one after the other. Nothing is lost, each key's order is kept, and what comes again is no more than what was under way.
func TestKafkaSource(t *testing.T) {
	const keys, rounds, lives = 200, 100, 6
	p := newPlace(t, "", kafkaAddr(t))
	in := p.create(t, "cdc.page", 6)
	config := func(state string) string {
		file := filepath.Join(t.TempDir(), "syncd.yaml")
		text := fmt.Sprintf(`source: {kafka: {bootstrap_servers: %q, topics: [%q], group_id: %q, database: %q, session_timeout: 6s}}
sink: {kafka: {bootstrap_servers: %q, create_topics: {partitions: 6}}}
errors: {dead_letter: {kafka: {bootstrap_servers: %q, topic: "{database}.dead", create_topics: {partitions: 1}}}}
mapping: {collections: {page: page}}
run: {follow: true, batch_size: 20, workers: 4, state_dir: %q}
`, p.kafka, in, p.name, p.name, p.kafka, p.kafka, state)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	files := [2]string{config(t.TempDir()), config(t.TempDir())}
	c := p.producer(t)
	produce(t, c, &kgo.Record{Topic: in, Key: []byte("poison"), Value: []byte(`{"operationType":`), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}})
	write := func(from, to int) {
		for n := from; n <= to; n++ {
			var records []*kgo.Record
			for k := range keys {
				records = append(records, p.event(in, fmt.Sprintf("k%d", k), n))
			}
			produce(t, c, records...)
		}
	}
	running := [2]*invocation{start(t, "run", "-c", files[0]), start(t, "run", "-c", files[1])}
	out := p.name + ".page"
	delivered := func() (n int64) {
		for _, topic := range p.topics(t) {
			if topic == out {
				offsets(t, p.admin.ListEndOffsets, []string{out}).Each(func(o kadm.ListedOffset) { n += o.Offset })
			}
		}
		return n
	}
	for life := range lives {
		before := delivered()
		write(life*rounds/lives+1, (life+1)*rounds/lives)
		until(t, "something is delivered", func() bool {
			for i := range running {
				if !running[i].running() {
					t.Fatalf("it ended by itself:\n%s", running[i].wait(t).output)
				}
			}
			return delivered() > before
		})
		i := life % 2
		running[i].kill(t)
		running[i] = start(t, "run", "-c", files[i])
	}
	until(t, "all is delivered and committed", func() bool {
		behind, known := p.lag(t, in)
		return known && behind == 0
	})
	for i := range running {
		if err := running[i].cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for i := range running {
		running[i].wait(t).wants(t, 0, `^Stopped following`)
	}
	last, repeats, letters := map[string]int{}, 0, 0
	p.read(t, func(r *kgo.Record) {
		switch r.Topic {
		case out:
			d, err := codec.Decoder{Form: codec.PlainForm}.Decode(r.Key, r.Value, false)
			if err != nil {
				t.Fatal(err)
			}
			n := int(d.Document.Lookup("n").AsInt64())
			switch seen := last[d.ID]; {
			case n == seen+1:
				last[d.ID] = n
			case n <= seen: // after a kill a key's changes come again, from somewhere on
				repeats++
			default:
				t.Errorf("of %s, %d came behind %d", d.ID, n, seen)
			}
		case p.name + ".dead":
			letters++
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			if string(r.Key) != "poison" || string(r.Value) != `{"operationType":` || headers["trace"] != "x" || headers[codec.HeaderErrorTopic] != in || headers[codec.HeaderErrorMessage] == "" {
				t.Errorf("%q %q %v", r.Key, r.Value, headers)
			}
		}
	})
	for k := range keys {
		if id := fmt.Sprintf("k%d", k); last[id] != rounds {
			t.Errorf("of %s, %d of %d changes came", id, last[id], rounds)
		}
	}
	// Of each of eight batches that may be under way, and what is waiting for its checkpoint: see engine.inFlight.
	if most := lives * 8 * 20 * 2; repeats > most {
		t.Errorf("%d changes came again, want at most %d", repeats, most)
	}
	if letters < 1 {
		t.Error("the record that can't be read is no dead letter")
	}
	t.Logf("%d changes, %d lives killed: %d came again, %d dead letters", keys*rounds, lives, repeats, letters)
}

// openKafka opens a source of the place's group, as it stands in the configuration that set changes.
func (p *place) openKafka(t *testing.T, topic string, set func(*kafkasource.Config)) (syncd.Source, syncd.Stream, error) {
	t.Helper()
	plugin := kafkasource.Plugin()
	cfg := plugin.Config().(*kafkasource.Config)
	cfg.BootstrapServers, cfg.Topics, cfg.GroupID, cfg.Database, cfg.SessionTimeout = p.kafka, []string{topic}, p.name, p.name, 6*time.Second
	if set != nil {
		set(cfg)
	}
	s, err := plugin.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	return s, syncd.Stream{Name: "group " + p.name, Collections: []syncd.Collection{{Name: "page"}}}, err
}

// takeKafka reads n changes of a source, has them confirmed, and returns their ids.
func takeKafka(t *testing.T, s syncd.Source, stream syncd.Stream, after syncd.Offset, n int) (ids []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for b, err := range s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, After: after, BatchSize: 100}) {
		if err != nil {
			return ids, err
		}
		for _, c := range b.Changes {
			ids = append(ids, c.ID)
		}
		if err := s.Abilities().Stream.Commit(ctx, stream, b.Offset); err != nil {
			return ids, err
		}
		if len(ids) >= n {
			return ids, nil
		}
	}
	return ids, errors.New("the stream ended")
}

// TestKafkaSourceOffsets: where a group begins and goes on, on a real broker.
func TestKafkaSourceOffsets(t *testing.T) {
	p := newPlace(t, "", kafkaAddr(t))
	c := p.producer(t)
	takes := func(t *testing.T, topic string, set func(*kafkasource.Config), n int) []string {
		t.Helper()
		s, stream, err := p.openKafka(t, topic, set)
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, s.Close)
		at, err := s.Abilities().Stream.Now(t.Context(), stream)
		if err != nil {
			t.Fatalf("%v (%s)", err, syncd.HintOf(err))
		}
		ids, err := takeKafka(t, s, stream, at, n)
		if err != nil {
			t.Fatalf("%v (%s)", err, syncd.HintOf(err))
		}
		return ids
	}
	t.Run("a time", func(t *testing.T) {
		topic := p.create(t, "cdc.time", 1)
		for i, minute := range []int{0, 10, 20} {
			r := p.event(topic, fmt.Sprint(i), i)
			r.Timestamp = time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)
			produce(t, c, r)
		}
		if ids := takes(t, topic, func(c *kafkasource.Config) { c.GroupID, c.Start = p.name+"-time", "2026-01-01T00:05:00Z" }, 2); strings.Join(ids, " ") != "1 2" {
			t.Errorf("%v", ids)
		}
	})
	t.Run("a truncated log", func(t *testing.T) {
		topic := p.create(t, "cdc.cut", 1)
		for i := range 6 {
			produce(t, c, p.event(topic, fmt.Sprint(i), i))
		}
		var set kadm.Offsets
		set.Add(kadm.Offset{Topic: topic, Partition: 0, At: 2})
		if err := p.admin.CommitAllOffsets(t.Context(), p.name, set); err != nil {
			t.Fatal(err)
		}
		var cut kadm.Offsets
		cut.Add(kadm.Offset{Topic: topic, Partition: 0, At: 4})
		if _, err := p.admin.DeleteRecords(t.Context(), cut); err != nil {
			t.Fatal(err)
		}
		s, stream, err := p.openKafka(t, topic, nil)
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, s.Close)
		at, err := s.Abilities().Stream.Now(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = takeKafka(t, s, stream, at, 1); !errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(err.Error(), "stands at offset 2, and the log has 4 to 6") {
			t.Fatalf("%v", err)
		}
		if at, err = s.Abilities().Stream.Now(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		if ids, err := takeKafka(t, s, stream, at, 2); err != nil || strings.Join(ids, " ") != "4 5" {
			t.Errorf("%v, %v", ids, err)
		}
	})
	t.Run("transactions", func(t *testing.T) {
		topic := p.create(t, "cdc.transactions", 1)
		writer := p.producer(t, kgo.TransactionalID(p.name))
		for i, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
			if err := writer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			produce(t, writer, p.event(topic, fmt.Sprint(i), i))
			if err := writer.EndTransaction(t.Context(), how); err != nil {
				t.Fatal(err)
			}
		}
		group := func(c *kafkasource.Config) { c.GroupID = p.name + "-transactions" }
		s, stream, err := p.openKafka(t, topic, group)
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, s.Close)
		at, err := s.Abilities().Stream.Now(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var ids []string
		for b, err := range s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, After: at, BatchSize: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range b.Changes {
				ids = append(ids, c.ID)
			}
			if err := s.Abilities().Stream.Commit(ctx, stream, b.Offset); err != nil {
				t.Fatal(err)
			}
			if len(b.Changes) == 0 {
				break // everything was read, to the last mark of a transaction
			}
		}
		if strings.Join(ids, " ") != "0 2" {
			t.Errorf("%v", ids)
		}
		at2, err := p.admin.FetchOffsets(t.Context(), p.name+"-transactions")
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := at2.Lookup(topic, 0); o.At != 6 {
			t.Errorf("the group stands at %d, want behind the mark of the last transaction", o.At)
		}
		w, err := s.Abilities().Stream.Window(ctx, stream)
		if err != nil || w.First.IsZero() || w.Last.Before(w.First) || time.Since(w.Last) > time.Minute {
			t.Errorf("%+v, %v", w, err)
		}
	})
	t.Run("a deleted topic", func(t *testing.T) {
		topic := p.create(t, "cdc.deleted", 1)
		produce(t, c, p.event(topic, "a", 1))
		s, stream, err := p.openKafka(t, topic, func(c *kafkasource.Config) {
			c.GroupID, c.Properties = p.name+"-deleted", map[string]spec.Secret{"topic.metadata.refresh.interval.ms": "500"}
		})
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, s.Close)
		at, err := s.Abilities().Stream.Now(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		deleted := false
		for b, err := range s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, After: at, BatchSize: 100}) {
			if err != nil {
				if !deleted || !strings.Contains(err.Error(), "does not exist") || syncd.HintOf(err) == "" {
					t.Errorf("%v (%s)", err, syncd.HintOf(err))
				}
				break
			}
			if len(b.Changes) > 0 {
				if _, err := p.admin.DeleteTopics(t.Context(), topic); err != nil {
					t.Fatal(err)
				}
				deleted = true
			}
		}
	})
	t.Run("a refused login", func(t *testing.T) {
		b := broker(t)
		q := p.at(b.Addr("SASL_PLAINTEXT"))
		_, _, err := q.openKafka(t, "any", func(c *kafkasource.Config) {
			c.Security.SASL.Mechanism, c.Security.SASL.Username, c.Security.SASL.Password = "SCRAM-SHA-256", "app", "wrong"
		})
		if err == nil || !strings.Contains(err.Error(), "authenticating at Kafka") || !strings.Contains(syncd.HintOf(err), "source.kafka.security.sasl") {
			t.Errorf("%v (%s)", err, syncd.HintOf(err))
		}
	})
}
