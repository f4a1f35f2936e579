package kafka

import (
	"regexp"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd/spec"
)

// Security says how to reach the brokers: in the clear, with TLS, with SASL, or with both.
type Security struct {
	TLS  TLS  `yaml:"tls" doc:"Encryption."`
	SASL SASL `yaml:"sasl" doc:"Authentication by SASL."`
}

// TLS declares encryption and client certificates. Files are PEM.
type TLS struct {
	Enabled            bool        `yaml:"enabled" doc:"Whether to connect with TLS."`
	CAFile             string      `yaml:"ca_file" doc:"Certificates of the authorities to trust; without it the system's."`
	CertFile           string      `yaml:"cert_file" doc:"This client's certificate, where brokers ask for one."`
	KeyFile            string      `yaml:"key_file" doc:"The private key of cert_file."`
	KeyPassword        spec.Secret `yaml:"key_password" doc:"The password of key_file, if it has one."`
	InsecureSkipVerify bool        `yaml:"insecure_skip_verify" doc:"Trust any certificate of any host; for tests only."`
}

// SASL declares authentication. No mechanism means none.
type SASL struct {
	Mechanism string      `yaml:"mechanism" rule:"omitempty,oneof=PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER" doc:"How to authenticate; empty means not at all. OAUTHBEARER takes its sasl.oauthbearer.* settings from properties."`
	Username  string      `yaml:"username" doc:"User name, for PLAIN and SCRAM."`
	Password  spec.Secret `yaml:"password" doc:"Password, for PLAIN and SCRAM."`
}

const oauthBearer = "OAUTHBEARER"

func (s *Security) check(d *spec.Decoder, n *spec.Node, properties map[string]spec.Secret) {
	at := func(path ...string) []string { return append([]string{"security"}, path...) }
	tls, sasl := s.TLS, s.SASL
	if !tls.Enabled {
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"ca_file", tls.CAFile != ""}, {"cert_file", tls.CertFile != ""}, {"key_file", tls.KeyFile != ""},
			{"key_password", tls.KeyPassword != ""}, {"insecure_skip_verify", tls.InsecureSkipVerify},
		} {
			if f.set {
				bad(d, n, "set enabled: true beside it", at("tls", f.name), "is set, but TLS is not enabled")
			}
		}
	}
	switch {
	case tls.CertFile != "" && tls.KeyFile == "":
		bad(d, n, "set key_file", at("tls", "cert_file"), "needs its private key")
	case tls.CertFile == "" && tls.KeyFile != "":
		bad(d, n, "set cert_file", at("tls", "key_file"), "needs its certificate")
	case tls.KeyPassword != "" && tls.KeyFile == "":
		bad(d, n, "set key_file", at("tls", "key_password"), "is set, but there is no key")
	}
	switch sasl.Mechanism {
	case "":
		if sasl.Username != "" || sasl.Password != "" {
			bad(d, n, "set mechanism to what the brokers expect: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", at("sasl"), "has credentials, but no mechanism")
		}
	case oauthBearer:
		// Without these librdkafka asks the application for tokens, and there is no setting to answer it with.
		if properties["sasl.oauthbearer.method"].Reveal() != "oidc" && properties["enable.sasl.oauthbearer.unsecure.jwt"].Reveal() != "true" {
			bad(d, n, "set sasl.oauthbearer.method: oidc and its other sasl.oauthbearer.* settings in properties",
				at("sasl", "mechanism"), "is OAUTHBEARER, which needs to know where tokens come from")
		}
	default:
		if sasl.Username == "" || sasl.Password == "" {
			bad(d, n, "set username and password", at("sasl"), "has mechanism %s, which needs credentials", sasl.Mechanism)
		}
		if sasl.Mechanism == "PLAIN" && !tls.Enabled {
			report(d, spec.Warning, n, "set security.tls.enabled: true", at("sasl", "mechanism"), "is PLAIN without TLS: the password is sent in the clear")
		}
	}
}

// protocol is librdkafka's security.protocol.
func (s *Security) protocol() string {
	switch {
	case s.TLS.Enabled && s.SASL.Mechanism != "":
		return "sasl_ssl"
	case s.TLS.Enabled:
		return "ssl"
	case s.SASL.Mechanism != "":
		return "sasl_plaintext"
	}
	return "plaintext"
}

// set adds the settings of security to librdkafka's configuration.
func (s *Security) set(m ck.ConfigMap) {
	m["security.protocol"] = s.protocol()
	for key, value := range map[string]string{
		"ssl.ca.location":          s.TLS.CAFile,
		"ssl.certificate.location": s.TLS.CertFile,
		"ssl.key.location":         s.TLS.KeyFile,
		"ssl.key.password":         s.TLS.KeyPassword.Reveal(),
		"sasl.mechanisms":          s.SASL.Mechanism,
		"sasl.username":            s.SASL.Username,
		"sasl.password":            s.SASL.Password.Reveal(),
	} {
		if value != "" {
			m[key] = value
		}
	}
	if s.TLS.InsecureSkipVerify {
		m["enable.ssl.certificate.verification"] = false
		m["ssl.endpoint.identification.algorithm"] = "none"
	}
}

// sensitive matches properties whose values must not be shown. All values of properties are secrets to the configuration;
// in librdkafka's own messages only these are hidden, since "[redacted]" in place of every "5" would explain nothing.
var sensitive = regexp.MustCompile(`password|secret|token|credential|\.pem$|jaas|oauthbearer\.config|private`)

// scrubber hides the configuration's secrets in texts that come from librdkafka.
func (c *Config) scrubber() *strings.Replacer {
	var pairs []string
	hide := func(s spec.Secret) {
		if s != "" {
			pairs = append(pairs, s.Reveal(), spec.Redacted)
		}
	}
	hide(c.Security.SASL.Password)
	hide(c.Security.TLS.KeyPassword)
	for key, value := range c.Properties {
		if sensitive.MatchString(key) {
			hide(value)
		}
	}
	return strings.NewReplacer(pairs...)
}
