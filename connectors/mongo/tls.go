package mongo

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/spec"
)

// TLS is what stands under source.mongo.tls.
type TLS struct {
	Enabled     bool        `yaml:"enabled" doc:"Use TLS; tls=true in uri and mongodb+srv:// turn it on as well."`
	CAFile      string      `yaml:"ca_file" doc:"A PEM file of the authorities to trust instead of the system's; tlsCAFile in uri."`
	CertFile    string      `yaml:"cert_file" doc:"A PEM file of the certificate to show to the server, for MONGODB-X509 too; needs key_file, which may be the same file."`
	KeyFile     string      `yaml:"key_file" doc:"A PEM file of the certificate's key."`
	KeyPassword spec.Secret `yaml:"key_password" doc:"The password of key_file, if it is encrypted; tlsCertificateKeyFilePassword in uri."`
	ServerName  string      `yaml:"server_name" doc:"The name that the servers' certificates must hold, if not their hosts'."`
	SkipVerify  bool        `yaml:"insecure_skip_verify" doc:"Accept any certificate, also a forger's; tlsInsecure in uri."`
}

const mechanismX509 = "MONGODB-X509"

// options gives the section as options of a connection string, so that the driver reads the files, those with encrypted
// keys too, and finds the user's name for MONGODB-X509 in the certificate, as it does for its own options. Only the server's
// name has none.
func (t TLS) options() url.Values {
	o := url.Values{}
	set := func(name, value string) {
		if value != "" {
			o.Set(name, value)
		}
	}
	if t.Enabled {
		o.Set("tls", "true")
	}
	set("tlsCAFile", t.CAFile)
	if t.CertFile == t.KeyFile {
		set("tlsCertificateKeyFile", t.CertFile)
	} else {
		set("tlsCertificateFile", t.CertFile)
		set("tlsPrivateKeyFile", t.KeyFile)
	}
	set("tlsCertificateKeyFilePassword", t.KeyPassword.Reveal())
	if t.SkipVerify {
		o.Set("tlsInsecure", "true")
	}
	return o
}

// connectionString is the configured one with the options of the TLS section.
func (c *Config) connectionString() string {
	uri, more := c.URI.Reveal(), c.TLS.options().Encode()
	if more == "" {
		return uri
	}
	_, rest, _ := strings.Cut(uri, "://")
	switch {
	case strings.HasSuffix(uri, "?"):
	case strings.Contains(rest, "?"):
		more = "&" + more
	case strings.Contains(rest, "/"):
		more = "?" + more
	default:
		more = "/?" + more
	}
	return uri + more
}

// uriOptions are the options of a connection string by their names in lower case.
func uriOptions(uri string) map[string]string {
	options := map[string]string{}
	_, query, _ := strings.Cut(uri, "?")
	for _, arg := range strings.FieldsFunc(query, isOptionSeparator) {
		name, value, _ := strings.Cut(arg, "=")
		options[strings.ToLower(name)] = value
	}
	return options
}

// Options of a connection string that say the same as a setting of the section; the driver knows most by an older name too.
var sameOption = map[string][]string{
	"ca_file":              {"tlsCAFile", "sslCertificateAuthorityFile"},
	"cert_file":            {"tlsCertificateKeyFile", "sslClientCertificateKeyFile", "tlsCertificateFile"},
	"key_file":             {"tlsCertificateKeyFile", "sslClientCertificateKeyFile", "tlsPrivateKeyFile"},
	"key_password":         {"tlsCertificateKeyFilePassword", "sslClientCertificateKeyPassword"},
	"insecure_skip_verify": {"tlsInsecure", "sslInsecure"},
}

// checkTLS reports TLS settings that contradict the connection string, have no effect, or lack their other half. It reads no
// file.
func (c *Config) checkTLS(d *spec.Decoder, n *spec.Node) {
	target, err := parseURI(c.URI.Reveal())
	if err != nil {
		return // which is reported
	}
	options, t := uriOptions(c.URI.Reveal()), c.TLS
	report := func(name string, code spec.Code, hint, format string, args ...any) {
		d.In("tls", func() {
			d.In(name, func() {
				at, _ := n.Nearest([]string{"tls", name})
				d.Errorf(at, code, hint, "%s "+format, append([]any{d.Path()}, args...)...)
			})
		})
	}
	enabled, said := n.Nearest([]string{"tls", "enabled"})
	said = said && !enabled.IsNull()
	const oneOfThem = "remove one of them"
	switch {
	case said && t.Enabled && target.tlsSaid && !target.tls:
		report("enabled", spec.CodeContradiction, oneOfThem, "is true, but uri says tls=false")
	case said && !t.Enabled && target.tls:
		report("enabled", spec.CodeContradiction, "remove it: uri decides", "is false, but uri turns TLS on")
	}
	on := t.Enabled || target.tls
	for _, name := range dial.TLS(t).Set() {
		if !on {
			report(name, spec.CodeBadValue, "set source.mongo.tls.enabled: true, or add tls=true to uri", "has no effect, since TLS is off")
			continue
		}
		for _, option := range sameOption[name] {
			if _, there := options[strings.ToLower(option)]; there {
				report(name, spec.CodeContradiction, oneOfThem, "and the option %s of uri exclude each other", option)
			}
		}
	}
	_, caInURI := options["tlscafile"]
	insecureInURI, _ := strconv.ParseBool(options["tlsinsecure"])
	switch name, lacks := dial.TLS(t).Unpaired(); {
	case name == "key_password" && !hasClientCertificate(options):
		report(name, spec.CodeBadValue, "set cert_file and key_file", "is there, but no key")
	case name != "" && name != "key_password":
		report(name, spec.CodeBadValue, "set both, to the same file if it holds both", "needs %s", lacks)
	}
	switch {
	case t.SkipVerify && (t.CAFile != "" || caInURI):
		report("insecure_skip_verify", spec.CodeBadValue, oneOfThem, "accepts any certificate, so the authority's file has no effect")
	case insecureInURI && t.CAFile != "":
		report("ca_file", spec.CodeBadValue, oneOfThem, "has no effect: tlsInsecure in uri accepts any certificate")
	}
	if strings.EqualFold(options["authmechanism"], mechanismX509) {
		d.In("uri", func() {
			switch hint := "set source.mongo.tls.enabled, cert_file and key_file, or tlsCertificateKeyFile in uri"; {
			case !on:
				d.Errorf(n.Get("uri"), spec.CodeBadValue, hint, "%s logs in by "+mechanismX509+", which needs TLS", d.Path())
			case t.CertFile == "" && !hasClientCertificate(options):
				d.Errorf(n.Get("uri"), spec.CodeBadValue, hint, "%s logs in by "+mechanismX509+", which needs a client's certificate", d.Path())
			}
		})
	}
}

func hasClientCertificate(options map[string]string) bool {
	return slices.ContainsFunc(sameOption["cert_file"], func(name string) bool { return options[strings.ToLower(name)] != "" })
}

// tlsOf reports whether a connection string turns TLS on, and whether it says anything about it. checked is what the driver
// made of it, as a mongodb:// one.
func tlsOf(checked *connstring.ConnString, plain bool) (on, said bool) {
	if !checked.SSLSet {
		return !plain, !plain // mongodb+srv:// means TLS
	}
	return checked.SSL, true
}
