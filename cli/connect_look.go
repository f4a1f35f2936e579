package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// connection looks at the servers of one configuration.
type connection struct {
	config   *config.Config
	timeout  time.Duration    // for each server: opening, asking and closing
	lateness time.Duration    // see the constant
	signals  <-chan os.Signal // end it at once

	tell    func([]report)         // is told what was found out as soon as it is, each server once, those without a failure first; nil is not
	waiting func(servers []string) // is told after promptly who has not answered; nil is not
}

// promptly is how long the first answers are waited for, so that those of servers that are well come in the order of the configuration.
const promptly = time.Second

// report is what was found out about one server.
type report struct {
	kind     syncd.Kind
	name     string // the product's, and where it is
	findings []syncd.Finding
}

// endpoint is one of those that a run needs.
type endpoint struct {
	kind    syncd.Kind
	plugin  config.Plugin
	open    func(context.Context, any, syncd.Env) (opened, error)
	needed  bool
	because string // why it is not needed
}

// opened is an open plugin, as far as it matters here.
type opened struct {
	io.Closer
	probe syncd.Probe // nil: it can't tell
}

func (c *connection) servers() []endpoint {
	cfg := c.config
	servers := []endpoint{
		{
			kind: syncd.KindSource, plugin: cfg.Source, needed: true,
			open: opener(cfg.Source.OpenSource, func(p syncd.Source) syncd.Probe { return p.Abilities().Probe }),
		},
		{
			kind: syncd.KindChecker, plugin: cfg.Checker, needed: cfg.Run.Mode != config.Full,
			because: "a full run does not ask the index (run.mode)",
			open:    opener(cfg.Checker.OpenChecker, func(p syncd.Checker) syncd.Probe { return p.Abilities().Probe }),
		},
	}
	const dry = "a dry run sends nothing (run.dry_run)"
	for _, s := range cfg.Stages {
		if _, placed := s.Settings.(syncd.Locator); placed { // others need no server
			servers = append(servers, endpoint{
				kind: syncd.KindStage, plugin: s, needed: !cfg.Run.DryRun, because: dry,
				open: opener(s.OpenStage, func(p syncd.Stage) syncd.Probe { return p.Abilities().Probe }),
			})
		}
	}
	return append(servers, endpoint{
		kind: syncd.KindSink, plugin: cfg.Sink, needed: !cfg.Run.DryRun, because: dry,
		open: opener(cfg.Sink.OpenSink, func(p syncd.Sink) syncd.Probe { return p.Abilities().Probe }),
	})
}

// opener opens a plugin of any kind.
func opener[P io.Closer](open func(context.Context, any, syncd.Env) (P, error), probe func(P) syncd.Probe,
) func(context.Context, any, syncd.Env) (opened, error) {
	return func(ctx context.Context, settings any, env syncd.Env) (opened, error) {
		p, err := open(ctx, settings, env)
		if err != nil {
			return opened{}, err
		}
		return opened{p, probe(p)}, nil
	}
}

// failed reports whether a check of the server failed.
func (r *report) failed() bool {
	var n counts
	for _, f := range r.findings {
		n.add(f.Status)
	}
	return n.failed > 0
}

// look asks the servers side by side, and returns what was found out about all. It returns early only if it is interrupted. A plugin that does not return in time is
// reported and left behind, since the program ends soon.
func (c *connection) look(ctx context.Context) ([]report, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	targets := make([]syncd.ProbeTarget, len(c.config.Mapping.Rules))
	for i, r := range c.config.Mapping.Rules {
		targets[i] = syncd.ProbeTarget{Target: r.Target(), Filter: r.Collection.Filter, ContentTypeKey: r.Payload.ContentType, PayloadKeys: r.AllPayloadKeys()}
	}
	servers := c.servers()
	reports := make([]report, len(servers))
	type answer struct {
		server   int
		findings []syncd.Finding
	}
	answers := make(chan answer, len(servers)) // with room for those that nobody waits for any more
	waiting := 0
	for i, s := range servers {
		reports[i] = report{kind: s.kind, name: s.name()}
		if !s.needed {
			reports[i].findings = []syncd.Finding{{Subject: "connection", Status: syncd.StatusSkipped, Detail: s.because}}
			continue
		}
		waiting++
		go func() { answers <- answer{i, c.ask(ctx, s, targets)} }()
	}
	told := make([]bool, len(servers))
	tell := func() {
		var now []report
		for i, r := range reports {
			if r.findings != nil && !told[i] {
				told[i] = true
				now = append(now, r)
			}
		}
		if len(now) == 0 || c.tell == nil {
			return
		}
		slices.SortStableFunc(now, func(a, b report) int {
			switch {
			case a.failed() == b.failed():
				return 0
			case b.failed():
				return -1
			}
			return 1
		})
		c.tell(now)
	}
	first := time.NewTimer(promptly)
	defer first.Stop()
	late := time.NewTimer(c.timeout + c.lateness)
	defer late.Stop()
	for slow := false; waiting > 0; {
		select {
		case a := <-answers:
			waiting--
			reports[a.server].findings = a.findings
			if f, differ := misfit(reports); differ && dimensions(a.findings) > 0 {
				at := len(reports) - 1 // the sink's, unless that was told already
				if told[at] {
					at = a.server
				}
				reports[at].findings = append(reports[at].findings, f)
			}
			if slow {
				tell()
			}
		case <-first.C:
			slow = true
			tell()
			c.stillWaiting(reports)
		case sig := <-c.signals:
			return nil, interruptedBy(sig)
		case <-late.C:
			for i := range reports {
				if reports[i].findings == nil {
					reports[i].findings = []syncd.Finding{c.noAnswer()}
				}
			}
			waiting = 0
		}
	}
	tell()
	return reports, nil
}

