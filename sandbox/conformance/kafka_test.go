package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// kafkaSink opens the sink as the program does, over its declared defaults.
func kafkaSink(ctx context.Context, addr string, log *slog.Logger, change func(*kafka.Config)) (syncd.Sink, error) {
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	c.BootstrapServers = addr
	if change != nil {
		change(c)
	}
	return p.OpenSink(ctx, c, syncd.Env{Logger: log})
}

func openKafka(t *testing.T, addr string, change func(*kafka.Config)) syncd.Sink {
	t.Helper()
	s, err := kafkaSink(t.Context(), addr, slog.New(slog.DiscardHandler), change)
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return s
}

func closingKafka(t *testing.T, addr string, change func(*kafka.Config)) syncd.Sink {
	t.Helper()
	s := openKafka(t, addr, change)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func kafkaBroker(t *testing.T, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	b, err := kafkaserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func consume(t *testing.T, addr, user, password string, topics ...string) []kafkaserver.Record {
	t.Helper()
	records, _, err := kafkaserver.Consume(t.Context(), kafkaserver.ConsumeConfig{Addr: addr, User: user, Password: password, Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func createTopics(c *kafka.Config) {
	c.CreateTopics = &kafka.CreateTopics{Partitions: 3, ReplicationFactor: 1}
}

// suite runs the sink's conformance suite against a broker.
func suite(t *testing.T, addr, user, password string, change func(*kafka.Config)) {
	t.Helper()
	syncdtest.TestSink(t, syncdtest.SinkHarness{
		Open: func(t *testing.T) syncd.Sink { return openKafka(t, addr, change) },
		Read: func(t *testing.T) []syncdtest.Received {
			var topics []string
			for _, target := range syncdtest.SinkTargets() {
				topics = append(topics, kafkaRoute(target))
			}
			var out []syncdtest.Received
			for _, r := range consume(t, addr, user, password, topics...) {
				got := syncdtest.Received{Target: r.Topic, Key: r.Key, Value: r.Value}
				for _, h := range r.Headers {
					got.Headers = append(got.Headers, syncd.Header{Name: h.Key, Value: string(h.Value)})
				}
				out = append(out, got)
			}
			return out
		},
		TooLarge: 1_100_000,
	})
}

// kafkaRoute is the default rule for topics, written again.
func kafkaRoute(t syncd.Target) string {
	if t.Topic != "" {
		return t.Topic
	}
	return t.Database + "." + t.Collection
}

func TestKafka(t *testing.T) {
	suite(t, kafkaBroker(t, kafkaserver.Config{}).Addr(), "", "", createTopics)
}

func TestKafkaWithPassword(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{User: "app", Password: "right"})
			suite(t, b.Addr(), "app", "right", func(c *kafka.Config) {
				createTopics(c)
				c.Security.SASL = kafka.SASL{Mechanism: mechanism, Username: "app", Password: "right"}
			})
		})
	}
}

// TestRealKafka runs the suite against the broker that SYNCD_TEST_KAFKA names; it creates the suite's topics there.
func TestRealKafka(t *testing.T) {
	addr := os.Getenv("SYNCD_TEST_KAFKA")
	if addr == "" {
		t.Skip("SYNCD_TEST_KAFKA names no broker")
	}
	suite(t, addr, "", "", createTopics)
}

func TestKafkaWrongPassword(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{User: "app", Password: "right"})
			var log bytes.Buffer
			s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), func(c *kafka.Config) {
				c.ConnectTimeout = time.Second // a real broker answers at once; this one hangs up, and may come to itself
				c.Security.SASL = kafka.SASL{Mechanism: mechanism, Username: "app", Password: "hunter2hunter2"}
			})
			if err == nil {
				t.Fatal(errors.Join(errors.New("the sink opened"), s.Close()))
			}
			t.Logf("error: %v\nhint: %s", err, syncd.HintOf(err))
			if !strings.Contains(err.Error(), "authenticating") || !strings.Contains(err.Error(), b.Addr()) || errors.Is(err, syncd.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(syncd.HintOf(err), "sink.kafka.security.sasl") {
				t.Errorf("hint %q", syncd.HintOf(err))
			}
			if strings.Contains(err.Error()+syncd.HintOf(err)+log.String(), "hunter2") {
				t.Errorf("the password is shown: %v\n%s", err, log.String())
			}
		})
	}
}

