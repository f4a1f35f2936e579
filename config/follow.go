package config

import (
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/schedule"
	"github.com/syncd-io/syncd/spec"
)

// Stream is the `stream` section: how changes are followed.
type Stream struct {
	OnPositionLost PositionPolicy `yaml:"on_position_lost" rule:"oneof=reconcile fail continue" doc:"When the source no longer has the changes behind the last one that was handled: look at all documents as a run does and go on from now (reconcile), or stop (fail). A source that can only be followed has no documents to look at, so that reconcile stops there, too; only there, continue goes on with what is still there."`
	Debounce       time.Duration  `yaml:"debounce" rule:"min=0,max=1h" doc:"Collect changes for so long, and send of each document only the last; 0 sends each at once."`
}

// PositionPolicy says what following does when its position is lost.
type PositionPolicy string

// The policies.
const (
	PositionReconcile PositionPolicy = "reconcile" // an incremental backfill, then on
	PositionFail      PositionPolicy = "fail"      // it ends
	PositionContinue  PositionPolicy = "continue"  // with what is still there, of a source that can only be followed
)

// Schedule is the `schedule` section.
type Schedule struct {
	Every     time.Duration  `yaml:"every" rule:"omitempty,min=1s" example:"15m" doc:"Run again and again, so long after the last start; a run that takes longer delays the next."`
	Cron      string         `yaml:"cron" example:"0 * * * *" doc:"Run at the times of a cron expression; CRON_TZ=Europe/Berlin in front sets the time zone."`
	Jitter    *time.Duration `yaml:"jitter" rule:"omitempty,min=0" example:"10s" doc:"Delay each run by a random time up to this; not set, a tenth of the interval, at most 30s."`
	Reconcile *When          `yaml:"reconcile" doc:"With run.follow, when all documents are looked at again as a run does, orphans too where run.orphans says so; changes wait meanwhile."`
}

// Runs is when the job runs again; a job without such a schedule runs once, or follows.
func (s *Schedule) Runs() schedule.Schedule {
	w := &When{Every: s.Every, Cron: s.Cron}
	if s.Every == 0 && s.Cron == "" {
		w = nil
	}
	runs := w.Schedule()
	if s.Jitter != nil {
		runs.Jitter = *s.Jitter
	}
	return runs
}

// CheckConfig implements spec.SelfChecker.
func (s *Schedule) CheckConfig(d *spec.Decoder, n *spec.Node) {
	switch {
	case s.Every != 0 || s.Cron != "":
		(&When{Every: s.Every, Cron: s.Cron}).CheckConfig(d, n)
	case s.Jitter != nil:
		d.In("jitter", func() {
			d.Report(spec.Warning, n.Get("jitter"), spec.CodeNoEffect, "add schedule.every or schedule.cron", "%s delays nothing", d.Path())
		})
	}
}

// When is a schedule: exactly one of its settings is set.
type When struct {
	Every time.Duration `yaml:"every" rule:"omitempty,min=1s" example:"6h" doc:"So long after it last began."`
	Cron  string        `yaml:"cron" example:"0 3 * * *" doc:"At the times of a cron expression; CRON_TZ=Europe/Berlin in front sets the time zone."`
}

// CheckConfig implements spec.SelfChecker.
func (w *When) CheckConfig(d *spec.Decoder, n *spec.Node) {
	switch {
	case w.Every == 0 && w.Cron == "":
		d.Errorf(n, spec.CodeMissingField, "such as every: 6h", "%s needs every or cron", d.Path())
	case w.Every != 0 && w.Cron != "":
		d.Errorf(n.Get("cron"), spec.CodeBadValue, "keep one", "%s.every and %[1]s.cron are two schedules", d.Path())
	case w.Cron != "":
		if _, err := schedule.Cron(w.Cron); err != nil {
			d.Errorf(n.Get("cron"), spec.CodeBadValue, "five fields, such as 0 3 * * *", "%s.cron: %v", d.Path(), err)
		}
	}
}

// Schedule is when it comes; a nil When never does.
func (w *When) Schedule() schedule.Schedule {
	switch {
	case w == nil:
		return schedule.Schedule{}
	case w.Cron != "":
		s, err := schedule.Cron(w.Cron)
		if err != nil { // CheckConfig refused it
			return schedule.Schedule{}
		}
		return s
	}
	return schedule.Every(w.Every)
}

