package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// ErrInterrupted says that the work was asked to end before it was done.
var ErrInterrupted = errors.New("interrupted")

// EndError is the error of a run, with how it ended.
type EndError struct {
	Outcome tally.Outcome
	Err     error // nil where there is nothing more to say
}

func (e *EndError) Error() string {
	if e.Err == nil {
		return string(e.Outcome)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *EndError) Unwrap() error { return e.Err }

// OutcomeOf says how a run, an audit or a plan that returned err ended. It is the only definition of that.
func OutcomeOf(err error) tally.Outcome {
	var ended *EndError
	var guard *tally.GuardError
	var coverage *tally.CoverageError
	var drift *audit.DriftError
	var versions *audit.VersionDriftError
	var lag *arrival.LagError
	switch {
	case err == nil:
		return tally.Complete
	case errors.As(err, &ended):
		return ended.Outcome
	case errors.Is(err, ErrInterrupted):
		return tally.Interrupted
	case errors.As(err, &guard), errors.As(err, &coverage), errors.As(err, &drift), errors.As(err, &versions), errors.As(err, &lag):
		return tally.Stopped
	}
	return tally.Failed
}

// end gives err an outcome.
func end(o tally.Outcome, err error) error { return &EndError{Outcome: o, Err: err} }

// endOf is how a run leaves its state. One that contradicts itself is not resumed, nor one whose sink lost what it had confirmed. asked says that the run was asked to end early:
// only then is the end of a context what it came to, which an error may also hold that tells of a plugin's own.
func endOf(err error, asked bool) store.End {
	var coverage *tally.CoverageError
	o := OutcomeOf(err)
	if asked && errors.Is(err, context.Canceled) { // what was cut off may not say so in another way
		o = tally.Interrupted
	}
	return store.End{
		Outcome:   o,
		Resumable: !o.Finished() && !errors.As(err, &coverage) && !errors.Is(err, store.ErrNotResumable) && !errors.Is(err, syncd.ErrLost),
	}
}

// conclude turns what became of a run into its error. whole says that every collection of the mapping was read, source and index
// are what people call them, waited how long the run waited for the index at most, and letters how to see its dead letters.
func conclude(r *Report, whole bool, source, index string, waited time.Duration, letters string, err error) error {
	switch {
	case err != nil:
		return explainEnd(err)
	case r.Interrupted:
		return ErrInterrupted
	case whole && r.NothingFound():
		return nothingFound(source)
	}
	if r.Arrivals != nil {
		if err := late(r.Arrivals, index, waited); err != nil {
			return err
		}
	}
	if n := r.Failed(); n > 0 {
		hint, kept := "mend the documents that are named and run it again; errors.dead_letter keeps such documents with their reasons", ""
		if dead := r.Total.DeadLettered + r.Deleted.DeadLettered; dead > 0 {
			hint, kept = "mend what the dead letters say"+letters, fmt.Sprintf(" (%d in the dead letters)", dead)
		}
		return end(tally.Failures, syncd.Hint(fmt.Errorf("%s could not be sent%s; all others were handled", plural(n, "document"), kept), "%s", hint))
	}
	if n := r.Total.Collisions; n > 0 {
		return end(tally.Failures, syncd.Hint(fmt.Errorf("%s of another document: the index can hold only one of them", share(n)), "%s", tellApart))
	}
	if s := r.Switch; s != nil && s.Refused {
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("%s was not switched to %s: %s", s.Name, s.Target, s.Why), "%s", s.Hint))
	}
	return nil
}

// conclude turns what became of a run of the job into its error.
func (j *Job) conclude(r *Report, waited time.Duration, err error) error {
	return conclude(r, j.whole(), j.sourceLabel(), j.indexLabel(), waited, j.lettersHint(r), err)
}

