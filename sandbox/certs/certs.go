// Package certs makes certificates for tests of TLS: an authority that signs certificates of servers and of clients, and
// those that a client must refuse. Every certificate is there for Go (a tls.Certificate) and as PEM files, which live in the
// test's temporary directory.
//
// A certificate of another authority is one of another New.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates. Its methods end the test if they fail, so they belong to the test's own goroutine.
type Authority struct {
	// File is the PEM file of the authority's own certificate: what a ca_file names.
	File string

	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Certificate is a signed certificate with its private key.
type Certificate struct {
	TLS tls.Certificate

	CertFile     string // PEM of the certificate
	KeyFile      string // PEM of the key, PKCS #8
	CombinedFile string // PEM of both, as MongoDB's tlsCertificateKeyFile wants them
}

// New makes an authority.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, key: newKey(t)}
	der := a.create(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, a.key)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.File = a.write("ca.pem", block("CERTIFICATE", der))
	return a
}

// Server signs a certificate for a server at the given host names and addresses; none means localhost and the loopback
// addresses.
func (a *Authority) Server(hosts ...string) Certificate {
	a.t.Helper()
	return a.sign(server(hosts))
}

// Expired is Server with a certificate that was valid until an hour ago.
func (a *Authority) Expired(hosts ...string) Certificate {
	a.t.Helper()
	template := server(hosts)
	template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	return a.sign(template)
}

// Client signs a client's certificate; name is its common name.
func (a *Authority) Client(name string) Certificate {
	a.t.Helper()
	return a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Pool is the authority as Go's TLS trusts one: a client's RootCAs, a server's ClientCAs.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// ServerConfig is the configuration of a server with that certificate.
func (c Certificate) ServerConfig() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c.TLS}, MinVersion: tls.VersionTLS12}
}

// MutualConfig is ServerConfig for a server that refuses clients without a certificate of that authority.
func (c Certificate) MutualConfig(clients *Authority) *tls.Config {
	config := c.ServerConfig()
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	return config
}

func server(hosts []string) *x509.Certificate {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return template
}

// sign makes a certificate with a new key, and its files in a directory of their own.
func (a *Authority) sign(template *x509.Certificate) Certificate {
	a.t.Helper()
	key := newKey(a.t)
	der := a.create(template, key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, secret := block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
	dir := a.t.TempDir()
	return Certificate{
		TLS:          tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		CertFile:     a.write(filepath.Join(dir, "cert.pem"), cert),
		KeyFile:      a.write(filepath.Join(dir, "key.pem"), secret),
		CombinedFile: a.write(filepath.Join(dir, "both.pem"), append(cert[:len(cert):len(cert)], secret...)),
	}
}

// create signs a template for a key; the authority's own is signed by itself.
func (a *Authority) create(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = serial
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// write makes a file; a bare name goes to a new temporary directory.
func (a *Authority) write(path string, text []byte) string {
	a.t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.t.TempDir(), path)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}
