package syncd

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Streaming is what a source can do that can be followed. All of its functions are there that need not be. They are safe for concurrent use.
//
// A stream is read by [Source.Read], as a split is: with a [Split] that has a Stream. Such a read asks for no fields, and never
// ends by itself, only with an error or with ctx's. Its batches hold whole documents and may hold changes of several collections, in the order in which
// they were made; every batch has an offset, and one without changes says that there were none up to its offset. While nothing
// happens there is such a batch about every second. A read goes on over passing trouble of the servers for as long as that of a
// split would, and then ends with an error that wraps ErrUnavailable; whoever reads may read again behind the last offset.
//
// Other errors of such a read: one that wraps ErrPositionLost where the source no longer has what followed the offset, and a
// *CollectionGoneError behind the last change of a collection that was dropped, renamed or emptied as a whole.
type Streaming struct {
	// Streams divides collections into streams, as few as the source allows, whose names are the same in every run. A source that
	// can't follow these collections says why, and what to do.
	Streams func(ctx context.Context, collections []Collection) ([]Stream, error)
	// Now returns the offset of this moment: a read behind it yields every change that is made after the call returned.
	Now func(ctx context.Context, s Stream) (Offset, error)
	// Confirm tells the source that its offset is durably kept: no read of the stream will begin before it, so the source's server may
	// forget what lies there. It is told at least about every ten seconds while a read goes on, also when there was nothing, and
	// by one call at a time. It returns at once, and may be nil. Where servers keep offsets themselves, see Commit.
	Confirm func(s Stream, after Offset)
	// Window tells how far the source's record of changes reaches back, and where it ends. It may be nil.
	Window func(ctx context.Context, s Stream) (Window, error)
	// Commit is there where the source's servers keep how far a stream was read, such as the offsets of a consumer group, which others
	// may share: what they keep is the truth, and a read begins there, whatever its offset. Commit tells them that everything up to an
	// offset of a batch is confirmed by the sink, and returns when they have it. It is called with ever later offsets, one call at a
	// time, also after the read has ended. It may be nil.
	Commit func(ctx context.Context, s Stream, at Offset) error
}

// FollowedOnly is implemented by the config type of a source that can only be followed: it has changes, and no documents to look at.
// Its Splits and Fetch are errors. It must not connect.
type FollowedOnly interface{ FollowedOnly() }

// PlaceReader is implemented by the config type of a source that reads from places to which a sink of the same kind could write.
// ReadsPlace reports whether it reads from a place, as [Router] names it, of a sink at a location. It must not connect.
type PlaceReader interface {
	ReadsPlace(location, place string) bool
}

// Stream is a feed of the changes of some collections, which never ends.
type Stream struct {
	Name        string // tells it apart from the source's other streams; its offset is kept under it
	Collections []Collection
}

// Window is the time of the oldest and of the newest change that a source still has, by the source's clock.
type Window struct {
	First, Last time.Time
	// Retained is how many bytes of its record the server keeps for this stream and no other reason: what is not read fills its
	// disk. 0 is not known.
	Retained int64
}

// Streamed is what a stream says of a change beside what a snapshot would. A change of a stream that is an Update or Replace
// and has no document is one whose document was deleted since: its delete follows.
type Streamed struct {
	Collection string    // one of the stream's
	At         time.Time // when the change was made, by the source's clock; zero if that is not known
	// Touched are the dotted paths of the fields that an update set or removed. Where Whole is set they are not known, or not all
	// that matters: any field may have changed. So it is where the collection has a filter, and what was touched may have brought
	// the document into it.
	Touched []string
	Whole   bool
	// Before is what the source knows of a document that is gone: as it was before, or some of its fields; nil where that is
	// nothing. A delete whose point id is made of more than its id needs it.
	Before Document
	// Raw is the change in the source's own form, such as MongoDB's event in BSON, for sinks that pass it on; nil where there is
	// none. Nobody changes its bytes.
	Raw []byte
}

// ErrPositionLost means that a source no longer has the changes behind an offset: what happened since then can only be found out
// by looking at the documents.
var ErrPositionLost = errors.New("the position in the stream is lost")

// CollectionGoneError ends the read of a stream: a collection was dropped, renamed or emptied, for which there are no deletes of
// its documents. A read behind After goes on.
type CollectionGoneError struct {
	Collection string
	Renamed    bool // to another name, or replaced by another collection
	Emptied    bool // it is there, without the documents that it had
	After      Offset
}

func (e *CollectionGoneError) Error() string {
	switch {
	case e.Renamed:
		return fmt.Sprintf("collection %s was renamed", e.Collection)
	case e.Emptied:
		return fmt.Sprintf("collection %s was emptied", e.Collection)
	}
	return fmt.Sprintf("collection %s was dropped", e.Collection)
}
