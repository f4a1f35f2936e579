package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/youmark/pkcs8"

	"github.com/syncd-io/syncd/sandbox/certs"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"

	"github.com/syncd-io/syncd/sandbox"
)

// The planted secrets. Each has characters that encoders change.
const (
	mongoSecret    = "m0ngo-PLANTED/@:%é"
	qdrantSecret   = "qdr4nt-PLANTED+key=="
	kafkaSecret    = "k4fka-PLANTED \"pw\""
	propertySecret = "pr0perty-PLANTED"
	fileSecret     = "f1le-PLANTED"
	optionSecret   = "0ption-PLANTED"
	keySecret      = "k3y-PLANTED &=%+/é"
)

// tokenSecret is a token: its key and what it says are planted too.
var tokenSecret = qdrantserver.Token(qdrantSecret, "r", time.Now().Add(time.Hour))

func plantedSecrets() []string {
	return []string{mongoSecret, qdrantSecret, kafkaSecret, propertySecret, fileSecret, optionSecret, keySecret, tokenSecret}
}

// leaks fails the test if what the program wrote holds a secret, in any spelling.
func leaks(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range plantedSecrets() {
		quoted := strconv.Quote(secret)
		j, _ := json.Marshal(secret)
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), quoted[1 : len(quoted)-1], string(j[1 : len(j)-1]),
			hex.EncodeToString([]byte(secret)), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="),
			base64.RawURLEncoding.EncodeToString([]byte(secret)), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"),
			secret[:len(secret)/2+2], // a part of it is bad enough
		} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows a secret, as %q:\n%s", what, form, text)
			}
		}
	}
	if strings.Contains(text, "PLANTED") {
		t.Errorf("%s shows a part of a secret:\n%s", what, text)
	}
}

// secretConfig is a configuration with a secret in every place for one.
func secretConfig(t *testing.T, mongo, qdrant, kafka string) (file string, environ []string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("property", propertySecret+"\n")
	write("client", fileSecret+"\n")
	file = write("c.yaml", fmt.Sprintf(`source: {mongo: {uri: "${M}", database: ProjectManagement, connect_timeout: 1500ms}}
checker:
  qdrant: {url: "http://%s", api_key: %s, connect_timeout: 1s, retry: {max_elapsed: 100ms}}
sink:
  kafka:
    bootstrap_servers: %q
    create_topics: {partitions: 1, replication_factor: 1, config: {}}
    connect_timeout: 2s
    delivery_timeout: 2s
    security: {sasl: {mechanism: PLAIN, username: ada, password: "${K}"}}
    properties: {sasl.oauthbearer.client.secret: "${file:property}", debug: "security,broker"}
mapping:
  collections:
    page: page
    epic: {content_type: epic, filter: {title: {$ne: "${file:client}"}}}
run: {wait_timeout: 0}
`, qdrant, strconv.Quote(qdrantSecret), kafka))
	return file, []string{"M=" + mongo, "K=" + kafkaSecret}
}

// qdrantGet is the request that asks for ids.
const qdrantGet = "/qdrant.Points/Get"

// invocations runs the program in all the ways that write something and gives each its output.
func invocations(t *testing.T, environ []string, commands ...[]string) {
	t.Helper()
	for _, args := range commands {
		r := syncd(t, environ, args...)
		leaks(t, "syncd "+strings.Join(args, " "), r.stdout+r.stderr)
	}
}

func logs(args ...string) [][]string {
	var out [][]string
	for _, format := range []string{"text", "json"} {
		out = append(out, append(append([]string(nil), args...), "--log-format", format, "--log-level", "debug"))
	}
	return out
}

