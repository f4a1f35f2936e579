package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// texts shows changes.
func texts(changes []syncd.Change) (out []string) {
	for _, c := range changes {
		out = append(out, text(c))
	}
	return out
}

// TestFollow: changes come in their order, of the stream's collections alone, and the group stands behind what was confirmed.
func TestFollow(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	b.send(t, "db.page", "a", plain("insert", "page", "a", `,"n":1`))
	b.send(t, "db.page", "b", plain("update", "note", "b", `,"n":2`))
	b.send(t, "db.page", "c", plain("insert", "other", "c", ""))
	b.send(t, "db.page", "c", strings.ReplaceAll(plain("insert", "page", "c", ""), `"db":"db"`, `"db":"elsewhere"`))
	b.send(t, "db.page", "a", plain("delete", "page", "a", ""))
	b.send(t, "db.page", "a", "")
	b.send(t, "db.page", "d", "")
	o := start(t, b.BootstrapServers(), nil)
	if got := o.committed(t, b); !slices.Equal(got, []int64{0}) {
		t.Errorf("before anything is read, the group stands at %v", got)
	}
	changes := o.take(t, 4)
	want := []string{`insert page a {"_id":"a","n":1}`, `update note b {"_id":"b","n":2}`, "delete page a -", "delete page d -"}
	if diff := cmp.Diff(want, texts(changes)); diff != "" {
		t.Error(diff)
	}
	for _, c := range changes {
		if s := c.Streamed; time.Since(s.At) > time.Minute || time.Since(s.At) < 0 {
			t.Errorf("%s was made at %s", text(c), s.At)
		}
	}
	if at := o.committed(t, b); !slices.Equal(at, []int64{7}) {
		t.Errorf("the group stands at %v", at)
	}
	for _, said := range []string{"events of a collection that the mapping does not have", "collection=other", "events of another database", "database=elsewhere"} {
		if strings.Count(o.log.String(), said) != 1 {
			t.Errorf("the log does not say %q once:\n%s", said, o.log)
		}
	}
}

func (o *opened) committed(t testing.TB, b *broker) []int64 { return b.committed(t, "g", "db.page", 1) }

// TestTheGroupIsTheTruth: another life goes on behind what was confirmed, whatever offset it is given.
func TestTheGroupIsTheTruth(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	for i := range 6 {
		b.send(t, "db.page", "a", plain("insert", "page", fmt.Sprint(i), ""))
	}
	first := start(t, b.BootstrapServers(), nil)
	var at []syncd.Offset
	confirmed := 0
	req := first.request()
	req.BatchSize = 2
	for batch, err := range first.Read(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		if at = append(at, batch.Offset); len(at) == 3 {
			break
		}
		confirmed += len(batch.Changes)
	}
	first.commit(t, at[1]) // the last batch is not confirmed
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	first.Source = closed{}
	second := start(t, b.BootstrapServers(), nil)
	second.after = at[2]
	for i, c := range second.take(t, 6-confirmed) {
		if want := fmt.Sprint(confirmed + i); c.ID != want {
			t.Errorf("%s came, want %s", c.ID, want)
		}
	}
}

// closed stands for a source that was closed already.
type closed struct{ syncd.Source }

func (closed) Close() error { return nil }

// TestStart: a new group begins where it is told, and that is kept before anything is read.
func TestStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start string
		want  int64
	}{"earliest": {"earliest", 0}, "latest": {"latest", 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := cluster(t, 1, "db.page")
			b.send(t, "db.page", "a", plain("insert", "page", "a", ""))
			b.send(t, "db.page", "b", plain("insert", "page", "b", ""))
			o := start(t, b.BootstrapServers(), func(cfg *Config) { cfg.Start = c.start })
			if at := o.committed(t, b); !slices.Equal(at, []int64{c.want}) {
				t.Errorf("the group stands at %v", at)
			}
			b.send(t, "db.page", "c", plain("insert", "page", "c", ""))
			if got := o.take(t, 3-int(c.want)); got[len(got)-1].ID != "c" {
				t.Errorf("%v", texts(got))
			}
		})
	}
}

