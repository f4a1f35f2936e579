package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func probeTarget(collection, topic string) syncd.ProbeTarget {
	return syncd.ProbeTarget{Target: syncd.Target{Database: "db", Collection: collection, Topic: topic}}
}

// bySubject makes findings easy to look up.
func bySubject(findings []syncd.Finding) map[string]syncd.Finding {
	out := map[string]syncd.Finding{}
	for _, f := range findings {
		out[f.Subject] = f
	}
	return out
}

func hasFinding(t *testing.T, findings []syncd.Finding, subject string, status syncd.Status, detail, hint string) {
	t.Helper()
	f := bySubject(findings)[subject]
	if f.Status != status || !strings.Contains(f.Detail, detail) || !strings.Contains(f.Hint, hint) {
		t.Errorf("%s: %+v; want %s, %q, %q", subject, f, status, detail, hint)
	}
}

// TestProbe looks at brokers that know metadata and nothing else: neither permissions nor settings.
func TestProbe(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	targets := []syncd.ProbeTarget{probeTarget("page", ""), probeTarget("epic", ""), probeTarget("cycle", "db.epic"), probeTarget("no spaces", "")}
	for range 2 { // looking must not have created what is missing
		got := s.probe(t.Context(), targets)
		hasFinding(t, got, "brokers", syncd.StatusOK, "1 broker", "")
		hasFinding(t, got, "connection", syncd.StatusOK, "without TLS, without a login", "")
		hasFinding(t, got, "topic db.page", syncd.StatusOK, "3 partitions, replication factor 1", "")
		hasFinding(t, got, "topic db.epic", syncd.StatusFailed, "does not exist, and collection epic, cycle goes there", "sink.kafka.create_topics")
		hasFinding(t, got, "topic db.no spaces", syncd.StatusFailed, "not legal", topicRule)
		hasFinding(t, got, "permission to write", syncd.StatusSkipped, "do not tell", "")
		hasFinding(t, got, "largest event", syncd.StatusSkipped, "could not be asked for", "")
		if len(got) != 7 {
			t.Errorf("%+v", got)
		}
	}
}

func TestProberConformance(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	syncdtest.TestProber(t, s.Abilities().Probe, []syncd.ProbeTarget{probeTarget("page", ""), probeTarget("epic", "")})
}

