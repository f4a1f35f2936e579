package runpage

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/tally"
)

const hostile = `</table><script>alert("x")</script>` + "\x1b[2J\u202e"

func ask(t *testing.T, p *Page, method, path string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result(), w.Body.String()
}

func idle() *Page {
	return &Page{
		Job: "pages", Version: "1", Places: []Place{{"Reading", "MongoDB at h"}},
		Live: func() (runlog.Live, bool) { return runlog.Live{}, false }, Last: func() *Last { return nil }, Healthy: func() error { return nil },
	}
}

func underWay() *Page {
	p := idle()
	n, lag := int64(200), 3.5
	p.Live = func() (runlog.Live, bool) {
		return runlog.Live{
			RunID: "r1", Phase: "reading", Expected: &n, PerSecond: 10, ETA: &lag, Started: time.Unix(0, 0),
			Counts: tally.Counts{Scanned: 50, Present: 40, Missing: 10, Emitted: 10, Acked: 9, FailedWrite: 1},
			Collections: []runlog.Collection{
				{Name: "page", Started: true, Done: true, Expected: &n, Counts: tally.Counts{Scanned: 50, Present: 40, Missing: 10, Acked: 9}},
				{Name: "epic", Started: true, Splits: 4, SplitsDone: 1}, {Name: "cycle"},
			},
			Streams: []runlog.Stream{{Name: "db", Counts: tally.Counts{Scanned: 7}, Waiting: 2, Lag: &lag}},
		}, true
	}
	return p
}

// TestWhatThePageSays in each state of a process.
func TestWhatThePageSays(t *testing.T) {
	followed := underWay()
	followed.Last = func() *Last {
		return &Last{RunID: "r0", Outcome: tally.Failures, Verdict: "Finished, but 2 documents could not be sent", Error: "boom", Hint: "mend it", Ended: time.Unix(0, 0)}
	}
	failed := idle()
	failed.Last = followed.Last
	sick := underWay()
	sick.Healthy = func() error { return errors.New("nothing has moved for 5m") }
	profiled := idle()
	profiled.Pprof = true
	embeds := idle()
	embeds.Live = func() (runlog.Live, bool) {
		return runlog.Live{Phase: "reading", Embedded: &runlog.Embedded{Tokens: 12_345_678, Texts: 1, Cost: 0.25}}, true
	}
	unpriced := idle()
	unpriced.Live = func() (runlog.Live, bool) {
		return runlog.Live{Phase: "reading", Embedded: &runlog.Embedded{Tokens: 40, Texts: 2}}, true
	}
	many := underWay()
	few := many.Live
	many.Live = func() (runlog.Live, bool) {
		now, ok := few()
		for i := range 500 {
			now.Collections = append(now.Collections, runlog.Collection{Name: fmt.Sprintf("c%03d", i)})
		}
		return now, ok
	}
	for name, c := range map[string]struct {
		page  *Page
		wants []string
		lacks string
	}{
		"starting":      {idle(), []string{`class="state good">starting`, "MongoDB at h", `href="/metrics"`, `href="/healthz"`, `href="/readyz"`, "syncd 1"}, "pprof"},
		"under way":     {underWay(), []string{`class="state good">reading`, "50 of 200 read, 10 a second, about 3.5s left", "9 sent and confirmed", "25%", "1 of 4 parts", "to come", ">done<", "<td>2</td><td>3.5s</td>"}, "ended last"},
		"between runs":  {failed, []string{`class="state odd">between runs`, "Finished, but 2 documents", "error: boom", "hint: mend it"}, "The run under way"},
		"after another": {followed, []string{`class="state good">reading`, "its id is r0"}, "starting"},
		"not healthy":   {sick, []string{`class="state bad">reading: nothing has moved for 5m`}, "Embedded"},
		"embedding":     {embeds, []string{"<dt>Embedded</dt><dd>12,345,678 tokens in 1 text, about $0.25</dd>"}, "ended last"},
		"for no money":  {unpriced, []string{"<dd>40 tokens in 2 texts</dd>"}, "$"},
		"profiles":      {profiled, []string{`href="/debug/pprof/"`}, "The run under way"},
		"many":          {many, []string{"c100", "and 303 more"}, "c200"},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := ask(t, c.page, "GET", "/")
			for _, want := range c.wants {
				if !strings.Contains(body, want) {
					t.Errorf("lacks %q:\n%s", want, body)
				}
			}
			if strings.Contains(body, c.lacks) {
				t.Errorf("has %q", c.lacks)
			}
			if r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") || r.Header.Get("X-Content-Type-Options") != "nosniff" ||
				r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("%d %v", r.StatusCode, r.Header)
			}
		})
	}
}

// TestWhatOthersNamedIsEscaped wherever it shows.
func TestWhatOthersNamedIsEscaped(t *testing.T) {
	p := underWay()
	p.Job, p.Version, p.Places = hostile, hostile, []Place{{hostile, hostile}}
	now, _ := p.Live()
	now.Phase, now.RunID, now.Collections[0].Name, now.Streams[0].Name = hostile, hostile, hostile, hostile
	p.Live = func() (runlog.Live, bool) { return now, true }
	p.Last = func() *Last {
		return &Last{RunID: hostile, Outcome: hostile, Verdict: hostile, Error: hostile, Hint: hostile}
	}
	p.Healthy = func() error { return errors.New(hostile) }
	_, body := ask(t, p, "GET", "/")
	if strings.Contains(body, "<script") || strings.Count(body, "</table>") != 2 {
		t.Error(body)
	}
}

func TestOnlyTheRootAnswersAndNothingChanges(t *testing.T) {
	for path, want := range map[string]int{"GET /": 200, "HEAD /": 200, "POST /": 405, "DELETE /": 405, "GET /favicon.ico": 404, "POST /x": 404} {
		method, path, _ := strings.Cut(path, " ")
		if r, _ := ask(t, idle(), method, path); r.StatusCode != want {
			t.Errorf("%s %s: %d", method, path, r.StatusCode)
		}
	}
}
