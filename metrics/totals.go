package metrics

import (
	"maps"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// place is a collection and what the index calls its documents.
type place struct{ collection, contentType string }

// totals is what counters count.
type totals struct {
	flows   map[place][len(flows)]int64
	bytes   int64
	runs    map[tally.Outcome]int64
	deletes map[string]int64 // by content type

	embedded map[string]job.Embedded // by model
}

func newTotals() totals {
	return totals{
		flows: map[place][len(flows)]int64{}, runs: map[tally.Outcome]int64{}, deletes: map[string]int64{}, embedded: map[string]job.Embedded{},
	}
}

func (t totals) clone() totals {
	t.flows, t.runs, t.deletes, t.embedded = maps.Clone(t.flows), maps.Clone(t.runs), maps.Clone(t.deletes), maps.Clone(t.embedded)
	return t
}

// embed adds what the job had embedded that a monitor shows; nil shows nothing.
func (t *totals) embed(m *job.Monitor) {
	if m == nil {
		return
	}
	if e := m.Embedded(); e != nil {
		all := t.embedded[e.Model]
		all.Requests, all.Texts, all.Tokens, all.Cost = all.Requests+e.Requests, all.Texts+e.Texts, all.Tokens+e.Tokens, all.Cost+e.Cost
		t.embedded[e.Model] = all
	}
}

// add adds a run, but not what an earlier run did of it.
func (t *totals) add(s job.Snapshot) {
	t.bytes += s.Bytes
	for _, c := range s.Collections {
		at := place{c.Name, c.ContentType}
		sums := t.flows[at]
		for i, f := range flows {
			sums[i] += f.of(c.Counts) - f.of(c.Earlier)
		}
		t.flows[at] = sums
	}
}

func (t *totals) end(e End) {
	t.runs[e.Outcome]++
	for _, o := range e.Report.Orphans {
		t.deletes[o.ContentType] += 0 // it is shown even if nothing was deleted
	}
	for i := range e.Report.Deletes {
		d := &e.Report.Deletes[i]
		t.deletes[d.Rule.ContentType] += d.Acked - d.Resumed.Acked
	}
}

// ended is the last run that ended.
type ended struct {
	known    bool
	at       time.Time
	duration time.Duration
	exitCode int
	success  time.Time            // when the last run ended that finished, and was no dry run
	snapshot job.Snapshot         // of the last run whose plugins could be opened
	orphans  map[string]int64     // by content type, of the last run that looked for them
	others   map[string]int64     // points of other sources, likewise
	points   int64                // that the index held at the end; -1 if it is not known
	oldest   map[string]time.Time // by collection, see engine.CollectionProgress
}

func (l *ended) settle(s job.Snapshot) {
	l.snapshot = s
	l.oldest = map[string]time.Time{}
	for _, c := range s.Collections {
		l.oldest[c.Name] = c.OldestMissing
	}
}

func (l *ended) end(e End, now time.Time) {
	l.at, l.duration, l.exitCode = now, e.Report.Duration, e.ExitCode
	if e.Outcome.Finished() && !e.Report.DryRun {
		l.success = now
	}
	if e.Report.Index.Known {
		l.points = e.Report.Index.After.Points
	} else if !l.known {
		l.points = -1
	}
	l.known = true
	if len(e.Report.Orphans) > 0 {
		l.orphans, l.others = map[string]int64{}, map[string]int64{}
		for _, o := range e.Report.Orphans {
			// A run that was resumed has also deleted some that it did not find any more.
			l.others[o.ContentType] += o.Others
			l.orphans[o.ContentType] += max(0, o.Orphans-o.Deleted)
		}
	}
}

// look is what became known of a collection.
type look struct {
	contentType string
	found       bool
	covered     int64 // documents that the index has, or that were sent and confirmed
	documents   int64 // that it holds
	oldest      time.Time
}

// coveredBy counts the documents that the index has, or that were sent to it and confirmed.
func coveredBy(c tally.Counts) int64 { return c.Present + c.Overtaken + c.Acked }

// lookedAt is what is known of each collection: the last complete look at it. Until there is one, it is what the run under way
// has seen so far of all that there is.
func lookedAt(complete map[string]look, running *job.Snapshot) map[string]look {
	all := maps.Clone(complete)
	if running == nil {
		return all
	}
	for _, c := range running.Collections {
		if _, known := complete[c.Name]; known || !c.Started {
			continue
		}
		all[c.Name] = look{
			contentType: c.ContentType, found: c.Before != 0 || c.Counts.Scanned > 0, covered: coveredBy(c.Counts),
			documents: max(c.Before, c.Counts.Scanned) - c.Counts.Unsampled - c.Counts.Gone, oldest: c.OldestMissing,
		}
	}
	return all
}
