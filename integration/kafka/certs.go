package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certs are PEM files: the authority that signed the broker's certificate, and a client's certificate that it has signed too.
type Certs struct{ CA, ClientCert, ClientKey string }

// makeCerts writes an authority, a client's certificate and, for the broker, server.pem to dir.
func makeCerts(dir string) (Certs, error) {
	c := Certs{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")}
	authority := template("an authority for tests")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, _, err := newKey()
	if err != nil {
		return c, err
	}
	ca, err := sign(authority, authority, caKey, caKey)
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(c.CA, ca, 0o600); err != nil {
		return c, err
	}
	issue := func(name string, use x509.ExtKeyUsage) (cert, key []byte, err error) {
		private, key, err := newKey()
		if err != nil {
			return nil, nil, err
		}
		t := template(name)
		t.KeyUsage, t.ExtKeyUsage, t.IPAddresses = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}, []net.IP{net.IPv4(127, 0, 0, 1)}
		cert, err = sign(t, authority, private, caKey)
		return cert, key, err
	}
	cert, key, err := issue("broker", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(filepath.Join(dir, "server.pem"), append(key, cert...), 0o600); err != nil {
		return c, err
	}
	if cert, key, err = issue("client", x509.ExtKeyUsageClientAuth); err != nil {
		return c, err
	}
	if err := os.WriteFile(c.ClientCert, cert, 0o600); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.ClientKey, key, 0o600)
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func sign(cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}
