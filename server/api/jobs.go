package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

// Jobs is how all jobs stand.
type Jobs struct {
	Jobs    []Job  `json:"jobs" doc:"The jobs, by name."`
	Problem string `json:"problem,omitempty" doc:"Why jobs may be missing: a folder that can't be read."`
}

// Job is how a job stands.
type Job struct {
	host.Status
	Freshness Freshness   `json:"freshness" doc:"How much the index is known to lack."`
	Last      *runlog.Run `json:"last,omitempty" doc:"The last run that ended."`
}

// Detail is how a job stands, and what became of its last runs.
type Detail struct {
	Job
	Runs []runlog.Run `json:"runs" doc:"The last runs, the newest first."`
}

// Runs are runs that ended.
type Runs struct {
	Runs []runlog.Run `json:"runs" doc:"The runs, the newest first."`
}

// Freshness says how much the index is known to lack.
type Freshness struct {
	CompleteAt    *time.Time `json:"complete_at" doc:"When the last complete look at all documents began; null if there was none. What was changed since may be missing."`
	CompleteRun   string     `json:"complete_run,omitempty" doc:"The id of that run."`
	Coverage      *float64   `json:"coverage" doc:"Which share of the documents the index had, or was sent, by the last look at all of them; null if it is not known."`
	Behind        *int64     `json:"behind" doc:"Documents and changes that the index is known to lack; null if it is not known."`
	OldestMissing *time.Time `json:"oldest_missing" doc:"When the document that is missing and that changed longest ago was changed; null if there is none, or if it is not known."`
	Lag           *float64   `json:"lag_seconds" doc:"How far the slowest stream that is followed is behind; null if none is followed or it is not known."`
}

// FreshnessOf tells from what is under way, which may be nil, and from the last runs, the newest first, what the index lacks.
func FreshnessOf(live *runlog.Live, runs []runlog.Run) (f Freshness) {
	var left int64 // by the last look at all documents
	failed := FailedSince(live, runs)
	for i := range runs {
		r := &runs[i]
		if f.CompleteAt == nil && r.Freshness != nil {
			f.CompleteAt, f.CompleteRun = r.Freshness, r.RunID
		}
		if whole := !r.Planned && len(r.Collections) == 0 && r.Outcome.Finished(); !whole {
			continue
		}
		if f.Behind == nil && r.Looked() {
			left = lacking(r.Total) + lacking(r.Deleted)
			behind := left + failed
			f.Behind = &behind
		}
		if covered := r.Total.Scanned - r.Total.Gone; f.Coverage == nil && covered > 0 {
			share := min(1, float64(r.Total.Present+r.Total.Overtaken+r.Total.Acked)/float64(covered))
			f.Coverage = &share
		}
	}
	if live == nil || live.Counts.Scanned == 0 && len(live.Streams) == 0 { // nothing is known yet but what was
		return f
	}
	behind := lacking(live.Counts) + lacking(live.Deleted) + failed
	if live.Counts.Scanned == 0 { // it only follows
		behind += left
	}
	for _, s := range live.Streams {
		behind += int64(s.Waiting)
		if s.Lag != nil && (f.Lag == nil || *s.Lag > *f.Lag) {
			f.Lag = s.Lag
		}
	}
	if behind > 0 || len(live.Streams) > 0 { // what was not looked at yet may be missing, too
		f.Behind = &behind
	}
	if behind > 0 {
		for _, c := range live.Collections {
			if at := c.OldestMissing; at != nil && (f.OldestMissing == nil || at.Before(*f.OldestMissing)) {
				f.OldestMissing = at
			}
		}
	}
	return f
}

// FailedSince is how many changes could not be sent since the last look at all documents began, which finds what became of those
// before. live may be nil; the newest run comes first.
func FailedSince(live *runlog.Live, runs []runlog.Run) int64 {
	var now, before int64 // since the streams began
	known := live != nil && len(live.Streams) > 0
	if known {
		for _, s := range live.Streams {
			now += s.Counts.Failed()
		}
	}
	for i := range runs {
		r := &runs[i]
		if r.Planned || len(r.Collections) > 0 || !r.Outcome.Finished() && r.Looked() {
			continue
		}
		var followed int64
		if r.Followed != nil {
			followed = r.Followed.Failed()
		}
		if r.Looked() {
			before = followed
			break
		}
		if !known {
			now, known = followed, true
		}
	}
	if !known {
		return 0
	}
	return max(0, now-before)
}

// lacking is how many documents had to be sent and were not confirmed.
func lacking(c tally.Counts) int64 {
	return max(0, c.ToSend()-c.Gone-c.Overtaken-c.WouldSend-c.Acked)
}

// past remembers what became of the last runs of jobs, which are asked for again and again.
type past struct {
	mu   sync.Mutex
	jobs map[string]*remembered
}

