package security_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sandbox/certs"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/spec"
)

// quickly is how long a connection that can't work may take to say so; connect_timeout is 10 s.
const quickly = 4 * time.Second

// mongoStarter starts a server with a certificate; clients, if not nil, is whose certificates it wants to see.
type mongoStarter func(t *testing.T, cert *certs.Certificate, clients *certs.Authority) (addr string)

// mongoServers are those that speak TLS: one for tests and one that nobody here wrote.
func mongoServers() map[string]mongoStarter {
	servers := map[string]mongoStarter{"fastmongo": startFastmongo}
	if startFerretDB != nil {
		servers["FerretDB"] = startFerretDB
	}
	return servers
}

func startFastmongo(t *testing.T, cert *certs.Certificate, clients *certs.Authority) string {
	t.Helper()
	var cfg fastmongo.Config
	switch {
	case cert == nil:
	case clients != nil:
		cfg.TLS = cert.MutualConfig(clients)
	default:
		cfg.TLS = cert.ServerConfig()
	}
	return fast(t, cfg).Addr()
}

func fast(t *testing.T, cfg fastmongo.Config) *fastmongo.Server {
	t.Helper()
	s, err := fastmongo.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// connectMongo opens a source and asks it something that needs a login.
func connectMongo(t *testing.T, uri string, section mongo.TLS) error {
	t.Helper()
	p := mongo.Plugin()
	cfg := p.Config().(*mongo.Config)
	cfg.URI, cfg.Database, cfg.TLS = spec.Secret(uri), "db", section
	s, err := p.OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = s.Abilities().Collections(t.Context())
	return errors.Join(err, s.Close())
}

// refusal is an error that an operator can act on.
type refusal struct{ text, hint string } // parts

// check holds an error against what it should say.
func (want refusal) check(t *testing.T, err error, took time.Duration, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("it worked")
	}
	hint := syncd.HintOf(err)
	t.Logf("%s\n  hint: %s", err, hint)
	if !strings.Contains(err.Error(), want.text) {
		t.Errorf("%q lacks %q", err, want.text)
	}
	if hint == "" || !strings.Contains(hint, want.hint) {
		t.Errorf("hint %q lacks %q", hint, want.hint)
	}
	if strings.Contains(err.Error()+hint, "\n") {
		t.Errorf("more than one line: %q", err)
	}
	for _, library := range []string{"topology", "server selection", "rpc error", "connection(", "*tls."} {
		if strings.Contains(err.Error(), library) {
			t.Errorf("it speaks of %q: %v", library, err)
		}
	}
	for _, s := range secrets {
		if strings.Contains(fmt.Sprintf("%v %+v %s", err, err, hint), s) {
			t.Errorf("it shows a secret: %v", err)
		}
	}
	if took > quickly {
		t.Errorf("it took %s", took)
	}
}

