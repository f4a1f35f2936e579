package faults

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// What must not be seen in anything that the program prints.
const (
	mongoPassword = "mongo-p4ssw0rd"
	qdrantKey     = "qdrant-k3y-s3cret"
	kafkaPassword = "kafka-p4ssw0rd"
)

const (
	database   = "shop"
	collection = "points" // of Qdrant
	letters    = "letters"

	jobName       = "job"
	transactionID = "faults"
)

// world is the servers, a proxy in front of each, and the folder of a job's files.
type world struct {
	t        testing.TB
	program  []string             // and what goes before its arguments
	identity *syscall.SysProcAttr // of the processes

	dir, stateDir, lettersFile string

	mongo   *fastmongo.Server
	qdrant  *qdrantserver.Server
	kafka   *kafkaserver.Server
	failing []string // the commands that faults may be of; all if none is named
	proxies map[place]*proxy
	index   *qdrantclient.Client // past the proxy
	journal *journal

	followed   *consumer
	indexed    map[key]bool            // of what was followed the index has points
	onFind     func(collection string) // is told before documents are read
	streamed   atomic.Int64            // times that the database's stream was asked for more
	committing sync.Mutex              // held while several changes are made as one, and while the server goes down
	tails      map[bool]*tail          // by whether only what is committed is read

	mu       sync.Mutex
	counts   [process]int // requests to each server since the run began
	pending  []*pendingFault
	moments  []moment        // of the next run
	refusals []error         // that Qdrant answers with next
	denied   map[sent]int    // events of batches that Kafka wrote and answered as failed
	faulted  *sync.WaitGroup // faults that are there
}

// sent names a batch of events, by who sent it and where to: one that is sent again is the same.
type sent struct {
	producer  int64
	epoch     int16
	topic     string
	partition int32
	sequence  int32
}

// pendingFault is a fault whose moment has not come.
type pendingFault struct {
	fault
	happen func()
}

// options are how a world differs from the usual one.
type options struct {
	kafkaDir   string // keeps the broker's records over a restart
	replicaSet string // of MongoDB
	eventBytes int    // from which on MongoDB splits events
}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	w := &world{t: t, program: []string{program}, dir: t.TempDir(), proxies: map[place]*proxy{}, denied: map[sent]int{}, faulted: &sync.WaitGroup{}, indexed: map[key]bool{}, tails: map[bool]*tail{}}
	w.followed = &consumer{world: w, has: map[key]int64{}}
	w.stateDir, w.lettersFile = w.path("state"), w.path("letters.ndjson")
	w.journal = &journal{world: w, events: map[key]int{}, deletes: map[key]int{}, letters: map[key]int{}, read: map[position]bool{}}
	host := ownHost()
	var err error
	for _, p := range []place{mongo, qdrant, kafka} {
		w.proxies[p], err = newProxy(host)
		w.must(err)
		t.Cleanup(w.proxies[p].stop)
	}
	w.mongo, err = fastmongo.Start(t.Context(), fastmongo.Config{
		User: "reader", Password: mongoPassword, ReplicaSet: o.replicaSet, Oplog: fastmongo.Oplog{Noop: ms(200)}, EventBytes: o.eventBytes,
	})
	w.must(err)
	t.Cleanup(func() { _ = w.mongo.Close() })
	w.mongo.OnCommand(func(name string, command bson.Raw) {
		if of, ok := command.Lookup("find").StringValueOK(); ok && w.onFind != nil {
			w.onFind(of)
		}
		if of, ok := command.Lookup("collection").StringValueOK(); ok && name == "getMore" && of == "$cmd.aggregate" {
			w.streamed.Add(1)
		}
		if slices.Contains(reads, name) {
			w.count(mongo)
		}
	})
	if o.replicaSet != "" {
		w.failing = reads // there is one who writes, and he is not who is tested
	}
	w.startQdrant("")
	w.startKafka("", o)
	w.proxies[mongo].setUpstream(w.mongoAddr())
	w.createIndex()
	return w
}

