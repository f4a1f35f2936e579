package job

import (
	"context"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/wait"
)

// Explained is all that is known of one document, and where its event would go.
type Explained struct {
	audit.Explanation
	Topic string // empty where the sink has none
}

// Settled reports whether the index holds the document as it should, and no other document has its point.
func (e *Explained) Settled() bool { return e.Verdict == syncd.Present && len(e.Same) <= 1 }

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
		return nil
	})
	return e, err
}
