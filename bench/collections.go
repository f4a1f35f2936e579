package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

// collections measures a run over many small collections beside one over a single collection that holds as many documents: nothing is
// missing, and the servers are the same.
func (b *bench) collections(ctx context.Context) (err error) {
	const many, documents, limit = 500, 200, 1.5
	w, err := startWorld(ctx, many, documents)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	figures, err := interleave(b.repeat,
		func() (figure, error) { return measureProgram(ctx, b.syncd, w.many, "run") },
		func() (figure, error) { return measureProgram(ctx, b.syncd, w.one, "run") },
	)
	if err != nil {
		return err
	}
	t := &table{header: []string{"documents", "bytes", "case", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
	for i, name := range []string{fmt.Sprintf("no-op, %d collections", many), "no-op, one collection"} {
		t.add(took(&result{benchCase: benchCase{name: name}, load: load{Size: documentSize}}, "", figures[i], many*documents)...)
	}
	t.print(os.Stdout)
	for _, of := range []struct {
		what string
		get  func(figure) float64
	}{{"wall", wallSeconds}, {"CPU", cpuSeconds}} {
		b.decide(gate{
			name:  fmt.Sprintf("%d collections of %d documents: %s ÷ one of %d", many, documents, of.what, many*documents),
			limit: limit, values: ratios(figures[0], figures[1], of.get),
		})
	}
	return nil
}

const (
	documentSize  = 2000
	sampledPoints = 100 // that the index shows of each content type
)

// world is servers with many collections and one, in this process, and a configuration for each of the two.
type world struct {
	one, many string // configurations
	stop      []func() error
}

func startWorld(ctx context.Context, many, documents int) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	mongo, err := fastmongo.Start(ctx, fastmongo.Config{})
	if err != nil {
		return w, fmt.Errorf("starting MongoDB: %w", err)
	}
	w.stop = append(w.stop, mongo.Close)
	kafka, err := kafkaserver.Start(kafkaserver.Config{})
	if err != nil {
		return w, fmt.Errorf("starting Kafka: %w", err)
	}
	w.stop = append(w.stop, kafka.Close)
	index, err := startOracle(ctx, 0, uint64(2*many*documents), nil)
	if err != nil {
		return w, fmt.Errorf("starting Qdrant: %w", err)
	}
	w.stop = append(w.stop, func() error { index.stop(); return nil })
	index.byType = map[string][]listedPoint{}
	add := func(name string, documents int) error {
		generated := fastmongo.Documents(documents, documentSize)
		if err := mongo.Generate(database+"."+name, generated); err != nil {
			return fmt.Errorf("making documents: %w", err)
		}
		var id []byte
		for i := range min(documents, sampledPoints) {
			_, id = generated.ID(i, id[:0])
			index.byType[name] = append(index.byType[name], listedPoint{uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%x/%s/0", id, name)), [12]byte(id)})
		}
		slices.SortFunc(index.byType[name], func(a, b listedPoint) int { return bytes.Compare(a.id[:], b.id[:]) })
		return kafka.CreateTopic(database+"."+name, partitions)
	}
	config := func(collections ...string) string {
		rules := make([]string, len(collections))
		for i, c := range collections {
			rules[i] = c + ": " + c
		}
		return fmt.Sprintf(`source: {mongo: {uri: %q, database: %s}}
checker: {qdrant: {url: %q, collection: c}}
sink: {kafka: {bootstrap_servers: %q}}
mapping: {collections: {%s}}
`, mongo.URI(), database, "http://"+index.addr, kafka.Addr(), strings.Join(rules, ", "))
	}
	if err := add(collection, many*documents); err != nil {
		return w, err
	}
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprintf("c%05d", i)
		if err := add(names[i], documents); err != nil {
			return w, err
		}
	}
	w.one, w.many = config(collection), config(names...)
	return w, nil
}

func (w *world) close() error {
	var errs []error
	for _, stop := range slices.Backward(w.stop) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}
