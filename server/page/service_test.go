package page_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture/service"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/syncdtest"
)

const shop = service.Plugins + "mapping: {collections: {page: page, workItem: work_item}}\n"

// load loads a page of a service.
func load(t *testing.T, s *service.Service, path string) string {
	t.Helper()
	r, err := http.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v\n%s", path, r.StatusCode, err, body)
	}
	sound(t, path, string(body))
	return string(body)
}

// send fills a form of a page in.
func send(t *testing.T, s *service.Service, from, path string, fields url.Values) (code int, at string) {
	t.Helper()
	if fields == nil {
		fields = url.Values{}
	}
	fields.Set("token", tokens.FindStringSubmatch(load(t, s, from))[1])
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.PostForm(s.URL+path, fields)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode, r.Header.Get("Location")
}

func contains(t *testing.T, where, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("%s lacks %q", where, part)
		}
	}
}

func stopped(t *testing.T, text string) *service.Service {
	t.Helper()
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 20)
	s.Insert("workItem", 1, 5)
	s.Index("page", "page", 1, 17)
	s.Write("shop", text)
	s.Stands("shop", host.Done)
	return s
}

func TestAJobIsShownWithWhatItDid(t *testing.T) {
	s := stopped(t, shop)
	contains(t, "the list", load(t, s, "/ui/"), ">shop</a>", "Coverage</dt><dd>100% of 25 documents", "complete at", "1 complete")
	contains(t, "the job", load(t, s, "/ui/job?name=shop"), "25 documents looked at, 8 missing or of another version and sent", "Nothing: it runs once, and has", "shop.workItem", "work_item")
}

func TestADocumentIsExplained(t *testing.T) {
	s := stopped(t, shop)
	for id, want := range map[string][]string{
		"page-00003":           {"present", "the index has it, so a run skips it", "page-00003/page/0", "Does memory have that point?"},
		"page-00019":           {"missing", "the index has no point with this id", "shop.page", "run the job: it sends the document"},
		"nobody":               {"neither the source nor the index has it", "look whether the id and the collection are right"},
		`"><script>x</script>`: {"neither the source", "&gt;&lt;script&gt;x&lt;/script&gt;"},
	} {
		body := load(t, s, "/ui/explain?name=shop&collection=page&id="+url.QueryEscape(id))
		contains(t, id, body, want...)
	}
	contains(t, "another collection", load(t, s, "/ui/explain?name=shop&collection=none&id=1"), "It could not be looked for")
	r, _ := http.NewRequest(http.MethodGet, s.URL+"/ui/explain?name=shop&collection=page&id=page-00003", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); strings.Contains(string(body), `id="verdict"`) || !strings.Contains(string(body), `value="page-00003"`) {
		t.Error("a link of another site has servers asked")
	}
}

func TestAPlanIsMadeAndSent(t *testing.T) {
	s := stopped(t, shop)
	sent := len(s.Sink.Events())
	code, at := send(t, s, "/ui/plan?name=shop", "/ui/plan?name=shop", url.Values{"sample": {"0"}})
	if code != http.StatusSeeOther {
		t.Fatal(code)
	}
	s.Until("the plan is done", func() bool { return strings.Contains(load(t, s, at), "It is done") })
	contains(t, "the plan", load(t, s, at), "<strong>8</strong> events would be sent", `id="apply"`, "page-00019", "the index has no point with this id")
	contains(t, "the plan without its id", load(t, s, "/ui/plan?name=shop"), "<strong>8</strong> events would be sent")
	apply := strings.Replace(at, "/ui/plan", "/ui/apply", 1)
	contains(t, "the confirmation", load(t, s, apply), "<strong>8</strong> events and <strong>0</strong> deletes", "shop.page", "shop.workItem", "Send 8 events")
	if len(s.Sink.Events()) != sent {
		t.Fatal("something was sent before it was confirmed")
	}
	if code, _ := send(t, s, apply, apply, nil); code != http.StatusSeeOther {
		t.Fatal(code)
	}
	s.Until("the plan is sent", func() bool { return len(s.Sink.Events()) == sent+8 })
	s.Stands("shop", host.Done)
	contains(t, "the job", load(t, s, "/ui/job?name=shop"), "of a plan")
	if code, to := send(t, s, at, "/ui/plan?name=shop", url.Values{"forget": {strings.Split(strings.Split(at, "id=")[1], "&")[0]}}); code != http.StatusSeeOther || strings.Contains(to, "id=") {
		t.Error(code, to)
	}
	contains(t, "what was forgotten", load(t, s, "/ui/plan?name=shop"), "There is no plan of this job yet")
}

