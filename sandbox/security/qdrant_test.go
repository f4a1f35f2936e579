package security_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/sandbox/certs"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	"github.com/syncd-io/syncd/spec"
)

func startQdrant(t *testing.T, cfg qdrantserver.Config) string {
	t.Helper()
	s, err := qdrantserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}

// askQdrant opens a checker and asks it about a point.
func askQdrant(t *testing.T, url string, key spec.Secret, section qdrant.TLS) error {
	t.Helper()
	p := qdrant.Plugin()
	cfg := p.Config().(*qdrant.Config)
	cfg.URL, cfg.APIKey, cfg.TLS = url, key, section
	c, err := p.OpenChecker(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return errors.Join(c.Check(t.Context(), []syncd.Point{{ID: uuid.Nil}}, make([]syncd.Verdict, 1)), c.Close())
}

func TestQdrantTLS(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	good, expired, elsewhere, app := ours.Server(), ours.Expired(), ours.Server("elsewhere.invalid"), ours.Client("app")
	const password = "k3y s3cret+/="
	locked := encryptedKey(t, app, password)
	plain := startQdrant(t, qdrantserver.Config{})
	secure := startQdrant(t, qdrantserver.Config{TLS: good.ServerConfig()})
	mutual := startQdrant(t, qdrantserver.Config{TLS: good.MutualConfig(ours)})
	misnamed := startQdrant(t, qdrantserver.Config{TLS: elsewhere.ServerConfig()})
	on := qdrant.TLS{CAFile: ours.File}
	with := func(cert, key, password string) qdrant.TLS {
		return qdrant.TLS{CAFile: ours.File, CertFile: cert, KeyFile: key, KeyPassword: spec.Secret(password)}
	}
	for name, c := range map[string]struct {
		url     string
		section qdrant.TLS
	}{
		"plain":         {"http://" + plain, qdrant.TLS{}},
		"own authority": {"https://" + secure, on},
		"enabled":       {secure, qdrant.TLS{Enabled: true, CAFile: ours.File}},
		"unverified":    {"https://" + secure, qdrant.TLS{SkipVerify: true}},
		"server name":   {"https://" + misnamed, qdrant.TLS{CAFile: ours.File, ServerName: "elsewhere.invalid"}},
		"client":        {"https://" + mutual, with(app.CertFile, app.KeyFile, "")},
		"one file":      {"https://" + mutual, with(app.CombinedFile, app.CombinedFile, "")},
		"encrypted key": {"https://" + mutual, with(app.CertFile, locked, password)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := askQdrant(t, c.url, "", c.section); err != nil {
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			}
		})
	}
	stranger := other.Client("app")
	for name, c := range map[string]struct {
		url     string
		section qdrant.TLS
		want    refusal
	}{
		"authority of the system": {"https://" + secure, qdrant.TLS{},
			refusal{"connecting to Qdrant at " + secure + ": the server's certificate is not trusted: x509: certificate signed by unknown authority", "tls.ca_file"}},
		"another authority": {"https://" + secure, qdrant.TLS{CAFile: other.File},
			refusal{"the server's certificate is not trusted: x509: certificate signed by unknown authority", "tls.ca_file"}},
		"expired": {"https://" + startQdrant(t, qdrantserver.Config{TLS: expired.ServerConfig()}), on,
			refusal{"the server's certificate is not trusted: x509: certificate has expired", "renew the server's certificate"}},
		"another host": {"https://" + misnamed, on,
			refusal{"the server's certificate is not trusted: x509: ", "tls.server_name"}},
		"no client's certificate": {"https://" + mutual, on,
			refusal{"the TLS handshake failed: tls: certificate required", "tls.cert_file"}},
		"a stranger's certificate": {"https://" + mutual, with(stranger.CertFile, stranger.KeyFile, ""),
			refusal{"the TLS handshake failed: tls: ", "tls.cert_file"}},
		"off, and wanted":            {"http://" + secure, qdrant.TLS{}, refusal{"the server wants TLS, which is off", "https://"}},
		"off, and a client's wanted": {"http://" + mutual, qdrant.TLS{}, refusal{"the server wants TLS, which is off", "https://"}},
		"on, and not spoken":         {"https://" + plain, on, refusal{"the server does not speak TLS, which is on", "http://"}},
		"encrypted key without a password": {"https://" + mutual, with(app.CertFile, locked, ""),
			refusal{"preparing the connection to Qdrant: reading tls.cert_file and tls.key_file: the key is encrypted, and tls.key_password is not set", "password of the key"}},
		"another password": {"https://" + mutual, with(app.CertFile, locked, "wr0ng"),
			refusal{"decrypting the key with tls.key_password: ", "password of the key"}},
		"no such file":    {"https://" + secure, qdrant.TLS{CAFile: "/no/such/ca.pem"}, refusal{"reading tls.ca_file: open /no/such/ca.pem", "checker.qdrant.tls"}},
		"no certificates": {"https://" + secure, qdrant.TLS{CAFile: file(t, []byte("junk"))}, refusal{"holds no certificate", "checker.qdrant.tls"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := askQdrant(t, c.url, "", c.section)
			c.want.check(t, err, time.Since(began), "wr0ng", password)
			if errors.Is(err, syncd.ErrUnavailable) {
				t.Errorf("it is taken for an outage: %v", err)
			}
		})
	}
}