var hosts atomic.Uint32

// ownHost is a loopback address that nobody else uses, where the system has many: while a proxy is down, its port could
// otherwise become another's.
func ownHost() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	n := hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16&63, n>>8&255, n&255)
}

func (w *world) startQdrant(addr string) {
	var err error
	w.qdrant, err = qdrantserver.Start(qdrantserver.Config{Addr: addr, APIKey: qdrantKey, Intercept: func(_ context.Context, method string) error {
		if method == qdrantclient.Points_Get_FullMethodName {
			w.count(qdrant)
		}
		return w.refusal()
	}})
	w.must(err)
	server := w.qdrant
	w.t.Cleanup(func() { _ = server.Close() })
	w.proxies[qdrant].setUpstream(w.qdrant.Addr())
}

func (w *world) startKafka(addr string, o options) {
	var err error
	w.kafka, err = kafkaserver.Start(kafkaserver.Config{
		Addr: addr, Advertise: w.proxies[kafka].addr, Dir: o.kafkaDir, User: "writer", Password: kafkaPassword,
	})
	w.must(err)
	server := w.kafka
	w.t.Cleanup(func() { _ = server.Close() })
	w.kafka.Cluster().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.count(kafka)
		return nil, nil, false
	})
	w.proxies[kafka].setUpstream(w.kafka.Addr())
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

func (w *world) mongoAddr() string {
	return strings.Split(strings.Split(w.mongo.URI(), "@")[1], "/")[0]
}

// count counts a request, and has the faults happen whose moment it is. The server goes on when they are there: the request
// is not answered before.
func (w *world) count(p place) {
	w.mu.Lock()
	w.counts[p]++
	var due []*pendingFault
	rest := w.pending[:0]
	for _, f := range w.pending {
		if f.clock == p && w.counts[p] >= f.after {
			due = append(due, f)
		} else {
			rest = append(rest, f)
		}
	}
	w.pending = rest
	w.mu.Unlock()
	for _, f := range due {
		f.happen()
	}
}

// at has something happen in the next run, when a server has had so many requests. The server does not wait for it.
func (w *world) at(clock place, after int, do func(r *run)) {
	w.moments = append(w.moments, moment{clock, after, do})
}

// moment is one of at.
type moment struct {
	clock place
	after int
	do    func(r *run)
}

// enter keeps the end of a run waiting for a fault to be over; false if the run has ended, which a server may see late.
func (w *world) enter(r *run) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-r.over:
		return false
	default:
		w.faulted.Add(1)
		return true
	}
}

// reads are the commands with which documents and changes are read.
var reads = []string{"find", "getMore", "aggregate"}

// cause has a fault happen, now, and end when it is over or the run is.
func (w *world) cause(r *run, f fault) {
	if !w.enter(r) {
		return
	}
	r.note(f)
	heal := w.inject(r, f)
	go func() {
		defer w.faulted.Done()
		var end <-chan time.Time
		if f.lasts > 0 {
			timer := time.NewTimer(f.lasts)
			defer timer.Stop()
			end = timer.C
		}
		select {
		case <-end:
		case <-r.over:
		}
		heal()
	}()
}