// misfit compares the vectors that a stage makes with those that the sink takes.
func misfit(reports []report) (f syncd.Finding, differ bool) {
	made, held := 0, 0
	for _, r := range reports {
		switch n := dimensions(r.findings); {
		case n == 0:
		case r.kind == syncd.KindStage:
			made = n
		case r.kind == syncd.KindSink:
			held = n
		}
	}
	return syncd.Finding{
		Subject: "vectors", Status: syncd.StatusFailed,
		Detail: fmt.Sprintf("the model gives vectors of %d numbers, and the index takes %d", made, held),
		Hint:   "choose the model that the index was filled with, or another collection",
	}, made > 0 && held > 0 && made != held
}

// dimensions is how many numbers the vectors have that findings are about; 0 is none.
func dimensions(findings []syncd.Finding) (n int) {
	for _, f := range findings {
		n = max(n, f.Dimensions)
	}
	return n
}

// stillWaiting says which servers have not answered.
func (c *connection) stillWaiting(reports []report) {
	if c.waiting == nil {
		return
	}
	var names []string
	for _, r := range reports {
		if r.findings == nil {
			names = append(names, r.name)
		}
	}
	c.waiting(names)
}

// name is what people call the server, and where it is.
func (s endpoint) name() string {
	if s.plugin.Settings == nil {
		return "none"
	}
	if l, ok := s.plugin.Settings.(syncd.Locator); ok && l.Location() != "" {
		return s.plugin.Label() + " at " + l.Location()
	}
	return s.plugin.Label()
}

// ask opens a server, has it looked at and closes it. There is at least one finding.
func (c *connection) ask(ctx context.Context, s endpoint, targets []syncd.ProbeTarget) []syncd.Finding {
	// What plugins notice while they open is among their findings, so it is not logged as well.
	plugin, err := s.open(ctx, s.plugin.Settings, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return []syncd.Finding{c.cannotOpen(ctx, s, err)}
	}
	var findings []syncd.Finding
	if plugin.probe != nil {
		findings = plugin.probe(ctx, targets)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			findings = append(findings, c.noAnswer())
		}
	}
	if len(findings) == 0 {
		findings = []syncd.Finding{{Subject: "connection", Status: syncd.StatusOK, Detail: "it works; what is there was not looked at"}}
	}
	if err := plugin.Close(); err != nil {
		findings = append(findings, syncd.Finding{
			Subject: "connection", Status: syncd.StatusWarning, Detail: err.Error(), Hint: syncd.HintOf(err),
		})
	}
	return findings
}

// noAnswer is the finding about a server that took too long.
func (c *connection) noAnswer() syncd.Finding {
	return syncd.Finding{
		Subject: "time", Status: syncd.StatusFailed,
		Detail: fmt.Sprintf("not everything was answered within %s", c.timeout),
		Hint:   "check that it is up and can be reached from here; --connect-timeout gives it longer",
	}
}

func (c *connection) cannotOpen(ctx context.Context, s endpoint, err error) syncd.Finding {
	f := syncd.Finding{Subject: "connection", Status: syncd.StatusFailed, Detail: err.Error(), Hint: syncd.HintOf(err)}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		f = c.noAnswer()
		f.Subject, f.Detail = "connection", fmt.Sprintf("%s did not answer within %s", s.name(), c.timeout)
	}
	if s.kind != syncd.KindChecker || !errors.Is(err, syncd.ErrUnavailable) {
		return f
	}
	note := ""
	switch c.config.Run.OnCheckUnavailable {
	case config.OutageFull:
		if errors.Is(err, syncd.ErrForeign) {
			return f // a run would end
		}
		note = "as it is, a run would send every document (run.on_check_unavailable: full)"
	case config.OutageWait:
		note = "as it is, a run would wait for it (run.on_check_unavailable: wait)"
	case config.OutageFail:
	}
	if f.Hint != "" && note != "" {
		note = "; " + note
	}
	f.Hint += note
	return f
}
