package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/spec"
)

// provingSink is a sink of one partition, prepared for pages.
func provingSink(t *testing.T, b *kafkaserver.Server, retried *counter, change func(*kafka.Config)) syncd.Sink {
	t.Helper()
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	c.CreateTopics = &kafka.CreateTopics{Partitions: 1, ReplicationFactor: 1}
	c.BootstrapServers, c.Compression, c.Linger = b.Addr(), "none", 0
	if change != nil {
		change(c)
	}
	s, err := p.OpenSink(t.Context(), c, syncd.Env{Retried: retried.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	return s
}

// times counts the records of each key.
func times(t *testing.T, b *kafkaserver.Server) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, r := range consume(t, b.Addr(), "", "", "db.page") {
		n[string(r.Key)]++
	}
	return n
}

// TestKafkaWrittenAndDenied pins when an event comes twice without an interruption. A broker writes a batch and answers that it
// failed. Alone, librdkafka asks again, and is told where the batch is. With the next batch of the partition under way, and taken,
// it does not ask, and only concludes that the first arrived: that is no proof, so it is sent again.
func TestKafkaWrittenAndDenied(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut} {
		for events, first := range map[int]int{1: 1, 5: 2} {
			t.Run(fmt.Sprintf("%s/%d", refusal.Message, events), func(t *testing.T) {
				b := kafkaBroker(t, kafkaserver.Config{})
				var retried counter
				s := provingSink(t, b, &retried, func(c *kafka.Config) {
					c.Properties = map[string]spec.Secret{"batch.num.messages": "1"}
				})
				b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: refusal, When: func(kmsg.Request) bool {
					time.Sleep(50 * time.Millisecond) // the others are on their way meanwhile
					return true
				}})
				in := pages(events, 10)
				if err := s.Write(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				got := times(t, b)
				for i, c := range in {
					want := 1
					if i == 0 {
						want = first
					}
					if got[c.ID] != want || !c.Placement.Known {
						t.Errorf("event %d is there %d times, want %d; %+v", i, got[c.ID], want, c.Placement)
					}
				}
				if n := retried.of("unproven acknowledgement"); n != first-1 {
					t.Errorf("sent again %d times for want of proof, want %d", n, first-1)
				}
			})
		}
	}
}

// log is a broker's log of one partition, that takes every batch, in the order in which they come: as a broker does that forgets
// producers.
type log struct {
	mu      sync.Mutex
	batches int
	records int
	data    [][]byte
}

// duplicates has a broker call batches duplicates that it does not have.
func (l *log) duplicates(b *kafkaserver.Server, base int64, bad func(batch int) bool) {
	endsAt(b, func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return int64(l.records)
	})
	b.Cluster().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		l.mu.Lock()
		defer l.mu.Unlock()
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = topic.Topic, topic.TopicID
			one := kmsg.NewProduceResponseTopicPartition()
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(topic.Partitions[0].Records); err != nil {
				return nil, err, true
			}
			if bad(l.batches) {
				one.BaseOffset, one.ErrorCode = base, kerr.DuplicateSequenceNumber.Code
			} else {
				one.BaseOffset = int64(l.records)
				l.records += int(batch.NumRecords)
				l.data = append(l.data, topic.Partitions[0].Records)
			}
			l.batches++
			answer.Partitions = append(answer.Partitions, one)
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
}