// inject makes a fault and returns how to end it.
func (w *world) inject(r *run, f fault) (heal func()) {
	switch f.kind {
	case latency, bandwidth, slicer, reset, cutAfter, timeout, halfOpen, slowClose:
		return w.proxies[f.on].add(f)
	case down:
		w.proxies[f.on].stop()
		return func() {
			if err := w.proxies[f.on].start(); err != nil {
				w.t.Errorf("%s: %v", f, err)
			}
		}

	case notPrimary:
		answer := fastmongo.NotPrimary(f.amount)
		answer.Commands = w.failing
		return w.mongo.Inject(answer)
	case lostCursor:
		return w.mongo.Inject(fastmongo.Fault{Commands: []string{"getMore"}, Times: f.amount, Code: 237, Message: "cursor was killed"})
	case shuttingDown:
		return w.mongo.Inject(fastmongo.Fault{Commands: w.failing, Times: f.amount, Code: 91, Message: "the server is in quiesce mode and will shut down"})
	case unavailable:
		return w.refuseAsk(f, status.Error(codes.Unavailable, "shard is not ready"))
	case internal:
		return w.refuseAsk(f, status.Error(codes.Internal, "Service internal error: no replica is alive"))
	case rateLimited:
		return w.refuseAsk(f, qdrantserver.RateLimitError(1))
	case notLeader, fewReplicas, fewAfter, timedOut:
		return w.refuseProduce(f)

	case kill:
		r.signal(killSignal)
	case terminate:
		r.signal(termSignal)
	case interrupt:
		r.signal(intSignal)
	case hardStop:
		r.signal(termSignal)
		r.signal(termSignal)
	case freeze:
		r.signal(stopSignal)
		return func() { r.signal(contSignal) }
	default:
		if heal, ok := w.injectStream(f); ok {
			return heal
		}
		w.t.Errorf("nobody knows how to make %q", f.kind)
	}
	return func() {}
}

// refuseAsk has Qdrant answer with errors.
func (w *world) refuseAsk(f fault, err error) (heal func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusals = slices.Repeat([]error{err}, f.amount)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.refusals = nil
	}
}

// refusal is the error that Qdrant is to answer with, or nil.
func (w *world) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.refusals) == 0 {
		return nil
	}
	err := w.refusals[0]
	w.refusals = w.refusals[1:]
	return err
}

// createIndex makes the collection of points.
func (w *world) createIndex() {
	host, port, err := net.SplitHostPort(w.qdrant.Addr())
	w.must(err)
	var number int
	_, err = fmt.Sscan(port, &number)
	w.must(err)
	w.index, err = qdrantclient.NewClient(&qdrantclient.Config{Host: host, Port: number, APIKey: qdrantKey, PoolSize: 1, SkipCompatibilityCheck: true, Logger: quiet})
	w.must(err)
	index := w.index
	w.t.Cleanup(func() { _ = index.Close() })
	w.must(w.index.CreateCollection(w.t.Context(), &qdrantclient.CreateCollection{
		CollectionName: collection,
		VectorsConfig:  qdrantclient.NewVectorsConfig(&qdrantclient.VectorParams{Size: 1, Distance: qdrantclient.Distance_Dot}),
	}))
	for _, field := range []string{"content_type", "mongo_id"} {
		_, err := w.index.CreateFieldIndex(w.t.Context(), &qdrantclient.CreateFieldIndexCollection{
			CollectionName: collection, FieldName: field, FieldType: qdrantclient.FieldType_FieldTypeKeyword.Enum(), Wait: qdrantclient.PtrOf(true),
		})
		w.must(err)
	}
}

// path is a file of the world.
func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) string {
	w.must(os.WriteFile(w.path(name), []byte(text), 0o644))
	return w.path(name)
}

