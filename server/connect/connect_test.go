package connect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/server/connect"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/tally"
)

const once = `# what the team sends
source:
  fileStream: {file: in.txt, password: "hunter2-plain"}   # one
sink:
  fileStream: {topic: "${TOPIC:-t}"}
mapping:
  collections: {lines: line}
run: {mode: full}
`

var following = strings.Replace(once, "{mode: full}", "{mode: full, follow: true}", 1)

type status struct {
	Connector struct{ State, Trace string }
	Tasks     []struct{ State, Trace string }
	Type      string
}

func TestReadOnlyServiceNamesTheFile(t *testing.T) {
	w := open(t, false, map[string]string{"a.yaml": once})
	config := `{"connector.class":"fileStream"}`
	for _, c := range []struct{ method, path, body, says string }{
		{"POST", "/connectors", `{"name":"new/one","config":` + config + `}`, filepath.Join(w.dir, "new%2fone.yaml")},
		{"PUT", "/connectors/a/config", config, "edit the file " + filepath.Join(w.dir, "a.yaml")},
		{"PATCH", "/connectors/a/config", `{}`, filepath.Join(w.dir, "a.yaml")},
		{"DELETE", "/connectors/a", "", filepath.Join(w.dir, "a.yaml")},
	} {
		r := w.do(c.method, c.path, c.body)
		if r.code != http.StatusForbidden || !strings.Contains(r.text, c.says) || !strings.Contains(r.text, "--writable") {
			t.Errorf("%s %s: %d %s, want 403 with %s", c.method, c.path, r.code, r.text, c.says)
		}
	}
	if w.file("a.yaml") != once {
		t.Error("the file was changed")
	}
}

func TestWritesChangeTheFile(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once, "b.yaml": once})
	for name, c := range map[string]struct {
		method, body string
		code         int
		from, to     string
	}{
		"what was shown changes nothing": {"PUT", "", 200, "", ""},
		"one setting":                    {"PATCH", `{"source.fileStream.file":"other.txt"}`, 200, "in.txt", "other.txt"},
		"the mask is the secret":         {"PATCH", `{"source.fileStream.password":"[redacted]"}`, 200, "", ""},
		"a number is a text":             {"PATCH", `{"run.batch_size":7}`, 200, "{mode: full}", "{mode: full, batch_size: 7}"},
		"null takes back":                {"PATCH", `{"source.fileStream.password":null}`, 200, `, password: "hunter2-plain"`, ""},
		"another source":                 {"PATCH", `{"connector.class":"OtherSource","source.fileStream.file":null,"source.fileStream.password":null}`, 200, `  fileStream: {file: in.txt, password: "hunter2-plain"}   # one`, "  other: {}"},
		"an unknown setting":             {"PATCH", `{"run.batchsize":"7"}`, 400, "", ""},
		"a value that is wrong":          {"PATCH", `{"source.fileStream.pages":"many"}`, 400, "", ""},
		"another name":                   {"PATCH", `{"name":"b"}`, 400, "", ""},
		"a block of JSON":                {"PATCH", `{"run":{"mode":"full"}}`, 400, "", ""},
		"no class":                       {"PUT", `{"run.mode":"full"}`, 400, "", ""},
		"a sink for a class":             {"PUT", `{"connector.class":"FileStreamSink"}`, 400, "", ""},
		"a list":                         {"PUT", `[]`, 400, "", ""},
		"two values":                     {"PUT", `{} {}`, 400, "", ""},
		"nothing":                        {"PUT", `null`, 400, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(w.dir, "a.yaml"), []byte(once), 0o640); err != nil {
				t.Fatal(err)
			}
			if c.body == "" {
				c.body = w.do("GET", "/connectors/a/config", "").text
			}
			r := w.do(c.method, "/connectors/a/config", c.body)
			if r.code != c.code {
				t.Fatalf("%d %s", r.code, r.text)
			}
			if got, want := w.file("a.yaml"), strings.Replace(once, c.from, c.to, 1); got != want {
				t.Errorf("the file is\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(r.text, "hunter2") {
				t.Errorf("a secret is shown: %s", r.text)
			}
		})
	}
}

