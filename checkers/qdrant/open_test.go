package qdrant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial/dialtest"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/spec"
)

// refusal is what an Open that must fail is held against.
type refusal struct {
	text        string // of the error, in part
	hint        string // in part
	unavailable bool
}

func (want refusal) check(t *testing.T, conf Config) {
	t.Helper()
	c, err := open(t.Context(), conf, quiet())
	if err == nil {
		_ = c.Close()
		t.Fatal("it opened")
	}
	if !strings.Contains(err.Error(), want.text) {
		t.Errorf("error %q lacks %q", err, want.text)
	}
	if hint := syncd.HintOf(err); hint == "" || !strings.Contains(hint, want.hint) {
		t.Errorf("hint %q lacks %q", hint, want.hint)
	}
	if errors.Is(err, syncd.ErrUnavailable) != want.unavailable {
		t.Errorf("unavailable is %t: %v", !want.unavailable, err)
	}
	if strings.Contains(err.Error(), "rpc error") {
		t.Errorf("the text is the library's: %v", err)
	}
	if key := conf.APIKey.Reveal(); key != "" && strings.Contains(fmt.Sprintf("%v %s", err, syncd.HintOf(err)), key) {
		t.Errorf("it shows the key: %v", err)
	}
}

func TestOpenUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	t.Run("silent", func(t *testing.T) { // accepts and never answers
		conf := testConfig(addr)
		conf.ConnectTimeout = 50 * time.Millisecond
		refusal{text: "could not connect to Qdrant at " + addr + ": no answer within 50ms", hint: "check that Qdrant runs", unavailable: true}.check(t, conf)
	})
	_ = l.Close()
	t.Run("refused", func(t *testing.T) {
		refusal{text: "could not connect to Qdrant at " + addr + ": dial tcp", hint: "check that Qdrant runs", unavailable: true}.check(t, testConfig(addr))
	})
	t.Run("no such host", func(t *testing.T) {
		refusal{text: "could not connect to Qdrant at nowhere.invalid:6334: ", unavailable: true}.check(t, testConfig("nowhere.invalid"))
	})
	t.Run("a proxy without a server", func(t *testing.T) { // hangs up unasked
		refusal{text: "could not connect to Qdrant at ", unavailable: true}.check(t, testConfig(accept(t, func(net.Conn) {})))
	})
	t.Run("unavailable behind a proxy", func(t *testing.T) {
		s := newStub()
		s.health = status.Error(codes.Unavailable, "no healthy upstream")
		refusal{text: "no healthy upstream", unavailable: true}.check(t, testConfig(s.start(t)))
	})
	t.Run("collection unavailable", func(t *testing.T) {
		s := newStub()
		s.info = status.Error(codes.Unavailable, "shard is down")
		refusal{text: "shard is down", unavailable: true}.check(t, testConfig(s.start(t)))
	})
}

func TestUnreachableHintTellsOfTheMappedPort(t *testing.T) {
	conf := testConfig("http://localhost:6333")
	ep, err := conf.endpoint()
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{conf: conf, ep: ep}
	if hint := syncd.HintOf(c.unreachable("x", errors.New("x"))); !strings.Contains(hint, "6333 is its REST port") {
		t.Error(hint)
	}
}

// TestOpenFindsSomethingElse: what answers there, and is not Qdrant, is no outage that stands for an empty index.
func TestOpenFindsSomethingElse(t *testing.T) {
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = c.Read(make([]byte, 1024))
		}
	}
	for name, answers := range map[string]func(net.Conn){
		"an answer":   says("-ERR unknown command 'PRI'\r\n"), // Redis
		"a short one": says("S"),                              // PostgreSQL, of an error
	} {
		t.Run(name, func(t *testing.T) {
			refusal{text: "what answers there is not Qdrant: it speaks neither HTTP/2 nor HTTP/1", hint: "6334"}.check(t, testConfig(serve(t, answers)))
		})
	}
	t.Run("a greeting", func(t *testing.T) {
		addr := accept(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n")
			_, _ = c.Read(make([]byte, 1024))
		})
		refusal{text: "what answers there is not Qdrant: it speaks neither", hint: "6334"}.check(t, testConfig(addr))
	})
	t.Run("a broker", func(t *testing.T) { // which waits for the rest of the preface
		addr := accept(t, func(c net.Conn) {
			head := make([]byte, 14)
			if _, err := io.ReadFull(c, head); err == nil && head[0] == 0 {
				_, _ = c.Write(append([]byte{0, 0, 0, 6}, head[8:12]...))
				return
			}
			_, _ = io.Copy(io.Discard, c)
		})
		conf := testConfig(addr)
		conf.ConnectTimeout = 300 * time.Millisecond
		refusal{text: "what answers there is not Qdrant: it is a Kafka broker", hint: "6334"}.check(t, conf)
	})
	t.Run("hangs up", func(t *testing.T) { // at the preface: MongoDB, or a connection that was cut at this moment
		conf := testConfig(serve(t, func(net.Conn) {}))
		refusal{text: "it hangs up when it is spoken to in gRPC", hint: "6334", unavailable: true}.check(t, conf)
		if _, err := open(t.Context(), conf, quiet()); !errors.Is(err, syncd.ErrForeign) {
			t.Errorf("it is no sign of something else: %v", err)
		}
	})
}

