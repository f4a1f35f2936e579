package engine

import (
	"time"

	"github.com/syncd-io/syncd/tally"
)

// Snapshot is an engine at a moment.
type Snapshot struct {
	Collections []CollectionProgress
	Total       tally.Counts
	Deleted     tally.Counts    // of the deletes of orphans
	Resumed     int64           // documents of Total that an earlier run had done
	Bytes       int64           // of what was written
	Working     [StageCount]int // readers and workers in each stage
	Times       [StageCount]time.Duration
	LastMove    time.Time // when something was last handled
	Stalled     bool      // nothing was for longer than Options.StallAfter
	Waiting     int       // batches read, and not yet accounted for

	Streams  []StreamProgress // that are followed
	Followed []FollowedCounts // their collections
	Merged   int64            // changes of streams that were left out for a later one of the same document
}

// CollectionProgress is one collection at a moment.
type CollectionProgress struct {
	Name        string
	ContentType string
	Before      int64 // documents, -1 if not known (yet)
	Started     bool
	Done        bool
	Began       time.Time
	Counts      tally.Counts
	Earlier     tally.Counts // of Counts: what an earlier run did
	Splits      int
	SplitsDone  int
	Took        time.Duration // of a collection that is done
	// OldestMissing is when the document that this run found missing and that changed longest ago was changed; zero if there is
	// none, or if the rule knows no dates.
	OldestMissing time.Time
}

// Snapshot returns how the engine stands. It is safe for concurrent use with all other methods, and costs them nothing.
func (e *Engine) Snapshot() Snapshot {
	s := Snapshot{
		Bytes: e.bytes.Load(), LastMove: e.activity.last(), Stalled: e.activity.stalled.Load(), Waiting: len(e.inFlight),
	}
	s.Streams, s.Followed = e.streamProgress()
	s.Merged = e.merged.Load()
	for i := range s.Working {
		s.Working[i] = int(e.activity.working[i].Load())
		s.Times[i] = time.Duration(e.activity.times[i].Load())
	}
	for _, c := range e.documents.collections {
		p := c.progress()
		s.Collections = append(s.Collections, p)
		s.Total.Add(p.Counts)
		s.Resumed += p.Earlier.Scanned
	}
	if orphans := e.deleting.Load(); orphans != nil {
		for _, c := range *orphans {
			s.Deleted.Add(c.snapshot())
		}
	}
	return s
}
