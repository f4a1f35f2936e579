package kafka

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/spec"
)

// section is the path of the source's settings.
const section = "source.kafka"

// Config declares the source's settings.
type Config struct {
	BootstrapServers string                 `yaml:"bootstrap_servers" env:"KAFKA_BOOTSTRAP_SERVERS" example:"localhost:9092" rule:"min=1" doc:"Brokers to ask first, as host:port, several separated by commas."`
	Topics           []string               `yaml:"topics" rule:"required,min=1,dive,min=1" example:"cdc.shop.page" doc:"Topics to read. One that begins with ^ is a regular expression, of POSIX, for the names of all topics that it matches, those that are created later included."`
	GroupID          string                 `yaml:"group_id" rule:"required,name" example:"search-indexer" doc:"The consumer group, whose offsets say how far the topics were read. Processes that share it share the topics' partitions."`
	Database         string                 `yaml:"database" rule:"required,name" example:"shop" doc:"The database whose events are read, and its name in events, topics and seeds. Events that name another one are left out."`
	Format           codec.Form             `yaml:"format" rule:"oneof=auto plain mongo_kafka debezium document" doc:"The form of the records: syncd's plain events (plain), those of the MongoDB Kafka source connector (mongo_kafka), Debezium's (debezium), or documents without an event around them (document). auto tells them apart, but for document."`
	Collections      map[string]string      `yaml:"collections" doc:"The collections of topics, by topic: where an event does not name its collection, and a topic's name does not end with it."`
	Start            string                 `yaml:"start" rule:"min=1" doc:"Where a group begins that has no offsets yet: earliest, latest, or a time such as 2026-01-31T00:00:00Z. Partitions and topics that are added later are read from their beginning."`
	IsolationLevel   string                 `yaml:"isolation_level" rule:"oneof=read_committed read_uncommitted" doc:"Whether records of transactions are read when they are committed, or at once, those of aborted ones included."`
	ClientID         string                 `yaml:"client_id" rule:"name,min=1" doc:"Name of this client in the brokers' logs, metrics and quotas."`
	SessionTimeout   time.Duration          `yaml:"session_timeout" rule:"min=1s,max=1h" doc:"How long a process may be silent before its partitions are given to others of the group."`
	RebalanceTimeout time.Duration          `yaml:"rebalance_timeout" rule:"min=0s,max=4m" doc:"How long what is under way is waited for before a partition is given away; what is not confirmed by then comes again."`
	ConnectTimeout   time.Duration          `yaml:"connect_timeout" rule:"min=100ms,max=10m" doc:"How long to wait for the brokers at start, and for each answer."`
	Security         kafkaconn.Security     `yaml:"security" doc:"Encryption and authentication."`
	Properties       map[string]spec.Secret `yaml:"properties" doc:"Further librdkafka properties, passed on as they are; their values are treated as secrets."`
}

const (
	startEarliest = "earliest"
	startLatest   = "latest"
)

func defaults() Config {
	return Config{
		BootstrapServers: "localhost:9092",
		Format:           codec.AutoForm,
		Start:            startEarliest,
		IsolationLevel:   "read_committed",
		ClientID:         "syncd",
		SessionTimeout:   45 * time.Second,
		RebalanceTimeout: 10 * time.Second,
		ConnectTimeout:   10 * time.Second,
	}
}

// DatabaseName is the database that events, topics and seeds name.
func (c *Config) DatabaseName() string { return c.Database }

// Location is the brokers to ask first, and the group: another group stands elsewhere.
func (c *Config) Location() string { return c.BootstrapServers + ", group " + c.GroupID }

// FollowedOnly implements syncd.FollowedOnly: a topic has changes, and no documents to look at.
func (c *Config) FollowedOnly() {}

// ReadsPlace implements syncd.PlaceReader.
func (c *Config) ReadsPlace(location, topic string) bool {
	if location != c.BootstrapServers {
		return false
	}
	return slices.ContainsFunc(c.Topics, func(t string) bool { return matches(t, topic) })
}

// isPattern reports whether a topic of the settings is a regular expression, as librdkafka has it.
func isPattern(topic string) bool { return strings.HasPrefix(topic, "^") }

func matches(topic, name string) bool {
	if !isPattern(topic) {
		return topic == name
	}
	re, err := regexp.CompilePOSIX(topic)
	return err == nil && re.MatchString(name)
}

// CheckConfig implements spec.SelfChecker.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	kafkaconn.CheckServers(d, n.Get("bootstrap_servers"), c.BootstrapServers, c.Security.Protocol())
	for _, topic := range c.Topics {
		if isPattern(topic) {
			if _, err := regexp.CompilePOSIX(topic); err != nil {
				kafkaconn.Bad(d, n, "", []string{"topics"}, "has %q, which is no regular expression: %v", topic, err)
			}
		} else if len(topic) > maxTopic || !legalTopic.MatchString(topic) {
			kafkaconn.Bad(d, n, "names have letters, digits, dots, underscores and hyphens; a pattern begins with ^", []string{"topics"}, "has %q, which can't be a topic", topic)
		}
	}
	if _, err := c.startTime(); err != nil {
		kafkaconn.Bad(d, n, "set earliest, latest or a time such as 2026-01-31T00:00:00Z", []string{"start"}, "is %q, which is no place to begin", c.Start)
	}
	for _, topic := range slices.Sorted(maps.Keys(c.Collections)) {
		if len(c.Topics) > 0 && !slices.ContainsFunc(c.Topics, func(t string) bool { return matches(t, topic) }) {
			kafkaconn.Report(d, spec.Warning, n, "add the topic to topics, or remove it here", []string{"collections", topic}, "has no effect: the topic is not read")
		}
	}
	c.checkProperties(d, n)
	c.Security.Check(d, n, section, c.Properties)
}