// serve accepts connections, reads what comes first, calls f and hangs up.
func serve(t *testing.T, f func(net.Conn)) string {
	return accept(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1024))
		f(c)
	})
}

// accept accepts connections, calls f and hangs up.
func accept(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				f(c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

func TestOpenWrongPort(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	t.Run("plain", func(t *testing.T) {
		refusal{text: "this port speaks HTTP/1.1 and not gRPC", hint: "6334"}.check(t, testConfig(addr))
	})
	t.Run("with TLS on", func(t *testing.T) {
		refusal{text: "does not speak TLS", hint: "http://"}.check(t, testConfig("https://"+addr))
	})

	server = httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	conf := testConfig("https://" + server.Listener.Addr().String())
	conf.TLS.SkipVerify = true
	t.Run("HTTP/1.1 over TLS", func(t *testing.T) { refusal{text: "TLS handshake failed", hint: "gRPC port"}.check(t, conf) })

	server = httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	conf.URL = "https://" + server.Listener.Addr().String()
	t.Run("HTTP/2 over TLS", func(t *testing.T) { refusal{text: "not Qdrant", hint: "gRPC port"}.check(t, conf) })
}

func TestOpenNotQdrant(t *testing.T) {
	t.Run("another title", func(t *testing.T) {
		s := newStub()
		s.title = "etcd"
		refusal{text: `not Qdrant: it calls itself "etcd"`, hint: "check host and port"}.check(t, testConfig(s.start(t)))
	})
	t.Run("another gRPC service", func(t *testing.T) {
		s := newStub()
		s.health = status.Error(codes.Unimplemented, "unknown service qdrant.Qdrant")
		refusal{text: "not Qdrant: unknown service", hint: "check host and port"}.check(t, testConfig(s.start(t)))
	})
}

func TestOpenUnauthorized(t *testing.T) {
	for key, want := range map[spec.Secret]refusal{
		"":        {text: "the API key was refused: Must provide", hint: "set api_key"},
		"wr0ng":   {text: "the API key was refused: Invalid API key or JWT: [redacted]", hint: "was sent and not accepted"},
		"expired": {text: "the API key does not allow it", hint: "still valid"},
	} {
		s := newStub()
		s.key = "s3cret"
		conf := testConfig(s.start(t))
		conf.APIKey = key
		t.Run("key "+key.Reveal(), func(t *testing.T) { want.check(t, conf) })
	}
	t.Run("by a proxy", func(t *testing.T) {
		s := newStub()
		s.health = status.Error(codes.Unauthenticated, "no")
		refusal{text: "the API key was refused", hint: "api_key"}.check(t, testConfig(s.start(t)))
		s.health = status.Error(codes.PermissionDenied, "no")
		refusal{text: "does not allow", hint: "token"}.check(t, testConfig(s.start(t)))
	})
}

func TestOpenWithKey(t *testing.T) {
	s := newStub(pointID(0))
	s.key = "s3cret"
	conf := testConfig(s.start(t))
	conf.APIKey = "s3cret"
	logger, logged := recorded()
	c, err := open(t.Context(), conf, logger)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := check(t, c, pointID(0)); err != nil || v[0] != syncd.Present {
		t.Errorf("%v, %v", v, err)
	}
	if got := logged.String(); strings.Count(got, "without TLS") != 1 || strings.Contains(got, "s3cret") {
		t.Errorf("logged %s", got)
	}
}

func TestOpenTellsWhatItFound(t *testing.T) {
	t.Run("missing collection is empty", func(t *testing.T) {
		s := newStub()
		s.missing = true
		logger, logged := recorded()
		c, err := open(t.Context(), testConfig(s.start(t)), logger)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := logged.String(); !strings.Contains(got, `Qdrant has no collection \"pms_collection\": every document counts as missing`) || !strings.Contains(got, "WARN") {
			t.Errorf("logged %s", got)
		}
	})
	t.Run("missing collection fails", func(t *testing.T) {
		s := newStub()
		s.missing = true
		conf := testConfig(s.start(t))
		conf.OnMissingCollection = missingFails
		refusal{text: `there is no collection "pms_collection"`, hint: "on_missing_collection"}.check(t, conf)
	})
	t.Run("deferred points", func(t *testing.T) {
		s := newStub()
		s.deferred = 17
		logger, logged := recorded()
		c, err := open(t.Context(), testConfig(s.start(t)), logger)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := logged.String(); !strings.Contains(got, "hidden=17") || !strings.Contains(got, "version=1.19.0") {
			t.Errorf("logged %s", got)
		}
	})
}

// TestOpenMapsTheRESTPort takes the two real ports, if they are free.
func TestOpenMapsTheRESTPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(qdrantconn.GRPCPort))
	if err != nil {
		t.Skipf("port %d is taken: %v", qdrantconn.GRPCPort, err)
	}
	newStub().serve(t, l)
	logger, logged := recorded()
	c, err := open(t.Context(), testConfig("http://127.0.0.1:6333"), logger)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := logged.String(); strings.Count(got, "6333 is Qdrant's REST port; using gRPC port 6334") != 1 {
		t.Errorf("logged %s", got)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(ctx, testConfig(newStub().start(t)), quiet())
	if !errors.Is(err, context.Canceled) || errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesABadAddress(t *testing.T) {
	for _, conf := range []Config{testConfig("http://a/b"), {URL: "localhost", ReadConsistency: "most"}} {
		if _, err := open(t.Context(), conf, quiet()); err == nil {
			t.Errorf("%q opened", conf.URL)
		}
	}
}

func TestTLS(t *testing.T) {
	ca := dialtest.NewAuthority(t)
	server := ca.Issue("127.0.0.1", time.Hour)
	client := ca.Issue("client", time.Hour)
	caFile, other := ca.File, dialtest.NewAuthority(t).File
	certFile, keyFile := client.CertFile, client.KeyFile

	creds := func(conf *tls.Config) grpc.ServerOption {
		conf.Certificates = []tls.Certificate{server.TLS}
		return grpc.Creds(credentials.NewTLS(conf))
	}
	addr := newStub(pointID(0)).start(t, creds(&tls.Config{MinVersion: tls.VersionTLS12}))
	mutual := newStub(pointID(0)).start(t, creds(&tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool,
	}))
	plain := newStub().start(t)

	for name, conf := range map[string]Config{
		"own authority": {URL: "https://" + addr, TLS: TLS{CAFile: caFile}},
		"enabled":       {URL: addr, TLS: TLS{Enabled: true, CAFile: caFile}},
		"not verified":  {URL: "https://" + addr, TLS: TLS{SkipVerify: true}},
		"server name":   {URL: "https://" + addr, TLS: TLS{CAFile: caFile, ServerName: "127.0.0.1"}},
		"mutual":        {URL: "https://" + mutual, TLS: TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}},
	} {
		t.Run(name, func(t *testing.T) {
			full := testConfig(conf.URL)
			full.TLS = conf.TLS
			c, _ := opened(t, full)
			if v, err := check(t, c, pointID(0)); err != nil || v[0] != syncd.Present {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	for name, tc := range map[string]struct {
		conf Config
		want refusal
	}{
		"unknown authority":   {Config{URL: "https://" + addr}, refusal{text: "certificate is not trusted", hint: "tls.ca_file"}},
		"another authority":   {Config{URL: "https://" + addr, TLS: TLS{CAFile: other}}, refusal{text: "certificate is not trusted", hint: "tls.ca_file"}},
		"another name":        {Config{URL: "https://" + addr, TLS: TLS{CAFile: caFile, ServerName: "q"}}, refusal{text: "certificate is not trusted: x509", hint: "tls.server_name"}},
		"off, and wanted":     {Config{URL: "http://" + addr}, refusal{text: "the server wants TLS", hint: "https://"}},
		"off, and mutual":     {Config{URL: "http://" + mutual}, refusal{text: "the server wants TLS", hint: "https://"}},
		"on, and not spoken":  {Config{URL: "https://" + plain}, refusal{text: "does not speak TLS", hint: "http://"}},
		"certificate missing": {Config{URL: "https://" + mutual, TLS: TLS{CAFile: caFile}}, refusal{text: "TLS handshake failed", hint: "tls.cert_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			full := testConfig(tc.conf.URL)
			full.TLS = tc.conf.TLS
			tc.want.check(t, full)
		})
	}
}
