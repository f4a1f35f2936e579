package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/spec"
)

// Config declares the sink's settings. Sizes are bytes.
type Config struct {
	BootstrapServers string                 `yaml:"bootstrap_servers" env:"KAFKA_BOOTSTRAP_SERVERS" example:"localhost:9092" rule:"min=1" doc:"Brokers to ask first, as host:port, several separated by commas."`
	Topic            string                 `yaml:"topic" rule:"name,min=1" doc:"Topic of an event; may use {database}, {collection} and {content_type}."`
	TopicPrefix      string                 `yaml:"topic_prefix" env:"KAFKA_TOPIC_PREFIX" rule:"name" doc:"Put in front of every topic with a dot between, a collection's own topic included."`
	Event            codec.Config           `yaml:"event" doc:"The form of events."`
	Headers          []string               `yaml:"headers" rule:"dive,oneof=all none syncd-point-id syncd-content-type syncd-read-time syncd-run-id syncd-reason" doc:"Headers of every event: all, none, or some. Empty means those that a consumer acts on and has from nowhere else, which are syncd-point-id and syncd-content-type, and for dead letters all. When the document was read is the record's timestamp as well, in milliseconds. Each costs about 0.5 µs of CPU (measured on an AMD EPYC, see docs/performance.md). syncd-document, and those that say why an event is a dead letter, are sent whatever is set here."`
	CreateTopics     *CreateTopics          `yaml:"create_topics" doc:"How to create topics that do not exist; without it a missing topic is an error."`
	Compression      string                 `yaml:"compression" rule:"oneof=none gzip snappy lz4 zstd" doc:"Compression of the batches sent to the brokers."`
	Partitioner      string                 `yaml:"partitioner" rule:"oneof=murmur2_random murmur2 consistent_random consistent fnv1a_random fnv1a random" doc:"Chooses an event's partition by its key; murmur2_random does it as Java clients do, so that events of one document meet in one partition."`
	ClientID         string                 `yaml:"client_id" rule:"name,min=1" doc:"Name of this client in the brokers' logs, metrics and quotas."`
	Linger           time.Duration          `yaml:"linger" rule:"min=0s,max=15m" doc:"How long an event waits for others to share a request with it."`
	MaxMessageBytes  int                    `yaml:"max_message_bytes" rule:"min=1000,max=1000000000" doc:"Largest event in bytes; a larger one is a document error. The topics' max.message.bytes must allow it."`
	Queue            Queue                  `yaml:"queue" doc:"Bounds of the queue of events that wait for their acknowledgement; a full queue slows the run down."`
	DeliveryTimeout  time.Duration          `yaml:"delivery_timeout" rule:"min=1s,max=24h" doc:"How long an event is retried before the run stops with it unsent."`
	Delivery         string                 `yaml:"delivery" rule:"oneof=at_least_once exactly_once" doc:"at_least_once, where an event may come twice after a failure; or exactly_once, in transactions, where consumers with isolation.level=read_committed see each event once and others may see what was aborted."`
	Transactions     Transactions           `yaml:"transactions" doc:"The transactions of delivery: exactly_once."`
	ConnectTimeout   time.Duration          `yaml:"connect_timeout" rule:"min=100ms,max=10m" doc:"How long to wait for the brokers at start, and for each answer about topics."`
	Security         Security               `yaml:"security" doc:"Encryption and authentication."`
	Properties       map[string]spec.Secret `yaml:"properties" doc:"Further librdkafka properties, passed on as they are; their values are treated as secrets."`
}

// Queue bounds the memory of events in flight, over all writers.
type Queue struct {
	MaxBytes    int `yaml:"max_bytes" rule:"min=0,max=2199023254528" doc:"Bytes of events that may wait; 0 is automatic: a quarter of run.memory, or one event of max_message_bytes where that is more."`
	MaxMessages int `yaml:"max_messages" rule:"min=1,max=2147483647" doc:"Number of events that may wait."`
}

// CreateTopics says what a topic that Prepare creates looks like. Zero leaves the number to the broker.
type CreateTopics struct {
	Partitions        int                    `yaml:"partitions" rule:"min=0,max=100000" doc:"Partitions of a created topic; 0 means the broker's default."`
	ReplicationFactor int                    `yaml:"replication_factor" rule:"min=0,max=100" doc:"Replicas of a created topic; 0 means the broker's default."`
	Config            map[string]spec.Secret `yaml:"config" doc:"Settings of a created topic, such as cleanup.policy or max.message.bytes."`
}

