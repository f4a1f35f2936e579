package kafkaconn

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// CheckServers finds what librdkafka would only log and then never connect to: it wants host, host:port or [ipv6]:port, and takes
// a protocol:// in front only where it is the one of security.
func CheckServers(d *spec.Decoder, n *spec.Node, servers, protocol string) {
	const form = "list host:port, separated by commas"
	d.In("bootstrap_servers", func() {
		for server := range strings.SplitSeq(servers, ",") {
			server = strings.TrimSpace(server)
			scheme, address, found := strings.Cut(server, "://")
			switch {
			case !found:
				address = server
			case !strings.EqualFold(scheme, protocol):
				d.Errorf(n, spec.CodeBadValue, form+"; security.tls and security.sasl say how to connect",
					"%s has %q, of which librdkafka does not take the %s://", d.Path(), server, scheme)
				continue
			}
			m := hostPort.FindStringSubmatch(address)
			if m == nil {
				d.Errorf(n, spec.CodeBadValue, form, "%s has %q, which is not host:port", d.Path(), server)
				continue
			}
			if p, err := strconv.Atoi(m[1]); m[1] != "" && (err != nil || p < 1 || p > 65535) {
				d.Errorf(n, spec.CodeBadValue, "ports are 1 to 65535", "%s has %q, whose port does not exist", d.Path(), server)
			}
		}
	})
}

// hostPort matches names and addresses of hosts, those of IPv6 in brackets, and the port behind them.
var hostPort = regexp.MustCompile(`^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])(?::([0-9]*))?$`)

// Bad reports the setting at path below the decoder's position, where it was set, else at the closest block around it.
func Bad(d *spec.Decoder, n *spec.Node, hint string, path []string, format string, args ...any) {
	Report(d, spec.Error, n, hint, path, format, args...)
}

// Report is Bad with a severity.
func Report(d *spec.Decoder, sev spec.Severity, n *spec.Node, hint string, path []string, format string, args ...any) {
	if len(path) == 0 {
		d.Report(sev, n, spec.CodeBadValue, hint, "%s %s", d.Path(), fmt.Sprintf(format, args...))
		return
	}
	if child := n.Get(path[0]); child != nil {
		n = child
	}
	d.In(path[0], func() { Report(d, sev, n, hint, path[1:], format, args...) })
}

// Managed completes the librdkafka properties that a plugin's own settings rule with those that a connection's settings do. The values
// are the settings.
func Managed(own map[string]string) map[string]string {
	maps.Copy(own, map[string]string{
		"bootstrap.servers":                     "bootstrap_servers",
		"metadata.broker.list":                  "bootstrap_servers",
		"client.id":                             "client_id",
		"security.protocol":                     "security.tls.enabled and security.sasl.mechanism",
		"ssl.ca.location":                       "security.tls.ca_file",
		"ssl.certificate.location":              "security.tls.cert_file",
		"ssl.key.location":                      "security.tls.key_file",
		"ssl.key.password":                      "security.tls.key_password",
		"enable.ssl.certificate.verification":   "security.tls.insecure_skip_verify",
		"ssl.endpoint.identification.algorithm": "security.tls.insecure_skip_verify",
		"sasl.mechanism":                        "security.sasl.mechanism",
		"sasl.mechanisms":                       "security.sasl.mechanism",
		"sasl.username":                         "security.sasl.username",
		"sasl.password":                         "security.sasl.password",
	})
	return own
}
