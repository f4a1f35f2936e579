package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

func secrets(m map[string]string) map[string]spec.Secret {
	out := map[string]spec.Secret{}
	for k, v := range m {
		out[k] = spec.Secret(v)
	}
	return out
}

func tryOpen(t *testing.T, c Config) (syncd.Source, error) {
	t.Helper()
	s, err := open(t.Context(), c, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	began := time.Now()
	_, err := tryOpen(t, config("127.0.0.1:1", func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond }))
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), "source.kafka.bootstrap_servers") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("that took %s", took)
	}
}

func TestUnknownProperty(t *testing.T) {
	_, err := tryOpen(t, config("127.0.0.1:1", func(c *Config) { c.Properties = secrets(map[string]string{"no.such.property": "1"}) }))
	if err == nil || !strings.Contains(err.Error(), "no.such.property") || !strings.Contains(syncd.HintOf(err), "source.kafka.properties") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
}

func TestUnknownTopic(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	for topic, want := range map[string]string{"db.none": `the topic "db.none" does not exist`, "^none.*": "no topic matches ^none.*"} {
		s, err := tryOpen(t, config(b.BootstrapServers(), func(c *Config) { c.Topics = []string{topic} }))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Abilities().Stream.Streams(t.Context(), []syncd.Collection{{Name: "page"}})
		if err == nil || err.Error() != want || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", topic, err, syncd.HintOf(err))
		}
		f := s.Abilities().Probe(t.Context(), nil)
		if len(f) != 1 || f[0].Status != syncd.StatusFailed || f[0].Detail != want {
			t.Errorf("%s: %+v", topic, f)
		}
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	b := cluster(t, 2, "db.page")
	s, err := tryOpen(t, config(b.BootstrapServers(), nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []syncd.Finding{
		{Subject: "topics", Status: syncd.StatusOK, Detail: "1, with 2 partitions"},
		{Subject: "consumer group", Status: syncd.StatusOK, Detail: "the group g is new, and begins at earliest"},
	}
	if diff := cmp.Diff(want, s.Abilities().Probe(t.Context(), nil)); diff != "" {
		t.Error(diff)
	}
	if at := b.committed(t, "g", "db.page", 2); !slices.Equal(at, []int64{-1001, -1001}) {
		t.Errorf("a look has set the group's offsets: %v", at)
	}
}

// TestFollowedOnly: there are no documents to look at, which is said and what to do.
func TestFollowedOnly(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	s, err := tryOpen(t, config(b.BootstrapServers(), nil))
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "can only be followed") || !strings.Contains(syncd.HintOf(err), "--follow") {
			t.Errorf("%v (%s)", err, syncd.HintOf(err))
		}
	}
	for _, err := range s.Splits(t.Context(), syncd.Collection{Name: "page"}) {
		check(err)
	}
	for _, err := range s.Fetch(t.Context(), syncd.Collection{Name: "page"}, []syncd.Key{"a"}) {
		check(err)
	}
	for _, err := range s.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "page"}}}) {
		check(err)
	}
}

// TestForgottenGroup: a group that stood somewhere and has no offsets any more has lost its position; what is still there can be read on.
func TestForgottenGroup(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	b.send(t, "db.page", "a", plain("insert", "page", "a", ""))
	s, err := tryOpen(t, config(b.BootstrapServers(), nil))
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{Source: s, stream: syncd.Stream{Name: "group g", Collections: []syncd.Collection{{Name: "page"}}}, after: "group #5", log: &syncBuffer{}}
	if err := o.read(t, func(syncd.Batch) bool { return true }); !errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(err.Error(), "offsets.retention.minutes") {
		t.Errorf("%v", err)
	}
	if o.after, err = s.Abilities().Stream.Now(t.Context(), o.stream); err != nil {
		t.Fatal(err)
	}
	if got := o.take(t, 1); got[0].ID != "a" {
		t.Errorf("%v", texts(got))
	}
}