// TestKafkaRefusalEndsTheWait has the broker answer as Apache Kafka does, where kfake hangs up: there is nothing to wait for.
func TestKafkaRefusalEndsTheWait(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{User: "app", Password: "right"})
	b.Cluster().ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		resp.ErrorMessage = kmsg.StringPtr("Authentication failed: Invalid username or password")
		return resp, nil, true
	})
	begin := time.Now()
	s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.DiscardHandler), func(c *kafka.Config) {
		c.ConnectTimeout = time.Minute
		c.Security.SASL = kafka.SASL{Mechanism: "PLAIN", Username: "app", Password: "wrong"}
	})
	if err == nil {
		t.Fatal(errors.Join(errors.New("the sink opened"), s.Close()))
	}
	t.Logf("error: %v\nhint: %s", err, syncd.HintOf(err))
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	if !strings.Contains(err.Error(), "authenticating") || !strings.Contains(err.Error(), "Invalid username or password") {
		t.Errorf("error %v", err)
	}
}

func TestKafkaWithoutLogin(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{User: "app", Password: "right"})
	s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.DiscardHandler), func(c *kafka.Config) { c.ConnectTimeout = time.Second })
	if err == nil {
		t.Fatal(errors.Join(errors.New("the sink opened"), s.Close()))
	}
	t.Logf("error: %v\nhint: %s", err, syncd.HintOf(err))
	if !strings.Contains(syncd.HintOf(err), "sink.kafka.security") {
		t.Errorf("hint %q", syncd.HintOf(err))
	}
}

// pages makes events of one topic, whose values are of the given size.
func pages(n, size int) []syncd.Event {
	out := make([]syncd.Event, n)
	for i := range out {
		out[i] = syncd.Event{Target: syncd.Target{Database: "db", Collection: "page"}, Key: fmt.Appendf(nil, "%d", i), Value: bytes.Repeat([]byte{byte(i)}, size)}
	}
	return out
}

func TestKafkaCreatesTopics(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{Partitions: 2, AutoCreateTopics: true})
	targets := []syncd.Target{{Database: "db", Collection: "page"}, {Database: "db", Collection: "epic"}}
	refusing := closingKafka(t, b.Addr(), nil).(syncd.Preparer)
	for range 2 { // the broker would create a topic that is asked for, unless it is asked not to
		if err := refusing.Prepare(t.Context(), targets); err == nil || !strings.Contains(err.Error(), "db.page") || !strings.Contains(err.Error(), "db.epic") {
			t.Fatalf("error %v", err)
		}
	}
	var log bytes.Buffer
	s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.NewTextHandler(&log, nil)), func(c *kafka.Config) {
		c.CreateTopics = &kafka.CreateTopics{Partitions: 5}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if err := s.(syncd.Preparer).Prepare(t.Context(), targets); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "created Kafka topic"); n != 2 {
		t.Errorf("%d topics were logged as created:\n%s", n, log.String())
	}
	for _, topic := range []string{"db.page", "db.epic"} {
		if n := len(b.Cluster().PartitionInfos(topic)); n != 5 {
			t.Errorf("topic %s has %d partitions, want 5", topic, n)
		}
	}
}

func TestKafkaCanNotCreateTopics(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s := closingKafka(t, b.Addr(), func(c *kafka.Config) { c.CreateTopics = &kafka.CreateTopics{ReplicationFactor: 3} })
	err := s.(syncd.Preparer).Prepare(t.Context(), []syncd.Target{{Database: "db", Collection: "page"}})
	if err == nil || !strings.Contains(err.Error(), `"db.page" can't be created`) || !strings.Contains(strings.ToLower(err.Error()), "replication") {
		t.Errorf("error %v", err)
	}
}

