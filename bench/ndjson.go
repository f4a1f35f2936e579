package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// ndjson measures the file source on a file of Extended JSON, which holds the documents that the servers know: a run that finds
// all of them in the index, and an audit in both directions.
func (b *bench) ndjson(ctx context.Context) (err error) {
	l := load{Documents: 300_000, Size: 350, List: true}
	dir, err := os.MkdirTemp("", "syncd-bench-ndjson-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bytes, err := writeNDJSON(filepath.Join(dir, collection+".ndjson"), l)
	if err != nil {
		return fmt.Errorf("writing the file: %w", err)
	}
	s, err := startServers(ctx, b.self, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	config := fmt.Sprintf(`source: {file: {path: %q, database: %s}}
checker: {qdrant: {url: %q, collection: c}}
sink: {kafka: {bootstrap_servers: %q}}
mapping: {collections: {%s: doc}}
run: {wait_timeout: 0}
`, dir, database, s.Qdrant, s.Kafka, collection)
	figures, err := interleave(b.repeat,
		func() (figure, error) { return measureProgram(ctx, b.syncd, config, "run") },
		func() (figure, error) { return measureProgram(ctx, b.syncd, config, "verify", "--min-age", "0s") },
	)
	if err != nil {
		return err
	}
	fmt.Printf("A file of Extended JSON, %d bytes:\n\n", bytes)
	t := &table{header: []string{"documents", "bytes", "case", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
	for i, name := range []string{"no-op", "verify"} {
		t.add(took(&result{benchCase: benchCase{name: name}, load: l}, "", figures[i], l.Documents)...)
	}
	t.print(os.Stdout)
	perSecond := func(f figure) float64 { return float64(bytes) / 1e6 / f.cpu.Seconds() }
	b.decide(gate{name: "NDJSON, no-op: bytes of the file ÷ CPU", unit: "MB/s", limit: 150, least: true,
		values: each(figures[0], perSecond)})
	b.decide(gate{name: fmt.Sprintf("NDJSON, verify of %d documents: CPU", l.Documents), unit: "s", limit: 2,
		values: each(figures[1], cpuSeconds)})
	return nil
}

// writeNDJSON writes the documents that the servers make, as mongoexport does, and returns how many bytes that are.
func writeNDJSON(path string, l load) (n int64, err error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	documents := fastmongo.Documents(l.Documents, l.Size)
	var doc []byte
	for i := range l.Documents {
		doc = documents.Document(i, doc[:0])
		line, err := bson.MarshalExtJSON(bson.Raw(doc), false, false)
		if err != nil {
			return 0, err
		}
		written, err := w.Write(append(line, '\n'))
		if err != nil {
			return 0, err
		}
		n += int64(written)
	}
	return n, w.Flush()
}
