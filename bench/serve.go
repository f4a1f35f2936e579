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

// A load is what the servers hold.
type load struct {
	Documents   int  // in each collection
	Size        int  // of a document, in bytes
	Absent      int  // of 256 points, so many are missing
	List        bool // points can be listed, for an audit: the server keeps them all
	Collections int  // none means one; named docs, docs1, docs2 and so on
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
	Mongo, Qdrant, Kafka string
	Produced             []time.Time // when requests to produce came after a pause
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
			listed[i].id = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%x/doc/0", id))
		}
		slices.SortFunc(listed, func(a, b listedPoint) int { return bytes.Compare(a.id[:], b.id[:]) })
	}
	o, err := startOracle(ctx, l.Absent, uint64(l.Documents*len(l.names())), listed)
	if err != nil {
		return fmt.Errorf("starting Qdrant: %w", err)
	}
	defer o.stop()
	kafka, err := kafkaserver.Start(kafkaserver.Config{})
	if err != nil {
		return fmt.Errorf("starting Kafka: %w", err)
	}
	for _, name := range l.names() {
		if err := kafka.CreateTopic(database+"."+name, 3); err != nil {
			return fmt.Errorf("creating the topic: %w", err)
		}
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
