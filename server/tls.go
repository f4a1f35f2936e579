package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
)

// Certificate is the files of a service's certificate, and of the authorities of its clients' certificates, which may be none.
type Certificate struct {
	CertFile, KeyFile, ClientCAFile string
}

// Config reads the files. The certificate is read again when its file changes, so that a renewed one needs no restart.
func (c Certificate) Config(log *slog.Logger) (*tls.Config, error) {
	k := &keyPair{files: c, log: log}
	if err := k.read(); err != nil {
		return nil, syncd.Hint(fmt.Errorf("reading server.tls: %w", err), "the files must be PEM, and the key that of the certificate")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: k.get}
	if c.ClientCAFile != "" {
		pem, err := os.ReadFile(c.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading server.tls.client_ca_file: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, syncd.Hint(fmt.Errorf("reading server.tls.client_ca_file: there is no certificate in %s", c.ClientCAFile), "it must be a PEM file")
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}

// keyPair is a certificate that is read again.
type keyPair struct {
	files Certificate
	log   *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  time.Time // of the certificate's file
	looked time.Time
}

// lookEvery is the shortest time between two looks at the certificate's file.
const lookEvery = 10 * time.Second

func (k *keyPair) read() error {
	info, err := os.Stat(k.files.CertFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(k.files.CertFile, k.files.KeyFile)
	if err != nil {
		return err
	}
	k.pair, k.stamp, k.looked = &pair, info.ModTime(), time.Now()
	return nil
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookEvery {
		return k.pair, nil
	}
	k.looked = time.Now()
	if info, err := os.Stat(k.files.CertFile); err == nil && !info.ModTime().Equal(k.stamp) {
		if err := k.read(); err != nil { // the files may be about to be written
			k.log.Warn("can't read the service's new certificate: the old one is used on", "error", err.Error())
		}
	}
	return k.pair, nil
}
