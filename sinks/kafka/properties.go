package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/spec"
)

// ofJava maps properties of the Java client that librdkafka does not have to what is set in their place.
var ofJava = map[string]string{ //nolint:gosec // these are names and what to do
	"buffer.memory":                            "set sink.kafka.queue.max_bytes",
	"compression.gzip.level":                   "set compression.level",
	"compression.lz4.level":                    "set compression.level",
	"compression.zstd.level":                   "set compression.level",
	"interceptor.classes":                      "",
	"key.serializer":                           "remove it: sink.kafka.event says what events look like",
	"max.block.ms":                             "remove it: a full queue slows the run down",
	"max.request.size":                         "set sink.kafka.max_message_bytes",
	"metadata.max.idle.ms":                     "set topic.metadata.refresh.interval.ms",
	"metric.reporters":                         "set statistics.interval.ms",
	"partitioner.adaptive.partitioning.enable": "",
	"partitioner.availability.timeout.ms":      "",
	"partitioner.class":                        "set sink.kafka.partitioner",
	"partitioner.ignore.keys":                  "set sink.kafka.partitioner",
	"receive.buffer.bytes":                     "set socket.receive.buffer.bytes",
	"sasl.client.callback.handler.class":       "set sink.kafka.security.sasl",
	"sasl.jaas.config":                         "set sink.kafka.security.sasl: username and password, or oauth",
	"sasl.login.callback.handler.class":        "set sink.kafka.security.sasl.oauth",
	"sasl.login.class":                         "set sink.kafka.security.sasl",
	"send.buffer.bytes":                        "set socket.send.buffer.bytes",
	"ssl.enabled.protocols":                    "set ssl.cipher.suites",
	"ssl.keystore.certificate.chain":           "set sink.kafka.security.tls.cert_file, or ssl.certificate.pem",
	"ssl.keystore.key":                         "set sink.kafka.security.tls.key_file, or ssl.key.pem",
	"ssl.keystore.type":                        "convert the key store to PKCS#12: librdkafka reads no other",
	"ssl.protocol":                             "set ssl.cipher.suites",
	"ssl.truststore.certificates":              "set sink.kafka.security.tls.ca_file, or ssl.ca.pem",
	"ssl.truststore.location":                  "set sink.kafka.security.tls.ca_file",
	"ssl.truststore.password":                  "set sink.kafka.security.tls.ca_file, which needs no password",
	"ssl.truststore.type":                      "set sink.kafka.security.tls.ca_file",
	"transaction.two.phase.commit.enable":      "",
	"value.serializer":                         "remove it: sink.kafka.event says what events look like",
}

// properties are librdkafka's of producers, but for those that a setting of this sink rules, to be proposed for what is
// misspelt. Which there are decides librdkafka.
var properties = []string{
	"batch.num.messages", "batch.size", "broker.address.family", "broker.address.ttl", "client.dns.lookup", "client.rack",
	"compression.level", "connections.max.idle.ms", "debug", "enable.metrics.push", "enable.random.seed",
	"enable.sasl.oauthbearer.unsecure.jwt", "enable.sparse.connections", "https.ca.location", "https.ca.pem",
	"log.connection.close", "log.thread.name", "log_level", "max.in.flight", "max.in.flight.requests.per.connection",
	"message.copy.max.bytes", "message.send.max.retries", "metadata.max.age.ms", "metadata.recovery.rebootstrap.trigger.ms",
	"metadata.recovery.strategy", "queue.buffering.backpressure.threshold", "queuing.strategy", "receive.message.max.bytes",
	"reconnect.backoff.max.ms", "reconnect.backoff.ms", "request.timeout.ms", "retries", "retry.backoff.max.ms",
	"retry.backoff.ms", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
	"sasl.oauthbearer.extensions", "sasl.oauthbearer.grant.type", "sasl.oauthbearer.method", "sasl.oauthbearer.scope",
	"sasl.oauthbearer.token.endpoint.url", "socket.connection.setup.timeout.ms", "socket.keepalive.enable", "socket.max.fails",
	"socket.nagle.disable", "socket.receive.buffer.bytes", "socket.send.buffer.bytes", "socket.timeout.ms",
	"ssl.ca.pem", "ssl.certificate.pem", "ssl.cipher.suites", "ssl.crl.location", "ssl.curves.list", "ssl.key.pem",
	"ssl.keystore.location", "ssl.keystore.password", "ssl.providers", "ssl.sigalgs.list", "statistics.interval.ms",
	"sticky.partitioning.linger.ms", "topic.metadata.propagation.max.ms", "topic.metadata.refresh.fast.interval.ms",
	"topic.metadata.refresh.interval.ms", "topic.metadata.refresh.sparse",
}

