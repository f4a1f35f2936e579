package integration

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/integration/kafka"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	sink "github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/syncdtest"
)

// generated starts a MongoDB server that makes documents up: its only merit is that it is fast.
func generated(t *testing.T) *fastmongo.Server {
	t.Helper()
	s, err := fastmongo.Start(t.Context(), fastmongo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, s.Close)
	return s
}

// pages is a place whose collection page holds documents with the given ids.
func pages(t *testing.T, kafkaAddr string, ids ...any) *place {
	t.Helper()
	s := generated(t)
	p := newPlace(t, s.URI(), kafkaAddr)
	docs := make([]any, len(ids))
	for i, id := range ids {
		docs[i] = bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "x"}}
	}
	if err := s.Put(p.name+".page", docs...); err != nil {
		t.Fatal(err)
	}
	return p
}

var page = map[string]string{"page": "page"}

// TestSinkSuite runs the sink's conformance suite, with both kinds of delivery.
func TestSinkSuite(t *testing.T) {
	t.Run("at least once", func(t *testing.T) { testSinkSuite(t, newPlace(t, "", kafkaAddr(t)), func(*sink.Config) {}) })
	t.Run("exactly once", func(t *testing.T) {
		p := newPlace(t, "", kafkaAddr(t))
		testSinkSuite(t, p, func(c *sink.Config) { c.Delivery, c.Transactions.ID = "exactly_once", p.name })
	})
}

func testSinkSuite(t *testing.T, p *place, change func(*sink.Config)) {
	open := func(t *testing.T) syncd.Sink {
		plugin := sink.Plugin()
		c := plugin.Config().(*sink.Config)
		c.BootstrapServers, c.TopicPrefix = p.kafka, p.name
		c.Headers = []string{"all"} // the suite looks for each
		c.CreateTopics = &sink.CreateTopics{Partitions: 3}
		change(c)
		s, err := plugin.OpenSink(t.Context(), c, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("%v (%s)", err, syncd.HintOf(err))
		}
		return s
	}
	syncdtest.TestSink(t, syncdtest.SinkHarness{
		Open: open, OpenAgain: open,
		Read: func(t *testing.T) []syncdtest.Received {
			var out []syncdtest.Received
			p.read(t, func(r *kgo.Record) {
				if r.Topic == p.name+".syncd-state" { // where the sink keeps marks
					return
				}
				got := syncdtest.Received{Target: r.Topic, Key: r.Key, Value: r.Value}
				got.Placement = syncd.Placement{Partition: r.Partition, Offset: r.Offset, Known: true}
				for _, h := range r.Headers {
					got.Headers = append(got.Headers, codec.Header{Name: h.Key, Value: string(h.Value)})
				}
				out = append(out, got)
			})
			return out
		},
		TooLarge: 1_100_000,
	})
}

// TestPartitions sends keys by syncd, and the same keys by Kafka's own producer: each must be in the same partition.
func TestPartitions(t *testing.T) {
	ids := []any{"", "a", "ab", "abc", "abcd", "naïve 日本", "\x00\x7f", strings.Repeat("long ", 1000)}
	for i := range 2000 {
		ids = append(ids, fmt.Sprintf("doc-%d", i), bson.NewObjectID(), bson.Binary{Subtype: 4, Data: uuidBytes()})
	}
	p := pages(t, kafkaAddr(t), ids...)
	invoke(t, "run", "-c", p.config(t, page, createTopics)).wants(t, 0, fmt.Sprintf(`^Complete: %d events sent`, len(ids)))
	want := map[string]int32{}
	var keys [][]byte
	p.read(t, func(r *kgo.Record) {
		want[string(r.Key)] = r.Partition
		keys = append(keys, r.Key)
	})
	if len(want) != len(ids) {
		t.Fatalf("%d keys, want %d", len(want), len(ids))
	}

	java := p.name + ".java"
	if _, err := p.admin.CreateTopic(t.Context(), 6, -1, nil, java); err != nil {
		t.Fatal(err)
	}
	if err := kafka.ProduceByJava(t.Context(), p.kafka, java, keys); err != nil {
		t.Fatal(err)
	}
	used, wrong := map[int32]bool{}, 0
	p.read(t, func(r *kgo.Record) {
		if r.Topic != java {
			return
		}
		used[r.Partition] = true
		if got, ok := want[string(r.Key)]; !ok || got != r.Partition {
			if wrong++; wrong <= 5 {
				t.Errorf("Java puts %q into partition %d, syncd into %d", r.Key, r.Partition, got)
			}
		}
		delete(want, string(r.Key))
	})
	if wrong > 5 {
		t.Errorf("and so on: %d keys are in other partitions", wrong)
	}
	if len(want) != 0 || len(used) != 6 {
		t.Errorf("Java did not send %d keys, and used %d partitions", len(want), len(used))
	}
}

