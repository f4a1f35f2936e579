package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/coalesce"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/retry"
)

// closeTimeout bounds the wait for events of interrupted writes; those writes have returned their error already.
const closeTimeout = 5 * time.Second

// statisticsInterval is how often librdkafka tells how many requests it has sent again, among much else: making and reading
// that costs a fraction of a millisecond.
const statisticsInterval = 2 * time.Second

// reconnectPause is the longest wait before a broker that is down is tried again, as it is in Kafka's own client. librdkafka
// waits up to ten seconds, and only looks for events whose time is over when it wakes: delivery_timeout would be exceeded by
// as much. firstReconnectPause is the first such wait. librdkafka lets half of it pass between two connections, of which it makes
// one to ask who the brokers are, and the next to a broker: with its default, every start stands still for nearly 50 ms.
const (
	firstReconnectPause = 20 * time.Millisecond
	reconnectPause      = time.Second
)

// Sink produces events. Plugin opens one.
type Sink struct {
	config   Config
	encoder  codec.Encoder
	logger   *slog.Logger
	contact  *contact.Contact
	env      syncd.Env
	replacer dial.Scrubber
	router   *router
	main     *client
	judge    *judge
	topics   *coalesce.Questions[string, ck.TopicDescription] // see describe
	limits   time.Duration                                    // how long to wait for topics' limits, see compareLimits
	runID    string                                           // set by prepare, before the first Write or Commit
	batches  sync.Pool                                        // of *codec.Batch
	writes   sync.Pool                                        // of *write

	mu    sync.Mutex
	alone *client // sends every event as a batch of its own; nil until it is needed, see write.resend
}

func open(ctx context.Context, c Config, env syncd.Env) (syncd.Sink, error) {
	c.Queue.MaxBytes = c.queueBytes(env.Memory)
	if env.Process != "" && c.exactlyOnce() { // the processes of a cluster have a transaction each, and nobody may wait for a dead one's for long
		c.Transactions.ID += "-" + env.Process
		c.Transactions.Timeout = min(c.Transactions.Timeout, clusterTransaction)
		c.Transactions.Timeout = min(c.Transactions.Timeout, clusterTransaction)
	}
	r, err := newRouter(c)
	if err != nil {
		return nil, err
	}
	s := &Sink{config: c, encoder: c.Event.Encoder(), logger: env.Logger, env: env, replacer: c.Security.Scrubber(c.Properties), router: r, limits: min(c.ConnectTimeout, limitsTimeout)}
	setting, timeout := c.messageTimeout()
	s.contact = contact.New(contact.Config{
		Log: env.Logger, Server: "Kafka", Address: c.BootstrapServers, Verb: "reached", Patience: notableOutage,
		Trying: fmt.Sprintf("connecting again; each event waits for up to %s (sink.kafka.%s)", timeout, setting),
	})
	if err := c.Security.CheckFiles(section); err != nil {
		return nil, err
	}
	if s.main, err = s.newClient(c.librdkafka()); err != nil {
		return nil, err
	}
	if err := s.preflight(ctx); err != nil {
		s.main.close(0)
		return nil, err
	}
	s.topics = coalesce.New(s.describe)
	s.judge = newJudge()
	if c.exactlyOnce() {
		pauses := retry.Pauses{Policy: retry.Policy{First: retryPause, Max: retryPauseMax}}
		return &transactional{Sink: s, turn: make(chan struct{}, 1), pauses: pauses}, nil
	}
	return s, nil
}

// Abilities implements syncd.Sink.
func (s *Sink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: s.prepare, Route: s.route, Identity: s.identity, Lag: s.lag, Raw: s.config.Event.Raw(), DeadLetters: s.deadLetters, Probe: s.probe,
		Cluster: s.openCluster}
}

// Close implements io.Closer. It waits a while for the events of interrupted writes.
func (s *Sink) Close() error {
	s.contact.Close()
	var alone sync.WaitGroup
	if s.alone != nil {
		alone.Go(func() { s.alone.close(closeTimeout) })
	}
	s.main.close(closeTimeout)
	alone.Wait()
	s.judge.close()
	return nil
}

// sendAlone returns the client whose batches hold one event.
func (s *Sink) sendAlone() (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alone != nil {
		return s.alone, nil
	}
	conf := s.config.librdkafka()
	conf["batch.num.messages"] = 1
	c, err := s.newClient(conf)
	if err != nil {
		return nil, err
	}
	c.troubles.Started()
	s.alone = c
	return c, nil
}

