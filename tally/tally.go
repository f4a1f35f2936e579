// Package tally counts what a run does with documents, and says whether the numbers prove that none was passed over.
package tally

import (
	"fmt"

	"github.com/google/uuid"
)

// Counts accounts for documents and changes. Every document that was scanned is in one of Present, Missing, Stale, Partial,
// Orphan, Unasked, Young, Unindexed, Unsampled, Unwatched, Unmatched and FailedRead; every one that had to be sent (ToSend) is in one of WouldSend, Gone, Overtaken,
// FailedStages, FailedEncode and Emitted; every event emitted is in one of Acked and FailedWrite, or was not confirmed because the run
// ended early.
type Counts struct {
	Scanned      int64 `json:"scanned,omitempty"`          // documents read by the scan
	FailedRead   int64 `json:"failed_read,omitempty"`      // whose id or seed can't be made
	Present      int64 `json:"present,omitempty"`          // that the index has as the rule wants them
	Missing      int64 `json:"missing,omitempty"`          // that the index lacks
	Stale        int64 `json:"stale,omitempty"`            // of which the index has another version
	OtherModel   int64 `json:"other_model,omitempty"`      // of Stale: whose vectors are of another model
	Partial      int64 `json:"partial,omitempty"`          // of which the index lacks chunks, has some of an older version, or their number can't be read
	Orphan       int64 `json:"orphan,omitempty"`           // that are gone, and of which the index has points
	Unasked      int64 `json:"unasked,omitempty"`          // sent without asking
	Young        int64 `json:"young,omitempty"`            // left alone because they changed just now
	Unindexed    int64 `json:"unindexed,omitempty"`        // left alone because they were sent often enough and never appeared
	Unsampled    int64 `json:"unsampled,omitempty"`        // not looked at because only a sample was asked for
	Unwatched    int64 `json:"unwatched,omitempty"`        // changes of a stream that touched no watched field
	Unmatched    int64 `json:"unmatched,omitempty"`        // changes of a stream whose documents the filter does not select
	WouldSend    int64 `json:"would_send,omitempty"`       // that a dry run did not send
	Gone         int64 `json:"gone,omitempty"`             // deleted between the scan and the fetch
	Overtaken    int64 `json:"overtaken,omitempty"`        // whose answer was another one when asked again right before sending
	FailedStages int64 `json:"failed_transform,omitempty"` // that a stage could not make what the sink needs of
	FailedEncode int64 `json:"failed_encode,omitempty"`    // that can't be written as an event
	Emitted      int64 `json:"emitted,omitempty"`          // events handed to the sink
	Acked        int64 `json:"acked,omitempty"`            // events that the sink confirmed
	FailedWrite  int64 `json:"failed_write,omitempty"`     // events that the sink refused
	DeadLettered int64 `json:"dead_lettered,omitempty"`    // failed documents that the dead letters took
	Collisions   int64 `json:"collisions,omitempty"`       // of Scanned: documents whose point id is that of another document, too; all but one of each
	Unread       int64 `json:"unread,omitempty"`           // of those checked: their number of chunks can't be read
	Referenced   int64 `json:"referenced,omitempty"`       // of Acked: events that were sent without their document, since they were too large with it
}

// Failed is the number of documents that can't be handled.
func (c Counts) Failed() int64 { return c.FailedRead + c.FailedStages + c.FailedEncode + c.FailedWrite }

// ToSend is the number of documents that had to be sent.
func (c Counts) ToSend() int64 { return c.Missing + c.Stale + c.Partial + c.Orphan + c.Unasked }

// Checked is the number of documents that were looked at.
func (c Counts) Checked() int64 {
	return c.Present + c.ToSend() + c.Young + c.Unindexed + c.Unsampled + c.Unwatched + c.Unmatched
}

// Unconfirmed is the number of events whose fate the sink did not tell before the run ended.
func (c Counts) Unconfirmed() int64 { return c.Emitted - c.Acked - c.FailedWrite }

// Add adds another account to this one.
func (c *Counts) Add(o Counts) { c.each(&o, func(n *int64, m int64) { *n += m }) }

// Sub takes another account out of this one.
func (c *Counts) Sub(o Counts) { c.each(&o, func(n *int64, m int64) { *n -= m }) }

// each calls f with each number and that of another account.
func (c *Counts) each(o *Counts, f func(n *int64, m int64)) {
	f(&c.Scanned, o.Scanned)
	f(&c.FailedRead, o.FailedRead)
	f(&c.Present, o.Present)
	f(&c.Missing, o.Missing)
	f(&c.Stale, o.Stale)
	f(&c.OtherModel, o.OtherModel)
	f(&c.Partial, o.Partial)
	f(&c.Unread, o.Unread)
	f(&c.Orphan, o.Orphan)
	f(&c.Young, o.Young)
	f(&c.Unindexed, o.Unindexed)
	f(&c.Overtaken, o.Overtaken)
	f(&c.Unsampled, o.Unsampled)
	f(&c.Unasked, o.Unasked)
	f(&c.Unwatched, o.Unwatched)
	f(&c.Unmatched, o.Unmatched)
	f(&c.WouldSend, o.WouldSend)
	f(&c.Gone, o.Gone)
	f(&c.FailedStages, o.FailedStages)
	f(&c.FailedEncode, o.FailedEncode)
	f(&c.Emitted, o.Emitted)
	f(&c.Acked, o.Acked)
	f(&c.FailedWrite, o.FailedWrite)
	f(&c.DeadLettered, o.DeadLettered)
	f(&c.Referenced, o.Referenced)
	f(&c.Collisions, o.Collisions)
}

// Failure is one document that could not be handled.
type Failure struct {
	ID     string `json:"id"`              // the document's id text
	NoID   bool   `json:"no_id,omitempty"` // it has none; the reason says where it stands
	Stage  string `json:"stage"`           // read, transform, encode or write
	Reason string `json:"reason"`
}

// Collision is some documents of one collection that have the same point id: the index can hold only one of them.
type Collision struct {
	PointID   uuid.UUID
	ID        string   // the text of their ids
	IDs       []string // the first two of the ids, as the source writes them
	Documents int      // how many there are, at least 2
}

// Problem says where the numbers of something completely handled do not add up, or nothing.
func (c *Counts) Problem() string {
	switch {
	case c.Scanned != c.Checked()+c.FailedRead:
		return fmt.Sprintf("%d documents were read, but %d were checked and %d failed", c.Scanned, c.Checked(), c.FailedRead)
	case c.ToSend() != c.WouldSend+c.Gone+c.Overtaken+c.FailedStages+c.FailedEncode+c.Emitted:
		return fmt.Sprintf("%d documents had to be sent, but %d were", c.ToSend(), c.Emitted+c.WouldSend)
	case c.Emitted != c.Acked+c.FailedWrite:
		return fmt.Sprintf("%d events were sent, but %d were confirmed and %d refused", c.Emitted, c.Acked, c.FailedWrite)
	case c.DeadLettered > c.Failed():
		return fmt.Sprintf("%d documents failed, but %d became dead letters", c.Failed(), c.DeadLettered)
	case c.OtherModel > c.Stale:
		return fmt.Sprintf("%d documents were of another version, but %d have vectors of another model", c.Stale, c.OtherModel)
	case c.Collisions > c.Scanned:
		return fmt.Sprintf("%d documents were read, but %d share their point ids", c.Scanned, c.Collisions)
	case c.Referenced > c.Acked:
		return fmt.Sprintf("%d events were confirmed, but %d without their documents", c.Acked, c.Referenced)
	}
	return ""
}
