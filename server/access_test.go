package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/syncd-io/syncd/server"
)

// who answers who the caller is, and whether they may operate.
var who = server.Route{Pattern: "/", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %t", server.Who(r.Context()), server.CanOperate(r.Context()))
})}

func hashOf(t *testing.T, password string) []byte {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// ask makes a request of raw parts, as a hostile client would.
func ask(t *testing.T, client *http.Client, method, url string, header map[string]string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func plain() *http.Client { return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} }

func basic(name, password string) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func with(header map[string]string, name, value string) map[string]string {
	header[name] = value
	return header
}

func TestRoles(t *testing.T) {
	var log bytes.Buffer
	users := []server.User{
		{Name: "ann", Operate: true, PasswordHash: hashOf(t, "right")}, {Name: "bob", PasswordHash: hashOf(t, "right too")},
		{Name: "ci", Token: "0123456789abcdef"}, {Name: "ops", Operate: true, Token: "fedcba9876543210"}, {Name: "cert", Certificate: "cn"},
	}
	s := start(t, func(o *server.Options) {
		o.Access, o.Pprof, o.Routes = server.NewAccess(users, slog.New(slog.NewTextHandler(&log, nil))), true, []server.Route{who}
	})
	base := "http://" + s.Address()
	for _, c := range []struct {
		name, method, path string
		header             map[string]string
		code               int
		body               string
	}{
		{"nobody", "GET", "/x", nil, 401, "say who you are"},
		{"a probe", "GET", "/healthz", nil, 200, "ok"},
		{"metrics are not for all", "GET", "/metrics", nil, 401, ""},
		{"metrics", "GET", "/metrics", bearer("0123456789abcdef"), 200, "syncd_up"},
		{"a password", "GET", "/x", basic("ann", "right"), 200, "ann true"},
		{"the same again", "POST", "/x", basic("ann", "right"), 200, "ann true"},
		{"another's password", "GET", "/x", basic("ann", "right too"), 401, ""},
		{"a wrong password", "GET", "/x", basic("ann", "wrong"), 401, ""},
		{"no password", "GET", "/x", basic("ann", ""), 401, ""},
		{"a user without a password", "GET", "/x", basic("ci", ""), 401, ""},
		{"an unknown user", "GET", "/x", basic("eve", "right"), 401, ""},
		{"read", "GET", "/x", basic("bob", "right too"), 200, "bob false"},
		{"read that would drive", "POST", "/x", basic("bob", "right too"), 403, "takes the role operate"},
		{"read that deletes", "DELETE", "/connectors/x", bearer("0123456789abcdef"), 403, ""},
		{"read that validates", "PUT", "/connector-plugins/mongo/config/validate", bearer("0123456789abcdef"), 200, "ci false"},
		{"read with a method of its own", "FROB", "/x", bearer("0123456789abcdef"), 403, ""},
		{"read of profiles", "GET", "/debug/pprof/heap", bearer("0123456789abcdef"), 403, ""},
		{"a token", "PUT", "/x", bearer("fedcba9876543210"), 200, "ops true"},
		{"a wrong token", "GET", "/x", bearer("fedcba987654321"), 401, ""},
		{"no token", "GET", "/x", bearer(""), 401, ""},
		{"another scheme", "GET", "/x", map[string]string{"Authorization": "Digest x"}, 401, ""},
		{"a header that says who", "GET", "/x", map[string]string{"X-Forwarded-User": "ann", "X-Client-Cert-CN": "cn"}, 401, ""},
		{"another site", "POST", "/x", with(with(basic("ann", "right"), "Origin", "https://evil.example"), "Sec-Fetch-Site", "cross-site"), 403, "another site"},
		{"another origin of an old browser", "POST", "/x", with(basic("ann", "right"), "Origin", "https://evil.example"), 403, "another site"},
		{"its own page", "POST", "/x", with(with(basic("ann", "right"), "Origin", base), "Sec-Fetch-Site", "same-origin"), 200, ""},
	} {
		code, body, header := ask(t, plain(), c.method, base+c.path, c.header)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %q, want %d %q", c.name, code, body, c.code, c.body)
		}
		if (code == 401) != strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %v", c.name, header)
		}
	}
	said := log.String()
	for _, want := range []string{"user=ann method=POST path=/x status=200", "user=bob method=POST path=/x status=403", "status=401"} {
		if !strings.Contains(said, want) {
			t.Errorf("the log does not say %q:\n%s", want, said)
		}
	}
	for _, secret := range []string{"right", "0123456789abcdef", "fedcba9876543210", "wrong"} {
		if strings.Contains(said, secret) {
			t.Errorf("the log says %q", secret)
		}
	}
	if strings.Contains(said, "method=GET path=/x status=200") {
		t.Error("the log has a line for each look")
	}
}

