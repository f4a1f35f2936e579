package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// Read implements syncd.Source.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		if req.Split.Stream == nil {
			yield(syncd.Batch{}, errFollowedOnly)
			return
		}
		if err := s.follow(ctx, req, func(b syncd.Batch) bool { return yield(b, nil) }); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			if errors.Is(err, syncd.ErrPositionLost) {
				s.mu.Lock()
				s.lost = true
				s.mu.Unlock()
			}
			yield(syncd.Batch{}, err)
		}
	}
}

// follow gives out what the group gives this member, until yield returns false.
func (s *source) follow(ctx context.Context, req syncd.ReadRequest, yield func(syncd.Batch) bool) error {
	if err := s.still(ctx, req.After); err != nil {
		return err
	}
	m := s.member
	if err := m.subscribe(ctx, limits{req.BatchSize, req.BatchBytes}, req.After == fromRest); err != nil {
		return s.asked("joining the group "+s.cfg.GroupID, err)
	}
	r := reading{source: s, collections: map[string]bool{}, topics: map[string]string{}}
	for _, c := range req.Split.Stream.Collections {
		r.collections[c.Name] = true
	}
	r.fallback = req.Split.Stream.Collections[0].Name
	for {
		var b polled
		select {
		case b = <-m.out:
		case err := <-m.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		idle := len(b.records) == 0
		records, seq := m.register(b)
		changes := r.changes(records)
		if len(changes) == 0 && !idle {
			m.pass()
			continue // the next batch has an offset behind these
		}
		if !yield(syncd.Batch{Changes: changes, Offset: syncd.Offset(numbered + strconv.FormatUint(seq, 10))}) {
			return nil
		}
	}
}

// still fails with a lost position where the group stood somewhere, and has no offset any more.
func (s *source) still(ctx context.Context, after syncd.Offset) error {
	if after == "" || after == fromRest {
		return s.begin(ctx)
	}
	partitions, err := s.partitions(ctx)
	if err != nil {
		return err
	}
	known, err := s.stands(partitions)
	if err == nil && !known {
		err = &lostError{fmt.Sprintf("the group %s has no offsets any more: brokers forget those of a group that nobody is in for long (offsets.retention.minutes)", s.cfg.GroupID)}
	}
	return err
}

// reading makes changes of records. It is for one goroutine.
type reading struct {
	*source
	collections map[string]bool
	fallback    string            // of records that can't be read, where nothing says whose they are
	topics      map[string]string // what was found out of topics: their collections, or ""
}

func (r *reading) changes(records []record) []syncd.Change {
	changes := make([]syncd.Change, 0, len(records))
	streamed := make([]syncd.Streamed, 0, len(records))
	for _, rec := range records {
		c := r.change(rec)
		if c.Streamed == nil {
			continue
		}
		streamed = append(streamed, *c.Streamed)
		c.Streamed = &streamed[len(streamed)-1]
		changes = append(changes, c)
	}
	return changes
}

// change makes a change of a record; it has no Streamed where the record is to be passed over.
func (r *reading) change(rec record) (c syncd.Change) {
	m := rec.Message
	topic := *m.TopicPartition.Topic
	if m.Value == nil && rec.of.deleted != nil && bytes.Equal(rec.of.deleted, m.Key) {
		rec.of.deleted = nil
		return c // the tombstone behind a delete says it once more
	}
	rec.of.deleted = nil
	d, err := r.decoder.Decode(m.Key, m.Value, isReference(m))
	if d.Skipped != "" {
		r.logger.Debug("a record that is about no document was passed over", "what", d.Skipped, "topic", topic)
		return c
	}
	if d.Database != "" && d.Database != r.cfg.Database {
		if r.once("database " + d.Database) {
			r.logger.Warn("events of another database are left out", "database", d.Database, "topic", topic, "hint", section+".database is "+r.cfg.Database)
		}
		return c
	}
	collection := d.Collection
	if collection == "" {
		collection = r.ofTopic(topic)
	}
	if !r.collections[collection] {
		if err != nil && d.Collection == "" {
			collection = r.fallback // nobody knows whose it is, and it must not be lost
		} else {
			if r.once("collection " + topic + " " + collection) {
				r.left(topic, collection)
			}
			return c
		}
	}
	c.Streamed = &syncd.Streamed{Collection: collection, Touched: d.Touched, Whole: d.Whole, Raw: d.Raw}
	if m.TimestampType != ck.TimestampNotAvailable {
		c.Streamed.At = m.Timestamp
	}
	c.Operation, c.ID, c.Key = d.Operation, d.ID, syncd.Key(d.ID)
	switch {
	case err != nil:
		c.Err = recordError(m, err)
		c.Streamed.Raw = nil
		return c
	case d.Document != nil:
		doc := bsondoc.NewDocument(d.Document)
		c.Document = &doc
	case d.Before != nil:
		doc := bsondoc.NewDocument(d.Before)
		c.Streamed.Before = &doc
	}
	if c.Operation == syncd.Delete {
		rec.of.deleted = m.Key
	}
	return c
}

// left says that the events of a collection are left out.
func (r *reading) left(topic, collection string) {
	if collection == "" {
		r.logger.Warn("records of a topic are left out, since nothing says of which collection they are", "topic", topic,
			"hint", "name it in "+section+".collections")
		return
	}
	r.logger.Warn("events of a collection that the mapping does not have are left out", "collection", collection, "topic", topic,
		"hint", "add it to mapping.collections")
}

// ofTopic is the collection of a topic's records that do not say it: as set, or the longest that the topic's name is, or ends with behind a
// dot; "" where there is none.
func (r *reading) ofTopic(topic string) string {
	if name, ok := r.cfg.Collections[topic]; ok {
		return name
	}
	name, ok := r.topics[topic]
	if !ok {
		for c := range r.collections {
			if (topic == c || strings.HasSuffix(topic, "."+c)) && len(c) > len(name) {
				name = c
			}
		}
		r.topics[topic] = name
	}
	return name
}

// isReference reports whether a record was sent without its document.
func isReference(m *ck.Message) bool {
	for _, h := range m.Headers {
		if h.Key == codec.HeaderDocument {
			return string(h.Value) == codec.DocumentReference
		}
	}
	return false
}

// recordError is the error of a record that no change can be made of, with the hint that goes with it.
func recordError(m *ck.Message, err error) error {
	hint := syncd.HintOf(err)
	if form, ok := errors.AsType[*codec.FormError](err); ok && hint == "" {
		hint = form.Advice()
	}
	r := &syncd.RecordError{
		Topic: *m.TopicPartition.Topic, Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset),
		Key: m.Key, Value: m.Value, Cause: err,
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, syncd.RecordHeader{Name: h.Key, Value: h.Value})
	}
	if hint != "" {
		return syncd.Hint(r, "%s", hint)
	}
	return r
}
