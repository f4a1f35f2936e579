package qdrant

import (
	"fmt"
	"strconv"
	"time"

	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/spec"
)

// Config is the checker's configuration.
type Config struct {
	URL        string      `yaml:"url" env:"QDRANT_URL" example:"http://localhost:6333" doc:"Where Qdrant is: http(s)://host[:port], grpc://host[:port] or host[:port], localhost if neither url nor host is set; https turns TLS on, and the REST port 6333 stands for the gRPC port 6334."`
	Host       string      `yaml:"host" doc:"The host name, instead of url."`
	Port       int         `yaml:"port" doc:"The gRPC port on host." rule:"min=1,max=65535"`
	Collection string      `yaml:"collection" env:"QDRANT_COLLECTION" doc:"The collection, or an alias of one." rule:"required,name,max=255"`
	APIKey     spec.Secret `yaml:"api_key" doc:"The API key or JSON web token; reading is enough."`
	TLS        TLS         `yaml:"tls" doc:"How to connect where TLS is on."`

	BatchSize   int `yaml:"batch_size" env:"QDRANT_CHECK_BATCH_SIZE" doc:"Ids asked in one request; halved while Qdrant refuses so many, and raised again." rule:"min=1,max=50000"`
	Concurrency int `yaml:"concurrency" doc:"Requests in flight at once; Qdrant serves one request on one core." rule:"min=1,max=64"`
	PoolSize    int `yaml:"pool_size" doc:"Connections to open; 0 leaves it to the client library." rule:"min=0,max=64"`

	Timeout        time.Duration `yaml:"timeout" doc:"The time that one request may take." rule:"min=1ms,max=1h"`
	ConnectTimeout time.Duration `yaml:"connect_timeout" doc:"The time that connecting may take at start." rule:"min=1ms,max=10m"`
	Retry          Retry         `yaml:"retry" doc:"How requests are repeated that Qdrant could not answer."`

	ReadConsistency     ReadConsistency `yaml:"read_consistency" doc:"How many replicas must agree that a point is there: majority, quorum, all or a number; empty asks one replica."`
	OnMissingCollection string          `yaml:"on_missing_collection" doc:"What a collection that does not exist means: empty (nothing is indexed yet) or fail." rule:"oneof=empty fail"`
}

// TLS is how the checker connects where TLS is on.
type TLS struct {
	Enabled     bool        `yaml:"enabled" doc:"Use TLS; https in url turns it on as well."`
	CAFile      string      `yaml:"ca_file" doc:"A PEM file of the authorities to trust instead of the system's."`
	CertFile    string      `yaml:"cert_file" doc:"A PEM file of the certificate to show to the server; needs key_file."`
	KeyFile     string      `yaml:"key_file" doc:"A PEM file of the certificate's key."`
	KeyPassword spec.Secret `yaml:"key_password" doc:"The password of key_file, if it is encrypted."`
	ServerName  string      `yaml:"server_name" doc:"The name that the server's certificate must hold, if not the host's."`
	SkipVerify  bool        `yaml:"insecure_skip_verify" doc:"Accept any certificate, also a forger's."`
}

// Retry is how requests are repeated that Qdrant could not answer.
type Retry struct {
	MaxElapsed time.Duration `yaml:"max_elapsed" doc:"The time after which a request is given up, not counting waits that Qdrant asks for; 0 never repeats." rule:"min=0s,max=24h"`
	Initial    time.Duration `yaml:"initial" doc:"The longest pause before the first repetition; it doubles with each." rule:"min=1ms,max=1h"`
	Max        time.Duration `yaml:"max" doc:"The longest pause between two repetitions." rule:"min=1ms,max=1h"`
}

// What on_missing_collection can say.
const (
	missingIsEmpty = "empty"
	missingFails   = "fail"
)

func defaults() Config {
	return Config{
		Port:                qdrantconn.GRPCPort,
		Collection:          "pms_collection",
		BatchSize:           1000,
		Concurrency:         4,
		Timeout:             10 * time.Second,
		ConnectTimeout:      5 * time.Second,
		Retry:               Retry{MaxElapsed: time.Minute, Initial: 100 * time.Millisecond, Max: 5 * time.Second},
		OnMissingCollection: missingIsEmpty,
	}
}

// ReadConsistency is how many replicas must agree: empty, majority, quorum, all, or a number from 1.
type ReadConsistency string

// DecodeNode reads a word or a number, which a file may hold without quotes.
func (r *ReadConsistency) DecodeNode(d *spec.Decoder, n *spec.Node) {
	if n.IsNull() {
		return
	}
	const hint = "use majority, quorum, all or a number of replicas"
	if n.Kind != spec.Scalar {
		d.Errorf(n, spec.CodeWrongType, hint, "%s must be a word or a whole number", d.Path())
		return
	}
	if _, err := ReadConsistency(n.Text).request(); err != nil {
		d.Errorf(n, spec.CodeBadValue, hint, "%s %v", d.Path(), err)
		return
	}
	*r = ReadConsistency(n.Text)
}

// DescribeShape tells documentation and JSON Schema what DecodeNode accepts.
func (r *ReadConsistency) DescribeShape([]string) spec.Shape {
	return spec.Shape{Form: spec.EitherForm, Either: []spec.Shape{
		{Form: spec.TextForm, Rule: "omitempty,oneof=majority quorum all"},
		{Form: spec.WholeForm, Rule: "min=1"},
	}}
}

