package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/integration/connectworker"
)

// A peer copies a collection to Kafka, from the bench's servers.
type peer struct {
	name string
	// run copies once, and returns what the copying took.
	run func(ctx context.Context, at *peerServers) (figure, error)
}

// peerServers are the bench's, and what peers need beside them.
type peerServers struct {
	*servers
	front *front // where the connector reads
}

// peers measures programs that copy a whole collection to Kafka, beside syncd when everything is missing. Each runs with two
// numbers of documents: what the larger takes more is what documents cost when start and warming up are over.
func peers(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench peers", flag.ContinueOnError)
	syncd := f.String("syncd", "bin/syncd", "the program to measure")
	benthos := f.String("benthos", "bin/benthos", "Benthos, as built from bench/peers")
	numbers := f.String("sizes", "100000,400000", "two numbers of documents, ascending")
	size := f.Int("bytes", 2000, "size of documents")
	repeat := f.Int("n", 3, "how often each measurement is repeated")
	only := f.String("peers", "", "only the programs whose names contain this")
	if err := f.Parse(args); err != nil {
		return err
	}
	documents, err := integers(*numbers)
	if err != nil {
		return err
	}
	if len(documents) != 2 || documents[0] >= documents[1] {
		return errors.New("-sizes takes two numbers, ascending")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	all := []peer{
		{"syncd", syncdPeer(*syncd, "")},
		{"syncd, no headers", syncdPeer(*syncd, "headers: [none], ")},
		{"Benthos", benthosPeer(*benthos)},
		{"mongo-kafka", connectPeer},
	}
	var chosen []peer
	for _, p := range all {
		if strings.Contains(p.name, *only) {
			chosen = append(chosen, p)
		}
	}
	figures := make([][][]figure, 2) // by number of documents, peer and repetition
	for i, n := range documents {
		if figures[i], err = measurePeers(ctx, self, load{Documents: n, Size: *size, Absent: 256}, chosen, max(1, *repeat)); err != nil {
			return err
		}
	}
	fmt.Printf("%s Documents of %d bytes. Each figure is one of %d repetitions, taken in turn: the least / the median.\n\n", machine(), *size, max(1, *repeat))
	t := &table{header: []string{"program", "documents", "CPU µs/document", "wall s", "peak MB", "CPU µs/document after the first " + strconv.Itoa(documents[0])}}
	for j, p := range chosen {
		for i, n := range documents {
			steady := ""
			if i == 1 {
				more := make([]float64, len(figures[1][j]))
				for k := range more {
					more[k] = perDocument(figures[1][j][k].cpu-figures[0][j][k].cpu, documents[1]-documents[0])
				}
				steady = least(more)
			}
			t.add(p.name, strconv.Itoa(n), least(each(figures[i][j], func(f figure) float64 { return perDocument(f.cpu, n) })),
				least(each(figures[i][j], wallSeconds)), fmt.Sprintf("%.0f", median(each(figures[i][j], peakMB))), steady)
		}
	}
	t.print(os.Stdout)
	return nil
}

// measurePeers measures all peers on the same servers, and makes sure that each sent every document.
func measurePeers(ctx context.Context, self string, l load, chosen []peer, repeat int) (out [][]figure, err error) {
	s, err := startServers(ctx, self, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	mongo, err := url.Parse(s.Mongo)
	if err != nil {
		return nil, err
	}
	front, err := startFront(ctx, mongo.Host)
	if err != nil {
		return nil, err
	}
	defer front.close()
	at := &peerServers{s, front}
	var measurements []func() (figure, error)
	for _, p := range chosen {
		measurements = append(measurements, func() (figure, error) {
			fmt.Fprintf(os.Stderr, "measuring %s, %d documents\n", p.name, l.Documents)
			before, err := events(ctx, at.Kafka)
			if err != nil {
				return figure{}, err
			}
			f, err := p.run(ctx, at)
			if err != nil {
				return f, fmt.Errorf("%s: %w", p.name, err)
			}
			after, err := events(ctx, at.Kafka)
			if err == nil && after-before != l.Documents {
				err = fmt.Errorf("%s sent %d events for %d documents", p.name, after-before, l.Documents)
			}
			return f, err
		})
	}
	return interleave(repeat, measurements...)
}

func syncdPeer(path, more string) func(context.Context, *peerServers) (figure, error) {
	return func(ctx context.Context, at *peerServers) (figure, error) {
		program, err := filepath.Abs(path)
		if err != nil {
			return figure{}, err
		}
		config := strings.Replace(configuration(at.endpoints, at.Load), "sink: {kafka: {", "sink: {kafka: {"+more, 1)
		return measureProgram(ctx, program, config, "run")
	}
}

// benthosPeer is Benthos with its producer's settings as like syncd's as it has them: idempotent, compressed, batches of 1,000.
func benthosPeer(path string) func(context.Context, *peerServers) (figure, error) {
	return func(ctx context.Context, at *peerServers) (figure, error) {
		program, err := filepath.Abs(path)
		if err != nil {
			return figure{}, err
		}
		return measureProgram(ctx, program, fmt.Sprintf(`http: {enabled: false}
logger: {level: WARN}
input:
  mongodb: {url: %q, database: %s, collection: %s, query: "root = {}", batch_size: 1000}
output:
  kafka_franz:
    seed_brokers: [%q]
    topic: %s
    key: ${! json("_id") }
    compression: lz4
    idempotent_write: true
    batching: {count: 1000, period: 10ms}
`, at.Mongo, database, collection, at.Kafka, topic))
	}
}

// connectPeer is MongoDB's connector in Kafka Connect, standalone, with the flags that Kafka's own script gives the JVM. It
// does not end by itself, so it is ended when the topic has all events; what it took is what the operating system says then.
func connectPeer(ctx context.Context, at *peerServers) (figure, error) {
	jars, err := connectworker.Jars(ctx)
	if err != nil {
		return figure{}, err
	}
	dir, err := os.MkdirTemp("", "syncd-bench-")
	if err != nil {
		return figure{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	files := map[string]string{
		"worker.properties": fmt.Sprintf(`bootstrap.servers=%s
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=%s
listeners=http://127.0.0.1:0
producer.compression.type=lz4
producer.linger.ms=5
`, at.Kafka, filepath.Join(dir, "offsets")),
		"source.properties": fmt.Sprintf(`name=mongo
connector.class=com.mongodb.kafka.connect.MongoSourceConnector
tasks.max=1
connection.uri=%s
database=%s
collection=%s
startup.mode=copy_existing
`, at.front.uri(), database, collection),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return figure{}, err
		}
	}
	before, err := events(ctx, at.Kafka)
	if err != nil {
		return figure{}, err
	}
	var log strings.Builder
	cmd := exec.CommandContext(ctx, "java", "-Xms256M", "-Xmx2G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*"),
		"org.apache.kafka.connect.cli.ConnectStandalone", filepath.Join(dir, "worker.properties"), filepath.Join(dir, "source.properties"))
	cmd.Stdout, cmd.Stderr = &log, &log
	f := figure{start: time.Now()}
	if err := cmd.Start(); err != nil {
		return f, err
	}
	err = func() error {
		deadline := time.Now().Add(10 * time.Minute)
		for {
			n, err := events(ctx, at.Kafka)
			if err != nil {
				return err
			}
			if n-before >= at.Load.Documents {
				return f.account(cmd.Process.Pid)
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("after 10 minutes it has sent %d of %d documents", n-before, at.Load.Documents)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	kill := cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
	if err != nil {
		return f, fmt.Errorf("%w\n%s", errors.Join(err, kill), log.String())
	}
	return f, kill
}
