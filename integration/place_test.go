package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/integration/kafka"
	"github.com/syncd-io/syncd/integration/secantus"
	"github.com/syncd-io/syncd/sandbox/embedserver"
	"github.com/syncd-io/syncd/sandbox/mongotest/javaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// The variables that point the suite at a deployment; see the package's comment.
const (
	mongoEnv     = "SYNCD_TEST_MONGO_URI"
	qdrantEnv    = "SYNCD_TEST_QDRANT_URL"
	qdrantKeyEnv = "SYNCD_TEST_QDRANT_API_KEY"
	kafkaEnv     = "SYNCD_TEST_KAFKA"
	eventsEnv    = "SYNCD_TEST_EVENTS"
)

const javaName = "mongo-java-server"

// mongoServers are ways to come by a MongoDB server: the one of the environment, or each that can be fetched.
func mongoServers() map[string]func(t *testing.T) string {
	if uri := os.Getenv(mongoEnv); uri != "" {
		return map[string]func(*testing.T) string{"deployed": func(*testing.T) string { return uri }}
	}
	return map[string]func(*testing.T) string{"SecantusDB": startSecantus, javaName: startJava}
}

func startJava(t *testing.T) string {
	t.Helper()
	s, err := javaserver.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s.Close)
	return s.URI()
}

func startSecantus(t *testing.T) string { return startSecantusWith(t) }

func startSecantusWith(t *testing.T, args ...string) string {
	t.Helper()
	s, err := secantus.Start(t.Context(), t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s.Close)
	logOnFailure(t, "SecantusDB", s.Log)
	return s.URI()
}

// kafkaAddr is the broker of the environment, or the one that tests share.
func kafkaAddr(t *testing.T) string {
	t.Helper()
	if addr := os.Getenv(kafkaEnv); addr != "" {
		return addr
	}
	return broker(t).Addr(kafka.Plain)
}

// place is where a test works: servers, and a name of its own on each of them.
type place struct {
	name string // of the database, of the index and of the consumer group; topics begin with it and a dot

	mongoURI  string
	qdrantURL string
	qdrantKey string
	kafka     string
	state     string // folder
	admin     *kadm.Client
}

// newPlace makes names that are new, and removes after the test what is called by them.
func newPlace(t *testing.T, mongoURI, kafkaAddr string) *place {
	t.Helper()
	p := &place{
		name: "syncd_it_" + uuid.NewString()[:8], mongoURI: mongoURI, kafka: kafkaAddr, state: t.TempDir(),
	}
	p.atQdrant(t)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(p.kafka, ",")...),
		kgo.MetadataMinAge(10*time.Millisecond), // what is asked for is to be known as it is, not as it was
	)
	if err != nil {
		t.Fatal(err)
	}
	p.admin = kadm.NewClient(client)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		defer client.Close()
		if topics := p.topics(t); len(topics) > 0 {
			if _, err := p.admin.DeleteTopics(ctx, topics...); err != nil {
				t.Errorf("deleting the test's topics: %v", err)
			}
		}
		_, _ = p.admin.DeleteGroups(ctx, p.name) // it need not exist
	})
	return p
}

// atQdrant finds or starts Qdrant, and deletes the place's collection after the test.
func (p *place) atQdrant(t *testing.T) {
	t.Helper()
	p.qdrantURL, p.qdrantKey = os.Getenv(qdrantEnv), os.Getenv(qdrantKeyEnv)
	if p.qdrantURL == "" {
		s, err := qdrantserver.Start(qdrantserver.Config{})
		if err != nil {
			t.Fatal(err)
		}
		closeAfter(t, s.Close)
		p.qdrantURL = "http://" + s.Addr()
	}
	p.dropAfter(t, p.name)
}

// dropAfter deletes a collection of Qdrant after the test; it need not exist.
func (p *place) dropAfter(t *testing.T, collection string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c := p.qdrantClient(t)
		defer c.Close()
		there, err := c.CollectionExists(ctx, collection)
		if err == nil && there {
			err = c.DeleteCollection(ctx, collection)
		}
		if err != nil {
			t.Errorf("deleting the test's Qdrant collection: %v", err)
		}
	})
}