func TestNewConnectors(t *testing.T) {
	w := open(t, true, map[string]string{"taken.yaml": "name: else\n" + once[strings.Index(once, "source"):]}, "SYNCD_RUN__BATCH_SIZE=9")
	settings := `{"connector.class":"FileStreamSourceConnector","sink.fileStream.topic":"t","mapping.collections.a\\.b":"line","run.mode":"full"}`
	for _, c := range []struct {
		name, body string
		code       int
		file       string
	}{
		{"plain", settings, 201, "plain.yaml"},
		{"../up", settings, 201, "%2e./up.yaml"},
		{"a b:ü", settings, 201, "a%20b%3a%c3%bc.yaml"},
		{"taken", settings, 409, ""},
		{"else", settings, 409, ""},
		{"", settings, 400, ""},
		{" x", settings, 400, ""},
		{strings.Repeat("x", 101), settings, 400, ""},
		{"bad", `{"connector.class":"fileStream"}`, 400, ""},
		{"bad", `{"connector.class":"fileStream","source.fileStream.password":"[redacted]"}`, 400, ""},
		{"bad", `{"connector.class":"fileStream","extends":"taken.yaml"}`, 400, ""},
		{"bad", `{"connector.class":"fileStream","source.other.file":"x"}`, 400, ""},
	} {
		text, _ := json.Marshal(c.name)
		r := w.do("POST", "/connectors", fmt.Sprintf(`{"name":%s,"config":%s,"initial_state":"PAUSED"}`, text, c.body))
		if r.code != c.code {
			t.Errorf("%q: %d %s", c.name, r.code, r.text)
			continue
		}
		if c.code != 201 {
			continue
		}
		file := strings.ReplaceAll(c.file, "%2e./", "%2e.%2f")
		if got := w.file(file); !strings.Contains(got, "a.b: line") {
			t.Errorf("%q: %s", c.name, got)
		}
		if s, _ := w.host.Job(c.name); s.Wish.Desired != host.WantPaused {
			t.Errorf("%q is wanted %s", c.name, s.Wish.Desired)
		}
		var back map[string]string
		w.get(strings.TrimPrefix(r.header.Get("Location"), w.server.URL)+"/config", &back)
		if back["name"] != c.name || back["mapping.collections.a\\.b"] != "line" || back["connector.class"] != "fileStream" {
			t.Errorf("%q: %v", c.name, back)
		}
	}
	entries, _ := os.ReadDir(filepath.Dir(w.dir))
	if len(entries) != 2 { // of this service's state and files
		t.Errorf("something was written beside the folder: %v", entries)
	}
}

func TestWhatCannotBeChangedHereSaysWhere(t *testing.T) {
	files := map[string]string{"base.yaml": "run: {batch_size: 7}\n", "a.yaml": "extends: base.yaml\n" + once}
	w := open(t, true, files, "SYNCD_RUN__MEMORY=33554432")
	for body, says := range map[string]string{
		`{"run.batch_size":null}`:   "base.yaml:1:7",
		`{"run.memory":"67108864"}`: "environment variable SYNCD_RUN__MEMORY",
		`{"run.memory":null}`:       "environment variable SYNCD_RUN__MEMORY",
	} {
		if r := w.do("PATCH", "/connectors/a/config", body); r.code != 400 || !strings.Contains(r.text, says) {
			t.Errorf("%s: %d %s", body, r.code, r.text)
		}
	}
	if r := w.do("PATCH", "/connectors/a/config", `{"run.batch_size":"8"}`); r.code != 200 || !strings.Contains(w.file("a.yaml"), "run: {mode: full, batch_size: 8}") {
		t.Errorf("%d %s\n%s", r.code, r.text, w.file("a.yaml"))
	}
}

