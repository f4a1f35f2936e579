package api

import (
	"context"
	"net/http"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
)

func (a *API) pause(_ http.ResponseWriter, r *http.Request) (any, error) {
	return a.want(r, host.WantPaused)
}

func (a *API) stop(_ http.ResponseWriter, r *http.Request) (any, error) {
	return a.want(r, host.WantStopped)
}

func (a *API) resume(_ http.ResponseWriter, r *http.Request) (any, error) {
	return a.want(r, host.WantRunning)
}

func (a *API) want(r *http.Request, w host.Desired) (any, error) {
	if err := a.o.Host.Want(r.PathValue("name"), w, a.o.By(r)); err != nil {
		return nil, err
	}
	return a.now(r)
}

func (a *API) restart(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := a.o.Host.Restart(r.PathValue("name"), a.o.By(r)); err != nil {
		return nil, err
	}
	return a.now(r)
}

// now is how the job of a request stands.
func (a *API) now(r *http.Request) (any, error) {
	s, err := a.o.Host.Job(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	d := a.job(s)
	return &d.Job, nil
}

// RunRequest says how a run begins.
type RunRequest struct {
	Fresh bool   `json:"fresh,omitempty" doc:"Begin anew, whatever is kept."`
	Plan  string `json:"plan,omitempty" doc:"The id of a plan of this job that is done: send what it says, its deletes among it, and nothing else."`

	WithoutDeletes bool `json:"without_deletes,omitempty" doc:"Leave the deletes of the plan out."`
}

func (a *API) startRun(w http.ResponseWriter, r *http.Request) (any, error) {
	var q RunRequest
	if err := read(w, r, &q); err != nil {
		return nil, err
	}
	t := host.Trigger{Fresh: q.Fresh}
	if q.Plan != "" {
		if q.Fresh {
			return nil, badRequest("a plan is sent as it is: fresh has no meaning beside it", "leave one of them out")
		}
		c, err := a.o.Host.Config(r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		if t.Plan, err = a.planOf(q.Plan, r.PathValue("name"), c); err != nil {
			return nil, err
		}
		t.Plan.WithoutDeletes = q.WithoutDeletes
	}
	if err := a.o.Host.Trigger(r.PathValue("name"), t, a.o.By(r)); err != nil {
		return nil, err
	}
	return a.now(r)
}

const (
	explainsAtOnce = 4
	explainWithin  = 25 * time.Second // before the answer is late
)

func (a *API) explain(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	collection, id := q.Get("collection"), q.Get("id")
	if !q.Has("collection") || !q.Has("id") {
		return nil, badRequest("which document? collection and id name it", "")
	}
	c, err := a.asking(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	select {
	case a.works.explains <- struct{}{}:
		defer func() { <-a.works.explains }()
	default:
		return nil, tooMany("documents are explained")
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainWithin)
	defer cancel()
	stop := context.AfterFunc(a.ctx, cancel)
	defer stop()
	var e job.Explained
	err = a.guarded(r.PathValue("name"), func() (err error) {
		e, err = a.o.Job(c, a.o.Logger.With("job", c.Name)).Explain(ctx, collection, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	explained := report.NewExplanation(e)
	return &explained, nil
}
