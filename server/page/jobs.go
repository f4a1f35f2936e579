package page

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
)

// stripRuns is how many runs the list shows of a job.
const stripRuns = 16

// jobsView is the list of all jobs.
type jobsView struct {
	Groups  []jobGroup
	Problem string
	Summary string // it changes when a job's condition does, and not with every number
	Filter  string
	Wall    bool
	Jobs    int
}

type jobGroup struct {
	Title string
	Jobs  []jobLine
}

// jobLine is a job in the list.
type jobLine struct {
	condition
	Name         string
	Fresh        string
	Coverage     string
	Next         string
	Schedule     string
	Reason, Hint string
	Problems     []string
	Strip        []mark
	StripText    string
	Progress     *progress
}

// progress is how far something came; Share is from 0 to 1000.
type progress struct {
	Share int
	Text  string
}

// listJobs is the list of jobs: those that need somebody, those that are under way, and the others.
func (p *Page) listJobs(r *http.Request) (answer, error) {
	now := p.now()
	v := jobsView{Problem: p.o.Host.Problem(), Filter: strings.TrimSpace(r.FormValue("q")), Wall: r.FormValue("view") == "wall"}
	groups := []jobGroup{{Title: "Need somebody"}, {Title: "Under way"}, {Title: "Wait for their time"}, {Title: "Paused, stopped or done"}}
	all := p.o.Host.Jobs()
	v.Jobs = len(all)
	p.past.keep(all)
	for i := range all {
		s := &all[i]
		if v.Filter != "" && !strings.Contains(strings.ToLower(s.Name), strings.ToLower(v.Filter)) {
			continue
		}
		line := p.line(s, now)
		at := 3
		switch {
		case line.Needs():
			at = 0
		case line.rank == 4:
			at = 1
		case line.rank == 5:
			at = 2
		}
		groups[at].Jobs = append(groups[at].Jobs, line)
	}
	var said []string
	for i, g := range groups {
		if len(g.Jobs) == 0 {
			continue
		}
		slices.SortStableFunc(g.Jobs, func(a, b jobLine) int { return cmp.Compare(a.rank, b.rank) })
		v.Groups = append(v.Groups, g)
		said = append(said, [...]string{
			plural(int64(len(g.Jobs)), "job needs somebody", "jobs need somebody"), report.Number(int64(len(g.Jobs))) + " under way",
			report.Number(int64(len(g.Jobs))) + " waiting", report.Number(int64(len(g.Jobs))) + " paused, stopped or done",
		}[i])
	}
	v.Summary = strings.Join(said, ", ")
	if v.Summary == "" {
		v.Summary = "no jobs"
	}
	a := answer{view: "jobs", title: "Jobs", tab: "jobs", data: v}
	if v.Wall {
		a.tab = "wall"
	}
	return a, nil
}

// line is a job in the list.
func (p *Page) line(s *host.Status, now time.Time) jobLine {
	runs := p.runs(s.Name, stripRuns)
	l := jobLine{
		condition: conditionOf(s, first(runs)), Name: s.Name, Fresh: freshness(s, runs, now), Schedule: scheduled(s), Next: next(s, now),
		Reason: s.Reason, Hint: s.Hint, Problems: s.Problems, Progress: progressOf(s.Live),
	}
	if share, run, ok := coverage(runs); ok {
		l.Coverage = report.Percent(share) + " of " + documents(run.Total.Scanned-run.Total.Gone)
	}
	if last := first(runs); l.rank == 3 && l.Reason == "" && last != nil && !good(last.Outcome) {
		l.Reason, l.Hint = outcomes[last.Outcome].Word, last.Hint
		if last.Error != "" {
			l.Reason = last.Error
		}
	}
	l.Strip, l.StripText = strip(runs, now)
	return l
}

func first(runs []runlog.Run) *runlog.Run {
	if len(runs) == 0 {
		return nil
	}
	return &runs[0]
}

// scheduled says when a job runs.
func scheduled(s *host.Status) string {
	switch {
	case s.Follows:
		return "follows changes"
	case s.Schedule == "once":
		return "runs once"
	}
	every, isSpan := strings.CutPrefix(s.Schedule, "every ")
	if !isSpan {
		return "runs by the schedule " + s.Schedule
	}
	every = strings.Replace(every, "m0s", "m", 1)
	return "runs every " + strings.Replace(every, "h0m", "h", 1)
}

// next says when a job runs next; empty where nothing is planned.
func next(s *host.Status, now time.Time) string {
	if s.Next == nil {
		return ""
	}
	return clock(*s.Next, now) + ", " + in(*s.Next, now)
}

// progressOf is how far a run came; nil where that is not known.
func progressOf(l *runlog.Live) *progress {
	if l == nil || l.Expected == nil || *l.Expected == 0 || l.Phase != "reading" {
		return nil
	}
	p := &progress{Share: share(l.Counts.Scanned, *l.Expected), Text: report.Number(l.Counts.Scanned) + " of " + documents(*l.Expected)}
	if l.PerSecond >= 1 {
		p.Text += ", " + report.Number(int64(l.PerSecond)) + " a second"
	}
	if l.ETA != nil && *l.ETA >= 1 {
		p.Text += ", " + span(time.Duration(*l.ETA*float64(time.Second)).Truncate(time.Second)) + " left"
	}
	return p
}

func share(n, of int64) int {
	if of <= 0 {
		return 0
	}
	return int(min(1000, 1000*n/of))
}
