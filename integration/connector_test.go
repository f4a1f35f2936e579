package integration

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/integration/connectworker"
)

// form is a way to set MongoDB's connector, and syncd to be like it.
type form struct {
	connector map[string]string
	event     string // more of sink.kafka.event
	stream    string // of source.mongo.stream
	differs   []difference
}

// difference is what events of the two can't be alike in.
type difference struct {
	why string
	// even makes what the connector or syncd wrote comparable; false leaves it out.
	even func(w *written, bySyncd bool) bool
}

// written is a record, as far as the two must agree.
type written struct {
	collection string
	partition  int32
	key, value string // "" is none
}

const connectorPackage = "com.mongodb.kafka.connect.source.json.formatter."

func forms() map[string]form {
	const (
		lookup     = "change.stream.full.document"
		only       = "publish.full.document.only"
		tombstones = "publish.full.document.only.tombstone.on.delete"
		json       = "org.apache.kafka.connect.json.JsonConverter"
		bytes      = "org.apache.kafka.connect.converters.ByteArrayConverter"
	)
	return map[string]form{
		"default": {connector: map[string]string{lookup: "updateLookup"}},
		"no lookup": {differs: []difference{{
			why: "syncd always asks for the document of an update, as those who index it need it",
			even: func(w *written, bySyncd bool) bool {
				if bySyncd && strings.Contains(w.value, `, "operationType": "update", `) {
					before, after, _ := strings.Cut(w.value, `, "fullDocument": `)
					_, after, _ = strings.Cut(after, `, "ns": {"db": "syncd_it_`)
					w.value = before + `, "ns": {"db": "syncd_it_` + after
				}
				return true
			},
		}}},
		"document only": {
			connector: map[string]string{lookup: "updateLookup", only: "true"},
			event:     "full_document_only: true, delete_format: tombstone",
			differs: []difference{{
				why:  "the connector says nothing of deletes in this form; syncd has it with tombstones only",
				even: func(w *written, _ bool) bool { return w.value != "" },
			}},
		},
		"document only, tombstones": {
			connector: map[string]string{lookup: "updateLookup", only: "true", tombstones: "true"},
			event:     "full_document_only: true, delete_format: tombstone",
		},
		"simplified": {
			connector: map[string]string{lookup: "updateLookup", "output.json.formatter": connectorPackage + "SimplifiedJson"},
			event:     "json: simplified",
		},
		"extended": {
			connector: map[string]string{lookup: "updateLookup", "output.json.formatter": connectorPackage + "ExtendedJson"},
			event:     "json: extended",
		},
		"images": {
			connector: map[string]string{lookup: "whenAvailable", "change.stream.full.document.before.change": "whenAvailable"},
			stream:    "full_document: when_available, before: when_available",
		},
		"token as key": {
			connector: map[string]string{lookup: "updateLookup", "change.stream.document.key.as.key": "false"},
			differs: []difference{{
				why:  "syncd's key is always the documentKey, since a token spreads the changes of a document over partitions",
				even: func(w *written, _ bool) bool { w.key, w.partition = "", 0; return true },
			}},
		},
		"JSON converter": {
			connector: map[string]string{lookup: "updateLookup", "key.converter": json, "value.converter": json},
			event:     "wire: connect_json_schema",
		},
		"JSON converter without schemas": {
			connector: map[string]string{lookup: "updateLookup", "value.converter": json, "value.converter.schemas.enable": "false"},
			event:     "wire: connect_json, key_wire: string",
		},
		"BSON": {
			connector: map[string]string{
				lookup: "updateLookup", "output.format.key": "bson", "output.format.value": "bson",
				"key.converter": bytes, "value.converter": bytes,
			},
			event: "wire: bson",
		},
	}
}

