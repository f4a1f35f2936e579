package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

const (
	database   = "bench"
	collection = "docs"
	topic      = database + "." + collection
)

// endpoints is what the server process says of itself, one JSON object a line: first where the servers are, and then, when
// its standard input closes, what they saw.
type endpoints struct {
	Mongo, Qdrant, Kafka string
	Produced             []time.Time // when requests to produce came after a pause
}

// serve runs the servers until standard input closes.
func serve(ctx context.Context, documents, size, absent int, list bool) error {
	mongo, err := fastmongo.Start(ctx, fastmongo.Config{})
	if err != nil {
		return fmt.Errorf("starting MongoDB: %w", err)
	}
	generated := fastmongo.Documents(documents, size)
	if err := mongo.Generate(database+"."+collection, generated); err != nil {
		return fmt.Errorf("making documents: %w", err)
	}
	var listed []listedPoint
	if list {
		listed = make([]listedPoint, documents)
		var id []byte
		for i := range listed {
			_, id = generated.ID(i, id[:0])
			listed[i].oid = [12]byte(id)
			listed[i].id = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%x/doc/0", id))
		}
		slices.SortFunc(listed, func(a, b listedPoint) int { return bytes.Compare(a.id[:], b.id[:]) })
	}
	o, err := startOracle(ctx, absent, uint64(documents), listed)
	if err != nil {
		return fmt.Errorf("starting Qdrant: %w", err)
	}
	defer o.stop()
	kafka, err := kafkaserver.Start(kafkaserver.Config{})
	if err != nil {
		return fmt.Errorf("starting Kafka: %w", err)
	}
	if err := kafka.CreateTopic(topic, 3); err != nil {
		return fmt.Errorf("creating the topic: %w", err)
	}
	seen := produceTimes{cluster: kafka.Cluster()}
	kafka.Cluster().ControlKey(int16(kmsg.Produce), seen.note)
	e := endpoints{Mongo: mongo.URI(), Qdrant: "http://" + o.addr, Kafka: kafka.Addr()}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(e); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	e.Produced = seen.times
	return out.Encode(e)
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
