package page

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/tally"
)

// historyRuns is how many runs a job's page shows.
const historyRuns = 50

// jobView is one job.
type jobView struct {
	condition
	Status   host.Status
	Schedule string
	Said     string // what was just done
	Answers  []answerLine
	Does     *does // nil: no file could be used yet
	Buttons  []button
	Live     *liveView
	Plots    []plot
	Runs     []runLine
	Last     *runLine // the last run, if it went wrong and nothing is under way
}

// answerLine answers a question.
type answerLine struct {
	Question, Answer, Tone string
	More                   []string
}

// does is what a job's configuration has it do.
type does struct {
	From, Index, To place
	Collections     []collection
	Schedule        string
	Full            bool // everything is sent
	Files           []string
}

type place struct{ Label, Where string }

type collection struct{ Name, ContentType, Topic string }

// button is something that can be done with a job. What sends or ends something is confirmed first.
type button struct {
	What, Label string
	Confirmed   bool
}

// liveView is the run under way, and the streams beside it.
type liveView struct {
	*runlog.Live
	Progress    *progress
	Collections []liveCollection
	Streams     []liveStream
	Window      string
	Shared      *sharedView // nil: one process works alone
}

// sharedView is how the processes stand that share the job.
type sharedView struct {
	*runlog.Cluster
	Summary, Tone string
	Processes     []liveProcess
}

type liveProcess struct {
	runlog.Process
	Role, Share string
	Gained      string
}

type liveCollection struct {
	runlog.Collection
	State         string
	Progress      *progress
	OldestMissing string
}

type liveStream struct {
	runlog.Stream
	State, Lag, Silent string
}

// runLine is a run in the table of past ones.
type runLine struct {
	runlog.Run
	Word, Sign, Tone string
	When, Took       string
	What             string // kind of run
	Coverage         string
}

func (p *Page) showJob(r *http.Request) (answer, error) {
	name, now := r.FormValue("name"), p.now()
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	runs := p.runs(name, historyRuns)
	v := jobView{
		condition: conditionOf(&s, first(runs)), Status: s, Schedule: scheduled(&s), Said: said[r.FormValue("did")], Answers: answers(&s, runs, now), Does: doesOf(c, &s),
		Buttons: buttons(&s), Live: liveOf(s.Live, now), Plots: append(lately(p.samples.of(name), s.Follows, now), history(runs, now)...),
	}
	for i := range runs {
		v.Runs = append(v.Runs, lineOf(&runs[i], now))
	}
	if len(v.Runs) > 0 && s.Reason == "" && s.Live == nil && !good(runs[0].Outcome) {
		v.Last = &v.Runs[0]
	}
	return answer{view: "job", title: "Job " + name, job: name, tab: "job", data: v}, nil
}

// answers are to the questions that people ask.
func answers(s *host.Status, runs []runlog.Run, now time.Time) []answerLine {
	return []answerLine{complete(s, runs, now), late(s, runs, now), comes(s, now)}
}

