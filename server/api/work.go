package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

const (
	worksAtOnce   = 2              // comparisons of all jobs together; each reads as much as a run
	worksWaiting  = 16             // that have not ended
	worksKept     = 50             // with those that have ended
	worksKeptFor  = 24 * time.Hour // behind their end
	differences   = 100            // that an answer names
	defaultMinAge = 10 * time.Second
)

// The kinds of work.
const (
	kindPlan   = "plan"
	kindVerify = "verify"
)

// Work is a comparison beside the runs of a job.
type Work struct {
	ID       string        `json:"id" doc:"Names the work from now on."`
	Kind     string        `json:"kind" doc:"plan or verify."`
	Job      string        `json:"job" doc:"The job's name."`
	By       string        `json:"by" doc:"Who asked for it."`
	State    string        `json:"state" doc:"waiting (for others to end), running, done or failed."`
	Created  time.Time     `json:"created" doc:"When it was asked for."`
	Started  *time.Time    `json:"started,omitempty" doc:"When it began."`
	Ended    *time.Time    `json:"ended,omitempty" doc:"When it ended."`
	Outcome  tally.Outcome `json:"outcome,omitempty" doc:"How it ended, in the words of runs: a verification that found differences is stopped."`
	Error    string        `json:"error,omitempty" doc:"Why it did not end well; a verification that found differences says so."`
	Hint     string        `json:"hint,omitempty" doc:"What to do about it."`
	Progress *runlog.Live  `json:"progress,omitempty" doc:"How far it is."`
	Plan     *report.Plan  `json:"plan,omitempty" doc:"What a run would send."`
	Verify   *report.Audit `json:"verify,omitempty" doc:"How the index differs."`
}

// Works are those that are kept.
type Works struct {
	Works []Work `json:"works" doc:"The newest first."`
}

// The states of work.
const (
	stateWaiting = "waiting"
	stateRunning = "running"
	stateDone    = "done"
	stateFailed  = "failed"
)

// works are all comparisons.
type works struct {
	turns    chan struct{} // holds one for each that runs
	explains chan struct{} // holds one for each document that is explained

	mu      sync.Mutex
	all     []*work       // the oldest first
	dir     string        // where plans are kept; empty before the first
	changed chan struct{} // closed when one has begun, ended or gone
}

// work is one comparison. All but id, monitor and cancel is under the lock of works.
type work struct {
	Work
	monitor     *job.Monitor
	cancel      context.CancelFunc
	file        string // of a plan
	fingerprint string // of the mapping that it was made with
	dropped     bool
}

func (s *works) init() {
	s.turns, s.explains, s.changed = make(chan struct{}, worksAtOnce), make(chan struct{}, explainsAtOnce), make(chan struct{})
}

func (s *works) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// tell says that something has changed. The lock is held.
func (s *works) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func tooMany(what string) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: "too_many", Text: "too many " + what + " at once", Hint: "ask again when some have ended"}
}

// PlanRequest says what a plan looks at.
type PlanRequest struct {
	Sample float64 `json:"sample,omitempty" doc:"Look only at this share of the documents, above 0 and below 1, and estimate the rest; 0 looks at all."`
}

// VerifyRequest says how a verification looks.
type VerifyRequest struct {
	MinAge *float64 `json:"min_age_seconds,omitempty" doc:"Look again at differences younger than this before they count; 0 counts all at once. 10 if it is left out."`
}

// usable is the configuration that a job runs with.
func (a *API) usable(name string) (*config.Config, error) {
	c, err := a.o.Host.Config(name)
	if err == nil && c == nil {
		err = syncd.Hint(fmt.Errorf("%w: the file of %s can't be used", host.ErrConflict, name), "look at its status")
	}
	return c, err
}

// asking is usable, and has the index asked whatever a run does.
func (a *API) asking(name string) (*config.Config, error) {
	c, err := a.usable(name)
	if err != nil {
		return nil, err
	}
	return job.Asking(c)
}

