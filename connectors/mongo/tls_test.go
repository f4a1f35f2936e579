package mongo

import (
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// tlsNode is source.mongo with a connection string and a tls section, each setting of it on a line of its own.
func tlsNode(uri string, settings ...string) *spec.Node {
	section := &spec.Node{Kind: spec.Map, Pos: spec.Pos{Source: "f", Line: 3, Column: 1}}
	for i := 0; i < len(settings); i += 2 {
		v := scalar(settings[i+1])
		if v.Text == "true" || v.Text == "false" {
			v.Type = spec.Bool
		}
		v.Pos = spec.Pos{Source: "f", Line: 4 + i/2, Column: 9}
		section.Entries = append(section.Entries, spec.Entry{Name: settings[i], Value: v})
	}
	at := scalar(uri)
	at.Pos = spec.Pos{Source: "f", Line: 2, Column: 5}
	return &spec.Node{Kind: spec.Map, Entries: []spec.Entry{
		{Name: "uri", Value: at}, {Name: "database", Value: scalar("db")}, {Name: "tls", Value: section},
	}}
}

func TestTLSConfig(t *testing.T) {
	for _, c := range []struct {
		uri      string
		settings []string
		want     []string
	}{
		{"mongodb://h/", []string{"enabled", "true", "ca_file", "a", "cert_file", "c", "key_file", "k", "key_password", "s3cret", "server_name", "n"}, nil},
		{"mongodb://h/?tls=true", []string{"ca_file", "a"}, nil},
		{"mongodb://h/?tls=true", []string{"enabled", "true"}, nil},
		{"mongodb://h/?tlsCAFile=a", []string{"cert_file", "c", "key_file", "k"}, nil},
		{"mongodb+srv://h.example", []string{"ca_file", "a"}, nil},
		{"mongodb+srv://h.example/?tls=false", []string{"enabled", "false"}, nil},
		{"mongodb://h/?tlsCertificateKeyFile=c", []string{"key_password", "s3cret"}, nil},
		{"mongodb://h/?authMechanism=MONGODB-X509", []string{"enabled", "true", "cert_file", "c", "key_file", "c"}, nil},
		{"mongodb://h/?tls=false", []string{"enabled", "true"}, []string{"f:4:9: error: source.mongo.tls.enabled is true, but uri says tls=false"}},
		{"mongodb://h/?ssl=true", []string{"enabled", "false"}, []string{"f:4:9: error: source.mongo.tls.enabled is false, but uri turns TLS on"}},
		{"mongodb+srv://h.example", []string{"enabled", "false"}, []string{"source.mongo.tls.enabled is false, but uri turns TLS on"}},
		{"mongodb://h/?tlsCAFile=a", []string{"ca_file", "a"}, []string{"f:4:9: error: source.mongo.tls.ca_file and the option tlsCAFile of uri exclude each other"}},
		{"mongodb://h/?tlsCertificateKeyFile=a", []string{"cert_file", "a", "key_file", "a"}, []string{
			"f:4:9: error: source.mongo.tls.cert_file and the option tlsCertificateKeyFile of uri exclude each other",
			"f:5:9: error: source.mongo.tls.key_file and the option tlsCertificateKeyFile of uri exclude each other"}},
		{"mongodb://h/?tlsCertificateKeyFile=a&tlsCertificateKeyFilePassword=s3cret", []string{"key_password", "s3cret"},
			[]string{"source.mongo.tls.key_password and the option tlsCertificateKeyFilePassword of uri exclude each other"}},
		{"mongodb://h/?tls=true&tlsInsecure=true", []string{"insecure_skip_verify", "true"}, []string{"insecure_skip_verify and the option tlsInsecure of uri exclude each other"}},
		{"mongodb://h/?tls=true&tlsInsecure=true", []string{"ca_file", "a"}, []string{"ca_file has no effect: tlsInsecure in uri accepts any certificate"}},
		{"mongodb://h/?tlsCAFile=a", []string{"insecure_skip_verify", "true"}, []string{"insecure_skip_verify accepts any certificate, so the authority's file has no effect"}},
		{"mongodb://h/", []string{"ca_file", "a", "server_name", "n"}, []string{
			"f:4:9: error: source.mongo.tls.ca_file has no effect, since TLS is off", "f:5:9: error: source.mongo.tls.server_name has no effect, since TLS is off"}},
		{"mongodb://h/?tls=true", []string{"cert_file", "c"}, []string{"source.mongo.tls.cert_file needs key_file"}},
		{"mongodb://h/?tls=true", []string{"key_file", "k"}, []string{"source.mongo.tls.key_file needs cert_file"}},
		{"mongodb://h/?tls=true", []string{"key_password", "s3cret"}, []string{"source.mongo.tls.key_password is there, but no key"}},
		{"mongodb://h/?authMechanism=MONGODB-X509", nil, []string{"f:2:5: error: source.mongo.uri logs in by MONGODB-X509, which needs TLS"}},
		{"mongodb://h/?authMechanism=MONGODB-X509&tls=true", nil, []string{"f:2:5: error: source.mongo.uri logs in by MONGODB-X509, which needs a client's certificate"}},
		{"mongodb://h/?tls=maybe", []string{"ca_file", "a"}, []string{"is not a MongoDB connection string"}},
	} {
		ds := spec.Decode(tlsNode(c.uri, c.settings...), Plugin().Config(), "source", "mongo")
		text := ds.Error()
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s %q:\n%s\nlacks %q", c.uri, c.settings, text, want)
			}
		}
		if len(ds) != len(c.want) || strings.Contains(text, "s3cret") {
			t.Errorf("%s %q: %d problems, want %d: %s", c.uri, c.settings, len(ds), len(c.want), text)
		}
	}
}

