// Package kafka runs Apache Kafka itself, from Maven Central: one node, broker and controller in one, with a listener for each
// way to reach a broker. It needs java 17 or newer, and mvn for the first time.
package kafka

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed pom.xml
var pom []byte

//go:embed Main.java
var mainProgram []byte

//go:embed Produce.java
var produceProgram []byte

// User and Password are the only login that the broker's SASL listeners know, for PLAIN and both kinds of SCRAM.
const (
	User     = "app"
	Password = "right"
)

// Listener names a way to reach the broker.
type Listener string

// The listeners. TLS asks for a client's certificate, TLSWithSASL does not.
const (
	Plain       Listener = "PLAINTEXT"
	SASL        Listener = "SASL_PLAINTEXT"
	TLS         Listener = "SSL"
	TLSWithSASL Listener = "SASL_SSL"
	Proxied     Listener = "PROXIED" // its clients are told to connect to Advertised, where a proxy may listen
	controller  Listener = "CONTROLLER"
	advertised  Listener = "ADVERTISED" // nobody listens there
)

// Broker is a broker, running or not. Its methods must not be called at the same time.
type Broker struct {
	Certs Certs // of its TLS listeners

	jars, dir string
	addrs     map[Listener]string
	process   *process.Process
}

// Start fetches Apache Kafka if need be, and starts a broker that keeps its data in an empty folder.
func Start(ctx context.Context, dir string) (*Broker, error) {
	jars, err := process.Maven(ctx, "apache-kafka", pom)
	if err != nil {
		return nil, err
	}
	b := &Broker{jars: jars, dir: dir}
	if b.Certs, err = makeCerts(dir); err != nil {
		return nil, fmt.Errorf("making certificates for Apache Kafka: %w", err)
	}
	if err := os.WriteFile(b.file("Main.java"), mainProgram, 0o600); err != nil {
		return nil, fmt.Errorf("preparing Apache Kafka: %w", err)
	}
	for range 3 { // another program may take a port before the broker does
		if err = b.choosePorts(ctx); err != nil {
			return nil, err
		}
		if err = b.Restart(ctx); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Broker) file(name string) string { return filepath.Join(b.dir, name) }

func (b *Broker) choosePorts(ctx context.Context) error {
	b.addrs = map[Listener]string{}
	taken := map[string]bool{}
	for _, l := range []Listener{Plain, SASL, TLS, TLSWithSASL, Proxied, controller, advertised} {
		for b.addrs[l] == "" {
			addr, err := process.FreeAddr(ctx)
			if err != nil {
				return err
			}
			if !taken[addr] {
				taken[addr], b.addrs[l] = true, addr
			}
		}
	}
	var listeners, told []string
	for l, addr := range b.addrs {
		if l != advertised {
			listeners = append(listeners, string(l)+"://"+addr)
		}
		switch l {
		case controller, advertised:
		case Proxied:
			told = append(told, string(l)+"://"+b.Advertised())
		default:
			told = append(told, string(l)+"://"+addr)
		}
	}
	properties := strings.NewReplacer(
		"{listeners}", strings.Join(listeners, ","), "{advertised}", strings.Join(told, ","),
		"{controller}", b.addrs[controller],
		"{dir}", b.dir,
		"{user}", User, "{password}", Password,
	).Replace(serverProperties)
	if err := os.WriteFile(b.file("server.properties"), []byte(properties), 0o600); err != nil {
		return fmt.Errorf("preparing Apache Kafka: %w", err)
	}
	return nil
}

const serverProperties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={dir}/data

sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={dir}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={dir}/ca.pem
listener.name.ssl.ssl.client.auth=required

# One node, and nothing to wait for: after it was killed, its successor may register when its session has ended.
auto.create.topics.enable=true
num.partitions=2
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=8388608
`

// Restart starts a broker that does not run, with the data and at the addresses that it had.
func (b *Broker) Restart(ctx context.Context) error {
	started, err := process.Start(ctx, process.Config{
		Name: "Apache Kafka", Path: "java",
		Args: []string{
			"-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
			"-cp", filepath.Join(b.jars, "*"), b.file("Main.java"), b.file("server.properties"),
			"SCRAM-SHA-256=[name=" + User + ",password=" + Password + "]", "SCRAM-SHA-512=[name=" + User + ",password=" + Password + "]",
		},
		Ready: b.ready,
	})
	if err == nil {
		b.process = started
	}
	return err
}

// ready asks for the brokers: a node that does not serve yet lists none.
func (b *Broker) ready(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr(Plain)))
	if err != nil {
		return err
	}
	defer client.Close()
	brokers, err := kadm.NewClient(client).ListBrokers(ctx)
	if err == nil && len(brokers) == 0 {
		err = errors.New("no broker has registered")
	}
	return err
}

// Addr is a listener's host:port.
func (b *Broker) Addr(l Listener) string { return b.addrs[l] }

// Advertised is where clients of the listener Proxied are told to connect to.
func (b *Broker) Advertised() string { return b.addrs[advertised] }

// Kill ends the broker without warning.
func (b *Broker) Kill() error { return b.process.Kill() }

// Close ends the broker as an operator would.
func (b *Broker) Close() error { return b.process.Stop() }

// Log is the end of what the broker has printed.
func (b *Broker) Log() string { return b.process.Log() }

// ProduceByJava sends a record for each key with Kafka's own producer, to whatever broker. The record's value is its key.
func ProduceByJava(ctx context.Context, addr, topic string, keys [][]byte) (err error) {
	jars, err := process.Maven(ctx, "apache-kafka", pom)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "syncd-produce-")
	if err != nil {
		return fmt.Errorf("producing with Kafka's own client: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "Produce.java")
	if err := os.WriteFile(file, produceProgram, 0o600); err != nil {
		return fmt.Errorf("producing with Kafka's own client: %w", err)
	}
	var lines bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&lines, "%x\n", k)
	}
	cmd := exec.CommandContext(ctx, "java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*"), file, addr, topic) //nolint:gosec // for tests: they choose the arguments
	cmd.Stdin = &lines
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("producing with Kafka's own client: %w\n%s", err, out)
	}
	return nil
}
