package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

// stream measures following beside a loop that watches and produces: a backlog of changes, and the time from a write to its event
// while little is written.
func (b *bench) stream(ctx context.Context) error {
	const backlog, live = 1_000_000, 2_000
	var syncd, loop []figure
	var late [2][]time.Duration
	for i := range b.repeat {
		order := []int{0, 1}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			w, err := startFollowed(ctx)
			if err != nil {
				return err
			}
			follow := w.syncd(b.syncd)
			if k == 1 {
				follow = w.loop(b.self)
			}
			f, delays, err := w.measure(ctx, follow, backlog, live)
			if err = errors.Join(err, w.close()); err != nil {
				return err
			}
			late[k] = append(late[k], delays...)
			if k == 0 {
				syncd = append(syncd, f)
			} else {
				loop = append(loop, f)
			}
		}
	}
	t := &table{header: []string{"documents", "bytes", "case", "CPU µs/document", "wall s", "documents/s", "peak MB"}}
	t.add(took(&result{benchCase: benchCase{name: "backlog of changes, syncd"}, load: load{Size: streamSize}}, "", syncd, backlog)...)
	t.add(took(&result{benchCase: benchCase{name: "backlog of changes, watch and produce"}, load: load{Size: streamSize}}, "", loop, backlog)...)
	t.print(os.Stdout)
	for k, name := range []string{"syncd", "watch and produce"} {
		slices.Sort(late[k])
		n := len(late[k])
		fmt.Printf("%s: from a write to its event, one write every 2 ms: p50 %s, p99 %s of %d\n", name,
			late[k][n/2].Round(100*time.Microsecond), late[k][n*99/100].Round(100*time.Microsecond), n)
	}
	fmt.Println()
	b.decide(gate{name: "stream: CPU of an event ÷ watch and produce", limit: 1.2, values: ratios(syncd, loop, cpuSeconds)})
	b.decide(gate{name: "stream: rate of a backlog ÷ watch and produce", limit: 0.8, least: true, values: ratios(loop, syncd, wallSeconds)})
	return nil
}

// lostPosition measures what it takes to repair a position that is lost: of a million documents a thousand were written meanwhile, and
// the index lacks those. Beside it stands a copy of everything, which is what others do.
func (b *bench) lostPosition(ctx context.Context) (err error) {
	const documents, meanwhile = 1_000_000, 1000
	w, err := startFollowed(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.fill(documents); err != nil {
		return err
	}
	cmd, err := w.syncd(b.syncd)(ctx)
	if err != nil {
		return err
	}
	w.index.lacks = map[string]bool{}
	for i := range meanwhile {
		w.index.lacks[uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/doc/0", followedID(w.n+i).Hex())).String()] = true
	}
	if err := w.insert(meanwhile); err != nil {
		return err
	}
	w.mongo.TruncateOplog()
	follows := make(chan struct{})
	cmd.Stdout = &lines{follows: func() { close(follows) }}
	f := figure{start: time.Now()}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-follows: // it finds its position lost now
	case err := <-ended:
		return fmt.Errorf("syncd ended: %w", err)
	}
	if err := w.await(ctx, meanwhile); err != nil {
		return err
	}
	if err := f.account(cmd.Process.Pid); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // nothing more must come
	sent, err := w.ends(ctx)
	if err != nil {
		return err
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		return err
	}
	w.index.lacks = nil
	whole, err := measureProgram(ctx, b.syncd, w.config(false), "run", "--mode", "full")
	if err != nil {
		return err
	}
	fmt.Printf("lost position: %d documents, of which %d were written meanwhile: %d events after %.2f s, %.2f s of CPU; a copy of everything sends %d, and takes %.2f s, %.2f s of CPU\n",
		documents, meanwhile, sent, f.wall.Seconds(), f.cpu.Seconds(), documents+meanwhile, whole.wall.Seconds(), whole.cpu.Seconds())
	b.decide(gate{name: "lost position: events ÷ documents that the index lacked", limit: 1, values: []float64{float64(sent) / meanwhile}})
	return nil
}

// streamSize is the bytes of a changed document.
const streamSize = 1000

// followed is servers with an empty collection, in this process.
type followed struct {
	mongo *fastmongo.Server
	kafka *kafkaserver.Server
	index *oracle
	dir   string
	token bson.Raw // of the stream before anything was written
	admin *kadm.Client
	n     int // documents that were written
}

func startFollowed(ctx context.Context) (w *followed, err error) {
	w = &followed{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "syncd-bench-"); err != nil {
		return w, err
	}
	if w.mongo, err = fastmongo.Start(ctx, fastmongo.Config{ReplicaSet: "rs", Oplog: fastmongo.Oplog{Bytes: 8 << 30}}); err != nil {
		return w, fmt.Errorf("starting MongoDB: %w", err)
	}
	if w.kafka, err = kafkaserver.Start(kafkaserver.Config{}); err != nil {
		return w, fmt.Errorf("starting Kafka: %w", err)
	}
	if w.index, err = startOracle(ctx, 0, 0, nil); err != nil {
		return w, fmt.Errorf("starting Qdrant: %w", err)
	}
	if err := w.kafka.CreateTopic(topic, partitions); err != nil {
		return w, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Addr()))
	if err != nil {
		return w, err
	}
	w.admin = kadm.NewClient(client)
	if err := w.mongo.Put(database + "." + collection); err != nil {
		return w, err
	}
	c, err := mongo.Connect(options.Client().ApplyURI(w.mongo.URI()))
	if err != nil {
		return w, err
	}
	defer func() { _ = c.Disconnect(ctx) }()
	cs, err := c.Database(database).Watch(ctx, bson.A{})
	if err != nil {
		return w, err
	}
	defer func() { _ = cs.Close(ctx) }()
	w.token = cs.ResumeToken()
	return w, nil
}