// encryptedKey is a copy of a certificate's key, encrypted.
func encryptedKey(t *testing.T, c certs.Certificate, password string) string {
	t.Helper()
	der, err := pkcs8.MarshalPrivateKey(c.TLS.PrivateKey, []byte(password), nil)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}))
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMongoTLS(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	good, expired, elsewhere, app := ours.Server(), ours.Expired(), ours.Server("elsewhere.invalid"), ours.Client("app")
	const password = "k3y s3cret+/="
	locked := encryptedKey(t, app, password)
	for name, start := range mongoServers() {
		t.Run(name, func(t *testing.T) {
			plain := start(t, nil, nil)
			secure := start(t, &good, nil)
			mutual := start(t, &good, ours)
			for name, c := range map[string]struct {
				addr, options string
				section       mongo.TLS
			}{
				"plain":                  {plain, "", mongo.TLS{}},
				"by uri":                 {secure, "?tls=true&tlsCAFile=" + ours.File, mongo.TLS{}},
				"file alone turns it on": {secure, "?tlsCAFile=" + ours.File, mongo.TLS{}},
				"by section":             {secure, "", mongo.TLS{Enabled: true, CAFile: ours.File}},
				"by both":                {secure, "?tls=true", mongo.TLS{CAFile: ours.File}},
				"unverified by uri":      {secure, "?tls=true&tlsInsecure=true", mongo.TLS{}},
				"unverified by section":  {secure, "", mongo.TLS{Enabled: true, SkipVerify: true}},
				"server name":            {start(t, &elsewhere, nil), "?tls=true", mongo.TLS{CAFile: ours.File, ServerName: "elsewhere.invalid"}},
				"client by uri":          {mutual, "?tlsCAFile=" + ours.File + "&tlsCertificateKeyFile=" + app.CombinedFile, mongo.TLS{}},
				"client by section":      {mutual, "", mongo.TLS{Enabled: true, CAFile: ours.File, CertFile: app.CertFile, KeyFile: app.KeyFile}},
				"client in one file":     {mutual, "", mongo.TLS{Enabled: true, CAFile: ours.File, CertFile: app.CombinedFile, KeyFile: app.CombinedFile}},
				"encrypted key":          {mutual, "", mongo.TLS{Enabled: true, CAFile: ours.File, CertFile: app.CertFile, KeyFile: locked, KeyPassword: password}},
			} {
				t.Run(name, func(t *testing.T) {
					if err := connectMongo(t, "mongodb://"+c.addr+"/"+c.options, c.section); err != nil {
						t.Errorf("%v (%s)", err, syncd.HintOf(err))
					}
				})
			}
			on := mongo.TLS{Enabled: true, CAFile: ours.File}
			withClient := func(c certs.Certificate) mongo.TLS {
				tls := on
				tls.CertFile, tls.KeyFile = c.CertFile, c.KeyFile
				return tls
			}
			for name, c := range map[string]struct {
				addr, options string
				section       mongo.TLS
				want          refusal
			}{
				"authority of the system": {secure, "?tls=true", mongo.TLS{},
					refusal{"securing the connection to " + secure + ": the server's certificate is not trusted: x509: certificate signed by unknown authority", "tls.ca_file"}},
				"another authority": {secure, "", mongo.TLS{Enabled: true, CAFile: other.File},
					refusal{"the server's certificate is not trusted: x509: certificate signed by unknown authority", "tls.ca_file"}},
				"expired": {start(t, &expired, nil), "", on,
					refusal{"the server's certificate is not trusted: x509: certificate has expired", "renew the server's certificate"}},
				"another host": {start(t, &elsewhere, nil), "", on,
					refusal{"the server's certificate is not trusted: x509: ", "tls.server_name"}},
				"no client's certificate": {mutual, "", on,
					refusal{"the server ended the TLS handshake: tls: ", "tls.cert_file"}},
				"a stranger's certificate": {mutual, "", withClient(other.Client("app")),
					refusal{"the server ended the TLS handshake: tls: ", "tls.cert_file"}},
				"off, and wanted": {secure, "", mongo.TLS{},
					refusal{"securing the connection to " + secure + ": the server wants TLS, which is off", "tls=true"}},
				"off, and a client's wanted": {mutual, "", mongo.TLS{},
					refusal{"the server wants TLS, which is off", "tls.enabled: true"}},
				"on, and not spoken": {plain, "", on,
					refusal{"securing the connection to " + plain + ": the server does not speak TLS, which is on", "turn TLS off"}},
				"two servers, neither trusted": {secure + "," + mutual, "", mongo.TLS{Enabled: true, CAFile: other.File},
					refusal{secure + "," + mutual + ": 127.0.0.1:", "tls.ca_file"}},
				"encrypted key without a password": {mutual, "", withClient(certs.Certificate{CertFile: app.CertFile, KeyFile: locked}),
					refusal{"preparing the connection to MongoDB: ", "password of the key"}},
				"another password": {mutual, "", mongo.TLS{Enabled: true, CAFile: ours.File, CertFile: app.CertFile, KeyFile: locked, KeyPassword: "wr0ng"},
					refusal{"preparing the connection to MongoDB: ", "password of the key"}},
				"no such file": {secure, "", mongo.TLS{Enabled: true, CAFile: "/no/such/ca.pem"},
					refusal{"/no/such/ca.pem", "source.mongo.tls"}},
				"no certificates": {secure, "", mongo.TLS{Enabled: true, CAFile: file(t, []byte("junk"))},
					refusal{"preparing the connection to MongoDB: ", "source.mongo.tls"}},
			} {
				t.Run(name, func(t *testing.T) {
					began := time.Now()
					err := connectMongo(t, "mongodb://"+c.addr+"/"+c.options, c.section)
					c.want.check(t, err, time.Since(began), "wr0ng", password)
					if errors.Is(err, syncd.ErrUnavailable) {
						t.Errorf("it is taken for an outage: %v", err)
					}
				})
			}
		})
	}
}

// One server that can be used is enough, whatever the others are like.
func TestMongoTLSNeedsOneServer(t *testing.T) {
	ours := certs.New(t)
	good, expired := ours.Server(), ours.Expired()
	set := fast(t, fastmongo.Config{ReplicaSet: "rs0", TLS: good.ServerConfig()})
	for name, bad := range map[string]string{
		"expired": startFastmongo(t, &expired, nil),
		"plain":   startFastmongo(t, nil, nil),
	} {
		t.Run(name, func(t *testing.T) {
			uri := "mongodb://" + bad + "," + set.Addr() + "/?replicaSet=rs0&tlsCAFile=" + ours.File
			if err := connectMongo(t, uri, mongo.TLS{}); err != nil {
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			}
		})
	}
}

