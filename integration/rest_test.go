package integration

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/integration/connectclients"
	"github.com/syncd-io/syncd/integration/process"
)

// TestClientsOfKafkaConnect has clients that nobody here wrote look at a service and drive it.
func TestClientsOfKafkaConnect(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("data/page.ndjson", `{"_id": "1", "title": "one"}`+"\n")
	job := "source:\n  file: {path: " + filepath.Join(dir, "data") + "}\nsink:\n  file: {path: " + filepath.Join(dir, "out.ndjson") +
		"}\nmapping:\n  collections: {page: page}\nrun:\n  mode: full\n"
	write("jobs/f1.yaml", job)
	settings := `"connector.class":"FileSource","tasks.max":"1","source.file.path":"` + filepath.Join(dir, "data") + `","sink.file.path":"` +
		filepath.Join(dir, "py.ndjson") + `","mapping.collections.page":"page","run.mode":"full"`
	config := write("py.json", `{"name":"py","config":{`+settings+`}}`)
	flat := write("upload.json", `{"name":"up",`+settings+`}`)
	addr, err := process.FreeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + addr
	service := start(t, "serve", filepath.Join(dir, "jobs"), "--listen", addr, "--state-dir", filepath.Join(dir, "state"), "--writable")
	t.Cleanup(func() {
		service.kill(t)
		if t.Failed() {
			t.Log(service.output.String())
		}
	})
	until(t, "the service answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/connectors/f1", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	type line struct{ args, says string } // a regular expression of what it prints; one that begins with ! is of an error
	for name, c := range map[string]struct {
		fetch func(context.Context) (connectclients.Client, error)
		lines []line
	}{
		"kafka-connect-py": {connectclients.KafkaConnectPy, []line{
			{"info", `"version": "4\.\d+\.\d+-syncd-`},
			{"list", `\["f1"`},
			{"list-plugins", `"class": "mongo", "type": "source"`},
			{"get f1", `"connector.class": "file".*"tasks": \[\{"connector": "f1", "task": 0\}\], "type": "source"`},
			{"config f1", `"run.mode": "full"`},
			{"status f1", `"state": "RUNNING"`},
			{"list-tasks f1", `"task": 0`},
			{"task-status f1 0", `"id": 0, "state": "RUNNING"`},
			{"list-topics f1", `"topics": \[".*out\.ndjson"\]`},
			{"pause f1", ``}, {"resume f1", ``}, {"restart f1", `"name": "f1"`}, {"restart-task f1 0", ``}, {"reset-topics f1", ``},
			{"pause --all", ``}, {"resume --all", ``},
			{"create --config-file " + config, `"name": "py"`},
			{"update py --config-file " + flat, `!Bad Request`},
			{"delete py", ``},
			{"status py", `!404 Client Error`},
		}},
		"kafkaconnect": {connectclients.KafkaConnect, []line{
			{"list", `"f1"`},
			{"status f1", `"state": "RUNNING"`},
			{"config f1", `"mapping.collections.page": "page"`},
			{"tasks f1", `"task": 0`},
			{"plugins", `"class": "file"`},
			{"pause f1", ``}, {"resume f1", ``}, {"restart f1", ``},
			{"upload --name up " + flat, ``},
			{"status up", `"name": "up"`},
			{"delete up", ``},
			{"status up", `not found`},
		}},
		"org.sourcelab": {connectclients.Java, []line{{"f1", `(?s)version 4.*connector source 1\nstatus RUNNING RUNNING\ntasks 1\ntopics .*true\nplugins true\n` +
			`lifecycle true true true true true true\ncreated java\nupdated 12\nvalid 0\ndeleted true\nmissing Connector nope not found`}}},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := c.fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range c.lines {
				says, fails := strings.CutPrefix(l.says, "!")
				out, err := client(t.Context(), url, strings.Fields(l.args)...)
				if err != nil && !fails {
					t.Errorf("%s: %v", l.args, err)
				}
				if !regexp.MustCompile(says).MatchString(out) {
					t.Errorf("%s prints\n%s\nwant %s", l.args, out, says)
				}
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(dir, "jobs", "f1.yaml")); err != nil || string(text) != job {
		t.Errorf("the file of a job that nobody changed is\n%s%v", text, err)
	}
}
