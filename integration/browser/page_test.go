package browser

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/syncd-io/syncd/internal/fixture/service"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/syncdtest"
)

const (
	shop = service.Plugins + "mapping: {collections: {page: page, workItem: work_item}}\n"
	slow = service.Plugins + "mapping: {collections: {page: page, workItem: work_item}}\nlimits: {documents_per_second: 20}\nrun: {batch_size: 5}\n"
)

// some starts a service with jobs in many states.
func some(t *testing.T) *service.Service {
	t.Helper()
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 2000)
	s.Insert("workItem", 1, 300)
	s.Index("page", "page", 1, 1990)
	s.Source.Insert("workItem", syncdtest.MemoryDoc{ID: "bad", EncodeErr: errors.New("a field that can't be written")})
	s.Write("pages-to-search", shop+"schedule: {every: 1h}\nerrors: {dead_letter: {file: {format: envelope, path: "+filepath.Join(t.TempDir(), "letters")+"}}}\n")
	s.Write("nightly", shop+"schedule: {cron: 0 3 * * *}\nlimits: {max_missing_ratio: 0.001}\n")
	s.Write("broken", strings.Replace(shop, "source", "sorce", 1))
	s.Write("import", shop)
	s.Write("a-job-with-a-name-that-is-far-longer-than-what-anybody-would-give-it-but-somebody-did", shop)
	s.Write("slow", slow)
	s.Stands("import", host.Done)
	s.Stands("pages-to-search", host.Waiting)
	s.Stands("slow", host.Running)
	if err := s.Want("import", host.WantStopped, "anna"); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a history
		before, _ := s.Job("pages-to-search")
		if err := s.Trigger("pages-to-search", host.Trigger{}, "anna"); err != nil {
			t.Fatal(err)
		}
		s.Until("it has run", func() bool { j, _ := s.Job("pages-to-search"); return j.Since != before.Since })
		s.Stands("pages-to-search", host.Waiting)
	}
	return s
}

// pages are those that people see.
var pages = map[string]string{
	"jobs": "/ui/", "wall": "/ui/?view=wall", "job": "/ui/job?name=pages-to-search", "running": "/ui/job?name=slow", "broken": "/ui/job?name=broken", "nothing": "/ui/nothing",
	"explain": "/ui/explain?name=pages-to-search&collection=page&id=page-01995", "explained": "/ui/explain?name=pages-to-search&collection=page&id=page-00001",
	"config": "/ui/config?all=1&name=pages-to-search", "dead": "/ui/dead?name=pages-to-search", "again": "/ui/again?name=pages-to-search", "confirm": "/ui/do?what=stop&name=slow", "plan": "/ui/plan?name=pages-to-search",
}

// TestEveryPageFits on a phone, on a desk and on a wall, in light and in dark, with nothing that keeps people from using it.
func TestEveryPageFits(t *testing.T) {
	s := some(t)
	b := open(t, s.URL)
	b.expects("/ui/nothing")
	b.goes("/ui/plan?name=pages-to-search")
	b.run(chromedp.Click("#make"))
	b.sees("It is done")
	script := ""
	t.Run("axe", func(t *testing.T) { script = axe(t) })
	for name, path := range pages {
		b.goes(path)
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280, 2560} {
				b.looks(width, width*3/4, scheme)
				if over := value[int](b, "document.documentElement.scrollWidth - window.innerWidth"); over > 0 {
					t.Errorf("%s is wider than %d pixels, by %d", name, width, over)
				}
				picture(b, fmt.Sprintf("%s-%s-%d", name, scheme, width))
			}
			if script == "" {
				continue
			}
			b.looks(1280, 900, scheme)
			var found findings
			b.run(chromedp.Evaluate(script, nil), chromedp.Evaluate(`axe.run(document).then(r => ({Violations: r.violations, Passes: r.passes.length}))`, &found,
				func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
			if found.Passes < 10 {
				t.Errorf("axe-core has looked at %d rules only", found.Passes)
			}
			if len(found.Violations) > 0 {
				t.Errorf("%s in %s:\n%s", name, scheme, found)
			}
		}
	}
}

