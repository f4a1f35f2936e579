package job

import (
	"context"
	"errors"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/wait"
)

// Explained is all that is known of one document, and where its event would go.
type Explained struct {
	audit.Explanation
	Topic string   // empty where the sink has none
	In    []string // of a document that is nowhere: other collections with a document of that id, the first that have one
	// Fate is what becomes of a document that the sink does not take; empty if it takes it.
	Fate string
}

// mostAsked is how many collections are asked for a document that is nowhere.
const mostAsked = 100

// Settled reports whether the index holds the document as it should, and no other document has its point.
func (e *Explained) Settled() bool { return e.Verdict == syncd.Present && len(e.Same) <= 1 }

// fate is what becomes of a document that the sink refuses.
func (j *Job) fate(refused error) string {
	c := &j.Config.Errors
	switch {
	case refused == nil:
		return ""
	case errors.Is(refused, syncd.ErrTooLarge) && c.Oversize == config.OversizeReference:
		return "it is sent without its document (errors.oversize: reference_only)"
	case errors.Is(refused, syncd.ErrTooLarge) && c.Oversize == config.OversizeFail:
		return "the run stops there (errors.oversize: fail)"
	case c.Tolerance == config.TolerateNone:
		return "the run stops there (errors.tolerance: none)"
	case j.Config.DeadLetter.Settings != nil:
		return "the document goes to the dead letters"
	}
	return "the document is counted as one that could not be sent; errors.dead_letter would keep it"
}

// Explain follows one document of a collection from the text of its id to what a run would do with it; it sends nothing. The
// configuration must ask the index: see Asking.
func (j *Job) Explain(ctx context.Context, collection, id string) (e Explained, err error) {
	if err := j.needsDocuments(); err != nil {
		return e, err
	}
	selected, err := j.Config.Mapping.Select([]string{collection})
	if err != nil {
		return e, &UsageError{err}
	}
	var preview audit.Preview
	if p := j.Config.Previewer(); p != nil {
		preview = p.Preview
	}
	err = j.With(ctx, false, func(ctx context.Context, p *Plugins) (err error) {
		ctx, stop := wait.Drained(ctx, j.Drain)
		defer stop()
		if e.Explanation, err = audit.Explain(ctx, p.Source, p.Checker, selected.Rules[0], preview, id); err != nil {
			return err
		}
		if r, ok := j.Config.Sink.Settings.(syncd.Router); ok {
			e.Topic = r.Route(e.Rule.Target())
		}
		e.Fate = j.fate(e.Refused)
		if e.Nowhere() {
			e.In, err = audit.HaveID(ctx, p.Source, j.Config.Mapping.Rules, id, mostAsked)
		}
		return err
	})
	return e, err
}
