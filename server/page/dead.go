package page

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/tally"
)

const (
	shownLetters = 200              // documents that the page lists
	mostLetters  = 100_000          // documents that are sent again at once
	readWithin   = 25 * time.Second // before the answer is late
)

// deadView is what became of a job's documents that could not be sent.
type deadView struct {
	Name    string
	Now     time.Time
	Where   *place
	Topics  []string
	Failed  int64 // documents that failed, in the runs that are kept and the one under way
	Kept    int64 // of them, those that the dead letters took
	Read    int64 // letters
	Letters []letter
	Problem *problem
}

// letter is the last dead letter of a document.
type letter struct {
	job.DeadLetter
	Shown, When, Document string
}

// dead is the page of a job's dead letters.
func (p *Page) dead(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	v, runs := deadView{Name: name, Now: p.now()}, p.runs(name, historyRuns)
	count := func(c tally.Counts) {
		v.Failed += c.Failed()
		v.Kept += c.DeadLettered
	}
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	var followed *tally.Counts // since the streams began: the newest counts hold those before
	if l := s.Live; l != nil {
		if !slices.ContainsFunc(runs, func(r runlog.Run) bool { return r.RunID == l.RunID && r.Looked() }) { // a look that is recorded is in it
			count(l.Counts)
			count(l.Deleted)
		}
		for i := range l.Streams {
			if followed == nil {
				followed = &tally.Counts{}
			}
			followed.Add(l.Streams[i].Counts)
		}
	}
	for i := range runs {
		r := &runs[i]
		count(r.Total)
		count(r.Deleted)
		if followed == nil {
			followed = r.Followed
		}
	}
	if followed != nil {
		count(*followed)
	}
	if c != nil && c.DeadLetter.Settings != nil {
		where := placeOf(c.DeadLetter)
		v.Where, v.Topics = &where, topics(c, c.DeadLetter)
		if r.Header.Get("Sec-Fetch-Site") != "cross-site" { // to read them asks a server
			found, err := p.letters(r.Context(), c, shownLetters)
			if err != nil {
				v.Problem = problemOf(err)
			}
			v.Read = found.Read
			for _, l := range found.Letters {
				v.Letters = append(v.Letters, letterOf(l, v.Now))
			}
		}
	}
	return answer{view: "dead", title: "Dead letters", job: name, tab: "dead", data: v}, nil
}

func letterOf(l job.DeadLetter, now time.Time) letter {
	out := letter{DeadLetter: l, Shown: text.ID(l.ID, l.ID == ""), When: "-", Document: text.Cut(string(l.Value))}
	if !l.At.IsZero() {
		out.When = clock(l.At, now)
	}
	return out
}

// topics are where a sink of a configuration sends the events of the collections, or only of those that letters are of.
func topics(c *config.Config, sink config.Plugin, letters ...job.DeadLetter) (out []string) {
	route, ok := sink.Settings.(syncd.Router)
	if !ok {
		return nil
	}
	for _, rule := range c.Mapping.Rules {
		if len(letters) > 0 && !slices.ContainsFunc(letters, func(l job.DeadLetter) bool { return l.Collection == rule.Collection.Name }) {
			continue
		}
		if topic := route.Route(rule.Target()); topic != "" && !slices.Contains(out, topic) {
			out = append(out, topic)
		}
	}
	return out
}

// letters reads dead letters, of one job at a time.
func (p *Page) letters(ctx context.Context, c *config.Config, most int) (found job.DeadLetters, err error) {
	err = p.looking(ctx, c, func(ctx context.Context, j *job.Job) (err error) {
		found, err = j.DeadLetters(ctx, most)
		return err
	})
	return found, err
}

// looking has a job look at something beside its runs: one at a time, for a while at most, and so that a plugin's panic is an error.
func (p *Page) looking(ctx context.Context, c *config.Config, f func(context.Context, *job.Job) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return &problem{http.StatusTooManyRequests, "Others look at dead letters", "try again in a moment"}
	}
	err = panics.Caught(func() error { return f(ctx, p.o.Job(c, p.o.Logger.With("job", c.Name))) })()
	if e, ok := errors.AsType[*panics.Error](err); ok {
		p.o.Logger.Error("reading dead letters has panicked", "job", c.Name, "panic", fmt.Sprint(e.Value), "stack", string(e.Stack))
	}
	return err
}

// againView asks before dead letters are sent again, or says what became of that.
type againView struct {
	Name, Place string
	Documents   int
	Where       string
	Topics      []string
	Sent        int
	Left        []leftOut // that can't be
}

type leftOut struct{ Collection, ID, Why string }

// chosen are the dead letters that a request names: one by its place, or all.
func (p *Page) chosen(r *http.Request) (*config.Config, []job.DeadLetter, error) {
	c, err := p.o.Host.Config(r.URL.Query().Get("name"))
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		return nil, nil, &problem{http.StatusConflict, "The job's file can't be used", "mend it first"}
	}
	found, err := p.letters(r.Context(), c, mostLetters)
	if err != nil {
		return nil, nil, err
	}
	if at := r.URL.Query().Get("place"); at != "" {
		found.Letters = slices.DeleteFunc(found.Letters, func(l job.DeadLetter) bool { return l.Place != at })
	}
	if len(found.Letters) == 0 {
		return nil, nil, &problem{http.StatusNotFound, "There is no such dead letter", "look at the list again"}
	}
	return c, found.Letters, nil
}

// again is the page that asks whether dead letters are to be sent again.
func (p *Page) again(r *http.Request) (answer, error) {
	name := r.URL.Query().Get("name")
	c, letters, err := p.chosen(r)
	if err != nil {
		return answer{}, err
	}
	to := placeOf(c.Sink)
	v := againView{Name: name, Place: r.URL.Query().Get("place"), Documents: len(letters), Where: to.Label, Topics: topics(c, c.Sink, letters...)}
	if to.Where != "" {
		v.Where += " at " + to.Where
	}
	return answer{view: "again", title: "Send dead letters again?", job: name, tab: "dead", data: v}, nil
}

// sentAgain sends dead letters again: a plan is made of them, and a run is asked for that sends it.
func (p *Page) sentAgain(r *http.Request) (answer, error) {
	if err := p.operates(r); err != nil {
		return answer{}, err
	}
	name := r.URL.Query().Get("name")
	c, letters, err := p.chosen(r)
	if err != nil {
		return answer{}, err
	}
	v := againView{Name: name}
	var plan *planfile.Plan
	err = p.looking(r.Context(), c, func(ctx context.Context, j *job.Job) error {
		var left []job.Unsendable
		if plan, v.Sent, left, err = j.PlanDeadLetters(ctx, letters); err != nil {
			return err
		}
		for _, l := range left {
			v.Left = append(v.Left, leftOut{cmp.Or(l.Collection, l.ContentType), cmp.Or(l.ID, l.Place), l.Why})
		}
		return nil
	})
	if err == nil && v.Sent > 0 {
		err = p.o.Host.Trigger(name, host.Trigger{Plan: plan}, p.o.By(r))
	}
	switch {
	case err != nil:
		return answer{}, err
	case len(v.Left) == 0:
		return answer{to: link("job", name, "did", "again")}, nil
	}
	return answer{view: "again", title: "Dead letters that can't be sent", job: name, tab: "dead", data: v}, nil
}