func (w *followed) close() error {
	if w.admin != nil {
		w.admin.Close()
	}
	var errs []error
	if w.index != nil {
		w.index.stop()
	}
	if w.kafka != nil {
		errs = append(errs, w.kafka.Close())
	}
	if w.mongo != nil {
		errs = append(errs, w.mongo.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (w *followed) config(follow bool) string {
	return fmt.Sprintf(`source: {mongo: {uri: %q, database: %s}}
checker: {qdrant: {url: %q, collection: c}}
sink: {kafka: {bootstrap_servers: %q}}
mapping: {collections: {%s: doc}}
run: {follow: %t}
`, w.mongo.URI(), database, "http://"+w.index.addr, w.kafka.Addr(), collection, follow)
}

// syncd is the command of a job that follows, whose position an earlier process has taken.
func (w *followed) syncd(program string) func(ctx context.Context) (*exec.Cmd, error) {
	return func(ctx context.Context) (*exec.Cmd, error) {
		file := filepath.Join(w.dir, "bench.yaml")
		if err := os.WriteFile(file, []byte(w.config(true)), 0o600); err != nil {
			return nil, err
		}
		command := func() *exec.Cmd {
			cmd := exec.CommandContext(ctx, program, "run", "-c", file)
			cmd.Dir, cmd.Env = w.dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}
			return cmd
		}
		first := command()
		var out strings.Builder
		first.Stdout = &lines{follows: func() { _ = first.Process.Signal(syscall.SIGTERM) }}
		first.Stderr = &out
		if err := first.Run(); err != nil {
			return nil, fmt.Errorf("taking the position: %w: %s", err, out.String())
		}
		return command(), nil
	}
}

// lines calls follows when the line comes that says that a job follows.
type lines struct {
	text    strings.Builder
	follows func()
}

func (l *lines) Write(b []byte) (int, error) {
	before := strings.Contains(l.text.String(), "Following the changes")
	l.text.Write(b)
	if !before && strings.Contains(l.text.String(), "Following the changes") {
		l.follows()
	}
	return len(b), nil
}

// loop is the command of the loop.
func (w *followed) loop(self string) func(ctx context.Context) (*exec.Cmd, error) {
	return func(ctx context.Context) (*exec.Cmd, error) {
		at, err := json.Marshal(endpoints{Mongo: w.mongo.URI(), Kafka: w.kafka.Addr()})
		if err != nil {
			return nil, err
		}
		return exec.CommandContext(ctx, self, "watch", string(at), hex.EncodeToString(w.token)), nil
	}
}

// followedID is the id of the i-th document.
func followedID(i int) bson.ObjectID {
	return bson.ObjectID{1, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
}

// insert writes n documents.
func (w *followed) insert(n int) error {
	docs := make([]any, n)
	filler := strings.Repeat("x", streamSize-60)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: followedID(w.n)}, {Key: "title", Value: "t" + strconv.Itoa(w.n)}, {Key: "body", Value: filler}}
		w.n++
	}
	return w.mongo.Insert(database+"."+collection, docs...)
}

// fill writes many documents, n of them: a multiple of ten thousand.
func (w *followed) fill(n int) error {
	for range n / 10_000 {
		if err := w.insert(10_000); err != nil {
			return err
		}
	}
	return nil
}

