package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
)

// The variables that say how a service is reached.
const (
	envServer   = "SYNCD_SERVER"
	envUser     = "SYNCD_SERVER_USER"
	envPassword = "SYNCD_SERVER_PASSWORD" //nolint:gosec // the name of a variable
	envToken    = "SYNCD_SERVER_TOKEN"    //nolint:gosec // as above
	envCA       = "SYNCD_SERVER_CA_FILE"
)

const (
	clientTimeout = 30 * time.Second
	maxAnswer     = 64 << 20 // bytes of an answer
)

// serverFlags say how a service is reached. A password and a token are in variables or files, since others can see arguments.
type serverFlags struct {
	app                                *app
	url, user, passwordFile, tokenFile string
	caFile                             string
}

func (a *app) serverFlags(c *cobra.Command) *serverFlags {
	f := &serverFlags{app: a}
	c.Flags().StringVar(&f.url, "server", "", "the service's URL ("+envServer+"; default http://"+serviceAddress+")")
	c.Flags().StringVar(&f.user, "user", "", "the name to say to it ("+envUser+")")
	c.Flags().StringVar(&f.passwordFile, "password-file", "", "a file with the password ("+envPassword+" has the password itself)")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "a file with a token ("+envToken+" has the token itself)")
	c.Flags().StringVar(&f.caFile, "ca-file", "", "a PEM file of the authorities that its certificate may be of ("+envCA+")")
	return f
}

// named reports whether somebody has said which service is meant.
func (f *serverFlags) named() bool { return cmp.Or(f.url, f.app.env(envServer)) != "" }

// client asks a service.
type client struct {
	base            string
	user            string
	password, token spec.Secret
	http            *http.Client
}

func (f *serverFlags) client() (*client, error) {
	target := cmp.Or(f.url, f.app.env(envServer), serviceAddress)
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, usageError("%q is no URL of a service, such as http://%s; who asks is in --user and %s", spec.ScrubURLs(target), serviceAddress, envPassword)
	}
	c := &client{base: u.Scheme + "://" + u.Host, user: cmp.Or(f.user, f.app.env(envUser))}
	if c.password, err = f.secret(f.passwordFile, envPassword); err != nil {
		return nil, err
	}
	if c.token, err = f.secret(f.tokenFile, envToken); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && (c.password != "" || c.token != "") && !isLoopback(hostPort(u)) {
		return nil, usageError("a password or a token is not sent to %s without encryption: use https", u.Host)
	}
	roots, err := authorities("--ca-file", cmp.Or(f.caFile, f.app.env(envCA)))
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Timeout: clientTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func hostPort(u *url.URL) string { return u.Hostname() + ":" + cmp.Or(u.Port(), "80") }

// secret is what a file holds, or else a variable.
func (f *serverFlags) secret(file, variable string) (spec.Secret, error) {
	if file == "" {
		return spec.Secret(f.app.env(variable)), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	return spec.Secret(strings.TrimRight(string(b), "\r\n")), nil
}

// noServiceError says that nothing answers.
type noServiceError struct{ error }

func (e *noServiceError) Unwrap() error { return e.error }

// ask asks for a path behind /api/v1/, and reads the answer into a value.
func (c *client) ask(ctx context.Context, method, path string, says, into any) error {
	var body io.Reader
	if says != nil {
		b, err := json.Marshal(says)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/"+path, body)
	if err != nil {
		return err
	}
	if says != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	case c.user != "":
		req.SetBasicAuth(c.user, c.password.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return &noServiceError{syncd.Hint(fmt.Errorf("no answer from %s: %w", c.base, err), "does syncd serve run there? --server or %s says where it is", envServer)}
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.base, err)
	}
	if resp.StatusCode/100 != 2 {
		return c.refused(resp, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s answers what no syncd does: %w", c.base, err)
	}
	return nil
}

// refused is the error of an answer.
func (c *client) refused(resp *http.Response, answer []byte) error {
	var said struct {
		Error   string `json:"error"`
		Hint    string `json:"hint"`
		Message string `json:"message"` // of who may not ask
	}
	_ = json.Unmarshal(answer, &said) // one that says nothing has its status
	err := errors.New(cmp.Or(text.Cut(cmp.Or(said.Error, said.Message)), fmt.Sprintf("%s answers %s", c.base, resp.Status)))
	switch {
	case said.Hint != "":
		return syncd.Hint(err, "%s", said.Hint)
	case resp.StatusCode == http.StatusUnauthorized:
		return syncd.Hint(err, "name the user with --user, and give the password in %s or --password-file, or a token in %s or --token-file", envPassword, envToken)
	}
	return err
}