func TestProbeUnavailable(t *testing.T) {
	c := cluster(t, "db.page")
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	got := s.probe(t.Context(), []syncd.ProbeTarget{probeTarget("page", "")})
	hasFinding(t, got, "brokers", syncd.StatusFailed, c.BootstrapServers()+" did not answer within 300ms", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got = s.probe(ctx, []syncd.ProbeTarget{probeTarget("page", "")})
	hasFinding(t, got, "brokers", syncd.StatusFailed, "no answer in time", "")
}

func TestProbeConnection(t *testing.T) {
	for name, c := range map[string]struct {
		security Security
		status   syncd.Status
		detail   string
	}{
		"tls":             {Security{TLS: TLS{Enabled: true}}, syncd.StatusOK, "TLS, without a login"},
		"scram over tls":  {Security{TLS: TLS{Enabled: true}, SASL: SASL{Mechanism: "SCRAM-SHA-512", Username: "mia", Password: "hunter2"}}, syncd.StatusOK, `TLS, logged in by SCRAM-SHA-512 as "mia"`},
		"any certificate": {Security{TLS: TLS{Enabled: true, InsecureSkipVerify: true}}, syncd.StatusWarning, "any certificate"},
		"plain":           {Security{SASL: SASL{Mechanism: "PLAIN", Username: "mia", Password: "hunter2"}}, syncd.StatusWarning, "can be read on the network"},
		"scram":           {Security{SASL: SASL{Mechanism: "SCRAM-SHA-512", Username: "mia", Password: "hunter2"}}, syncd.StatusOK, `without TLS, logged in by`},
	} {
		s := &Sink{config: Config{Security: c.security}}
		f := s.probeConnection()
		if f.Status != c.status || !strings.Contains(f.Detail, c.detail) || strings.Contains(f.Detail+f.Hint, "hunter2") {
			t.Errorf("%s: %+v", name, f)
		}
		if (f.Hint != "") != (f.Status == syncd.StatusWarning) {
			t.Errorf("%s: hint %q", name, f.Hint)
		}
	}
}

func partitions(replicas int, inSync ...int) []ck.PartitionMetadata {
	out := make([]ck.PartitionMetadata, len(inSync))
	for i, n := range inSync {
		out[i] = ck.PartitionMetadata{ID: int32(i), Replicas: make([]int32, replicas), Isrs: make([]int32, n)}
	}
	return out
}

func TestProbeHealth(t *testing.T) {
	lost := partitions(3, 3, 3)
	lost[1].Leader = -1
	for detail, c := range map[string]struct {
		topic  probedTopic
		status syncd.Status
	}{
		"2 partitions, replication factor 3, min.insync.replicas 2":                                         {probedTopic{partitions: partitions(3, 3, 2), minISR: 2}, syncd.StatusOK},
		"2 partitions, replication factor 3":                                                                {probedTopic{partitions: partitions(3, 3, 1)}, syncd.StatusOK},
		"2 partitions, replication factor 3, min.insync.replicas 2: 1 partition has fewer replicas in sync": {probedTopic{partitions: partitions(3, 3, 1), minISR: 2}, syncd.StatusFailed},
		"2 partitions, replication factor 3: 1 partition is without a leader":                               {probedTopic{partitions: lost}, syncd.StatusFailed},
		"1 partition, replication factor 1, min.insync.replicas 2: more than there are replicas, so that nothing can be written": {
			probedTopic{partitions: partitions(1, 1), minISR: 2}, syncd.StatusFailed,
		},
	} {
		f := c.topic.health(syncd.Finding{})
		if f.Status != c.status || f.Detail != detail || (f.Hint != "") != (f.Status == syncd.StatusFailed) {
			t.Errorf("%+v, want %s: %s", f, c.status, detail)
		}
	}
}

// TestProbeVerdicts looks at what the brokers of other tests never say.
func TestProbeVerdicts(t *testing.T) {
	s := &Sink{config: defaults()}
	p := &topicsProbe{sink: s, topics: []*probedTopic{
		{name: "a", exists: true, operations: []ck.ACLOperation{ck.ACLOperationDescribe, ck.ACLOperationWrite}, maxBytes: 2_000_000},
		{name: "b", exists: true, operations: []ck.ACLOperation{ck.ACLOperationDescribe}, maxBytes: 5000},
		{name: "c", refused: "not authorized"},
	}}
	all := append(p.findings(t.Context()), p.permission(t.Context()), p.largest(t.Context()))
	hasFinding(t, all, "permission to write", syncd.StatusFailed, "not granted on b", "kafka-acls")
	hasFinding(t, all, "largest event", syncd.StatusWarning, "topic b accepts 5000 bytes", "max_message_bytes: 5000")
	hasFinding(t, all, "topic c", syncd.StatusFailed, "not authorized", "WRITE")
	p.topics = p.topics[:1]
	hasFinding(t, []syncd.Finding{p.permission(t.Context())}, "permission to write", syncd.StatusOK, "granted on 1 topic", "")
	hasFinding(t, []syncd.Finding{p.largest(t.Context())}, "largest event", syncd.StatusOK, "1000000 bytes; the topics accept 2000000", "")

	s.config.CreateTopics = &CreateTopics{Partitions: 6}
	p.topics = []*probedTopic{{name: "d", collections: []string{"page"}}}
	hasFinding(t, p.findings(t.Context()), "topic d", syncd.StatusOK, "a run will create it with 6 partitions and their replication factor", "")
}