// TestConnector has MongoDB's connector on Kafka Connect and syncd copy and follow the same collections, in each form, and compares keys,
// values and partitions of all that they write. What always differs is not looked at: syncd's records have headers; timestamps are
// those of two producers; and only the order per key is promised, since syncd sends changes of different documents side by side. Each form
// tells what else differs.
func TestConnector(t *testing.T) {
	uri := os.Getenv(mongoEnv)
	if uri == "" {
		uri = startSecantusWith(t, "--noop-heartbeat-seconds", "1")
	}
	p := newPlace(t, uri, kafkaAddr(t))
	w := changing{t: t, db: p.database(t)}
	collections := map[string]string{"page": "page", "blog": "blog", "imaged": "imaged"}
	images := options.CreateCollection().SetChangeStreamPreAndPostImages(bson.D{{Key: "enabled", Value: true}})
	if err := w.db.CreateCollection(t.Context(), "imaged", images); err != nil {
		t.Fatal(err)
	}
	w.fill(connectorIDs())

	r := recorder{t: t, p: p, topics: map[string]recorded{}, next: map[string]map[int32]int64{}, of: map[string]*[2][]written{}}
	all, connectors := forms(), map[string]map[string]string{}
	var runs []*invocation
	for name := range all {
		r.watch(name)
	}
	r.begin()
	for name, f := range all {
		word := topicWord(name)
		settings := map[string]string{
			"connector.class": "com.mongodb.kafka.connect.MongoSourceConnector", "tasks.max": "1", "connection.uri": uri,
			"database": w.db.Name(), "startup.mode": "copy_existing", "topic.prefix": p.name + "." + word + ".connector",
			"poll.await.time.ms": "200",
		}
		maps.Copy(settings, f.connector)
		connectors[word] = settings
		own := *p
		own.state = t.TempDir()
		config := own.config(t, collections, "topic_prefix: "+p.name+"."+word+".syncd",
			"event: {"+strings.TrimSuffix("profile: mongo_kafka, connector_version: 2, "+f.event, ", ")+"}")
		if f.stream != "" {
			text, err := os.ReadFile(config)
			if err == nil {
				text = bytes.Replace(text, []byte("    database:"), []byte("    stream: {"+f.stream+"}\n    database:"), 1)
				err = os.WriteFile(config, text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		i := start(t, "run", "--follow", "-c", config)
		logOnFailure(t, "syncd ("+name+")", i.output.String)
		runs = append(runs, i)
	}
	worker, err := connectworker.Start(t.Context(), t.TempDir(), p.kafka, connectors)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, worker.Close)
	logOnFailure(t, "Kafka Connect", worker.Log)
	r.failed = func() error {
		for _, i := range runs {
			if !i.running() {
				return fmt.Errorf("syncd ended by itself:\n%s", i.output.String())
			}
		}
		return worker.Failed(t.Context())
	}

	// A copied document tells that the connector has its position in the stream, as a job that follows does of syncd.
	r.await("what was there is copied", func(all []written) bool {
		return len(all) >= len(connectorIDs())*len(connectorCollections)
	})
	for _, i := range runs {
		until(t, "syncd follows", func() bool { return !i.running() || i.follows() })
	}
	for n, round := range w.rounds() {
		round()
		// The server looks documents up when it sends an event, so the next round must wait until it has sent all. The last one tells.
		marker := fmt.Sprintf("the end of round %d", n)
		w.ok(w.db.Collection("page").InsertOne(t.Context(), id(marker)))
		r.await(marker, func(all []written) bool {
			return slices.ContainsFunc(all, func(r written) bool { return strings.Contains(r.key, marker) || strings.Contains(r.value, marker) })
		})
	}
	for _, i := range runs {
		if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		i.wait(t).wants(t, 0, `^Stopped following: \d+ changes? read`)
	}
	r.rest()

	for name, f := range all {
		t.Run(name, func(t *testing.T) {
			var sides [2][]written
			for side, records := range r.of[name] {
			next:
				for _, w := range records {
					for _, d := range f.differs {
						if !d.even(&w, side == bySyncd) {
							continue next
						}
					}
					sides[side] = append(sides[side], w)
				}
			}
			compareWritten(t, sides[byConnector], sides[bySyncd])
		})
	}
}

// compareWritten wants the same records with each key, in the same order. Those without a key have none.
func compareWritten(t *testing.T, connector, syncd []written) {
	t.Helper()
	type at struct {
		collection string
		partition  int32
		key        string
	}
	group := func(all []written) map[at][]string {
		of := map[at][]string{}
		for _, w := range all {
			k := at{w.collection, w.partition, w.key}
			of[k] = append(of[k], w.value)
		}
		for k, values := range of {
			if k.key == "" {
				slices.Sort(values)
			}
		}
		return of
	}
	want, got := group(connector), group(syncd)
	differ := 0
	for k := range want {
		if _, there := got[k]; !there {
			got[k] = nil
		}
	}
	for k, values := range got {
		if slices.Equal(values, want[k]) {
			continue
		}
		if differ++; differ <= 5 {
			i := 0
			for i < len(values) && i < len(want[k]) && values[i] == want[k][i] {
				i++
			}
			t.Errorf("collection %s, partition %d, key %q: %d and %d records, of which %d are equal\nsyncd:     %.2000q\nconnector: %.2000q",
				k.collection, k.partition, k.key, len(values), len(want[k]), i, values[i:min(i+1, len(values))], want[k][i:min(i+1, len(want[k]))])
		}
	}
	t.Logf("%d and %d records, %d keys, of which %d differ", len(syncd), len(connector), len(got), differ)
}

// The sides of a comparison.
const (
	byConnector = iota
	bySyncd
)

// recorder reads what the connector and syncd write.
type recorder struct {
	t      *testing.T
	p      *place
	client *kgo.Client
	topics map[string]recorded
	of     map[string]*[2][]written   // by form
	next   map[string]map[int32]int64 // offset to be read, by topic and partition
	failed func() error               // says why waiting is in vain
}

// recorded says whose events a topic has.
type recorded struct {
	form       string
	side       int
	collection string
}

// topicWord is a form's name as a part of its topics' names.
func topicWord(form string) string { return strings.NewReplacer(" ", "_", ",", "").Replace(form) }

// watch adds the topics of a form.
func (r *recorder) watch(form string) {
	r.t.Helper()
	r.of[form] = &[2][]written{}
	for side, word := range []string{byConnector: "connector", bySyncd: "syncd"} {
		for _, c := range connectorCollections {
			topic := strings.Join([]string{r.p.name, topicWord(form), word, r.p.name, c}, ".")
			r.topics[topic] = recorded{form, side, c}
			r.next[topic] = map[int32]int64{}
		}
	}
}

// begin creates the topics, and begins to read.
func (r *recorder) begin() {
	r.t.Helper()
	topics := slices.Collect(maps.Keys(r.topics))
	must[any](r.t)(r.p.admin.CreateTopics(r.t.Context(), 3, -1, nil, topics...))
	r.client = must[*kgo.Client](r.t)(kgo.NewClient(
		kgo.SeedBrokers(strings.Split(r.p.kafka, ",")...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond)))
	r.t.Cleanup(r.client.Close)
}

// poll takes what has come.
func (r *recorder) poll() {
	ctx, cancel := context.WithTimeout(r.t.Context(), 200*time.Millisecond)
	defer cancel()
	r.client.PollFetches(ctx).EachRecord(func(k *kgo.Record) {
		from := r.topics[k.Topic]
		all := &r.of[from.form][from.side]
		*all = append(*all, written{from.collection, k.Partition, string(k.Key), string(k.Value)})
		r.next[k.Topic][k.Partition] = k.Offset + 1
	})
}

// await reads until that holds of what both have written in every form.
func (r *recorder) await(what string, holds func([]written) bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r.poll()
		var lacking []string
		for form, sides := range r.of {
			for side, all := range sides {
				if !holds(all) {
					lacking = append(lacking, fmt.Sprintf("%s of %s", []string{byConnector: "the connector", bySyncd: "syncd"}[side], form))
				}
			}
		}
		if len(lacking) == 0 {
			return
		}
		if err := r.failed(); err != nil {
			r.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited %s in vain: %s, of %q", patience, what, lacking)
		}
	}
}

// rest reads to the end of all topics.
func (r *recorder) rest() {
	r.t.Helper()
	ends := must[kadm.ListedOffsets](r.t)(r.p.admin.ListEndOffsets(r.t.Context(), slices.Collect(maps.Keys(r.topics))...))
	until(r.t, "all is read", func() bool {
		r.poll()
		all := true
		ends.Each(func(o kadm.ListedOffset) { all = all && r.next[o.Topic][o.Partition] == o.Offset })
		return all
	})
}

// changing makes the changes.
type changing struct {
	t  *testing.T
	db *mongo.Database
}

// connectorIDs are ids of every type that may be one, but null, which syncd refuses. All differ, also for servers that compare binaries
// without their subtypes.
func connectorIDs() []any {
	return []any{
		int32(1), int64(2), int64(5_000_000_000), 3.5, 4.0, 1e10, "", "5", "a \"b\" \\ / naïve 日本 😀", true, false,
		bson.ObjectID{0x50, 0x7f, 0x1f, 0x77, 0xbc, 0xf8, 0x6c, 0xd7, 0x99, 0x43, 0x90, 0x11},
		bson.DateTime(1_700_000_000_123), bson.DateTime(-1), bson.Timestamp{T: 7, I: 8},
		bson.D{{Key: "b", Value: 1}, {Key: "a", Value: bson.D{{Key: "c", Value: "x"}}}},
		bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}, bson.Binary{Subtype: 3, Data: []byte("fedcba9876543210")},
		bson.Binary{Data: []byte{1, 2, 3}}, decimal("6.50"), bson.MinKey{}, bson.MaxKey{},
	}
}

