package config_test

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
)

// TestListen: an address without a host is this machine's own.
func TestListen(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9090": "127.0.0.1:9090", ":9090": "127.0.0.1:9090", "9090": "127.0.0.1:9090", "0.0.0.0:9090": "0.0.0.0:9090",
		"[::]:9090": "[::]:9090", "localhost:0": "localhost:0", "[::1]:9090": "[::1]:9090", "": "",
		"9090x": "", "host": "", "host:port": "", "1.2.3.4": "", "http://127.0.0.1:9090": "", "::1:9090": "", "127.0.0.1:65536": "",
	} {
		c, diags := load(t, minimal+"observe: {http: {listen: \""+text+"\"}}\n")
		switch {
		case want == "" && text != "":
			if !diags.HasErrors() || !strings.Contains(diags[0].Message, "observe.http.listen must be an address and a port") {
				t.Errorf("%s: %v", text, diags)
			}
		case len(diags) > 0 || c.Observe.HTTP.Listen != want:
			t.Errorf("%s: %v, want %s: %v", text, c, want, diags)
		}
	}
}

func TestObserveDefaults(t *testing.T) {
	c, diags := load(t, minimal+`observe:
  traces: {endpoint: "http://collector:4318/", headers: {authorization: "${TOKEN}"}}
  push: {url: "https://gateway"}
`, "TOKEN=t0ken", "SYNCD_OBSERVE__HTTP__LISTEN=:9091", "SYNCD_OBSERVE__HTTP__PPROF=true")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	o := c.Observe
	if o.Traces.Protocol != config.TraceHTTP || o.Traces.SampleRatio != 1 || o.Traces.Headers["authorization"].Reveal() != "t0ken" ||
		o.Push.Job != "syncd" || o.Push.Timeout <= 0 || o.HTTP.Listen != "127.0.0.1:9091" || !o.HTTP.Pprof {
		t.Errorf("%+v", o)
	}
}

func TestObserveErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{push: {url: "http://me:hunter2@gateway"}}`:                            "observe.push.url must hold no user and no password",
		`{push: {url: "ftp://gateway"}}`:                                        "observe.push.url must be an HTTP URL",
		`{push: {url: "http://g", password: p}}`:                                "observe.push.password has no effect",
		`{push: {url: "http://g", headers: {"a b": c}}}`:                        "observe.push.headers.a b is no name of a header",
		`{traces: {endpoint: "collector:4317"}}`:                                "observe.traces.endpoint must be an HTTP URL",
		`{traces: {endpoint: "http://c:4317", protocol: udp}}`:                  "observe.traces.protocol must be one of: grpc, http",
		`{traces: {endpoint: "http://c:4317", sample_ratio: 1.5}}`:              "observe.traces.sample_ratio must be at most 1",
		`{traces: {endpoint: "http://c:4317", headers: {token: "hunter2\nx"}}}`: "observe.traces.headers.token must be one line",
		`{http: {pprof: true}}`:                                                 "observe.http.pprof has no effect",
	} {
		_, diags := load(t, minimal+"observe: "+text+"\n")
		if len(diags) != 1 || !strings.HasPrefix(diags[0].Message, want) || strings.Contains(diags[0].Message+diags[0].Hint, "hunter2") {
			t.Errorf("%s: %v", text, diags)
		}
	}
}
