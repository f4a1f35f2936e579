package qdrant

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// A connection that fails is UNAVAILABLE to a gRPC client whether nobody listens, the port speaks another protocol or a
// certificate is wrong; only the text differs, by release and by server. So after a failure the probe looks for itself,
// where the errors have types.

// speech is what a port turned out to speak.
type speech uint8

const (
	unknown    speech = iota // it could not be told
	refused                  // no connection
	http2                    // what gRPC needs
	http1                    // a REST port, a proxy
	wantsTLS                 // TLS, though it is off here
	noTLS                    // no TLS, though it is on here
	badCert                  // TLS, with a certificate that is not trusted
	rejectsTLS               // TLS, and the server ended the handshake
)

// preface is what an HTTP/2 client says first (RFC 9113, section 3.4), with an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// probe connects to addr and says what it speaks. config is nil where TLS is off.
func probe(ctx context.Context, addr string, config *tls.Config) (speech, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return refused, err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	if config == nil {
		s, err := greet(conn)
		if s == unknown && speaksTLS(ctx, addr) {
			return wantsTLS, nil
		}
		return s, err
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return handshakeFailure(err), err
	}
	s, err := greet(secure)
	if s == unknown {
		// In TLS 1.3 a server that wants a client's certificate says so after the handshake.
		if s = handshakeFailure(err); s == unknown {
			if later := listen(ctx, addr, config); handshakeFailure(later) == rejectsTLS {
				return rejectsTLS, later
			}
		}
	}
	return s, err
}

// listening is how long a server may take to say that it does not like the client's certificate.
const listening = 500 * time.Millisecond

// listen waits for what a server says behind a handshake, without a word itself: to one that is written to after it has closed,
// the system answers with a reset, and what it had said before is lost.
func listen(ctx context.Context, addr string, config *tls.Config) error {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_ = conn.SetReadDeadline(time.Now().Add(listening))
	_, err = conn.Read(make([]byte, 1))
	return err
}

// greet sends the preface and reads what comes back.
func greet(conn net.Conn) (speech, error) {
	if _, err := conn.Write([]byte(preface)); err != nil {
		return unknown, err
	}
	answer := make([]byte, 0, 9) // the length of a frame's header
	for len(answer) < cap(answer) {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if err != nil && len(answer) < cap(answer) {
			return unknown, err
		}
	}
	switch {
	case bytes.HasPrefix(answer, []byte("HTTP/1.")):
		return http1, nil
	case answer[3] == 4: // a server's first frame is SETTINGS, type 4
		return http2, nil
	}
	return unknown, errors.New("it speaks neither HTTP/2 nor HTTP/1")
}

// speaksTLS reports whether a TLS server listens at addr. Its certificate does not matter, and nothing is sent to it.
func speaksTLS(ctx context.Context, addr string) bool {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil || handshakeFailure(err) == rejectsTLS
}

func handshakeFailure(err error) speech {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return noTLS
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return badCert
	}
	// crypto/tls reports an alert that was received or sent as an operation of these names; the alert's type is private.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return rejectsTLS
	}
	return unknown
}
