package kafkaserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// Record is a record of a topic.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte // nil if the record has none
	Value     []byte // nil for a tombstone
	Headers   []Header
	Timestamp time.Time
}

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the first header of that name, or "".
func (r Record) Header(key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Offsets are positions by topic and partition: the offset of the next record to read.
type Offsets map[string]map[int32]int64

// ConsumeConfig says what Consume reads.
type ConsumeConfig struct {
	Addr           string   // host:port of any Kafka broker, not only of an embedded one
	User, Password string   // SASL/PLAIN login, if set
	Topics         []string // names; none means all topics that aren't internal
	Committed      bool     // leave out what belongs to aborted transactions, and wait for the end of open ones
	From           Offsets  // what Consume returned last; a partition that isn't named is read from its start
}

// Consume reads the records that the topics hold now: those up to the high-water marks
// of the moment of the call. They come ordered by topic, partition and offset, with the
// positions to continue from. A topic that doesn't exist holds no records. It joins no
// consumer group and commits nothing.
func Consume(ctx context.Context, cfg ConsumeConfig) ([]Record, Offsets, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Addr),
		// A transaction's end takes an offset too: without it the mark is never reached.
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100 * time.Millisecond),
	}
	if cfg.User != "" {
		opts = append(opts, kgo.SASL(plain.Auth{User: cfg.User, Pass: cfg.Password}.AsMechanism()))
	}
	if cfg.Committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("consuming from %s: %w", cfg.Addr, err)
	}
	defer client.Close()

	next, pending, err := plan(ctx, kadm.NewClient(client), cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("consuming from %s: %w", cfg.Addr, err)
	}
	start := map[string]map[int32]kgo.Offset{}
	for p := range pending {
		if start[p.topic] == nil {
			start[p.topic] = map[int32]kgo.Offset{}
		}
		start[p.topic][p.partition] = kgo.NewOffset().At(next[p.topic][p.partition])
	}
	client.AddConsumePartitions(start)

	var records []Record
	for len(pending) > 0 {
		fetches := client.PollFetches(ctx)
		var failed []error
		fetches.EachError(func(t string, p int32, err error) {
			failed = append(failed, fmt.Errorf("topic %s, partition %d: %w", t, p, err))
		})
		if len(failed) > 0 {
			return nil, nil, fmt.Errorf("consuming from %s: %w", cfg.Addr, errors.Join(failed...))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := topicPartition{r.Topic, r.Partition}
			end, ok := pending[p]
			if !ok || r.Offset >= end { // produced since the call
				return
			}
			next[r.Topic][r.Partition] = r.Offset + 1
			if r.Offset+1 == end {
				delete(pending, p)
			}
			if !r.Attrs.IsControl() {
				records = append(records, record(r))
			}
		})
	}
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records, next, nil
}

type topicPartition struct {
	topic     string
	partition int32
}

// plan returns where to begin, and the high-water marks of the partitions that hold
// anything beyond that.
func plan(ctx context.Context, admin *kadm.Client, cfg ConsumeConfig) (Offsets, map[topicPartition]int64, error) {
	// Ask for all: a request that names a topic may create it.
	listed, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing topics: %w", err)
	}
	var topics []string
	for _, t := range listed.Names() {
		if len(cfg.Topics) == 0 || slices.Contains(cfg.Topics, t) {
			topics = append(topics, t)
		}
	}
	next, pending := Offsets{}, map[topicPartition]int64{}
	if len(topics) == 0 {
		return next, pending, nil
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing start offsets: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listing high-water marks: %w", err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		var from int64
		if o, ok := starts.Lookup(end.Topic, end.Partition); ok {
			from = o.Offset
		}
		from = max(from, cfg.From[end.Topic][end.Partition])
		if next[end.Topic] == nil {
			next[end.Topic] = map[int32]int64{}
		}
		next[end.Topic][end.Partition] = from
		if from < end.Offset {
			pending[topicPartition{end.Topic, end.Partition}] = end.Offset
		}
	})
	return next, pending, nil
}

func record(r *kgo.Record) Record {
	out := Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
		Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header(h))
	}
	return out
}