func TestStates(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": following, "bad.yaml": "source: {nope: {}}\n", "list.yaml": "- x"})
	w.settled()
	expect := func(name, connector, task, kind, trace string) {
		t.Helper()
		var s status
		w.get("/connectors/"+name+"/status", &s)
		if s.Connector.State != connector || s.Type != kind || len(s.Tasks) > 0 != (task != "") || task != "" && s.Tasks[0].State != task {
			t.Errorf("%s is %+v", name, s)
		}
		if got := s.Connector.Trace + fmt.Sprint(s.Tasks); trace != "" && !strings.Contains(got, trace) {
			t.Errorf("%s has no trace with %q: %+v", name, trace, s)
		}
	}
	expect("a", "RUNNING", "RUNNING", "source", "")
	expect("bad", "FAILED", "", "unknown", `unknown source plugin "nope"`)
	expect("list", "FAILED", "", "unknown", "a configuration is a block of fields")
	w.do("PUT", "/connectors/a/pause", "")
	w.settled()
	expect("a", "PAUSED", "PAUSED", "source", "")
	w.broken <- syncd.Hint(errors.New("the disk is full at http://ada:hunter2@h"), "free some space")
	w.do("PUT", "/connectors/a/resume", "")
	w.until("the run has failed", func() bool { s, _ := w.host.Job("a"); return s.State == host.Retrying })
	expect("a", "RUNNING", "FAILED", "source", "the disk is full at http://ada:[redacted]@h\nfree some space")
	if r := w.do("POST", "/connectors/a/restart?includeTasks=TRUE&onlyFailed=true", ""); r.code != 202 || !strings.Contains(r.text, `"state":"RESTARTING"`) {
		t.Errorf("%d %s", r.code, r.text)
	}
	w.settled()
	expect("a", "RUNNING", "RUNNING", "source", "")
	if r := w.do("POST", "/connectors/a/restart?includeTasks=True&onlyFailed=True", ""); r.code != 202 || strings.Contains(r.text, `"state":"RESTARTING"`) {
		t.Errorf("%d %s", r.code, r.text)
	}
	if err := os.Remove(filepath.Join(w.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.host.Reload()
	w.until("the file is missed", func() bool { s, _ := w.host.Job("a"); return s.State == host.Removed })
	expect("a", "FAILED", "", "source", "is gone")
	var all map[string]map[string]json.RawMessage
	w.get("/connectors?expand=info&expand=status", &all)
	if len(all) != 3 || all["a"]["info"] == nil || all["bad"]["status"] == nil {
		t.Errorf("%v", all)
	}
}

func TestOffsetsOfARunUnderWay(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": following})
	w.settled()
	var kept struct{ Offsets []map[string]map[string]any }
	w.until("the stream's position is kept", func() bool {
		w.get("/connectors/a/offsets", &kept)
		return slices.ContainsFunc(kept.Offsets, func(o map[string]map[string]any) bool {
			return o["partition"]["stream"] == "memory" && o["offset"]["after"] == "#2"
		})
	})
	if len(kept.Offsets) != 2 || kept.Offsets[0]["offset"]["done"] != true && kept.Offsets[1]["offset"]["done"] != true {
		t.Errorf("%v", kept)
	}
}

// interrupted is the state of a run that was interrupted: a split is done, one is under way, and none was begun of the third.
func interrupted(t *testing.T, w *world, resumable bool) {
	t.Helper()
	st, err := bolt.Open(w.state, "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	err = errors.Join(
		st.Begin(ctx, store.Info{Job: "a", RunID: "r"}),
		st.Collection(ctx, "lines", store.Collection{Rule: "rule", Found: true, Before: 30, Planned: true}, true),
		st.Split(ctx, "lines", store.Split{Index: 0, Upper: "b", After: "ax", Done: true, Counts: tally.Counts{Scanned: 10}}, true),
		st.Split(ctx, "lines", store.Split{Index: 1, Lower: "b", Upper: "c", After: "b\x00", Counts: tally.Counts{Scanned: 5}}, true),
		st.Split(ctx, "lines", store.Split{Index: 2, Lower: "c"}, true),
		st.Collection(ctx, store.StreamOf("s"), store.Collection{Identity: "i", Planned: true}, true),
		st.Split(ctx, store.StreamOf("s"), store.Split{After: "#9", Counts: tally.Counts{Scanned: 7}}, true),
		st.Close(ctx, store.End{Outcome: tally.Interrupted, Resumable: resumable}),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAlteredOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		offsets string
		code    int
		says    string
		check   func(e store.Entry) bool
	}{
		"as they are shown": {`{"partition":{"collection":"lines","split":0},"offset":{"after":"ax","done":true}},{"partition":{"collection":"lines","split":1},"offset":{"after_base64":"YgA="}}`, 200, "altered",
			func(e store.Entry) bool {
				return e.Collections["lines"].Before == 30 && e.Collections["lines"].Splits[0].Counts.Scanned == 10
			}},
		"a split goes back": {`{"partition":{"collection":"lines","split":0},"offset":{"after":"ab"}}`, 200, "altered", func(e store.Entry) bool {
			l := e.Collections["lines"]
			return l.Splits[0].After == "ab" && !l.Splits[0].Done && l.Splits[0].Upper == "b" && l.Splits[0].Counts == (tally.Counts{}) && l.Before == -1 &&
				l.Splits[1].After == "b\x00" && l.Check("lines") == nil && e.Info.Resumable
		}},
		"a split begins anew": {`{"partition":{"collection":"lines","split":0},"offset":null}`, 200, "altered", func(e store.Entry) bool {
			l := e.Collections["lines"]
			return l.Splits[0].After == "" && !l.Splits[0].Done && !l.Complete && l.Before == 30 && e.Collections[store.StreamOf("s")].Splits[0].After == "#9"
		}},
		"a stream goes back": {`{"partition":{"stream":"s"},"offset":{"after":"#1"}}`, 200, "altered", func(e store.Entry) bool {
			s := e.Collections[store.StreamOf("s")]
			return s.Splits[0].After == "#1" && s.Identity == "i" && s.Planned
		}},
		"a stream begins anew": {`{"partition":{"stream":"s"},"offset":null}`, 200, "altered", func(e store.Entry) bool {
			s := e.Collections[store.StreamOf("s")]
			return s.Splits[0].After == "" && s.Identity != "i"
		}},
		"one of two is wrong":     {`{"partition":{"stream":"s"},"offset":null},{"partition":{"stream":"t"},"offset":null}`, 400, "offset 1: nothing is kept of that partition", nil},
		"a split that is none":    {`{"partition":{"collection":"lines","split":3},"offset":null}`, 400, "there is no split 3 of that collection, which has 3", nil},
		"a negative split":        {`{"partition":{"collection":"lines","split":-1},"offset":null}`, 400, "there is no split -1", nil},
		"no split":                {`{"partition":{"collection":"lines"},"offset":null}`, 400, "has a split", nil},
		"two kinds of partitions": {`{"partition":{"collection":"lines","split":0,"stream":"s"},"offset":null}`, 400, "a partition is", nil},
		"a partition of text":     {`{"partition":"lines","offset":null}`, 400, "a partition is", nil},
		"no offset":               {`{"partition":{"stream":"s"}}`, 400, "null begins anew", nil},
		"an offset without after": {`{"partition":{"stream":"s"},"offset":{}}`, 400, "an offset says after", nil},
		"an empty offset":         {`{"partition":{"stream":"s"},"offset":{"after":""}}`, 400, "an offset says after", nil},
		"two offsets":             {`{"partition":{"stream":"s"},"offset":{"after":"x","after_base64":"eA=="}}`, 400, "not both", nil},
		"no base64":               {`{"partition":{"stream":"s"},"offset":{"after_base64":"%"}}`, 400, "is no base64", nil},
		"a number":                {`{"partition":{"stream":"s"},"offset":{"after":1}}`, 400, "can't be read", nil},
		"done":                    {`{"partition":{"collection":"lines","split":1},"offset":{"after":"b","done":true}}`, 400, "only a run knows", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, true, map[string]string{"a.yaml": once})
			w.settled()
			w.do("PUT", "/connectors/a/stop", "")
			w.settled()
			interrupted(t, w, true)
			before, _ := bolt.Read(w.state, "a")
			r := w.do("PATCH", "/connectors/a/offsets", `{"offsets":[`+c.offsets+`]}`)
			if r.code != c.code || !strings.Contains(r.text, c.says) {
				t.Fatalf("%d %s", r.code, r.text)
			}
			after, err := bolt.Read(w.state, "a")
			if err != nil {
				t.Fatal(err)
			}
			if c.check == nil {
				if fmt.Sprint(before.Collections["lines"], before.Collections[store.StreamOf("s")]) != fmt.Sprint(after.Collections["lines"], after.Collections[store.StreamOf("s")]) {
					t.Errorf("something was changed: %+v", after)
				}
			} else if !c.check(after) {
				t.Errorf("%+v %+v", after.Collections["lines"], after.Collections[store.StreamOf("s")])
			}
		})
	}
}

