package dial

import (
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/internal/dial/dialtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSet(t *testing.T) {
	if got := (TLS{Enabled: true}).Set(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	all := TLS{CAFile: "a", CertFile: "c", KeyFile: "k", KeyPassword: "p", ServerName: "n", SkipVerify: true}
	want := []string{"ca_file", "cert_file", "key_file", "key_password", "server_name", "insecure_skip_verify"}
	if got := all.Set(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestUnpaired(t *testing.T) {
	for _, c := range []struct {
		settings       TLS
		setting, lacks string
	}{
		{TLS{}, "", ""},
		{TLS{CertFile: "c", KeyFile: "k", KeyPassword: "p"}, "", ""},
		{TLS{CertFile: "c"}, "cert_file", "key_file"},
		{TLS{CertFile: "c", KeyPassword: "p"}, "cert_file", "key_file"},
		{TLS{KeyFile: "k", KeyPassword: "p"}, "key_file", "cert_file"},
		{TLS{KeyPassword: "p"}, "key_password", "key_file"},
	} {
		if setting, lacks := c.settings.Unpaired(); setting != c.setting || lacks != c.lacks {
			t.Errorf("%+v: %q lacks %q", c.settings, setting, lacks)
		}
	}
}

func TestConfig(t *testing.T) {
	ours := dialtest.NewAuthority(t)
	client := ours.Issue("app", time.Hour)
	der, err := pkcs8.MarshalPrivateKey(client.TLS.PrivateKey, []byte("s3cret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := &pem.Block{Type: "CERTIFICATE", Bytes: client.TLS.Certificate[0]}
	encrypted := &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}
	locked, both := dialtest.File(t, encrypted), dialtest.File(t, cert, encrypted)
	old := dialtest.File(t, &pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: der})
	junk, none := dialtest.File(t), filepath.Join(t.TempDir(), "none.pem")

	for name, settings := range map[string]TLS{
		"key":                           {CertFile: client.CertFile, KeyFile: client.KeyFile},
		"one file":                      {CertFile: both, KeyFile: both, KeyPassword: "s3cret"},
		"encrypted key":                 {CertFile: client.CertFile, KeyFile: locked, KeyPassword: "s3cret"},
		"password of a key without one": {CertFile: client.CertFile, KeyFile: client.KeyFile, KeyPassword: "s3cret"},
	} {
		settings.CAFile, settings.ServerName, settings.SkipVerify = ours.File, "n", true
		config, err := settings.Config()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
		if err != nil || leaf.Subject.CommonName != "app" || !config.RootCAs.Equal(ours.Pool) || config.ServerName != "n" || !config.InsecureSkipVerify {
			t.Errorf("%s: %v, %+v", name, err, config)
		}
	}
	if config, err := (TLS{}).Config(); err != nil || config.RootCAs != nil || config.InsecureSkipVerify || len(config.Certificates) > 0 {
		t.Errorf("no settings: %v, %+v", err, config)
	}
	for _, c := range []struct {
		settings TLS
		want     string
	}{
		{TLS{CAFile: none}, "reading tls.ca_file: open " + none},
		{TLS{CAFile: junk}, "reading tls.ca_file: " + junk + " holds no certificate"},
		{TLS{CertFile: none, KeyFile: client.KeyFile}, "reading tls.cert_file and tls.key_file: open " + none},
		{TLS{CertFile: client.CertFile, KeyFile: none}, "reading tls.cert_file and tls.key_file: open " + none},
		{TLS{CertFile: junk, KeyFile: client.KeyFile}, "reading tls.cert_file and tls.key_file: tls: "},
		{TLS{CertFile: client.CertFile, KeyFile: locked}, "the key is encrypted, and tls.key_password is not set"},
		{TLS{CertFile: client.CertFile, KeyFile: locked, KeyPassword: "an0ther"}, "decrypting the key with tls.key_password: "},
		{TLS{CertFile: client.CertFile, KeyFile: old, KeyPassword: "s3cret"}, "the key is encrypted in an old form"},
	} {
		_, err := c.settings.Config()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "an0ther") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}