func decimal(s string) bson.Decimal128 {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		panic(err)
	}
	return d
}

// connectorValues are values of every type, and those that are written in a way of their own: numbers that every Java writes alike, and
// dates that Python has.
func connectorValues() bson.D {
	fields := bson.D{}
	for i, v := range []any{
		1.5, 0.0, math.Copysign(0, -1), 1e10, 1.25e-7, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 100.0,
		"", "plain", "\" \\ / \b\f\n\r\t \x00 \x1f \x7f \u00a0 \u2028 \ufeff naïve 日本 😀 <&'>", strings.Repeat("long ", 100),
		bson.D{}, bson.D{{Key: "a", Value: bson.D{{Key: "$b.c", Value: nil}}}}, bson.A{}, bson.A{1, "x", bson.D{{Key: "y", Value: bson.A{2.5}}}},
		bson.Binary{Data: []byte{0, 1, 2, 255}}, bson.Binary{}, bson.Binary{Subtype: 3, Data: []byte("0123456789abcdef")},
		bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}, bson.Binary{Subtype: 5, Data: []byte("0123456789abcdef")}, bson.Binary{Subtype: 0x80, Data: []byte("own")},
		bson.ObjectID{1, 2, 3}, true, false, nil, bson.Undefined{},
		bson.DateTime(0), bson.DateTime(1_700_000_000_123), bson.DateTime(-62_135_596_800_000), bson.DateTime(253_402_300_799_999),
		bson.Regex{Pattern: `^a/"\.*`, Options: "imx"}, bson.Regex{}, bson.JavaScript(`function() { return "x" }`), bson.Symbol("sym"),
		bson.CodeWithScope{Code: "f()", Scope: bson.D{{Key: "n", Value: int64(1)}}},
		int32(math.MinInt32), int64(1), int64(math.MaxInt64), int64(math.MinInt64), bson.Timestamp{T: math.MaxUint32, I: 1},
		decimal("0"), decimal("-1.50"), decimal("1E+3"), decimal("1E-6176"), decimal("NaN"), decimal("-Infinity"), decimal("1234567890123456789012345678901234"),
		bson.MinKey{}, bson.MaxKey{},
	} {
		fields = append(fields, bson.E{Key: fmt.Sprintf("f%d", i), Value: v})
	}
	return append(fields, bson.E{Key: "", Value: "no name"}, bson.E{Key: "näme \"x\"", Value: 1})
}

