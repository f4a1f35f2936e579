package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/server/api"
)

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("page.ndjson", "{\"_id\":\"a\",\"tenant\":\"t\"}\n{\"_id\":\"b\",\"title\":\"second\"}\n{\"_id\":\"c\"}\n")
	text := fmt.Sprintf("source: {file: {path: %q, database: d}}\nchecker: {memory: {}}\nsink: {file: {path: %q}}\n"+
		"mapping: {seed: '{mongo_id}/{fields.tenant}/0', collections: {page: page}}\nrun: {wait_timeout: 0s}\n", dir, filepath.Join(dir, "events"))
	s := newService(t, map[string]string{
		"a.yaml":    text + fmt.Sprintf("errors: {dead_letter: {file: {path: %q, format: envelope}}}\n", filepath.Join(dir, "dead")),
		"none.yaml": jobText,
	}).serve()
	s.state("a", host.Done)
	s.state("none", host.Done)
	var found api.DeadLetters
	if code, _ := s.ask("GET", "jobs/a/deadletters", "", &found); code != 200 || found.Found != 2 || len(found.Letters) != 2 || found.Letters[0].Value != nil {
		t.Fatalf("%d %+v", code, found)
	}
	if code, _ := s.ask("GET", "jobs/a/deadletters?id=b", "", &found); code != 200 || found.Found != 1 || !strings.Contains(string(found.Letters[0].Value), "second") ||
		!strings.Contains(found.Letters[0].Reason, "tenant") {
		t.Errorf("%d %+v", code, found)
	}
	for path, want := range map[string]int{
		"jobs/a/deadletters?limit=1": 200, "jobs/a/deadletters?limit=0": 400, "jobs/a/deadletters?limit=x": 400, "jobs/x/deadletters": 404,
		"jobs/a/deadletters?reason=none": 200, "jobs/none/deadletters": 409,
	} {
		if code, text := s.ask("GET", path, "", nil); code != want {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	for body, want := range map[string]int{
		"{}": 400, `{"all":true,"ids":["b"]}`: 400, `{"ids":["nobody"]}`: 404, `{"all":1}`: 400,
	} {
		if code, text := s.ask("POST", "jobs/a/deadletters/retry", body, nil); code != want {
			t.Errorf("%s: %d %s", body, code, text)
		}
	}
	put("page.ndjson", "{\"_id\":\"a\",\"tenant\":\"t\"}\n{\"_id\":\"b\",\"title\":\"second\",\"tenant\":\"t2\"}\n")
	var retried api.Retried
	if code, text := s.ask("POST", "jobs/a/deadletters/retry", `{"all":true}`, &retried); code != 202 || retried.Documents != 1 || len(retried.Left) != 1 || retried.Left[0].ID != "c" {
		t.Fatalf("%d %s", code, text)
	}
	s.until("the document is sent again", func() bool {
		events, err := os.ReadFile(filepath.Join(dir, "events"))
		return err == nil && strings.Contains(string(events), `"tenant":"t2"`)
	})
}
