// Package arrival finds out whether what was sent has reached the index, and whether consumers have read what was sent before.
//
// A Tracker follows every event by its point id. A Recent takes a short look at the events sent last. A Lag counts what a group of
// consumers has not read.
//
// Invariants:
//   - an event has arrived when the index answers that it has; a question that failed is neither yes nor no;
//   - only what was sent is asked about;
//   - what must be remembered follows what is in flight at the indexer, not the length of the run (see inflight);
//   - when a method returns, all its goroutines have ended.
package arrival

import (
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// The index is asked again after pauses between these two.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// Arrivals is how far the index has come with what was sent. An event has arrived when the index holds the document as its
// rule wants it: the point is there, of the version that was sent or a later one, with all its chunks. A delete has arrived when
// the point is not there.
type Arrivals struct {
	Sent      int64
	Arrived   int64
	Sending   bool          // the run goes on
	PerSecond float64       // arrivals since the last call of Progress; at the end, since the first event was confirmed
	Waited    time.Duration // since the sending ended

	// These are set at the end only.
	Known       bool         // the index was asked, and answered; if not, nothing is known of what has not Arrived
	Interrupted bool         // the waiting was ended early
	Open        []NotArrived // the first maxNotArrived of those that have not arrived, by collection, partition and offset
	Err         error        // why the index could not be asked, where it could not
}

// Missing is how many events have not arrived.
func (a Arrivals) Missing() int64 { return a.Sent - a.Arrived }

// maxNotArrived is how many events that never appeared are named; all are counted.
const maxNotArrived = 100

// NotArrived is an event that the sink confirmed and the index has not shown.
type NotArrived struct {
	Rule      *mapping.Rule
	ID        string
	PointID   uuid.UUID
	Deleted   bool   // it is a delete, whose point is still there
	Place     string // the topic, where the sink has one
	Placement syncd.Placement
}