// TestCancel: a read ends with its context, also where nobody takes what was read.
func TestCancel(t *testing.T) {
	t.Parallel()
	b := cluster(t, 1, "db.page")
	b.send(t, "db.page", "a", plain("insert", "page", "a", ""))
	o := start(t, b.BootstrapServers(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for batch, err := range o.Read(ctx, o.request()) {
		if n++; n == 1 {
			if len(batch.Changes) != 1 {
				t.Fatalf("%+v, %v", batch, err)
			}
			cancel()
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if n != 2 {
		t.Errorf("%d batches and errors", n)
	}
	// What was not confirmed comes again, of the same source.
	if got := o.take(t, 1); got[0].ID != "a" {
		t.Errorf("%v", texts(got))
	}
}

// TestCommitGoesForward: the group's offset is never moved back, and not at all for a partition that was given away.
func TestCommitGoesForward(t *testing.T) {
	m := &member{partitions: map[place]*partition{}, changed: make(chan struct{})}
	p := &partition{place: place{"t", 0}, next: -1, confirmed: -1, committed: 7, end: -1}
	m.partitions[p.place] = p
	register := func(next int64) uint64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.seq++
		m.given = append(m.given, given{seq: m.seq, marks: []mark{{p, next}}})
		return m.seq
	}
	first, second := register(5), register(9)
	m.confirm(first)
	if owed := m.owed(); len(owed) != 0 {
		t.Errorf("what is behind the group's offset is to be committed: %+v", owed[0])
	}
	m.confirm(second)
	if owed := m.owed(); len(owed) != 1 || owed[0].confirmed != 9 {
		t.Errorf("%+v", owed)
	}
	delete(m.partitions, p.place)
	if owed := m.owed(); len(owed) != 0 {
		t.Errorf("of a partition that was given away is to be committed: %+v", owed[0])
	}
	// What nobody confirms is passed together with what stands before it.
	m.partitions[p.place] = p
	third := register(11)
	register(12)
	m.pass()
	if p.confirmed != 9 {
		t.Errorf("it was passed before what stands in front of it: %d", p.confirmed)
	}
	m.confirm(third)
	if p.confirmed != 12 || len(m.given) != 0 {
		t.Errorf("%d, %d left", p.confirmed, len(m.given))
	}
}

func TestConfig(t *testing.T) {
	long := strings.Repeat("x", 250)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // of the first message; "" is none
	}{
		"defaults":           {func(*Config) {}, ""},
		"a pattern":          {func(c *Config) { c.Topics = []string{"^cdc[.].*$"} }, ""},
		"a broken pattern":   {func(c *Config) { c.Topics = []string{"^(a"} }, `source.kafka.topics has "^(a", which is no regular expression`},
		"no topic's name":    {func(c *Config) { c.Topics = []string{"a b"} }, `source.kafka.topics has "a b", which can't be a topic`},
		"a long name":        {func(c *Config) { c.Topics = []string{long} }, `which can't be a topic`},
		"a time":             {func(c *Config) { c.Start = "2026-01-31T00:00:00Z" }, ""},
		"no time":            {func(c *Config) { c.Start = "yesterday" }, `source.kafka.start is "yesterday", which is no place to begin`},
		"a foreign topic":    {func(c *Config) { c.Collections = map[string]string{"x": "page"} }, `source.kafka.collections.x has no effect: the topic is not read`},
		"a topic's":          {func(c *Config) { c.Collections = map[string]string{"db.page": "page"} }, ""},
		"a server":           {func(c *Config) { c.BootstrapServers = "http://x" }, `of which librdkafka does not take the http://`},
		"ruled":              {func(c *Config) { c.Properties = secrets(map[string]string{"group.id": "x"}) }, "source.kafka.properties.group.id is ruled by another setting"},
		"auto commit":        {func(c *Config) { c.Properties = secrets(map[string]string{"enable.auto.commit": "true"}) }, "source.kafka.properties.enable.auto.commit is always false here"},
		"the client's own":   {func(c *Config) { c.Properties = secrets(map[string]string{"go.events.channel.enable": "true"}) }, "is not a librdkafka property"},
		"unknown":            {func(c *Config) { c.Properties = secrets(map[string]string{"no.such": "true"}) }, "source.kafka.properties are refused by librdkafka: "},
		"known":              {func(c *Config) { c.Properties = secrets(map[string]string{"fetch.message.max.bytes": "5000000"}) }, ""},
		"password, no SASL":  {func(c *Config) { c.Security.SASL.Password = "x" }, "source.kafka.security.sasl has credentials, but no mechanism"},
		"the sink's setting": {func(c *Config) { c.Properties = secrets(map[string]string{"sasl.password": "x"}) }, "source.kafka.properties.sasl.password is ruled by another setting"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config("localhost:9092", c.change)
			d := spec.NewDecoder()
			d.In("source", func() { d.In("kafka", func() { cfg.CheckConfig(d, &spec.Node{Kind: spec.Map}) }) })
			got := ""
			for _, diag := range d.Diagnostics() {
				got += fmt.Sprintln(diag.Message)
			}
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.Contains(got, "sink.kafka") {
				t.Errorf("it names another's settings: %s", got)
			}
		})
	}
}

// TestReadsPlace: a job that would read what it writes is recognised by topic and brokers.
func TestReadsPlace(t *testing.T) {
	c := config("localhost:9092", func(c *Config) { c.Topics = []string{"a", "^x.*"} })
	for _, p := range []struct {
		location, place string
		want            bool
	}{{"localhost:9092", "a", true}, {"localhost:9092", "b", false}, {"localhost:9092", "xyz", true}, {"elsewhere:9092", "a", false}} {
		if got := c.ReadsPlace(p.location, p.place); got != p.want {
			t.Errorf("%+v: %t", p, got)
		}
	}
}

// TestWhatNoWaitHelps: trouble that stays however long one waits ends the reading, with what to do.
func TestWhatNoWaitHelps(t *testing.T) {
	for code, want := range map[ck.ErrorCode]string{
		ck.ErrInvalidSessionTimeout:     "source.kafka.session_timeout, 45s",
		ck.ErrInconsistentGroupProtocol: "source.kafka.group_id",
		ck.ErrGroupAuthorizationFailed:  "grant this login READ",
	} {
		m := &member{s: &source{cfg: config("b:1", nil)}, failed: make(chan error, 1)}
		m.s.cfg.SessionTimeout = 45 * time.Second
		m.trouble(ck.NewError(code, "JoinGroup failed", false), nil)
		select {
		case err := <-m.failed:
			if errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), want) {
				t.Errorf("%s: %v (%s)", code, err, syncd.HintOf(err))
			}
		default:
			t.Errorf("%s: the reading goes on", code)
		}
	}
}