// configure writes the job's configuration. What more says is merged over it.
func (w *world) configure(s schedule, more string) string {
	delivery, dead := "at_least_once", fmt.Sprintf("file: {path: %s, format: envelope}", w.lettersFile)
	if s.exactlyOnce {
		delivery = "exactly_once\n    transactions: {id: " + transactionID + ", timeout: 1s}"
	}
	if s.letters == "kafka" {
		dead = "kafka: {topic: " + letters + "}"
	}
	mode, rules := "incremental, on_check_unavailable: "+s.outage, ""
	if s.full {
		mode = "full"
	} else if s.ruled {
		rules = "version: {field: updatedAt, payload: updatedAt}\n  chunks: {payload: chunk_count}"
	}
	orphans, deleteFormat := "off", "event"
	if s.prune {
		orphans = "prune"
	}
	if s.tombstones {
		deleteFormat = "tombstone"
	}
	names := ""
	for _, name := range collections[:s.collections] {
		names += fmt.Sprintf("%s: %s_type, ", name, name)
	}
	w.write("base.yaml", fmt.Sprintf(`
source: {mongo: {uri: "mongodb://reader:%s@%s/?heartbeatFrequencyMS=500", database: %s, connect_timeout: 1s, batch_size: 20, splits: %d}}
checker:
  qdrant:
    url: http://%s
    api_key: %s
    collection: %s
    timeout: 500ms
    connect_timeout: 1s
    retry: {max_elapsed: 1s, initial: 20ms, max: 200ms}
sink:
  kafka:
    bootstrap_servers: %s
    headers: all
    create_topics: {partitions: 3, replication_factor: 1}
    max_message_bytes: 5000
    delivery_timeout: 1500ms
    connect_timeout: 1500ms
    event: {delete_format: %s}
    delivery: %s
    security: {sasl: {mechanism: SCRAM-SHA-256, username: writer, password: %s}}
    properties: {reconnect.backoff.max.ms: 200, retry.backoff.ms: 50, retry.backoff.max.ms: 200}
errors: {dead_letter: {%s}}
limits: {max_deletes: 10000} # in a small index many are gone
mapping:
  owner: {exclusive: true}
  %s
  collections: {%s}
run: {mode: %s, batch_size: %d, workers: %d, readers: %d, wait_timeout: 0, orphans: %s, state_dir: %s}
`, mongoPassword, w.proxies[mongo].addr, database, s.splits, w.proxies[qdrant].addr, qdrantKey, collection, w.proxies[kafka].addr,
		deleteFormat, delivery, kafkaPassword, dead, rules, strings.TrimSuffix(names, ", "), mode, s.batch, s.workers, s.readers, orphans, w.path("state")))
	return w.write(jobName+".yaml", "extends: base.yaml\n"+more)
}

// patient writes the configuration of the same job for runs without faults: on a busy machine the servers take longer than the
// limits that faults are to exceed.
func (w *world) patient(exactlyOnce bool) string {
	w.must(os.Mkdir(w.path("patient"), 0o755))
	return w.write(filepath.Join("patient", jobName+".yaml"), `
extends: ../base.yaml
source: {mongo: {connect_timeout: 20s}}
checker: {qdrant: {timeout: 20s, connect_timeout: 20s, retry: {max_elapsed: 20s}}}
sink: {kafka: {delivery_timeout: 20s, connect_timeout: 20s`+patientTransactions(exactlyOnce)+`}}
`)
}

// patientTransactions has the transactions of runs without faults take longer, too. The test's broker keeps the timeout that an id had
// first, where Kafka takes that of the last producer, so these runs have an id of their own. The transactions of those that were killed
// end by their timeout.
func patientTransactions(exactlyOnce bool) string {
	if !exactlyOnce {
		return ""
	}
	return ", transactions: {id: " + transactionID + "-patient, timeout: 20s}"
}

// refuseProduce has the broker answer with errors. Two of them come after it has done what was asked.
func (w *world) refuseProduce(f fault) (heal func()) {
	handle := w.kafka.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Count: f.amount, Err: map[kind]*kerr.Error{
		notLeader: kerr.NotLeaderForPartition, fewReplicas: kerr.NotEnoughReplicas,
		fewAfter: kerr.NotEnoughReplicasAfterAppend, timedOut: kerr.RequestTimedOut,
	}[f.kind], When: func(req kmsg.Request) bool {
		if f.kind == fewAfter || f.kind == timedOut {
			w.deny(req.(*kmsg.ProduceRequest))
		}
		return true
	}})
	return handle.Remove
}

// deny notes the events of a request that Kafka does and answers as failed.
func (w *world) deny(req *kmsg.ProduceRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			var b kmsg.RecordBatch
			if strings.HasPrefix(t.Topic, database+".") && b.ReadFrom(p.Records) == nil {
				w.denied[sent{b.ProducerID, b.ProducerEpoch, t.Topic, p.Partition, b.FirstSequence}] = int(b.NumRecords)
			}
		}
	}
}

// deniedEvents is how many events were written and answered as failed.
func (w *world) deniedEvents() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, events := range w.denied {
		n += events
	}
	return n
}