// Transactions says in whose name transactions are made, and where a run's progress is kept with its events.
type Transactions struct {
	ID         string        `yaml:"id" rule:"name" doc:"The transactional.id: the same in every run of this job, and no other job's. A run that begins shuts out an older one of the same id."`
	StateTopic string        `yaml:"state_topic" rule:"name,min=1" doc:"Topic of the progress that is committed together with events; topic_prefix goes before it. It is compacted, and created where it does not exist."`
	Timeout    time.Duration `yaml:"timeout" rule:"min=1s,max=24h" doc:"How long a transaction may stay open before the brokers abort it, at most their transaction.max.timeout.ms. A run that takes over from one that was killed waits as long."`
}

type (
	// Security says how to reach the brokers, and so do its parts.
	Security = kafkaconn.Security
	// TLS is a part of Security.
	TLS = kafkaconn.TLS
	// SASL is a part of Security.
	SASL = kafkaconn.SASL
	// OAuth is a part of SASL.
	OAuth = kafkaconn.OAuth
)

// section is the path of the sink's settings.
const section = "sink.kafka"

func defaults() Config {
	return Config{
		BootstrapServers: "localhost:9092",
		Topic:            "{database}.{collection}",
		Event:            codec.Defaults(),
		Compression:      "lz4",
		Partitioner:      "murmur2_random",
		ClientID:         "syncd",
		Linger:           2 * time.Millisecond, // librdkafka's 5 ms leave it idle: a write waits for all its events
		MaxMessageBytes:  1_000_000,            // librdkafka's message.max.bytes; brokers accept 1,048,588 by default
		Queue:            Queue{MaxMessages: 100_000},
		DeliveryTimeout:  2 * time.Minute,
		Delivery:         atLeastOnce,
		Transactions:     Transactions{StateTopic: "syncd-state", Timeout: time.Minute}, // librdkafka's transaction.timeout.ms
		ConnectTimeout:   10 * time.Second,
	}
}

// CheckConfig implements spec.SelfChecker.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	kafkaconn.CheckServers(d, n.Get("bootstrap_servers"), c.BootstrapServers, c.Security.Protocol())
	c.checkTopic(d, n)
	if c.Queue.MaxBytes > 0 && c.Queue.MaxBytes < c.MaxMessageBytes {
		// An event that is larger than the whole queue would wait for room for ever.
		kafkaconn.Bad(d, n, "the queue must hold at least one event: raise max_bytes or lower max_message_bytes",
			[]string{"queue", "max_bytes"}, "is %d, less than max_message_bytes, %d", c.Queue.MaxBytes, c.MaxMessageBytes)
	}
	if c.CreateTopics != nil {
		limit, err := strconv.Atoi(c.CreateTopics.Config["max.message.bytes"].Reveal())
		if err == nil && limit < c.MaxMessageBytes {
			kafkaconn.Report(d, spec.Warning, n, "raise it, or lower max_message_bytes", []string{"create_topics", "config", "max.message.bytes"},
				"is %d, less than max_message_bytes, %d: events between the two are refused by the topics", limit, c.MaxMessageBytes)
		}
	}
	if c.DeliveryTimeout <= c.Linger {
		kafkaconn.Bad(d, n, "", []string{"delivery_timeout"}, "is %s, not more than linger, %s", c.DeliveryTimeout, c.Linger)
	}
	for _, alone := range []string{allHeaders, noHeaders} {
		if len(c.Headers) > 1 && slices.Contains(c.Headers, alone) {
			kafkaconn.Bad(d, n, "leave it out, or the others", []string{"headers"}, "names headers beside %s", alone)
			break
		}
	}
	c.checkTransactions(d, n)
	c.checkProperties(d, n)
	c.Security.Check(d, n, section, c.Properties)
}

// unboundQueue is what may wait where neither queue.max_bytes nor a host says how much.
const unboundQueue = 64 << 20

// queueBytes is how many bytes may wait, where a host lets this sink keep so many; 0 is no bound.
func (c *Config) queueBytes(memory int64) int {
	if c.Queue.MaxBytes > 0 {
		return c.Queue.MaxBytes
	}
	if memory <= 0 {
		memory = unboundQueue
	}
	return max(int(memory), c.MaxMessageBytes)
}

