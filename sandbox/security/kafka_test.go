package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/certs"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/spec"
)

const kafkaSecret = "hunter2hunter2" // of whatever a case must not show

func kafkaBroker(t *testing.T, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	b, err := kafkaserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// openKafka opens the sink as the program does, and returns all that was logged.
func openKafka(ctx context.Context, addr string, change func(*kafka.Config)) (syncd.Sink, string, error) {
	p := kafka.Plugin()
	c := p.Config().(*kafka.Config)
	c.BootstrapServers = addr
	c.ConnectTimeout = time.Minute // what librdkafka knows at once must not wait for it
	c.CreateTopics = &kafka.CreateTopics{Partitions: 1, ReplicationFactor: 1}
	change(c)
	var log bytes.Buffer
	s, err := p.OpenSink(ctx, c, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		return nil, log.String(), err // the sink is closed, so nothing is logged any more
	}
	return s, "", nil
}

// wantKafka writes a change through a sink that must open, and commits one where the sink can.
func wantKafka(t *testing.T, addr string, change func(*kafka.Config)) {
	t.Helper()
	s, _, err := openKafka(t.Context(), addr, change)
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	target := &syncd.Target{Database: "db", Collection: "page"}
	can := s.Abilities()
	if err := can.Prepare(t.Context(), syncd.Run{ID: "run-1", Targets: []syncd.Target{*target}}); err != nil {
		t.Fatal(err)
	}
	changes := []syncd.Change{{Target: target, ID: "k", Operation: syncd.Delete}}
	if can.Commit != nil {
		if _, err := can.Marks(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if err := can.Commit(t.Context(), changes, []syncd.Mark{{Name: "m", Value: []byte("v")}}); err != nil {
			t.Fatal(err)
		}
		// Both are over a consumer's own connection.
		if marks, err := can.Marks(t.Context(), ""); err != nil || string(marks["m"]) != "v" {
			t.Fatal(marks, err)
		}
		if marks, err := can.PeekMarks(t.Context(), ""); err != nil || string(marks["m"]) != "v" {
			t.Fatal(marks, err)
		}
		return
	}
	if err := s.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if !changes[0].Placement.Known {
		t.Error("the sink does not say where the event is")
	}
}

// refuseKafka opens a sink that must not open. The error is one line, comes soon, and says what a person needs, but no secret.
func refuseKafka(t *testing.T, addr string, change func(*kafka.Config), says, hints string) {
	t.Helper()
	begin := time.Now()
	s, log, err := openKafka(t.Context(), addr, change)
	if err == nil {
		t.Fatal(errors.Join(errors.New("the sink opened"), s.Close()))
	}
	t.Logf("after %s\nerror: %v\nhint: %s", time.Since(begin).Round(time.Millisecond), err, syncd.HintOf(err))
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	if text := err.Error(); !strings.Contains(text, says) || !strings.Contains(text, addr) || strings.Contains(text, "\n") || strings.Contains(text, "thrd:") {
		t.Errorf("error %q, want one line with %q and %q", text, says, addr)
	}
	if !strings.Contains(syncd.HintOf(err), hints) {
		t.Errorf("hint %q, want one with %q", syncd.HintOf(err), hints)
	}
	if strings.Contains(err.Error()+syncd.HintOf(err)+log, kafkaSecret) {
		t.Errorf("the secret is shown: %v\n%s", err, log)
	}
}

func exactlyOnce(c *kafka.Config) { c.Delivery, c.Transactions.ID = "exactly_once", "test" }

func trusting(a *certs.Authority) func(*kafka.Config) {
	return func(c *kafka.Config) { c.Security.TLS = kafka.TLS{Enabled: true, CAFile: a.File} }
}

func all(changes ...func(*kafka.Config)) func(*kafka.Config) {
	return func(c *kafka.Config) {
		for _, f := range changes {
			f(c)
		}
	}
}

func TestKafkaTLS(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	good := ours.Server()
	app, stranger := ours.Client("app"), other.Client("app")
	with := func(c certs.Certificate) func(*kafka.Config) {
		return func(k *kafka.Config) { k.Security.TLS.CertFile, k.Security.TLS.KeyFile = c.CertFile, c.KeyFile }
	}
	for name, c := range map[string]struct {
		server      *tls.Config
		change      func(*kafka.Config)
		says, hints string // empty means that it works
	}{
		"own authority":               {good.ServerConfig(), trusting(ours), "", ""},
		"own authority, transactions": {good.ServerConfig(), all(trusting(ours), exactlyOnce), "", ""},
		"any certificate": {other.Expired().ServerConfig(), func(c *kafka.Config) {
			c.Security.TLS = kafka.TLS{Enabled: true, InsecureSkipVerify: true}
		}, "", ""},
		"client certificate":          {good.MutualConfig(ours), all(trusting(ours), with(app)), "", ""},
		"wrong authority":             {good.ServerConfig(), trusting(other), "unknown authority", "ca_file"},
		"expired certificate":         {ours.Expired().ServerConfig(), trusting(ours), "expired", "renew"},
		"wrong host name":             {ours.Server("elsewhere.invalid").ServerConfig(), trusting(ours), "127.0.0.1", "bootstrap_servers"},
		"no client certificate":       {good.MutualConfig(ours), trusting(ours), "certificate required", "cert_file"},
		"client certificate of other": {good.MutualConfig(ours), all(trusting(ours), with(stranger)), "unknown ca", "cert_file"},
		"no TLS where it is spoken":   {good.ServerConfig(), func(c *kafka.Config) { c.ConnectTimeout = time.Second }, "", "security"},
		"TLS where none is spoken":    {nil, all(trusting(ours), func(c *kafka.Config) { c.ConnectTimeout = time.Second }), "no answer", "security.tls.enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{TLS: c.server})
			if c.says+c.hints == "" {
				wantKafka(t, b.Addr(), c.change)
				return
			}
			refuseKafka(t, b.Addr(), c.change, c.says, c.hints)
		})
	}
	t.Run("no such authority file", func(t *testing.T) {
		_, _, err := openKafka(t.Context(), "localhost:1", func(c *kafka.Config) { c.Security.TLS = kafka.TLS{Enabled: true, CAFile: "/no/such/file.pem"} })
		if err == nil || !strings.Contains(err.Error(), "/no/such/file.pem") || !strings.Contains(syncd.HintOf(err), "ca_file") {
			t.Errorf("error %v, hint %q", err, syncd.HintOf(err))
		}
	})
}

func TestKafkaPasswordsOverTLS(t *testing.T) {
	ours := certs.New(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		login := func(password spec.Secret) func(*kafka.Config) {
			return all(trusting(ours), func(c *kafka.Config) {
				c.Security.SASL = kafka.SASL{Mechanism: mechanism, Username: "app", Password: password}
			})
		}
		t.Run(mechanism, func(t *testing.T) {
			b := kafkaBroker(t, kafkaserver.Config{TLS: ours.Server().ServerConfig(), User: "app", Password: "right"})
			wantKafka(t, b.Addr(), all(login("right"), exactlyOnce))
			refuseKafka(t, b.Addr(), login(kafkaSecret), "authenticating", "sink.kafka.security.sasl")
		})
	}
}

// issuer is an identity provider's token endpoint (RFC 6749, section 4.4).
func issuer(t *testing.T, authority *certs.Authority, asked *atomic.Pointer[url.Values]) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked.Store(&r.PostForm)
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if id != "app" || secret != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"no such client"}`)
			return
		}
		segment := func(v map[string]any) string {
			text, _ := json.Marshal(v)
			return base64.RawURLEncoding.EncodeToString(text)
		}
		now := time.Now().Unix()
		token := segment(map[string]any{"alg": "none"}) + "." + segment(map[string]any{"sub": "app", "iat": now, "exp": now + 3600}) + ".c2ln"
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = authority.Server().ServerConfig()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestKafkaTokens(t *testing.T) {
	ours := certs.New(t)
	var asked atomic.Pointer[url.Values]
	tokens := issuer(t, ours, &asked)
	login := func(o kafka.OAuth) func(*kafka.Config) {
		return all(trusting(ours), func(c *kafka.Config) { c.Security.SASL = kafka.SASL{Mechanism: "OAUTHBEARER", OAuth: o} })
	}
	right := kafka.OAuth{
		TokenURL: tokens, ClientID: "app", ClientSecret: "right", Scope: "events.write", CAFile: ours.File,
		Extensions: map[string]string{"logicalCluster": "lkc-1", "identityPoolId": "pool-2"},
	}
	wrong := func(change func(*kafka.OAuth)) kafka.OAuth {
		o := right
		change(&o)
		return o
	}
	start := func(t *testing.T, accept bool) string {
		return kafkaBroker(t, kafkaserver.Config{TLS: ours.Server().ServerConfig(), Token: func(token string) bool {
			return accept && strings.HasSuffix(token, ".c2ln")
		}}).Addr()
	}
	t.Run("right", func(t *testing.T) {
		wantKafka(t, start(t, true), login(right))
		if form := asked.Load(); form == nil || form.Get("grant_type") != "client_credentials" || form.Get("scope") != "events.write" {
			t.Errorf("the issuer was asked for %v", form)
		}
	})
	t.Run("transactions", func(t *testing.T) { wantKafka(t, start(t, true), all(login(right), exactlyOnce)) })
	t.Run("wrong secret", func(t *testing.T) {
		refuseKafka(t, start(t, true), login(wrong(func(o *kafka.OAuth) { o.ClientSecret = kafkaSecret })), "authenticating", "client_secret")
	})
	t.Run("wrong authority", func(t *testing.T) {
		refuseKafka(t, start(t, true), login(wrong(func(o *kafka.OAuth) { o.CAFile = certs.New(t).File })), "authenticating", "oauth")
	})
	t.Run("nobody there", func(t *testing.T) {
		refuseKafka(t, start(t, true), login(wrong(func(o *kafka.OAuth) { o.TokenURL = "https://localhost:1/token" })), "authenticating", "token_url")
	})
	t.Run("refused by the broker", func(t *testing.T) { refuseKafka(t, start(t, false), login(right), "invalid credentials", "oauth") })
}
