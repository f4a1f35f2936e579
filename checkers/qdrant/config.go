package qdrant

import (
	"fmt"
	"strconv"
	"time"

	"github.com/qdrant/go-client/qdrant"

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

// TLS is how a connection is encrypted.
type TLS = qdrantconn.TLS

// Retry is how requests are repeated that Qdrant could not answer.
type Retry = qdrantconn.Retry

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
		Retry:               qdrantconn.DefaultRetry,
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
	report := func(hint, format string, args []any, name string) {
		at, _ := n.Nearest([]string{name})
		d.In(name, func() { d.Errorf(at, spec.CodeBadValue, hint, format, args...) })
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
	switch {
	case c.URL != "" && c.Host != "":
		at, _ := n.Nearest([]string{"host"})
		d.In("host", func() {
			d.Errorf(at, spec.CodeContradiction, `remove one of them; url: "" takes back what another file set`,
				"%s and url exclude each other", d.Path())
		})
	case c.URL != "" && set("port"):
		report("write the port into url", "%s has no effect beside url", []any{qdrantconn.PathTo(d, "port")}, "port")
	case err != nil:
		report(qdrantconn.AddressForms, "%s %v", []any{qdrantconn.PathTo(d, addressed), err}, addressed)
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
	qdrantconn.Check(d, n, c.address(), c.APIKey, c.TLS, c.Retry)
}

// endpoint gives the address that the configuration names.
func (c *Config) endpoint() (qdrantconn.Endpoint, error) { return c.address().Endpoint() }

func (c *Config) address() qdrantconn.Address {
	return qdrantconn.Address{URL: c.URL, Host: c.Host, Port: c.Port, TLS: c.TLS.Enabled}
}
