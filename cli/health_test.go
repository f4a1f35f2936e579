package cli_test

import (
	"bytes"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not yet", http.StatusServiceUnavailable) })
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/healthz", http.StatusFound) })
	release := make(chan struct{})
	mux.HandleFunc("GET /slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	address := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	encrypted := httptest.NewTLSServer(mux)
	t.Cleanup(encrypted.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encrypted.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := httptest.NewServer(mux)
	closed.Close()

	for name, c := range map[string]struct {
		args []string
		env  string
		code int
		says string // in standard output if the code is 0, else in standard error
	}{
		"variable":               {env: address, says: "ok"},
		"variable of every host": {env: "0.0.0.0:" + port, says: "ok"},
		"variable of IPv6":       {env: "[::]:" + port, says: "ok"},
		"variable of a port":     {env: ":" + port, says: "ok"},
		"argument":               {args: []string{server.URL}, env: "127.0.0.1:1", says: "ok"},
		"argument with a path":   {args: []string{address + "/healthz"}, says: "ok"},
		"not ready":              {args: []string{address + "/readyz"}, code: 1, says: "503 Service Unavailable: not yet"},
		"no such page":           {args: []string{address + "/nothing"}, code: 1, says: "404 Not Found"},
		"redirect":               {args: []string{address + "/elsewhere"}, code: 1, says: "302 Found"},
		"nothing there":          {args: []string{closed.URL}, code: 1, says: "hint: does syncd run there, with --http?"},
		"too slow":               {args: []string{"--timeout", "20ms", address + "/slow"}, code: 1, says: "deadline exceeded"},
		"not a URL":              {args: []string{"ftp://x"}, code: 2, says: "neither an http URL nor an address"},
		"no time":                {args: []string{"--timeout", "0s", address}, code: 2, says: "--timeout must be more than 0"},
		"certificate":            {args: []string{"--ca-file", authority, encrypted.URL}, says: "ok"},
		"unknown certificate":    {args: []string{encrypted.URL}, code: 1, says: "hint: name the file of the authority of its certificate with --ca-file"},
		"no authority":           {args: []string{"--ca-file", authority + "x", encrypted.URL}, code: 1, says: "reading --ca-file"},
		"two arguments":          {args: []string{address, address}, code: 2, says: "at most 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "syncd", append([]string{"health"}, c.args...)...)
			// A proxy must not be asked about this machine.
			cmd.Env = append(cmd.Environ(), "SYNCD_OBSERVE__HTTP__LISTEN="+c.env, "HTTP_PROXY="+closed.URL, "NO_PROXY=")
			cmd.WaitDelay = 10 * time.Second
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Fatalf("exit code %d, want %d\n%s", got, c.code, stderr.String())
			}
			said := stdout.String()
			if c.code != 0 {
				said = stderr.String()
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("it says %q, want %q in it", said, c.says)
			}
		})
	}
}
