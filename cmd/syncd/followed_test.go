package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
)

// TestFollowedOnly: what takes documents to look at is refused where the source has none, with what to do.
func TestFollowedOnly(t *testing.T) {
	const source = `source: {kafka: {topics: [cdc.page, "^more[.].*"], group_id: g, database: db}}
`
	const rest = `sink: {file: {path: out.ndjson}}
mapping: {collections: {page: page}}
`
	for name, c := range map[string]struct{ text, want string }{
		"follows":           {source + rest + "run: {follow: true}\n", ""},
		"in any mode":       {source + rest + "run: {follow: true, mode: incremental}\n", ""},
		"continues":         {source + rest + "run: {follow: true}\nstream: {on_position_lost: continue}\n", ""},
		"does not follow":   {source + rest, "1:10: error: the source kafka has changes, and no documents to look at: it can only be followed; set run.follow: true, or give --follow to syncd run"},
		"reconciles":        {source + rest + "run: {follow: true}\nschedule: {reconcile: {every: 1h}}\n", "5:12: error: schedule.reconcile looks at all documents, which the source kafka does not have"},
		"looks for orphans": {source + rest + "run: {follow: true, orphans: report}\n", "4:21: error: run.orphans asks for documents whose points are left over, which the source kafka does not have"},
		"filters": {source + `sink: {file: {path: out.ndjson}}
mapping: {collections: {page: {content_type: page, filter: '{"a": 1}'}}}
run: {follow: true}
`, "the source kafka can't filter"},
		"exactly once": {source + `sink: {kafka: {topic: "out.{collection}", delivery: exactly_once, transactions: {id: x}}}
mapping: {collections: {page: page}}
run: {follow: true}
`, "2:8: error: exactly once needs a source whose positions are kept in the sink's transactions"},
		"goes round": {source + `sink: {kafka: {topic: "cdc.{collection}"}}
mapping: {collections: {page: page}}
run: {follow: true}
`, "2:1: error: the events of collection page go to cdc.page, from where the source reads"},
		"goes round by a topic of its own": {source + `sink: {kafka: {topic: "out.{collection}"}}
mapping: {collections: {page: {content_type: page, topic: more.page}}}
run: {follow: true}
`, "2:1: error: the events of collection page go to more.page, from where the source reads"},
		"dead letters go round": {source + rest + `run: {follow: true}
errors: {dead_letter: {kafka: {topic: "more.dead"}}}
`, "the dead letters of collection page go to more.dead, from where the source reads"},
		"elsewhere": {source + `sink: {kafka: {topic: "cdc.{collection}", bootstrap_servers: "other:9092"}}
mapping: {collections: {page: page}}
run: {follow: true}
`, ""},
		"a gap": {`source: {mongo: {uri: "mongodb://h", database: db}}
` + rest + "run: {follow: true, mode: full}\nstream: {on_position_lost: continue}\n", "5:10: error: stream.on_position_lost: continue would leave a gap"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, diags := config.Load(config.Input{Path: file, Registry: registry(t)})
			got := ""
			for _, d := range diags {
				got += strings.TrimPrefix(d.String(), file+":") + "\n"
			}
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want == "" && strings.HasPrefix(c.text, "source: {kafka") && (!cfg.FollowedOnly() || cfg.Run.Mode != config.Full) {
				t.Errorf("mode %s, followed only: %t", cfg.Run.Mode, cfg.FollowedOnly())
			}
		})
	}
}