// checkFollow checks what following needs, and says what has no effect without it.
func (l *loader) checkFollow(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	run := tree.Get("run")
	l.checkFollowedOnly(d, tree, f, c)
	if !f.Run.Follow {
		if n := tree.Get("schedule").Get("reconcile"); !n.IsNull() {
			d.In("schedule", func() {
				d.Report(spec.Warning, n, spec.CodeNoEffect, "set run.follow: true, or give --every to syncd run", "schedule.reconcile has no effect without run.follow")
			})
		}
		return
	}
	at := run.Get("follow")
	if !f.Schedule.Runs().IsZero() {
		d.In("schedule", func() {
			d.Errorf(tree.Get("schedule"), spec.CodeBadValue, "leave schedule.every and schedule.cron out; schedule.reconcile looks at all documents again meanwhile",
				"a job that follows does not end, so it can't run again by a schedule")
		})
	}
	switch {
	case f.Run.DryRun:
		d.Errorf(at, spec.CodeBadValue, "leave run.dry_run out, or run.follow", "run.follow sends changes as they happen; run.dry_run sends nothing")
	case !f.Run.Resume:
		d.Errorf(at, spec.CodeBadValue, "leave run.resume at true", "run.follow needs run.resume: it keeps its position in the stream there")
	}
	for _, r := range c.Mapping.Rules {
		if r.SeedFields() > 0 {
			d.In("run", func() {
				d.Report(spec.Warning, at, spec.CodeBadValue, "have the source keep images of documents from before a change, or make the seed of {mongo_id} alone",
					"the point ids of collection %s are made of fields: a delete can only be followed where the source knows the document from before", r.Collection.Name)
			})
			break
		}
	}
}

// followedOnly reports whether the source of a file can only be followed.
func followedOnly(f *file) bool {
	_, only := f.Source.config.(syncd.FollowedOnly)
	return only && f.Source.set
}

// FollowedOnly reports whether the source can only be followed: it has changes, and no documents to look at.
func (c *Config) FollowedOnly() bool {
	_, only := c.Source.Settings.(syncd.FollowedOnly)
	return only
}

// checkFollowedOnly finds what takes documents to look at, which a source that can only be followed has not.
func (l *loader) checkFollowedOnly(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	report := func(at *spec.Node, path, hint, format string, args ...any) {
		d.Add(spec.Diagnostic{Severity: spec.Error, Code: spec.CodeBadValue, Pos: keyOf(at), Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	stream, run := tree.Get("stream"), tree.Get("run")
	if !followedOnly(f) {
		if f.Stream.OnPositionLost == PositionContinue && f.Source.set {
			report(stream.Get("on_position_lost"), "stream.on_position_lost", "set reconcile, which looks at all documents and goes on",
				"stream.on_position_lost: continue would leave a gap, which a source with documents to look at need not have")
		}
		return
	}
	name := f.Source.plugin.Name()
	source := tree.Get("source").Get(name)
	if !f.Run.Follow && !l.partial() {
		report(source, "source."+name, "set run.follow: true, or give --follow to syncd run", "the source %s has changes, and no documents to look at: it can only be followed", name)
	}
	if !tree.Get("schedule").Get("reconcile").IsNull() {
		report(tree.Get("schedule").Get("reconcile"), "schedule.reconcile", "remove it; a job that reads the database itself can look at all documents",
			"schedule.reconcile looks at all documents, which the source %s does not have", name)
	}
	if f.Run.Orphans != OrphansOff {
		report(run.Get("orphans"), "run.orphans", "remove it; a job that reads the database itself can look for them",
			"run.orphans asks for documents whose points are left over, which the source %s does not have", name)
	}
	if s, can := f.Sink.config.(syncd.Switcher); can && f.Sink.set && s.Switches() {
		at := tree.Get("sink").Get(f.Sink.plugin.Name())
		report(at, "sink."+f.Sink.plugin.Name(), "remove the alias here, and give it to a job that reads the database itself",
			"readers are switched to what is written when all documents were looked at, which the source %s does not have", name)
	}
	if t, can := f.Sink.config.(syncd.Transactor); can && f.Sink.set && t.Transactional() {
		at := tree.Get("sink").Get(f.Sink.plugin.Name())
		report(at, "sink."+f.Sink.plugin.Name(), "set delivery: at_least_once", "exactly once needs a source whose positions are kept in the sink's transactions; those of the source %s are kept by its own servers", name)
	}
	l.checkCircle(d, tree, f, c)
}

// checkCircle finds a job that reads what it writes, for ever.
func (l *loader) checkCircle(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	reader, can := f.Source.config.(syncd.PlaceReader)
	if !can || hasErrorsUnder(d.Diagnostics(), "source") {
		return
	}
	look := func(section *pluginSection, at *spec.Node, path, what string, own bool) {
		router, routes := section.config.(syncd.Router)
		if !routes || !section.set || section.plugin.Name() != f.Source.plugin.Name() || hasErrorsUnder(d.Diagnostics(), path) {
			return
		}
		for _, rule := range c.Mapping.Rules {
			target := rule.Target()
			if !own {
				target.Topic = "" // a collection's own topic is for its events
			}
			if place := router.Route(target); reader.ReadsPlace(location(section.config), place) {
				d.Add(spec.Diagnostic{
					Severity: spec.Error, Code: spec.CodeBadValue, Pos: keyOf(at), Path: path, Hint: "write to another place, or read from fewer",
					Message: fmt.Sprintf("%s of collection %s go to %s, from where the source reads: they would go round for ever", what, rule.Collection.Name, place),
				})
				return
			}
		}
	}
	look(&f.Sink, tree.Get("sink"), "sink", "the events", true)
	look(&f.Errors.DeadLetter, tree.Get("errors").Get("dead_letter"), "errors.dead_letter", "the dead letters", false)
}