func TestOffsetsNeedAStoppedJob(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once})
	w.settled()
	for _, method := range []string{"PATCH", "DELETE"} {
		body := ""
		if method == "PATCH" {
			body = `{"offsets":[{"partition":{"collection":"lines","split":0},"offset":null}]}`
		}
		if r := w.do(method, "/connectors/a/offsets", body); r.code != 400 || !strings.Contains(r.text, "'/connectors/a/stop'") {
			t.Errorf("%s of one that runs: %d %s", method, r.code, r.text)
		}
	}
	w.do("PUT", "/connectors/a/stop", "")
	if r := w.do("PATCH", "/connectors/a/offsets", `{"offsets":[{"partition":{"collection":"lines","split":0},"offset":{"after":"x"}}]}`); r.code != 400 || !strings.Contains(r.text, "from its start") {
		t.Errorf("of a run that has ended: %d %s", r.code, r.text)
	}
	for range 2 { // also where nothing is kept
		if r := w.do("DELETE", "/connectors/a/offsets", ""); r.code != 200 {
			t.Errorf("%d %s", r.code, r.text)
		}
	}
	if r := w.do("GET", "/connectors/a/offsets", ""); r.text != `{"offsets":[]}` {
		t.Errorf("%d %s", r.code, r.text)
	}
}