// unknownProperty begins librdkafka's message about a name that it does not know.
const unknownProperty = "No such configuration property"

// judged reports whether a property was refused before librdkafka is asked, or must not be tried: what names a file or a library
// would have it read, which a check of a configuration does not do.
func judged(key string) bool {
	_, ruled := managed[key]
	_, never := fixed[key]
	_, java := ofJava[key]
	return ruled || never || java || foreign(key) || key == logLevel || strings.HasSuffix(key, ".location") || strings.HasSuffix(key, ".file") ||
		key == "plugin.library.paths"
}

// logLevel is a property that is judged here, since trying it would have librdkafka log.
const logLevel = "log_level"

// checkProperty reports a property of the Java client, and a level of the log that does not exist.
func (c *Config) checkProperty(d *spec.Decoder, n *spec.Node, key string) {
	if instead, java := ofJava[key]; java {
		hint := instead
		if hint == "" {
			hint = "remove it: there is nothing like it"
		}
		kafkaconn.Bad(d, n, hint, []string{"properties", key}, "is a property of Kafka's Java client, which librdkafka does not have")
	}
	if key == logLevel {
		if level, err := strconv.Atoi(c.Properties[key].Reveal()); err != nil || level < 0 || level > 7 {
			kafkaconn.Bad(d, n, "write a number from 0 (nothing) to 7 (everything)", []string{"properties", key}, "has a value that librdkafka %s refuses", version())
		}
	}
}

// tryProperties has librdkafka judge the properties. Where it refuses them, they are tried one by one to find out which is meant.
func (c *Config) tryProperties(d *spec.Decoder, n *spec.Node) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(c.Properties)) {
		if !judged(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return
	}
	together := c.try(keys...)
	if together == nil {
		return
	}
	found := false
	for _, key := range keys {
		if err := c.try(key); err != nil {
			found = true
			c.refused(d, n, key, err)
		}
	}
	if !found { // they contradict one another
		kafkaconn.Bad(d, n, "remove one of those that the message names", []string{"properties"}, "are refused by librdkafka: %s", c.Security.Scrubber(c.Properties).Replace(together.Error()))
	}
}

// refused reports a property with librdkafka's reason. Its messages may quote a value, perhaps in part, so of values that may be
// secrets they are not shown.
func (c *Config) refused(d *spec.Decoder, n *spec.Node, key string, err error) {
	path := []string{"properties", key}
	at, _ := n.Nearest(path)
	switch text := err.Error(); {
	case strings.HasPrefix(text, unknownProperty):
		hint := "see librdkafka's CONFIGURATION.md"
		if near := spec.Nearest(key, properties); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		kafkaconn.Bad(d, n, hint, path, "is not a property of librdkafka %s", version())
	case kafkaconn.Sensitive.MatchString(key) || at != nil && at.Rewrote:
		kafkaconn.Bad(d, n, "see librdkafka's CONFIGURATION.md", path, "has a value that librdkafka %s refuses", version())
	default:
		kafkaconn.Bad(d, n, "see librdkafka's CONFIGURATION.md", path, "is refused by librdkafka: %s", text)
	}
}

// noMechanism is a SASL mechanism that librdkafka does not have, so that making a client ends when everything else about its
// configuration was found good, and before it has threads.
const noMechanism = "NONE-THAT-IS"

// try asks librdkafka about some of the properties with all that rules beside them, but for brokers, files and the login. Only
// where properties of TLS must be looked at it takes a whole producer, which has no broker to connect to.
func (c *Config) try(keys ...string) error {
	tried := *c
	tried.Properties = map[string]spec.Secret{}
	for _, key := range keys {
		tried.Properties[key] = c.Properties[key]
	}
	tried.Security = Security{}
	conf := tried.librdkafka()
	delete(conf, "bootstrap.servers")
	conf[logLevel] = 0 // what it logs while it is made goes to the standard error output
	whole := c.Security.TLS.Enabled && slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "ssl.") })
	if whole {
		conf["security.protocol"] = "ssl"
	} else {
		conf["security.protocol"], conf["sasl.mechanisms"] = "sasl_plaintext", noMechanism
	}
	p, err := ck.NewProducer(&conf)
	if err == nil {
		end(p)
		return nil
	}
	if !whole && strings.Contains(err.Error(), noMechanism) {
		return nil
	}
	return err
}