func TestMongoLogin(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	app := ours.Client("app")
	cert := ours.Server()
	const user, password = "ada", "p%40ss%2Fw0rd%3A"
	withPassword := fast(t, fastmongo.Config{User: user, Password: "p@ss/w0rd:"}).Addr()
	secured := fast(t, fastmongo.Config{User: user, Password: "p@ss/w0rd:", Subject: "CN=app", TLS: cert.MutualConfig(ours)}).Addr()
	section := mongo.TLS{Enabled: true, CAFile: ours.File, CertFile: app.CertFile, KeyFile: app.KeyFile}
	stranger := ours.Client("eve")
	login := "mongodb://" + user + ":" + password + "@"
	for name, c := range map[string]struct {
		uri     string
		section mongo.TLS
	}{
		"whatever the server prefers": {login + withPassword + "/", mongo.TLS{}},
		"SCRAM-SHA-256":               {login + withPassword + "/?authMechanism=SCRAM-SHA-256", mongo.TLS{}},
		"SCRAM-SHA-1":                 {login + withPassword + "/?authMechanism=SCRAM-SHA-1&authSource=admin", mongo.TLS{}},
		"SCRAM-SHA-256 with TLS":      {login + secured + "/?authMechanism=SCRAM-SHA-256", section},
		"X.509":                       {"mongodb://" + secured + "/?authMechanism=MONGODB-X509", section},
		"X.509 with a name":           {"mongodb://CN%3Dapp@" + secured + "/?authMechanism=MONGODB-X509&authSource=$external", section},
		"X.509 by uri": {"mongodb://" + secured + "/?authMechanism=MONGODB-X509&tlsCAFile=" + ours.File +
			"&tlsCertificateKeyFile=" + app.CombinedFile, mongo.TLS{}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := connectMongo(t, c.uri, c.section); err != nil {
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			}
		})
	}
	eve := section
	eve.CertFile, eve.KeyFile = stranger.CertFile, stranger.KeyFile
	foreign := section
	foreign.CertFile, foreign.KeyFile = other.Client("app").CertFile, other.Client("app").KeyFile
	wrong := "mongodb://" + user + ":wr0ng%2Fp%40ss@"
	for name, c := range map[string]struct {
		uri     string
		section mongo.TLS
		want    refusal
	}{
		"another password": {wrong + withPassword + "/", mongo.TLS{},
			refusal{`authentication failed for user "ada" at ` + withPassword + ": Authentication failed.", "authSource"}},
		"another password, SCRAM-SHA-1": {wrong + withPassword + "/?authMechanism=SCRAM-SHA-1", mongo.TLS{},
			refusal{`authentication failed for user "ada"`, "check user name, password"}},
		"another password, with TLS": {wrong + secured + "/", section,
			refusal{`authentication failed for user "ada"`, "check user name, password"}},
		"another user": {"mongodb://bob:" + password + "@" + withPassword + "/", mongo.TLS{},
			refusal{`authentication failed for user "bob"`, "check user name, password"}},
		"another database": {login + withPassword + "/?authSource=db", mongo.TLS{},
			refusal{`authentication failed for user "ada"`, "authSource=admin"}},
		"nobody": {"mongodb://" + withPassword + "/", mongo.TLS{},
			refusal{"not authorized on database db", "the server wants a login"}},
		"X.509 of somebody else": {"mongodb://" + secured + "/?authMechanism=MONGODB-X509", eve,
			refusal{`authentication failed for user "CN=eve"`, "$external"}},
		"X.509 of another authority": {"mongodb://" + secured + "/?authMechanism=MONGODB-X509", foreign,
			refusal{"preparing the connection to MongoDB: tls: private key does not match public key", "tls"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := connectMongo(t, c.uri, c.section)
			c.want.check(t, err, time.Since(began), "wr0ng", "w0rd")
		})
	}
}

// A server that is silent, and one that is not MongoDB, are no matter of TLS; and what is no server fails as before.
func TestMongoTLSIsNotBlamedForOtherTrouble(t *testing.T) {
	ours := certs.New(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	cutting := serve(t, func(net.Conn) {})
	for name, addr := range map[string]string{"nobody": nobody, "silent": silent, "cutting": cutting} {
		for _, on := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, on), func(t *testing.T) {
				t.Parallel()
				p := mongo.Plugin()
				cfg := p.Config().(*mongo.Config)
				cfg.URI, cfg.Database, cfg.ConnectTimeout = spec.Secret("mongodb://"+addr+"/"), "db", 1500*time.Millisecond
				if on {
					cfg.TLS = mongo.TLS{Enabled: true, CAFile: ours.File}
				}
				_, err := p.OpenSource(t.Context(), cfg, syncd.Env{})
				if !errors.Is(err, syncd.ErrUnavailable) || strings.Contains(err.Error(), "TLS") && name != "silent" {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// serve accepts connections, calls f and hangs up.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				f(c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
