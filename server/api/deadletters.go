package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/report"
)

// DeadLetters are the documents of a job that could not be sent.
type DeadLetters struct {
	Letters []report.DeadLetter `json:"letters" doc:"The last letter of each document, the newest first."`
	Found   int                 `json:"found" doc:"How many there are."`
}

// RetryRequest chooses dead letters.
type RetryRequest struct {
	All    bool     `json:"all,omitempty" doc:"Send all again."`
	IDs    []string `json:"ids,omitempty" doc:"Send the documents with these ids again."`
	Places []string `json:"places,omitempty" doc:"Send the documents of the letters at these places again."`
}

// Retried is what became of dead letters that are to be sent again.
type Retried struct {
	Documents int       `json:"documents" doc:"Documents that the run looks at; it sends what the index still lacks."`
	Left      []LeftOut `json:"left" doc:"Documents that can't be sent again."`
}

// LeftOut is a document that can't be sent again.
type LeftOut struct {
	Collection string `json:"collection,omitempty" doc:"Its collection, where that is known."`
	ID         string `json:"id" doc:"Its id, or where its letter stands."`
	Why        string `json:"why" doc:"Why it can't be."`
}

const (
	lettersWithin = 25 * time.Second // before the answer is late
	mostLetters   = 100_000
)

// aside has a job look at something beside its runs, for a while at most, and few at once.
func (a *API) aside(r *http.Request, f func(ctx context.Context, c *config.Config, j *job.Job) error) error {
	c, err := a.usable(r.PathValue("name"))
	if err != nil {
		return err
	}
	select {
	case a.works.explains <- struct{}{}:
		defer func() { <-a.works.explains }()
	default:
		return tooMany("questions are asked")
	}
	ctx, cancel := context.WithTimeout(r.Context(), lettersWithin)
	defer cancel()
	stop := context.AfterFunc(a.ctx, cancel)
	defer stop()
	return a.guarded(c.Name, func() error { return f(ctx, c, a.o.Job(c, a.o.Logger.With("job", c.Name))) })
}

func (a *API) listDeadLetters(_ http.ResponseWriter, r *http.Request) (any, error) {
	q := r.URL.Query()
	limit := 50
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, badRequest("limit is a number from 1 to 1000", "")
		}
		limit = n
	}
	out := DeadLetters{Letters: []report.DeadLetter{}}
	err := a.aside(r, func(ctx context.Context, _ *config.Config, j *job.Job) error {
		all, err := j.DeadLetters(ctx, mostLetters)
		for _, l := range all.Letters {
			if id := q.Get("id"); q.Has("id") && l.ID != id && l.Place != id || q.Get("collection") != "" && l.Collection != q.Get("collection") ||
				!strings.Contains(l.Reason, q.Get("reason")) {
				continue
			}
			if out.Found++; len(out.Letters) < limit {
				out.Letters = append(out.Letters, report.NewDeadLetter(l, q.Has("id")))
			}
		}
		return err
	})
	return &out, err
}

func (a *API) retryDeadLetters(w http.ResponseWriter, r *http.Request) (any, error) {
	var q RetryRequest
	if err := read(w, r, &q); err != nil {
		return nil, err
	}
	if q.All == (len(q.IDs)+len(q.Places) > 0) {
		return nil, badRequest("which dead letters? name ids or places, or say all", "GET the dead letters to see them")
	}
	out := Retried{Left: []LeftOut{}}
	var plan *planfile.Plan
	err := a.aside(r, func(ctx context.Context, _ *config.Config, j *job.Job) error {
		all, err := j.DeadLetters(ctx, mostLetters)
		if err != nil {
			return err
		}
		letters := slices.DeleteFunc(all.Letters, func(l job.DeadLetter) bool {
			return !q.All && !slices.Contains(q.IDs, l.ID) && !slices.Contains(q.Places, l.Place)
		})
		if len(letters) == 0 {
			return &Error{Status: http.StatusNotFound, Code: "not_found", Text: "there are no such dead letters", Hint: "GET the dead letters to see them"}
		}
		var left []job.Unsendable
		if plan, out.Documents, left, err = j.PlanDeadLetters(ctx, letters); err != nil {
			return err
		}
		for _, l := range left {
			out.Left = append(out.Left, LeftOut{cmp.Or(l.Collection, l.ContentType), cmp.Or(l.ID, l.Place), l.Why})
		}
		return nil
	})
	if err == nil && out.Documents > 0 {
		err = a.o.Host.Trigger(r.PathValue("name"), host.Trigger{Plan: plan}, a.o.By(r))
	}
	return &out, err
}
