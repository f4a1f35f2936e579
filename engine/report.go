package engine

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
)

const (
	maxFailures = 20  // named per collection in the report; all are counted
	maxExamples = 3   // per collection in a dry run
	maxMeasured = 500 // events per collection that a dry run encodes
)

// Report is what an engine did so far.
type Report struct {
	Resumed     int64                     // documents that an earlier run had handled
	Bytes       int64                     // of what was written
	Times       [StageCount]time.Duration // spent in each stage, by all readers and workers together
	Collections []CollectionReport
	Total       tally.Counts
	Deletes     []CollectionReport // of the orphans of each collection that had any, where they were deleted
	Deleted     tally.Counts       // of Deletes
}

// CollectionReport is what a run did with one collection.
type CollectionReport struct {
	Rule     *mapping.Rule
	Found    bool  // false: the source has no such collection
	Before   int64 // documents before it was read; -1 if the source can't count
	After    int64 // documents after it was read; -1 if it was not needed or the source can't count
	Complete bool  // every split was read to its end, every batch accounted for, and it adds up
	Splits   int   // that were read to their end and proved
	tally.Counts
	Resumed       tally.Counts      // of these: what an earlier run did, that this one resumed
	Measured      int64             // events that a dry run encoded to learn their size
	MeasuredBytes int64             // of those
	Unsendable    int64             // of those: the sink would not take them
	Refused       []tally.Failure   // the first of them
	Embedding     *Embedding        // how much a dry run would have embedded, where it was to find out
	Failures      []tally.Failure   // the first maxFailures
	Examples      []Example         // of a dry run, the first maxExamples
	Collided      []tally.Collision // the first maxFailures
	NotCompared   int64             // documents that collisions were not looked for among, because there are too many
	Duration      time.Duration
}

// Embedding is how much of a collection would be embedded, as some of its documents show.
type Embedding struct {
	Documents int64           // that were read for it, of those that would be sent
	Texts     int64           // of them that would be embedded
	Tokens    int64           // in Texts
	Unchanged int64           // texts of them that the index holds already
	Failed    int64           // documents that a stage can't handle
	Failures  []tally.Failure // the first of them
}

// Example is a document that a dry run would send.
type Example struct {
	ID      string
	Seed    string
	PointID uuid.UUID
	Reason  syncd.Reason
}

// prove checks that a completely read collection adds up and that its reading saw all that it should.
func (r *CollectionReport) prove() error {
	problem := r.Problem()
	if problem == "" && r.Before >= 0 && r.After >= 0 && r.Scanned < min(r.Before, r.After) {
		problem = fmt.Sprintf("the scan saw %d documents, but there were %d before it and %d after it", r.Scanned, r.Before, r.After)
	}
	if problem == "" {
		return nil
	}
	return &tally.CoverageError{Collection: r.Rule.Collection.Name, Problem: problem}
}
