package qdrantconn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Qdrant's default ports. People know the REST port, since it is the one in every example; gRPC needs the other.
const (
	RESTPort = 6333
	GRPCPort = 6334
)

// AddressForms is the hint for an address that can't be read.
const AddressForms = "write http://host, https://host, host:port or host; the gRPC port is 6334 if none is given"

// Endpoint is where to connect.
type Endpoint struct {
	Scheme string // as written, in lower case; empty if none was
	Host   string // without brackets
	Port   int
	TLS    bool
	Mapped bool // the port was Qdrant's REST port, and its gRPC port was put in place
}

// Addr is host:port, for people and for dialling.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// ClientHost is the host as the client library wants it: it joins host and port with a colon and no more.
func (e Endpoint) ClientHost() string {
	if strings.Contains(e.Host, ":") {
		return "[" + e.Host + "]"
	}
	return e.Host
}

// SchemeTLS reports whether the address itself turns TLS on, and whether it says anything about it: grpc:// and a bare
// host don't.
func (e Endpoint) SchemeTLS() (on, said bool) {
	on = e.Scheme == "https" || e.Scheme == "grpcs"
	return on, on || e.Scheme == "http"
}

// Address is how a configuration names an endpoint: by URL, or by Host and Port; localhost if it names none.
type Address struct {
	URL, Host string
	Port      int
	TLS       bool // turned on beside the address
}

// Endpoint gives the address that the configuration names.
func (c Address) Endpoint() (Endpoint, error) {
	var ep Endpoint
	var err error
	switch {
	case c.URL != "":
		ep, err = Parse(c.URL)
	case c.Host != "":
		if strings.Contains(c.Host, "://") {
			return Endpoint{}, errors.New("must be a host name; write the URL into url instead")
		}
		ep.Host, err = parseHost(strings.Trim(c.Host, "[]"))
		ep.Port = c.Port
	default:
		ep = Endpoint{Host: "localhost", Port: c.Port}
	}
	if err != nil {
		return Endpoint{}, err
	}
	if ep.Port == RESTPort {
		ep.Port, ep.Mapped = GRPCPort, true
	}
	ep.TLS = ep.TLS || c.TLS
	return ep, nil
}

// Parse reads http(s)://host[:port], grpc(s)://host[:port], host:port or host. Its errors complete a sentence that
// begins with the field's name, and never repeat what could be a password.
func Parse(raw string) (Endpoint, error) {
	var ep Endpoint
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		scheme, rest = "", strings.TrimSpace(raw)
	}
	ep.Scheme = strings.ToLower(scheme)
	switch ep.Scheme {
	case "", "http", "grpc", "https", "grpcs":
		ep.TLS, _ = ep.SchemeTLS()
	default:
		return Endpoint{}, fmt.Errorf("must begin with http://, https:// or grpc://, not with %q", scheme+"://")
	}
	switch {
	case strings.Contains(rest, "@"):
		return Endpoint{}, errors.New("must not hold a user or a password; write the key into api_key")
	case strings.ContainsAny(rest, "?#"):
		return Endpoint{}, errors.New("must not hold ? or #; write the key into api_key")
	}
	rest, path, _ := strings.Cut(rest, "/")
	if strings.Trim(path, "/") != "" {
		return Endpoint{}, errors.New("must not have a path: Qdrant's gRPC has none")
	}

	host, port := rest, ""
	switch addr, err := netip.ParseAddr(rest); {
	case err == nil && addr.Is6(): // without brackets, so there is no port
	case strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]"):
		host = rest[1 : len(rest)-1]
	case strings.Contains(rest, ":"):
		if host, port, err = net.SplitHostPort(rest); err != nil {
			return Endpoint{}, errors.New("must name one host and at most one port")
		}
		if port == "" {
			return Endpoint{}, errors.New("ends with a colon, without a port")
		}
	}
	ep.Port = GRPCPort
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Endpoint{}, fmt.Errorf("has the port %q, which is not a number from 1 to 65535", port)
		}
		ep.Port = int(n)
	}
	var err error
	ep.Host, err = parseHost(host)
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