var connectorCollections = []string{"blog", "imaged", "page"}

func (w changing) ok(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// fill inserts a document of each id, those of which there were some before it.
func (w changing) fill(ids []any) {
	w.t.Helper()
	for _, name := range connectorCollections {
		for _, v := range ids {
			w.ok(w.db.Collection(name).InsertOne(w.t.Context(), append(id(v), bson.E{Key: "n", Value: 1}, bson.E{Key: "list", Value: bson.A{1, 2, 3, 4}}, bson.E{Key: "sub", Value: bson.D{{Key: "x", Value: 1}}})))
		}
	}
}

// rounds are changes, after each of which syncd and the connector must have read all. A round updates no document that it changes
// otherwise: an update's document is that of the moment when the server sends the event, which would differ.
func (w changing) rounds() []func() {
	ctx, ids := w.t.Context(), connectorIDs()
	each := func(change func(c *mongo.Collection, i int, id bson.D) (any, error)) func() {
		return func() {
			w.t.Helper()
			for _, name := range connectorCollections {
				for i, v := range ids {
					w.ok(change(w.db.Collection(name), i, id(v)))
				}
			}
		}
	}
	update := func(doc any) func(*mongo.Collection, int, bson.D) (any, error) {
		return func(c *mongo.Collection, _ int, id bson.D) (any, error) { return c.UpdateOne(ctx, id, doc) }
	}
	kinds := []any{
		setting("n", 2),
		setting("sub.y.z", int64(5)),
		bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: "two"}, {Key: "new", Value: bson.A{}}}}, {Key: "$unset", Value: bson.D{{Key: "sub", Value: ""}}}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "sub.x", Value: ""}, {Key: "n", Value: ""}}}},
		bson.D{{Key: "$push", Value: bson.D{{Key: "list", Value: 5}}}},
		bson.D{{Key: "$pop", Value: bson.D{{Key: "list", Value: 1}}}},
		bson.D{{Key: "$pull", Value: bson.D{{Key: "list", Value: 2}}}},
		setting("list.1", "set"),
		mongo.Pipeline{{{Key: "$set", Value: bson.D{{Key: "list", Value: bson.D{{Key: "$slice", Value: bson.A{"$list", 2}}}}}}}},
		bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1.5}}}},
		bson.D{{Key: "$rename", Value: bson.D{{Key: "n", Value: "m"}}}},
		setting("n", 1), // which it is
	}
	return []func(){
		func() {
			w.ok(w.db.Collection("page").InsertOne(ctx, append(id("all types"), connectorValues()...)))
			w.ok(w.db.Collection("imaged").InsertOne(ctx, append(id("all types"), connectorValues()...)))
			var many []any
			for i := range 50 {
				many = append(many, append(id(fmt.Sprint("of many ", i)), bson.E{Key: "s", Value: strings.Repeat("x", 200)}))
			}
			w.ok(w.db.Collection("page").InsertMany(ctx, many))
			w.ok(w.db.Collection("blog").UpdateOne(ctx, id("upserted"), setting("n", 1), options.UpdateOne().SetUpsert(true)))
			w.ok(w.db.Collection("blog").ReplaceOne(ctx, id("upserted, too"), bson.D{{Key: "n", Value: 1}}, options.Replace().SetUpsert(true)))
		},
		each(func(c *mongo.Collection, i int, id bson.D) (any, error) {
			return update(kinds[i%len(kinds)])(c, i, id)
		}),
		func() {
			w.ok(w.db.Collection("page").UpdateOne(ctx, id("all types"), bson.D{{Key: "$set", Value: bson.D{{Key: "again", Value: connectorValues()}}}}))
			w.ok(w.db.Collection("page").UpdateMany(ctx, bson.D{{Key: "_id", Value: bson.Regex{Pattern: "^of many"}}}, setting("m", true)))
			w.ok(w.db.Collection("blog").UpdateOne(ctx, id("upserted"), setting("n", 2), options.UpdateOne().SetUpsert(true)))
			w.ok(nil, w.db.Collection("blog").FindOneAndUpdate(ctx, id("upserted, too"), setting("n", 2)).Err())
		},
		each(func(c *mongo.Collection, i int, id bson.D) (any, error) {
			return c.ReplaceOne(ctx, id, bson.D{{Key: "replaced", Value: i}})
		}),
		w.transaction,
		func() {
			w.ok(w.db.Collection("page").BulkWrite(ctx, []mongo.WriteModel{
				mongo.NewDeleteOneModel().SetFilter(id("all types")), mongo.NewInsertOneModel().SetDocument(id("of a bulk")),
				mongo.NewDeleteManyModel().SetFilter(bson.D{{Key: "_id", Value: bson.Regex{Pattern: "^of many 1"}}}),
				mongo.NewReplaceOneModel().SetFilter(id("of many 2")).SetReplacement(bson.D{}),
			}))
			w.ok(nil, w.db.Collection("blog").FindOneAndDelete(ctx, id("upserted, too")).Err())
		},
		func() { // of which the order counts: replaces and inserts carry what was written, at whatever time they are read
			var models []mongo.WriteModel
			for i := range 100 {
				models = append(models,
					mongo.NewReplaceOneModel().SetFilter(id("of many 3")).SetReplacement(bson.D{{Key: "often", Value: i}}),
					mongo.NewInsertOneModel().SetDocument(append(id("comes and goes"), bson.E{Key: "often", Value: i})),
					mongo.NewDeleteOneModel().SetFilter(id("comes and goes")))
			}
			w.ok(w.db.Collection("page").BulkWrite(ctx, models))
		},
		each(func(c *mongo.Collection, _ int, id bson.D) (any, error) { return c.DeleteOne(ctx, id) }),
		each(func(c *mongo.Collection, i int, id bson.D) (any, error) {
			return c.InsertOne(ctx, append(id, bson.E{Key: "anew", Value: i}))
		}),
	}
}

// transaction changes several collections at once. One document is updated and deleted: when its update is read, it is gone for
// everybody.
func (w changing) transaction() {
	w.t.Helper()
	session := must[*mongo.Session](w.t)(w.db.Client().StartSession())
	defer session.EndSession(w.t.Context())
	w.ok(session.WithTransaction(w.t.Context(), func(ctx context.Context) (any, error) {
		for _, name := range connectorCollections {
			c := w.db.Collection(name)
			if _, err := c.InsertOne(ctx, id("of a transaction")); err != nil {
				return nil, err
			}
			if _, err := c.UpdateOne(ctx, id("5"), setting("by", "a transaction")); err != nil {
				return nil, err
			}
			if _, err := c.UpdateOne(ctx, id(true), setting("by", "a transaction")); err != nil {
				return nil, err
			}
			if _, err := c.DeleteOne(ctx, id(true)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}))
}
