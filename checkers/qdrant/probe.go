package qdrant

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/syncd-io/syncd/internal/dial"
)

// A connection that fails is UNAVAILABLE to a gRPC client whether nobody listens, the port speaks another protocol or a
// certificate is wrong; only the text differs, by release and by server. So after a failure the probe looks for itself,
// where the errors have types.

// errHTTP1 is what a REST port or a proxy is.
var errHTTP1 = errors.New("this port speaks HTTP/1.1 and not gRPC; it may be Qdrant's REST port")

// preface is what an HTTP/2 client says first (RFC 9113, section 3.4), with an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// probe says why the port at addr can't be used: a fault of TLS, errHTTP1 or why there is no connection; nil where it can't be
// told. config is nil where TLS is off.
func probe(ctx context.Context, addr string, config *tls.Config) error {
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
	}
	if why := dial.Diagnose(ctx, "tcp", addr, config, func(conn net.Conn) bool {
		err := greet(conn)
		return err == nil || errors.Is(err, errHTTP1)
	}); why != nil {
		return why
	}
	err := dial.Connect(ctx, "tcp", addr, config, greet)
	if op, ok := errors.AsType[*net.OpError](err); errors.Is(err, errHTTP1) || ok && op.Op == "dial" {
		return err
	}
	return nil // HTTP/2, or a failure that says no more than the client library's
}

// greet sends the preface, and returns nil where HTTP/2 comes back.
func greet(conn net.Conn) error {
	if _, err := conn.Write([]byte(preface)); err != nil {
		return err
	}
	answer := make([]byte, 9) // the length of a frame's header
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(answer, []byte("HTTP/1.")):
		return errHTTP1
	case answer[3] == 4: // a server's first frame is SETTINGS, type 4
		return nil
	}
	return errors.New("it speaks neither HTTP/2 nor HTTP/1")
}