// request gives r as a request carries it; nil leaves it to Qdrant, which asks one replica.
func (r ReadConsistency) request() (*qdrant.ReadConsistency, error) {
	switch r {
	case "":
		return nil, nil //nolint:nilnil // no preference is not an error
	case "majority":
		return qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_Majority), nil
	case "quorum":
		return qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_Quorum), nil
	case "all":
		return qdrant.NewReadConsistencyType(qdrant.ReadConsistencyType_All), nil
	}
	n, err := strconv.ParseUint(string(r), 10, 32)
	if err != nil || n == 0 { // Qdrant refuses a factor of 0
		return nil, fmt.Errorf("must be majority, quorum, all or a number of replicas from 1, not %q", string(r))
	}
	return qdrant.NewReadConsistencyFactor(n), nil
}

// CheckConfig reports what the tags can't: settings that exclude or need one another, and what can't be an address.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	report := func(hint string, format string, args []any, path ...string) {
		at, _ := n.Nearest(path)
		in(d, path, func() { d.Errorf(at, spec.CodeBadValue, hint, format, args...) })
	}
	set := func(path ...string) bool {
		at, whole := n.Nearest(path)
		return whole && !at.IsNull()
	}

	addressed := "url"
	if c.URL == "" {
		addressed = "host"
	}
	ep, err := c.endpoint()
	on, said := ep.SchemeTLS()
	switch {
	case c.URL != "" && c.Host != "":
		at, _ := n.Nearest([]string{"host"})
		d.In("host", func() {
			d.Errorf(at, spec.CodeContradiction, `remove one of them; url: "" takes back what another file set`,
				"%s and url exclude each other", d.Path())
		})
	case c.URL != "" && set("port"):
		report("write the port into url", "%s has no effect beside url", []any{pathTo(d, "port")}, "port")
	case err != nil:
		report(qdrantconn.AddressForms, "%s %v", []any{pathTo(d, addressed), err}, addressed)
	case said && on != c.TLS.Enabled && set("tls", "enabled"):
		report("remove it: the scheme of url decides", "%s: %t contradicts url, which begins with %s://",
			[]any{pathTo(d, "tls.enabled"), c.TLS.Enabled, ep.Scheme}, "tls", "enabled")
	}
	if err == nil && ep.Mapped && ep.Scheme != "http" && ep.Scheme != "https" {
		// http://host:6333 is the address that everybody has; anything else with this port was meant to be gRPC.
		if addressed == "host" {
			addressed = "port"
		}
		at, _ := n.Nearest([]string{addressed})
		d.In(addressed, func() {
			d.Report(spec.Warning, at, spec.CodeBadValue, "write 6334",
				"%s: 6333 is the port of Qdrant's REST interface; the gRPC port 6334 is used", d.Path())
		})
	}
	c.checkTLS(err == nil && !ep.TLS && !c.TLS.Enabled, pathTo(d, "tls"), report)

	if c.Retry.Initial > c.Retry.Max {
		report("", "%s must be at least %s, which is %v", []any{pathTo(d, "retry.max"), "initial", c.Retry.Initial}, "retry", "max")
	}
	if !sendable(c.APIKey.Reveal()) {
		report("look for a line break at its end", "%s holds characters that a request can't carry",
			[]any{pathTo(d, "api_key")}, "api_key")
	}
}

// checkTLS reports TLS settings that have no effect or lack their other half. It reads no file.
func (c *Config) checkTLS(off bool, path string, report func(hint, format string, args []any, path ...string)) {
	if off {
		for _, name := range dial.TLS(c.TLS).Set() {
			report("begin url with https://, or set tls.enabled: true", "%s.%s has no effect, since TLS is off",
				[]any{path, name}, "tls", name)
		}
	}
	switch name, lacks := dial.TLS(c.TLS).Unpaired(); {
	case name == "key_password" && !off:
		report("set cert_file and key_file", "%s.key_password is there, but no key", []any{path}, "tls", name)
	case name != "" && name != "key_password":
		report("set both or neither", "%s.%s needs %s", []any{path, name, lacks}, "tls", name)
	}
	if c.TLS.SkipVerify && c.TLS.CAFile != "" {
		report("remove one of them", "%s.insecure_skip_verify accepts any certificate, so ca_file has no effect",
			[]any{path}, "tls", "insecure_skip_verify")
	}
}

// in runs f with the decoder at path.
func in(d *spec.Decoder, path []string, f func()) {
	if len(path) == 0 {
		f()
		return
	}
	d.In(path[0], func() { in(d, path[1:], f) })
}

func pathTo(d *spec.Decoder, name string) string {
	if p := d.Path(); p != "" {
		return p + "." + name
	}
	return name
}

// sendable reports whether a header can carry s: gRPC allows printable ASCII.
func sendable(s string) bool {
	for _, b := range []byte(s) {
		if b < 0x20 || b > 0x7e {
			return false
		}
	}
	return true
}

// endpoint gives the address that the configuration names.
func (c *Config) endpoint() (qdrantconn.Endpoint, error) {
	return qdrantconn.Address{URL: c.URL, Host: c.Host, Port: c.Port, TLS: c.TLS.Enabled}.Endpoint()
}