// measure prepares a program, writes a backlog, and measures the program until the events of all of it are there; then how long single
// writes take to become events.
func (w *followed) measure(ctx context.Context, follow func(context.Context) (*exec.Cmd, error), backlog, live int) (f figure, late []time.Duration, err error) {
	cmd, err := follow(ctx)
	if err != nil {
		return f, nil, err
	}
	if err := w.fill(backlog); err != nil {
		return f, nil, err
	}
	cmd.Stderr = os.Stderr
	f.start = time.Now()
	if err := cmd.Start(); err != nil {
		return f, nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, cmd.Wait())
	}()
	if err := w.await(ctx, backlog); err != nil {
		return f, nil, err
	}
	if err := f.account(cmd.Process.Pid); err != nil {
		return f, nil, err
	}
	late, err = w.latencies(ctx, live)
	return f, late, err
}

// await waits until the topic has so many events.
func (w *followed) await(ctx context.Context, n int) error {
	for {
		have, err := w.ends(ctx)
		if err != nil || have >= n {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ends is how many events the topic has.
func (w *followed) ends(ctx context.Context) (n int, err error) {
	ends, err := w.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n, nil
}

// latencies writes n documents, one every two milliseconds, and measures how long each takes to be read from the topic.
func (w *followed) latencies(ctx context.Context, n int) ([]time.Duration, error) {
	consumer, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Addr()), kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	ready, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	consumer.PollFetches(ready) // it finds out where the end is
	stop()
	base := w.n
	written := make([]time.Time, n)
	failed := make(chan error, 1)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := range n {
			<-tick.C
			written[i] = time.Now()
			if err := w.insert(1); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	reading, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	arrived := make([]time.Time, n)
	for seen := 0; seen < n; {
		fetches := consumer.PollFetches(reading)
		if err := reading.Err(); err != nil {
			return nil, fmt.Errorf("reading the events of %d writes, of which %d came: %w", n, seen, err)
		}
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) {
			id, err := hex.DecodeString(string(r.Key))
			if err != nil || len(id) != 12 {
				return
			}
			i := int(id[1])<<24 | int(id[2])<<16 | int(id[3])<<8 | int(id[4])
			if i -= base; i >= 0 && i < n && arrived[i].IsZero() {
				arrived[i] = now
				seen++
			}
		})
	}
	if err := <-failed; err != nil {
		return nil, err
	}
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = arrived[i].Sub(written[i])
	}
	return out, nil
}

// watchAndProduce is following by hand: a change stream of the database, and of each change an event with syncd's headers, until it is
// told to stop. It keeps no position and knows no error.
func watchAndProduce(ctx context.Context, at, after string) error {
	var e endpoints
	if err := json.Unmarshal([]byte(at), &e); err != nil {
		return err
	}
	token, err := hex.DecodeString(after)
	if err != nil {
		return err
	}
	client, err := mongo.Connect(options.Client().ApplyURI(e.Mongo))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	match := bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "ns.coll", Value: collection}}}}}
	cs, err := client.Database(database).Watch(ctx, match, options.ChangeStream().SetStartAfter(bson.Raw(token)).
		SetFullDocument(options.UpdateLookup).SetBatchSize(1000).SetMaxAwaitTime(time.Second))
	if err != nil {
		return err
	}
	p, err := newProducer(e)
	if err != nil {
		return err
	}
	defer p.Close()
	failed := make(chan error, 1)
	go func() {
		for report := range p.Events() {
			if err := delivered(report); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		}
	}()
	var change struct {
		Operation string   `bson:"operationType"`
		Document  bson.Raw `bson:"fullDocument"`
	}
	for cs.Next(ctx) {
		if err := cs.Decode(&change); err != nil {
			return err
		}
		doc, err := bson.MarshalExtJSON(change.Document, false, false)
		if err != nil {
			return err
		}
		id := change.Document.Lookup("_id").ObjectID().Hex()
		value := fmt.Appendf(nil, `{"operationType":%q,"ns":{"db":%q,"coll":%q},"documentKey":{"_id":%q},"fullDocument":%s}`, change.Operation, database, collection, id, doc)
		m := message([]byte(id), value, uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/doc/0")).String())
		if err := whenQueued(p, m, nil); err != nil {
			return err
		}
		select {
		case err := <-failed:
			return err
		default:
		}
	}
	p.Flush(5000)
	if ctx.Err() != nil { // it was told to
		return nil
	}
	return cs.Err()
}
