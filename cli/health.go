package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
)

const (
	healthAddress = "127.0.0.1:9090"
	healthPath    = "/healthz"
	// envListen is the variable of the setting that says where a run listens, so that a container says it once.
	envListen = "SYNCD_OBSERVE__HTTP__LISTEN"
)

// healthCommand asks a running syncd how it is. It is for places that can only run a program in the container, such as
// Docker's HEALTHCHECK: the image has no shell and no curl.
func (a *app) healthCommand() *cobra.Command {
	var timeout time.Duration
	var caFile string
	c := &cobra.Command{
		Use:   "health [URL]",
		Short: "Ask a running syncd whether it is healthy: exit code 0 if it is, 1 if not",
		Long: `Ask a syncd that runs with --http whether it is healthy. The exit code is 0 if it answers so, and 1 if not.
Without a URL, ` + envListen + ` says where it listens; the default is ` + healthAddress + `. Without a path, ` + healthPath + ` is asked.
A service (syncd serve) with a certificate is asked by https, and its certificate must hold the name that is asked for.`,
		Example: `  syncd health
  syncd health 127.0.0.1:9090/readyz
  syncd health --ca-file tls.crt https://127.0.0.1:8083`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target := a.env(envListen)
			if len(args) == 1 {
				target = args[0]
			}
			u, err := healthURL(target)
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return usageError("--timeout must be more than 0, not %s", timeout)
			}
			roots, err := authorities("--ca-file", cmp.Or(caFile, a.env(envCA)))
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			answer, err := askHealth(ctx, u, roots)
			if err != nil {
				return err
			}
			if a.json {
				return a.tell(Healthy{u, answer})
			}
			_, err = fmt.Fprintln(a.stdout, text.Line(answer))
			return err
		},
	}
	a.formatFlag(c)
	spanVar(c.Flags(), &timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	c.Flags().StringVar(&caFile, "ca-file", "", "a PEM file of the authorities that its certificate may be of ("+envCA+")")
	return c
}

// Healthy is the answer of a healthy program, for programs.
type Healthy struct {
	URL    string `json:"url" doc:"What was asked."`
	Answer string `json:"answer" doc:"What it answered."`
}

// env is an environment variable of this invocation, the last of a name.
func (a *app) env(name string) (value string) {
	for _, pair := range a.environ {
		if n, v, _ := strings.Cut(pair, "="); n == name {
			value = v
		}
	}
	return value
}

// healthURL completes a URL, an address or a port on all interfaces, of which the loopback one is asked.
func healthURL(target string) (string, error) {
	if target == "" {
		target = healthAddress
	}
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", usageError("%q is neither an http URL nor an address such as %s", target, healthAddress)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "" || ip != nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = healthPath
	}
	return u.String(), nil
}

// askHealth returns what a healthy program answers. It goes past any proxy and follows no redirect: what it asks is here.
func askHealth(ctx context.Context, u string, roots *x509.CertPool) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		err = fmt.Errorf("no answer from %s: %w", u, err)
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
			return "", syncd.Hint(err, "name the file of the authority of its certificate with --ca-file, and a host that the certificate is for")
		}
		return "", syncd.Hint(err, "does syncd run there, with --http?")
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return "", fmt.Errorf("reading the answer of %s: %w", u, err)
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s: %s", u, resp.Status, answer)
	}
	return answer, nil
}