// database connects a client of the test's own, and drops the database after the test.
func (p *place) database(t *testing.T) *mongo.Database {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(p.mongoURI))
	if err != nil {
		t.Fatal(err)
	}
	db := client.Database(p.name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := db.Drop(ctx); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
		_ = client.Disconnect(ctx)
	})
	return db
}

// qdrantAddr is the address of Qdrant's gRPC: the URL may name the port of its REST.
func (p *place) qdrantAddr(t *testing.T) (host string, port int, secure *tls.Config) {
	t.Helper()
	u, err := url.Parse(p.qdrantURL)
	if err != nil || u.Hostname() == "" {
		t.Fatalf("%s must be a URL such as http://localhost:6334: %v", qdrantEnv, err)
	}
	port = 6334
	if n, err := strconv.Atoi(u.Port()); err == nil && n != 6333 {
		port = n
	}
	if u.Scheme == "https" {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return u.Hostname(), port, secure
}

func (p *place) qdrantClient(t *testing.T) *qdrantclient.Client {
	t.Helper()
	host, port, secure := p.qdrantAddr(t)
	c, err := qdrantclient.NewClient(&qdrantclient.Config{
		Host: host, Port: port, APIKey: p.qdrantKey, UseTLS: secure != nil, TLSConfig: secure, SkipCompatibilityCheck: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// index starts an indexing consumer, syncd itself, for which a document is one point, so that points can be counted.
func (p *place) index(t *testing.T, collections map[string]string) {
	t.Helper()
	model, err := embedserver.Start(embedserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, model.Close)
	text := fmt.Sprintf(`source:
  kafka: {bootstrap_servers: %q, topics: %q, group_id: %[3]q, database: %[3]q, properties: {topic.metadata.refresh.interval.ms: "250"}}
stages:
  chunk: {unit: characters, size: 1000000, overlap: 0}
  embed: {url: %[4]q, model: m}
sink:
  qdrant: {url: %[5]q, collection: %[3]q, api_key: %[6]q, create: {enabled: true}}
mapping:
  collections: %[7]s
run: {follow: true, state_dir: %[8]q}
`, p.kafka, "^"+strings.ReplaceAll(p.name, ".", "[.]")+"[.]", p.name, model.URL(), p.qdrantURL, p.qdrantKey, asJSON(t, collections), t.TempDir())
	file := filepath.Join(t.TempDir(), "index.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	x := start(t, "run", "-c", file)
	logOnFailure(t, "the indexer", x.output.String)
	t.Cleanup(func() { // before its servers end
		if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stopping the indexer: %v", err)
		}
		if r := x.wait(t); r.code != 0 {
			t.Errorf("the indexer ended with %d", r.code)
		}
	})
}

// indexed is how many points the index holds.
func (p *place) indexed(t *testing.T) int {
	t.Helper()
	c := p.qdrantClient(t)
	defer c.Close()
	there, err := c.CollectionExists(t.Context(), p.name)
	n := uint64(0)
	if there && err == nil {
		n, err = c.Count(t.Context(), &qdrantclient.CountPoints{CollectionName: p.name, Exact: qdrantclient.PtrOf(true)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// config writes a configuration. more is lines of sink.kafka, indented by four.
func (p *place) config(t *testing.T, collections map[string]string, more ...string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "source:\n  mongo:\n    uri: %q\n    database: %q\n", p.mongoURI, p.name)
	fmt.Fprintf(&b, "checker:\n  qdrant:\n    url: %q\n    collection: %q\n    api_key: %q\n", p.qdrantURL, p.name, p.qdrantKey)
	fmt.Fprintf(&b, "sink:\n  kafka:\n    headers: all\n    bootstrap_servers: %q\n", p.kafka)
	for _, line := range more {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	fmt.Fprintf(&b, "mapping:\n  collections:\n")
	for _, name := range slices.Sorted(maps.Keys(collections)) {
		fmt.Fprintf(&b, "    %s: %s\n", name, collections[name])
	}
	fmt.Fprintf(&b, "run:\n  state_dir: %q\n  wait_timeout: 0\n", p.state)
	file := filepath.Join(t.TempDir(), "syncd.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// at is the same place, for syncd to reach Kafka at another address.
func (p *place) at(kafka string) *place {
	q := *p
	q.kafka = kafka
	return &q
}

// createTopics is for config: topics of six partitions.
const createTopics = "create_topics: {partitions: 6}"

// topics are those of this place.
func (p *place) topics(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all, err := p.admin.ListTopics(ctx) // a request that names a topic may create it
	if err != nil {
		t.Fatalf("listing topics: %v", err)
	}
	return slices.DeleteFunc(all.Names(), func(name string) bool { return !strings.HasPrefix(name, p.name+".") })
}

// read calls f for each event that the topics hold when no transaction is open (any more), as a consumer with
// isolation.level=read_committed sees them: without those of transactions that were aborted.
func (p *place) read(t *testing.T, f func(*kgo.Record)) {
	t.Helper()
	p.settle(t)
	p.consume(t, partitionOffsets{}, f)
}

// settle waits until no transaction is open.
func (p *place) settle(t *testing.T) {
	t.Helper()
	until(t, "no transaction is open", func() bool {
		topics := p.topics(t)
		if len(topics) == 0 {
			return true
		}
		stable, ends := offsets(t, p.admin.ListCommittedOffsets, topics), offsets(t, p.admin.ListEndOffsets, topics)
		all := true
		ends.Each(func(end kadm.ListedOffset) {
			o, ok := stable.Lookup(end.Topic, end.Partition)
			all = all && ok && o.Offset == end.Offset
		})
		return all
	})
}

// offsets lists offsets. A topic that has just been created may have no leader for a moment.
func offsets(t *testing.T, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (all kadm.ListedOffsets) {
	t.Helper()
	until(t, "offsets are listed", func() bool {
		var err error
		if all, err = list(t.Context(), topics...); err == nil {
			err = all.Error()
		}
		if err != nil && !kerr.IsRetriable(err) {
			t.Fatalf("listing offsets: %v", err)
		}
		return err == nil
	})
	return all
}

type partition struct {
	topic string
	n     int32
}

// partitionOffsets are up to where partitions were read.
type partitionOffsets map[partition]int64

// consume calls f for each event from where a consumer stands up to the first open transaction, and moves the consumer there.
func (p *place) consume(t *testing.T, at partitionOffsets, f func(*kgo.Record)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience+time.Minute)
	defer cancel()
	topics := p.topics(t)
	if len(topics) == 0 {
		return
	}
	ends := offsets(t, p.admin.ListCommittedOffsets, topics)
	pending, from := partitionOffsets{}, map[string]map[int32]kgo.Offset{}
	ends.Each(func(end kadm.ListedOffset) {
		next := partition{end.Topic, end.Partition}
		if end.Offset == at[next] {
			return
		}
		pending[next] = end.Offset
		if from[end.Topic] == nil {
			from[end.Topic] = map[int32]kgo.Offset{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(at[next])
	})
	if len(pending) == 0 {
		return
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(p.kafka, ",")...), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // the end of a transaction takes an offset too
	)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for len(pending) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("reading the topics: these partitions were not read to their ends: %v", pending)
		}
		fetches.EachError(func(topic string, n int32, err error) { t.Logf("reading %s, partition %d: %v", topic, n, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			next := partition{r.Topic, r.Partition}
			end, ok := pending[next]
			if !ok || r.Offset >= end {
				return
			}
			if at[next] = r.Offset + 1; at[next] == end {
				delete(pending, next)
			}
			if !r.Attrs.IsControl() {
				f(r)
			}
		})
	}
}

// records are the events that the topics hold now.
func (p *place) records(t *testing.T) []*kgo.Record {
	t.Helper()
	var out []*kgo.Record
	p.read(t, func(r *kgo.Record) { out = append(out, r) })
	return out
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// closedPort is an address where nothing listens. Where the system has many loopback addresses it is one at which no other test has its
// servers: a port of the usual one could be given to one of them.
func closedPort(t *testing.T) string {
	t.Helper()
	at := "127.0.0.1:0"
	if runtime.GOOS == "linux" {
		at = "127.127.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
