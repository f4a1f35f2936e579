package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
)

// written is a change that the writer made.
type written struct {
	key
	operation string
	version   int64 // of deletes none
}

// followedDocument is a document as the writer has it.
type followedDocument struct {
	version int64
	hidden  bool // by the filter, where there is one
	body    int  // bytes of it
}

// writer changes two collections. Every change has a version that no other has, and they go up.
type writer struct {
	*world
	s      followSchedule
	client *mongodriver.Client
	r      *rand.Rand

	mu      sync.Mutex
	version int64
	there   map[key]followedDocument
	log     []written
	first   int64        // changes from this version on were made behind the stream's position; 0: it is not known yet
	ended   int64        // the version behind which only marks are written
	dropped map[key]bool // documents that went without a delete
	staged  map[key]bool // documents that came without an insert
	doomed  map[key]int  // of dropped, those of which the index had a point, so that they must be found; and how many events there were
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWriter(w *world, s followSchedule) *writer {
	client, err := mongodriver.Connect(mongooptions.Client().ApplyURI(fmt.Sprintf("mongodb://reader:%s@%s/?directConnection=true&heartbeatFrequencyMS=500", mongoPassword, w.mongoAddr())))
	w.must(err)
	w.t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	y := &writer{
		world: w, s: s, client: client, r: rand.New(rand.NewPCG(s.writes, 3)),
		there: map[key]followedDocument{}, dropped: map[key]bool{}, staged: map[key]bool{}, doomed: map[key]int{},
	}
	for _, name := range collections {
		y.create(name)
	}
	// When documents are read, the position of the stream is kept already.
	w.onFind = func(name string) {
		if name == collections[0] || name == collections[1] {
			y.mu.Lock()
			defer y.mu.Unlock()
			if y.first == 0 {
				y.first = y.version + 1
			}
		}
	}
	return y
}

// begun reports whether a position of the stream was kept.
func (y *writer) begun() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.first > 0
}

func (y *writer) create(name string) {
	create := bson.D{{Key: "create", Value: name}}
	if y.s.images {
		create = append(create, bson.E{Key: "changeStreamPreAndPostImages", Value: bson.D{{Key: "enabled", Value: true}}})
	}
	y.insist(func() error { return y.client.Database(database).RunCommand(context.Background(), create).Err() })
}

func timeOf(version int64) time.Time { return epoch.Add(time.Duration(version) * time.Second) }

func (d followedDocument) stored(id string) bson.D {
	return bson.D{
		{Key: "_id", Value: id}, {Key: "updatedAt", Value: timeOf(d.version)}, {Key: "chunks", Value: 1},
		{Key: "body", Value: strings.Repeat("x", d.body)}, {Key: "hidden", Value: d.hidden},
	}
}

func documentKey(name string, i int) key { return key{name, fmt.Sprintf("%s-%05d", name, i)} }

// put gives collections documents that no stream tells of.
func (y *writer) put(name, of string, n int) (keys map[key]bool) {
	var docs []any
	keys = map[key]bool{}
	for i := range n {
		k := documentKey(of, i)
		y.version++
		y.there[k] = followedDocument{version: y.version, hidden: y.s.filter && y.r.IntN(3) == 0, body: 4}
		docs = append(docs, y.there[k].stored(k.id))
		keys[k] = true
	}
	y.must(y.mongo.Insert(database+"."+name, docs...))
	return keys
}

func (y *writer) fill(n int) {
	for _, name := range collections {
		y.put(name, name, n)
	}
}

// start has it write until stop is called.
func (y *writer) start() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(y.s.pace):
				y.mu.Lock()
				y.change()
				y.mu.Unlock()
			}
		}
	}()
	return func() {
		once.Do(func() {
			close(done)
			<-ended
			y.mu.Lock()
			defer y.mu.Unlock()
			y.ended = y.version
		})
	}
}

// write is one change of one document, which may be made again and again until it works.
type write struct {
	written
	do func(context.Context, *mongodriver.Collection) error
}

