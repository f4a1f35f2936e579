package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience bounds what a test waits for; the machine may be busy.
const patience = 40 * time.Second

// chromium is the browser of all tests, started by the first.
var chromium struct {
	sync.Once
	ctx  context.Context //nolint:containedctx // chromedp keeps the browser, and the tab, in it
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

func start() {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		chromium.err = fmt.Errorf("chromium is not installed; Debian and Ubuntu have it as a package of that name")
		return
	}
	dir, err := os.MkdirTemp("", "syncd-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	allocated, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(dir), chromedp.Flag("disable-gpu", true), chromedp.WSURLReadTimeout(patience))...)
	ctx, end := chromedp.NewContext(allocated)
	chromium.ctx = ctx //nolint:fatcontext // it is made once
	chromium.stop = func() {
		end()
		cancel()
		_ = os.RemoveAll(dir)
	}
	chromium.err = chromedp.Run(ctx)
}

// tab is a tab of the browser, which fails its test where the page complains, or asks anybody but its service.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // chromedp keeps the browser, and the tab, in it
	from string          // what every request must begin with

	mu       sync.Mutex
	expected []string // complaints that the test means to cause
}

func open(t *testing.T, from string) *tab {
	t.Helper()
	chromium.Do(start)
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx)
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 2*patience)
	t.Cleanup(stop)
	b := &tab{t: t, ctx: ctx, from: from}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complains("exception: " + e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				b.complains(fmt.Sprintf("console: %s", e.Args[0].Value))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
				b.complains(fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL))
			}
		case *network.EventRequestWillBeSent:
			if url := e.Request.URL; !strings.HasPrefix(url, b.from) && url != "about:blank" {
				b.complains("asks " + url)
			}
		}
	})
	b.run(network.Enable(), log.Enable(), runtime.Enable())
	return b
}

func (b *tab) complains(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.expected {
		if strings.Contains(what, e) {
			return
		}
	}
	b.t.Error(what)
}

// expects lets the page complain of something.
func (b *tab) expects(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, what)
}

func (b *tab) run(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// goes to a page of the service.
func (b *tab) goes(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.from + path))
}

// value is what an expression of JavaScript comes to.
func value[T any](b *tab, expression string) (out T) {
	b.t.Helper()
	b.run(chromedp.Evaluate(expression, &out))
	return out
}

// sees waits until the page's main part holds a text.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.until(text+" is seen", func() bool { return strings.Contains(b.text(), text) })
}

// text is what is to be read of the page; nothing while another is loaded.
func (b *tab) text() (out string) {
	_ = chromedp.Run(b.ctx, chromedp.Evaluate(`document.querySelector("main").innerText`, &out))
	return out
}

func (b *tab) until(what string, so func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not in time: %s; the page is %s\n%s", what, value[string](b, "location.href"), b.text())
		}
	}
}

// press presses keys, such as kb.Enter.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(keys))
}

// tabTo presses Tab until something is focused, which must be seen to be.
func (b *tab) tabTo(selector string) {
	b.t.Helper()
	for range 80 {
		b.press(kb.Tab)
		if value[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			if value[string](b, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
				b.t.Errorf("%s has the focus, which is not seen", selector)
			}
			return
		}
	}
	b.t.Fatalf("%s is not reached by Tab", selector)
}

// presses enter on something that Tab comes to, and waits for another page.
func (b *tab) follows(selector string) {
	b.t.Helper()
	b.tabTo(selector)
	b.run(chromedp.Evaluate("window.wasHere = true", nil))
	b.press(kb.Enter)
	b.until("another page", func() bool {
		return value[bool](b, `window.wasHere === undefined && document.readyState === "complete"`)
	})
}

// looks like a device, in light or dark.
func (b *tab) looks(width, height int64, scheme string) {
	b.t.Helper()
	b.run(emulation.SetDeviceMetricsOverride(width, height, 1, width < 500),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}
