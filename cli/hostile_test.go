package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// hostileTexts are ids, names and answers of servers. Printed as they are, they would move the cursor, hide text or forge a line.
var hostileTexts = []string{
	"", " ", "\x1b[2Jclear", "a\nerror: forged line\nhint: pay bob", "a\r  Errors   0", "\abell", "\x1b]0;title\a", "rtl\u202eevil",
	"\u2066isolate", "zero\u200bwidth", "a\x00b", "\u009b31m", "in\xffvalid", "line\u2028separator\u2029", "nb\u00a0space", "soft\u00adhyphen",
	"\ufeffmark", "fill\u3164er", "tag\U000e0041", "delete\x7f", "\x1b[31mred", strings.Repeat("0", 600_000), "\"quoted\"", `back\slash`,
	"<script>alert(1)</script>",
}

// errHostile is a server's answer with all of them.
var errHostile = errors.New("the server says: " + strings.Join(hostileTexts, "|")[:10_000])

// looked fails the test where a text would do more to a terminal than be read, or too much of it.
func looked(t *testing.T, what, printed string) {
	t.Helper()
	for i, line := range strings.Split(printed, "\n") {
		if !utf8.ValidString(line) {
			t.Errorf("%s: line %d is not UTF-8: %.200q", what, i+1, line)
		}
		for _, r := range line {
			if r != ' ' && !unicode.IsGraphic(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point) && r != ' ' {
				t.Errorf("%s: line %d has %U: %.300q", what, i+1, r, line)
				break
			}
		}
		if begin := strings.TrimSpace(line); strings.HasPrefix(begin, "error: forged") || strings.HasPrefix(begin, "hint: pay") {
			t.Errorf("%s: line %d is forged", what, i+1)
		}
		if len(line) > 8000 && !json.Valid([]byte(printed)) { // a few reasons of 2000 bytes, escaped
			t.Errorf("%s: line %d has %d bytes: %.300q", what, i+1, len(line), line)
		}
	}
}

// hostileSink refuses what it is given, or fails as a whole.
type hostileSink struct {
	syncd.Sink
	whole, refuse error
}

func (s hostileSink) Write(ctx context.Context, changes []syncd.Change) error {
	if s.whole != nil {
		return s.whole
	}
	if s.refuse == nil {
		return s.Sink.Write(ctx, changes)
	}
	b := &syncd.BatchError{}
	for i := range changes {
		b.Fail(i, s.refuse)
	}
	return b
}

// What an index answers a search with. The settings are those of a job that writes it.
type (
	hostileDivider  struct{}
	hostileEmbedder struct{}
	hostileIndex    struct{}
)

func (hostileDivider) DividesIntoChunks()   {}
func (hostileEmbedder) VectorModel() string { return hostileTexts[3] }
func (hostileIndex) PayloadKeys() syncd.PayloadKeys {
	return syncd.PayloadKeys{ID: "mongo_id", ContentType: "content_type", ChunkIndex: "chunk_index", ChunkCount: "chunk_count"}
}

// hostileIndexer declares what such a job is made of.
func hostileIndexer() []syncd.Plugin {
	divider, embedder := &syncdtest.MemoryStage{}, &syncdtest.MemoryStage{Can: syncd.StageAbilities{Vectors: &syncd.Vectors{
		Embed: func(_ context.Context, text string) ([]float32, error) {
			if text == hostileTexts[3] {
				return nil, errHostile
			}
			return []float32{1}, nil
		},
		Usage: func() syncd.Usage { return syncd.Usage{} },
	}}}
	return []syncd.Plugin{
		syncd.NewStage("divide", "", hostileDivider{}, func(context.Context, hostileDivider, syncd.Env) (syncd.Stage, error) { return divider, nil }),
		syncd.NewStage("embed", "", hostileEmbedder{}, func(context.Context, hostileEmbedder, syncd.Env) (syncd.Stage, error) { return embedder, nil }),
		syncd.NewSink("index", "", hostileIndex{}, func(context.Context, hostileIndex, syncd.Env) (syncd.Sink, error) {
			return nearSink{syncdtest.NewMemorySink()}, nil
		}),
	}
}