// MemorySetting implements syncd.MemorySetter.
func (c *Config) MemorySetting() (path []string, bytes int64) {
	return []string{"queue", "max_bytes"}, int64(c.Queue.MaxBytes)
}

// What stands for all headers, and for none.
const (
	allHeaders = "all"
	noHeaders  = "none"
)

// omitted are the headers that events, and those that dead letters are not to have.
func (c *Config) omitted() (events, letters codec.Omission) {
	switch {
	case len(c.Headers) == 0: // a dead letter is for people
		return codec.Only(codec.ConsumerHeaders()), 0
	case c.Headers[0] == allHeaders:
		return 0, 0
	}
	named := codec.Only(c.Headers)
	return named, named
}

func (c *Config) checkTopic(d *spec.Decoder, n *spec.Node) {
	if _, at, err := parseTemplate(c.Topic); err != nil {
		d.In("topic", func() {
			diag := spec.Diagnostic{Severity: spec.Error, Code: spec.CodeBadValue, Message: fmt.Sprintf("%s %v", d.Path(), err)}
			if tn := n.Get("topic"); tn != nil {
				diag.Pos = tn.At(at)
			}
			if unknown, ok := errors.AsType[unknownPlaceholderError](err); ok {
				diag.Hint = spec.DidYouMean(unknown.name, placeholders)
			}
			d.Add(diag)
		})
	}
	if c.TopicPrefix != "" && (illegalAt(c.TopicPrefix) >= 0 || len(c.TopicPrefix) > maxTopicLength) {
		kafkaconn.Bad(d, n, topicRule, []string{"topic_prefix"}, "can't begin a topic name")
	}
}

// The kinds of delivery.
const (
	atLeastOnce = "at_least_once"
	exactlyOnce = "exactly_once"
)

func (c *Config) exactlyOnce() bool { return c.Delivery == exactlyOnce }

// Transactional implements syncd.Transactor.
func (c *Config) Transactional() bool { return c.exactlyOnce() }

func (c *Config) checkTransactions(d *spec.Decoder, n *spec.Node) {
	if !c.exactlyOnce() {
		if c.Transactions.ID != "" {
			kafkaconn.Report(d, spec.Warning, n, "set delivery: exactly_once", []string{"transactions", "id"}, "is set, but delivery is %s", c.Delivery)
		}
		return
	}
	if c.Transactions.ID == "" {
		kafkaconn.Bad(d, n, "set it to a name that every run of this job has and no other job", []string{"transactions", "id"}, "is missing, which delivery: exactly_once needs")
	}
	if err := checkTopicName(c.stateTopic()); err != nil {
		kafkaconn.Bad(d, n, topicRule, []string{"transactions", "state_topic"}, "can't name a topic")
	}
	if c.Transactions.Timeout > c.DeliveryTimeout {
		kafkaconn.Bad(d, n, "lower it, or raise delivery_timeout", []string{"transactions", "timeout"},
			"is %s, more than delivery_timeout, %s: a transaction would outlast the run's patience", c.Transactions.Timeout, c.DeliveryTimeout)
	}
	if c.Transactions.Timeout <= c.Linger {
		kafkaconn.Bad(d, n, "", []string{"transactions", "timeout"}, "is %s, not more than linger, %s", c.Transactions.Timeout, c.Linger)
	}
}

// managed maps librdkafka properties to the setting that rules them here. Two sources of one value would contradict each
// other silently, since librdkafka takes the last it is given.
var managed = kafkaconn.Managed(map[string]string{
	"compression.type":             "compression",
	"compression.codec":            "compression",
	"partitioner":                  "partitioner",
	"linger.ms":                    "linger",
	"queue.buffering.max.ms":       "linger",
	"message.max.bytes":            "max_message_bytes",
	"queue.buffering.max.kbytes":   "queue.max_bytes",
	"queue.buffering.max.messages": "queue.max_messages",
	"message.timeout.ms":           "delivery_timeout",
	"delivery.timeout.ms":          "delivery_timeout",
	"allow.auto.create.topics":     "create_topics",
	"transactional.id":             "transactions.id and delivery",
	"transaction.timeout.ms":       "transactions.timeout",
})