func TestLoggersTakeEffect(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once, "b.yaml": once})
	a, b, root := w.levels.Handler(slog.DiscardHandler).WithAttrs([]slog.Attr{slog.String("job", "a")}),
		w.levels.Handler(slog.DiscardHandler).WithAttrs([]slog.Attr{slog.String("job", "b")}).WithGroup("g"), w.levels.Handler(slog.DiscardHandler)
	enabled := func(want string) {
		t.Helper()
		got := ""
		for _, h := range []slog.Handler{root, a, b} {
			for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				if h.Enabled(context.Background(), l) {
					got += l.String()[:1]
				}
			}
			got += " "
		}
		if got != want+" " {
			t.Errorf("enabled is %q, want %q", got, want)
		}
	}
	put := func(logger, level, want string) {
		t.Helper()
		if r := w.do("PUT", "/admin/loggers/"+logger, `{"level":"`+level+`"}`); r.text != want {
			t.Errorf("%s: %d %s", logger, r.code, r.text)
		}
	}
	enabled("IWE IWE IWE")
	put("job.a", "debug", `["job.a"]`)
	enabled("IWE DIWE IWE")
	put("root", "Warn", `["root","job.a","job.b"]`)
	enabled("WE WE WE")
	put("job", "ERROR", `["job.a","job.b"]`)
	enabled("WE E E")
	put("job.a", "off", `["job.a"]`)
	enabled("WE  E")
	put("job.none", "debug", `{"error_code":404,"message":"Logger job.none not found."}`)
	var all map[string]struct {
		Level   string
		Changed *int64 `json:"last_modified"`
	}
	w.get("/admin/loggers", &all)
	if len(all) != 3 || all["job.a"].Level != "OFF" || all["root"].Level != "WARN" || all["job.a"].Changed == nil {
		t.Errorf("%+v", all)
	}
}

func TestWhatClientsSend(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": following, "s.yaml": "name: a/b c\n" + following})
	w.settled()
	big := `{"name":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, c := range []struct {
		method, path, body string
		headers            []string
		code               int
		says               string
	}{
		{"GET", "/", "", []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}, 302, "/ui/"},
		{"GET", "/", "", []string{"Accept", "*/*"}, 200, `"version":"4.3.1-syncd-0.0.0"`},
		{"GET", "/connectors", "", []string{"Accept", "text/html"}, 406, "HTTP 406 Not Acceptable"},
		{"GET", "/connectors", "", []string{"Accept", "text/html, application/json"}, 200, `["a","a/b c"]`},
		{"GET", "/connectors/a%2Fb%20c/status", "", nil, 200, `"name":"a/b c"`},
		{"GET", "/connectors/", "", nil, 200, `["a","a/b c"]`},
		{"GET", "/connectors?forward=false", "", nil, 200, `["a","a/b c"]`},
		{"GET", "//connectors", "", nil, 404, "404"},
		{"GET", "/connectors//status", "", nil, 404, "404"},
		{"GET", "/connectors/%ff/status", "", nil, 404, "No status found"},
		{"GET", "/connectors/a/tasks/99999999999999999999/status", "", nil, 404, "No status found for task a-"},
		{"GET", "/connectors/a/tasks/-1/status", "", nil, 404, "No status found for task a--1"},
		{"POST", "/connectors/a/tasks/x/restart", "", nil, 404, "Unknown task: a-x"},
		{"PUT", "/connectors/a/resume", "null", nil, 202, ""},
		{"POST", "/connectors/a/restart", `""`, nil, 204, ""},
		{"POST", "/connectors/a/tasks/0/restart", `""`, nil, 204, ""},
		{"POST", "/connectors", big, nil, 413, "larger than"},
		{"POST", "/connectors", "name=x", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "415"},
		{"POST", "/connectors", `{}`, []string{"Content-Type", "application/json; charset=utf-8"}, 400, "no config"},
		{"POST", "/connectors", "", nil, 400, "can't be read"},
		{"TRACE", "/connectors", "", nil, 405, "405"},
		{"PUT", "/connectors/a/topics/reset", "", nil, 202, ""},
		{"GET", "/connector-plugins?connectorsOnly=FALSE", "", nil, 200, `"class":"checker.none"`},
	} {
		r := w.do(c.method, c.path, c.body, c.headers...)
		if r.code != c.code || !strings.Contains(r.text+r.header.Get("Location"), c.says) {
			t.Errorf("%s %s: %d %.300s, want %d with %s", c.method, c.path, r.code, r.text, c.code, c.says)
		}
		if r.code >= 400 && !strings.HasPrefix(r.text, fmt.Sprintf(`{"error_code":%d,"message":"`, r.code)) {
			t.Errorf("%s %s: an error is %q", c.method, c.path, r.text)
		}
		w.settled()
	}
}

