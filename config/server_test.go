package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/config"
)

const bcryptHash = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func TestServer(t *testing.T) {
	s, diags := config.LoadServer(config.Input{Path: "service.yaml", Text: []byte(`server:
  listen: 0.0.0.0:8443
  tls: {cert_file: c.pem, key_file: k.pem, client_ca_file: ca.pem}
  users:
    ann: {role: operate, password_hash: "` + bcryptHash + `"}
    ci: {role: read, token: "${CI_TOKEN}"}
    ops: {role: operate, certificate: ops.example}
  limits: {memory: 1000000000, events_per_second: 500}
`), Environ: []string{"CI_TOKEN=0123456789abcdef", "SYNCD_SERVER__WRITABLE=true", "SYNCD_RUN__BATCH_SIZE=7", "BATCH_SIZE=8"},
		Overrides: []config.Override{{Flag: "--stop-timeout", Path: []string{"server", "stop_timeout"}, Value: "5s"}}})
	if s == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	if s.Listen != "0.0.0.0:8443" || !s.Writable || s.StopTimeout != 5*time.Second || s.Users["ci"].Token.Reveal() != "0123456789abcdef" || !s.Encrypted() ||
		!s.Authenticated() || s.Limits.EventsPerSecond != 500 {
		t.Errorf("%+v", s)
	}
	s, diags = config.LoadServer(config.Input{})
	if s == nil || s.Listen != "127.0.0.1:8083" || s.Writable || s.Authenticated() {
		t.Errorf("by default: %+v, %v", s, diags)
	}
}

func TestServerErrors(t *testing.T) {
	const tls, users = "tls: {cert_file: c, key_file: k}", `users: {ann: {role: operate, token: "0123456789abcdef"}}`
	for text, want := range map[string]string{
		"listen: 0.0.0.0:8083":                                              "set server.tls, with a certificate and server.users",
		"listen: 10.0.0.1:8083, " + tls:                                     "set server.users",
		"listen: '[::]:8083', " + users:                                     "set server.tls",
		"listen: nonsense":                                                  "must be an address and a port",
		"tls: {cert_file: c}":                                               "server.tls.key_file is needed beside cert_file",
		"tls: {client_ca_file: c}":                                          "server.tls.cert_file is needed",
		"users: {ann: {role: operate}}":                                     "server.users.ann has no way to say who they are",
		"users: {ann: {token: '0123456789abcdef'}}":                         `missing field "role" in server.users.ann`,
		"users: {ann: {role: admin, token: '0123456789abcdef'}}":            "server.users.ann.role must be",
		"users: {ann: {role: read, token: short}}":                          "server.users.ann.token must be at least 16",
		"users: {ann: {role: read, password_hash: hunter2}}":                "server.users.ann.password_hash is not a bcrypt hash",
		"users: {'a:b': {role: read, password_hash: '" + bcryptHash + "'}}": "can't hold a colon",
		"users: {ann: {role: read, certificate: cn}}":                       "nobody's certificates are accepted",
		"users: {a: {role: read, token: 0123456789abcdef}, b: {role: read, token: 0123456789abcdef}}": "server.users.b.token is that of a, too",
		"writeable: true":     "unknown field",
		"stop_timeout: 1ms":   "server.stop_timeout must be at least 1s",
		"limits: {memory: x}": "server.limits.memory must be",
	} {
		s, diags := config.LoadServer(config.Input{Path: "service.yaml", Text: []byte("server: {" + text + "}")})
		if s != nil || len(diags) == 0 || !strings.Contains(diags[0].Message+" "+diags[0].Hint, want) {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
		for _, d := range diags {
			if strings.Contains(d.String(), "0123456789abcdef") || strings.Contains(d.String(), "hunter2") {
				t.Errorf("%s shows a secret: %s", text, d)
			}
		}
	}
	if s, diags := config.LoadServer(config.Input{Path: filepath.Join(t.TempDir(), "no.yaml")}); s != nil || !diags.HasErrors() {
		t.Errorf("a file that is not there: %v", diags)
	}
	if s, diags := config.LoadServer(config.Input{Path: "x", Text: []byte("source: {}")}); s != nil || !diags.HasErrors() {
		t.Errorf("a job's file: %v", diags)
	}
}

// TestServerVariablesAreNotAJobs: a service's variables are in the environment of its jobs, too.
func TestServerVariablesAreNotAJobs(t *testing.T) {
	if _, diags := load(t, minimal, "SYNCD_SERVER__LISTEN=:1", "SYNCD_SERVER__TLS__CERT_FILE=x"); len(diags) > 0 {
		t.Error(diags)
	}
	path := filepath.Join(t.TempDir(), "service.yaml")
	if err := os.WriteFile(path, []byte("server: {writable: true}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, diags := config.LoadServer(config.Input{Path: path, Environ: []string{"SYNCD_SERVER__LISTEN=:1"}}); s == nil || s.Listen != "127.0.0.1:1" || !s.Writable {
		t.Error(diags)
	}
}
