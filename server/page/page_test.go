package page_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/server/page"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

// jobs is a host whose jobs stand as a test wants them.
type jobs struct {
	all    []host.Status
	config *config.Config
	did    []string
	err    error // of what is asked
}

func (j *jobs) Jobs() []host.Status                               { return j.all }
func (j *jobs) Config(string) (*config.Config, error)             { return j.config, nil }
func (j *jobs) Problem() string                                   { return "" }
func (j *jobs) Restart(name, by string) error                     { return j.done("restart", name, by) }
func (j *jobs) Want(name string, w host.Desired, by string) error { return j.done(string(w), name, by) }

func (j *jobs) Job(name string) (host.Status, error) {
	if i := slices.IndexFunc(j.all, func(s host.Status) bool { return s.Name == name }); i >= 0 {
		return j.all[i], nil
	}
	return host.Status{}, fmt.Errorf("%w: %s", host.ErrNoJob, name)
}

func (j *jobs) Trigger(name string, t host.Trigger, by string) error {
	return j.done(fmt.Sprintf("run %v %v", t.Fresh, t.Plan != nil), name, by)
}

func (j *jobs) done(what, name, by string) error {
	j.did = append(j.did, what+" "+name+" "+by)
	return j.err
}

func ptr[T any](v T) *T { return &v }

// hostile are texts that want to be more than texts.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, "a\u202eb\u200bc\x00d\x1b[31m", `{{.Token}}`, `</title></main>`,
	`a/../b?c=d&e#f%2e`, `..`, strings.Repeat("x", 100),
}

// stands are jobs in all states, with texts of others wherever there are some.
func stands(now time.Time, text string) []host.Status {
	run := &runlog.Live{
		RunID: text, Started: now.Add(-time.Minute), Phase: "reading", Expected: ptr(int64(5000)), PerSecond: 210, ETA: ptr(12.0), Counts: tally.Counts{Scanned: 1000, Present: 990, Missing: 10, Acked: 4},
		Embedded: &runlog.Embedded{Tokens: 12_345_678, Texts: 1, Cost: 0.25},
		Collections: []runlog.Collection{
			{Name: text, ContentType: text, Expected: ptr(int64(5000)), Started: true, Counts: tally.Counts{Scanned: 1000, Missing: 10}, OldestMissing: ptr(now.Add(-40 * time.Second))},
			{Name: "other", Done: true},
		},
	}
	follow := &runlog.Live{
		RunID: "f", Started: now.Add(-time.Hour), Phase: "following changes",
		Streams: []runlog.Stream{{Name: text, Waiting: 12, Lag: ptr(3.0)}, {Name: "idle", Idle: true, Lag: ptr(0.0)}}, Window: ptr(3600.0),
		Cluster: &runlog.Cluster{
			Process: "b", Leader: text, Lanes: 4, Unowned: 1, Moves: 3, Processes: []runlog.Process{
				{Name: text, Host: text, PID: 7, Address: text, Since: ptr(now.Add(-time.Minute)), Lanes: []int{0, 1}, Splits: map[string]int{"page": 2}},
				{Name: "b", Host: "h", PID: 8, Lanes: []int{3}},
			},
		},
	}
	stalled := *run
	stalled.Stalled, stalled.Paused = true, true
	want := func(w host.Desired) host.Wish { return host.Wish{Desired: w, By: text, At: now.Add(-time.Hour)} }
	wants := want(host.WantRunning)
	return []host.Status{
		{Name: "1-running " + text, State: host.Running, Live: run, Schedule: "every 1h0m0s", Wish: wants},
		{Name: "2-following " + text, State: host.Running, Live: follow, Follows: true, Schedule: "follow", Wish: wants},
		{Name: "3-stalled " + text, State: host.Running, Live: &stalled, Schedule: "once", Wish: wants},
		{Name: "4-waiting " + text, State: host.Waiting, Next: ptr(now.Add(3 * time.Hour)), Schedule: "cron 0 3 * * *", Wish: wants},
		{Name: "5-retrying " + text, State: host.Retrying, Reason: text, Hint: text, Next: ptr(now.Add(time.Minute)), Schedule: "once", Wish: wants},
		{Name: "6-failed " + text, State: host.Failed, Reason: text, Hint: text, Schedule: "once", Wish: wants},
		{Name: "7-invalid " + text, State: host.Invalid, File: text, Reason: text, Problems: []string{text}, Schedule: "once", Wish: wants},
		{Name: "8-removed " + text, State: host.Removed, File: text, Reason: text, Schedule: "once", Wish: wants},
		{Name: "9-paused " + text, State: host.Paused, Schedule: "once", Wish: want(host.WantPaused)},
		{Name: "10-stopped " + text, State: host.Stopped, Schedule: "once", Wish: want(host.WantStopped)},
		{Name: "11-ending " + text, State: host.Ending, Schedule: "once", Wish: want(host.WantStopped)},
		{Name: "12-done " + text, State: host.Done, Schedule: "once", Wish: wants, Problems: []string{text}},
		{Name: "13-new " + text, Schedule: "once", Wish: wants},
	}
}

