package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
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
	records, _, err := kafkaserver.Consume(t.Context(), kafkaserver.ConsumeConfig{Addr: addr, User: user, Password: password, Topics: topics, Committed: true})
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
	all := func(c *kafka.Config) {
		c.Headers = []string{"all"}
		change(c)
	}
	open := func(t *testing.T) syncd.Sink { return openKafka(t, addr, all) }
	c := kafka.Plugin().Config().(*kafka.Config)
	all(c)
	syncdtest.TestSink(t, syncdtest.SinkHarness{
		Event: c.Event,
		Open:  open, OpenAgain: open,
		Read: func(t *testing.T) []syncdtest.Received {
			var topics []string
			for _, target := range syncdtest.SinkTargets() {
				topics = append(topics, kafkaRoute(target))
			}
			var out []syncdtest.Received
			for _, r := range consume(t, addr, user, password, topics...) {
				got := syncdtest.Received{Target: r.Topic, Key: r.Key, Value: r.Value}
				got.Placement = syncd.Placement{Partition: r.Partition, Offset: r.Offset, Known: true}
				for _, h := range r.Headers {
					got.Headers = append(got.Headers, codec.Header{Name: h.Key, Value: string(h.Value)})
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

func exactlyOnce(c *kafka.Config) {
	createTopics(c)
	c.Delivery, c.Transactions.ID = "exactly_once", "conformance"
}

func TestKafkaExactlyOnce(t *testing.T) {
	suite(t, kafkaBroker(t, kafkaserver.Config{}).Addr(), "", "", exactlyOnce)
}

// TestKafkaForms runs the suite with other forms of events than the default.
func TestKafkaForms(t *testing.T) {
	for name, form := range map[string]codec.Config{
		"tombstones": {Profile: codec.Plain, DeleteFormat: codec.DeleteTombstone},
		"bson":       {Profile: codec.MongoKafka, Wire: codec.WireBSON, KeyWire: codec.WireString, DeleteFormat: codec.DeleteTombstone},
	} {
		t.Run(name, func(t *testing.T) {
			suite(t, kafkaBroker(t, kafkaserver.Config{}).Addr(), "", "", func(c *kafka.Config) {
				createTopics(c)
				c.Event = form
			})
		})
	}
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
	t.Run("at least once", func(t *testing.T) { suite(t, addr, "", "", createTopics) })
	t.Run("exactly once", func(t *testing.T) { suite(t, addr, "", "", exactlyOnce) })
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

// text is a document that is one JSON string.
type text string

func (t text) Lookup(string) (syncd.Value, error) { return syncd.Value{}, nil }
func (t text) Size() int                          { return len(t) }
func (t text) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	return append(append(append(dst, '"'), t...), '"'), nil
}

var page = syncd.Target{Database: "db", Collection: "page"}

// pages makes changes of one topic, whose documents are of the given size.
func pages(n, size int) []syncd.Change {
	out := make([]syncd.Change, n)
	for i := range out {
		out[i] = syncd.Change{Target: &page, ID: strconv.Itoa(i), Document: text(strings.Repeat(string(rune('a'+i%26)), size))}
	}
	return out
}

func prepare(t testing.TB, s syncd.Sink, targets ...syncd.Target) error {
	t.Helper()
	return s.Abilities().Prepare(t.Context(), syncd.Run{ID: "run-1", Targets: targets})
}

func TestKafkaCreatesTopics(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{Partitions: 2, AutoCreateTopics: true})
	targets := []syncd.Target{{Database: "db", Collection: "page"}, {Database: "db", Collection: "epic"}}
	refusing := closingKafka(t, b.Addr(), nil)
	for range 2 { // the broker would create a topic that is asked for, unless it is asked not to
		if err := prepare(t, refusing, targets...); err == nil || !strings.Contains(err.Error(), "db.page") || !strings.Contains(err.Error(), "db.epic") {
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
		if err := prepare(t, s, targets...); err != nil {
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
	err := prepare(t, s, page)
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
	events[7].Document = text(strings.Repeat("x", 30_000))
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "max_message_bytes") {
		t.Errorf("no warning:\n%s", log.String())
	}
	err = s.Write(t.Context(), events)
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{7}) || errors.Is(failed.Of(7), syncd.ErrUnavailable) || !errors.Is(failed.Of(7), syncd.ErrTooLarge) {
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
	if err := prepare(t, s, page); err != nil {
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
				one.Partition, one.ErrorCode, one.BaseOffset = p.Partition, code, -1
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
		events[42].Document = text("a bad event")
		if err := prepare(t, s, page); err != nil {
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

// committer is a sink of delivery: exactly_once.
type committer struct {
	syncd.Sink
	syncd.SinkAbilities
}

// ledger opens a committer, prepared for pages, and takes over from its predecessors.
func ledger(t *testing.T, addr string, retried func(string), change func(*kafka.Config)) (committer, map[string][]byte) {
	t.Helper()
	c := unclaimed(t, addr, retried, change)
	marks, err := c.Marks(t.Context(), "")
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	return c, marks
}

// unclaimed is ledger before Marks. Topics are named after the test, so that it can run at a real broker.
func unclaimed(t *testing.T, addr string, retried func(string), change func(*kafka.Config)) committer {
	t.Helper()
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	exactlyOnce(c)
	c.BootstrapServers, c.TopicPrefix, c.Transactions.ID = addr, testName(t), testName(t)
	if change != nil {
		change(c)
	}
	s, err := p.OpenSink(t.Context(), c, syncd.Env{Retried: retried})
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	return committer{s, s.Abilities()}
}

// began makes the names of a real broker's topics and transactions this run's own.
var began = time.Now().UnixNano()

func testName(t *testing.T) string {
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", ".", " ", "-").Replace(t.Name()), began)
}

func pageTopic(t *testing.T) string  { return testName(t) + ".db.page" }
func stateTopic(t *testing.T) string { return testName(t) + ".syncd-state" }

func mark(name, value string) []syncd.Mark { return []syncd.Mark{{Name: name, Value: []byte(value)}} }

// keys lists the keys of the committed pages.
func keys(t *testing.T, addr string) []string {
	t.Helper()
	var out []string
	for _, r := range consume(t, addr, "", "", pageTopic(t)) {
		out = append(out, string(r.Key))
	}
	slices.Sort(out)
	return out
}

func keysOf(changes []syncd.Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.ID)
	}
	slices.Sort(out)
	return out
}

// transactionBroker is a real one where there is one.
func transactionBroker(t *testing.T) string {
	t.Helper()
	if addr := os.Getenv("SYNCD_TEST_KAFKA"); addr != "" {
		return addr
	}
	return kafkaBroker(t, kafkaserver.Config{}).Addr()
}

// counter counts what a sink tells that it has tried again.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) add(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[reason]++
}

func (c *counter) of(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[reason]
}

func TestKafkaAtLeastOnceCommitsNothing(t *testing.T) {
	a := closingKafka(t, kafkaBroker(t, kafkaserver.Config{}).Addr(), nil).Abilities()
	if a.Marks != nil || a.Commit != nil || a.PeekMarks != nil {
		t.Error("it says that it can")
	}
}

// TestKafkaTakesOverFromTheDead has a run that was killed in a transaction, and one that was killed behind it.
func TestKafkaTakesOverFromTheDead(t *testing.T) {
	addr := transactionBroker(t)
	first, marks := ledger(t, addr, nil, nil)
	if len(marks) > 0 {
		t.Fatal(marks)
	}
	all := pages(30, 10)
	if err := first.Commit(t.Context(), all[:10], mark("progress", "10")); err != nil {
		t.Fatal(err)
	}
	dead, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(testName(t)), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*kgo.Record{
		{Topic: pageTopic(t), Key: []byte("never"), Value: []byte("x")}, {Topic: stateTopic(t), Key: []byte("progress"), Value: []byte("99")},
	} {
		if err := dead.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	second, marks := ledger(t, addr, nil, nil)
	if string(marks["progress"]) != "10" {
		t.Errorf("marks %q", marks)
	}
	if err := second.Commit(t.Context(), all[10:], mark("progress", "30")); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(t.Context(), all[:10], mark("progress", "20")); !errors.Is(err, syncd.ErrFenced) || syncd.HintOf(err) == "" {
		t.Errorf("error %v", err)
	}
	if err := first.Write(t.Context(), all[:10]); !errors.Is(err, syncd.ErrFenced) {
		t.Errorf("error %v", err)
	}
	_, marks = ledger(t, addr, nil, nil)
	if string(marks["progress"]) != "30" {
		t.Errorf("marks %q", marks)
	}
	if diff := cmp.Diff(keysOf(all), keys(t, addr)); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
}

// TestKafkaMarksBehindAnotherJob has marks that are hidden behind the beginning of another job's transaction until that ends.
func TestKafkaMarksBehindAnotherJob(t *testing.T) {
	addr := transactionBroker(t)
	first, _ := ledger(t, addr, nil, nil)
	other, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(testName(t)+"-other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := other.ProduceSync(t.Context(), &kgo.Record{Topic: stateTopic(t), Key: []byte("other"), Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := first.Commit(t.Context(), nil, mark("progress", "10")); err != nil {
		t.Fatal(err)
	}
	impatient := unclaimed(t, addr, nil, func(c *kafka.Config) { c.DeliveryTimeout, c.Transactions.Timeout = 2*time.Second, time.Second })
	if _, err := impatient.Marks(t.Context(), ""); !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), "state_topic") {
		t.Errorf("error %v", err)
	}
	second := unclaimed(t, addr, nil, nil)
	found := make(chan map[string][]byte, 1)
	go func() {
		marks, err := second.Marks(t.Context(), "")
		if err != nil {
			t.Error(err)
		}
		found <- marks
	}()
	if err := other.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if marks := <-found; len(marks) != 1 || string(marks["progress"]) != "10" {
		t.Errorf("marks %q", marks)
	}
}

// TestKafkaPeek looks at marks from outside: that creates nothing, shuts out nobody, and waits for nobody.
func TestKafkaPeek(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{AutoCreateTopics: true})
	outside := unclaimed(t, b.Addr(), nil, nil)
	peek := func(want string) {
		t.Helper()
		marks, err := outside.PeekMarks(t.Context(), "pro")
		if err != nil || string(marks["progress"]) != want || len(marks) > 1 {
			t.Errorf("marks %q, %v; want %q", marks, err, want)
		}
	}
	peek("")
	if n := len(b.Cluster().PartitionInfos(stateTopic(t))); n > 0 {
		t.Errorf("looking has created the state topic, with %d partitions", n)
	}
	run, _ := ledger(t, b.Addr(), nil, nil)
	peek("")
	for i := range 3 {
		if err := run.Commit(t.Context(), pages(1, 10), append(mark("progress", strconv.Itoa(i)), mark("other", "x")...)); err != nil {
			t.Fatal(err)
		}
		peek(strconv.Itoa(i))
	}
	open, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID(testName(t)+"-open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := open.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := open.ProduceSync(t.Context(), &kgo.Record{Topic: stateTopic(t), Key: []byte("progress"), Value: []byte("never")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	peek("2")
	if err := open.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if err := run.Commit(t.Context(), nil, mark("progress", "3")); err != nil {
		t.Errorf("looking has shut out the run: %v", err)
	}
	peek("3")
}

// TestKafkaPeekRefused: a login that may not look at the state topic is told so.
func TestKafkaPeekRefused(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s := unclaimed(t, b.Addr(), nil, nil)
	b.Cluster().ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		topics := req.(*kmsg.MetadataRequest).Topics
		if len(topics) != 1 || topics[0].Topic == nil || *topics[0].Topic != stateTopic(t) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = topics[0].Topic, kerr.TopicAuthorizationFailed.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	if marks, err := s.PeekMarks(t.Context(), ""); err == nil || !strings.Contains(err.Error(), stateTopic(t)) || !strings.Contains(syncd.HintOf(err), "DESCRIBE") {
		t.Errorf("marks %q, error %v, hint %q", marks, err, syncd.HintOf(err))
	}
}

// TestKafkaNotEncodableInTransaction: a change that has no form ends its Commit before anything is sent.
func TestKafkaNotEncodableInTransaction(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s, _ := ledger(t, b.Addr(), nil, nil)
	changes := pages(5, 10)
	changes[2].Document = nil
	err := s.Commit(t.Context(), changes, mark("progress", "1"))
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{2}) || !errors.Is(failed.Of(2), syncd.ErrNotEncodable) {
		t.Fatalf("error %v", err)
	}
	for i, c := range changes {
		if c.Placement.Known || c.Bytes != 0 {
			t.Errorf("change %d is not committed, and has %+v and %d bytes", i, c.Placement, c.Bytes)
		}
	}
	if got := keys(t, b.Addr()); len(got) > 0 {
		t.Errorf("committed %q", got)
	}
	if err := s.Commit(t.Context(), slices.Delete(changes, 2, 3), mark("progress", "1")); err != nil {
		t.Error(err)
	}
}

// TestKafkaGapsAfterRefusals: batches that are refused leave gaps in the sequence numbers of their partitions, for which the broker
// refuses what comes next. librdkafka then holds back what it learns last until the transaction is aborted.
func TestKafkaGapsAfterRefusals(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s, _ := ledger(t, b.Addr(), retried.add, nil)
	events := pages(2000, 0)                                                           // so many that the transaction fails while they are handed over: only some of them are refused
	if err := s.Commit(t.Context(), events[:100], mark("progress", "1")); err != nil { // of a partition's first batch any number is taken
		t.Fatal(err)
	}
	var aborted atomic.Bool
	b.Cluster().ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		aborted.Store(true)
		return nil, nil, false
	})
	pause := 300 * time.Millisecond // for the next attempt to hand over the others
	refuseProduce(b, kerr.MessageTooLarge.Code, func([]byte) bool {
		if !aborted.Load() {
			return true
		}
		time.Sleep(pause)
		pause = 5 * time.Millisecond // between the answers of two partitions
		return false
	})
	if err := s.Commit(t.Context(), events[100:], mark("progress", "2")); err != nil {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	if diff := cmp.Diff(keysOf(events), keys(t, b.Addr())); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
	if again := retried.of("transaction aborted"); again < 2 {
		t.Errorf("%d times aborted: there was no gap", again)
	}
}

// TestKafkaRefusedInTransaction has brokers refuse one event, by its size or otherwise: nothing of its Commit is committed, and
// the others can be committed again; a Commit beside it is none the wiser, and a Write commits the others by itself.
func TestKafkaRefusedInTransaction(t *testing.T) {
	for name, c := range map[string]struct {
		limit    string
		refuse   int16
		tooLarge bool
	}{
		"too large for the topic": {limit: "20000", tooLarge: true},
		"invalid":                 {refuse: kerr.InvalidRecord.Code},
	} {
		t.Run(name, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{})
			var retried counter
			s, _ := ledger(t, b.Addr(), retried.add, func(k *kafka.Config) {
				k.Compression, k.Linger = "none", 0
				if c.limit != "" {
					k.CreateTopics.Config = map[string]spec.Secret{"max.message.bytes": spec.Secret(c.limit)}
				}
			})
			events := pages(100, 1000)
			events[7].Document = text(strings.Repeat("a bad event", 3000))
			later := events[7] // of the same document, and sound
			later.Document = text("later")
			events = append(events, later)
			if c.refuse != 0 {
				refuseProduce(b, c.refuse, func(batch []byte) bool { return bytes.Contains(batch, []byte("a bad event")) })
			}
			neighbour := make(chan error, 1)
			go func() {
				neighbour <- s.Commit(t.Context(), []syncd.Change{{Target: &page, ID: "neighbour", Document: text("x")}}, mark("neighbour", "1"))
			}()
			err := s.Commit(t.Context(), events, mark("progress", "1"))
			failed, ok := errors.AsType[*syncd.BatchError](err)
			if !ok || !slices.Equal(failed.Failed(), []int{7}) || errors.Is(failed.Of(7), syncd.ErrUnavailable) || errors.Is(failed.Of(7), syncd.ErrTooLarge) != c.tooLarge {
				t.Fatalf("error %v", err)
			}
			if err := <-neighbour; err != nil {
				t.Error(err)
			}
			if retried.of("transaction aborted") == 0 {
				t.Errorf("told to have tried again: %v", retried.n)
			}
			if diff := cmp.Diff([]string{"neighbour"}, keys(t, b.Addr())); diff != "" {
				t.Errorf("committed (-want +got):\n%s", diff)
			}
			sound := slices.Delete(slices.Clone(events), 7, 8)
			if err := s.Commit(t.Context(), sound, mark("progress", "1")); err != nil {
				t.Fatal(err)
			}
			for i, e := range sound {
				if !e.Placement.Known || e.Bytes == 0 {
					t.Errorf("change %d: %+v, %d bytes", i, e.Placement, e.Bytes)
				}
			}
			want := append(keysOf(sound), "neighbour")
			slices.Sort(want)
			if diff := cmp.Diff(want, keys(t, b.Addr())); diff != "" {
				t.Errorf("committed (-want +got):\n%s", diff)
			}
			err = s.Write(t.Context(), events)
			if failed, ok := errors.AsType[*syncd.BatchError](err); !ok || !slices.Equal(failed.Failed(), []int{7}) {
				t.Errorf("error %v", err)
			}
			want = append(want, keysOf(sound)...)
			slices.Sort(want)
			if diff := cmp.Diff(want, keys(t, b.Addr())); diff != "" {
				t.Errorf("written beside (-want +got):\n%s", diff)
			}
			for i, e := range events {
				if e.Placement.Known == (i == 7) {
					t.Errorf("change %d: %+v", i, e.Placement)
				}
			}
			_, marks := ledger(t, b.Addr(), nil, nil)
			if string(marks["progress"]) != "1" || string(marks["neighbour"]) != "1" {
				t.Errorf("marks %q", marks)
			}
		})
	}
}

// TestKafkaSkippedBatch has a broker refuse a producer's first batch, as a leader does that is not ready, and take those behind
// it, as Apache Kafka does where it knows nothing of the producer. librdkafka takes the first for delivered then.
func TestKafkaSkippedBatch(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	createTopics(c)
	c.CreateTopics.Partitions, c.BootstrapServers, c.Compression, c.Linger = 1, b.Addr(), "none", 0
	c.Properties = map[string]spec.Secret{"batch.num.messages": "1"}
	s, err := p.OpenSink(t.Context(), c, syncd.Env{Retried: retried.add})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	events := pages(5, 10)
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	for i := range events {
		events[i].Document = text(fmt.Sprintf("this is event %d", i))
	}
	var mu sync.Mutex
	var batches [][]byte // that were taken
	refused := false
	endsAt(b, func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return int64(len(batches))
	})
	b.Cluster().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		mu.Lock()
		defer mu.Unlock()
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
			one := kmsg.NewProduceResponseTopicPartition()
			if refused {
				one.BaseOffset = int64(len(batches))
				batches = append(batches, topic.Partitions[0].Records)
			} else {
				one.BaseOffset, one.ErrorCode = -1, kerr.NotLeaderForPartition.Code
				time.Sleep(50 * time.Millisecond) // the others are on their way meanwhile
			}
			refused = true
			answer.Partitions = append(answer.Partitions, one)
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	if err := s.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, e := range events {
		if !slices.ContainsFunc(batches, func(batch []byte) bool { return bytes.Contains(batch, []byte(e.Document.(text))) }) {
			t.Errorf("event %d is lost", i)
		}
	}
	if retried.of("unproven acknowledgement") != 1 {
		t.Errorf("told to have tried again: %v", retried.n)
	}
}