func TestNoAnswerShowsASecret(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once, "bad.yaml": strings.Replace(once, "mode: full", "mode: fuller", 1), "cut.yaml": once + "x: ["}, "TOPIC=hunter2-of-the-environment")
	w.settled()
	config := w.do("GET", "/connectors/a/config", "").text
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/connectors?expand=info&expand=status", ""},
		{"GET", "/connectors/a", ""}, {"GET", "/connectors/a/config", ""}, {"GET", "/connectors/a/tasks", ""}, {"GET", "/connectors/a/status", ""},
		{"GET", "/connectors/bad/config", ""}, {"GET", "/connectors/bad/status", ""}, {"GET", "/connectors/cut/config", ""}, {"GET", "/connectors/cut/status", ""},
		{"PUT", "/connectors/a/config", config},
		{"PUT", "/connector-plugins/fileStream/config/validate", config},
		{"PUT", "/connector-plugins/fileStream/config/validate", `{"connector.class":"fileStream","source.fileStream.password":"hunter2-sent","source.fileStream.pasword":"hunter2-sent","api.token":"hunter2-sent"}`},
		{"POST", "/connectors", `{"name":"n","config":{"connector.class":"fileStream","source.fileStream.password":"hunter2-sent","source.fileStream.pages":"x","pasword":"hunter2-sent"}}`},
		{"POST", "/connectors", `{"name":"n","config":{"source.fileStream.password":"hunter2-sent"}}`},
		{"PUT", "/connectors/cut/config", config},
	} {
		if r := w.do(c.method, c.path, c.body); strings.Contains(r.text, "hunter2") {
			t.Errorf("%s %s: %s", c.method, c.path, r.text)
		}
	}
}

func TestValidate(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once})
	var v struct {
		Name    string
		Count   int `json:"error_count"`
		Groups  []string
		Configs []struct {
			Definition struct {
				Name, Type, Importance string
				Required               bool
				Default                *string `json:"default_value"`
			}
			Value struct {
				Value  *string
				Errors []string
			}
		}
	}
	r := w.do("PUT", "/connector-plugins/FileStreamSource/config/validate",
		`{"connector.class":"fileStream","name":"x","tasks.max":"many","run.batch_size":"12","source.fileStream.pages":"-1","mapping.collections.lines":"line","run.nope":"1","sink.fileStream":""}`)
	if err := json.Unmarshal([]byte(r.text), &v); err != nil || r.code != 200 {
		t.Fatal(r.code, r.text, err)
	}
	wrong := map[string]string{}
	for i, c := range v.Configs {
		if len(c.Value.Errors) > 0 {
			wrong[c.Definition.Name] = strings.Join(c.Value.Errors, " ")
		}
		switch name := c.Definition.Name; {
		case i < 3 && name != []string{"name", "connector.class", "tasks.max"}[i]:
			t.Errorf("setting %d is %s", i, name)
		case strings.HasPrefix(name, "source.other"):
			t.Errorf("%s is of another source", name)
		case name == "sink.fileStream.topic" && (!c.Definition.Required || c.Definition.Importance != "HIGH"):
			t.Error("the topic of a sink that is chosen is required")
		case name == "tasks.max" && c.Value.Value != nil:
			t.Error("a value that is no number is shown as null")
		case name == "source.fileStream.password" && c.Definition.Type != "PASSWORD":
			t.Errorf("a secret is of type %s", c.Definition.Type)
		case name == "run.batch_size" && (*c.Value.Value != "12" || *c.Definition.Default != "1000"):
			t.Errorf("%+v", c)
		}
	}
	for _, name := range []string{"tasks.max", "sink.fileStream.topic", "source.fileStream.pages", "run.nope", "checker"} {
		if wrong[name] == "" {
			t.Errorf("nothing is wrong with %s", name)
		}
	}
	if v.Count != 5 || len(wrong) != 5 || v.Name != "FileStreamSource" || v.Groups[0] != "Common" {
		t.Errorf("%d %s %v: %v", v.Count, v.Name, v.Groups, wrong)
	}
}