// complete answers whether the index is complete.
func complete(s *host.Status, runs []runlog.Run, now time.Time) answerLine {
	a := answerLine{Question: "Is the index complete?", Tone: "calm"}
	_, r, ok := coverage(runs)
	if !ok {
		a.Answer = "Not known: no look at all documents has come to its end yet"
		if len(runs) > 0 {
			a.Answer = fmt.Sprintf("Not known: none of the last %s looked at all documents and came to its end", plural(int64(len(runs)), "run", "runs"))
		}
		return a
	}
	all, at := r.Total.Scanned-r.Total.Gone, clock(r.Started, now)
	switch r.Outcome {
	case tally.Failures:
		a.Tone = "odd"
		a.Answer = fmt.Sprintf("No: as of %s UTC, %s of %s could not be sent", at, report.Number(r.Total.Failed()+r.Deleted.Failed()), documents(all))
	case tally.NotArrived:
		a.Tone = "odd"
		a.Answer = fmt.Sprintf("Not known: as of %s UTC all was sent, but the index did not show all of it in time", at)
	case tally.Complete:
		if r.Total.Unasked > 0 {
			a.Answer = fmt.Sprintf("All was sent as of %s UTC, %s; the index was not asked", at, documents(all))
			break
		}
		a.Tone = "good"
		a.Answer = fmt.Sprintf("Yes, as of %s UTC: %s looked at", at, documents(all))
		switch sent := r.Total.Acked; {
		case sent > 0:
			a.Answer += fmt.Sprintf(", %s missing or of another version and sent", report.Number(sent))
		case all > 0:
			a.Answer += ", all there"
		}
	}
	if n := r.Total.Young + r.Total.Unindexed; n > 0 {
		a.More = append(a.More, documents(n)+" left alone: changed just now, or sent often enough without ever appearing")
	}
	if r.Orphans > r.Deleted.Acked {
		a.More = append(a.More, plural(r.Orphans-r.Deleted.Acked, "point is", "points are")+" of documents that are gone; a run with run.orphans: prune removes them")
	}
	switch {
	case !s.Follows:
		a.More = append(a.More, "what was changed since is looked at by the next run")
	case s.Live != nil && s.Live.Phase == following:
		a.More = append(a.More, "what was changed since is followed")
	default:
		a.More = append(a.More, "what was changed since is followed when it goes on")
	}
	if n := api.FailedSince(s.Live, runs); s.Follows && n > 0 {
		if a.Tone == "good" {
			a.Answer, a.Tone = "No: "+plural(n, "change", "changes")+" since "+at+" UTC could not be sent. Then it was complete: "+strings.TrimPrefix(a.Answer, "Yes, as of "+at+" UTC: "), "odd"
		} else {
			a.Answer += ", and " + plural(n, "change", "changes") + " since could not be sent"
		}
		a.More = append(a.More, "the dead letters say why; to look at everything now sends what is mended")
	}
	return a
}

// late answers how far behind the index is.
func late(s *host.Status, runs []runlog.Run, now time.Time) answerLine {
	a := answerLine{Question: "How far behind is it?", Tone: "calm"}
	switch l := s.Live; {
	case l == nil && s.Follows:
		a.Answer, a.Tone = "Not known: changes are not followed now", "odd"
	case l == nil:
		a.Answer = "Not known between two runs: what changes meanwhile is found by the next one"
		if f := api.FreshnessOf(nil, runs); f.Behind != nil && *f.Behind > 0 {
			a.Answer, a.Tone = "The last look at all left "+documents(*f.Behind)+" behind", "odd"
			a.More = append(a.More, "what changed since is found by the next run")
		}
	default:
		f := api.FreshnessOf(l, runs)
		if a.Answer = behind(l, &f); l.Phase == following {
			a.Tone = "good"
		} else if a.Answer = under(l); behind(l, &f) != "" {
			a.Answer += ", " + behind(l, &f)
		}
		if l.Paused {
			a.More, a.Tone = append(a.More, "changes wait: all documents are looked at again, or a server is down"), "odd"
		}
		for _, c := range l.Collections {
			if c.OldestMissing != nil {
				a.More = append(a.More, fmt.Sprintf("%s: the oldest missing document was changed %s", c.Name, ago(*c.OldestMissing, now)))
			}
		}
		if l.Stalled {
			a.More, a.Tone = append(a.More, "nothing moves: a server does not answer, or a plugin hangs"), "bad"
		}
	}
	return a
}

