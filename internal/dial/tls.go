// Package dial is what plugins share about connections to servers: the settings of TLS, the diagnosis of a connection that
// fails because of TLS, and error texts without secrets.
package dial

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/youmark/pkcs8"

	"github.com/syncd-io/syncd/spec"
)

// TLS is how to connect where TLS is on. A plugin declares the same fields with sentences of its own, and converts.
type TLS struct {
	Enabled     bool
	CAFile      string
	CertFile    string
	KeyFile     string
	KeyPassword spec.Secret
	ServerName  string
	SkipVerify  bool
}

// Set lists, by their names in a file, the settings that have no effect where TLS is off.
func (t TLS) Set() []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ca_file", t.CAFile != ""}, {"cert_file", t.CertFile != ""}, {"key_file", t.KeyFile != ""}, {"key_password", t.KeyPassword != ""},
		{"server_name", t.ServerName != ""}, {"insecure_skip_verify", t.SkipVerify},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// Unpaired names a setting that is useless without another one, which is not set.
func (t TLS) Unpaired() (setting, lacks string) {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		return "cert_file", "key_file"
	case t.CertFile == "" && t.KeyFile != "":
		return "key_file", "cert_file"
	case t.KeyPassword != "" && t.KeyFile == "":
		return "key_password", "key_file"
	}
	return "", ""
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("reading tls.ca_file: %s holds no certificate", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := t.pair()
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert_file and tls.key_file: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
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
