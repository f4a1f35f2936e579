package pipeline

import (
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// Counts accounts for documents and events. Every document that was scanned is in one of Present, Missing, Stale, Partial,
// Unasked, Young, Unindexed, Unsampled and FailedRead; every one that had to be sent (ToSend) is in one of WouldSend, Gone, Overtaken,
// FailedEncode and Emitted; every event emitted is in one of Acked and FailedWrite, or was not confirmed because the run
// ended early.
type Counts struct {
	Scanned      int64 `json:"scanned,omitempty"`       // documents read by the scan
	FailedRead   int64 `json:"failed_read,omitempty"`   // whose id or seed can't be made
	Present      int64 `json:"present,omitempty"`       // that the index has as the rule wants them
	Missing      int64 `json:"missing,omitempty"`       // that the index lacks
	Stale        int64 `json:"stale,omitempty"`         // of which the index has another version
	Partial      int64 `json:"partial,omitempty"`       // of which the index lacks chunks
	Unasked      int64 `json:"unasked,omitempty"`       // sent without asking
	Young        int64 `json:"young,omitempty"`         // left alone because they changed just now
	Unindexed    int64 `json:"unindexed,omitempty"`     // left alone because they were sent often enough and never appeared
	Unsampled    int64 `json:"unsampled,omitempty"`     // not looked at because only a sample was asked for
	WouldSend    int64 `json:"would_send,omitempty"`    // that a dry run did not send
	Gone         int64 `json:"gone,omitempty"`          // deleted between the scan and the fetch
	Overtaken    int64 `json:"overtaken,omitempty"`     // that the index had when asked again right before sending
	FailedEncode int64 `json:"failed_encode,omitempty"` // that can't be written as an event
	Emitted      int64 `json:"emitted,omitempty"`       // events handed to the sink
	Acked        int64 `json:"acked,omitempty"`         // events that the sink confirmed
	FailedWrite  int64 `json:"failed_write,omitempty"`  // events that the sink refused
	DeadLettered int64 `json:"dead_lettered,omitempty"` // failed documents that the dead letters took
	Referenced   int64 `json:"referenced,omitempty"`    // of Acked: events that were sent without their document, since they were too large with it
}

// Failed is the number of documents that can't be handled.
func (c Counts) Failed() int64 { return c.FailedRead + c.FailedEncode + c.FailedWrite }

// ToSend is the number of documents that had to be sent.
func (c Counts) ToSend() int64 { return c.Missing + c.Stale + c.Partial + c.Unasked }

// Checked is the number of documents that were looked at.
func (c Counts) Checked() int64 { return c.Present + c.ToSend() + c.Young + c.Unindexed + c.Unsampled }

// Unconfirmed is the number of events whose fate the sink did not tell before the run ended.
func (c Counts) Unconfirmed() int64 { return c.Emitted - c.Acked - c.FailedWrite }

// Add adds another account to this one.
func (c *Counts) Add(o Counts) {
	c.Scanned += o.Scanned
	c.FailedRead += o.FailedRead
	c.Present += o.Present
	c.Missing += o.Missing
	c.Stale += o.Stale
	c.Partial += o.Partial
	c.Young += o.Young
	c.Unindexed += o.Unindexed
	c.Overtaken += o.Overtaken
	c.Unsampled += o.Unsampled
	c.Unasked += o.Unasked
	c.WouldSend += o.WouldSend
	c.Gone += o.Gone
	c.FailedEncode += o.FailedEncode
	c.Emitted += o.Emitted
	c.Acked += o.Acked
	c.FailedWrite += o.FailedWrite
	c.DeadLettered += o.DeadLettered
	c.Referenced += o.Referenced
}

// Failure is one document that could not be handled.
type Failure struct {
	ID     string `json:"id"`    // the document's id text, empty if it has none
	Stage  string `json:"stage"` // read, encode or write
	Reason string `json:"reason"`
}

// Example is a document that a dry run would send.
type Example struct {
	ID      string
	Seed    string
	PointID uuid.UUID
	Reason  syncd.Reason
}

// CollectionReport is what a run did with one collection.
type CollectionReport struct {
	Rule     *mapping.Rule
	Found    bool  // false: the source has no such collection
	Before   int64 // documents before the scan; -1 if the source can't count
	After    int64 // documents after the scan; -1 if it was not needed or the source can't count
	Complete bool  // every split was read to its end, every batch accounted for, and it adds up
	Splits   int   // that were read to their end and proved
	Counts
	Resumed       Counts    // of these: what an earlier run did, that this one went on from
	Measured      int64     // events that a dry run encoded to learn their size
	MeasuredBytes int64     // of those
	Failures      []Failure // the first maxFailures
	Examples      []Example // of a dry run, the first maxExamples
	Duration      time.Duration
}

// Report is what a run did.
type Report struct {
	RunID       string
	Started     time.Time
	Duration    time.Duration // of the whole run, with waiting for the index
	Scanning    time.Duration // until the last batch was accounted for
	DryRun      bool
	Full        bool // the index was not asked
	Interrupted bool
	Resumed     int64                     // documents that an earlier run had handled
	Bytes       int64                     // of events that were given to the sink
	Times       [StageCount]time.Duration // spent in each stage, by all readers and workers together
	Collections []CollectionReport
	Total       Counts
	Orphans     []OrphanReport // by content type, where they were looked for

	Index IndexReport
}

// IndexReport is what the index held before and after a run.
type IndexReport struct {
	Known    bool // the checker can describe its index, and did
	Before   syncd.Index
	After    syncd.Index
	CaughtUp bool // the documents sent last were seen in the index
	Waited   time.Duration
}
