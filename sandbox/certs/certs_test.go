package certs_test

import (
	"crypto/tls"
	"testing"

	"github.com/syncd-io/syncd/sandbox/certs"
)

// shake connects a client to a server and returns what either said about the other.
func shake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.(*tls.Conn).Handshake()
			_ = c.Close() // the client, which waits, learns that it is over
		}
		refused <- err
	}()
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		<-refused
		return err
	}
	_ = c.Close()
	return <-refused // of a client's certificate, which in TLS 1.3 comes after the client's handshake
}

func TestCertificates(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	fromFiles, err := tls.LoadX509KeyPair(ours.Client("app").CertFile, ours.Client("app").KeyFile)
	if err == nil {
		t.Fatal("the key of one certificate fits another", fromFiles)
	}
	app := ours.Client("app")
	both, err := tls.LoadX509KeyPair(app.CombinedFile, app.CombinedFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server *tls.Config
		host   string
		client []tls.Certificate
		ok     bool
	}{
		"good":            {ours.Server().ServerConfig(), "localhost", nil, true},
		"by address":      {ours.Server().ServerConfig(), "127.0.0.1", nil, true},
		"other authority": {other.Server().ServerConfig(), "localhost", nil, false},
		"expired":         {ours.Expired().ServerConfig(), "localhost", nil, false},
		"wrong host":      {ours.Server("elsewhere.invalid").ServerConfig(), "localhost", nil, false},
		"no client":       {ours.Server().MutualConfig(ours), "localhost", nil, false},
		"client":          {ours.Server().MutualConfig(ours), "localhost", []tls.Certificate{both}, true},
		"other client":    {ours.Server().MutualConfig(ours), "localhost", []tls.Certificate{other.Client("app").TLS}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := shake(t, c.server, &tls.Config{RootCAs: ours.Pool(), ServerName: c.host, Certificates: c.client})
			if (err == nil) != c.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}
