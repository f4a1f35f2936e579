package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

// cluster starts librdkafka's broker in process, which knows groups, offsets and fetching.
func cluster(t testing.TB, partitions int, topics ...string) *broker {
	t.Helper()
	c, err := ck.NewMockCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, topic := range topics {
		if err := c.CreateTopic(topic, partitions, 1); err != nil {
			t.Fatal(err)
		}
	}
	p, err := ck.NewProducer(&ck.ConfigMap{"bootstrap.servers": c.BootstrapServers(), "partitioner": "murmur2_random", "linger.ms": 0, "message.max.bytes": 20_000_000, "go.delivery.reports": true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &broker{MockCluster: c, producer: p}
}

type broker struct {
	*ck.MockCluster
	producer *ck.Producer
}

// send produces a record and waits until it is there.
func (b *broker) send(t testing.TB, topic, key, value string, headers ...ck.Header) {
	t.Helper()
	m := &ck.Message{TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny}, Key: []byte(key), Headers: headers}
	if value != "" {
		m.Value = []byte(value)
	}
	reports := make(chan ck.Event, 1)
	if err := b.producer.Produce(m, reports); err != nil {
		t.Fatal(err)
	}
	if r := (<-reports).(*ck.Message); r.TopicPartition.Error != nil {
		t.Fatal(r.TopicPartition.Error)
	}
}

// committed is where a group stands, by partition; -1001 is nowhere.
func (b *broker) committed(t testing.TB, group, topic string, partitions int) []int64 {
	t.Helper()
	c, err := ck.NewConsumer(&ck.ConfigMap{"bootstrap.servers": b.BootstrapServers(), "group.id": group})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var asked []ck.TopicPartition
	for p := range partitions {
		asked = append(asked, ck.TopicPartition{Topic: &topic, Partition: int32(p)})
	}
	at, err := c.Committed(asked, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var out []int64
	for _, p := range at {
		out = append(out, int64(p.Offset))
	}
	return out
}

type opened struct {
	syncd.Source
	log    *syncBuffer
	stream syncd.Stream
	after  syncd.Offset
}

type syncBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func config(servers string, change func(*Config)) Config {
	c := defaults()
	c.BootstrapServers, c.GroupID, c.Database, c.Topics = servers, "g", "db", []string{"db.page"}
	c.SessionTimeout = 6 * time.Second
	if change != nil {
		change(&c)
	}
	return c
}

// start opens a source whose stream is of the collections page and note.
func start(t testing.TB, servers string, change func(*Config)) *opened {
	t.Helper()
	o := &opened{log: &syncBuffer{}}
	var err error
	if o.Source, err = open(t.Context(), config(servers, change), syncd.Env{Logger: slog.New(slog.NewTextHandler(o.log, nil))}); err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	streams, err := o.Abilities().Stream.Streams(t.Context(), []syncd.Collection{{Name: "page"}, {Name: "note"}})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	o.stream = streams[0]
	if o.after, err = o.Abilities().Stream.Now(t.Context(), o.stream); err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return o
}

func (o *opened) request() syncd.ReadRequest {
	return syncd.ReadRequest{Split: syncd.Split{Stream: &o.stream}, After: o.after, BatchSize: 100, BatchBytes: 1 << 20}
}

// read reads until each returns false, and fails after a while.
func (o *opened) read(t testing.TB, each func(syncd.Batch) bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for b, err := range o.Read(ctx, o.request()) {
		if err != nil {
			return err
		}
		if !each(b) {
			return nil
		}
	}
	return errors.New("the stream ended")
}

// take reads n changes and has them confirmed.
func (o *opened) take(t testing.TB, n int) (out []syncd.Change) {
	t.Helper()
	var at syncd.Offset
	if err := o.read(t, func(b syncd.Batch) bool {
		out, at = append(out, b.Changes...), b.Offset
		return len(out) < n
	}); err != nil {
		t.Fatalf("after %d of %d changes: %v\n%s", len(out), n, err, o.log)
	}
	if len(out) > n {
		t.Fatalf("%d changes, want %d", len(out), n)
	}
	o.commit(t, at)
	return out
}

func (o *opened) commit(t testing.TB, at syncd.Offset) {
	t.Helper()
	if err := o.Abilities().Stream.Commit(t.Context(), o.stream, at); err != nil {
		t.Fatal(err)
	}
}

// text shows a change.
func text(c syncd.Change) string {
	if c.Err != nil {
		return fmt.Sprintf("%s: %v", c.ID, c.Err)
	}
	doc := []byte("-")
	if c.Document != nil {
		var err error
		if doc, err = c.Document.AppendJSON(nil, syncd.Plain); err != nil {
			return err.Error()
		}
	}
	return fmt.Sprintf("%s %s %s %s", c.Operation, c.Streamed.Collection, c.ID, doc)
}

func plain(op, coll, id, fields string) string {
	doc := ""
	if op != "delete" {
		doc = fmt.Sprintf(`,"fullDocument":{"_id":%q%s}`, id, fields)
	}
	return fmt.Sprintf(`{"operationType":%q,"ns":{"db":"db","coll":%q},"documentKey":{"_id":%q}%s}`, op, coll, id, doc)
}
