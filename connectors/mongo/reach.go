package mongo

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// The driver takes a wrong certificate, like every other failure to connect, for something that may pass, and tries again
// until connect_timeout is over. And where one side speaks TLS and the other does not, all that it sees is a connection that
// ends or stays silent. So while a connection is opened its failures are looked at, and what may be behind a cut one is
// found out on a connection of its own.

// How long a server may say nothing before it is looked at, and how long a look takes at most.
const (
	longSilence = time.Second
	longestLook = 2 * time.Second
)

// nudge makes a monitor that fills heartbeatFailed whenever a server could not be reached.
func nudge(heartbeatFailed chan<- struct{}) *event.ServerMonitor {
	return &event.ServerMonitor{ServerHeartbeatFailed: func(*event.ServerHeartbeatFailedEvent) {
		select {
		case heartbeatFailed <- struct{}{}:
		default: // a look is due already
		}
	}}
}

// ping asks a server that the connection string's read preference allows. The driver gives up the search for one after
// connect_timeout; logging in to it and the answer get as long again. Where no server could ever be used, ping ends at once.
func (s *source) ping(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 2*s.cfg.ConnectTimeout)
	defer cancel()
	var answer error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		answer = s.client.Ping(within, nil)
	}()
	silence := time.NewTimer(min(longSilence, s.cfg.ConnectTimeout/2))
	defer silence.Stop()
	for {
		quiet := false
		select {
		case <-answered:
			return s.explain(ctx, answer)
		case <-s.heartbeatFailed:
		case <-silence.C:
			quiet = true
		}
		if err := s.hopeless(within, quiet); err != nil {
			cancel()
			<-answered
			return s.explain(ctx, err)
		}
	}
}

// hopeless says why no server can ever be used as things are; nil where one may. quiet says that servers which have not
// answered are to be looked at too.
func (s *source) hopeless(ctx context.Context, quiet bool) error {
	known, cancel := context.WithCancel(ctx)
	cancel() // what the driver knows is in the error that it gives when it may not wait
	failure, ok := errors.AsType[topology.ServerSelectionError](s.client.Ping(known, nil))
	if !ok {
		return nil
	}
	var first error
	for _, server := range failure.Desc.Servers {
		addr := server.Addr.String()
		why := lasting(server.LastError)
		if why == nil && (isCut(server.LastError) || quiet && server.LastError == nil) {
			why = look(ctx, server.Addr.Network(), addr, s.tls)
		}
		if why == nil {
			return nil
		}
		first = cmp.Or(first, error(serverError{addr, why}))
	}
	return first
}

// What a look finds out.
var (
	errWantsTLS = errors.New("the server wants TLS, which is off")
	errNoTLS    = errors.New("the server does not speak TLS, which is on")
)

// refusalError is a TLS handshake that the server ended.
type refusalError struct{ alert *net.OpError }

func (e refusalError) Error() string {
	return "the server ended the TLS handshake: " + e.alert.Err.Error()
}
func (e refusalError) Unwrap() error { return e.alert }

// untrustedError is a server's certificate that did not stand the test.
type untrustedError struct{ why error }

func (e untrustedError) Error() string {
	return "the server's certificate is not trusted: " + e.why.Error()
}
func (e untrustedError) Unwrap() error { return e.why }

// lasting gives an error of TLS that does not go away by itself in its clearest form, or nil.
func lasting(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, errNoTLS) {
		return errNoTLS
	}
	if errors.Is(err, errWantsTLS) {
		return errWantsTLS
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return untrustedError{e.Err}
	}
	for _, e := range []error{as[x509.UnknownAuthorityError](err), as[x509.HostnameError](err), as[x509.CertificateInvalidError](err)} {
		if e != nil {
			return untrustedError{e}
		}
	}
	// crypto/tls reports an alert that it received as an operation of this name; the alert's own type is private.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return refusalError{op}
	}
	return nil
}

// as is errors.AsType for a list of types.
func as[E error](err error) error {
	if e, ok := errors.AsType[E](err); ok {
		return e
	}
	return nil
}

// isCut reports whether a connection was made, and then ended by the other side or never answered on: what a server that
// waits for TLS does to a client without it, and the reverse.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		err != nil && isTimeout(err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// look finds out, on a connection of its own, whether it is TLS that keeps a server from being used; nil where it isn't.
// config is nil where TLS is off.
func look(ctx context.Context, network, addr string, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	if config == nil {
		// Its certificate does not matter here, and nothing is sent to it.
		if err := shake(ctx, network, addr, &tls.Config{InsecureSkipVerify: true}, false); err == nil || as[refusalError](lasting(err)) != nil {
			return errWantsTLS
		}
		return nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	err := shake(ctx, network, addr, config, true)
	if why := lasting(err); why != nil || err == nil {
		return why
	}
	if answersInPlain(ctx, network, addr) {
		return errNoTLS
	}
	return nil
}

// listening is how long a server may take to say that it does not like the client's certificate: in TLS 1.3 it does so after
// the handshake is over for the client.
const listening = longestLook / 4

// shake connects with TLS. Nothing is written behind the handshake: a server that has closed by then would answer with a
// reset, and its reason would be lost.
func shake(ctx context.Context, network, addr string, config *tls.Config, listen bool) error {
	half, cancel := context.WithTimeout(ctx, longestLook/2) // the other half is for another look
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(half, network, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if !listen {
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetReadDeadline(time.Now().Add(listening))
	if _, err = conn.Read(make([]byte, 1)); isTimeout(err) {
		return nil
	}
	return err
}

// answersInPlain reports whether a server answers a hello that is sent without TLS.
func answersInPlain(ctx context.Context, network, addr string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	hello, err := bson.Marshal(bson.D{{Key: "hello", Value: 1}, {Key: "$db", Value: "admin"}})
	if err != nil {
		return false
	}
	at, msg := wiremessage.AppendHeaderStart(nil, 1, 0, wiremessage.OpMsg)
	msg = wiremessage.AppendMsgFlags(msg, 0)
	msg = wiremessage.AppendMsgSectionType(msg, wiremessage.SingleDocument)
	msg = append(msg, hello...)
	binary.LittleEndian.PutUint32(msg[at:], uint32(len(msg)))
	if _, err := conn.Write(msg); err != nil {
		return false
	}
	header := make([]byte, 16)
	if _, err := io.ReadFull(conn, header); err != nil {
		return false
	}
	_, _, answers, op, _, ok := wiremessage.ReadHeader(header)
	return ok && answers == 1 && op == wiremessage.OpMsg
}