// endsAt has a broker say where its partitions end.
func endsAt(b *kafkaserver.Server, end func() int64) {
	b.Cluster().ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range req.(*kmsg.ListOffsetsRequest).Topics {
			answer := kmsg.NewListOffsetsResponseTopic()
			answer.Topic = topic.Topic
			for _, p := range topic.Partitions {
				one := kmsg.NewListOffsetsResponseTopicPartition()
				one.Partition, one.Offset = p.Partition, end()
				answer.Partitions = append(answer.Partitions, one)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.data {
		if bytes.Contains(d, []byte(text)) {
			return true
		}
	}
	return false
}

// TestKafkaDuplicateThatIsNot: a broker calls a batch a duplicate, and does not have it. What a Write confirms is there all the same.
func TestKafkaDuplicateThatIsNot(t *testing.T) {
	for name, c := range map[string]struct {
		base   int64
		bad    func(batch int) bool
		writes int // one after another
		beside int // at the same time, so that batches hold events of several
		events int // of each
	}{
		"the first batch":            {base: -1, bad: func(n int) bool { return n == 0 }, writes: 1, beside: 1, events: 40},
		"the first, with an offset":  {base: 0, bad: func(n int) bool { return n == 0 }, writes: 1, beside: 1, events: 40},
		"a later batch":              {base: -1, bad: func(n int) bool { return n == 2 }, writes: 4, beside: 1, events: 40},
		"said to be at the start":    {base: 0, bad: func(n int) bool { return n == 2 }, writes: 4, beside: 1, events: 40},
		"larger than all before":     {base: 0, bad: func(n int) bool { return n == 1 }, writes: 2, beside: 30, events: 10},
		"shared by writes":           {base: -1, bad: func(n int) bool { return n == 0 }, writes: 1, beside: 20, events: 7},
		"several":                    {base: -1, bad: func(n int) bool { return n%2 == 1 && n < 9 }, writes: 4, beside: 8, events: 9},
		"several in a row":           {base: -1, bad: func(n int) bool { return n < 3 }, writes: 2, beside: 5, events: 20},
		"of one event":               {base: -1, bad: func(n int) bool { return n == 0 }, writes: 1, beside: 1, events: 1},
		"none, and many small ones":  {base: -1, bad: func(int) bool { return false }, writes: 5, beside: 10, events: 3},
		"none, and one write of all": {base: -1, bad: func(int) bool { return false }, writes: 1, beside: 1, events: 500},
	} {
		t.Run(name, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{})
			var retried counter
			s := provingSink(t, b, &retried, func(c *kafka.Config) { c.Linger = 30 * time.Millisecond })
			var l log
			l.duplicates(b, c.base, c.bad)
			for round := range c.writes {
				var all sync.WaitGroup
				for w := range c.beside {
					all.Go(func() {
						in := pages(c.events, 0)
						for i := range in {
							in[i].ID = fmt.Sprintf("key-%d-%d-%d", round, w, i)
							in[i].Document = text(fmt.Sprintf("(event %d of %d in %d)", i, w, round))
						}
						if err := s.Write(t.Context(), in); err != nil {
							t.Error(err)
						}
						for i := range in {
							if !l.has(string(in[i].Document.(text))) {
								t.Errorf("event %d of write %d in round %d is confirmed, and not there", i, w, round)
							}
						}
					})
				}
				all.Wait()
			}
			if again := retried.of("unproven acknowledgement"); strings.HasPrefix(name, "none") != (again == 0) {
				t.Errorf("%d times sent again", again)
			}
		})
	}
}

// TestKafkaDuplicateInTransaction: the transaction is aborted, whatever offset the broker makes up. This broker then finds a gap
// before what is tried again, by which the producer ends: nothing is committed but what is there, and the next run resumes. What the
// broker claims to have is one event: of several it would find the gap before their transaction is judged, and to be safe, such a
// gap counts as a loss.
func TestKafkaDuplicateInTransaction(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s, _ := ledger(t, b.Addr(), retried.add, func(c *kafka.Config) {
		c.CreateTopics = &kafka.CreateTopics{Partitions: 1, ReplicationFactor: 1}
	})
	in := pages(90, 10)
	if err := s.Commit(t.Context(), in[:40], mark("progress", "1")); err != nil {
		t.Fatal(err)
	}
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.DuplicateSequenceNumber, Topic: pageTopic(t)})
	if err := s.Commit(t.Context(), in[40:41], mark("progress", "2")); err == nil || errors.Is(err, syncd.ErrLost) || !strings.Contains(syncd.HintOf(err), "it resumes") {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	if got := keys(t, b.Addr()); len(got) != 40 {
		t.Errorf("%d events are committed, want 40", len(got))
	}
	next, marks := ledger(t, b.Addr(), nil, nil)
	if string(marks["progress"]) != "1" {
		t.Errorf("marks %q", marks)
	}
	if err := next.Commit(t.Context(), in[40:], mark("progress", "2")); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, b.Addr()); len(got) != 90 {
		t.Errorf("%d events are committed, want 90", len(got))
	}
	if retried.of("transaction aborted") == 0 {
		t.Error("not told that the transaction was aborted")
	}
}

