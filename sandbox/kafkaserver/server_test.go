package kafkaserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	s, err := kafkaserver.Start(cfg)
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

func client(t *testing.T, s *kafkaserver.Server, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.Addr())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// deadline bounds a test's wait for the broker.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestProduceAndConsume(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{})
	if err := s.CreateTopic("a", 0); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateTopic("b", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateTopic("b", 1); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("creating b again: %v, want TopicAlreadyExists", err)
	}
	ctx := deadline(t, 20*time.Second)
	c := client(t, s, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	when := time.UnixMilli(1700000000123)
	produce := func(topic string, partition int32, value []byte) {
		t.Helper()
		r := &kgo.Record{
			Topic: topic, Partition: partition, Key: []byte("k"), Value: value, Timestamp: when,
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}},
		}
		if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(topic string, partition int32, offset int64, value []byte) kafkaserver.Record {
		return kafkaserver.Record{
			Topic: topic, Partition: partition, Offset: offset, Key: []byte("k"), Value: value, Timestamp: when,
			Headers: []kafkaserver.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}},
		}
	}
	consume := func(cfg kafkaserver.ConsumeConfig, want ...kafkaserver.Record) kafkaserver.Offsets {
		t.Helper()
		got, next, err := s.Consume(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		return next
	}

	consume(kafkaserver.ConsumeConfig{}) // nothing yet, and it doesn't wait
	produce("b", 0, []byte("b0"))
	produce("a", 2, []byte("a2"))
	produce("a", 0, []byte("a0"))
	produce("a", 0, nil)
	a := []kafkaserver.Record{want("a", 0, 0, []byte("a0")), want("a", 0, 1, nil), want("a", 2, 0, []byte("a2"))}
	next := consume(kafkaserver.ConsumeConfig{}, append(a, want("b", 0, 0, []byte("b0")))...)
	consume(kafkaserver.ConsumeConfig{Topics: []string{"a", "none"}}, a...)
	if h := a[0].Header("h"); h != "1" {
		t.Errorf(`Header("h") = %q, want the first, "1"`, h)
	}
	if h := a[0].Header("none"); h != "" {
		t.Errorf(`Header("none") = %q`, h)
	}

	consume(kafkaserver.ConsumeConfig{From: next})
	produce("a", 0, []byte("more"))
	next = consume(kafkaserver.ConsumeConfig{From: next}, want("a", 0, 2, []byte("more")))
	if diff := cmp.Diff(kafkaserver.Offsets{"a": {0: 3, 1: 0, 2: 1}, "b": {0: 1}}, next); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
}

func TestConsumeMany(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{AutoCreateTopics: true, Partitions: 5})
	ctx := deadline(t, 30*time.Second)
	c := client(t, s, kgo.AllowAutoTopicCreation())
	const n = 20_000
	for i := range n {
		c.Produce(ctx, &kgo.Record{Topic: fmt.Sprintf("t%d", i%3), Key: fmt.Append(nil, i)}, nil)
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	got, _, err := s.Consume(ctx, kafkaserver.ConsumeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	partitions := map[string]bool{}
	for _, r := range got {
		keys[string(r.Key)] = true
		partitions[fmt.Sprint(r.Topic, r.Partition)] = true
	}
	if len(got) != n || len(keys) != n || len(partitions) != 15 {
		t.Errorf("%d records, %d keys, %d partitions; want %d, %d, 15", len(got), len(keys), len(partitions), n, n)
	}
}

func TestMissingTopic(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{})
	ctx := deadline(t, 20*time.Second)
	c := client(t, s, kgo.UnknownTopicRetries(0))
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "none"}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("producing to a missing topic: %v, want UnknownTopicOrPartition", err)
	}
	got, next, err := s.Consume(ctx, kafkaserver.ConsumeConfig{Topics: []string{"none"}})
	if len(got) != 0 || len(next) != 0 || err != nil {
		t.Errorf("consuming a missing topic: %d records, %v, %v; want none", len(got), next, err)
	}
}

func TestMaxMessageBytes(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{AutoCreateTopics: true, MaxMessageBytes: 1000})
	ctx := deadline(t, 20*time.Second)
	c := client(t, s, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, 500)}).FirstErr(); err != nil {
		t.Error(err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, 2000)}).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("producing 2,000 bytes where 1,000 are allowed: %v, want MessageTooLarge", err)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{User: "ada", Password: "secret"})
	for name, tc := range map[string]struct {
		login sasl.Mechanism
		ok    bool
	}{
		"plain":    {plain.Auth{User: "ada", Pass: "secret"}.AsMechanism(), true},
		"scram256": {scram.Auth{User: "ada", Pass: "secret"}.AsSha256Mechanism(), true},
		"scram512": {scram.Auth{User: "ada", Pass: "secret"}.AsSha512Mechanism(), true},
		"wrong":    {plain.Auth{User: "ada", Pass: "guess"}.AsMechanism(), false},
	} {
		c := client(t, s, kgo.SASL(tc.login))
		err := c.Ping(deadline(t, 5*time.Second))
		if ok := err == nil; ok != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.Consume(deadline(t, 5*time.Second), kafkaserver.ConsumeConfig{}); err != nil {
		t.Errorf("consuming with the broker's login: %v", err)
	}
	if _, _, err := s.Consume(deadline(t, time.Second), kafkaserver.ConsumeConfig{User: "ada", Password: "guess"}); err == nil {
		t.Error("consuming with a wrong password worked")
	}
}

// TestFault shows how a test makes the broker fail.
func TestFault(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{})
	if err := s.CreateTopic("t", 1); err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t, 20*time.Second)
	fault := s.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "t", Err: kerr.NotEnoughReplicas})
	if err := client(t, s, kgo.MetadataMinAge(10*time.Millisecond)).ProduceSync(ctx, &kgo.Record{Topic: "t"}).FirstErr(); err != nil {
		t.Errorf("producing did not outlast one failure: %v", err)
	}
	if fault.Hits() != 1 {
		t.Errorf("%d requests failed, want 1", fault.Hits())
	}
	got, _, err := s.Consume(ctx, kafkaserver.ConsumeConfig{})
	if len(got) != 1 || err != nil {
		t.Errorf("%d records, %v; want 1", len(got), err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := start(t, kafkaserver.Config{})
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	if timeout := net.Error(nil); err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		t.Errorf("a connection outlived the broker: %v", err)
	}
	again, err := kafkaserver.Start(kafkaserver.Config{Addr: s.Addr()})
	if err != nil {
		t.Fatalf("starting on the same port: %v", err)
	}
	if again.Addr() != s.Addr() {
		t.Errorf("listening on %s, want %s", again.Addr(), s.Addr())
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	taken := start(t, kafkaserver.Config{})
	for addr, want := range map[string]string{
		":0":                "not a loopback address",
		"192.0.2.1:0":       "not a loopback address",
		"127.0.0.1":         "missing port",
		taken.Addr():        "address already in use",
		"example.invalid:0": "not a loopback address",
	} {
		s, err := kafkaserver.Start(kafkaserver.Config{Addr: addr})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: started", addr)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", addr, err, want)
		}
	}
}