func uuidBytes() []byte {
	id := uuid.New()
	return id[:]
}

// TestTopics checks that topics are created as told, and only then: the broker itself would create any that is asked for.
func TestTopics(t *testing.T) {
	p := pages(t, kafkaAddr(t), "a", "b", "c")
	for range 2 {
		invoke(t, "run", "-c", p.config(t, page)).wants(t, 1, `^error: .*`+p.name+`\.page`)
	}
	if topics := p.topics(t); len(topics) != 0 {
		t.Fatalf("there are topics: %q", topics)
	}
	invoke(t, "run", "-c", p.config(t, page, "create_topics: {partitions: 5, config: {cleanup.policy: compact, max.message.bytes: \"2000000\"}}")).
		wants(t, 0, `^Complete: 3 events sent`)
	details, err := p.admin.ListTopics(t.Context(), p.name+".page")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(details[p.name+".page"].Partitions); n != 5 {
		t.Errorf("%d partitions", n)
	}
	configs, err := p.admin.DescribeTopicConfigs(t.Context(), p.name+".page")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range configs[0].Configs {
		got[c.Key] = c.MaybeValue()
	}
	if got["cleanup.policy"] != "compact" || got["max.message.bytes"] != "2000000" {
		t.Errorf("cleanup.policy is %q, max.message.bytes is %q", got["cleanup.policy"], got["max.message.bytes"])
	}
	if n := len(p.records(t)); n != 3 {
		t.Errorf("%d events", n)
	}
}

// TestSecurity reaches the broker in every way that there is, and in some that must fail: quickly, with the reason, and
// without showing a secret.
func TestSecurity(t *testing.T) {
	b := broker(t)
	sasl := func(mechanism, password string) string {
		return fmt.Sprintf("sasl: {mechanism: %s, username: %s, password: %q}", mechanism, kafka.User, password)
	}
	trusting := fmt.Sprintf("ca_file: %q", b.Certs.CA)
	tls := "tls: {enabled: true, " + trusting + "}"
	mutual := fmt.Sprintf("tls: {enabled: true, %s, cert_file: %q, key_file: %q}", trusting, b.Certs.ClientCert, b.Certs.ClientKey)
	type way struct {
		listener kafka.Listener
		security string
		failure  string // none if empty
	}
	ways := map[string]way{
		"mutual TLS":            {kafka.TLS, mutual, ""},
		"TLS and SCRAM":         {kafka.TLSWithSASL, tls + ", " + sasl("SCRAM-SHA-512", kafka.Password), ""},
		"TLS and PLAIN":         {kafka.TLSWithSASL, tls + ", " + sasl("PLAIN", kafka.Password), ""},
		"without a certificate": {kafka.TLS, tls, `(?:bad certificate|certificate required|asks for a client certificate).*(?:\n.*)*^hint: .*cert_file and key_file`},
		"unknown authority":     {kafka.TLSWithSASL, "tls: {enabled: true}, " + sasl("PLAIN", kafka.Password), `(?i)certificate`},
		"without a login":       {kafka.SASL, "", `(?i)(?:sasl|authenticat|disconnected|broken pipe|reset by peer).*(?:\n.*)*^hint: .*sink\.kafka\.security`},
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		ways[mechanism] = way{kafka.SASL, sasl(mechanism, kafka.Password), ""}
		ways[mechanism+", wrong password"] = way{kafka.SASL, sasl(mechanism, "hunter2"), `(?i)authenticat`}
	}
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			p := pages(t, b.Addr(kafka.Plain), "a", "b", "c")
			r := invoke(t, "run", "-c", p.at(b.Addr(w.listener)).config(t, page, createTopics, "connect_timeout: 3s", "security: {"+w.security+"}"))
			if w.failure == "" {
				r.wants(t, 0, `^Complete: 3 events sent`)
				if n := len(p.records(t)); n != 3 {
					t.Errorf("%d events", n)
				}
				return
			}
			r.wants(t, 1, `^error: .*(?:`+w.failure+`)`, b.Addr(w.listener))
			r.wantsNot(t, "hunter2")
			if r.took > 20*time.Second {
				t.Errorf("it took %s", r.took)
			}
			if n := len(p.records(t)); n != 0 {
				t.Errorf("%d events", n)
			}
			t.Logf("%s\n%s", r.took, r.output)
		})
	}
}

// TestUnavailable has no broker at all.
func TestUnavailable(t *testing.T) {
	p := pages(t, kafkaAddr(t), "a")
	closed := closedPort(t)
	r := invoke(t, "run", "-c", p.at(closed).config(t, page, createTopics, "connect_timeout: 2s"))
	r.wants(t, 1, `^error: .*`+closed, `^hint: `)
	if r.took > 20*time.Second {
		t.Errorf("it took %s", r.took)
	}
	if n := len(p.topics(t)); n != 0 {
		t.Errorf("%d topics", n)
	}
}