func TestConnectionString(t *testing.T) {
	section := TLS{Enabled: true, CAFile: "a b.pem", CertFile: "c", KeyFile: "k", KeyPassword: "p&=%"}
	const options = "tls=true&tlsCAFile=a+b.pem&tlsCertificateFile=c&tlsCertificateKeyFilePassword=p%26%3D%25&tlsPrivateKeyFile=k"
	for uri, want := range map[string]string{
		"mongodb://h":                "mongodb://h/?" + options,
		"mongodb://h/":               "mongodb://h/?" + options,
		"mongodb://h/db":             "mongodb://h/db?" + options,
		"mongodb://h/?":              "mongodb://h/?" + options,
		"mongodb://h/?w=1":           "mongodb://h/?w=1&" + options,
		"mongodb+srv://m:p@h":        "mongodb+srv://m:p@h/?" + options,
		"mongodb://%2Ftmp%2Fm.sock/": "mongodb://%2Ftmp%2Fm.sock/?" + options,
	} {
		c := Config{URI: secret(uri), TLS: section}
		if got := c.connectionString(); got != want {
			t.Errorf("%s: %s", uri, got)
		}
		if c.TLS = (TLS{}); c.connectionString() != uri {
			t.Errorf("without a section: %s", c.connectionString())
		}
	}
	scrub := newScrubber((&Config{URI: "mongodb://h/", TLS: section}).connectionString())
	if got := scrub.Replace("key p&=% or p%26%3D%25"); strings.Contains(got, "p&") || strings.Contains(got, "p%26") {
		t.Error(got)
	}
}

// A server that takes a handshake for the beginning of a long message waits for the rest of it.
func TestTLSToAServerThatWaits(t *testing.T) {
	server := newStub(t)
	began := time.Now()
	_, err := Plugin().OpenSource(t.Context(), config("mongodb://"+server.addr()+"/?tls=true"), syncd.Env{})
	if err == nil || !strings.Contains(err.Error(), "the server does not speak TLS, which is on") || syncd.HintOf(err) == "" {
		t.Errorf("%v; hint %q", err, syncd.HintOf(err))
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
