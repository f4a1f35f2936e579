package kafka

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/spec"
)

// decode reads YAML as the program does, as far as these tests need.
func decode(t *testing.T, text string) (Config, spec.Diagnostics) {
	t.Helper()
	c := defaults()
	return c, spec.Decode(parse(t, text), &c, "sink", "kafka")
}

func parse(t *testing.T, text string) *spec.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return node(doc.Content[0])
}

func node(y *yaml.Node) *spec.Node {
	n := &spec.Node{Pos: spec.Pos{Source: "f", Line: y.Line, Column: y.Column}, Text: y.Value, Quoted: y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0}
	n.Type = map[string]spec.ScalarType{"!!null": spec.Null, "!!bool": spec.Bool, "!!int": spec.Int, "!!float": spec.Float}[y.Tag]
	switch y.Kind {
	case yaml.MappingNode:
		n.Kind = spec.Map
		for i := 0; i < len(y.Content); i += 2 {
			v := node(y.Content[i+1])
			v.Key = spec.Pos{Source: "f", Line: y.Content[i].Line, Column: y.Content[i].Column}
			n.Entries = append(n.Entries, spec.Entry{Name: y.Content[i].Value, Value: v})
		}
	case yaml.SequenceNode:
		n.Kind = spec.List
		for _, item := range y.Content {
			n.Items = append(n.Items, node(item))
		}
	}
	return n
}