// picture keeps a picture of the page where SYNCD_SCREENSHOTS names a folder.
func picture(b *tab, name string) {
	dir := os.Getenv("SYNCD_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	b.run(chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// TestAJobIsStoppedByKeyboard, from the list of jobs, and is resumed.
func TestAJobIsStoppedByKeyboard(t *testing.T) {
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 2000)
	s.Write("slow", slow)
	s.Stands("slow", host.Running)
	b := open(t, s.URL)
	b.goes("/ui/")
	b.press(kb.Tab)
	if !value[bool](b, `document.activeElement.matches(".skip")`) {
		t.Error("the first thing is not to skip what is on every page")
	}
	b.press(kb.Enter)
	b.until("the content has the focus", func() bool { return value[bool](b, `document.activeElement.id === "main"`) })
	b.follows(`.job a[href*="name=slow"]`)
	b.sees("In short")
	b.follows("#do-stop")
	b.sees("Stop the job?")
	if j, _ := s.Job("slow"); j.Wish.Desired != host.WantRunning {
		t.Error("it was stopped before that was confirmed")
	}
	b.follows("#yes")
	b.sees("The job is stopped.")
	s.Stands("slow", host.Stopped)
	b.until("the page says so", func() bool {
		return strings.Contains(value[string](b, `document.getElementById("state").innerText`), "stopped")
	})
	b.follows("#do-resume")
	b.sees("The job runs again")
	s.Stands("slow", host.Running)
}

// TestADocumentIsLookedForByKeyboard.
func TestADocumentIsLookedForByKeyboard(t *testing.T) {
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 20)
	s.Insert("workItem", 1, 20)
	s.Index("workItem", "work_item", 1, 19)
	s.Write("shop", shop)
	s.Stands("shop", host.Done)
	b := open(t, s.URL)
	b.goes("/ui/job?name=shop")
	b.follows(`main a[href^="/ui/explain"]`)
	b.tabTo("#collection")
	b.press("w") // of workItem
	b.tabTo("#id")
	b.press("workItem-00020")
	b.run(chromedp.Evaluate("window.wasHere = true", nil))
	b.press(kb.Enter)
	b.sees("the index has no point with this id")
	b.sees("workItem-00020/work_item/0")
	b.sees("shop.workItem")
}

// TestAPlanIsMadeAndSent, which takes a confirmation that says how much will be sent, and where.
func TestAPlanIsMadeAndSent(t *testing.T) {
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 30)
	s.Insert("workItem", 1, 10)
	s.Index("page", "page", 1, 25)
	s.Write("shop", shop)
	s.Stands("shop", host.Done)
	sent := len(s.Sink.Events())
	b := open(t, s.URL)
	b.goes("/ui/job?name=shop")
	b.follows(`.tabs a[href^="/ui/plan"]`)
	b.follows("#make")
	b.sees("15 events would be sent") // without loading the page again
	b.follows("#apply")
	b.sees("15 events and 0 deletes will be sent to memory")
	b.sees("shop.workItem")
	b.follows("#yes")
	b.sees("A run was asked for that sends what the plan says.")
	s.Until("it is sent", func() bool { return len(s.Sink.Events()) == sent+15 })
	b.sees("of a plan")
}

// TestThePageIsLive: numbers go on, jobs come, and who is somewhere stays there.
func TestThePageIsLive(t *testing.T) {
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 3000)
	s.Write("slow", slow)
	s.Stands("slow", host.Running)
	b := open(t, s.URL)
	b.goes("/ui/")
	b.run(chromedp.Evaluate("window.wasHere = true", nil))
	b.tabTo(`.job a[href*="name=slow"]`)
	going := func() string {
		return value[string](b, `(document.querySelector(".going .note") || {innerText: ""}).innerText`)
	}
	b.until("there is progress", func() bool { return going() != "" })
	first := going()
	b.until("the progress goes on", func() bool { return going() != first })
	s.Write("another", shop)
	b.sees("another")
	if !value[bool](b, `window.wasHere && document.activeElement.matches('.job a[href*="name=slow"]')`) {
		t.Error("who was at a job is not there any more")
	}
	b.goes("/ui/job?name=another")
	b.sees("3,000 documents looked at")
}

// TestAServiceThatIsGoneIsSaid, since a wall screen that shows old numbers as if they were new is worse than none.
func TestAServiceThatIsGoneIsSaid(t *testing.T) {
	s := service.Start(t, map[string]string{"shop": shop}, nil)
	b := open(t, s.URL)
	b.expects("net::ERR")
	b.expects("Failed to load")
	b.goes("/ui/")
	b.sees("shop")
	s.Close()
	b.until("it is said", func() bool {
		return strings.Contains(value[string](b, `document.getElementById("lost").innerText`), "does not answer")
	})
}

// TestWithoutAScript the page can be read, and jobs be driven.
func TestWithoutAScript(t *testing.T) {
	s := service.Start(t, nil, nil)
	s.Insert("page", 1, 2000)
	s.Write("slow", slow)
	s.Stands("slow", host.Running)
	b := open(t, s.URL)
	b.run(emulation.SetScriptExecutionDisabled(true))
	b.goes("/ui/job?name=slow")
	b.run(chromedp.Click("#do-pause"))
	s.Stands("slow", host.Paused)
	b.run(chromedp.WaitVisible(".flash"), chromedp.Click("#do-stop"), chromedp.WaitVisible("#yes"), chromedp.Click("#yes"))
	s.Stands("slow", host.Stopped)
}

// TestNothingMovesForWhoWantsThat.
func TestNothingMovesForWhoWantsThat(t *testing.T) {
	s := service.Start(t, map[string]string{"shop": shop}, nil)
	b := open(t, s.URL)
	b.run(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}))
	b.goes("/ui/job?name=shop")
	if n := value[int](b, `[...document.querySelectorAll("*")].filter(e => { const s = getComputedStyle(e); return s.transitionDuration !== "0s" || s.animationName !== "none" }).length`); n > 0 {
		t.Errorf("%d things move", n)
	}
}