// next chooses a change, and has it in what is there.
func (y *writer) next() write {
	k := documentKey(collections[y.r.IntN(2)], y.r.IntN(y.s.everyKeys))
	id := bson.D{{Key: "_id", Value: k.id}}
	d, there := y.there[k]
	y.version++
	w := write{written: written{key: k, version: y.version}}
	fresh := followedDocument{version: y.version, hidden: y.s.filter && y.r.IntN(3) == 0, body: 4}
	if y.s.large > 0 && y.r.IntN(4) == 0 {
		fresh.body = y.r.IntN(2000)
	}
	update := func(fields bson.D) {
		w.do = func(ctx context.Context, c *mongodriver.Collection) error {
			_, err := c.UpdateOne(ctx, id, bson.D{{Key: "$set", Value: fields}})
			return err
		}
	}
	switch what := y.r.IntN(8); {
	case !there:
		w.operation, d = "insert", fresh
		w.do = func(ctx context.Context, c *mongodriver.Collection) error {
			_, err := c.InsertOne(ctx, fresh.stored(k.id))
			return err
		}
	case what == 0:
		w.operation, w.version = "delete", 0
		delete(y.there, k)
		w.do = func(ctx context.Context, c *mongodriver.Collection) error {
			_, err := c.DeleteOne(ctx, id)
			return err
		}
		return w
	case what <= 2:
		w.operation, d = "replace", fresh
		w.do = func(ctx context.Context, c *mongodriver.Collection) error {
			_, err := c.ReplaceOne(ctx, id, fresh.stored(k.id))
			return err
		}
	case what == 3 && y.s.filter:
		// Nothing but what is selected changes, be it by an update or a replace.
		d.hidden = !d.hidden
		w.operation = "shown"
		update(bson.D{{Key: "hidden", Value: d.hidden}})
		if y.r.IntN(2) == 0 {
			w.do = func(ctx context.Context, c *mongodriver.Collection) error {
				_, err := c.ReplaceOne(ctx, id, d.stored(k.id))
				return err
			}
		}
	case what == 4 && y.s.watch: // nothing that is watched
		w.operation = "unwatched"
		update(bson.D{{Key: "noise", Value: y.version}})
	default:
		w.operation, d.version = "update", y.version
		fields := bson.D{{Key: "updatedAt", Value: timeOf(y.version)}}
		if fresh.body != 4 {
			d.body = fresh.body
			fields = append(fields, bson.E{Key: "body", Value: strings.Repeat("y", d.body)})
		}
		update(fields)
	}
	y.there[k] = d
	delete(y.doomed, k)
	return w
}

func (y *writer) in(w write) *mongodriver.Collection {
	return y.client.Database(database).Collection(w.collection)
}

// change makes one change, or some that are made together. The caller holds mu.
func (y *writer) change() {
	if y.s.transactions && y.r.IntN(6) == 0 {
		y.transaction()
		return
	}
	w := y.next()
	y.insist(func() error { return w.do(context.Background(), y.in(w)) })
	y.log = append(y.log, w.written)
}

func (y *writer) transaction() {
	var all []write
	for range 2 + y.r.IntN(4) {
		all = append(all, y.next())
	}
	y.insist(func() error {
		y.committing.Lock()
		defer y.committing.Unlock()
		session, err := y.client.StartSession()
		if err != nil {
			return err
		}
		ctx := mongodriver.NewSessionContext(context.Background(), session)
		defer session.EndSession(ctx)
		if err = session.StartTransaction(); err != nil {
			return err
		}
		for _, w := range all {
			if err = w.do(ctx, y.in(w)); err != nil {
				_ = session.AbortTransaction(ctx)
				return err
			}
		}
		return session.CommitTransaction(ctx)
	})
	for _, w := range all {
		y.log = append(y.log, w.written)
	}
}

// insist does something until it works: the server may be down.
func (y *writer) insist(do func() error) {
	var err error
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(ms(20)) {
		if err = do(); err == nil {
			return
		}
	}
	y.t.Errorf("writing: %v", err)
}

// act does what a schedule has for a life.
func (y *writer) act(what kind) {
	y.mu.Lock()
	defer y.mu.Unlock()
	name := collections[y.r.IntN(2)]
	ns := database + "." + name
	switch what {
	case dropped:
		y.forget(name)
		y.mongo.Drop(ns)
		y.create(name)
	case renamed:
		y.forget(name)
		y.must(y.mongo.Rename(ns, fmt.Sprintf("%s-%d", ns, y.version), false))
		y.create(name)
	case replaced:
		y.create("staged")
		y.forget(name)
		for k := range y.put("staged", name, 1+y.r.IntN(2*y.s.everyKeys)) {
			y.staged[k] = true
		}
		y.must(y.mongo.Rename(database+".staged", ns, true))
	case allDropped:
		for _, name := range collections {
			y.forget(name)
		}
		y.mongo.DropDatabase(database)
		for _, name := range collections {
			y.create(name)
		}
	case overrun:
		y.mongo.HoldStreams(true)
		for range 20 {
			y.change()
		}
		y.mongo.TruncateOplog()
		y.mongo.HoldStreams(false)
		y.doom("")
	}
}

// forget has a collection's documents be gone without deletes. The caller holds mu.
func (y *writer) forget(name string) {
	for k := range y.there {
		if k.collection == name {
			delete(y.there, k)
			y.dropped[k] = true
		}
	}
	y.doom(name)
}

// doom takes note of documents that only a look at all documents can find gone: those of which the index has a point.
func (y *writer) doom(name string) {
	for k := range y.indexed {
		if _, there := y.there[k]; !there && y.s.base.prune && (name == "" || name == k.collection) {
			y.doomed[k] = y.followed.read()
		}
	}
}

const markID = "mark"

// mark writes one more document into each collection, which tells that all before it were read when its event is there.
func (y *writer) mark() {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, name := range collections {
		k := key{name, fmt.Sprintf("%s-%d", markID, y.version)}
		y.version++
		y.there[k] = followedDocument{version: y.version}
		if err := y.mongo.Insert(database+"."+name, y.there[k].stored(k.id)); err != nil {
			y.t.Errorf("inserting %v: %v", k, err)
		}
		y.log = append(y.log, written{k, "insert", y.version})
	}
}