func TestConfig(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{ // want: part of the only diagnostic; empty means none
		{"defaults", ``, ``},
		{"no headers", `headers: none`, ``},
		{"all headers", `headers: all`, ``},
		{"an empty list of headers", `headers: []`, ``},
		{"one header", `headers: syncd-reason`, ``},
		{"some headers", `headers: [syncd-point-id, syncd-run-id]`, ``},
		{"headers beside none", `headers: [none, syncd-reason]`, `f:1:10: error: sink.kafka.headers names headers beside none`},
		{"headers beside all", `headers: [syncd-reason, all]`, `f:1:10: error: sink.kafka.headers names headers beside all`},
		{"all and none", `headers: [none, all]`, `f:1:10: error: sink.kafka.headers names headers beside all`},
		{"an unknown header", `headers: [syncd-raeson]`, `must be one of: all, none, syncd-point-id, syncd-content-type`},
		{"a header that is not the user's to choose", `headers: [syncd-document]`, `must be one of: all, none`},
		{"several brokers", `bootstrap_servers: "a:9092, b:9093,PLAINTEXT://c:1,[::1]:9092,d"`, ``},
		{"names of all kinds", `bootstrap_servers: "kafka-0.kafka_headless.svc:9092,10.0.0.1:1,[fe80::1%eth0]:9092,plaintext://a"`, ``},
		{"the protocol of security", "bootstrap_servers: 'SASL_SSL://c:1'\nsecurity:\n  tls: {enabled: true}\n  sasl: {mechanism: PLAIN, username: u, password: p}", ``},
		{"another protocol", `bootstrap_servers: "SASL_SSL://c:1"`, `f:1:20: error: sink.kafka.bootstrap_servers has "SASL_SSL://c:1", of which librdkafka does not take the SASL_SSL://; list host:port`},
		{"a scheme", `bootstrap_servers: "kafka://a:9092"`, `does not take the kafka://`},
		{"tcp", `bootstrap_servers: "tcp://a:9092"`, `does not take the tcp://`},
		{"no scheme", `bootstrap_servers: "://a:9092"`, `does not take the ://`},
		{"semicolons", `bootstrap_servers: "a:9092;b:9092"`, `has "a:9092;b:9092", which is not host:port`},
		{"blanks", `bootstrap_servers: "a:9092 b:9092"`, `has "a:9092 b:9092", which is not host:port`},
		{"pipes", `bootstrap_servers: "a:9092|b:9092"`, `which is not host:port`},
		{"an address of IPv6 without brackets", `bootstrap_servers: "::1:9092"`, `which is not host:port`},
		{"a user", `bootstrap_servers: "u:p@a:9092"`, `which is not host:port`},
		{"a zero-width character", "bootstrap_servers: \"a\\u200b:9092\"", `which is not host:port`},
		{"no port", `bootstrap_servers: "a:"`, ``},
		{"bad port", `bootstrap_servers: "a:99999"`, `f:1:20: error: sink.kafka.bootstrap_servers has "a:99999"`},
		{"empty broker", `bootstrap_servers: "a,,b"`, `which is not host:port`},
		{"a path", `bootstrap_servers: "plaintext://a:1/x"`, `which is not host:port`},
		{"unknown placeholder", `topic: "x.{colection}"`, `f:1:11: error: sink.kafka.topic has an unknown placeholder {colection}; did you mean "collection"?`},
		{"illegal letter", `topic: "x y"`, `f:1:10: error: sink.kafka.topic has " "`},
		{"open brace", `topic: "{database"`, `has a { without its }`},
		{"empty topic", `topic: ""`, `sink.kafka.topic must not be empty`},
		{"prefix", `topic_prefix: a/b`, `f:1:15: error: sink.kafka.topic_prefix can't begin a topic name`},
		{"compression", `compression: brotli`, `must be one of: none, gzip, snappy, lz4, zstd`},
		{"linger", `linger: 20m`, `sink.kafka.linger must be at most 15m`},
		{"topic limit", "create_topics: {config: {max.message.bytes: 1000}}", `f:1:45: warning: sink.kafka.create_topics.config.max.message.bytes is 1000, less than max_message_bytes, 1000000`},
		{"queue", "queue:\n  max_bytes: 2000", `f:2:14: error: sink.kafka.queue.max_bytes is 2000, less than max_message_bytes, 1000000`},
		{"queue, the other way", "max_message_bytes: 100000000\nqueue: {max_bytes: 67108864}", `sink.kafka.queue.max_bytes is 67108864, less than`},
		{"a queue that is not set holds the largest event", `max_message_bytes: 100000000`, ``},
		{"delivery", "linger: 2s\ndelivery_timeout: 1s", `f:2:19: error: sink.kafka.delivery_timeout is 1s, not more than linger, 2s`},
		{"properties", "properties:\n  socket.keepalive.enable: true\n  statistics.interval.ms: 1000", ``},
		{"of Java", "properties:\n  max.request.size: 5000000", `f:2:21: error: sink.kafka.properties.max.request.size is a property of Kafka's Java client, which librdkafka does not have; set sink.kafka.max_message_bytes`},
		{"of Java, with another name here", "properties:\n  send.buffer.bytes: 100000", `set socket.send.buffer.bytes`},
		{"of Java, JAAS", "properties: {sasl.jaas.config: 'username=\"x\" password=\"12345\";'}", `set sink.kafka.security.sasl: username and password`},
		{"of Java, serializer", "properties: {value.serializer: x}", `remove it: sink.kafka.event says`},
		{"of Java, trust store", "properties: {ssl.truststore.location: /x}", `set sink.kafka.security.tls.ca_file`},
		{"of nobody", "properties: {foo.bar: 1}", `sink.kafka.properties.foo.bar is not a property of librdkafka`},
		{"misspelt", "properties: {socket.keepalive.enabled: true}", `did you mean "socket.keepalive.enable"?`},
		{"in upper case", "properties: {Socket.Keepalive.Enable: true}", `did you mean "socket.keepalive.enable"?`},
		{"a value of another kind", "properties: {socket.timeout.ms: soon}", `sink.kafka.properties.socket.timeout.ms is refused by librdkafka: `},
		{"a value out of range", "properties: {socket.timeout.ms: 1}", `sink.kafka.properties.socket.timeout.ms is refused by librdkafka: `},
		{"a word of no use", "properties: {debug: foo}", `sink.kafka.properties.debug is refused by librdkafka: `},
		{"no retries", "properties: {retries: 0}", `sink.kafka.properties.retries is refused by librdkafka: `},
		{"too many in flight", "properties: {max.in.flight: 100}", `sink.kafka.properties.max.in.flight is refused by librdkafka: `},
		{"too many in flight, by its long name", "properties: {max.in.flight.requests.per.connection: 6}", `is refused by librdkafka: `},
		{"gaps", "properties: {queuing.strategy: lifo}", `sink.kafka.properties.queuing.strategy is refused by librdkafka: `},
		{"one against the other", "properties: {reconnect.backoff.ms: 5000, reconnect.backoff.max.ms: 1000}", `sink.kafka.properties are refused by librdkafka: `},
		{"a secret that is refused", "properties: {sasl.oauthbearer.client.secret: 12345, sasl.oauthbearer.method: 12345}", `sink.kafka.properties.sasl.oauthbearer.method is refused`},
		{"level of the log", "properties: {log_level: 9}", `sink.kafka.properties.log_level has a value that librdkafka`},
		{"level of the log, good", "properties: {log_level: 3}", ``},
		{"debugging", "properties: {debug: 'broker,topic'}", ``},
		{"good ones", "properties: {max.in.flight: 5, retries: 3, batch.size: 100000, request.timeout.ms: 5000, client.rack: eu-1, topic.metadata.refresh.interval.ms: -1}", ``},
		{"a file that is not here", "security: {tls: {enabled: true}}\nproperties: {ssl.crl.location: /no/such/file}", ``},
		{"ciphers", "security: {tls: {enabled: true}}\nproperties: {ssl.cipher.suites: NO-SUCH}", `sink.kafka.properties.ssl.cipher.suites is refused by librdkafka: `},
		{"good ciphers", "security: {tls: {enabled: true}}\nproperties: {ssl.cipher.suites: ECDHE-RSA-AES256-GCM-SHA384}", ``},
		{"idempotence", "properties:\n  enable.idempotence: false", `f:2:23: error: sink.kafka.properties.enable.idempotence is always true here`},
		{"acks", "properties:\n  acks: 1", `f:2:9: error: sink.kafka.properties.acks is always all here`},
		{"managed", "properties:\n  linger.ms: 1", `sink.kafka.properties.linger.ms is ruled by another setting; set sink.kafka.linger instead`},
		{"of the Go client", "properties:\n  go.batch.producer: true", `is not a librdkafka property`},
		{"created topics", "create_topics:\n  partitions: 6\n  config:\n    retention.ms: 5", ``},
		{"created topics, all defaults", "create_topics: {}", ``},
		{"negative partitions", "create_topics:\n  partitions: -1", `must be at least 0`},
		{"tls", "security:\n  tls: {enabled: true, ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, key_password: x}", ``},
		{"tls not enabled", "security:\n  tls: {ca_file: ca.pem}", `sink.kafka.security.tls.ca_file is set, but TLS is not enabled`},
		{"no key", "security:\n  tls: {enabled: true, cert_file: c.pem}", `tls.cert_file needs its private key`},
		{"no certificate", "security:\n  tls: {enabled: true, key_file: k.pem}", `tls.key_file needs its certificate`},
		{"plain", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: PLAIN, username: u, password: 12345}", ``},
		{"plain in the clear", "security:\n  sasl: {mechanism: PLAIN, username: u, password: p}", `warning: sink.kafka.security.sasl.mechanism is PLAIN without TLS`},
		{"scram", "security:\n  sasl: {mechanism: SCRAM-SHA-512, username: u, password: p}", ``},
		{"no password", "security:\n  sasl: {mechanism: SCRAM-SHA-512, username: u}", `f:2:9: error: sink.kafka.security.sasl has mechanism SCRAM-SHA-512, which needs credentials`},
		{"no mechanism", "security:\n  sasl: {username: u, password: p}", `has credentials, but no mechanism`},
		{"unknown mechanism", "security:\n  sasl: {mechanism: GSSAPI}", `must be one of: PLAIN,`},
		{"no token source", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER}", `needs to know where tokens come from`},
		{"oidc by properties", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER}\nproperties:\n  sasl.oauthbearer.method: oidc", ``},
		{"tokens in the clear", "security:\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a/t', client_id: a, client_secret: 12345}}", `warning: sink.kafka.security.sasl.mechanism is OAUTHBEARER without TLS: the token`},
		{"oauth", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a/t', client_id: a, client_secret: 12345, scope: s, extensions: {logicalCluster: lkc-1}}}", ``},
		{"oauth of another mechanism", "security:\n  sasl: {oauth: {scope: x}}", `sink.kafka.security.sasl.oauth is set, but the mechanism is not OAUTHBEARER`},
		{"no client secret", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a/t', client_id: a}}", `sasl.oauth.client_secret is missing`},
		{"no URL", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: a/t, client_id: a, client_secret: x}}", `f:3:53: error: sink.kafka.security.sasl.oauth.token_url is not a URL`},
		{"credentials in the URL", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a:p@b/t', client_id: a, client_secret: x}}", `token_url must not hold credentials`},
		{"token URL in the clear", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'http://a/t', client_id: a, client_secret: x}}", `warning: sink.kafka.security.sasl.oauth.token_url is http`},
		{"extension", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a/t', client_id: a, client_secret: x, extensions: {auth: x}}}", `sasl.oauth.extensions.auth can't be a SASL extension`},
		{"oauth twice", "security:\n  tls: {enabled: true}\n  sasl: {mechanism: OAUTHBEARER, oauth: {token_url: 'https://a/t', client_id: a, client_secret: x}}\nproperties: {sasl.oauthbearer.scope: y}", `properties.sasl.oauthbearer.scope is ruled by another setting; set sink.kafka.security.sasl.oauth.scope instead`},
		{"exactly once", "delivery: exactly_once\ntransactions: {id: syncd-pms}", ``},
		{"exactly once, no id", "delivery: exactly_once", `sink.kafka.transactions.id is missing, which delivery: exactly_once needs`},
		{"id, but at least once", "transactions: {id: syncd-pms}", `f:1:20: warning: sink.kafka.transactions.id is set, but delivery is at_least_once`},
		{"state topic", "delivery: exactly_once\ntransactions: {id: x, state_topic: 'a b'}", `f:2:36: error: sink.kafka.transactions.state_topic can't name a topic`},
		{"transactions too long", "delivery: exactly_once\ntransactions: {id: x}\ndelivery_timeout: 30s", `sink.kafka.transactions.timeout is 1m0s, more than delivery_timeout, 30s`},
		{"transactions shorter than linger", "delivery: exactly_once\ntransactions: {id: x, timeout: 2s}\nlinger: 3s", `sink.kafka.transactions.timeout is 2s, not more than linger, 3s`},
		{"events", "event: {profile: mongo_kafka, json: extended, delete_format: tombstone}", ``},
		{"events of another profile", "event: {json: extended}", `f:1:15: warning: sink.kafka.event.json has no effect with the profile plain`},
		{"unknown form of deletes", "event: {delete_format: null-value}", `sink.kafka.event.delete_format must be one of: event, tombstone`},
		{"transactional id as a property", "properties:\n  transactional.id: x", `set sink.kafka.transactions.id and delivery instead`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config, diags := decode(t, c.text)
			got := fmt.Sprint(diags)
			switch {
			case c.want == "" && len(diags) > 0, c.want != "" && (len(diags) != 1 || !strings.Contains(got, c.want)):
				t.Errorf("diagnostics %s, want %q", got, c.want)
			case strings.Contains(fmt.Sprintf("%+v", config), "12345"):
				t.Error("the configuration shows a secret")
			}
		})
	}
}

// TestLibrdkafkaAcceptsDefaults guards against names and values that librdkafka does not know.
func TestLibrdkafkaAcceptsDefaults(t *testing.T) {
	for _, change := range []func(*Config){
		func(*Config) {},
		func(c *Config) {
			c.Queue.MaxBytes, c.Queue.MaxMessages, c.MaxMessageBytes = 2199023254528, 2147483647, 1_000_000_000
		},
		func(c *Config) { c.Security.TLS = TLS{Enabled: true, InsecureSkipVerify: true} },
		func(c *Config) { c.Delivery, c.Transactions.ID = exactlyOnce, "x" },
		func(c *Config) {
			c.Security.SASL = SASL{Mechanism: "OAUTHBEARER", OAuth: OAuth{
				TokenURL: "https://localhost:1/t", ClientID: "a", ClientSecret: "b", Scope: "s", Extensions: map[string]string{"a": "b", "c": "d"},
			}}
		},
		func(c *Config) { c.Security.SASL = SASL{Mechanism: "SCRAM-SHA-512", Username: "u", Password: "p"} },
	} {
		c := defaults()
		c.BootstrapServers = "127.0.0.1:1"
		change(&c)
		s := &Sink{config: c, logger: slog.New(slog.DiscardHandler), replacer: c.Security.Scrubber(c.Properties)}
		client, err := s.newClient(c.librdkafka())
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		client.close(0)
	}
}

// TestPropertiesOfBothClients holds the lists to librdkafka: it knows those that are proposed, and refuses those of Java.
func TestPropertiesOfBothClients(t *testing.T) {
	try := func(name string) string {
		c := defaults()
		c.Properties = map[string]spec.Secret{name: "no such value"}
		if err := c.try(name); err != nil {
			return err.Error()
		}
		return ""
	}
	for _, name := range properties {
		if name != logLevel && strings.HasPrefix(try(name), unknownProperty) {
			t.Errorf("%s is not known to librdkafka", name)
		}
	}
	for name := range ofJava {
		if text := try(name); text == "" || strings.HasPrefix(text, "Invalid value") {
			t.Errorf("%s is known to librdkafka: %s", name, text)
		}
	}
}

func TestQueueBytes(t *testing.T) {
	for name, c := range map[string]struct {
		set     int
		message int
		memory  int64
		want    int
	}{
		"by the host":                 {0, 1_000_000, 8 << 20, 8 << 20},
		"no host says":                {0, 1_000_000, 0, unboundQueue},
		"set":                         {5 << 20, 1_000_000, 8 << 20, 5 << 20},
		"set to more":                 {50 << 20, 1_000_000, 8 << 20, 50 << 20},
		"the largest event must pass": {0, 30_000_000, 8 << 20, 30_000_000},
	} {
		config := defaults()
		config.Queue.MaxBytes, config.MaxMessageBytes = c.set, c.message
		if got := config.queueBytes(c.memory); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestPropertiesOfTheUserGoFirst: what is set here where librdkafka's default is not wanted gives way to sink.kafka.properties.
func TestPropertiesOfTheUserGoFirst(t *testing.T) {
	const first, longest, push = "reconnect.backoff.ms", "reconnect.backoff.max.ms", "enable.metrics.push"
	for name, c := range map[string]struct {
		set  map[string]spec.Secret
		want map[string]any // nil is librdkafka's default
	}{
		"nothing is set": {nil, map[string]any{first: 20, longest: 1000, push: false}},
		// librdkafka refuses a longest pause that is less than the first.
		"the longest pause": {map[string]spec.Secret{longest: "10"}, map[string]any{first: nil, longest: "10", push: false}},
		"the first pause":   {map[string]spec.Secret{first: "5000"}, map[string]any{first: "5000", longest: nil, push: false}},
		"metrics":           {map[string]spec.Secret{push: "true"}, map[string]any{first: 20, longest: 1000, push: "true"}},
	} {
		config := defaults()
		config.Properties = c.set
		got := config.librdkafka()
		for property, want := range c.want {
			if got[property] != want {
				t.Errorf("%s: %s is %v, want %v", name, property, got[property], want)
			}
		}
	}
}