// fixed maps librdkafka properties to why no configuration may set them.
var fixed = map[string]string{
	"enable.idempotence":         "is always true here, so that retries can't duplicate or reorder events",
	"acks":                       "is always all here: an event counts as sent when every in-sync replica has it",
	"request.required.acks":      "is always all here: an event counts as sent when every in-sync replica has it",
	"delivery.report.only.error": "can't be used: every event's acknowledgement is awaited",
	"log.queue":                  "can't be used: librdkafka's log goes to the run's own",
}

func (c *Config) checkProperties(d *spec.Decoder, n *spec.Node) {
	for _, key := range slices.Sorted(maps.Keys(c.Properties)) {
		path := []string{"properties", key}
		if field, ok := managed[key]; ok {
			kafkaconn.Bad(d, n, "set sink.kafka."+field+" instead", path, "is ruled by another setting")
		}
		if why, ok := fixed[key]; ok {
			kafkaconn.Bad(d, n, "remove it", path, "%s", why)
		}
		if foreign(key) {
			kafkaconn.Bad(d, n, "use the property's own name, as in librdkafka's CONFIGURATION.md", path, "is not a librdkafka property")
		}
		c.checkProperty(d, n, key)
	}
	c.tryProperties(d, n)
}

// foreign reports whether a property is the Go client's own.
func foreign(key string) bool {
	return strings.HasPrefix(key, "go.") || strings.HasPrefix(key, "{topic}.") || key == "default.topic.config"
}

// CheckTarget implements syncd.TargetChecker: a target needs a topic with a legal name. Problems of the shared template and
// prefix are CheckConfig's.
func (c *Config) CheckTarget(t syncd.Target) error {
	r, err := newRouter(*c)
	if err != nil {
		return nil //nolint:nilerr // reported at the template
	}
	return r.route(t).err
}

// Route implements syncd.Router: the topic of a target's events.
func (c *Config) Route(t syncd.Target) string {
	r, err := newRouter(*c)
	if err != nil {
		return ""
	}
	return r.route(t).name
}

// FoldPlace implements syncd.PlaceFolder.
func (c *Config) FoldPlace(topic string) (folded, trouble string) {
	return strings.ReplaceAll(topic, ".", "_"), "differ in . and _ only: Kafka's metrics can't tell them apart, and brokers refuse to create the second"
}

// OwnPlaces implements syncd.PlaceFolder.
func (c *Config) OwnPlaces() []string {
	if c.exactlyOnce() {
		return []string{c.stateTopic()}
	}
	return nil
}

// Preview implements syncd.Previewer. What librdkafka would refuse as too large is known here; what a topic refuses that accepts less
// than max_message_bytes is not.
func (c *Config) Preview(change *syncd.Change) (key, value []byte, err error) {
	b := codec.Batch{}
	b.Omit, b.OmitLetters = c.omitted()
	const runID = "00000000-0000-0000-0000-000000000000" // as long as any
	b.Encode(c.Event.Encoder(), runID, []syncd.Change{*change})
	if len(b.Events) == 0 {
		refused, _ := errors.AsType[*syncd.BatchError](b.Refused())
		return nil, nil, refused.Of(0)
	}
	e := &b.Events[0]
	if sizeOf(e) > c.MaxMessageBytes {
		err = c.tooLarge(e)
	}
	return e.Key, e.Value, err
}

// tooLarge is the error of an event that librdkafka does not take.
func (c *Config) tooLarge(e *codec.Event) error {
	return fmt.Errorf("the event, %d bytes with its headers, does not fit into max_message_bytes, %d: %w", sizeOf(e), c.MaxMessageBytes, syncd.ErrTooLarge)
}

// sizeOf is what librdkafka counts for an event, in bytes.
func sizeOf(e *codec.Event) int {
	return len(e.Key) + len(e.Value) + headersSize(e.Headers) + recordOverhead
}

// recordOverhead is what librdkafka counts for a record beside key, value and headers (RD_KAFKAP_MESSAGE_V2_MAX_OVERHEAD).
const recordOverhead = 36

// headersSize is what librdkafka counts for headers: their names and values, each with its length as a signed varint.
func headersSize(headers []codec.Header) (n int) {
	for _, h := range headers {
		n += varintSize(len(h.Name)) + len(h.Name) + varintSize(len(h.Value)) + len(h.Value)
	}
	return n
}

func varintSize(n int) int { return len(binary.AppendVarint(nil, int64(n))) }