func TestBeforeTheFilesAreRead(t *testing.T) {
	h, err := host.New(host.Options{StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: h}
	api := connect.New(connect.Options{Host: h, Registry: w.registry(), Levels: connect.NewLevels(0), Logger: slog.New(slog.DiscardHandler)})
	w.server = newServer(t, api)
	if r := w.do("GET", "/connectors/a", ""); r.code != 503 || !strings.Contains(r.text, "being read") {
		t.Errorf("%d %s", r.code, r.text)
	}
}

func TestOffsetsInTheSink(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": strings.Replace(once, `fileStream: {topic`, `exact: {topic`, 1)})
	w.do("PUT", "/connectors/a/stop", "")
	w.settled()
	for _, c := range []struct{ method, body string }{
		{"GET", ""}, {"PATCH", `{"offsets":[{"partition":{"stream":"s"},"offset":null}]}`}, {"DELETE", ""},
	} {
		if r := w.do(c.method, "/connectors/a/offsets", c.body); r.code != 501 || !strings.Contains(r.text, "syncd run --fresh") {
			t.Errorf("%s: %d %s", c.method, r.code, r.text)
		}
	}
}

func TestDeletedConnectors(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": following})
	w.settled()
	body := `{"name":"a","config":` + w.do("GET", "/connectors/a/config", "").text + `,"initial_state":"STOPPED"}`
	body = strings.Replace(body, "[redacted]", "new", 1)
	for range 5 {
		if r := w.do("DELETE", "/connectors/a", ""); r.code != 204 {
			t.Fatal(r.code, r.text)
		}
		if r := w.do("GET", "/connectors", ""); r.text != "[]" {
			t.Errorf("it is listed: %s", r.text)
		}
		if _, err := os.Stat(filepath.Join(w.dir, "a.yaml")); err == nil {
			t.Error("its file is there")
		}
		if r := w.do("POST", "/connectors", body); r.code != 201 {
			t.Fatal(r.code, r.text)
		}
		w.until("it is stopped", func() bool { s, err := w.host.Job("a"); return err == nil && s.State == host.Stopped })
		w.do("PUT", "/connectors/a/resume", "")
		w.settled()
	}
}

func TestADeletedConnectorThatHangsIsNotShown(t *testing.T) {
	w := open(t, true, nil)
	w.hangs = make(chan struct{})
	body := `{"name":"a","config":{"connector.class":"fileStream","sink.fileStream.topic":"t","mapping.collections.lines":"line","run.mode":"full"}}`
	if r := w.do("POST", "/connectors", body); r.code != 201 {
		t.Fatal(r.code, r.text)
	}
	w.until("it runs", func() bool { s, _ := w.host.Job("a"); return s.State == host.Running })
	w.do("DELETE", "/connectors/a", "")
	if list, one := w.do("GET", "/connectors", ""), w.do("GET", "/connectors/a", ""); list.text != "[]" || one.code != 404 {
		t.Errorf("%s %d", list.text, one.code)
	}
	if r := w.do("POST", "/connectors", body); r.code != 201 {
		t.Error(r.code, r.text)
	}
	close(w.hangs)
	w.settled()
}

// TestHostileRequests sends a thousand requests that are put together at random, the same in every run: each has a code of the client's
// mistakes, or an answer, and an error's body is an error's.
func TestHostileRequests(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once})
	w.settled()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for range 1000 {
		path := ""
		for range random.IntN(6) {
			path += "/" + pick("connectors", "a", "b", "config", "status", "tasks", "0", "-1", "restart", "offsets", "topics", "reset", "pause", "stop",
				"connector-plugins", "fileStream", "validate", "admin", "loggers", "root", "%2e%2e", "%00", "%ff", "%2f", "..;", "a%0d%0ab", strings.Repeat("x", 300), "")
		}
		if path == "" || path[0] != '/' {
			path = "/"
		}
		path += pick("", "", "?expand=status", "?expand=%ff&expand=info", "?includeTasks=maybe&onlyFailed=TRUE", "?a=%zz;b", "?connectorsOnly=false")
		body := pick("", "", "null", "[]", "{}", `""`, "1", "{", `{"a":{"b":[]}}`, `{"name":"..","config":{}}`, `{"name":"\u0000","config":{"connector.class":"fileStream"}}`,
			`{"name":"b","config":{"connector.class":"fileStream","sink.fileStream.topic":"\u2028","mapping.collections.\\":"x","run.mode":"full"}}`,
			`{"connector.class":"fileStream","run.collections":"[","a..b":"x",".":"y","run":"{\"mode\":1}"}`, `{"offsets":[{"partition":null,"offset":null}]}`,
			`{"offsets":null}`, `{"level":1}`, `{"level":"\n"}`, strings.Repeat("[", 10000), "\xff\xfe", `{"a":"`+strings.Repeat("b", 100000)+`"}`)
		r := w.do(pick("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"), path, body, "Accept", pick("", "*/*", "application/json", "text/html", "\"", ";q=1,,"))
		switch {
		case r.code >= 500 || r.code < 200:
			t.Errorf("%s with %.100q: %d %s", path, body, r.code, r.text)
		case r.code >= 400 && r.text != "" && !strings.HasPrefix(r.text, fmt.Sprintf(`{"error_code":%d,"message":"`, r.code)):
			t.Errorf("%s with %.100q: %d %s", path, body, r.code, r.text)
		}
	}
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); strings.Trim(strings.TrimSuffix(name, ".yaml"), "abcdefghijklmnopqrstuvwxyz0123456789%_-.") != "" {
			t.Errorf("a file is called %q", name)
		}
	}
}

