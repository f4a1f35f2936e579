package qdrantconn

import (
	"strings"
	"testing"
)

func TestEndpoint(t *testing.T) {
	for _, tc := range []struct {
		url    string
		addr   string
		tls    bool
		mapped bool
	}{
		{url: "http://localhost:6333", addr: "localhost:6334", mapped: true},
		{url: "http://localhost:6334", addr: "localhost:6334"},
		{url: "http://qdrant", addr: "qdrant:6334"},
		{url: "http://qdrant/", addr: "qdrant:6334"},
		{url: "HTTP://Qdrant:7000/", addr: "Qdrant:7000"},
		{url: "https://x.cloud.qdrant.io:6333", addr: "x.cloud.qdrant.io:6334", tls: true, mapped: true},
		{url: "https://x.cloud.qdrant.io", addr: "x.cloud.qdrant.io:6334", tls: true},
		{url: "https://x.cloud.qdrant.io:443", addr: "x.cloud.qdrant.io:443", tls: true},
		{url: "grpc://qdrant:6334", addr: "qdrant:6334"},
		{url: "grpc://qdrant", addr: "qdrant:6334"},
		{url: "grpcs://qdrant", addr: "qdrant:6334", tls: true},
		{url: "qdrant:6333", addr: "qdrant:6334", mapped: true},
		{url: "qdrant:9000", addr: "qdrant:9000"},
		{url: " qdrant ", addr: "qdrant:6334"},
		{url: "10.0.0.1", addr: "10.0.0.1:6334"},
		{url: "http://[::1]:6333", addr: "[::1]:6334", mapped: true},
		{url: "[::1]:9000", addr: "[::1]:9000"},
		{url: "[::1]", addr: "[::1]:6334"},
		{url: "::1", addr: "[::1]:6334"},
		{url: "http://[fe80::1%eth0]:6334", addr: "[fe80::1%eth0]:6334"},
	} {
		c := Address{URL: tc.url, Port: GRPCPort}
		ep, err := c.Endpoint()
		if err != nil {
			t.Errorf("%q: %v", tc.url, err)
			continue
		}
		if ep.Addr() != tc.addr || ep.TLS != tc.tls || ep.Mapped != tc.mapped {
			t.Errorf("%q: got %s tls=%t mapped=%t, want %s tls=%t mapped=%t",
				tc.url, ep.Addr(), ep.TLS, ep.Mapped, tc.addr, tc.tls, tc.mapped)
		}
		if got := ep.ClientHost() + ":"; !strings.HasPrefix(tc.addr, got) {
			t.Errorf("%q: the client gets host %q for %s", tc.url, ep.ClientHost(), tc.addr)
		}
	}
}

func TestEndpointRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"ftp://qdrant":                 "must begin with http://",
		"http://":                      "names no host",
		"http://:6334":                 "names no host",
		"http://qdrant:":               "without a port",
		"http://qdrant:0":              "not a number from 1",
		"http://qdrant:65536":          "not a number from 1",
		"http://qdrant:grpc":           "not a number from 1",
		"http://qdrant/collections":    "must not have a path",
		"http://user:s3cret@qdrant":    "user or a password",
		"http://qdrant?api_key=s3cret": "api_key",
		"http://q drant":               "host name that holds",
		"http://[::1":                  "one host",
		"http://a:1:2":                 "one host",
		"[x::y]:6334":                  "must name a host",
	} {
		ep, err := Parse(url)
		if err == nil {
			t.Errorf("%q: taken as %s", url, ep.Addr())
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, want it to hold %q", url, err, want)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error shows the secret: %v", url, err)
		}
	}
}

func TestEndpointOfHost(t *testing.T) {
	for _, tc := range []struct {
		conf Address
		addr string
	}{
		{Address{Port: GRPCPort}, "localhost:6334"},
		{Address{Host: "q", Port: 6333}, "q:6334"},
		{Address{Host: "q", Port: 7}, "q:7"},
		{Address{Host: "::1", Port: 7}, "[::1]:7"},
		{Address{Host: "[::1]", Port: 7}, "[::1]:7"},
	} {
		ep, err := tc.conf.Endpoint()
		if err != nil || ep.Addr() != tc.addr {
			t.Errorf("%q %d: got %s, %v, want %s", tc.conf.Host, tc.conf.Port, ep.Addr(), err, tc.addr)
		}
	}
	for _, host := range []string{"http://q", "q:6334", "a b"} {
		c := Address{Host: host, Port: 7}
		if ep, err := c.Endpoint(); err == nil {
			t.Errorf("host %q taken as %s", host, ep.Addr())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"http://localhost:6333", "[::1]:9", "::1", "a@b", "https://x/y?z#", "grpc://:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ep, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(ep.Addr())
		if err != nil || again.Addr() != ep.Addr() {
			t.Fatalf("%q reads as %s, which reads as %s, %v", s, ep.Addr(), again.Addr(), err)
		}
	})
}
