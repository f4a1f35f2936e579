// Package kafkaconn is what plugins that speak to Kafka share: how to reach the brokers, and why they can't be reached.
package kafkaconn

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd/internal/dial"
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

// common gives what librdkafka shares with other clients; it has no setting for the name in a certificate.
func (t TLS) common() dial.TLS {
	return dial.TLS{
		Enabled: t.Enabled, CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, KeyPassword: t.KeyPassword,
		SkipVerify: t.InsecureSkipVerify,
	}
}

// SASL declares authentication. No mechanism means none.
type SASL struct {
	Mechanism string      `yaml:"mechanism" rule:"omitempty,oneof=PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER" doc:"How to authenticate; empty means not at all."`
	Username  string      `yaml:"username" doc:"User name, for PLAIN and SCRAM."`
	Password  spec.Secret `yaml:"password" doc:"Password, for PLAIN and SCRAM."`
	OAuth     OAuth       `yaml:"oauth" doc:"Where tokens come from, for OAUTHBEARER; other ways than OpenID Connect are set by sasl.oauthbearer.* in properties."`
}

// OAuth declares OpenID Connect: a token is got with the client's credentials (RFC 6749, section 4.4), and again before it
// expires.
type OAuth struct {
	TokenURL     string            `yaml:"token_url" doc:"The token endpoint of the identity provider."`
	ClientID     string            `yaml:"client_id" doc:"The client's id there."`
	ClientSecret spec.Secret       `yaml:"client_secret" doc:"The client's secret there."`
	Scope        string            `yaml:"scope" doc:"What the token is asked for; several are separated by spaces."`
	Extensions   map[string]string `yaml:"extensions" doc:"SASL extensions that the brokers want beside the token, such as logicalCluster and identityPoolId."`
	CAFile       string            `yaml:"ca_file" doc:"Certificates of the authorities to trust for token_url; without it the system's."`
}

func (o *OAuth) set() bool {
	return o.TokenURL != "" || o.ClientID != "" || o.ClientSecret != "" || o.Scope != "" || len(o.Extensions) > 0 || o.CAFile != ""
}

const oauthBearer = "OAUTHBEARER"

// Check finds what of the settings does not fit together, with what further properties of librdkafka say. section is the path of the
// plugin's settings, for hints.
func (s *Security) Check(d *spec.Decoder, n *spec.Node, section string, properties map[string]spec.Secret) {
	at := func(path ...string) []string { return append([]string{"security"}, path...) }
	tls, sasl := s.TLS, s.SASL
	if !tls.Enabled {
		for _, name := range tls.common().Set() {
			Bad(d, n, "set enabled: true beside it", at("tls", name), "is set, but TLS is not enabled")
		}
	}
	switch name, lacks := tls.common().Unpaired(); name {
	case "cert_file":
		Bad(d, n, "set "+lacks, at("tls", name), "needs its private key")
	case "key_file":
		Bad(d, n, "set "+lacks, at("tls", name), "needs its certificate")
	case "key_password":
		Bad(d, n, "set "+lacks, at("tls", name), "is set, but there is no key")
	}
	if sasl.OAuth.set() && sasl.Mechanism != oauthBearer {
		Bad(d, n, "set mechanism: OAUTHBEARER", at("sasl", "oauth"), "is set, but the mechanism is not OAUTHBEARER")
	}
	switch sasl.Mechanism {
	case "":
		if sasl.Username != "" || sasl.Password != "" {
			Bad(d, n, "set mechanism to what the brokers expect: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", at("sasl"), "has credentials, but no mechanism")
		}
	case oauthBearer:
		if sasl.OAuth.set() {
			sasl.OAuth.check(d, n, section, properties)
			break
		}
		// Without these librdkafka asks the application for tokens, and there is no setting to answer it with.
		if properties["sasl.oauthbearer.method"].Reveal() != "oidc" && properties["enable.sasl.oauthbearer.unsecure.jwt"].Reveal() != "true" {
			Bad(d, n, "set oauth beside it: token_url, client_id and client_secret",
				at("sasl", "mechanism"), "is OAUTHBEARER, which needs to know where tokens come from")
		}
	default:
		if sasl.Username == "" || sasl.Password == "" {
			Bad(d, n, "set username and password", at("sasl"), "has mechanism %s, which needs credentials", sasl.Mechanism)
		}
	}
	if what := map[string]string{"PLAIN": "password", oauthBearer: "token"}[sasl.Mechanism]; what != "" && !tls.Enabled {
		Report(d, spec.Warning, n, "set security.tls.enabled: true", at("sasl", "mechanism"), "is %s without TLS: the %s is sent in the clear", sasl.Mechanism, what)
	}
}