// TestWithoutUsers: what only this machine can connect to must not be reached by another site's page, through a name that leads here.
func TestWithoutUsers(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Access, o.Routes = server.NewAccess(nil, slog.New(slog.DiscardHandler)), []server.Route{who}
	})
	base := "http://" + s.Address()
	_, port, _ := net.SplitHostPort(s.Address())
	for host, code := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "LOCALHOST": 200, "[::1]:" + port: 200, "127.8.9.1": 200,
		"evil.example": 403, "evil.example:" + port: 403, "localhost.evil.example": 403, "10.0.0.1": 403, "0.0.0.0": 403,
	} {
		if got, body, _ := ask(t, plain(), "POST", base+"/x", map[string]string{"Host": host}); got != code {
			t.Errorf("%s: %d %s", host, got, body)
		}
	}
	if got, _, _ := ask(t, plain(), "POST", base+"/x", map[string]string{"Origin": "http://evil.example"}); got != 403 {
		t.Errorf("another site's page: %d", got)
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key, _ = a.make(pkix.Name{CommonName: "authority"}, true)
	return a
}

func (a *authority) make(name pkix.Name, ca bool) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, der
}

// write writes a certificate and its key.
func (a *authority) write(cert, key, name string) {
	a.t.Helper()
	_, k, der := a.make(pkix.Name{CommonName: name}, false)
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *authority) client(name string) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if name != "" {
		_, key, der := a.make(pkix.Name{CommonName: name}, false)
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	own, other := newAuthority(t), newAuthority(t)
	c := server.Certificate{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"), ClientCAFile: filepath.Join(dir, "ca")}
	own.write(c.CertFile, c.KeyFile, "syncd")
	if err := os.WriteFile(c.ClientCAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := c.Config(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(o *server.Options) {
		o.TLS, o.Routes = config, []server.Route{who}
		o.Access = server.NewAccess([]server.User{{Name: "ann", Operate: true, Certificate: "ann.example"}}, slog.New(slog.DiscardHandler))
	})
	base := "https://" + s.Address()
	if code, body, _ := ask(t, own.client("ann.example"), "POST", base+"/x", nil); code != 200 || body != "ann true" {
		t.Errorf("a certificate: %d %s", code, body)
	}
	for name, client := range map[string]*http.Client{"no certificate": own.client(""), "another's": own.client("eve.example")} {
		if code, _, _ := ask(t, client, "GET", base+"/x", nil); code != 401 {
			t.Errorf("%s: %d", name, code)
		}
	}
	forged := other.client("ann.example")
	forged.Transport.(*http.Transport).TLSClientConfig.RootCAs = own.client("").Transport.(*http.Transport).TLSClientConfig.RootCAs
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/x", nil)
	if resp, err := forged.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("a certificate of another authority: %d", resp.StatusCode)
	}
	req, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Address()+"/x", nil)
	if resp, err := plain().Do(req); err == nil {
		if resp.Body.Close(); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without encryption: %d", resp.StatusCode)
		}
	}
	for name, broken := range map[string]server.Certificate{
		"no file": {CertFile: filepath.Join(dir, "no"), KeyFile: c.KeyFile}, "the wrong key": {CertFile: c.CertFile, KeyFile: c.ClientCAFile},
		"no authority": {CertFile: c.CertFile, KeyFile: c.KeyFile, ClientCAFile: c.KeyFile},
	} {
		if _, err := broken.Config(slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "reading server.tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSlowClients: who sends a request and does not end it holds a connection, and no more than that; the server closes in time.
func TestSlowClients(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Access = server.NewAccess(nil, slog.New(slog.DiscardHandler)) })
	var dialer net.Dialer
	for range 50 {
		conn, err := dialer.DialContext(t.Context(), "tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address()+"/healthz", nil)
	resp, err := plain().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