func TestDeletesAreCountedBeforeTheyAreSent(t *testing.T) {
	for _, c := range []struct {
		orphans, owner, want string
		deletes              int
	}{
		{"prune", "owner: {exclusive: true}, ", "2</strong> deletes", 2},
		{"report", "owner: {exclusive: true}, ", "2</strong> deletes", 2}, // a plan is sent whole
		{"report", "", "2 documents are gone of which the index has points: they are not deleted, since it is not known whose", 0},
	} {
		s := service.Start(t, nil, nil)
		s.Insert("page", 1, 20)
		for i := 1; i <= 22; i++ {
			s.Checker.Put(service.Point("page", "page", i), map[string]any{"content_type": "page", "mongo_id": fmt.Sprintf("page-%05d", i), "chunk_index": 0})
		}
		s.Write("shop", service.Plugins+"mapping: {"+c.owner+"collections: {page: page}}\nrun: {orphans: "+c.orphans+"}\nschedule: {every: 1h}\nlimits: {max_deletes: 5}\n")
		s.Until("the first run is done", func() bool {
			j, err := s.Job("shop")
			return err == nil && j.State == host.Waiting && j.Next != nil && time.Until(*j.Next) > time.Minute
		})
		before := deletes(s)
		_, at := send(t, s, "/ui/plan?name=shop", "/ui/plan?name=shop", url.Values{"sample": {"0"}})
		s.Until("the plan is done", func() bool { return strings.Contains(load(t, s, at), "It is done") })
		contains(t, "the plan", load(t, s, at), "<strong>2</strong> documents are gone")
		apply := strings.Replace(at, "/ui/plan", "/ui/apply", 1)
		contains(t, "the confirmation", load(t, s, apply), c.want)
		form := url.Values{}
		if c.deletes > 0 {
			contains(t, "the confirmation", load(t, s, apply), `name="deletes" value="send"`)
			form.Set("deletes", "send")
		}
		if code, at := send(t, s, apply, apply, form); code != http.StatusSeeOther {
			t.Fatal(code, at)
		}
		s.Until("the plan is sent", func() bool { return strings.Contains(load(t, s, "/ui/job?name=shop"), "of a plan") })
		if got := deletes(s) - before; got != c.deletes {
			t.Errorf("%s: %d deletes were sent", c.orphans, got)
		}
	}
}

// deletes is how many the sink has taken.
func deletes(s *service.Service) (n int) {
	for _, c := range s.Sink.Changes() {
		if c.Operation == syncd.Delete {
			n++
		}
	}
	return n
}

func TestTheConfigurationIsShownWithoutSecrets(t *testing.T) {
	s := stopped(t, shop+"run: {batch_size: 123}\n")
	body := load(t, s, "/ui/config?name=shop")
	contains(t, "the configuration", body, "run.batch_size", "<code>123</code>", "shop.yaml:5", "mapping.collections.page")
	if strings.Contains(body, "run.readers") {
		t.Error("defaults are shown without being asked for")
	}
	contains(t, "all of it", load(t, s, "/ui/config?all=1&name=shop"), "run.readers", "default")
	s.Write("shop", shop+"run: {batch_size: many}\n")
	s.Until("the problem is seen", func() bool { j, _ := s.Job("shop"); return len(j.Problems) > 0 })
	for _, path := range []string{"/ui/config?name=shop", "/ui/job?name=shop", "/ui/"} {
		contains(t, path, load(t, s, path), "shop.yaml:5", "batch_size")
	}
}

func TestDeadLettersAreShownAndSentAgain(t *testing.T) {
	s := service.Start(t, nil, nil)
	bad := errors.New("a field that can't be <b>written</b>")
	s.Source.Insert("page", syncdtest.MemoryDoc{ID: "good"}, syncdtest.MemoryDoc{ID: "bad", EncodeErr: bad}, syncdtest.MemoryDoc{ID: `<i>"worse`, EncodeErr: bad})
	s.Write("shop", service.Plugins+"mapping: {collections: {page: page}}\nerrors: {dead_letter: {file: {path: "+filepath.Join(t.TempDir(), "letters.ndjson")+", format: envelope}}}\n")
	s.Stands("shop", host.Done)
	body := load(t, s, "/ui/dead?name=shop")
	contains(t, "the list", body, "2 documents, the newest first", "a field that can&#39;t be &lt;b&gt;written&lt;/b&gt;", "letters.ndjson", "Send all again")
	s.Source.Insert("page", syncdtest.MemoryDoc{ID: "bad"})
	s.Source.Delete("page", `<i>"worse`)
	sent := len(s.Sink.Events())
	one := html.UnescapeString(regexp.MustCompile(`href="(/ui/again[^"]*place=[^"]*)"`).FindStringSubmatch(body)[1])
	contains(t, "one", load(t, s, one), "At most <strong>1</strong> event will be sent to memory", "Send it again")
	contains(t, "all", load(t, s, "/ui/again?name=shop"), "At most <strong>2</strong> events will be sent to memory", "shop.page")
	if code, _ := send(t, s, "/ui/again?name=shop", "/ui/again?name=shop", nil); code != http.StatusOK { // since one is gone
		t.Error(code)
	}
	s.Until("the document is sent", func() bool { return len(s.Sink.Events()) == sent+1 })
	s.Stands("shop", host.Done)
	s.Source.Insert("page", syncdtest.MemoryDoc{ID: "bad", Fields: map[string]any{"n": 2}})
	for _, l := range regexp.MustCompile(`href="(/ui/again[^"]*place=[^"]*)"`).FindAllStringSubmatch(body, -1) {
		at := html.UnescapeString(l[1])
		if code, to := send(t, s, at, at, nil); code == http.StatusSeeOther && !strings.HasPrefix(to, "/ui/job?did=again") {
			t.Error(to)
		}
	}
	s.Until("the one document is sent", func() bool { return len(s.Sink.Events()) == sent+2 })
}

func TestWithoutAPlaceForDeadLettersThatIsSaid(t *testing.T) {
	contains(t, "the page", load(t, stopped(t, shop), "/ui/dead?name=shop"), "There is no place for documents that can't be sent", "set errors.dead_letter")
}