// oauthProperties maps librdkafka's properties of OpenID Connect to the settings of OAuth.
var oauthProperties = map[string]string{
	"sasl.oauthbearer.method":             "token_url",
	"sasl.oauthbearer.token.endpoint.url": "token_url",
	"sasl.oauthbearer.client.id":          "client_id",
	"sasl.oauthbearer.client.secret":      "client_secret",
	"sasl.oauthbearer.scope":              "scope",
	"sasl.oauthbearer.extensions":         "extensions",
	"https.ca.location":                   "ca_file",
}

func (o *OAuth) check(d *spec.Decoder, n *spec.Node, section string, properties map[string]spec.Secret) {
	at := func(name string) []string { return []string{"security", "sasl", "oauth", name} }
	u, err := url.Parse(o.TokenURL)
	switch {
	case o.TokenURL == "":
		Bad(d, n, "set the token endpoint of the identity provider", at("token_url"), "is missing")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		Bad(d, n, "set it to a URL such as https://login.example.com/oauth2/token", at("token_url"), "is not a URL of https or http")
	case u.User != nil:
		Bad(d, n, "set client_id and client_secret instead", at("token_url"), "must not hold credentials")
	case u.Scheme == "http":
		Report(d, spec.Warning, n, "use https", at("token_url"), "is http: the client's secret is sent in the clear")
	}
	if o.ClientID == "" {
		Bad(d, n, "set the client's id at the identity provider", at("client_id"), "is missing")
	}
	if o.ClientSecret == "" {
		Bad(d, n, "set the client's secret at the identity provider", at("client_secret"), "is missing")
	}
	for name, value := range o.Extensions {
		// RFC 7628, section 3.1; the comma is librdkafka's separator.
		if name == "" || name == "auth" || strings.IndexFunc(name, notLetter) >= 0 || strings.ContainsAny(value, ",\x01") {
			Bad(d, n, "names are letters, other than auth; values have no comma", append(at("extensions"), name), "can't be a SASL extension")
		}
	}
	for name, setting := range oauthProperties {
		if _, ok := properties[name]; ok {
			Bad(d, n, "set "+section+".security.sasl.oauth."+setting+" instead", []string{"properties", name}, "is ruled by another setting")
		}
	}
}

func notLetter(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }

// properties gives the settings in librdkafka's names.
func (o *OAuth) properties() map[string]string {
	if o.TokenURL == "" {
		return nil
	}
	var extensions []string
	for _, name := range slices.Sorted(maps.Keys(o.Extensions)) {
		extensions = append(extensions, name+"="+o.Extensions[name])
	}
	return map[string]string{
		"sasl.oauthbearer.method":             "oidc",
		"sasl.oauthbearer.token.endpoint.url": o.TokenURL,
		"sasl.oauthbearer.client.id":          o.ClientID,
		"sasl.oauthbearer.client.secret":      o.ClientSecret.Reveal(),
		"sasl.oauthbearer.scope":              o.Scope,
		"sasl.oauthbearer.extensions":         strings.Join(extensions, ","),
		"https.ca.location":                   o.CAFile,
	}
}

// Protocol is librdkafka's security.protocol.
func (s *Security) Protocol() string {
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

// Set adds the settings of security to librdkafka's configuration.
func (s *Security) Set(m ck.ConfigMap) {
	m["security.protocol"] = s.Protocol()
	properties := map[string]string{
		"ssl.ca.location":          s.TLS.CAFile,
		"ssl.certificate.location": s.TLS.CertFile,
		"ssl.key.location":         s.TLS.KeyFile,
		"ssl.key.password":         s.TLS.KeyPassword.Reveal(),
		"sasl.mechanisms":          s.SASL.Mechanism,
		"sasl.username":            s.SASL.Username,
		"sasl.password":            s.SASL.Password.Reveal(),
	}
	maps.Copy(properties, s.SASL.OAuth.properties())
	for key, value := range properties {
		if value != "" {
			m[key] = value
		}
	}
	if s.TLS.InsecureSkipVerify {
		m["enable.ssl.certificate.verification"] = false
		m["ssl.endpoint.identification.algorithm"] = "none"
	}
}

// Sensitive matches properties whose values must not be shown. All values of properties are secrets to the configuration;
// in librdkafka's own messages only these are hidden, since "[redacted]" in place of every "5" would explain nothing.
var Sensitive = regexp.MustCompile(`password|secret|token|credential|\.pem$|jaas|oauthbearer\.config|private`)

// Scrubber hides the secrets of the settings, and those in further properties, in texts that come from librdkafka.
func (s *Security) Scrubber(properties map[string]spec.Secret) dial.Scrubber {
	secrets := []string{s.SASL.Password.Reveal(), s.SASL.OAuth.ClientSecret.Reveal(), s.TLS.KeyPassword.Reveal()}
	for key, value := range properties {
		if Sensitive.MatchString(key) {
			secrets = append(secrets, value.Reveal())
		}
	}
	return dial.NewScrubber(secrets...)
}
