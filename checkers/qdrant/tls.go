package qdrant

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/youmark/pkcs8"
)

// load reads the files.
func (t TLS) load() (*tls.Config, error) {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify,
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading tls.ca_file: %s holds no certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := t.pair()
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert_file and tls.key_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func (t TLS) pair() (tls.Certificate, error) {
	cert, err := os.ReadFile(t.CertFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	if key, err = decrypted(key, t.KeyPassword.Reveal()); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// decrypted gives a file with a key as it is, or, where the key is an encrypted PKCS #8 one (RFC 5958), the key in plain.
func decrypted(file []byte, password string) ([]byte, error) {
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return file, nil
		}
		switch {
		case block.Headers["DEK-Info"] != "": // of a time before PKCS #8; its encryption is broken (crypto/x509, DecryptPEMBlock)
			return nil, errors.New("the key is encrypted in an old form; openssl pkcs8 -topk8 makes a new one of it")
		case block.Type != "ENCRYPTED PRIVATE KEY":
		case password == "":
			return nil, errors.New("the key is encrypted, and tls.key_password is not set")
		default:
			key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(password))
			if err != nil {
				return nil, fmt.Errorf("decrypting the key with tls.key_password: %w", err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				return nil, err
			}
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
		}
	}
}

// certificateHint says what to do about a server's certificate that did not stand the test.
func certificateHint(why error) string {
	if _, ok := errors.AsType[x509.HostnameError](why); ok {
		return "connect by a name that the certificate holds, or set tls.server_name to one"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](why); ok && e.Reason == x509.Expired {
		return "renew the server's certificate; if it should be valid, set this machine's clock"
	}
	return "set tls.ca_file to the certificate of the authority that signed the server's"
}