func TestConcurrentClients(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": following, "b.yaml": once})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 10 {
				w.do("PATCH", "/connectors/b/config", fmt.Sprintf(`{"run.batch_size":"%d"}`, 1+i*10+n))
				w.do("PUT", "/connectors/a/"+[]string{"pause", "resume", "stop"}[(i+n)%3], "")
				w.do("GET", "/connectors?expand=info&expand=status", "")
				w.do("GET", "/connectors/a/offsets", "")
				w.do("PUT", "/admin/loggers/job.a", `{"level":"DEBUG"}`)
			}
		})
	}
	all.Wait()
	w.do("PUT", "/connectors/a/resume", "")
	w.settled()
	if got := strings.Count(w.file("b.yaml"), "batch_size"); got != 1 {
		t.Errorf("%d settings:\n%s", got, w.file("b.yaml"))
	}
}

// TestWhoValidatesLearnsNoVariable: whoever may look may have a configuration validated, which may refer to the service's environment and
// to files that it can read.
func TestWhoValidatesLearnsNoVariable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hunter2: [in a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, false, map[string]string{"a.yaml": once}, "APP_KEY=hunter2")
	for _, value := range []string{"${APP_KEY}", "${NONE:-${APP_KEY}}", "${APP_KEY:-x}", "${file:" + file + "}", "x${APP_KEY}"} {
		for _, key := range []string{
			"name", "tasks.max", "run.mode", "run.timeout", "run.dry_run", "schedule.every", "schedule.cron", "mapping.collections", "mapping.collections.x", "extends",
			"run.batch_size", "errors.max", "source.fileStream.pages", "sink", "sink.fileStream.topic", "observe.http.listen", "run.collections", "nonsense", "connector.class",
		} {
			settings := map[string]string{"connector.class": "fileStream", "name": "n", key: value}
			body, err := json.Marshal(settings)
			if err != nil {
				t.Fatal(err)
			}
			if r := w.do("PUT", "/connector-plugins/fileStream/config/validate", string(body)); strings.Contains(r.text, "hunter2") {
				at := strings.Index(r.text, "hunter2")
				t.Errorf("%s: %s: …%s", key, value, r.text[max(0, at-150):min(len(r.text), at+50)])
			}
			if r := w.do("PUT", "/connector-plugins/fileStream/config/validate?as=reader", string(body)); key != "connector.class" && r.code != http.StatusForbidden {
				t.Errorf("%s: %s: %d for a reader", key, value, r.code)
			}
		}
	}
	own := w.do("GET", "/connectors/a/config", "").text
	if r := w.do("PUT", "/connector-plugins/fileStream/config/validate?as=reader", own); r.code != http.StatusOK || !strings.Contains(own, "${") {
		t.Errorf("what a job's file says: %d for a reader: %s", r.code, own)
	}
}

func TestOffsetsThatAnotherProcessWorksOn(t *testing.T) {
	w := open(t, true, map[string]string{"a.yaml": once})
	w.settled()
	w.do("PUT", "/connectors/a/stop", "")
	w.settled()
	st, err := bolt.Open(w.state, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close(t.Context(), store.End{}) }()
	if r := w.do("DELETE", "/connectors/a/offsets", ""); r.code != http.StatusConflict || !strings.Contains(r.text, "process") {
		t.Errorf("%d %s", r.code, r.text)
	}
}