// record keeps runs of all outcomes for each of the jobs.
func record(t *testing.T, dir string, all []host.Status, now time.Time, text string) {
	t.Helper()
	for _, j := range all {
		if strings.HasPrefix(j.Name, "13-") {
			continue
		}
		for i, o := range append(tally.Outcomes(), tally.Complete, "of a later version") {
			r := runlog.Run{
				Job: j.Name, RunID: fmt.Sprint(text, i), Started: now.Add(time.Duration(i-20) * time.Hour), Outcome: o, Mode: "incremental",
				Total: tally.Counts{Scanned: 1500, Present: 1488, Missing: 12, Acked: 12}, Followed: &tally.Counts{Scanned: 3},
			}
			r.Ended = r.Started.Add(4 * time.Second)
			if o == tally.Failed || o == tally.Stopped {
				r.Error, r.Hint = text, text
			}
			if o == tally.Complete {
				r.Freshness = &r.Started
			}
			if err := runlog.Append(dir, r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func newPage(t *testing.T, j *jobs, change func(*page.Options)) *page.Page {
	t.Helper()
	dir := t.TempDir()
	record(t, dir, j.all, time.Now(), "why")
	o := page.Options{
		Host: j, API: said("why"), Resolve: func(string) (*config.Effective, spec.Diagnostics) { return nil, nil },
		RunsDir: func(*config.Config) string { return dir }, Version: "test", Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	return page.New(o)
}

func get(t *testing.T, p http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// addresses are of every page of jobs.
func addresses(all []host.Status) []string {
	out := []string{"/ui/", "/ui/?view=wall", "/ui/?q=none", "/ui/nothing", "/ui/job?name=nobody", "/ui/do?name=nobody&what=stop"}
	for _, j := range all {
		name := url.QueryEscape(j.Name)
		out = append(out, "/ui/job?name="+name, "/ui/job?did=stop&name="+name)
		for _, tab := range []string{"explain?", "explain?collection=c&id=1&", "plan?", "plan?id=2&", "config?", "dead?", "apply?", "again?"} {
			out = append(out, "/ui/"+tab+"name="+name)
		}
		for _, what := range []string{"pause", "resume", "stop", "restart", "run", "fresh", "else"} {
			out = append(out, "/ui/do?what="+what+"&name="+name)
		}
	}
	return out
}

// TestEveryPageIsSound, whatever others call their things.
func TestEveryPageIsSound(t *testing.T) {
	for i, text := range append([]string{"plain"}, hostile...) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			j := &jobs{all: stands(time.Now(), text)}
			dir := t.TempDir()
			record(t, dir, j.all, time.Now(), text)
			p := newPage(t, j, func(o *page.Options) {
				o.RunsDir = func(*config.Config) string { return dir }
				o.API = said(text)
				o.Resolve = func(string) (*config.Effective, spec.Diagnostics) {
					return nil, spec.Diagnostics{{Severity: spec.Error, Code: spec.CodeSyntax, Message: text, Path: text, Hint: text}, {Severity: spec.Warning, Message: text}}
				}
			})
			for _, path := range addresses(j.all) {
				code, body := get(t, p, path)
				without := code == http.StatusConflict && (strings.Contains(path, "/apply") || strings.Contains(path, "/again")) // a configuration
				if code != http.StatusOK && code != http.StatusNotFound && !without {
					t.Errorf("%s: %d", path, code)
				}
				sound(t, path, body)
			}
		})
	}
}

// said is an interface of the service in which all texts are the same.
func said(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch {
		case strings.HasSuffix(r.URL.Path, "/explain"):
			answer = report.Explanation{
				Collection: text, ID: text, Found: true, Version: &text, ContentType: text, Seed: text, PointID: text, Held: true, Payload: map[string]string{text: text}, Chunks: 3,
				Same: []string{text, text}, Verdict: "stale", Why: text, EventKey: text, Topic: text,
			}
		case strings.HasSuffix(r.URL.Path, "/plans"):
			counts := report.PlanCounts{Documents: 3, Events: 2, Bytes: 2e6, Orphan: ptr(int64(1))}
			plan := report.Plan{
				Sample: 0.1, Collections: []report.PlanCollection{{Name: text, ContentType: text, PlanCounts: counts}}, Total: counts, More: 7,
				Differences: []report.Difference{{Collection: text, ID: text, Verdict: "missing", Why: text}}, Failures: []report.FailedDocument{{Collection: text, ID: text, Reason: text}},
			}
			var works api.Works
			for _, j := range stands(time.Now(), text) {
				works.Works = append(works.Works, api.Work{ID: "1", Job: j.Name, By: text, State: "done", Error: text, Hint: text, Plan: &plan, Ended: ptr(time.Now())},
					api.Work{ID: "2", Job: j.Name, By: text, State: "running", Progress: j.Live})
			}
			answer = works
		default:
			w.WriteHeader(http.StatusNotFound)
			answer = api.Error{Text: text, Hint: text}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
}

// sound looks at what every page has to have, and must not have.
func sound(t *testing.T, path, body string) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
	}
	for _, r := range body {
		if r < ' ' && r != '\n' && r != '\t' || r == '\u202e' || r == '\u200b' {
			fail("%U is written as it is", r)
		}
	}
	balanced(fail, body)
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		fail("%v", err)
	}
	ids, level, h1, labelled := map[string]bool{}, 0, 0, map[string]bool{}
	landmarks := map[string]int{}
	var all []*html.Node
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			all = append(all, n)
		}
		if n.Type == html.ElementNode && n.Data == "label" {
			labelled[attr(n, "for")] = true
		}
	}
	for _, n := range all {
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" {
				fail("<%s> has %s", n.Data, a.Key)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/ui/") && !strings.HasPrefix(a.Val, "#") {
				fail("<%s> leads to %q", n.Data, a.Val)
			}
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				fail("two elements have the id %q", id)
			}
			ids[id] = true
		}
		switch n.Data {
		case "html":
			if attr(n, "lang") != "en" {
				fail("its language is not said")
			}
		case "title":
			if n.Parent.Data == "head" && len(words(n)) < 3 {
				fail("it has no title")
			}
		case "script":
			if attr(n, "src") != "/ui/static/page.js" || words(n) != "" {
				fail("it has another script")
			}
		case "style", "iframe", "object", "base", "embed":
			fail("it has a <%s>", n.Data)
		case "h1", "h2", "h3", "h4":
			l := int(n.Data[1] - '0')
			if l > level+1 {
				fail("<%s> %q is below <h%d>", n.Data, words(n), level)
			}
			if level = l; l == 1 {
				h1++
			}
			if words(n) == "" {
				fail("an empty heading")
			}
		case "a", "button", "summary":
			if words(n) == "" && attr(n, "aria-label") == "" {
				fail("a <%s> without a name", n.Data)
			}
		case "input", "select", "textarea":
			if attr(n, "type") != "hidden" && !labelled[attr(n, "id")] {
				fail("a field without a label: %v", n.Attr)
			}
		case "progress":
			if attr(n, "aria-label") == "" {
				fail("a progress without a name")
			}
		case "img":
			if !has(n, "alt") {
				fail("a picture without a text")
			}
		case "svg":
			if attr(n, "role") != "img" || attr(n, "aria-label") == "" {
				fail("a plot without a text")
			}
		case "th":
			if attr(n, "scope") == "" {
				fail("a heading of a table without a scope")
			}
		case "nav", "section":
			if attr(n, "aria-label") == "" && !labels(doc, attr(n, "aria-labelledby")) {
				fail("a <%s> without a name", n.Data)
			}
		case "main", "footer":
			landmarks[n.Data]++
		}
		if strings.Contains(attr(n, "class"), "scroll") && (attr(n, "tabindex") != "0" || attr(n, "role") != "region" || attr(n, "aria-label") == "") {
			fail("what scrolls can't be reached by keyboard")
		}
		if has(n, "data-live") && attr(n, "id") == "" {
			fail("what is replaced has no id")
		}
	}
	if h1 != 1 || landmarks["main"] != 1 || landmarks["footer"] != 1 {
		fail("%d h1, landmarks %v", h1, landmarks)
	}
}

