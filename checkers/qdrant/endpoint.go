package qdrant

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Qdrant's default ports. People know the REST port, since it is the one in every example; this checker needs the other.
const (
	restPort = 6333
	grpcPort = 6334
)

const addressForms = "write http://host, https://host, host:port or host; the gRPC port is 6334 if none is given"

// endpoint is where to connect.
type endpoint struct {
	scheme string // as written, in lower case; empty if none was
	host   string // without brackets
	port   int
	tls    bool
	mapped bool // the port was Qdrant's REST port, and its gRPC port was put in place
}

// addr is host:port, for people and for dialling.
func (e endpoint) addr() string { return net.JoinHostPort(e.host, strconv.Itoa(e.port)) }

// clientHost is the host as the client library wants it: it joins host and port with a colon and no more.
func (e endpoint) clientHost() string {
	if strings.Contains(e.host, ":") {
		return "[" + e.host + "]"
	}
	return e.host
}

// schemeTLS reports whether the address itself turns TLS on, and whether it says anything about it: grpc:// and a bare
// host don't.
func (e endpoint) schemeTLS() (on, said bool) {
	on = e.scheme == "https" || e.scheme == "grpcs"
	return on, on || e.scheme == "http"
}

// endpoint gives the address that the configuration names.
func (c *Config) endpoint() (endpoint, error) {
	var ep endpoint
	var err error
	switch {
	case c.URL != "":
		ep, err = parseEndpoint(c.URL)
	case c.Host != "":
		if strings.Contains(c.Host, "://") {
			return endpoint{}, errors.New("must be a host name; write the URL into url instead")
		}
		ep.host, err = parseHost(strings.Trim(c.Host, "[]"))
		ep.port = c.Port
	default:
		ep = endpoint{host: "localhost", port: c.Port}
	}
	if err != nil {
		return endpoint{}, err
	}
	if ep.port == restPort {
		ep.port, ep.mapped = grpcPort, true
	}
	ep.tls = ep.tls || c.TLS.Enabled
	return ep, nil
}

// parseEndpoint reads http(s)://host[:port], grpc(s)://host[:port], host:port or host. Its errors complete a sentence that
// begins with the field's name, and never repeat what could be a password.
func parseEndpoint(raw string) (endpoint, error) {
	var ep endpoint
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		scheme, rest = "", strings.TrimSpace(raw)
	}
	ep.scheme = strings.ToLower(scheme)
	switch ep.scheme {
	case "", "http", "grpc", "https", "grpcs":
		ep.tls, _ = ep.schemeTLS()
	default:
		return endpoint{}, fmt.Errorf("must begin with http://, https:// or grpc://, not with %q", scheme+"://")
	}
	switch {
	case strings.Contains(rest, "@"):
		return endpoint{}, errors.New("must not hold a user or a password; write the key into api_key")
	case strings.ContainsAny(rest, "?#"):
		return endpoint{}, errors.New("must not hold ? or #; write the key into api_key")
	}
	rest, path, _ := strings.Cut(rest, "/")
	if strings.Trim(path, "/") != "" {
		return endpoint{}, errors.New("must not have a path: Qdrant's gRPC has none")
	}

	host, port := rest, ""
	switch addr, err := netip.ParseAddr(rest); {
	case err == nil && addr.Is6(): // without brackets, so there is no port
	case strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]"):
		host = rest[1 : len(rest)-1]
	case strings.Contains(rest, ":"):
		if host, port, err = net.SplitHostPort(rest); err != nil {
			return endpoint{}, errors.New("must name one host and at most one port")
		}
		if port == "" {
			return endpoint{}, errors.New("ends with a colon, without a port")
		}
	}
	ep.port = grpcPort
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return endpoint{}, fmt.Errorf("has the port %q, which is not a number from 1 to 65535", port)
		}
		ep.port = int(n)
	}
	var err error
	ep.host, err = parseHost(host)
	return ep, err
}

// parseHost refuses what can't be a host name or an IP address.
func parseHost(host string) (string, error) {
	if host == "" {
		return "", errors.New("names no host")
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", errors.New("must name a host, without a port or anything else")
		}
		return host, nil
	}
	if i := strings.IndexFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`/\@[]%"<>`, r) }); i >= 0 {
		return "", fmt.Errorf("has a host name that holds %q", host[i:i+1])
	}
	return host, nil
}