func (a *API) startPlan(w http.ResponseWriter, r *http.Request) (any, error) {
	var q PlanRequest
	if err := read(w, r, &q); err != nil {
		return nil, err
	}
	if !(q.Sample >= 0 && q.Sample < 1) {
		return nil, badRequest("sample is not a share above 0 and below 1", "")
	}
	c, err := a.usable(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if c.Run.Mode == config.Full {
		return nil, conflict(syncd.Hint(errors.New("a plan asks the index, which mode full does not"), "a verification asks it all the same"))
	}
	return a.begin(kindPlan, c, a.o.By(r), func(ctx context.Context, w *work, j *job.Job) error {
		first := report.Differences{Most: differences}
		res, err := j.Plan(ctx, job.PlanRequest{Output: w.file, Sample: q.Sample, Monitor: w.monitor, Item: first.Add})
		if err == nil || job.OutcomeOf(err).Finished() {
			plan := report.NewPlan(res, q.Sample)
			plan.Name(first)
			a.works.mu.Lock()
			w.Plan = &plan
			a.works.mu.Unlock()
		}
		return err
	})
}

func (a *API) startVerify(w http.ResponseWriter, r *http.Request) (any, error) {
	var q VerifyRequest
	if err := read(w, r, &q); err != nil {
		return nil, err
	}
	age := defaultMinAge
	if q.MinAge != nil {
		if !(*q.MinAge >= 0 && *q.MinAge <= 24*3600) {
			return nil, badRequest("min_age_seconds is not a number from 0 to 86400", "")
		}
		age = time.Duration(*q.MinAge * float64(time.Second))
	}
	c, err := a.asking(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return a.begin(kindVerify, c, a.o.By(r), func(ctx context.Context, w *work, j *job.Job) error {
		found, err := j.Verify(ctx, job.VerifyRequest{MinAge: age, Monitor: w.monitor})
		if found.Concluded {
			audit := report.NewAudit(found, differences)
			a.works.mu.Lock()
			w.Verify = &audit
			a.works.mu.Unlock()
		}
		return err
	})
}

// begin has f run in the background, when its turn comes.
func (a *API) begin(kind string, c *config.Config, by string, f func(context.Context, *work, *job.Job) error) (any, error) {
	ctx, cancel := context.WithCancel(a.ctx)
	now := time.Now().UTC()
	w := &work{
		Work:    Work{ID: uuid.NewString(), Kind: kind, Job: c.Name, By: by, State: stateWaiting, Created: now},
		monitor: &job.Monitor{}, cancel: cancel, fingerprint: c.Mapping.Fingerprint(),
	}
	s := &a.works
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := a.room(now, w); err != nil {
		cancel()
		return nil, err
	}
	s.all = append(s.all, w)
	s.tell()
	a.under.Go(func() {
		defer cancel()
		select {
		case s.turns <- struct{}{}:
			defer func() { <-s.turns }()
		case <-ctx.Done():
		}
		a.execute(ctx, w, c, f)
	})
	shown := w.shown()
	return &shown, nil
}

// room makes room for one more, and for its plan. The lock is held.
func (a *API) room(now time.Time, w *work) error {
	s := &a.works
	if a.ctx.Err() != nil {
		return &Error{Status: http.StatusServiceUnavailable, Code: "ending", Text: "the service is about to end"}
	}
	s.tidy(now)
	waiting := 0
	for _, other := range s.all {
		if other.Ended == nil {
			waiting++
		}
	}
	if waiting >= worksWaiting {
		return tooMany("comparisons are under way")
	}
	if len(s.all) >= worksKept {
		s.drop(slices.IndexFunc(s.all, func(other *work) bool { return other.Ended != nil }))
	}
	if w.Kind != kindPlan {
		return nil
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "syncd-plans-*")
		if err != nil {
			return fmt.Errorf("making a folder for plans: %w", err)
		}
		s.dir = dir
	}
	w.file = filepath.Join(s.dir, w.ID+".ndjson")
	return nil
}

// tidy drops what ended long ago. The lock is held.
func (s *works) tidy(now time.Time) {
	for i := len(s.all) - 1; i >= 0; i-- {
		if ended := s.all[i].Ended; ended != nil && now.Sub(*ended) > worksKeptFor {
			s.drop(i)
		}
	}
}

// drop ends a work and forgets it. A plan that is being sent is open, and so outlives its file. The lock is held.
func (s *works) drop(i int) {
	w := s.all[i]
	w.dropped = true
	w.cancel()
	s.all = slices.Delete(s.all, i, i+1)
	if w.Ended != nil && w.file != "" {
		_ = os.Remove(w.file) // the folder goes at the end
	}
	s.tell()
}

// remove forgets all plans.
func (s *works) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // it is a temporary one
	}
}

