// Package deploy_test checks what stands in this folder as far as that can be done without a container engine or a cluster:
// with the parsers, linters and rules that Compose, BuildKit, Kubernetes and systemd themselves use, and with the program
// that the files start.
package deploy_test

import (
	"bufio"
	"fmt"
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

// serves starts a service, asks it whether it is healthy, as whoever trusts the authority in caFile, and ends it.
func serves(t *testing.T, environ []string, caFile string, args ...string) {
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
		if m := regexp.MustCompile(`msg=serving url=(https?)://[^ ]*:(\d+)/`).FindStringSubmatch(lines.Text()); m != nil {
			url = m[1] + "://127.0.0.1:" + m[2]
		}
	}
	if url == "" {
		t.Errorf("syncd serve %s: %v\n%s", strings.Join(args, " "), cmd.Wait(), &log)
		return
	}
	ask := exec.CommandContext(t.Context(), syncd, "health", "--timeout", "30s", url+"/healthz")
	if caFile != "" {
		ask.Env = append(ask.Environ(), "SYNCD_SERVER_CA_FILE="+caFile)
	}
	if out, err := ask.CombinedOutput(); err != nil {
		t.Errorf("syncd health %s: %v\n%s", url, err, out)
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
