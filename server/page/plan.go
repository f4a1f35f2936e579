package page

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/spec"
)

// planView is what a run would send.
type planView struct {
	Name     string
	Now      time.Time
	Plans    []api.Work // of this job, the newest first
	Shown    *api.Work
	Running  bool // it has not ended
	Full     bool // the job does not ask the index, so there is nothing to find out
	Progress *progress
	Apply    bool   // it can be sent
	Why      string // it can't
}

// shares are those of the documents that a plan may look at.
var shares = []struct{ Value, Label string }{{"0", "all documents"}, {"0.1", "a tenth of them, and estimate"}, {"0.01", "one in a hundred, and estimate"}}

// plans are those of a job, the newest first.
func (p *Page) plans(r *http.Request, name string) ([]api.Work, error) {
	var all api.Works
	if err := p.ask(r, http.MethodGet, []string{"plans"}, nil, nil, &all); err != nil {
		return nil, err
	}
	var own []api.Work
	for _, w := range all.Works {
		if w.Job == name {
			own = append(own, w)
		}
	}
	return own, nil
}

// plan is the page of a job's plans.
func (p *Page) plan(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	v := planView{Name: name, Now: p.now(), Full: c != nil && c.Run.Mode == config.Full}
	if v.Plans, err = p.plans(r, name); err != nil {
		return answer{}, err
	}
	for i := range v.Plans {
		if w := &v.Plans[i]; w.ID == r.FormValue("id") || r.FormValue("id") == "" && v.Shown == nil {
			v.Shown = w
		}
	}
	if w := v.Shown; w != nil {
		v.Running, v.Progress = w.Ended == nil, progressOf(w.Progress)
		switch {
		case w.Plan == nil:
		case s.Follows:
			v.Why = "The job follows changes: a plan is sent by a job whose runs end. To send what is lacking, have it look at everything now."
		case w.Plan.Total.Events == 0 && orphans(w.Plan) == 0:
			v.Why = "There is nothing to send."
		default:
			v.Apply = true
		}
	}
	return answer{view: "plan", title: "What would be sent?", job: name, tab: "plan", data: v}, nil
}

// orphans is how many documents are gone of which the index has points.
func orphans(plan *report.Plan) int64 {
	if plan.Total.Orphan == nil {
		return 0
	}
	return *plan.Total.Orphan
}

// Shares are the shares to choose from.
func (planView) Shares() any { return shares }

// planned starts a plan, or forgets one.
func (p *Page) planned(r *http.Request) (answer, error) {
	if err := p.operates(r); err != nil {
		return answer{}, err
	}
	name := r.URL.Query().Get("name")
	if id := r.PostFormValue("forget"); id != "" {
		if err := p.ask(r, http.MethodDelete, []string{"plans", id}, nil, nil, nil); err != nil {
			return answer{}, err
		}
		return answer{to: link("plan", name)}, nil
	}
	sample, err := strconv.ParseFloat(r.PostFormValue("sample"), 64)
	if err != nil {
		return answer{}, &problem{http.StatusBadRequest, "How many documents are to be looked at?", "choose one of the shares"}
	}
	var w api.Work
	if err := p.ask(r, http.MethodPost, []string{"jobs", name, "plan"}, nil, api.PlanRequest{Sample: sample}, &w); err != nil {
		return answer{}, err
	}
	return answer{to: link("plan", name, "id", w.ID)}, nil
}

// applyView asks before a plan is sent.
type applyView struct {
	Name, ID        string
	Events, Deletes int64
	Bytes           int64
	Sample          bool
	Where           string
	Topics          []topicCount
	Kept            int64 // orphans that are not deleted, since it is not known whose they are
	Made            string
}

type topicCount struct {
	Topic  string
	Events int64
}

// apply is the page that asks whether a plan is to be sent.
func (p *Page) apply(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	if c == nil {
		return answer{}, &problem{http.StatusConflict, "The job's file can't be used", "mend it, and make another plan"}
	}
	var w api.Work
	if err := p.ask(r, http.MethodGet, []string{"plans", r.FormValue("id")}, nil, nil, &w); err != nil {
		return answer{}, err
	}
	if w.Plan == nil || w.Job != name {
		return answer{}, &problem{http.StatusConflict, "The plan is not done, or has failed", "look at it again"}
	}
	v := applyOf(&w, c)
	v.Made = ago(w.Created, p.now())
	return answer{view: "apply", title: "Send what the plan says?", job: name, data: v}, nil
}

// applyOf is what sending a plan comes to.
func applyOf(w *api.Work, c *config.Config) applyView {
	v := applyView{Name: w.Job, ID: w.ID, Events: w.Plan.Total.Events, Bytes: w.Plan.Total.Bytes, Sample: w.Plan.Sample > 0}
	to := placeOf(c.Sink)
	if v.Where = to.Label; to.Where != "" {
		v.Where += " at " + to.Where
	}
	for _, o := range w.Plan.Orphans {
		if o.Owned {
			v.Deletes += o.Orphans
		} else {
			v.Kept += o.Orphans
		}
	}
	if v.Kept > 0 { // all are left out then
		v.Deletes, v.Kept = 0, v.Kept+v.Deletes
	}
	route, _ := c.Sink.Settings.(syncd.Router)
	for _, one := range w.Plan.Collections {
		for _, rule := range c.Mapping.Rules {
			if rule.Collection.Name != one.Name || route == nil || one.Events == 0 {
				continue
			}
			topic, known := route.Route(rule.Target()), false
			for i := range v.Topics {
				if known = known || v.Topics[i].Topic == topic; v.Topics[i].Topic == topic {
					v.Topics[i].Events += one.Events
				}
			}
			if !known {
				v.Topics = append(v.Topics, topicCount{topic, one.Events})
			}
		}
	}
	return v
}

// applied sends a plan.
func (p *Page) applied(r *http.Request) (answer, error) {
	if err := p.operates(r); err != nil {
		return answer{}, err
	}
	q := r.URL.Query()
	ask := api.RunRequest{Plan: q.Get("id"), WithoutDeletes: r.FormValue("deletes") != "send"} // as was shown
	if err := p.ask(r, http.MethodPost, []string{"jobs", q.Get("name"), "runs"}, nil, ask, nil); err != nil {
		return answer{}, err
	}
	return answer{to: link("job", q.Get("name"), "did", "plan")}, nil
}

// problemOf is an error as the page shows it.
func problemOf(err error) *problem {
	if e, ok := errors.AsType[*problem](err); ok {
		return e
	}
	return &problem{http.StatusInternalServerError, spec.ScrubURLs(err.Error()), spec.ScrubURLs(syncd.HintOf(err))}
}