// execute does a work, and keeps what became of it.
func (a *API) execute(ctx context.Context, w *work, c *config.Config, f func(context.Context, *work, *job.Job) error) {
	s := &a.works
	logger := a.o.Logger.With("job", w.Job, w.Kind, w.ID)
	err := ctx.Err()
	if err == nil {
		s.mu.Lock()
		now := time.Now().UTC()
		w.State, w.Started = stateRunning, &now
		s.tell()
		s.mu.Unlock()
		logger.Info("a comparison begins", "by", w.By)
		err = a.guarded(w.Job, func() error { return f(ctx, w, a.o.Job(c, logger)) })
	}
	outcome := job.OutcomeOf(err)
	if ctx.Err() != nil && err != nil {
		outcome = tally.Interrupted
	}
	logger.Info("a comparison has ended", "outcome", string(outcome))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	w.Ended, w.Outcome, w.State = &now, outcome, stateFailed
	if w.Plan != nil || w.Verify != nil {
		w.State = stateDone
	}
	if err != nil {
		w.Error, w.Hint = spec.ScrubURLs(err.Error()), spec.ScrubURLs(syncd.HintOf(err))
	}
	if w.dropped && w.file != "" {
		_ = os.Remove(w.file) // the folder goes at the end
	}
	s.tell()
}

// guarded runs f, which has plugins work, and makes an error of their panics.
func (a *API) guarded(name string, f func() error) (err error) {
	err = panics.Caught(f)()
	if p, ok := errors.AsType[*panics.Error](err); ok {
		a.o.Logger.Error("a question of a job has panicked", "job", name, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	}
	return err
}

// shown is how a work stands. The lock is held.
func (w *work) shown() Work {
	out := w.Work
	if w.State == stateRunning {
		if live, ok := w.monitor.Live(); ok {
			live.Job = w.Job
			out.Progress = &live
		}
	}
	return out
}

// list is how all works stand, the oldest first.
func (s *works) list() []Work {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Work, 0, len(s.all))
	for _, w := range s.all {
		all = append(all, w.shown())
	}
	return all
}

// find returns the place of a work. The lock is held.
func (s *works) find(kind, id string) (int, error) {
	i := slices.IndexFunc(s.all, func(w *work) bool { return w.Kind == kind && w.ID == id })
	if i < 0 {
		return i, &Error{Status: http.StatusNotFound, Code: "not_found", Text: "there is no such " + kind, Hint: "it may have been forgotten since: ask for another"}
	}
	return i, nil
}

type handler = func(http.ResponseWriter, *http.Request) (any, error)

func (a *API) listWorks(kind string) handler {
	return func(http.ResponseWriter, *http.Request) (any, error) {
		s := &a.works
		s.mu.Lock()
		s.tidy(time.Now())
		s.mu.Unlock()
		all := Works{Works: []Work{}}
		for _, w := range slices.Backward(s.list()) {
			if w.Kind == kind {
				all.Works = append(all.Works, w)
			}
		}
		return &all, nil
	}
}

func (a *API) showWork(kind string) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		s := &a.works
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tidy(time.Now())
		i, err := s.find(kind, r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		shown := s.all[i].shown()
		return &shown, nil
	}
}

func (a *API) dropWork(kind string) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		s := &a.works
		s.mu.Lock()
		defer s.mu.Unlock()
		i, err := s.find(kind, r.PathValue("id"))
		if err == nil {
			s.drop(i)
		}
		return nil, err
	}
}

// planOf is a plan to be sent by a job with that configuration. It is open, so that it is there until it was sent, whatever is
// forgotten meanwhile.
func (a *API) planOf(id, name string, c *config.Config) (*planfile.Plan, error) {
	s := &a.works
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(kindPlan, id)
	if err != nil {
		return nil, err
	}
	switch w := s.all[i]; {
	case w.Job != name:
		return nil, conflict(fmt.Errorf("the plan is one of the job %s", w.Job))
	case w.Plan == nil:
		return nil, conflict(syncd.Hint(errors.New("the plan is not done, or has failed"), "look at its state"))
	case c == nil || c.Mapping.Fingerprint() != w.fingerprint:
		return nil, conflict(syncd.Hint(errors.New("the job's mapping is another one than the plan was made with"), "ask for another plan"))
	default:
		plan, err := planfile.Held(w.file)
		if err != nil {
			return nil, fmt.Errorf("opening the plan: %w", err)
		}
		return plan, nil
	}
}
