package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/internal/dial/dialtest"
)

// listen starts a server that calls serve with each connection, which is closed behind it.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// ping answers to a ping, over TLS unless config is nil.
func ping(config *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		if config != nil {
			conn = tls.Server(conn, config)
		}
		question := make([]byte, 4)
		if _, err := io.ReadFull(conn, question); err == nil && string(question) == "ping" {
			_, _ = conn.Write([]byte("pong"))
		}
	}
}

func answersPing(conn net.Conn) bool {
	_, _ = conn.Write([]byte("ping"))
	answer := make([]byte, 4)
	_, err := io.ReadFull(conn, answer)
	return err == nil && string(answer) == "pong"
}

func TestDiagnose(t *testing.T) {
	ours, other := dialtest.NewAuthority(t), dialtest.NewAuthority(t)
	server, client := ours.Issue("127.0.0.1", time.Hour), ours.Issue("app", time.Hour)
	plain := listen(t, ping(nil))
	with := func(c dialtest.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c.TLS}, MinVersion: tls.VersionTLS12}
	}
	asking := with(server)
	asking.ClientAuth, asking.ClientCAs = tls.RequireAndVerifyClientCert, ours.Pool
	secure, mutual := listen(t, ping(with(server))), listen(t, ping(asking))
	expired, misnamed := listen(t, ping(with(ours.Issue("127.0.0.1", -time.Hour)))), listen(t, ping(with(ours.Issue("elsewhere.invalid", time.Hour))))
	talkative := listen(t, func(conn net.Conn) { _, _ = conn.Write([]byte("220 mail.example.com ESMTP\r\n")) })
	cutting := listen(t, func(net.Conn) {})
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()

	trusting := func(change func(*tls.Config)) *tls.Config {
		config := &tls.Config{RootCAs: ours.Pool, MinVersion: tls.VersionTLS12}
		if change != nil {
			change(config)
		}
		return config
	}
	const untrusted = "the server's certificate is not trusted: x509: "
	for name, c := range map[string]struct {
		addr   string
		config *tls.Config
		want   string // the beginning; empty for no fault
	}{
		"off":                      {plain, nil, ""},
		"off, and wanted":          {secure, nil, "the server wants TLS, which is off"},
		"off, and mutual":          {mutual, nil, "the server wants TLS, which is off"},
		"off, and nobody there":    {closed.Addr().String(), nil, ""},
		"on":                       {secure, trusting(nil), ""},
		"on, and mutual":           {mutual, trusting(func(c *tls.Config) { c.Certificates = []tls.Certificate{client.TLS} }), ""},
		"on, and not spoken":       {plain, trusting(nil), "the server does not speak TLS, which is on"},
		"on, and another protocol": {talkative, trusting(nil), "the server does not speak TLS, which is on"},
		"on, and hung up":          {cutting, trusting(nil), ""},
		"on, and nobody there":     {closed.Addr().String(), trusting(nil), ""},
		"no certificate":           {mutual, trusting(nil), "the server ended the TLS handshake: tls: certificate required"},
		"no certificate, TLS 1.2":  {mutual, trusting(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "the server ended the TLS handshake: tls: "},
		"another authority":        {secure, trusting(func(c *tls.Config) { c.RootCAs = other.Pool }), untrusted + "certificate signed by unknown authority"},
		"another name":             {misnamed, trusting(nil), untrusted},
		"a name that it holds":     {misnamed, trusting(func(c *tls.Config) { c.ServerName = "elsewhere.invalid" }), ""},
		"expired":                  {expired, trusting(nil), untrusted + "certificate has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Diagnose(t.Context(), "tcp", c.addr, c.config, answersPing)
			if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if again := Fault(fmt.Errorf("connecting: %w", err)); err != nil && again.Error() != err.Error() {
				t.Errorf("the fault of %v is %v", err, again)
			}
		})
	}
	if hint := CertificateHint(Diagnose(t.Context(), "tcp", expired, trusting(nil), answersPing), "name", "expired", "authority"); hint != "expired" {
		t.Error(hint)
	}
}

func TestDiagnoseEndsWithItsContext(t *testing.T) {
	released := make(chan struct{})
	addr := listen(t, func(net.Conn) { <-released })
	defer close(released)
	ctx, cancel := context.WithCancel(t.Context())
	if err := Diagnose(ctx, "tcp", addr, &tls.Config{MinVersion: tls.VersionTLS12}, func(conn net.Conn) bool {
		cancel()
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}); err != nil {
		t.Error(err)
	}
}

func TestFault(t *testing.T) {
	for _, err := range []error{nil, errors.New("tls: bad"), io.EOF, context.DeadlineExceeded, &net.OpError{Op: "dial", Err: io.EOF}, &net.OpError{Op: "local error", Err: io.EOF}} {
		if got := Fault(err); got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
	for _, why := range []error{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}, x509.UnknownAuthorityError{}, x509.CertificateInvalidError{Reason: x509.Expired}} {
		for _, err := range []error{why, &tls.CertificateVerificationError{Err: why}, UntrustedError{why}} {
			if got := Fault(fmt.Errorf("a: %w", err)); got == nil || got.Error() != "the server's certificate is not trusted: "+why.Error() {
				t.Errorf("%v: %v", err, got)
			}
		}
	}
	got := Fault(&net.OpError{Op: "remote error", Err: io.EOF})
	if _, ok := errors.AsType[RefusedError](got); !ok || !errors.Is(got, io.EOF) {
		t.Error(got)
	}
}

func TestCertificateHint(t *testing.T) {
	for want, why := range map[string]error{
		"name":      x509.HostnameError{},
		"expired":   x509.CertificateInvalidError{Reason: x509.Expired},
		"authority": x509.UnknownAuthorityError{},
	} {
		if got := CertificateHint(UntrustedError{why}, "name", "expired", "authority"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := CertificateHint(x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "name", "expired", "authority"); got != "authority" {
		t.Error(got)
	}
}

func TestConnectClosesWithItsContext(t *testing.T) {
	released := make(chan struct{})
	addr := listen(t, func(net.Conn) { <-released })
	defer close(released)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	err := Connect(ctx, "tcp", addr, nil, func(conn net.Conn) error {
		cancel()
		_, err := conn.Read(make([]byte, 1))
		return err
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