// TestKafkaLeaderElectedUnseen: a leader that was elected anew, while no connection broke, is not asked by its old epoch for as long as
// the client keeps what it knows of the topic.
func TestKafkaLeaderElectedUnseen(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s := provingSink(t, b, &retried, func(c *kafka.Config) {
		c.DeliveryTimeout, c.CreateTopics.Partitions = 10*time.Second, 2
	})
	in := pages(20, 10)
	if err := s.Write(t.Context(), in[:1]); err != nil { // by which the client knows the topic, and one partition is proved
		t.Fatal(err)
	}
	for p := range int32(2) {
		if err := b.Cluster().MoveTopicPartition("db.page", p, b.Cluster().LeaderFor("db.page", p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(t.Context(), in[1:]); err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	if got := times(t, b); len(got) != 20 {
		t.Errorf("%d events arrived", len(got))
	}
	if again := retried.of("end of partitions"); again != 1 {
		t.Errorf("asked again %d times", again)
	}
}

// TestKafkaEndThatIsNotTold: where a broker hangs up in place of saying where a partition ends, it is asked again: what was confirmed
// is there, and is not sent twice.
func TestKafkaEndThatIsNotTold(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s := provingSink(t, b, &retried, nil)
	hangUps := 3
	b.Cluster().ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		hangUps--
		return nil, errors.New("hang up"), hangUps >= 0
	})
	in := pages(20, 10)
	if err := s.Write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for key, n := range times(t, b) {
		if n != 1 {
			t.Errorf("event %s is there %d times", key, n)
		}
	}
	if retried.of("unproven acknowledgement") != 0 {
		t.Errorf("sent again: %v", retried.n)
	}
}

// TestKafkaDuplicateThatIsFirst: nothing was confirmed before in the partition, and the broker makes up an offset. There is one event,
// as in TestKafkaDuplicateInTransaction.
func TestKafkaDuplicateThatIsFirst(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s, _ := ledger(t, b.Addr(), retried.add, func(c *kafka.Config) {
		c.CreateTopics = &kafka.CreateTopics{Partitions: 1, ReplicationFactor: 1}
	})
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.DuplicateSequenceNumber, Topic: pageTopic(t)})
	err := s.Commit(t.Context(), pages(1, 10), mark("progress", "1"))
	if got := keys(t, b.Addr()); len(got) != map[bool]int{true: 1}[err == nil] {
		t.Errorf("%v, and %d events are committed", err, len(got))
	}
	if retried.of("transaction aborted") == 0 {
		t.Errorf("not told that the transaction was aborted: %v (%s)", err, syncd.HintOf(err))
	}
}

// TestKafkaGapIsALoss: a broker that misses what it confirmed leaves nothing to resume.
func TestKafkaGapIsALoss(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s := provingSink(t, b, &retried, nil)
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.DuplicateSequenceNumber}) // kfake says that it is at 0
	in := pages(20, 10)
	first := s.Write(t.Context(), in[:1])
	second := s.Write(t.Context(), in[1:])
	if err := errors.Join(first, second); !errors.Is(err, syncd.ErrLost) || syncd.HintOf(err) == "" {
		t.Errorf("errors %v, %v", first, second)
	}
}

// TestKafkaRefusalThatPasses: what a broker refuses for a moment is sent again, as long as delivery_timeout says.
func TestKafkaRefusalThatPasses(t *testing.T) {
	for _, c := range []struct {
		refusal *kerr.Error
		times   int
		ok      bool
	}{
		{kerr.UnknownServerError, 1, true}, {kerr.UnknownServerError, 4, true}, {kerr.NetworkException, 2, true},
		{kerr.FencedLeaderEpoch, 1, true}, {kerr.ThrottlingQuotaExceeded, 1, true}, {kerr.KafkaStorageError, 1, true},
		{kerr.NotEnoughReplicas, 2, true}, {kerr.NotLeaderForPartition, 2, true}, {kerr.ConcurrentTransactions, 1, true},
		{kerr.UnknownServerError, -1, false}, {kerr.TopicAuthorizationFailed, 1, false}, {kerr.PolicyViolation, 1, false},
	} {
		t.Run(fmt.Sprintf("%s/%d", c.refusal.Message, c.times), func(t *testing.T) {
			t.Parallel()
			b := kafkaBroker(t, kafkaserver.Config{})
			var retried counter
			s := provingSink(t, b, &retried, func(c *kafka.Config) { c.DeliveryTimeout = 3 * time.Second })
			b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: c.refusal, Count: c.times})
			in := pages(20, 10)
			began := time.Now()
			err := s.Write(t.Context(), in)
			if !c.ok {
				refused, is := errors.AsType[*syncd.BatchError](err)
				if !is || !errors.Is(err, syncd.ErrUnavailable) || syncd.HintOf(refused.Of(0)) == "" || time.Since(began) > 10*time.Second {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := times(t, b); len(got) != 20 {
				t.Errorf("%d events arrived", len(got))
			}
		})
	}
}

// TestKafkaIdentity: a topic that was deleted and made again is another one.
func TestKafkaIdentity(t *testing.T) {
	b := kafkaBroker(t, kafkaserver.Config{})
	var retried counter
	s := provingSink(t, b, &retried, func(c *kafka.Config) { c.ConnectTimeout = time.Second })
	identify := s.Abilities().Identity
	first, err := identify(t.Context(), page)
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	if err := s.Write(t.Context(), pages(3, 10)); err != nil {
		t.Fatal(err)
	}
	if again, err := identify(t.Context(), page); err != nil || again != first {
		t.Errorf("%q and then %q, %v", first, again, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), "db.page"); err != nil {
		t.Fatal(err)
	}
	if id, err := identify(t.Context(), page); err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), `topic "db.page" is gone`) {
		t.Errorf("of a topic that is gone: %q, %v", id, err)
	}
	if err := b.CreateTopic("db.page", 1); err != nil {
		t.Fatal(err)
	}
	if another, err := identify(t.Context(), page); err != nil || another == "" || another == first {
		t.Errorf("%q, made again %q, %v", first, another, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := identify(t.Context(), page); !errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("without a broker: %v", err)
	}
}
