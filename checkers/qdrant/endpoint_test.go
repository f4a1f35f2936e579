package qdrant

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
		c := Config{URL: tc.url, Port: grpcPort}
		ep, err := c.endpoint()
		if err != nil {
			t.Errorf("%q: %v", tc.url, err)
			continue
		}
		if ep.addr() != tc.addr || ep.tls != tc.tls || ep.mapped != tc.mapped {
			t.Errorf("%q: got %s tls=%t mapped=%t, want %s tls=%t mapped=%t",
				tc.url, ep.addr(), ep.tls, ep.mapped, tc.addr, tc.tls, tc.mapped)
		}
		if got := ep.clientHost() + ":"; !strings.HasPrefix(tc.addr, got) {
			t.Errorf("%q: the client gets host %q for %s", tc.url, ep.clientHost(), tc.addr)
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
		ep, err := parseEndpoint(url)
		if err == nil {
			t.Errorf("%q: taken as %s", url, ep.addr())
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
		conf Config
		addr string
	}{
		{defaults(), "localhost:6334"},
		{Config{Host: "q", Port: 6333}, "q:6334"},
		{Config{Host: "q", Port: 7}, "q:7"},
		{Config{Host: "::1", Port: 7}, "[::1]:7"},
		{Config{Host: "[::1]", Port: 7}, "[::1]:7"},
	} {
		ep, err := tc.conf.endpoint()
		if err != nil || ep.addr() != tc.addr {
			t.Errorf("%q %d: got %s, %v, want %s", tc.conf.Host, tc.conf.Port, ep.addr(), err, tc.addr)
		}
	}
	for _, host := range []string{"http://q", "q:6334", "a b"} {
		c := Config{Host: host, Port: 7}
		if ep, err := c.endpoint(); err == nil {
			t.Errorf("host %q taken as %s", host, ep.addr())
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"http://localhost:6333", "[::1]:9", "::1", "a@b", "https://x/y?z#", "grpc://:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ep, err := parseEndpoint(s)
		if err != nil {
			return
		}
		again, err := parseEndpoint(ep.addr())
		if err != nil || again.addr() != ep.addr() {
			t.Fatalf("%q reads as %s, which reads as %s, %v", s, ep.addr(), again.addr(), err)
		}
	})
}