// librdkafka gives the configuration in librdkafka's names.
func (c *Config) librdkafka() ck.ConfigMap {
	m := ck.ConfigMap{}
	for key, value := range c.Properties {
		m[key] = value.Reveal()
	}
	_, timeout := c.messageTimeout()
	maps.Copy(m, ck.ConfigMap{
		"bootstrap.servers":            c.BootstrapServers,
		"client.id":                    c.ClientID,
		"enable.idempotence":           true,
		"acks":                         "all",
		"compression.type":             c.Compression,
		"partitioner":                  c.Partitioner,
		"linger.ms":                    int(c.Linger / time.Millisecond),
		"message.max.bytes":            c.MaxMessageBytes,
		"queue.buffering.max.kbytes":   (c.queueBytes(0) + 1023) / 1024,
		"queue.buffering.max.messages": c.Queue.MaxMessages,
		"message.timeout.ms":           int(timeout / time.Millisecond),
		"allow.auto.create.topics":     false,  // a producer's default is true: asking for a topic would create it
		"go.delivery.report.fields":    "none", // keys and values would be copied back for nothing
		"go.logs.channel.enable":       true,   // else librdkafka writes to stderr
		"go.logs.channel":              make(chan ck.LogEvent),
		"go.events.channel.size":       0, // of this channel and the one above: see end
		"go.produce.channel.size":      0, // of a channel that is not used here; its default costs 8 MB
	})
	if !set(m, "statistics.interval.ms") {
		m["statistics.interval.ms"] = int(statisticsInterval / time.Millisecond)
	}
	if !set(m, "reconnect.backoff.max.ms") && !set(m, "reconnect.backoff.ms") {
		m["reconnect.backoff.ms"] = int(firstReconnectPause / time.Millisecond)
		m["reconnect.backoff.max.ms"] = int(reconnectPause / time.Millisecond)
	}
	if !set(m, "enable.metrics.push") {
		m["enable.metrics.push"] = false // to the brokers, which asks them for their wishes at each start
	}
	if c.exactlyOnce() {
		m["transactional.id"] = c.Transactions.ID
		m["transaction.timeout.ms"] = int(c.Transactions.Timeout / time.Millisecond)
		m["linger.ms"] = 0 // the reports of all events are awaited before the commit: each transaction would last so much longer
	}
	c.Security.Set(m)
	return m
}

func set(m ck.ConfigMap, property string) bool {
	_, ok := m[property]
	return ok
}

// messageTimeout is how long an event may wait for its acknowledgement, and the setting that says so. In a transaction it is
// the transaction's time: what remains of the delivery timeout is for another attempt.
func (c *Config) messageTimeout() (setting string, limit time.Duration) {
	if c.exactlyOnce() {
		return "transactions.timeout", c.Transactions.Timeout
	}
	return "delivery_timeout", c.DeliveryTimeout
}

// preflight proves that the brokers can be reached and accept the credentials, or says which of the two it is.
func (s *Sink) preflight(ctx context.Context) error {
	patience := s.config.ConnectTimeout
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end))
	}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.main.troubles.OnHopeless(cancel)
	_, err := s.metadata(asked, nil, false)
	causes := s.main.troubles.Started()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled): // where time ran out, what was met until then says more
		return fmt.Errorf("connecting to Kafka at %s: %w", s.config.BootstrapServers, ctx.Err())
	}
	return s.connection().Explain(ctx, err, causes, patience.Round(100*time.Millisecond))
}

// connection is what explains why the brokers can't be reached.
func (s *Sink) connection() *kafkaconn.Connection {
	return &kafkaconn.Connection{Section: section, Servers: s.config.BootstrapServers, Security: &s.config.Security, Scrubber: s.replacer}
}

// metadata asks a broker for its view of the cluster and of one topic, or of all, until ctx ends. The library's call can't be
// interrupted, and one that times out forgets its request: so it is called for longer and longer, from a quarter of a
// second, which a working broker needs once, to the two that Ctrl-C may take at worst.
func (s *Sink) metadata(ctx context.Context, topic *string, all bool) (*ck.Metadata, error) {
	for patience := 250 * time.Millisecond; ; patience = min(2*patience, 2*time.Second) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if end, ok := ctx.Deadline(); ok {
			patience = max(min(patience, time.Until(end)), time.Millisecond)
		}
		md, err := s.main.GetMetadata(topic, all, int(patience/time.Millisecond))
		if err == nil || !kafkaconn.Unreachable(err) {
			return md, err
		}
	}
}

// ask bounds a question to the brokers and makes its error one that tells unavailability apart.
func (s *Sink) ask(ctx context.Context, patience time.Duration, question func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := question(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil || kafkaconn.Unreachable(err):
		return syncd.Hint(fmt.Errorf("%s did not answer within %s: %w", s.config.BootstrapServers, patience, syncd.ErrUnavailable), brokersHint)
	case kafkaconn.Passing(err):
		return syncd.Hint(fmt.Errorf("%s: %w", s.scrub(err), syncd.ErrUnavailable), brokersHint)
	}
	return errors.New(s.scrub(err))
}

// scrub gives an error's text without the configuration's secrets.
func (s *Sink) scrub(err error) string { return s.replacer.Replace(err.Error()) }
