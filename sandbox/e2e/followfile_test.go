package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// TestFollowedFile: lines are appended to a file, which is rotated, while runs follow it that are killed. Every line is an event, and
// the position was never lost.
func TestFollowedFile(t *testing.T) {
	qdrant, err := qdrantserver.Start(qdrantserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = qdrant.Close() })
	dir := t.TempDir()
	exports, events, config := filepath.Join(dir, "exports"), filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "c.yaml")
	if err := os.Mkdir(exports, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, `source: {file: {path: %q, database: db}}
checker: {qdrant: {url: "http://%s", collection: c}}
sink: {file: {path: %q}}
mapping: {collections: {page: doc}}
run: {follow: true, state_dir: %q}
`, exports, qdrant.Addr(), events, filepath.Join(dir, "state")), 0o600); err != nil {
		t.Fatal(err)
	}
	var want []string
	write := func(n int) {
		t.Helper()
		file, err := os.OpenFile(filepath.Join(exports, "page.ndjson"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		for range n {
			id := fmt.Sprintf("doc-%04d", len(want))
			want = append(want, id)
			if _, err := fmt.Fprintf(file, "{\"_id\":%q,\"title\":\"x\"}\n", id); err != nil {
				t.Fatal(err)
			}
		}
	}
	there := func() bool {
		content, err := os.ReadFile(events)
		if err != nil {
			return false
		}
		seen := map[string]bool{}
		for line := range strings.Lines(string(content)) {
			var e struct {
				DocumentKey struct {
					ID string `json:"_id"`
				}
			}
			if json.Unmarshal([]byte(line), &e) == nil {
				seen[e.DocumentKey.ID] = true
			}
		}
		for _, id := range want {
			if !seen[id] {
				return false
			}
		}
		return true
	}
	write(50)
	for round := range 4 {
		cmd, _, _ := command(t.Context(), nil, "run", "-c", config)
		output := &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		write(20)
		interrupt(t, cmd, 0, there)
		if round == 1 {
			// A file is read under another name only by who has it open: what is written from here on, only the stream reads.
			interrupt(t, cmd, 0, func() bool { return strings.Contains(output.String(), "Following the changes") })
			write(20)
			interrupt(t, cmd, 0, there)
			if err := os.Rename(filepath.Join(exports, "page.ndjson"), filepath.Join(exports, "page.1")); err != nil {
				t.Fatal(err)
			}
			write(20)
			interrupt(t, cmd, 0, there)
		}
		write(20)
		if round%2 == 0 {
			interrupt(t, cmd, syscall.SIGKILL, func() bool { return true }) // while these are read
		} else {
			interrupt(t, cmd, syscall.SIGTERM, there)
		}
		_ = cmd.Wait()
		if out := output.String(); strings.Contains(out, "is lost") || round > 0 && strings.Contains(out, "Running incremental") {
			t.Errorf("round %d, of %s: %s", round, time.Since(begun), out)
		}
	}
	if !there() {
		t.Error("lines are missing")
	}
}
