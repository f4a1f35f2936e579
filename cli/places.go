package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/runpage"
)

// How much a run prints.
const (
	detailAuto    = "auto"    // full for a first look, else compact
	detailFull    = "full"    // a block for each collection, then the summary
	detailCompact = "compact" // the summary, with a line for each collection that needed something
	detailLast    = "last"    // its last line: see --quiet
)

// detailOf chooses how much a run prints, where that is left to it. Blocks are for a person who sees them for the first time, or who
// looks what a run would do.
func (a *app) detailOf(asked string, quiet bool, cfg *config.Config, stdout io.Writer) string {
	switch {
	case asked != detailAuto:
		return asked
	case quiet:
		return detailLast
	case cfg.Run.DryRun, progress.IsTerminal(stdout) && !a.ranBefore(cfg):
		return detailFull
	}
	return detailCompact
}

// ranBefore reports whether there is a record of a run of the job. Where none is kept, there may have been one.
func (a *app) ranBefore(cfg *config.Config) bool {
	dir, err := job.StateDir(cfg.Run.StateDir, a.env)
	if err != nil {
		return true
	}
	runs, err := runlog.Read(dir, cfg.Name, 1)
	return err != nil || len(runs) > 0
}

// shownTopics is how many places of events are named.
const shownTopics = 3

// announce says where the run reads, asks and sends, once.
func (p *printer) announce(index job.IndexReport, full bool) {
	if p.announced {
		return
	}
	p.announced = true
	p.printf("Reading  %s\n", reading(p.cfg))
	switch {
	case full && p.fullByConfig:
		p.printf("Asking   nothing (run.mode: full)\n")
	case full:
		p.printf("Asking   %s: it could not be reached\n", p.cfg.Checker.Place())
	default:
		asked := p.cfg.Checker.Place()
		if index.Before.Name != "" {
			asked += fmt.Sprintf(", %q", index.Before.Name)
		}
		if index.Known {
			asked += ": " + text.Plural(index.Before.Points, "point", "points")
		}
		p.printf("Asking   %s\n", asked)
	}
	if p.dryRun {
		p.printf("Sending  nothing (dry run); a run sends to %s%s\n", p.cfg.Sink.Place(), topics(p.cfg))
		return
	}
	p.printf("Sending  %s%s\n", p.cfg.Sink.Place(), topics(p.cfg))
}

// reading says where a job reads.
func reading(cfg *config.Config) string {
	source := cfg.Source.Place()
	if n, ok := cfg.Source.Settings.(syncd.DatabaseNamer); ok {
		source += fmt.Sprintf(", database %q", n.DatabaseName())
	}
	return source + ": " + text.Plural(int64(len(cfg.Mapping.Rules)), "collection", "collections")
}

// places are the same for a page.
func places(cfg *config.Config) []runpage.Place {
	asked := "nothing (run.mode: full)"
	if cfg.Run.Mode != config.Full {
		asked = cfg.Checker.Place()
	}
	sent := cfg.Sink.Place() + topics(cfg)
	if cfg.Run.DryRun {
		sent = "nothing (dry run)"
	}
	return []runpage.Place{
		{What: "Reading", Where: reading(cfg)}, {What: "Asking", Where: asked}, {What: "Sending", Where: sent},
		{What: "File", Where: cfg.Files[len(cfg.Files)-1]},
	}
}

// topics names the first of the places where events go, where the sink has such.
func topics(cfg *config.Config) string {
	router, ok := cfg.Sink.Settings.(syncd.Router)
	if !ok {
		return ""
	}
	var names []string
	for _, rule := range cfg.Mapping.Rules {
		names = append(names, router.Route(rule.Target()))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if l, ok := cfg.Sink.Settings.(syncd.Locator); ok && len(names) == 1 && names[0] == l.Location() {
		return ""
	}
	more := ""
	if n := len(names) - shownTopics; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
		names = names[:shownTopics]
	}
	return ": " + strings.Join(names, ", ") + more
}