// balanced reports elements that are not closed, or closed where they are not open.
func balanced(fail func(string, ...any), body string) {
	void := []string{"meta", "link", "img", "input", "br", "hr", "line", "rect", "path", "circle"}
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) || len(open) > 0 {
				fail("%v, open are %v", z.Err(), open)
			}
			return
		case html.StartTagToken:
			if name, _ := z.TagName(); !slices.Contains(void, string(name)) {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				fail("</%s>, but open are %v", name, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
}

func labels(doc *html.Node, id string) bool {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && id != "" && attr(n, "id") == id {
			return words(n) != ""
		}
	}
	return false
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

// words are the texts in an element.
func words(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// TestWhatFailedWhileAJobFollowed keeps its index from being called complete until all documents are looked at again, and one that goes
// on following has not looked at any.
func TestWhatFailedWhileAJobFollowed(t *testing.T) {
	now := time.Now()
	at := now.Add(-time.Hour)
	failed := &tally.Counts{Scanned: 3, Acked: 2, FailedWrite: 1, DeadLettered: 1}
	look := runlog.Run{Job: "job", RunID: "look", Started: at, Ended: at, Outcome: tally.Complete, Follows: true, Freshness: &at, Total: tally.Counts{Scanned: 840, Missing: 840, Acked: 840}}
	follows := runlog.Run{Job: "job", RunID: "look", Started: at, Ended: now, Outcome: tally.Complete, Resumed: true, Followed: failed}
	again := look
	again.RunID, again.Followed = "again", failed
	for name, c := range map[string]struct {
		runs []runlog.Run
		want []string
		not  string
	}{
		"since the last look": {
			[]runlog.Run{look, follows},
			[]string{"No: 1 change since ", "Then it was complete: 840 documents looked at", "1 document could not be sent; the dead letters took 1 of them", "1 behind, 1 change could not be sent"}, ": 0 documents looked at",
		},
		"before it": {[]runlog.Run{look, follows, again}, []string{"Yes, as of ", "nothing behind", "1 document could not be sent"}, "1 behind"},
		"since, and it is stopped": {
			[]runlog.Run{look, follows}, []string{"No: 1 change since ", "followed when it goes on", "1 document could not be sent"}, "by the next run",
		},
	} {
		t.Run(name, func(t *testing.T) {
			live := &runlog.Live{RunID: "look", Started: at, Phase: "following changes", Streams: []runlog.Stream{{Name: "s", Idle: true, Lag: ptr(0.0), Counts: *failed}}}
			if strings.Contains(name, "stopped") {
				live = nil
			}
			dir := t.TempDir()
			for _, r := range c.runs {
				if err := runlog.Append(dir, r); err != nil {
					t.Fatal(err)
				}
			}
			p := newPage(t, &jobs{all: []host.Status{{Name: "job", State: host.Running, Live: live, Follows: true, Schedule: "follow"}}}, func(o *page.Options) {
				o.RunsDir = func(*config.Config) string { return dir }
			})
			var all string
			for _, path := range []string{"/ui/", "/ui/job?name=job", "/ui/dead?name=job"} {
				_, body := get(t, p, path)
				all += body
			}
			for _, part := range c.want {
				if !strings.Contains(all, part) {
					t.Errorf("%q is not said", part)
				}
			}
			if strings.Contains(all, c.not) {
				t.Errorf("%q is said", c.not)
			}
		})
	}
}

func TestHeadersForbidWhatIsFromElsewhere(t *testing.T) {
	p := newPage(t, &jobs{}, nil)
	for _, path := range []string{"/ui/", "/ui/static/page.js", "/ui/nothing", "/ui/static/"} {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		csp := w.Header().Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy %q lacks %s", path, csp, part)
			}
		}
		if strings.Contains(csp, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
}

// TestJobsThatNeedSomebodyComeFirst, in the order of how much they do.
func TestJobsThatNeedSomebodyComeFirst(t *testing.T) {
	j := &jobs{all: stands(time.Now(), "x")}
	_, body := get(t, newPage(t, j, nil), "/ui/")
	doc, _ := html.Parse(strings.NewReader(body))
	var got []string
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (n.Data == "h3" || n.Data == "h2") {
			name, _, _ := strings.Cut(words(n), " ")
			got = append(got, name)
		}
	}
	want := "Need 6-failed 7-invalid 8-removed 3-stalled 5-retrying 4-waiting 9-paused Under"
	if !strings.HasPrefix(strings.Join(got, " "), "Need 6-failed 7-invalid 8-removed 3-stalled 5-retrying") {
		t.Errorf("%v, want %s", got, want)
	}
	if !strings.Contains(body, "12 behind, 3 s late, complete at") || !strings.Contains(body, "4,000 of 5,000 documents to look at, 6 behind, oldest missing 40 s, complete at") {
		t.Error("the freshness is not told")
	}
}

var tokens = regexp.MustCompile(`name="token" value="([^"]+)"`)

func post(p http.Handler, path, token string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(url.Values{"token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestButtonsDoWhatTheySay(t *testing.T) {
	for what, want := range map[string]string{
		"pause": "paused", "resume": "running", "stop": "stopped", "restart": "restart", "run": "run false false", "fresh": "run true false",
	} {
		j := &jobs{all: stands(time.Now(), "a&b")}
		name := j.all[3].Name
		p := newPage(t, j, func(o *page.Options) { o.By = func(*http.Request) string { return "anna" } })
		path := "/ui/do?what=" + what + "&name=" + url.QueryEscape(name)
		_, body := get(t, p, path)
		w := post(p, path, tokens.FindStringSubmatch(body)[1], nil)
		if w.Code != http.StatusSeeOther || !slices.Equal(j.did, []string{want + " " + name + " anna"}) {
			t.Errorf("%s: %d, %v", what, w.Code, j.did)
		}
		if _, body := get(t, p, w.Header().Get("Location")); !strings.Contains(body, `class="flash"`) {
			t.Errorf("%s: what was done is not said at %s", what, w.Header().Get("Location"))
		}
	}
}

func TestNothingIsDoneForOthers(t *testing.T) {
	for name, c := range map[string]struct {
		token  string
		change func(*http.Request)
	}{
		"without the token": {"", nil},
		"another token":     {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", nil},
		"another site":      {"good", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"another origin": {"good", func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "http://evil.example")
		}},
		"who may only look": {"good", func(r *http.Request) { r.Header.Set("Authorization", "reader") }},
		"a GET":             {"good", func(r *http.Request) { r.Method = http.MethodGet }},
		"a large body": {"good", func(r *http.Request) {
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("x="+strings.Repeat("x", 100<<10)+"&"), r.Body))
			r.ContentLength = -1
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &jobs{all: stands(time.Now(), "x")}
			p := newPage(t, j, func(o *page.Options) {
				o.CanOperate = func(r *http.Request) bool { return r.Header.Get("Authorization") != "reader" }
			})
			path := "/ui/do?what=stop&name=" + url.QueryEscape(j.all[0].Name)
			if c.token == "good" {
				_, body := get(t, p, path)
				c.token = tokens.FindStringSubmatch(body)[1]
			}
			if w := post(p, path, c.token, c.change); len(j.did) > 0 || name != "a GET" && w.Code != http.StatusForbidden {
				t.Errorf("%d, %v", w.Code, j.did)
			}
		})
	}
}

func TestWhoMayOnlyLookSeesNoButtons(t *testing.T) {
	j := &jobs{all: stands(time.Now(), "x")}
	p := newPage(t, j, func(o *page.Options) { o.CanOperate = func(*http.Request) bool { return false } })
	for _, path := range addresses(j.all) {
		_, body := get(t, p, path)
		if strings.Contains(body, `method="post"`) || strings.Contains(body, `class="button"`) || strings.Contains(body, `name="token"`) {
			t.Errorf("%s has buttons", path)
		}
	}
}

func TestWhatDoesNotWorkIsSaid(t *testing.T) {
	for code, err := range map[int]error{
		http.StatusConflict: fmt.Errorf("%w: it has <b>a run</b> under way", host.ErrConflict), http.StatusNotFound: host.ErrNoJob, http.StatusInternalServerError: errors.New("disk <full>"),
	} {
		j := &jobs{all: stands(time.Now(), "x"), err: err}
		p := newPage(t, j, nil)
		path := "/ui/do?what=run&name=" + url.QueryEscape(j.all[3].Name)
		_, body := get(t, p, path)
		w := post(p, path, tokens.FindStringSubmatch(body)[1], nil)
		if w.Code != code || !strings.Contains(w.Body.String(), html.EscapeString(err.Error())) {
			t.Errorf("%v: %d", err, w.Code)
		}
		sound(t, path, w.Body.String())
	}
}

// BenchmarkManyJobs is the list of 100 jobs with 500 runs each.
func BenchmarkManyJobs(b *testing.B) {
	j, dir, now := &jobs{}, b.TempDir(), time.Now()
	for i := range 100 {
		s := stands(now, "x")[i%13]
		s.Name = fmt.Sprintf("job-%03d", i)
		j.all = append(j.all, s)
		for n := range 500 {
			at := now.Add(time.Duration(n-500) * time.Hour)
			if err := runlog.Append(dir, runlog.Run{Job: s.Name, RunID: "x", Started: at, Ended: at, Outcome: tally.Complete, Freshness: &at, Total: tally.Counts{Scanned: 1500, Present: 1500}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	p := page.New(page.Options{Host: j, RunsDir: func(*config.Config) string { return dir }, Logger: slog.New(slog.DiscardHandler)})
	for b.Loop() {
		p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/ui/", nil))
	}
}

// TestTheServersAccessDecides who sees buttons, and whose name is in the log.
func TestTheServersAccessDecides(t *testing.T) {
	j := &jobs{all: stands(time.Now(), "x")}
	log, fine := slog.New(slog.DiscardHandler), func() error { return nil }
	s, err := server.Start(t.Context(), server.Options{
		Listen: "127.0.0.1:0", Access: server.NewAccess([]server.User{{Name: "reader", Token: "of-reader"}, {Name: "anna", Operate: true, Token: "of-anna"}}, log),
		Logger: log, Metrics: http.NotFoundHandler(), Healthy: fine, Ready: fine, Routes: newPage(t, j, nil).Routes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ask := func(method, token, body string) (int, string) {
		r, err := http.NewRequest(method, "http://"+s.Address()+"/ui/do?what=stop&name="+url.QueryEscape(j.all[0].Name), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text)
	}
	if code, _ := ask(http.MethodGet, "of-nobody", ""); code != http.StatusUnauthorized {
		t.Error(code)
	}
	if _, body := ask(http.MethodGet, "of-reader", ""); tokens.MatchString(body) || !strings.Contains(body, "you may look, not drive") {
		t.Error("a reader sees buttons")
	}
	_, body := ask(http.MethodGet, "of-anna", "")
	form := url.Values{"token": {tokens.FindStringSubmatch(body)[1]}}.Encode()
	if code, _ := ask(http.MethodPost, "of-reader", form); code != http.StatusForbidden || len(j.did) > 0 {
		t.Error(code, j.did)
	}
	if code, _ := ask(http.MethodPost, "of-anna", form); code != http.StatusSeeOther || !slices.Equal(j.did, []string{"stopped " + j.all[0].Name + " anna"}) {
		t.Error(code, j.did)
	}
}