// TestPattern: topics are found by a pattern, and the collection of a tombstone by its topic.
func TestPattern(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "x.db.page", "x.db.things", "other")
	b.send(t, "x.db.page", "a", "")
	b.send(t, "x.db.things", "b", "")
	b.send(t, "other", "c", plain("insert", "page", "c", ""))
	o := start(t, b.BootstrapServers(), func(c *Config) {
		c.Topics, c.Collections = []string{`^x\.db\..*`}, map[string]string{"x.db.things": "note"}
	})
	got := texts(o.take(t, 2))
	slices.Sort(got)
	if diff := cmp.Diff([]string{"delete note b -", "delete page a -"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPoison: what can't be read is a change with all of the record, and what follows is read.
func TestPoison(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page", "unknown")
	long := strings.Repeat("x", 3_000_000)
	b.send(t, "db.page", "a", `{"operationType":`, ck.Header{Key: "trace", Value: []byte{1, 0xff}})
	b.send(t, "db.page", "b", "\x00\x00\x00\x00\x09avro")
	b.send(t, "db.page", "c", plain("insert", "page", "c", fmt.Sprintf(`,"t":%q`, long)),
		ck.Header{Key: codec.HeaderPointID, Value: []byte("no uuid")}, ck.Header{Key: codec.HeaderContentType, Value: []byte("another")})
	b.send(t, "db.page", "d", `{"operationType":"replace","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"d"}}`, ck.Header{Key: codec.HeaderDocument, Value: []byte(codec.DocumentReference)})
	o := start(t, b.BootstrapServers(), nil)
	changes := o.take(t, 4)
	want := []string{
		": db.page, partition 0, offset 0: not JSON: unexpected end of JSON input (column 17)",
		": db.page, partition 0, offset 1: the value was written with schema 9 of a Schema Registry (Avro, Protobuf or JSON Schema), which is not read",
		fmt.Sprintf(`insert page c {"_id":"c","t":%q}`, long),
		"d: db.page, partition 0, offset 3: the event was sent without its document, which was too large for its topic",
	}
	if diff := cmp.Diff(want, texts(changes)); diff != "" {
		t.Errorf("%.2000s", diff)
	}
	r, ok := errors.AsType[*syncd.RecordError](changes[0].Err)
	if !ok || string(r.Key) != "a" || string(r.Value) != `{"operationType":` || r.Topic != "db.page" || len(r.Headers) != 1 || string(r.Headers[0].Value) != "\x01\xff" {
		t.Errorf("%+v", r)
	}
	if hint := syncd.HintOf(changes[1].Err); !strings.Contains(hint, "JsonConverter") {
		t.Errorf("the hint is %q", hint)
	}
	if changes[0].Streamed.Collection != "page" {
		t.Errorf("%+v", changes[0].Streamed)
	}
}

// TestPoisonOfNobody: a record that can't be read and whose topic is no collection's is a dead letter all the same.
func TestPoisonOfNobody(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "things")
	b.send(t, "things", "a", `{`)
	b.send(t, "things", "a", "")
	b.send(t, "things", "b", plain("insert", "note", "b", ""))
	o := start(t, b.BootstrapServers(), func(c *Config) { c.Topics = []string{"things"} })
	changes := o.take(t, 2)
	if changes[0].Err == nil || changes[0].Streamed.Collection != "page" || changes[1].ID != "b" {
		t.Errorf("%v", texts(changes))
	}
	if said := "nothing says of which collection"; !strings.Contains(o.log.String(), said) {
		t.Errorf("the log does not say %q:\n%s", said, o.log)
	}
}

// TestIdle: while there is nothing, that is said, and only once everything was read.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := cluster(t, 3, "db.page")
	b.send(t, "db.page", "a", plain("insert", "page", "a", ""))
	o := start(t, b.BootstrapServers(), nil)
	read, idle := 0, 0
	if err := o.read(t, func(batch syncd.Batch) bool {
		read += len(batch.Changes)
		if len(batch.Changes) == 0 {
			if idle++; read == 0 {
				t.Error("it said that there is nothing before it has read what there is")
			}
		}
		return idle < 2
	}); err != nil {
		t.Fatal(err)
	}
}