// legalTopic and maxTopic, in bytes, are Kafka's rules for names.
var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

const maxTopic = 249

// startTime is the time to begin at; zero for the names of places.
func (c *Config) startTime() (time.Time, error) {
	if c.Start == startEarliest || c.Start == startLatest {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, c.Start)
}

// managed maps librdkafka properties to the setting that rules them here.
var managed = kafkaconn.Managed(map[string]string{
	"group.id":           "group_id",
	"auto.offset.reset":  "start",
	"isolation.level":    "isolation_level",
	"session.timeout.ms": "session_timeout",
})

// fixed maps librdkafka properties to why no configuration may set them.
var fixed = map[string]string{
	"enable.auto.commit":            "is always false here: offsets are committed behind what the sink confirmed",
	"enable.auto.offset.store":      "is always false here: offsets are committed behind what the sink confirmed",
	"enable.partition.eof":          "is always true here: it tells that everything was read",
	"partition.assignment.strategy": "is always cooperative-sticky here: a rebalance moves no more partitions than it must",
	"group.protocol":                "is always classic here",
	"allow.auto.create.topics":      "is always false here: reading must not create a topic",
	"log.queue":                     "can't be used: librdkafka's log goes to the run's own",
}

func (c *Config) checkProperties(d *spec.Decoder, n *spec.Node) {
	wrong := false
	for _, key := range slices.Sorted(maps.Keys(c.Properties)) {
		path := []string{"properties", key}
		field, ruled := managed[key]
		why, never := fixed[key]
		switch {
		case ruled:
			kafkaconn.Bad(d, n, "set "+section+"."+field+" instead", path, "is ruled by another setting")
		case never:
			kafkaconn.Bad(d, n, "remove it", path, "%s", why)
		case strings.HasPrefix(key, "go.") || strings.HasPrefix(key, "{topic}.") || key == "default.topic.config":
			kafkaconn.Bad(d, n, "use the property's own name, as in librdkafka's CONFIGURATION.md", path, "is not a librdkafka property")
		default:
			continue
		}
		wrong = true
	}
	if len(c.Properties) == 0 || wrong {
		return
	}
	if err := c.try(); err != nil {
		kafkaconn.Bad(d, n, "see librdkafka's CONFIGURATION.md", []string{"properties"}, "are refused by librdkafka: %s", c.Security.Scrubber(c.Properties).Replace(err.Error()))
	}
}

// noMechanism is a SASL mechanism that librdkafka does not have, so that making a client ends when everything else about its
// configuration was found good, and before it has threads.
const noMechanism = "NONE-THAT-IS"

// try asks librdkafka about the properties, but for those that name files or libraries, which a check does not read.
func (c *Config) try() error {
	tried := *c
	tried.Properties = maps.Clone(c.Properties)
	maps.DeleteFunc(tried.Properties, func(key string, _ spec.Secret) bool {
		return strings.HasSuffix(key, ".location") || strings.HasSuffix(key, ".file") || key == "plugin.library.paths"
	})
	tried.Security = kafkaconn.Security{}
	conf := tried.librdkafka(0)
	delete(conf, "bootstrap.servers")
	conf["log_level"], conf["security.protocol"], conf["sasl.mechanisms"] = 0, "sasl_plaintext", noMechanism
	consumer, err := ck.NewConsumer(&conf)
	if err == nil {
		return consumer.Close()
	}
	if strings.Contains(err.Error(), noMechanism) {
		return nil
	}
	return err
}

// unboundQueue is how many bytes of records may wait in librdkafka where a host does not say how many.
const unboundQueue = 16 << 20

// How long librdkafka waits for brokers that are down, as in the sink; and how soon it learns of new topics where they go by a pattern.
const (
	firstReconnectPause = 20 * time.Millisecond
	reconnectPause      = time.Second
	lookForTopics       = 30 * time.Second
)

// librdkafka gives the configuration in librdkafka's names; memory bounds the records that wait there.
func (c *Config) librdkafka(memory int64) ck.ConfigMap {
	if memory <= 0 {
		memory = unboundQueue
	}
	m := ck.ConfigMap{
		"queued.max.messages.kbytes":         int(max(memory>>10, 1<<10)),
		"fetch.wait.max.ms":                  200,
		"reconnect.backoff.ms":               int(firstReconnectPause / time.Millisecond),
		"reconnect.backoff.max.ms":           int(reconnectPause / time.Millisecond),
		"enable.metrics.push":                false, // to the brokers, which asks them for their wishes at each start
		"topic.metadata.refresh.interval.ms": int(lookForTopics / time.Millisecond),
	}
	for key, value := range c.Properties {
		m[key] = value.Reveal()
	}
	maps.Copy(m, ck.ConfigMap{
		"bootstrap.servers":             c.BootstrapServers,
		"client.id":                     c.ClientID,
		"group.id":                      c.GroupID,
		"isolation.level":               c.IsolationLevel,
		"session.timeout.ms":            int(c.SessionTimeout / time.Millisecond),
		"auto.offset.reset":             "error", // where to go on is never librdkafka's choice
		"enable.auto.commit":            false,
		"enable.auto.offset.store":      false,
		"enable.partition.eof":          true,
		"partition.assignment.strategy": "cooperative-sticky",
		"allow.auto.create.topics":      false,
		"go.logs.channel.enable":        true, // else librdkafka writes to stderr
		"go.logs.channel":               make(chan ck.LogEvent),
	})
	c.Security.Set(m)
	return m
}

var (
	_ syncd.Locator       = (*Config)(nil)
	_ syncd.DatabaseNamer = (*Config)(nil)
	_ syncd.FollowedOnly  = (*Config)(nil)
	_ syncd.PlaceReader   = (*Config)(nil)
)