// TestKafkaSmallLimit has a topic that takes less than one of the sink's batches: only the event that is too large by
// itself may fail.
func TestKafkaSmallLimit(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var log bytes.Buffer
	s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.NewTextHandler(&log, nil)), func(c *kafka.Config) {
		createTopics(c)
		c.CreateTopics.Config = map[string]spec.Secret{"max.message.bytes": "20000"}
		c.Compression = "none"
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	events := pages(200, 1000)
	events[7].Value = make([]byte, 30_000)
	if err := s.(syncd.Preparer).Prepare(t.Context(), []syncd.Target{events[0].Target}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "max_message_bytes") {
		t.Errorf("no warning:\n%s", log.String())
	}
	err = s.Write(t.Context(), events)
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{7}) || errors.Is(failed.Of(7), syncd.ErrUnavailable) {
		t.Fatalf("error %v", err)
	}
	got := map[string]bool{}
	for _, r := range consume(t, b.Addr(), "", "", "db.page") {
		got[string(r.Key)] = true
	}
	if len(got) != 199 {
		t.Errorf("%d events arrived, want 199", len(got))
	}
}

func TestKafkaTopicGoneMidRun(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s := closingKafka(t, b.Addr(), func(c *kafka.Config) {
		createTopics(c)
		c.DeliveryTimeout = 2 * time.Second
	})
	events := pages(10, 10)
	if err := s.(syncd.Preparer).Prepare(t.Context(), []syncd.Target{events[0].Target}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := b.Cluster().DeleteTopic("db.page"); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), events)
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "db.page") {
		t.Errorf("error %v", err)
	}
}

// refuseProduce has the broker refuse whole batches, as one without record_errors does (before Apache Kafka 2.4), if bad says so.
func refuseProduce(b *kafkaserver.Server, code int16, bad func(batch []byte) bool) {
	b.Cluster().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		produce := req.(*kmsg.ProduceRequest)
		refused := false
		for _, t := range produce.Topics {
			for _, p := range t.Partitions {
				refused = refused || bad(p.Records)
			}
		}
		if !refused {
			return nil, nil, false
		}
		resp := produce.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range produce.Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				one := kmsg.NewProduceResponseTopicPartition()
				one.Partition, one.ErrorCode = p.Partition, code
				answer.Partitions = append(answer.Partitions, one)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
}

// TestKafkaBlamesNoNeighbour has a broker that refuses the whole batch for one bad event: the others are sound.
func TestKafkaBlamesNoNeighbour(t *testing.T) {
	for _, code := range []*kerr.Error{kerr.InvalidRecord, kerr.InvalidTimestamp} {
		b := kafkaBroker(t, kafkaserver.Config{})
		s := closingKafka(t, b.Addr(), func(c *kafka.Config) {
			createTopics(c)
			c.Compression = "none"
		})
		events := pages(100, 10)
		events[42].Value = []byte("a bad event")
		if err := s.(syncd.Preparer).Prepare(t.Context(), []syncd.Target{events[0].Target}); err != nil {
			t.Fatal(err)
		}
		refuseProduce(b, code.Code, func(batch []byte) bool { return bytes.Contains(batch, []byte("a bad event")) })
		err := s.Write(t.Context(), events)
		failed, ok := errors.AsType[*syncd.BatchError](err)
		if !ok || !slices.Equal(failed.Failed(), []int{42}) || errors.Is(failed.Of(42), syncd.ErrUnavailable) {
			t.Fatalf("%s: error %v", code.Message, err)
		}
		got := map[string]bool{}
		for _, r := range consume(t, b.Addr(), "", "", "db.page") {
			got[string(r.Key)] = true
		}
		if len(got) != 99 {
			t.Errorf("%s: %d events arrived, want 99", code.Message, len(got))
		}
	}
}