type remembered struct {
	stamp string
	runs  []runlog.Run // the last, the newest first
	whole []runlog.Run // of the last that looked at everything, and of the last that was complete, where they are older than these
}

// shownRuns is how many runs a job is told with.
const shownRuns = 20

// read returns the last runs of a job, and after them older ones that Freshness is told of.
func (p *past) read(dir, name string) (runs, whole []runlog.Run, err error) {
	stamp := runlog.Stamp(dir, name)
	p.mu.Lock()
	known := p.jobs[name]
	p.mu.Unlock()
	if known != nil && known.stamp == stamp {
		return known.runs, known.whole, nil
	}
	all, err := runlog.Read(dir, name, maxRuns)
	if err != nil {
		return nil, nil, err
	}
	known = &remembered{stamp: stamp, runs: append([]runlog.Run{}, all[:min(len(all), shownRuns)]...)}
	f := FreshnessOf(nil, known.runs)
	for _, r := range all[len(known.runs):] {
		if now := FreshnessOf(nil, []runlog.Run{r}); f.CompleteAt == nil && now.CompleteAt != nil || f.Behind == nil && now.Behind != nil {
			known.whole = append(known.whole, r)
			f = FreshnessOf(nil, slices.Concat(known.runs, known.whole))
		}
	}
	p.mu.Lock()
	p.jobs[name] = known
	p.mu.Unlock()
	return known.runs, known.whole, nil
}

// keep forgets all jobs but those that are told of.
func (p *past) keep(jobs []host.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) <= 2*len(jobs)+10 {
		return
	}
	there := map[string]bool{}
	for i := range jobs {
		there[jobs[i].Name] = true
	}
	for name := range p.jobs {
		if !there[name] {
			delete(p.jobs, name)
		}
	}
}

// job completes the status of a job. That its past can't be read is said in the log; the job is told without.
func (a *API) job(s host.Status) Detail {
	d := Detail{Job: Job{Status: s}, Runs: []runlog.Run{}}
	c, err := a.o.Host.Config(s.Name)
	if err != nil {
		return d // it is gone meanwhile
	}
	var whole []runlog.Run
	if dir := a.o.RunsDir(c); dir != "" {
		runs, older, err := a.past.read(dir, s.Name)
		if err != nil {
			a.o.Logger.Warn("the record of a job's runs can't be read", "job", s.Name, "error", err.Error())
		}
		d.Runs, whole = append(d.Runs, runs...), older
	}
	if len(d.Runs) > 0 {
		d.Last = &d.Runs[0]
	}
	d.Freshness = FreshnessOf(s.Live, slices.Concat(d.Runs, whole))
	return d
}

func (a *API) listJobs(http.ResponseWriter, *http.Request) (any, error) {
	statuses := a.o.Host.Jobs()
	a.past.keep(statuses)
	all := Jobs{Jobs: make([]Job, 0, len(statuses)), Problem: a.o.Host.Problem()}
	for _, s := range statuses {
		all.Jobs = append(all.Jobs, a.job(s).Job)
	}
	return &all, nil
}

func (a *API) showJob(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := a.o.Host.Job(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	d := a.job(s)
	return &d, nil
}

// The number of runs that are told where none is named, and at most.
const (
	defaultRuns = 50
	maxRuns     = 1000
)

func (a *API) listRuns(_ http.ResponseWriter, r *http.Request) (any, error) {
	c, err := a.o.Host.Config(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	most := defaultRuns
	if text := r.URL.Query().Get("limit"); text != "" {
		if most, err = strconv.Atoi(text); err != nil || most < 1 || most > maxRuns {
			return nil, badRequest("limit is not a number from 1 to 1000", "")
		}
	}
	answer := Runs{Runs: []runlog.Run{}}
	if dir := a.o.RunsDir(c); dir != "" {
		runs, err := runlog.Read(dir, r.PathValue("name"), most)
		if err != nil {
			return nil, err
		}
		answer.Runs = append(answer.Runs, runs...)
	}
	return &answer, nil
}

// Config is a configuration as it takes effect.
type Config struct {
	Config  map[string]any    `json:"config" doc:"Every setting that takes effect, defaults included, without secrets."`
	Origins map[string]string `json:"origins" doc:"Where each was set, by its path: a place in a file, an environment variable, or the default."`
}

// showConfig tells what the configuration amounts to, as its files are now.
func (a *API) showConfig(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := a.o.Host.Job(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	effective, diagnostics := a.o.Resolve(s.File)
	if effective == nil {
		e := &Error{Status: http.StatusConflict, Code: "conflict", Text: "the job's file can't be used"}
		if i := slices.IndexFunc(diagnostics, func(d spec.Diagnostic) bool { return d.Severity == spec.Error }); i >= 0 {
			e.Hint = diagnostics[i].String()
		}
		return nil, e
	}
	text, err := effective.JSON() // it is a Config
	return json.RawMessage(text), err
}