// comes answers what happens next.
func comes(s *host.Status, now time.Time) answerLine {
	a := answerLine{Question: "What happens next?", Tone: "calm"}
	switch {
	case s.Wish.Desired == host.WantPaused || s.Wish.Desired == host.WantStopped:
		a.Answer = "Nothing, until somebody resumes it"
		if !s.Wish.At.IsZero() {
			a.More = append(a.More, fmt.Sprintf("%s %s by %s", s.Wish.Desired, ago(s.Wish.At, now), s.Wish.By))
		}
	case s.Next != nil && s.State == host.Retrying:
		a.Answer = "It tries again at " + next(s, now)
	case s.Next != nil:
		a.Answer = "The next run begins at " + next(s, now)
	case s.State == host.Invalid:
		a.Answer = "It runs as soon as its file can be used"
	case s.State == host.Removed:
		a.Answer = "Nothing, until its file is back"
	case s.State == host.Failed:
		a.Answer = "Nothing, until somebody starts it again or its file changes"
	case s.State == host.Done:
		a.Answer = "Nothing: it runs once, and has"
	case s.Follows:
		a.Answer = "It goes on following changes"
	case s.Live != nil:
		a.Answer = "The run under way comes to its end"
	default:
		a.Answer = "A run begins as soon as it is its turn"
	}
	return a
}

// doesOf is what a configuration has a job do.
func doesOf(c *config.Config, s *host.Status) *does {
	if c == nil {
		return nil
	}
	d := &does{
		From: placeOf(c.Source), Index: placeOf(c.Checker), To: placeOf(c.Sink), Schedule: scheduled(s), Full: c.Run.Mode == config.Full, Files: c.Files,
	}
	if n, ok := c.Source.Settings.(syncd.DatabaseNamer); ok {
		if d.From.Where != "" {
			d.From.Where += ", "
		}
		d.From.Where += fmt.Sprintf("database %q", n.DatabaseName())
	}
	route, _ := c.Sink.Settings.(syncd.Router)
	for _, r := range c.Mapping.Rules {
		one := collection{Name: r.Collection.Name, ContentType: r.ContentType}
		if route != nil {
			one.Topic = route.Route(r.Target())
		}
		d.Collections = append(d.Collections, one)
	}
	return d
}

func placeOf(p config.Plugin) place {
	if p.Settings == nil {
		return place{Label: "no index is asked"}
	}
	at := place{Label: p.Label()}
	if l, ok := p.Settings.(syncd.Locator); ok {
		at.Where = l.Location()
	}
	return at
}

// buttons are what can be done with a job as it stands.
func buttons(s *host.Status) []button {
	if s.State == host.Removed {
		return nil
	}
	pause, resume, stop := button{"pause", "Pause", false}, button{"resume", "Resume", false}, button{"stop", "Stop", true}
	switch s.Wish.Desired {
	case host.WantPaused:
		return []button{resume, stop}
	case host.WantStopped:
		return []button{resume}
	}
	out := []button{pause, stop}
	if s.State == host.Invalid {
		return out
	}
	switch {
	case s.Follows && s.Live != nil:
		out = append(out, button{"run", "Look at everything now", true}, button{"restart", "Restart", true})
	case s.Live != nil || s.State == host.Running || s.State == host.Ending:
		out = append(out, button{"restart", "Restart", true})
	default:
		out = append(out, button{"run", "Run now", true}, button{"fresh", "Run from the beginning", true})
	}
	return out
}

// liveOf is the run under way.
func liveOf(l *runlog.Live, now time.Time) *liveView {
	if l == nil {
		return nil
	}
	v := &liveView{Live: l, Progress: progressOf(l)}
	for _, c := range l.Collections {
		one := liveCollection{Collection: c, State: "waits"}
		switch {
		case c.Done:
			one.State = "done"
		case c.Started:
			one.State = "reading"
		}
		if c.Expected != nil && *c.Expected > 0 {
			one.Progress = &progress{Share: share(c.Counts.Scanned, *c.Expected), Text: report.Number(c.Counts.Scanned) + " of " + report.Number(*c.Expected)}
		}
		if c.OldestMissing != nil {
			one.OldestMissing = ago(*c.OldestMissing, now)
		}
		v.Collections = append(v.Collections, one)
	}
	for _, stream := range l.Streams {
		one := liveStream{Stream: stream, State: "busy", Lag: "not known", Silent: span(toSpan(stream.Silent))}
		if stream.Idle {
			one.State = "nothing left to handle"
		}
		if stream.Lag != nil {
			one.Lag = span(toSpan(*stream.Lag))
		}
		v.Streams = append(v.Streams, one)
	}
	if l.Window != nil {
		v.Window = span(toSpan(*l.Window))
	}
	if l.Cluster != nil {
		v.Shared = sharedOf(l.Cluster, now)
	}
	return v
}