// TestKafkaClaimInTransaction has a broker call a batch that it does not have a duplicate: it must arrive all the same.
func TestKafkaClaimInTransaction(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s, _ := ledger(t, b.Addr(), retried.add, nil)
	claimed := false
	refuseProduce(b, kerr.DuplicateSequenceNumber.Code, func([]byte) bool {
		defer func() { claimed = true }()
		return !claimed
	})
	events := pages(5, 10)
	if err := s.Commit(t.Context(), events, mark("progress", "1")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keysOf(events), keys(t, b.Addr())); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
	if retried.of("transaction aborted") != 1 {
		t.Errorf("told to have tried again: %v", retried.n)
	}
}

// endTransactions has the broker answer the requests to end a transaction by an error, as often as told.
func endTransactions(b *kafkaserver.Server, times int, code int16) {
	b.Cluster().ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if times--; times < 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = code
		return resp, nil, true
	})
}

func TestKafkaCoordinatorTrouble(t *testing.T) {
	for name, trouble := range map[string]struct {
		times int
		code  int16
	}{
		"loading":       {2, kerr.CoordinatorLoadInProgress.Code},
		"moved":         {2, kerr.NotCoordinator.Code},
		"concurrent":    {2, kerr.ConcurrentTransactions.Code},
		"to be aborted": {1, kerr.InvalidTxnState.Code},
	} {
		t.Run(name, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{})
			s, _ := ledger(t, b.Addr(), nil, nil)
			endTransactions(b, trouble.times, trouble.code)
			events := pages(10, 10)
			err := s.Commit(t.Context(), events, mark("progress", "1"))
			t.Log(err)
			second, marks := ledger(t, b.Addr(), nil, nil)
			got := keys(t, b.Addr())
			switch {
			case err == nil && (len(got) != 10 || string(marks["progress"]) != "1"):
				t.Errorf("committed, but %d events, marks %q", len(got), marks)
			case err != nil && len(got)/10 != len(marks):
				t.Errorf("%d events, marks %q, error %v", len(got), marks, err)
			case err != nil && (name != "to be aborted" || !errors.Is(err, syncd.ErrUnavailable) || errors.Is(err, syncd.ErrLost) || syncd.HintOf(err) == ""):
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			case err != nil:
				// The producer can't go on, but another one goes on behind its marks.
				if err := second.Commit(t.Context(), events, mark("progress", "2")); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestKafkaTransactionTriedAnew has a coordinator refuse the topics once, after which a transaction can only be aborted.
func TestKafkaTransactionTriedAnew(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s, _ := ledger(t, b.Addr(), retried.add, nil)
	b.Cluster().ControlKey(int16(kmsg.AddPartitionsToTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for _, topic := range req.(*kmsg.AddPartitionsToTxnRequest).Topics {
			answer := kmsg.NewAddPartitionsToTxnResponseTopic()
			answer.Topic = topic.Topic
			for _, p := range topic.Partitions {
				one := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				one.Partition, one.ErrorCode = p, kerr.TopicAuthorizationFailed.Code
				answer.Partitions = append(answer.Partitions, one)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	if err := s.Commit(t.Context(), pages(10, 10), mark("progress", "1")); err != nil {
		t.Error(err)
	}
	if retried.of("transaction aborted") != 1 {
		t.Errorf("told to have tried again: %v", retried.n)
	}
	_, marks := ledger(t, b.Addr(), nil, nil)
	if got := keys(t, b.Addr()); len(got) != 10 || string(marks["progress"]) != "1" {
		t.Errorf("%d events, marks %q", len(got), marks)
	}
}

// TestKafkaCommitHangs has a coordinator that does not answer: a caller whose context ends returns, and what it left is
// settled for those that are still there.
func TestKafkaCommitHangs(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s, _ := ledger(t, b.Addr(), nil, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	b.Cluster().ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().DropControl()
		close(asked)
		b.Cluster().SleepControl(func() { <-answer })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	events := pages(20, 10)
	gone := make(chan error, 1)
	go func() { gone <- s.Commit(ctx, events[:10], mark("gone", "1")) }()
	<-asked
	patient := make(chan error, 1)
	go func() { patient <- s.Commit(t.Context(), events[10:], mark("patient", "1")) }()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	close(answer)
	if err := <-patient; err != nil {
		t.Error(err)
	}
	_, marks := ledger(t, b.Addr(), nil, nil)
	if got := keys(t, b.Addr()); len(got) != 20 || len(marks) != 2 {
		t.Errorf("%d events, marks %q", len(got), marks)
	}
}

func TestKafkaTransactionWithoutTopic(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	s, _ := ledger(t, b.Addr(), nil, func(c *kafka.Config) { c.DeliveryTimeout, c.Transactions.Timeout = 2*time.Second, time.Second })
	if err := b.Cluster().DeleteTopic(pageTopic(t)); err != nil {
		t.Fatal(err)
	}
	err := s.Commit(t.Context(), pages(3, 10), mark("progress", "1"))
	if _, partial := errors.AsType[*syncd.BatchError](err); partial || !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "delivery_timeout") {
		t.Errorf("error %v", err)
	}
	t.Log(err)
	if err := b.Cluster().CreateTopic(pageTopic(t), 3, nil); err != nil {
		t.Fatal(err)
	}
	if _, marks := ledger(t, b.Addr(), nil, nil); len(marks) > 0 {
		t.Errorf("marks %q", marks)
	}
}

func TestKafkaStateTopic(t *testing.T) {
	t.Run("loses marks", func(t *testing.T) {
		b := kafkaBroker(t, kafkaserver.Config{})
		s := unclaimed(t, b.Addr(), nil, nil)
		if err := b.Cluster().CreateTopic(stateTopic(t), 1, map[string]string{"cleanup.policy": "delete"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Marks(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "cleanup.policy=delete") || !strings.Contains(syncd.HintOf(err), "compact") {
			t.Errorf("error %v, hint %q", err, syncd.HintOf(err))
		}
	})
	t.Run("refused", func(t *testing.T) {
		b := kafkaBroker(t, kafkaserver.Config{})
		s := unclaimed(t, b.Addr(), nil, nil)
		b.Cluster().ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode = stateTopic(t), kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, one)
			return resp, nil, true
		})
		if _, err := s.Marks(t.Context(), ""); err == nil || !strings.Contains(err.Error(), stateTopic(t)) || !strings.Contains(syncd.HintOf(err), "CREATE") {
			t.Errorf("error %v, hint %q", err, syncd.HintOf(err))
		}
	})
	t.Run("is compacted", func(t *testing.T) {
		addr := transactionBroker(t)
		ledger(t, addr, nil, func(c *kafka.Config) { c.CreateTopics = &kafka.CreateTopics{Partitions: 5, ReplicationFactor: 1} })
		ledger(t, addr, nil, nil) // which looks at the policy
	})
	t.Run("without create_topics", func(t *testing.T) {
		b := kafkaBroker(t, kafkaserver.Config{})
		if err := b.CreateTopic(pageTopic(t), 1); err != nil {
			t.Fatal(err)
		}
		ledger(t, b.Addr(), nil, func(c *kafka.Config) { c.CreateTopics = nil })
	})
}

// TestKafkaStateTopicNotReady has brokers that do not serve the state topic yet when it has just been created.
func TestKafkaStateTopicNotReady(t *testing.T) {
	answers := map[string]struct {
		key    kmsg.Key
		answer func(t *testing.T, b *kafkaserver.Server, req kmsg.Request) kmsg.Response
	}{
		"no leader": {kmsg.ListOffsets, func(_ *testing.T, _ *kafkaserver.Server, req kmsg.Request) kmsg.Response {
			resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			for _, topic := range req.(*kmsg.ListOffsetsRequest).Topics {
				answer := kmsg.NewListOffsetsResponseTopic()
				answer.Topic = topic.Topic
				for _, p := range topic.Partitions {
					one := kmsg.NewListOffsetsResponseTopicPartition()
					one.Partition, one.ErrorCode = p.Partition, kerr.NotLeaderForPartition.Code
					answer.Partitions = append(answer.Partitions, one)
				}
				resp.Topics = append(resp.Topics, answer)
			}
			return resp
		}},
		"no partitions": {kmsg.Metadata, func(t *testing.T, b *kafkaserver.Server, req kmsg.Request) kmsg.Response {
			topics := req.(*kmsg.MetadataRequest).Topics
			if len(topics) != 1 || topics[0].Topic == nil || *topics[0].Topic != stateTopic(t) || len(b.Cluster().PartitionInfos(stateTopic(t))) == 0 {
				return nil
			}
			resp := req.ResponseKind().(*kmsg.MetadataResponse)
			host, port, err := net.SplitHostPort(b.Addr())
			if err != nil {
				t.Error(err)
			}
			broker := kmsg.NewMetadataResponseBroker()
			broker.Host = host
			if _, err := fmt.Sscan(port, &broker.Port); err != nil {
				t.Error(err)
			}
			resp.Brokers = append(resp.Brokers, broker)
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.ErrorCode = topics[0].Topic, kerr.LeaderNotAvailable.Code
			resp.Topics = append(resp.Topics, topic)
			return resp
		}},
	}
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{})
			var retried counter
			s := unclaimed(t, b.Addr(), retried.add, nil)
			times := 3
			b.Cluster().ControlKey(int16(c.key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				b.Cluster().KeepControl()
				if times == 0 {
					return nil, nil, false
				}
				resp := c.answer(t, b, req)
				if resp == nil {
					return nil, nil, false
				}
				times--
				return resp, nil, true
			})
			if marks, err := s.Marks(t.Context(), ""); err != nil || len(marks) > 0 {
				t.Fatalf("%v (%s), marks %q", err, syncd.HintOf(err), marks)
			}
			if retried.of("state topic not ready") == 0 {
				t.Errorf("told to have tried again: %v", retried.n)
			}
			if err := s.Commit(t.Context(), pages(3, 10), mark("progress", "1")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKafkaTellsRetries has a broker that is not the leader for a moment.
func TestKafkaTellsRetries(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	told := make(chan string, 100)
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	createTopics(c)
	c.BootstrapServers = b.Addr()
	s, err := p.OpenSink(t.Context(), c, syncd.Env{Retried: func(reason string) { told <- reason }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	events := pages(5, 10)
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	refused := 0
	refuseProduce(b, kerr.NotEnoughReplicas.Code, func([]byte) bool { refused++; return refused <= 2 })
	if err := s.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	select {
	case reason := <-told:
		if reason != "produce request" {
			t.Errorf("reason %q", reason)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was told")
	}
}

// BenchmarkKafkaDelivery writes batches of 1,000 events of 700 bytes from 4 callers, in each way.
func BenchmarkKafkaDelivery(b *testing.B) {
	for name, change := range map[string]func(*kafka.Config){"at_least_once": createTopics, "exactly_once": exactlyOnce} {
		b.Run(name, func(b *testing.B) {
			broker, err := kafkaserver.Start(kafkaserver.Config{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = broker.Close() })
			s, err := kafkaSink(b.Context(), broker.Addr(), slog.New(slog.DiscardHandler), change)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			const size = 1000
			write := s.Write
			if a := s.Abilities(); a.Commit != nil {
				if _, err := a.Marks(b.Context(), ""); err != nil {
					b.Fatal(err)
				}
				write = func(ctx context.Context, changes []syncd.Change) error {
					return a.Commit(ctx, changes, mark("progress", "1"))
				}
			}
			if err := prepare(b, s, page); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(2) // callers for each of GOMAXPROCS
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for events := pages(size, 700); pb.Next(); {
					if err := write(b.Context(), events); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/event")
		})
	}
}

// TestKafkaAbortsRightBehindACommit: the coordinator still writes the markers of a commit, and makes the next transaction wait. When that
// transaction is aborted at once, the producer can go on.
func TestKafkaAbortsRightBehindACommit(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var busy atomic.Int32
	b.Cluster().ControlKey(int16(kmsg.AddPartitionsToTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if busy.Add(-1) < 0 {
			return nil, nil, false
		}
		in := req.(*kmsg.AddPartitionsToTxnRequest)
		out := in.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for _, topic := range in.Topics {
			each := kmsg.AddPartitionsToTxnResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				each.Partitions = append(each.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p, ErrorCode: kerr.ConcurrentTransactions.Code})
			}
			out.Topics = append(out.Topics, each)
		}
		return out, nil, true
	})
	s, _ := ledger(t, b.Addr(), nil, nil)
	refused := pages(2, 10)
	refused[1].Document = text(strings.Repeat("x", 1_100_000))
	for i, abort := range []func() error{
		func() error {
			if _, ok := errors.AsType[*syncd.BatchError](s.Commit(t.Context(), refused, mark("refused", "1"))); !ok {
				return errors.New("it is not refused")
			}
			return nil
		},
		func() error { // only the mark is sent in this transaction
			if _, ok := errors.AsType[*syncd.BatchError](s.Commit(t.Context(), refused[1:], mark("refused", "1"))); !ok {
				return errors.New("it is not refused")
			}
			return nil
		},
		func() error { // its caller leaves, and the next caller aborts it
			busy.Store(math.MaxInt32)
			defer busy.Store(0)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(30*time.Millisecond, cancel)
			if err := s.Commit(ctx, pages(1, 10), mark("refused", "1")); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		},
	} {
		busy.Store(0)
		if err := s.Commit(t.Context(), pages(3, 10), mark("progress", strconv.Itoa(i))); err != nil {
			t.Fatalf("before abort %d: %v", i, err)
		}
		busy.Store(20)
		if err := abort(); err != nil {
			t.Errorf("abort %d: %v", i, err)
		}
	}
	if err := s.Commit(t.Context(), pages(1, 10), mark("progress", "3")); err != nil {
		t.Errorf("behind them: %v", err)
	}
	if _, marks := ledger(t, b.Addr(), nil, nil); string(marks["progress"]) != "3" || marks["refused"] != nil {
		t.Errorf("marks %q", marks)
	}
}
