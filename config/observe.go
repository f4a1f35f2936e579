package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/spec"
)

// Observe is the `observe` section: how a run can be watched. Nothing of it is on by default.
type Observe struct {
	HTTP   HTTP   `yaml:"http" doc:"An HTTP server that shows metrics and health while syncd runs."`
	Push   Push   `yaml:"push" doc:"Where metrics are pushed when a run has ended, for runs that are too short to be scraped."`
	Traces Traces `yaml:"traces" doc:"Where traces of the batches are sent, by OTLP."`
}

// HTTP is the `observe.http` section.
type HTTP struct {
	Listen string `yaml:"listen" example:"127.0.0.1:9090" doc:"Address and port to listen on, for /metrics, /healthz and /readyz; without an address, as in :9090, only this machine can connect, and 0.0.0.0:9090 lets all connect. Not set, nothing listens."`
	Pprof  bool   `yaml:"pprof" doc:"Serve profiles of the process under /debug/pprof as well."`
}

// Push is the `observe.push` section.
type Push struct {
	URL      string                 `yaml:"url" rule:"omitempty,url" example:"http://pushgateway:9091" doc:"The Pushgateway's URL. Not set, nothing is pushed."`
	Job      string                 `yaml:"job" rule:"min=1" doc:"The job label that the metrics are kept under."`
	Instance string                 `yaml:"instance" doc:"The instance label that the metrics are kept under beside the job; not set, there is none, so that each run replaces the one before it, wherever it ran."`
	Username string                 `yaml:"username" doc:"The user, where the gateway asks for one."`
	Password spec.Secret            `yaml:"password" doc:"The user's password."`
	Headers  map[string]spec.Secret `yaml:"headers" doc:"Further HTTP headers, such as a token; their values are treated as secrets."`
	CAFile   string                 `yaml:"ca_file" doc:"PEM file of the authorities that the gateway's certificate is checked with; the system's if it is not set."`
	Timeout  time.Duration          `yaml:"timeout" rule:"gt=0" doc:"How long the gateway may take; then the run ends without it."`
}

// TraceProtocol is how traces are sent.
type TraceProtocol string

// The protocols.
const (
	TraceGRPC TraceProtocol = "grpc"
	TraceHTTP TraceProtocol = "http"
)

// Traces is the `observe.traces` section.
type Traces struct {
	Endpoint    string                 `yaml:"endpoint" rule:"omitempty,url" example:"http://otel-collector:4317" doc:"The collector's URL; https encrypts. Not set, the variables OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_EXPORTER=otlp turn traces on, and without them there are none."`
	Protocol    TraceProtocol          `yaml:"protocol" rule:"omitempty,oneof=grpc http" example:"grpc" doc:"OTLP over gRPC (grpc) or over HTTP (http); not set, http for port 4318 and grpc for all others."`
	CAFile      string                 `yaml:"ca_file" doc:"PEM file of the authorities that the collector's certificate is checked with; the system's if it is not set."`
	Headers     map[string]spec.Secret `yaml:"headers" doc:"Headers of each request, such as a token; their values are treated as secrets."`
	SampleRatio float64                `yaml:"sample_ratio" rule:"min=0,max=1" doc:"The share of batches that are traced; the run itself always is."`
}

func defaultObserve() Observe {
	return Observe{Push: Push{Job: "syncd", Timeout: 10 * time.Second}, Traces: Traces{SampleRatio: 1}}
}

// loopback is where what has no address listens.
const loopback = "127.0.0.1"

// CheckConfig implements spec.SelfChecker. It completes Listen.
func (h *HTTP) CheckConfig(d *spec.Decoder, n *spec.Node) {
	at := n.Get("listen")
	if h.Listen == "" {
		if h.Pprof {
			d.In("pprof", func() {
				d.Report(spec.Warning, n.Get("pprof"), spec.CodeNoEffect, "set listen beside it, such as 127.0.0.1:9090", "%s has no effect: without listen there is no server", d.Path())
			})
		}
		return
	}
	if listen, ok := listenAddress(d, at, "listen", h.Listen); ok {
		h.Listen = listen
	}
}

// listenAddress completes what says where to listen: a port, or an address and a port. Without an address it is loopback.
func listenAddress(d *spec.Decoder, at *spec.Node, field, listen string) (complete string, ok bool) {
	address := listen
	if !strings.Contains(address, ":") {
		address = ":" + address // a port
	}
	host, port, err := net.SplitHostPort(address)
	number, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || strings.ContainsAny(host, "/@ ") {
		d.In(field, func() {
			d.Errorf(at, spec.CodeBadValue, "write an address and a port, such as 127.0.0.1:9090, or [::1]:9090", "%s must be an address and a port, not %q", d.Path(), listen)
		})
		return "", false
	}
	if host == "" {
		host = loopback
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10)), true
}

// CheckConfig implements spec.SelfChecker.
func (p *Push) CheckConfig(d *spec.Decoder, n *spec.Node) {
	if refuseURL(d, n.Get("url"), "url", p.URL, "take it out, and set username and password") {
		return
	}
	if p.URL == "" {
		return
	}
	if p.Username == "" && p.Password != "" {
		d.In("password", func() {
			d.Report(spec.Warning, n.Get("password"), spec.CodeNoEffect, "set username beside it", "%s has no effect: there is no username", d.Path())
		})
	}
	checkHeaders(d, n.Get("headers"), p.Headers)
}

// CheckConfig implements spec.SelfChecker.
func (t *Traces) CheckConfig(d *spec.Decoder, n *spec.Node) {
	if refuseURL(d, n.Get("endpoint"), "endpoint", t.Endpoint, "take it out, and send a token in headers") {
		return
	}
	checkHeaders(d, n.Get("headers"), t.Headers)
	if t.Endpoint == "" || t.Protocol != "" {
		return
	}
	t.Protocol = TraceGRPC
	if u, err := url.Parse(t.Endpoint); err == nil && u.Port() == "4318" {
		t.Protocol = TraceHTTP
	}
}

// refuseURL reports a URL that is of another kind, or that holds a password: URLs stand in errors and logs.
func refuseURL(d *spec.Decoder, at *spec.Node, field, address, hint string) bool {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return false
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		d.In(field, func() {
			d.Errorf(at, spec.CodeBadValue, "begin it with http:// or https://", "%s must be an HTTP URL", d.Path())
		})
	case u.User != nil:
		d.In(field, func() {
			d.Errorf(at, spec.CodeBadValue, hint, "%s must hold no user and no password", d.Path())
		})
	default:
		return false
	}
	return true
}

// checkHeaders finds names and values that no request can carry. A value is not part of the message.
func checkHeaders(d *spec.Decoder, n *spec.Node, headers map[string]spec.Secret) {
	d.In("headers", func() {
		for name, value := range headers {
			d.In(name, func() {
				switch {
				case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }):
					d.Errorf(n.Get(name), spec.CodeBadValue, "letters, digits and hyphens", "%s is no name of a header", d.Path())
				case strings.ContainsAny(value.Reveal(), "\r\n\x00"):
					d.Errorf(n.Get(name), spec.CodeBadValue, "", "%s must be one line", d.Path())
				}
			})
		}
	})
}