// sharedOf is how the processes stand that share a job.
func sharedOf(c *runlog.Cluster, now time.Time) *sharedView {
	v := &sharedView{Cluster: c, Tone: "calm"}
	v.Summary = plural(int64(len(c.Processes)), "process shares", "processes share") + " the work"
	if c.Leads() == nil {
		v.Summary, v.Tone = v.Summary+"; nobody is known to lead", "odd"
	}
	if c.Unowned > 0 {
		v.Summary, v.Tone = v.Summary+fmt.Sprintf("; %d of %s have no owner", c.Unowned, plural(int64(c.Lanes), "lane", "lanes")), "odd"
	}
	v.Summary += "; lanes went to another process " + plural(int64(c.Moves), "time", "times")
	for i := range c.Processes {
		p := liveProcess{Process: c.Processes[i], Role: "works", Gained: "-"}
		if p.Name == c.Leader {
			p.Role = "leads, works"
		}
		if p.Name == c.Process {
			p.Role += ", shows this page"
		}
		p.Share = fmt.Sprintf("%d of %d", len(p.Lanes), c.Lanes)
		if p.Since != nil {
			p.Gained = ago(*p.Since, now)
		}
		v.Processes = append(v.Processes, p)
	}
	return v
}

func toSpan(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// Sent is how many events were confirmed.
func (c liveCollection) Sent() int64 { return c.Counts.Acked }

// Lacking is how many documents the index lacks, in part or in this version.
func (c liveCollection) Lacking() int64 {
	return c.Counts.Missing + c.Counts.Stale + c.Counts.Partial + c.Counts.Unasked
}

func lineOf(r *runlog.Run, now time.Time) runLine {
	o := outcomes[r.Outcome]
	if o.Word == "" {
		o.Word, o.Sign, o.Tone = string(r.Outcome), "•", "calm"
	}
	l := runLine{Run: *r, Word: o.Word, Sign: o.Sign, Tone: o.Tone, When: clock(r.Started, now), Took: span(r.Ended.Sub(r.Started)), Coverage: "-"}
	switch {
	case r.Planned:
		l.What = "of a plan"
	case len(r.Collections) > 0:
		l.What = "of some collections"
	case !r.Looked():
		l.What = "following"
	default:
		l.What = r.Mode
	}
	if r.Resumed {
		l.What += ", resumed"
	}
	if share, _, ok := coverage([]runlog.Run{*r}); ok && r.Total.Scanned > 0 {
		l.Coverage = report.Percent(share)
	}
	return l
}

// Changes is how many changes were handled.
func (r runLine) Changes() int64 {
	if r.Followed == nil {
		return 0
	}
	return r.Followed.Scanned
}

// Sent is how many events were confirmed.
func (r runLine) Sent() int64 {
	n := r.Total.Acked + r.Deleted.Acked
	if r.Followed != nil {
		n += r.Followed.Acked
	}
	return n
}

// Lacked is how many documents the index lacked.
func (r runLine) Lacked() int64 { return r.Total.Missing + r.Total.Stale + r.Total.Partial }

// FailedDocuments is how many could not be handled.
func (r runLine) FailedDocuments() int64 {
	n := r.Total.Failed() + r.Deleted.Failed()
	if r.Followed != nil {
		n += r.Followed.Failed()
	}
	return n
}
