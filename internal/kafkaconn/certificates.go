package kafkaconn

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial"
)

// lookTimeout bounds the second look at a broker's certificate, see TLS.judge.
const lookTimeout = 3 * time.Second

// clientCertificateHint goes with what a broker has against this client's certificate.
const clientCertificateHint = "security.tls: cert_file and key_file must be a client certificate that the brokers accept, where they ask for one"

// CheckFiles finds files that can't be read or hold nothing usable: librdkafka's error would name neither file nor reason.
func (s *Security) CheckFiles(section string) error {
	for _, f := range []struct{ setting, path string }{
		{"tls.ca_file", s.TLS.CAFile}, {"tls.cert_file", s.TLS.CertFile}, {"tls.key_file", s.TLS.KeyFile},
		{"sasl.oauth.ca_file", s.SASL.OAuth.CAFile},
	} {
		if f.path == "" {
			continue
		}
		if info, err := os.Stat(f.path); err == nil && info.IsDir() {
			continue // of authorities, which OpenSSL takes too
		}
		text, err := os.ReadFile(f.path)
		if err != nil {
			return syncd.Hint(fmt.Errorf("reading %s.security.%s: %w", section, f.setting, err), "%s.security.%s must name a PEM file that can be read", section, f.setting)
		}
		if block, _ := pem.Decode(text); block == nil {
			return syncd.Hint(fmt.Errorf("reading %s.security.%s: %s holds nothing in PEM form", section, f.setting, f.path),
				"convert it: openssl x509 -inform der -in FILE for certificates, openssl pkey for keys")
		}
	}
	return nil
}

// refusedBroker finds the broker in librdkafka's message about a connection.
var refusedBroker = regexp.MustCompile(`ssl://(\S+:\d+)/`)

// explainTLS tells why a TLS connection failed. Of a certificate that it does not accept librdkafka says no more than that,
// so it is looked at again, with the same authorities.
func (c *Connection) explainTLS(ctx context.Context, text string) error {
	fail := func(text, hint string) error {
		return syncd.Hint(fmt.Errorf("connecting to Kafka at %s with TLS: %s", c.Servers, text), "%s.%s", c.Section, hint)
	}
	if strings.Contains(text, " alert ") { // which is what the other side has to say
		return fail("the broker refuses: "+text, clientCertificateHint)
	}
	hint := "security.tls: ca_file must hold the authority of the brokers' certificates, which must name the hosts in bootstrap_servers"
	why := c.Security.TLS.judge(ctx, refusedBroker.FindStringSubmatch(text))
	if why == nil {
		return fail(text, hint)
	}
	return fail("the broker's certificate is refused: "+why.Error(), dial.CertificateHint(why,
		"bootstrap_servers, and the brokers' advertised listeners, must use a name that the certificate holds",
		"security.tls: renew the broker's certificate, or set the clock here", hint))
}

// judge returns what is wrong with the certificate of a broker, or nil where that is not known. broker is a match of
// refusedBroker.
func (t *TLS) judge(ctx context.Context, broker []string) error {
	if broker == nil || t.InsecureSkipVerify {
		return nil
	}
	config, err := dial.TLS{CAFile: t.CAFile}.Config()
	if err != nil {
		return nil //nolint:nilerr // a directory of authorities, which is not looked into
	}
	if untrusted, ok := errors.AsType[dial.UntrustedError](dial.Fault(shakeHands(ctx, broker[1], config))); ok {
		return untrusted.Unwrap()
	}
	return nil
}

// missed says whether a broker that hangs up asks for a client's certificate, and there is none. It says so itself, but where
// it hangs up in the middle of what the client sends, the system may drop what it has said.
func (t *TLS) missed(ctx context.Context, broker []string) bool {
	if broker == nil || !t.Enabled || t.CertFile != "" {
		return false
	}
	asked := false
	_ = shakeHands(ctx, broker[1], &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // nothing is sent or believed
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		},
	})
	return asked
}

// shakeHands begins a conversation in which nothing is said.
func shakeHands(ctx context.Context, address string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return dial.Connect(ctx, "tcp", address, config, nil)
}
