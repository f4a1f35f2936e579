// Package kafkaserver runs a Kafka broker inside the calling process: franz-go's
// kfake, over Kafka's own wire protocol. It is for demos and tests.
//
// Invariants:
//
//   - Start returns a broker that accepts connections. After Close the port is free,
//     every client is cut off, and the records are gone unless Config.Dir keeps them.
//   - The broker listens on a loopback address and nowhere else.
//   - One broker leads every partition, so a replication factor above 1 is refused,
//     as by a real cluster that is too small.
package kafkaserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config says where a broker listens and what it allows. The zero value listens on a
// free port, wants no login and has no topics.
type Config struct {
	// Addr is the host:port to listen on; the host must be a loopback address
	// or "localhost". Empty means 127.0.0.1:0, a free port.
	Addr string

	// Advertise, if set, is the host:port that clients are told to connect to, such as
	// that of a proxy; Addr stays the one that the broker listens on.
	Advertise string

	// Dir, if set, is a folder that keeps the topics and their records: a broker that is
	// started with it later has what the one before it had.
	Dir string

	// Partitions is the number of partitions of a topic whose creator names none.
	// Zero means 3.
	Partitions int

	// AutoCreateTopics makes the broker create a topic when a client that allows it
	// asks for the topic, as auto.create.topics.enable does.
	AutoCreateTopics bool

	// User and Password, if set, are the one login, by any of SASL/PLAIN,
	// SCRAM-SHA-256 and SCRAM-SHA-512; then the broker refuses everyone else.
	User, Password string

	// TLS, if set, makes the broker speak TLS and nothing else. With ClientAuth and
	// ClientCAs it asks clients for certificates.
	TLS *tls.Config

	// Token, if set, makes SASL/OAUTHBEARER the login, with a token that Token accepts,
	// and answers others as Apache Kafka does. It excludes User. The broker does not
	// remember who has logged in: a client that sends no token is served too.
	Token func(token string) bool

	// MaxMessageBytes is the largest record batch the broker takes, as
	// message.max.bytes. Zero means Kafka's default, 1048588.
	MaxMessageBytes int

	// MinSession is the shortest session of a member of a consumer group, as
	// group.min.session.timeout.ms. Zero means Kafka's default, 6 s.
	MinSession time.Duration
}

// Server is a running broker. Its methods may be called from several goroutines.
type Server struct {
	cluster        *kfake.Cluster
	listener       *listener
	user, password string
}

// Start starts a broker.
func Start(cfg Config) (*Server, error) {
	addr := cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("starting an embedded Kafka broker: reading the address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("starting an embedded Kafka broker: %s is not a loopback address", addr)
	}
	if cfg.User != "" && cfg.Token != nil {
		return nil, errors.New("starting an embedded Kafka broker: passwords and tokens exclude one another")
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = 3
	}
	inner, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting an embedded Kafka broker: %w", err)
	}
	l := &listener{Listener: inner, conns: map[*conn]struct{}{}, advertised: inner.Addr()}
	if cfg.Advertise != "" {
		l.advertised = advertised(cfg.Advertise)
	}

	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.ListenFn(func(_, _ string) (net.Listener, error) { return l, nil }),
	}
	if cfg.AutoCreateTopics {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	if cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(cfg.Dir))
	}
	if cfg.User != "" {
		opts = append(opts, kfake.EnableSASL())
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
			opts = append(opts, kfake.Superuser(mechanism, cfg.User, cfg.Password))
		}
	}
	configs := map[string]string{}
	if cfg.MaxMessageBytes > 0 {
		configs["message.max.bytes"] = strconv.Itoa(cfg.MaxMessageBytes)
	}
	if cfg.MinSession > 0 {
		configs["group.min.session.timeout.ms"] = strconv.FormatInt(cfg.MinSession.Milliseconds(), 10)
	}
	if len(configs) > 0 {
		opts = append(opts, kfake.BrokerConfigs(configs))
	}
	if cfg.TLS != nil {
		opts = append(opts, kfake.TLS(cfg.TLS))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting an embedded Kafka broker: %w", err), l.Close())
	}
	if cfg.Token != nil {
		acceptTokens(cluster, cfg.Token)
	}
	return &Server{cluster: cluster, listener: l, user: cfg.User, password: cfg.Password}, nil
}

// Addr returns the host:port to bootstrap from, which is where the broker listens.
func (s *Server) Addr() string { return s.listener.Listener.Addr().String() }

// Cluster returns kfake's view of the broker, by which tests script faults (Fault,
// Control, ControlKey), look at consumer groups and delete topics.
func (s *Server) Cluster() *kfake.Cluster { return s.cluster }

// CreateTopic creates a topic; with no partitions given it has the configured number.
// An existing topic is an error, kerr.TopicAlreadyExists.
func (s *Server) CreateTopic(name string, partitions int) error {
	if partitions < 0 || partitions > 10_000 {
		return fmt.Errorf("creating topic %s: %d partitions", name, partitions)
	}
	if err := s.cluster.CreateTopic(name, int32(partitions), nil); err != nil {
		return fmt.Errorf("creating topic %s: %w", name, err)
	}
	return nil
}

// Consume is the function Consume with the broker's address filled in, and its login
// unless cfg has one.
func (s *Server) Consume(ctx context.Context, cfg ConsumeConfig) ([]Record, Offsets, error) {
	cfg.Addr = s.Addr()
	if cfg.User == "" {
		cfg.User, cfg.Password = s.user, s.password
	}
	return Consume(ctx, cfg)
}

// Close stops the broker and cuts off its clients. It may be called again.
func (s *Server) Close() error {
	s.cluster.Close()
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stopping the embedded Kafka broker: %w", err)
	}
	return nil
}

// listener closes its connections with itself. kfake closes them only when it
// next wants to write to them, so a client would believe in a broker that is gone.
type listener struct {
	net.Listener
	advertised net.Addr
	mu         sync.Mutex
	closed     bool
	conns      map[*conn]struct{}
}

// Addr is what kfake tells clients.
func (l *listener) Addr() net.Addr { return l.advertised }

// advertised is a host:port as an address.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // accepted before Close, registered after it: nobody else would close it
		_ = inner.Close()
		return nil, net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return c, nil
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	conns := l.conns
	l.conns, l.closed = nil, true
	l.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
	return err
}

type conn struct {
	net.Conn
	of *listener
}

func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
