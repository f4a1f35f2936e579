package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/dial/dialtest"
	"github.com/syncd-io/syncd/spec"
)

// refuse opens a sink that must not open, and returns all that was logged and its error.
func refuse(ctx context.Context, t *testing.T, c Config) (string, error) {
	t.Helper()
	var log bytes.Buffer
	s, err := open(ctx, c, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Retried: func(string) {}})
	if err == nil {
		t.Fatal(errors.Join(errors.New("the sink opened"), s.Close()))
	}
	t.Logf("error: %v\nhint: %s", err, syncd.HintOf(err))
	return log.String(), err
}

func within(t *testing.T, limit time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		t.Errorf("took %s, more than %s", took, limit)
	}
}

func TestUnreachable(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() {
		_, err := refuse(t.Context(), t, config(address, func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond }))
		if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("error %v", err)
		}
		if syncd.HintOf(err) == "" {
			t.Error("no hint")
		}
	})
}

func TestUnknownHost(t *testing.T) {
	_, err := refuse(t.Context(), t, config("no-such-host.invalid:9092", func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond }))
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("error %v", err)
	}
}

// listen serves connections with f until the test ends.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			f(c)
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
		for _, c := range conns {
			_ = c.Close() // may be closed already
		}
	})
	return l.Addr().String()
}

func TestSilentPort(t *testing.T) {
	address := listen(t, func(net.Conn) {})
	within(t, 5*time.Second, func() {
		_, err := refuse(t.Context(), t, config(address, func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond }))
		if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), address) {
			t.Errorf("error %v", err)
		}
	})
}

func TestSomethingElseListens(t *testing.T) {
	address := listen(t, func(c net.Conn) { _ = c.Close() })
	_, err := refuse(t.Context(), t, config(address, func(c *Config) { c.ConnectTimeout = 500 * time.Millisecond }))
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(syncd.HintOf(err), "security") {
		t.Errorf("error %v", err)
	}
}

func TestInterruptedOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := listen(t, func(net.Conn) { cancel() })
	within(t, 5*time.Second, func() {
		_, err := refuse(ctx, t, config(address, func(c *Config) { c.ConnectTimeout = time.Minute }))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestUntrustedCertificate(t *testing.T) {
	cert := dialtest.NewAuthority(t).Issue("127.0.0.1", time.Hour).TLS
	address := listen(t, func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake() // the client must refuse
	})
	within(t, 10*time.Second, func() {
		_, err := refuse(t.Context(), t, config(address, func(c *Config) {
			c.ConnectTimeout = time.Minute
			c.Security.TLS.Enabled = true
		}))
		if !strings.Contains(err.Error(), "certificate") || !strings.Contains(syncd.HintOf(err), "ca_file") || errors.Is(err, syncd.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

// hushed says nothing after its first flight.
type hushed struct {
	net.Conn
	said bool
}

func (h *hushed) Write(b []byte) (int, error) {
	if h.said {
		return len(b), nil
	}
	h.said = true
	return h.Conn.Write(b)
}

// TestMissingClientCertificate has a broker whose answer, that it wants a client's certificate, is lost when it hangs up.
func TestMissingClientCertificate(t *testing.T) {
	cert := dialtest.NewAuthority(t).Issue("127.0.0.1", time.Hour).TLS
	address := listen(t, func(c net.Conn) {
		server := tls.Server(&hushed{Conn: c}, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
		_ = server.HandshakeContext(t.Context()) // the client has none
		_ = c.Close()
	})
	_, err := refuse(t.Context(), t, config(address, func(c *Config) {
		c.ConnectTimeout = time.Second
		c.Security.TLS = TLS{Enabled: true, InsecureSkipVerify: true}
	}))
	if !strings.Contains(err.Error(), "asks for a client certificate") || !strings.Contains(syncd.HintOf(err), "cert_file and key_file") || errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// TestSecretsStayHidden puts secrets wherever librdkafka might repeat them, with its talkative log.
func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2hunter2"
	for name, change := range map[string]func(*Config){
		"sasl": func(c *Config) {
			c.Security.SASL = SASL{Mechanism: "PLAIN", Username: "app", Password: secret}
			c.Properties = map[string]spec.Secret{"debug": "all"}
		},
		"key":      func(c *Config) { c.Properties = map[string]spec.Secret{"ssl.key.pem": secret, "debug": "all"} },
		"misnamed": func(c *Config) { c.Properties = map[string]spec.Secret{"sasl.pasword.pem": secret, "debug": "all"} },
	} {
		t.Run(name, func(t *testing.T) {
			log, err := refuse(t.Context(), t, config(listen(t, func(c net.Conn) { _ = c.Close() }), func(c *Config) {
				c.ConnectTimeout = 300 * time.Millisecond
				change(c)
			}))
			if strings.Contains(err.Error()+syncd.HintOf(err)+log, secret) {
				t.Errorf("the secret is shown: %v\n%s", err, log)
			}
		})
	}
}

func TestUnknownProperty(t *testing.T) {
	_, err := refuse(t.Context(), t, config("localhost:9092", func(c *Config) { c.Properties = map[string]spec.Secret{"linger.msec": "5"} }))
	if !strings.Contains(err.Error(), "linger.msec") || !strings.Contains(syncd.HintOf(err), "sink.kafka.properties") {
		t.Errorf("error %v", err)
	}
}

// TestTheEndOfAClientIsNotTold: the error that wakes the library's readers at the end is nobody's to see.
func TestTheEndOfAClientIsNotTold(t *testing.T) {
	var told bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := open(t.Context(), config(cluster(t, "db.page").BootstrapServers(), nil), syncd.Env{Logger: logger, Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(*Sink).write(t.Context(), s.(*Sink).main, events("page", 10)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if text := told.String(); strings.Contains(strings.ToLower(text), "fatal") || strings.Contains(text, "closing") {
		t.Errorf("told:\n%s", text)
	}
}

// TestBrokersThatDoNotAnswerComeWithAHint: whatever was asked of them.
func TestBrokersThatDoNotAnswerComeWithAHint(t *testing.T) {
	s := &Sink{config: Config{}}
	s.replacer = dial.NewScrubber()
	for name, question := range map[string]func(context.Context) error{
		"silence":     func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"an election": func(context.Context) error { return ck.NewError(ck.ErrLeaderNotAvailable, "", false) },
	} {
		if err := s.ask(t.Context(), time.Millisecond, question); !errors.Is(err, syncd.ErrUnavailable) || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, syncd.HintOf(err))
		}
	}
}
