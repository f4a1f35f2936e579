package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// The planted secrets. Each has characters that encoders change.
const (
	mongoSecret    = "m0ngo-PLANTED/@:%é"
	qdrantSecret   = "qdr4nt-PLANTED+key=="
	kafkaSecret    = "k4fka-PLANTED \"pw\""
	propertySecret = "pr0perty-PLANTED"
	fileSecret     = "f1le-PLANTED"
	optionSecret   = "0ption-PLANTED"
)

// leaks fails the test if what the program wrote holds a secret, in any spelling.
func leaks(t *testing.T, what, text string) {
	t.Helper()
	for _, secret := range []string{mongoSecret, qdrantSecret, kafkaSecret, propertySecret, fileSecret, optionSecret} {
		quoted := strconv.Quote(secret)
		j, _ := json.Marshal(secret)
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), quoted[1 : len(quoted)-1], string(j[1 : len(j)-1]),
			hex.EncodeToString([]byte(secret)), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="),
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
	s := start(t, noIndexer)
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
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
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

// TestSecretsStayOutOfTheProcessList looks at the command line of a run.
func TestSecretsStayOutOfTheProcessList(t *testing.T) {
	s := start(t, noIndexer)
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