// TestSecretsShowNowhere plants secrets in a configuration and looks for them in everything that the program writes.
func TestSecretsShowNowhere(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	kafka, err := kafkaserver.Start(kafkaserver.Config{User: "ada", Password: kafkaSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	strictKafka, err := kafkaserver.Start(kafkaserver.Config{User: "ada", Password: "another"})
	if err != nil {
		t.Fatal(err)
	}
	defer strictKafka.Close()
	qdrant, err := qdrantserver.Start(qdrantserver.Config{APIKey: qdrantSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer qdrant.Close()
	strictQdrant, err := qdrantserver.Start(qdrantserver.Config{APIKey: "another"})
	if err != nil {
		t.Fatal(err)
	}
	defer strictQdrant.Close()
	nobody := closedPort(t)
	withPassword := "mongodb://ada:" + url.QueryEscape(mongoSecret) + "@"

	t.Run("a run that works", func(t *testing.T) {
		// The embedded server takes any password by this mechanism, and none by the default one.
		uri := withPassword + s.Mongo.Addr() + "/?authMechanism=PLAIN&tlsCertificateKeyFilePassword=" + optionSecret
		file, environ := secretConfig(t, uri, qdrant.Addr(), kafka.Addr())
		for _, args := range logs("run", file) {
			r := syncd(t, environ, args...)
			r.wants(t, 0, `^Complete: `)
			leaks(t, strings.Join(args, " "), r.stdout+r.stderr)
		}
		invocations(t, environ, append(logs("run", file, "--dry-run"),
			[]string{"validate", file}, []string{"validate", "--connect", file}, []string{"config", "print", file},
			[]string{"config", "print", "--format", "json", file}, []string{"config", "diff", file, "configs/dev.yaml"},
			[]string{"id", "-c", file, "--collection", "page", "1"})...)
		r := syncd(t, environ, "config", "print", file)
		r.wants(t, 0, `^    uri: "mongodb://ada:\[redacted\]@127`, `api_key: "\[redacted\]"`, `password: "\[redacted\]" +# .*, from K$`,
			`sasl.oauthbearer.client.secret: "\[redacted\]" +# .*, from file:property$`, `filter: \{title: \{\$ne: "\[redacted\]"\}\}`)
	})
	t.Run("servers that refuse", func(t *testing.T) {
		for name, servers := range map[string][3]string{
			"MongoDB":    {withPassword + s.Mongo.Addr() + "/?authMechanismProperties=AWS_SESSION_TOKEN:" + optionSecret, qdrant.Addr(), kafka.Addr()},
			"Qdrant":     {s.Mongo.URI(), strictQdrant.Addr(), kafka.Addr()},
			"Kafka":      {s.Mongo.URI(), qdrant.Addr(), strictKafka.Addr()},
			"no MongoDB": {withPassword + nobody + "/", qdrant.Addr(), kafka.Addr()},
			"no Qdrant":  {s.Mongo.URI(), nobody, kafka.Addr()},
			"no Kafka":   {s.Mongo.URI(), qdrant.Addr(), nobody},
		} {
			t.Run(name, func(t *testing.T) {
				file, environ := secretConfig(t, servers[0], servers[1], servers[2])
				for _, args := range logs("run", file) {
					r := syncd(t, environ, args...)
					if name != "no Qdrant" && r.code == 0 {
						t.Errorf("it worked: %s", r)
					}
					leaks(t, strings.Join(args, " "), r.stdout+r.stderr)
				}
				invocations(t, environ, []string{"validate", "--connect", "--connect-timeout", "3s", file})
			})
		}
	})
	t.Run("broken configurations", func(t *testing.T) {
		file, environ := secretConfig(t, withPassword+s.Mongo.Addr(), qdrant.Addr(), kafka.Addr())
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range [][2]string{
			{"api_key: ", "api_kee: "},
			{"api_key: ", "api_key: [1, "},
			{`password: "${K}"`, `mechanism2: "${K}"`},
			{`password: "${K}"`, `password: {a: "${K}"}`},
			{"username: ada", `username: "${K}", x: 1`},
			{"mechanism: PLAIN", `mechanism: "${K}"`},
			{`uri: "${M}"`, `uri: "x${M}"`},
			{`uri: "${M}"`, `uri: "${M}@h"`},
			{`database: ProjectManagement`, `database: "${M}"`},
			{`url: "http://`, `url: "http://ada:` + kafkaSecret[:8] + `PLANTED@`},
			{"bootstrap_servers: ", `bootstrap_servers: "${file:client}", topic: `},
			{"wait_timeout: 0", `wait_timeout: "${K}"`},
			{"wait_timeout: 0", `mode: "${file:client}"`},
			{"wait_timeout: 0", `collections: "${file:client}"`},
			{"epic: {", `epic: {seed: "${file:client}", `},
			{"epic: {", `epic: {topic: "${file:client} x", `},
			{"${file:client}", "${file:client}\"}, {"},
		} {
			bad := strings.Replace(string(data), change[0], change[1], 1)
			if bad == string(data) {
				t.Fatalf("nothing to change: %q", change[0])
			}
			if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			invocations(t, environ, []string{"validate", file}, []string{"validate", "--format", "json", file},
				[]string{"validate", "--format", "github", file}, []string{"run", file, "--dry-run"}, []string{"config", "print", file})
		}
	})
	t.Run("init", func(t *testing.T) {
		uri := withPassword + s.Mongo.Addr()
		file := filepath.Join(t.TempDir(), "new.yaml")
		r := syncd(t, []string{"U=" + uri}, "init", file, "--mongo", "env:U", "--database", "x")
		r.wants(t, 1, `connecting to MongoDB`)
		leaks(t, "init", r.stdout+r.stderr)
		r = syncd(t, nil, "init", file, "--mongo", uri, "--database", "x")
		r.wants(t, 1, `warning: everyone on this machine can read a password on the command line`)
		leaks(t, "init", r.stdout+r.stderr)
		r = syncd(t, []string{"U=" + withPassword + "h:h"}, "init", file, "--mongo", "env:U", "--database", "x")
		r.wants(t, 2, `is not a MongoDB connection string`)
		leaks(t, "init", r.stdout+r.stderr)
	})
}

// securedConfig is a configuration with TLS everywhere that tests can have it, an encrypted key, a token, and passwords.
type securedConfig struct {
	mongo, qdrant, kafka string // addresses
	mongoPassword        string
	token                string
	ca                   string // file
	certFile, keyFile    string
	keyPassword          string
}

func (c securedConfig) write(t *testing.T) (file string, environ []string) {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("token", c.token+"\n")
	put("c.yaml", fmt.Sprintf(`source:
  mongo:
    uri: "mongodb://ada:${M}@%[1]s/?authMechanism=SCRAM-SHA-256"
    database: db
    connect_timeout: 1500ms
    tls: &tls {enabled: true, ca_file: %[4]q, cert_file: %[5]q, key_file: %[6]q, key_password: "${P}"}
checker:
  qdrant: {url: "https://%[2]s", api_key: "${file:token}", connect_timeout: 1500ms, retry: {max_elapsed: 100ms}, tls: *tls}
sink:
  kafka:
    bootstrap_servers: %[3]q
    create_topics: {partitions: 1, replication_factor: 1}
    connect_timeout: 2s
    delivery_timeout: 2s
    security: {sasl: {mechanism: SCRAM-SHA-512, username: ada, password: "${K}"}}
mapping: {collections: {page: page}}
run: {wait_timeout: 0, state_dir: %[7]q}
`, c.mongo, c.qdrant, c.kafka, c.ca, c.certFile, c.keyFile, filepath.Join(dir, "state")))
	return filepath.Join(dir, "c.yaml"), []string{
		"M=" + strings.ReplaceAll(url.QueryEscape(c.mongoPassword), "+", "%20"), "K=" + kafkaSecret, "P=" + c.keyPassword, "HOME=" + dir,
	}
}

// TestSecretsShowNowhereWithTLS has the secrets of TLS and of tokens, runs that work and runs that fail for each of them, and
// looks at the files that they leave too.
func TestSecretsShowNowhereWithTLS(t *testing.T) {
	ours, other := certs.New(t), certs.New(t)
	cert, expired, app := ours.Server(), ours.Expired(), ours.Client("app")
	der, err := pkcs8.MarshalPrivateKey(app.TLS.PrivateKey, []byte(keySecret), nil)
	if err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked.pem")
	if err := os.WriteFile(locked, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	startMongo := func(config *tls.Config) string {
		m, err := fastmongo.Start(t.Context(), fastmongo.Config{User: "ada", Password: mongoSecret, TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		if err := m.Put("db.page", plainDocs(20)...); err != nil {
			t.Fatal(err)
		}
		return m.Addr()
	}
	startQdrant := func(config *tls.Config) string {
		q, err := qdrantserver.Start(qdrantserver.Config{APIKey: qdrantSecret, JWT: true, TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q.Addr()
	}
	kafka, err := kafkaserver.Start(kafkaserver.Config{User: "ada", Password: kafkaSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	strictKafka, err := kafkaserver.Start(kafkaserver.Config{User: "ada", Password: "another"})
	if err != nil {
		t.Fatal(err)
	}
	defer strictKafka.Close()
	good := securedConfig{
		mongo: startMongo(cert.MutualConfig(ours)), qdrant: startQdrant(cert.MutualConfig(ours)), kafka: kafka.Addr(),
		mongoPassword: mongoSecret, token: tokenSecret, ca: ours.File, certFile: app.CertFile, keyFile: locked, keyPassword: keySecret,
	}
	for name, c := range map[string]struct {
		change func(*securedConfig)
		says   string // of a run; empty is that it works
	}{
		"all well":             {func(*securedConfig) {}, ""},
		"another password":     {func(c *securedConfig) { c.mongoPassword += "x" }, `authentication failed for user "ada"`},
		"another key password": {func(c *securedConfig) { c.keyPassword += "x" }, `incorrect password`},
		"another authority":    {func(c *securedConfig) { c.ca = other.File }, `the server's certificate is not trusted`},
		"expired MongoDB":      {func(c *securedConfig) { c.mongo = startMongo(expired.ServerConfig()) }, `certificate has expired`},
		"plain MongoDB":        {func(c *securedConfig) { c.mongo = startMongo(nil) }, `does not speak TLS`},
		"expired Qdrant":       {func(c *securedConfig) { c.qdrant = startQdrant(expired.ServerConfig()) }, `certificate has expired`},
		"plain Qdrant":         {func(c *securedConfig) { c.qdrant = startQdrant(nil) }, `does not speak TLS`},
		"expired token": {func(c *securedConfig) {
			c.token = qdrantserver.Token(qdrantSecret, "r", time.Now().Add(-time.Hour))
		}, `ExpiredSignature`},
		"another's token": {func(c *securedConfig) {
			c.token = qdrantserver.Token("PLANTED", "r", time.Now().Add(time.Hour))
		}, `InvalidSignature`},
		"a key that is none": {func(c *securedConfig) { c.token = keySecret[:8] + "PLANTED" }, `Invalid API key or JWT`},
		"strict Kafka":       {func(c *securedConfig) { c.kafka = strictKafka.Addr() }, `Kafka`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			file, environ := cfg.write(t)
			dir := filepath.Dir(file)
			plan := filepath.Join(dir, "plan.ndjson")
			report, page := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.html")
			for _, args := range append(append(logs("run", file, "--report", report, "--progress", "json"), logs("plan", file, "-o", plan)...),
				[]string{"report", report, "--html", page}, []string{"report", report}, []string{"state", "show", "--json", "-c", file},
				[]string{"validate", "--connect", "--connect-timeout", "4s", file}, []string{"validate", file},
				[]string{"config", "print", file}, []string{"config", "print", "--format", "json", file}) {
				r := syncd(t, environ, args...)
				what := "syncd " + strings.Join(args, " ")
				if args[0] == "run" {
					switch {
					case c.says == "" && r.code != 0:
						t.Errorf("%s: %s", what, r)
					case c.says != "" && (r.code == 0 || !strings.Contains(r.stdout+r.stderr, c.says)):
						t.Errorf("%s does not say %q: %s", what, c.says, r)
					}
				}
				leaks(t, what, r.stdout+r.stderr)
				if strings.Contains(r.stdout+r.stderr, cfg.token) {
					t.Errorf("%s shows the token: %s", what, r)
				}
			}
			leaksInFiles(t, dir, "token")
		})
	}
}

// leaksInFiles looks at all files that a program has left in a folder, but those that the test made, with a secret in them.
func leaksInFiles(t *testing.T, dir string, except ...string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || slices.Contains(except, entry.Name()) {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			seen++
			leaks(t, path, path+string(data))
		}
		return err
	})
	if err != nil || seen == 0 {
		t.Errorf("%d files, %v", seen, err)
	}
}

// TestSecretsStayOutOfTheProcessList looks at the command line of a run.
func TestSecretsStayOutOfTheProcessList(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 200); err != nil {
		t.Fatal(err)
	}
	qdrant, err := qdrantserver.Start(qdrantserver.Config{APIKey: qdrantSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer qdrant.Close()
	kafka, err := kafkaserver.Start(kafkaserver.Config{User: "ada", Password: kafkaSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	file, environ := secretConfig(t, s.Mongo.URI(), qdrant.Addr(), kafka.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, stdout, stderr := command(ctx, environ, "run", file, "--batch-size", "1", "--sleep", "1s")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	interrupt(t, cmd, syscall.SIGTERM, func() bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		if err != nil {
			t.Skipf("this system has no process list to look at: %v", err)
		}
		leaks(t, "the command line", string(line))
		return bytes.Contains(line, []byte(file)) && qdrant.Calls(qdrantGet) > 0
	})
	_ = cmd.Wait()
	leaks(t, "an interrupted run", stdout.String()+stderr.String())
}
