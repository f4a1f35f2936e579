package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"
)

// Where one side speaks TLS and the other does not, or a certificate is refused, a client library reports a connection that
// ends or stays silent, or a text that changes with its release. Diagnose finds out on connections of its own, where the errors
// have types.

const (
	longestDiagnosis = 2 * time.Second
	// longestRefusal is how long a server may take to say that it refuses the client's certificate: in TLS 1.3 it does so after
	// the handshake is over for the client.
	longestRefusal = longestDiagnosis / 4
)

// Two of the faults of TLS that don't go away by themselves. UntrustedError and RefusedError are the others.
var (
	ErrWantsTLS = errors.New("the server wants TLS, which is off")
	ErrNoTLS    = errors.New("the server does not speak TLS, which is on")
)

// RefusedError is a TLS handshake that the server ended.
type RefusedError struct{ alert error }

func (e RefusedError) Error() string { return "the server ended the TLS handshake: " + e.alert.Error() }

// Unwrap returns the server's alert.
func (e RefusedError) Unwrap() error { return e.alert }

// UntrustedError is a server's certificate that the client refuses.
type UntrustedError struct{ why error }

func (e UntrustedError) Error() string {
	return "the server's certificate is not trusted: " + e.why.Error()
}

// Unwrap returns why, without crypto/tls's words around it.
func (e UntrustedError) Unwrap() error { return e.why }

// CertificateHint chooses what to do about an UntrustedError: for a certificate of another name, for one that has expired, and
// for one of an unknown authority.
func CertificateHint(err error, name, expired, authority string) string {
	if as[x509.HostnameError](err) != nil {
		return name
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return expired
	}
	return authority
}

// Fault finds in err a fault of TLS that does not go away by itself, and gives it as one of this package's errors; nil where
// there is none.
func Fault(err error) error {
	switch {
	case errors.Is(err, ErrWantsTLS):
		return ErrWantsTLS
	case errors.Is(err, ErrNoTLS), as[tls.RecordHeaderError](err) != nil:
		return ErrNoTLS
	}
	if known := cmp.Or(as[UntrustedError](err), as[RefusedError](err)); known != nil {
		return known
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return UntrustedError{e.Err}
	}
	if why := cmp.Or(as[x509.UnknownAuthorityError](err), as[x509.HostnameError](err), as[x509.CertificateInvalidError](err)); why != nil {
		return UntrustedError{why}
	}
	// crypto/tls reports an alert that it received as an operation of this name; the alert's own type is private.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return RefusedError{op.Err}
	}
	return nil
}

// as is errors.AsType for one of several types.
func as[E error](err error) error {
	if e, ok := errors.AsType[E](err); ok {
		return e
	}
	return nil
}

// Diagnose finds out whether a fault of TLS keeps a client from using the server at addr; nil where it is something else, or
// can't be told. config is nil where TLS is off; without a server name the address's host is one. answersInPlain speaks the
// client's protocol on a connection without TLS, and says whether the server answers in it.
func Diagnose(ctx context.Context, network, addr string, config *tls.Config, answersInPlain func(net.Conn) bool) error {
	ctx, cancel := context.WithTimeout(ctx, longestDiagnosis)
	defer cancel()
	half, cancel := context.WithTimeout(ctx, longestDiagnosis/2) // the other half is for speaking without TLS
	defer cancel()
	if config == nil {
		// The server's certificate does not matter here, and nothing is sent to it.
		if err := Connect(half, network, addr, &tls.Config{InsecureSkipVerify: true}, nil); err == nil || as[RefusedError](Fault(err)) != nil {
			return ErrWantsTLS
		}
		return nil
	}
	err := Connect(half, network, addr, config, awaitRefusal)
	if why := Fault(err); why != nil || err == nil {
		return why
	}
	return Fault(Connect(ctx, network, addr, nil, func(conn net.Conn) error {
		if answersInPlain(conn) {
			return ErrNoTLS
		}
		return nil
	}))
}

// Connect makes a connection, with TLS unless config is nil, and has use, which may be nil, work with it before it is closed. The
// end of ctx closes it too.
func Connect(ctx context.Context, network, addr string, config *tls.Config, use func(net.Conn) error) error {
	dial := (&net.Dialer{}).DialContext
	if config != nil {
		dial = (&tls.Dialer{Config: config}).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if use == nil {
		return nil
	}
	return use(conn)
}

// awaitRefusal returns what a server has against the client's certificate. Nothing is written behind the handshake: a server
// that has closed by then would answer with a reset, and its reason would be lost.
func awaitRefusal(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(longestRefusal))
	_, err := conn.Read(make([]byte, 1))
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return nil
	}
	return err
}
