package qdrant

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/syncd-io/syncd/internal/dial"
)

// A connection that fails is UNAVAILABLE to a gRPC client whether nobody listens, the port speaks another protocol or a
// certificate is wrong; only the text differs, by release and by server. So after a failure the probe looks for itself,
// where the errors have types.

// What the probe can find where no gRPC server is.
var (
	errHTTP1   = errors.New("this port speaks HTTP/1.1 and not gRPC; it may be Qdrant's REST port") // or a proxy
	errNoFrame = errors.New("it speaks neither HTTP/2 nor HTTP/1")
	errKafka   = errors.New("it is a Kafka broker")
	// errHangsUp may be an outage, too: a connection that was cut at this moment.
	errHangsUp = errors.New("what answers there is hardly Qdrant: it hangs up when it is spoken to in gRPC")
)

const (
	longestProbe = 4 * time.Second
	// longestListening is how long it takes at most until a proxy without a server behind it has hung up by itself, and until a server
	// that speaks first has begun.
	longestListening = 500 * time.Millisecond
	longestSilence   = 500 * time.Millisecond // after the preface
)

// preface is what an HTTP/2 client says first (RFC 9113, section 3.4), with an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// probe says why the port at addr can't be used: a fault of TLS, what was found instead of gRPC, or why there is no connection;
// nil where it can't be told. config is nil where TLS is off.
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
	silent := false
	err := dial.Connect(ctx, "tcp", addr, config, func(conn net.Conn) error {
		_ = conn.SetReadDeadline(time.Now().Add(longestListening))
		switch err := hear(conn); { // gRPC servers may speak first, too
		case errors.Is(err, errHangsUp): // unasked: a proxy whose server is down
			return nil
		case !timedOut(err):
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(longestSilence))
		err := greet(conn)
		silent = timedOut(err)
		return err
	})
	if silent && speaksKafka(ctx, addr, config) {
		return errKafka
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return err
	}
	for _, found := range []error{errHTTP1, errNoFrame, errHangsUp} {
		if errors.Is(err, found) {
			return found
		}
	}
	return nil // HTTP/2, or a failure that says no more than the client library's
}

func timedOut(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// greet sends the preface, and returns nil where HTTP/2 comes back.
func greet(conn net.Conn) error {
	if _, err := conn.Write([]byte(preface)); err != nil {
		return err
	}
	return hear(conn)
}

// hear says what a server's first bytes are; nil stands for HTTP/2.
func hear(conn net.Conn) error {
	said := make([]byte, 9) // the length of a frame's header
	n, err := io.ReadFull(conn, said)
	switch {
	case bytes.HasPrefix(said, []byte("HTTP/1.")):
		return errHTTP1
	case n > 0 && err != nil: // a server's first frame is longer
		return errNoFrame
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errHangsUp
	case err != nil:
		return err
	case said[3] == 4: // a server's first frame is SETTINGS, type 4
		return nil
	}
	return errNoFrame
}

// speaksKafka reports whether the port answers a Kafka client, which is the other address of a configuration. A broker waits for
// the rest of what it takes a preface for.
func speaksKafka(ctx context.Context, addr string, config *tls.Config) bool {
	const (
		// An ApiVersions request of version 0, without a client's name: length, key, version, correlation, length of the name.
		question = "\x00\x00\x00\x0a\x00\x12\x00\x00SYNC\xff\xff"
		answer   = 8 // bytes of the length and the correlation
	)
	err := dial.Connect(ctx, "tcp", addr, config, func(conn net.Conn) error {
		if _, err := io.WriteString(conn, question); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(longestSilence))
		head := make([]byte, answer)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		if string(head[4:]) != "SYNC" {
			return errNoFrame
		}
		return nil
	})
	return err == nil
}
