package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster starts librdkafka's broker in process, which knows producing, fetching and metadata, but no admin requests.
func cluster(t testing.TB, topics ...string) *ck.MockCluster {
	t.Helper()
	c, err := ck.NewMockCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, topic := range topics {
		if err := c.CreateTopic(topic, 3, 1); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// config is the default one for tests: short timeouts, and no wait for company in a batch.
func config(bootstrap string, change func(*Config)) Config {
	c := defaults()
	c.BootstrapServers = bootstrap
	c.ConnectTimeout = 10 * time.Second
	c.Linger = 0
	if change != nil {
		change(&c)
	}
	return c
}

func start(t testing.TB, bootstrap string, change func(*Config)) *Sink {
	t.Helper()
	s, err := open(t.Context(), config(bootstrap, change), syncd.Env{Logger: slog.New(slog.DiscardHandler), Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	s.(*Sink).limits = time.Millisecond // the broker in process never answers this question
	return s.(*Sink)
}

// startClosing is start for a sink that the test does not close itself.
func startClosing(t testing.TB, bootstrap string, change func(*Config)) *Sink {
	t.Helper()
	s := start(t, bootstrap, change)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func event(collection, key string, value []byte) codec.Event {
	return codec.Event{
		Target: syncd.Target{Database: "db", Collection: collection, ContentType: collection},
		ID:     key, Key: []byte(key), Value: value,
	}
}

func events(collection string, n int) []codec.Event {
	out := make([]codec.Event, n)
	for i := range out {
		out[i] = event(collection, fmt.Sprintf("key-%d", i), fmt.Appendf(nil, `{"n":%d}`, i))
	}
	return out
}

type record struct {
	syncdtest.Received
	partition int32
	at        time.Time
}

// read consumes all that the brokers hold now.
func read(t testing.TB, bootstrap string) []record {
	t.Helper()
	c, err := ck.NewConsumer(&ck.ConfigMap{
		"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": false,
		"go.logs.channel.enable": true, "fetch.wait.max.ms": 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	md, err := c.GetMetadata(nil, true, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	var assigned []ck.TopicPartition
	left := 0
	for topic, info := range md.Topics {
		for _, p := range info.Partitions {
			low, high, err := c.QueryWatermarkOffsets(topic, p.ID, 10_000)
			if err != nil {
				t.Fatal(err)
			}
			left += int(high - low)
			assigned = append(assigned, ck.TopicPartition{Topic: &topic, Partition: p.ID, Offset: ck.Offset(low)})
		}
	}
	if err := c.Assign(assigned); err != nil {
		t.Fatal(err)
	}
	var out []record
	for ; left > 0; left-- {
		m, err := c.ReadMessage(30 * time.Second)
		if err != nil {
			t.Fatalf("reading with %d records left: %v", left, err)
		}
		r := record{partition: m.TopicPartition.Partition, at: m.Timestamp}
		r.Placement = syncd.Placement{Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset), Known: true}
		r.Target, r.Key, r.Value = *m.TopicPartition.Topic, m.Key, m.Value
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, codec.Header{Name: h.Key, Value: string(h.Value)})
		}
		out = append(out, r)
	}
	return out
}

func byKey(records []record, key string) []record {
	return slices.DeleteFunc(slices.Clone(records), func(r record) bool { return !bytes.Equal(r.Key, []byte(key)) })
}

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestConformance(t *testing.T) {
	bootstrap := ""
	r, err := newRouter(defaults())
	if err != nil {
		t.Fatal(err)
	}
	var topics []string
	for _, target := range syncdtest.SinkTargets() {
		topics = append(topics, r.route(target).name)
	}
	syncdtest.TestSink(t, syncdtest.SinkHarness{
		Open: func(t *testing.T) syncd.Sink {
			bootstrap = cluster(t, topics...).BootstrapServers()
			return start(t, bootstrap, func(c *Config) { c.Headers = []string{allHeaders} })
		},
		Read: func(t *testing.T) []syncdtest.Received {
			records := read(t, bootstrap)
			out := make([]syncdtest.Received, len(records))
			for i, r := range records {
				out[i] = r.Received
			}
			return out
		},
		TooLarge: 1_100_000,
	})
}

// change is a change of a small document.
func change(t testing.TB, collection, id string) syncd.Change {
	t.Helper()
	raw, err := bson.Marshal(bson.D{{Key: "_id", Value: id}})
	if err != nil {
		t.Fatal(err)
	}
	target := event(collection, "", nil).Target
	return syncd.Change{Target: &target, ID: id, Document: bsondoc.NewDocument(raw)}
}

// canceling cancels when the last of n events was produced.
type canceling struct {
	producer
	n      int
	cancel context.CancelFunc
}

func (c *canceling) Produce(m *ck.Message, reports chan ck.Event) error {
	err := c.producer.Produce(m, reports)
	if c.n--; c.n == 0 {
		c.cancel()
	}
	return err
}
