package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

const (
	database   = "bench"
	collection = "docs"
	topic      = database + "." + collection
	partitions = 3
)

// A load is what the servers hold.
type load struct {
	Documents   int  // in each collection
	Size        int  // of a document, in bytes
	Absent      int  // of 256 points, so many are missing
	List        bool // points can be listed, for an audit: the server keeps them all
	Collections int  // none means one; named docs, docs1, docs2 and so on
	Indexing    indexingLoad
}

// names are the collections' names.
func (l load) names() []string {
	names := []string{collection}
	for i := 1; i < l.Collections; i++ {
		names = append(names, collection+strconv.Itoa(i))
	}
	return names
}

// endpoints is what the server process says of itself, one JSON object a line: first where the servers are, and then, when
// its standard input closes, what they saw.
type endpoints struct {
	Mongo, Qdrant, Kafka, Embed string
	Postgres                    string // of the section that has one
	Load                        load
	Produced                    []time.Time // when requests to produce came after a pause
	Events                      int         // that the topics have had
}

// serve runs the servers until standard input closes. All collections hold the same documents.
func serve(ctx context.Context, l load) error {
	mongo, err := fastmongo.Start(ctx, fastmongo.Config{})
	if err != nil {
		return fmt.Errorf("starting MongoDB: %w", err)
	}
	generated := fastmongo.Documents(l.Documents, l.Size)
	for _, name := range l.names() {
		if err := mongo.Generate(database+"."+name, generated); err != nil {
			return fmt.Errorf("making documents: %w", err)
		}
	}
	var listed []listedPoint
	if l.List {
		listed = make([]listedPoint, l.Documents)
		var id []byte
		for i := range listed {
			_, id = generated.ID(i, id[:0])
			listed[i].oid = [12]byte(id)
			listed[i].id = pointID(id)
		}
		slices.SortFunc(listed, func(a, b listedPoint) int { return bytes.Compare(a.id[:], b.id[:]) })
	}
	o, err := startOracle(ctx, l.Absent, uint64(l.Documents*len(l.names())), listed)
	if err != nil {
		return fmt.Errorf("starting Qdrant: %w", err)
	}
	defer o.stop()
	kafka, err := kafkaserver.Start(kafkaserver.Config{MaxMessageBytes: 32 << 20})
	if err != nil {
		return fmt.Errorf("starting Kafka: %w", err)
	}
	for _, name := range l.names() {
		if err := kafka.CreateTopic(database+"."+name, partitions); err != nil {
			return fmt.Errorf("creating the topic: %w", err)
		}
	}
	forgetting := make(chan error, 1)
	ctx, stopForgetting := context.WithCancel(ctx)
	defer stopForgetting()
	go func() { forgetting <- forget(ctx, kafka.Addr(), l.names()) }()
	seen := produceTimes{cluster: kafka.Cluster()}
	kafka.Cluster().ControlKey(int16(kmsg.Produce), seen.note)
	e := endpoints{Mongo: mongo.URI(), Qdrant: "http://" + o.addr, Kafka: kafka.Addr(), Load: l}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(e); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	stopForgetting()
	if err := <-forgetting; err != nil {
		return fmt.Errorf("forgetting events: %w", err)
	}
	e.Produced = seen.times
	if e.Events, err = events(context.WithoutCancel(ctx), kafka.Addr()); err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	return out.Encode(e)
}

// events counts what the topics have had.
func events(ctx context.Context, addr string) (int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx)
	if err == nil {
		err = ends.Error()
	}
	n := 0
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n, err
}

// missing counts the documents of a collection that the index lacks.
func (l load) missing() int {
	switch l.Absent {
	case 0:
		return 0
	case 256:
		return l.Documents
	}
	n := 0
	documents := fastmongo.Documents(l.Documents, l.Size)
	var id []byte
	for i := range l.Documents {
		_, id = documents.ID(i, id[:0])
		if point := pointID(id); int(point[15]) < l.Absent {
			n++
		}
	}
	return n
}

// pointID is that of a document, as the described indexer makes it.
func pointID(id []byte) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%x/doc/0", id))
}

// forget deletes events soon after they came, until ctx ends: the broker keeps them in memory, and nobody reads them.
func forget(ctx context.Context, addr string, collections []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	all := kmsg.NewPtrDeleteRecordsRequest()
	all.TimeoutMillis = 1000
	for _, name := range collections {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = database + "." + name
		for i := range int32(partitions) {
			p := kmsg.NewDeleteRecordsRequestTopicPartition()
			p.Partition, p.Offset = i, -1 // up to the last one
			t.Partitions = append(t.Partitions, p)
		}
		all.Topics = append(all.Topics, t)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		answer, err := all.RequestWith(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("topic %s, partition %d: %w", t.Topic, p.Partition, err)
				}
			}
		}
	}
}

// produceTimes notes when requests to produce come after a pause: the beginnings of runs.
type produceTimes struct {
	cluster *kfake.Cluster
	times   []time.Time
	last    time.Time
}

// note is called by the broker for each request to produce, one at a time, and leaves the request to it.
func (p *produceTimes) note(kmsg.Request) (kmsg.Response, error, bool) {
	p.cluster.KeepControl()
	const pause = 20 * time.Millisecond
	now := time.Now()
	if now.Sub(p.last) > pause {
		p.times = append(p.times, now)
	}
	p.last = now
	return nil, nil, false
}
