// Package deploy_test checks what stands in this folder as far as that can be done without a container engine or a cluster:
// with the parsers, linters and rules that Compose, BuildKit, Kubernetes and systemd themselves use, and with the program
// that the files start.
package deploy_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const root = ".."

// syncd is the program, built from this checkout; variables are those that it knows.
var (
	syncd     string
	variables map[string]bool
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "syncd-deploy-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	syncd = filepath.Join(dir, "syncd")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", syncd, "./cmd/syncd")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building syncd: %w\n%s", err, out)
	}
	if variables, err = knownVariables(filepath.Join(dir, "reference")); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// knownVariables reads them in the reference that the program writes of itself.
func knownVariables(dir string) (map[string]bool, error) {
	if out, err := exec.Command(syncd, "reference", "--dir", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("syncd reference: %w\n%s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		for _, m := range regexp.MustCompile("`([A-Z][A-Z0-9_]+)`").FindAllStringSubmatch(string(text), -1) {
			known[m[1]] = true
		}
	}
	return known, nil
}

// inConfig lists the variables that a configuration uses as ${NAME}.
func inConfig(t *testing.T, file string) (used []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\$\{([A-Z0-9_]+)`).FindAllStringSubmatch(read(t, file), -1) {
		used = append(used, m[1])
	}
	return used
}

// checkVariables reports variables that neither the program nor the configuration knows, and those that the configuration
// needs and nobody sets.
func checkVariables(t *testing.T, where, config string, set []string) {
	t.Helper()
	used := inConfig(t, config)
	for _, name := range set {
		if !variables[name] && !slices.Contains(used, name) {
			t.Errorf("%s sets %s, which is no variable of syncd's and not in %s", where, name, config)
		}
	}
	for _, name := range used {
		if !slices.Contains(set, name) {
			t.Errorf("%s does not set %s, which %s uses", where, name, config)
		}
	}
}

// checkArguments reports commands and flags that the program does not have.
func checkArguments(t *testing.T, where string, args []string) {
	t.Helper()
	// Help comes last, so that the flags before it are looked at and nothing is done.
	if out, err := exec.Command(syncd, append(slices.Clone(args), "--help")...).CombinedOutput(); err != nil {
		t.Errorf("%s: syncd %s: %v\n%s", where, strings.Join(args, " "), err, out)
	} else if !strings.Contains(string(out), "syncd "+args[0]) {
		t.Errorf("%s: there is no command syncd %s", where, args[0])
	}
}

// validate has the program judge a configuration under these variables and no others.
func validate(t *testing.T, config string, environ []string) {
	t.Helper()
	cmd := exec.Command(syncd, "validate", "--strict", config)
	cmd.Env = append([]string{}, environ...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("syncd validate %s: %v\n%s", config, err, out)
	}
}

// serverSettings are what a service's file says.
type settings struct {
	Listen      string
	StopTimeout string `yaml:"stop_timeout"`
	TLS         struct {
		CertFile string `yaml:"cert_file"`
		KeyFile  string `yaml:"key_file"`
	}
	Users  map[string]map[string]string
	Limits struct{ Memory int64 }
}

func serverSettings(t *testing.T, file string) settings {
	t.Helper()
	var c struct{ Server settings }
	if err := yaml.Unmarshal([]byte(read(t, file)), &c); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return c.Server
}

// checkStop reports a service whose runs may take longer to end than what stops it waits.
func checkStop(t *testing.T, file string, s settings, wait time.Duration) {
	t.Helper()
	const cutOff = 15 * time.Second // what was cut off, and the listener, take some time to end
	if stop, err := time.ParseDuration(s.StopTimeout); err != nil || stop+cutOff > wait || stop*2 < wait {
		t.Errorf("%s: runs have %s to end, and the service %s: %v", file, s.StopTimeout, wait, err)
	}
}

// hash is that of password, as bcrypt makes it with little work.
const (
	password = "secret"
	hash     = "$2a$04$aU8X68XthWFC4OxgPKV47.sztiAjqx4PIF2v0hRfxxKIPAtb7Kgbm"
)

// container is a folder that stands for the root of a container's file system. What is put there names files by their place in it.
type container struct{ root string }

func (c container) path(name string) string { return filepath.Join(c.root, name) }

// inside has a text name files where they are.
func (c container) inside(text string) string {
	for _, dir := range []string{"/etc/syncd", "/var/lib/syncd"} {
		text = strings.ReplaceAll(text, dir, c.path(dir))
	}
	return text
}

func (c container) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, c.path(name), c.inside(text))
}

// mount puts a file or a folder there.
func (c container) mount(t *testing.T, source, target string) {
	t.Helper()
	err := filepath.WalkDir(source, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err == nil {
			c.put(t, filepath.Join(target, name), read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// certificate makes one for this machine, which is its own authority.
func (c container) certificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c.put(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	c.put(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// serves has the container run a command that is syncd serve, at any port of every address. The variables in who tell
// who asks it for its jobs.
func (c container) serves(t *testing.T, environ []string, certFile string, who []string, command []string) (jobs string) {
	t.Helper()
	for i := range environ {
		environ[i] = c.inside(environ[i])
	}
	var args []string
	for _, arg := range command[1:] {
		args = append(args, c.inside(arg))
	}
	return serves(t, environ, c.path(certFile), who, append(args, "--listen", "0.0.0.0:0")...)
}

// serves starts a service, asks it for its jobs as soon as it has read their files, as whoever trusts the authority in caFile, and ends it.
func serves(t *testing.T, environ []string, caFile string, who []string, args ...string) (jobs string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), syncd, append([]string{"serve"}, args...)...)
	cmd.Env, cmd.WaitDelay = environ, 10*time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url := ""
	var log strings.Builder
	lines := bufio.NewScanner(stderr)
	for url == "" && lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if m := regexp.MustCompile(`\burl"?[=:]"?(https?)://[^ "]*:(\d+)/`).FindStringSubmatch(lines.Text()); m != nil {
			url = m[1] + "://127.0.0.1:" + m[2]
		}
	}
	if url == "" {
		t.Fatalf("syncd serve %s: %v\n%s", strings.Join(args, " "), cmd.Wait(), &log)
	}
	ask := func(args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), syncd, args...)
		c.Env = append(c.Environ(), append([]string{"SYNCD_SERVER_CA_FILE=" + caFile}, who...)...)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := ask("health", "--timeout", "30s", url+"/healthz"); err != nil {
		t.Errorf("syncd health: %v\n%s", err, out)
	}
	for {
		if out, err := ask("health", "--timeout", "30s", url+"/readyz"); err == nil {
			break
		} else if !strings.Contains(out, "are being read") {
			t.Errorf("syncd health: %v\n%s", err, out)
			break
		}
	}
	if jobs, err = ask("status", "--server", url); err != nil {
		t.Errorf("syncd status: %v\n%s", err, jobs)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
		log.WriteString(lines.Text() + "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("syncd serve ended with %v\n%s", err, &log)
	}
	return jobs
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The tests' own eyes: what they must notice.
func TestVariablesAreKnown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"INCREMENTAL_BACKFILL", "QDRANT_CHECK_BATCH_SIZE", "MONGODB_URI", "SYNCD_RUN__STATE_DIR"} {
		if !variables[name] {
			t.Errorf("%s is not in the reference", name)
		}
	}
	if variables["SYNCD_RUN__NOTHING"] || variables["QDRANT"] {
		t.Error("variables are known that do not exist")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