// TestTakeOver: of two members each has some of the partitions; nothing is lost when one comes and when it goes, the order of each key is
// kept, and what was confirmed does not come again.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	const partitions, keys, rounds = 4, 40, 30
	b := cluster(t, partitions, "db.page")
	var mu sync.Mutex
	last, repeats := map[string]int{}, 0 // by key: the last round that was seen
	read := func(ctx context.Context, o *opened) error {
		for batch, err := range o.Read(ctx, o.request()) {
			if err != nil {
				return err
			}
			mu.Lock()
			for _, c := range batch.Changes {
				v, _ := c.Document.Lookup("n")
				var n int
				fmt.Sscan(v.Text, &n)
				switch seen := last[c.ID]; {
				case n == seen+1:
					last[c.ID] = n
				case n <= seen:
					repeats++
				default:
					t.Errorf("of key %s, %d came behind %d", c.ID, n, seen)
				}
			}
			mu.Unlock()
			if err := o.Abilities().Stream.Commit(context.WithoutCancel(ctx), o.stream, batch.Offset); err != nil {
				return err
			}
		}
		return nil
	}
	run := func(o *opened) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- read(ctx, o) }()
		return func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			o.Source = closed{}
		}
	}
	all := func(n int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			mu.Lock()
			got := 0
			for _, seen := range last {
				got += seen
			}
			mu.Unlock()
			if got == n*keys {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d of %d changes were read", got, n*keys)
			}
		}
	}
	send := func(from, to int) {
		for round := from; round <= to; round++ {
			for k := range keys {
				id := fmt.Sprintf("k%d", k)
				b.send(t, "db.page", id, plain("replace", "page", id, fmt.Sprintf(`,"n":%d`, round)))
			}
		}
	}
	first := run(start(t, b.BootstrapServers(), nil))
	send(1, rounds/3)
	second := run(start(t, b.BootstrapServers(), nil))
	send(rounds/3+1, 2*rounds/3)
	all(2 * rounds / 3)
	first() // which leaves
	send(2*rounds/3+1, rounds)
	all(rounds)
	second()
	if repeats > 0 {
		t.Errorf("%d changes came again, though everything was confirmed before a partition was given away", repeats)
	}
	for p, at := range b.committed(t, "g", "db.page", partitions) {
		if at < 0 {
			t.Errorf("the group has no offset of partition %d", p)
		}
	}
}

// TestSlowReader: a member whose reader takes longer than the group would wait for a poll stays in its group.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	for i := range 10 {
		b.send(t, "db.page", "a", plain("insert", "page", fmt.Sprint(i), ""))
	}
	o := start(t, b.BootstrapServers(), func(c *Config) {
		c.Properties = secrets(map[string]string{"max.poll.interval.ms": "6000"})
	})
	req, got := o.request(), []string(nil)
	req.BatchSize = 2
	for batch, err := range o.Read(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range batch.Changes {
			got = append(got, c.ID)
		}
		o.commit(t, batch.Offset)
		if len(got) == 4 {
			time.Sleep(8 * time.Second) // longer than max.poll.interval.ms, which librdkafka measures by its own clock
		}
		if len(got) >= 10 {
			break
		}
	}
	if want := "0 1 2 3 4 5 6 7 8 9"; strings.Join(got, " ") != want {
		t.Errorf("%v", got)
	}
	if at := o.committed(t, b); !slices.Equal(at, []int64{10}) {
		t.Errorf("the group stands at %v", at)
	}
}