// nearSink finds every text near, and fails where it is asked for only one.
type nearSink struct{ syncd.Sink }

func (s nearSink) Abilities() syncd.SinkAbilities {
	can := s.Sink.Abilities()
	can.Nearest = func(_ context.Context, _ []float32, _ []string, limit int) (found []syncd.Neighbour, err error) {
		if limit == 1 {
			return nil, errHostile
		}
		for _, t := range hostileTexts {
			found = append(found, syncd.Neighbour{PointID: point(t, "0"), ID: t, ContentType: t, Title: t, Text: t + "\n" + t, Chunk: 1, Chunks: 2})
		}
		return found, nil
	}
	return can
}

// TestHostileTexts runs every command on ids, names and answers that are made to deceive, and looks at all that is printed.
func TestHostileTexts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	source, checker := syncdtest.NewMemorySource(), syncdtest.NewMemoryChecker()
	source.Create("page")
	for i, id := range hostileTexts {
		source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": hostileTexts[len(hostileTexts)-1-i]}})
	}
	source.Insert("page", syncdtest.MemoryDoc{ID: "unreadable", Err: errHostile}, syncdtest.MemoryDoc{ID: nil, Err: fmt.Errorf("%w: %w", syncd.ErrNoID, errHostile)})
	for i, id := range hostileTexts { // some are stale, some are gone
		if i%2 == 0 {
			checker.Put(point(id, "0"), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0, "updatedAt": id})
		}
		checker.Put(point(id+"?", "0"), map[string]any{"content_type": "page", "mongo_id": id + "?", "chunk_index": 0})
	}
	settings := `source: {memory: {}}
checker: {memory: {}}
sink: {memory: {}}
mapping: {version: {field: updatedAt, payload: updatedAt}, collections: {page: page, "na\e[2Jme\nerror: forged": gone}}
run: {readers: 1, workers: 1, state_dir: ` + dir + `/state, wait_timeout: 0s}
`
	good := file("good.yaml", settings)
	bad := file("bad.yaml", settings+`"un\e[2Jknown": "a\nerror: forged"
errors: {tolerance: "n\u202eone"}
`)
	var faults struct {
		source, check, list, open error
		sink                      hostileSink
	}
	fault := func(err error) syncdtest.Schedule { return syncdtest.Always(syncdtest.Fault{Err: err}) }
	plugins := []syncd.Plugin{
		syncd.NewSource("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
			if faults.source != nil {
				return syncdtest.FaultySource(source, syncdtest.SourceFaults{Read: fault(faults.source)}), nil //nolint:nilerr // it comes when it is used
			}
			return probing{source}, nil
		}),
		syncd.NewChecker("memory", "", struct{}{}, func(_ context.Context, _ struct{}, env syncd.Env) (syncd.Checker, error) {
			env.Logger.Warn("heard: "+errHostile.Error(), "error", errHostile, "name", hostileTexts[2], "id", hostileTexts[21])
			if faults.open != nil {
				return nil, syncd.Hint(faults.open, "ask: %v", faults.open)
			}
			if faults.check != nil || faults.list != nil {
				return syncdtest.FaultyChecker(checker, syncdtest.CheckerFaults{Check: fault(faults.check), Read: fault(faults.check), List: fault(faults.list)}), nil //nolint:nilerr // it comes when it is used
			}
			return checker, nil
		}),
		syncd.NewSink("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
			s := faults.sink
			s.Sink = syncdtest.NewMemorySink()
			return s, nil
		}),
	}
	plugins = append(plugins, hostileIndexer()...)
	var used []string
	run := func(name string, args ...string) (code int, printed string) {
		t.Helper()
		used = append(used, args[0])
		var stdout, stderr bytes.Buffer
		code = program{args: args, stdout: &stdout, stderr: &stderr, plugins: plugins}.run(t.Context())
		looked(t, name+", standard output", stdout.String())
		looked(t, name+", standard error", stderr.String())
		return code, stdout.String() + stderr.String()
	}
	wants := func(printed string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(printed, part) {
				t.Errorf("there is no %q in\n%.6000s", part, printed)
			}
		}
	}

	report := filepath.Join(dir, "report.json")
	faults.sink.refuse = errHostile
	for _, form := range []string{"plain", "json"} {
		for _, log := range []string{"text", "json"} {
			code, out := run("a sink that refuses", "run", good, "--log-format", log, "-v", "--progress", form, "--report", report, "--mode", "full")
			if code != exitFailures {
				t.Errorf("%d\n%.3000s", code, out)
			}
			wants(out, `page "": write: the server says: `, `page "a\nerror: forged line\nhint: pay bob": write`, `page (no id): read: no usable id: the server says`)
		}
	}
	faults.sink = hostileSink{}
	_, out := run("a report", "report", report)
	wants(out, `the server says: `)
	run("a comparison", "report", report, report)
	run("a history", "report", report, report, report)
	_, out = run("a report as JSON", "report", "--json", report)
	if !json.Valid([]byte(out)) || !strings.Contains(out, `\u202e`) {
		t.Errorf("not the report: %.300s", out)
	}
	page := filepath.Join(dir, "page.html")
	run("a page", "report", report, "--html", page)
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	looked(t, "the page", strings.ReplaceAll(string(html), "\t", " "))
	wants(string(html), `&#34;a\nerror: forged line\nhint: pay bob&#34;`)
	if strings.Contains(string(html), "<script>") {
		t.Error("the page has a script")
	}

	forged := filepath.Join(dir, "forged.json")
	forge(t, report, forged)
	run("a forged report", "report", forged)
	run("a comparison with a forged report", "report", forged, report)
	run("a forged page", "report", forged, "--html", page)
	if html, err = os.ReadFile(page); err != nil {
		t.Fatal(err)
	}
	looked(t, "the forged page", strings.ReplaceAll(string(html), "\t", " "))
	wants(string(html), `a\nerror: forged`)

	_, out = run("a dry run", "run", good, "--dry-run")
	wants(out, `would send "`)
	plan := filepath.Join(dir, "all.plan")
	_, out = run("a plan", "plan", good, "-o", plan)
	wants(out, "point id")
	run("a plan that is sent", "run", good, "--plan", plan)
	other := file("other.yaml", strings.Replace(settings, "page: page", "page: other", 1))
	run("a plan of another mapping", "run", other, "--plan", plan)
	_, out = run("a verification", "verify", "--min-age", "0s", good)
	wants(out, `+ page "`)
	run("a prune", "run", good, "--prune")
	run("waiting", "run", good, "--wait", "--wait-timeout", "1ms")

	faults.sink.whole = errHostile
	run("a sink that fails", "run", good, "--log-format", "json", "--report", report, "--mode", "full")
	run("its report", "report", report)
	faults.sink = hostileSink{}
	faults.source = errHostile
	_, out = run("a source that fails", "run", good)
	wants(out, "error: ", `a\nerror: forged line\nhint: pay bob`)
	faults.source = nil
	faults.check = errHostile
	run("a checker that fails", "run", good)
	run("a verification that fails", "verify", good)
	faults.check, faults.list = nil, errHostile
	run("a listing that fails", "verify", good)
	faults.list, faults.open = nil, errHostile
	_, out = run("a server that refuses", "run", good)
	wants(out, "\nerror: ", "\nhint: ask: ")
	run("a server that refuses", "validate", "--connect", good)
	faults.open = fmt.Errorf("%w: %w", syncd.ErrUnavailable, errHostile)
	run("a server that is not there", "run", good, "--log-format", "json")
	faults.open = nil
	_, out = run("findings", "validate", "--connect", good)
	wants(out, "the server says")
	strict := file("strict.yaml", settings+"errors: {tolerance: none}\n")
	_, out = run("a run that stops at a document", "run", strict, "--mode", "full")
	wants(out, "error: ", "stopped at the first document")

	drifted := syncdtest.NewMemoryChecker(uuid.New())
	drifted.Put(uuid.New(), map[string]any{"content_type": "page", "mongo_id": hostileTexts[3], "chunk_index": 0})
	held := checker
	checker = drifted
	_, out = run("a drift", "run", good)
	wants(out, "drift")
	checker = held

	for _, id := range hostileTexts {
		_, out := run("explain", "explain", "-c", good, "page", id)
		if len(id) > 1000 {
			wants(out, "(600000 bytes)")
		}
		run("id", "id", "-c", good, "--collection", "page", id)
		run("a collection", "explain", "-c", good, id, "x")
		run("a file", "run", "-c", "no"+strings.ReplaceAll(id, "\x00", ""))
	}
	index := file("index.yaml", `source: {memory: {}}
checker: {memory: {}}
stages: {divide: {}, embed: {}}
sink: {index: {}}
mapping: {collections: {page: page}}
`)
	for _, form := range []string{"table", "json"} {
		code, out := run("a search", "search", "-c", index, "-o", form, "x")
		wants(out, `forged line\nhint: pay bob`)
		if code != 0 {
			t.Errorf("%d\n%.3000s", code, out)
		}
		_, out = run("a search that fails", "search", "-c", index, "-o", form, "--limit", "1", "x")
		wants(out, "the server says")
		_, out = run("a question that can't be embedded", "search", "-c", index, "-o", form, hostileTexts[3])
		wants(out, "the server says")
		run("a search of another job", "search", "-c", good, "-o", form, hostileTexts[3])
		run("a search that is none", "search", "-c", index, "-o", form, "--type", hostileTexts[6], " ")
	}
	run("the states", "state", "list", "--dir", filepath.Join(dir, "state"))
	run("the states", "state", "list", "--json", "--dir", filepath.Join(dir, "state"))
	run("a state", "state", "show", "--dir", filepath.Join(dir, "state"))
	run("no state", "state", "show", hostileTexts[3], "--dir", filepath.Join(dir, "state"))
	for _, format := range []string{"text", "short", "json", "github"} {
		run("a bad configuration as "+format, "validate", "--format", format, bad)
	}
	run("a bad configuration", "run", bad)
	run("an unknown flag", "run", "--\x1b[2J")
	kept := filepath.Join(dir, "kept")
	for _, name := range hostileTexts {
		if name == "" || !utf8.ValidString(name) { // no configuration has such a name
			continue
		}
		keepHostile(t, kept, name)
		for _, form := range []string{"table", "json"} {
			_, out = run("a job that is kept", "status", name, "--state-dir", kept, "-o", form)
			wants(out, "the server says")
		}
	}
	service := hostileService(t)
	for _, form := range []string{"table", "json"} {
		run("jobs that are kept", "status", "--state-dir", kept, "-o", form)
		run("no such job", "status", "no "+hostileTexts[3], "--state-dir", kept, "-o", form)
		_, out = run("jobs of a service", "status", "--server", service, "-o", form)
		wants(out, "the server says")
		for _, name := range hostileTexts[2:20] {
			name = strings.ReplaceAll(name, "\x00", "")
			run("a job of a service", "status", name, "--server", service, "-o", form)
			run("a job that is paused", "pause", name, "--server", service, "-o", form)
		}
		for _, command := range []string{"resume", "stop", "restart", "trigger"} {
			run("a job that is driven", command, "a", "--server", service, "-o", form)
		}
		run("a service that is none", "status", "--server", hostileServer(t), "-o", form)
		run("a URL that is none", "status", "--server", hostileTexts[3], "-o", form)
		run("a plan", "plan", good, "-o", form)
		run("a verification", "verify", "--min-age", "0s", good, "-o", form)
		for _, id := range hostileTexts {
			run("explain", "explain", "-c", good, "page", id, "-o", form)
		}
		run("findings", "validate", "--connect", good, "-o", form)
		run("a bad configuration", "validate", bad, "-o", form)
		run("a bad configuration", "plan", bad, "-o", form)
		run("plugins", "plugins", "-o", form)
		run("a plugin", "plugins", "source/memory", "-o", form)
		run("settings", "settings", "-o", form)
		run("a setting that is none", "settings", hostileTexts[3], "-o", form)
	}
	run("an unknown plugin", "plugins", "source", hostileTexts[2])
	run("a health check", "health", hostileServer(t))
	run("a service that can't listen", "serve", bad, "--state-dir", filepath.Join(dir, "state"), "--listen", hostileTexts[3])
	run("dead letters", "deadletters", "list", "-c", good)
	run("a code that is none", "validate", "--explain", hostileTexts[3])
	run("the version", "version")
	run("the settings", "config", "print", good)
	run("the schema", "schema")
	run("the reference", "reference", "--dir", filepath.Join(dir, "reference"))
	run("a man page that is none", "man", hostileTexts[3])
	run("init", "init", "--source", hostileTexts[3])

	registry, err := syncd.NewRegistry(plugins...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range newApp(program{}, registry).root().Commands() {
		if !slices.Contains(used, c.Name()) {
			t.Errorf("the command %s is not tried: whatever it prints of others is to be looked at here", c.Name())
		}
	}
}