func TestQdrantKeys(t *testing.T) {
	const key, readOnly = "k3y+/=s3cret", "r3ad-s3cret"
	cert := certs.New(t)
	server := cert.Server()
	addr := startQdrant(t, qdrantserver.Config{APIKey: key, ReadOnlyAPIKey: readOnly, JWT: true})
	secure := startQdrant(t, qdrantserver.Config{APIKey: key, JWT: true, TLS: server.ServerConfig()})
	section := qdrant.TLS{CAFile: cert.File}
	later, earlier := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		url     string
		key     string
		section qdrant.TLS
	}{
		"key":                 {"http://" + addr, key, qdrant.TLS{}},
		"read-only key":       {"http://" + addr, readOnly, qdrant.TLS{}},
		"token":               {"http://" + addr, qdrantserver.Token(key, "r", later), qdrant.TLS{}},
		"token that may all":  {"http://" + addr, qdrantserver.Token(key, "m", later), qdrant.TLS{}},
		"key with TLS":        {"https://" + secure, key, section},
		"token with TLS":      {"https://" + secure, qdrantserver.Token(key, "r", later), section},
		"token just run out":  {"http://" + addr, qdrantserver.Token(key, "r", time.Now().Add(-5*time.Second)), qdrant.TLS{}},
		"no key where no one": {"http://" + startQdrant(t, qdrantserver.Config{}), "", qdrant.TLS{}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := askQdrant(t, c.url, spec.Secret(c.key), c.section); err != nil {
				t.Errorf("%v (%s)", err, syncd.HintOf(err))
			}
		})
	}
	for name, c := range map[string]struct {
		url, key string
		section  qdrant.TLS
		want     refusal
	}{
		"no key":              {"http://" + addr, "", qdrant.TLS{}, refusal{"the API key was refused: Must provide an API key", "set api_key"}},
		"another key":         {"http://" + addr, "wr0ng", qdrant.TLS{}, refusal{"the API key was refused: Invalid API key or JWT", "service.api_key"}},
		"another key, TLS":    {"https://" + secure, "wr0ng", section, refusal{"the API key was refused: Invalid API key or JWT", "service.api_key"}},
		"expired token":       {"http://" + addr, qdrantserver.Token(key, "r", earlier), qdrant.TLS{}, refusal{"the API key does not allow it: ExpiredSignature", "still valid"}},
		"another's token":     {"http://" + addr, qdrantserver.Token("an0ther", "r", later), qdrant.TLS{}, refusal{"the API key does not allow it: InvalidSignature", "token"}},
		"expired token, TLS":  {"https://" + secure, qdrantserver.Token(key, "r", earlier), section, refusal{"ExpiredSignature", "still valid"}},
		"TLS before the key":  {"https://" + secure, key, qdrant.TLS{}, refusal{"the server's certificate is not trusted", "tls.ca_file"}},
		"key to a plain port": {"https://" + addr, key, section, refusal{"the server does not speak TLS", "http://"}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := askQdrant(t, c.url, spec.Secret(c.key), c.section)
			secrets := []string{"wr0ng", key}
			if c.key != "" {
				secrets = append(secrets, c.key)
			}
			c.want.check(t, err, time.Since(began), secrets...)
		})
	}
}