// lettersHint says where the dead letters of a run are, and how they are looked at and sent again.
func (j *Job) lettersHint(r *Report) string {
	file := ""
	if n := len(j.Config.Files); n > 0 {
		file = " -c " + j.Config.Files[n-1]
	}
	var places []string
	router, ok := j.Config.DeadLetter.Settings.(syncd.Router)
	for _, c := range slices.Concat(r.Collections, r.Deletes) {
		if !ok || c.DeadLettered == 0 {
			continue
		}
		if place := router.Route(c.Rule.Target()); !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	where := strings.Join(places[:min(mostPlaces, len(places))], ", ")
	if more := len(places) - mostPlaces; more > 0 {
		where += fmt.Sprintf(" and %d more", more)
	}
	if where != "" {
		where = ", in " + where
	}
	return fmt.Sprintf("%s: \"syncd deadletters list%s\" shows them; then run it again, or send them alone: \"syncd deadletters retry%s --all\"", where, file, file)
}

// mostPlaces is how many places of dead letters a hint names.
const mostPlaces = 3

// tellApart is what to do about documents with one point id.
const tellApart = "give one of each another _id, or tell them apart by a field: mapping.seed with {fields.NAME}, in the indexer, too"

// share says how many documents have the point id of another one.
func share(n int64) string {
	if n == 1 {
		return "1 document has the point id"
	}
	return fmt.Sprintf("%d documents have the point id", n)
}

// nothingFound is the error of a comparison with a source that has none of the collections.
func nothingFound(source string) error {
	return end(tally.Stopped, syncd.Hint(errors.New("the source has none of the collections"),
		"see that %s is what to read, and look at the collections' spelling; upper and lower case count", source))
}

// NothingFound reports whether none of the collections exists, which is hardly what was meant.
func (r *Report) NothingFound() bool {
	return len(r.Collections) > 0 && !slices.ContainsFunc(r.Collections, func(c engine.CollectionReport) bool { return c.Found })
}

// late is the error of a wait that did not see everything arrive.
func late(a *arrival.Arrivals, index string, timeout time.Duration) error {
	if index == "" {
		index = "the index"
	}
	sent := plural(a.Sent, "event")
	switch {
	case a.Err != nil:
		return end(tally.Failed, fmt.Errorf("whether the %s sent have all arrived is not known: %w", sent, a.Err))
	case !a.Known:
		return end(tally.Failed, syncd.Hint(fmt.Errorf("whether the %s sent have arrived is not known: %s was not asked", sent, index),
			"run it again when %s can be reached", index))
	case a.Interrupted:
		return fmt.Errorf("%w: %d of %s sent are not in %s yet", ErrInterrupted, a.Missing(), sent, index)
	case a.Missing() > 0:
		return end(tally.NotArrived, syncd.Hint(fmt.Errorf("%d of %s sent did not appear in %s within %s", a.Missing(), sent, index, timeout),
			"look for them in the indexing consumer's log; if it is only slow, wait longer with --wait-timeout; a new run sends them again"))
	}
	return nil
}

// explainEnd adds to the error of a run what it means and what to do.
func explainEnd(err error) error {
	var ended *EndError
	var lag *arrival.LagError
	var coverage *tally.CoverageError
	var guard *tally.GuardError
	var drift *audit.DriftError
	var versions *audit.VersionDriftError
	switch {
	case errors.As(err, &ended), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &lag):
		hint := "run it again when the consumers have caught up, or wait longer (run.wait_timeout); run.consumer_lag: report sends all the same, which does no harm but costs the consumers time"
		if !lag.Known {
			hint = "check that run.consumer_group is the name of the indexing consumers' group and that they are running; " + hint
		}
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("stopped before anything was sent: %w", err), "%s", hint))
	case errors.Is(err, store.ErrNotResumable):
		return end(tally.Failed, syncd.Hint(err, "run it again: it starts from the beginning; and report this"))
	case errors.As(err, &coverage):
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("the run can't prove that it saw every document: %w", err),
			"documents may have been deleted and inserted meanwhile; run it again, and report it if it happens on a quiet collection"))
	case errors.As(err, &drift):
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("stopped before anything was sent: %w", err),
			"make mapping.seed, mapping.namespace and the collection's content type what the indexer uses; --allow-drift sends all the same"))
	case errors.As(err, &versions):
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("stopped before anything was sent: %w", err),
			"make mapping.version name the field and the payload key that hold the same version; --allow-drift sends all the same"))
	case errors.As(err, &guard):
		return end(tally.Stopped, syncd.Hint(fmt.Errorf("stopped by a guard: %w", err), "%s", guard.Advice))
	}
	return end(tally.Failed, err)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