// forge copies a report with a hostile text in place of every other text.
func forge(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var report any
	if err := json.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				if !slices.Contains([]string{"started", "ended", "outcome", "series"}, key) {
					v[key] = walk(inner)
				}
			}
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case string:
			return "a\nerror: forged\x1b[2J\u202e" + v
		}
		return v
	}
	if b, err = json.Marshal(walk(report)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// probing is a source whose findings are hostile.
type probing struct{ *syncdtest.MemorySource }

func (p probing) Abilities() syncd.SourceAbilities {
	a := p.MemorySource.Abilities()
	a.Probe = func(context.Context, []syncd.ProbeTarget) (out []syncd.Finding) {
		for _, s := range append(hostileTexts, errHostile.Error()) {
			out = append(out, syncd.Finding{Subject: "name " + s, Status: syncd.StatusWarning, Detail: s, Hint: s})
		}
		return out
	}
	return a
}

// keepHostile keeps a run under way and one that ended of a job.
func keepHostile(t *testing.T, dir, name string) {
	t.Helper()
	next := time.Now().Add(time.Hour)
	err := runlog.Append(dir, runlog.Run{
		Job: name, RunID: name, Outcome: tally.Outcome(name[:min(40, len(name))]), Error: errHostile.Error(), Hint: errHostile.Error(), Mode: name[:min(40, len(name))],
		Collections: hostileTexts[:5], Next: &next,
	})
	if err == nil {
		err = runlog.Publish(dir, hostileLive(name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hostileLive(name string) runlog.Live {
	short := name[:min(40, len(name))]
	return runlog.Live{
		Job: name, RunID: short, PID: os.Getpid(), Host: store.Host(), Config: short, Started: time.Now(), Updated: time.Now(), Phase: short,
		Collections: []runlog.Collection{{Name: name, ContentType: name}}, Streams: []runlog.Stream{{Name: name}},
	}
}

// hostileService answers to what is asked of a service: below /bad with errors.
func hostileService(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var jobs []api.Job
		for _, name := range hostileTexts {
			short := name[:min(40, len(name))]
			live := hostileLive(name)
			jobs = append(jobs, api.Job{Status: host.Status{
				Name: name, File: name, State: host.State(short), Reason: errHostile.Error(), Hint: errHostile.Error(), Schedule: short, Problems: hostileTexts[:5], Live: &live,
				Wish: host.Wish{Desired: host.Desired(short), By: name},
			}})
		}
		var answer any = api.Jobs{Jobs: jobs, Problem: errHostile.Error()}
		if name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/jobs/"), "/"); rest != "" || name != r.URL.Path && name != "" {
			answer = api.Detail{Job: jobs[len(name)%len(jobs)]}
			if len(name)%3 == 0 {
				w.WriteHeader(http.StatusConflict)
				answer = api.Error{Text: errHostile.Error(), Hint: errHostile.Error()}
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func hostileServer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, errHostile.Error()[:500])
	}))
	t.Cleanup(s.Close)
	return s.URL
}
