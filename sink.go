package syncd

import (
	"context"
	"io"

	"github.com/google/uuid"
)

// Sink makes events durable. Write is safe for concurrent use; Close is called once, after every other call has returned.
type Sink interface {
	// Write returns nil when every event is durable: acknowledged by all who must. A *BatchError names the events
	// that are not durable, and all others are; any other error means that nothing is known about any of them.
	// Backpressure is blocking, bounded by ctx. The events and their bytes belong to the caller again after the return.
	Write(ctx context.Context, events []Event) error

	io.Closer
}

// Preparer is implemented by a sink that must know beforehand where events will go: it checks that all targets can be
// written to and reports all that can't in one error. It is called once before the first Write; not in a dry run.
type Preparer interface {
	Prepare(ctx context.Context, targets []Target) error
}

// Committer is implemented by a sink that can write events together with marks in one transaction: whoever reads only what
// was committed sees all of them or none, each once. A run either uses Write or Commit, never both.
type Committer interface {
	// Marks is called once, before the first Commit. It shuts out every other user of the sink's transactions, such as a
	// run that was given up and still lives, settles what that one left undecided, and returns the committed marks whose
	// names begin with prefix. It must not return before they are settled.
	Marks(ctx context.Context, prefix string) (map[string][]byte, error)
	// Commit returns nil when the events and the marks are committed. A *BatchError names events that were refused, each
	// for its own fault; then nothing is committed, and the caller may commit the others again. Any other error means
	// that nothing is known about any of them until Marks is called by a later run; one that wraps ErrFenced says that
	// there is one. Commit is safe for concurrent use; calls that overlap may share a transaction, and one that is refused
	// does the others no harm. There may be marks and no events.
	Commit(ctx context.Context, events []Event, marks []Mark) error
}

// Mark is a name and a value that a Committer keeps. A nil value forgets the name.
type Mark struct {
	Name  string
	Value []byte
}

// Router is implemented by a sink that sends a target's events to a named place: a topic, a file. A sink's config type may
// implement it as well, to say so without connecting.
type Router interface {
	Route(t Target) string
}

// Deriver is implemented by a sink's config type when a second sink, for dead letters, may start from its settings. Derive
// returns a pointer to a new config of the same type without what two sinks must not share: where events go, and
// transactions.
type Deriver interface {
	Derive() any
}

// Continuer is implemented by a sink's config type when what an interrupted run sent may be gone by the time that the rest
// is: then Continues is false, and a run always begins anew. Without it, it is taken to be there.
type Continuer interface {
	Continues() bool
}

// TargetChecker is implemented by a sink's config type when not every target can be written to; CheckTarget says why this
// one can't. It must not connect.
type TargetChecker interface {
	CheckTarget(t Target) error
}

// Target is one kind of event that a run may send.
type Target struct {
	Database    string
	Collection  string
	ContentType string
	Topic       string // the collection's own topic; empty means the sink's rule
}

// Operation is what an event asks of the indexer, in the words of MongoDB's change streams.
type Operation string

// The operations.
const (
	Insert  Operation = "insert"
	Replace Operation = "replace"
	Delete  Operation = "delete"
)

// Reason is why an event is sent.
type Reason string

// The reasons.
const (
	ReasonMissing Reason = "missing" // the index said that the point is not there
	ReasonStale   Reason = "stale"   // the index holds another version of the document
	ReasonPartial Reason = "partial" // the index lacks some of the document's chunks
	ReasonOrphan  Reason = "orphan"  // the index holds a point whose document is gone
	ReasonFull    Reason = "full"    // every document is sent without asking
)

// Header is a key and a value that travel beside an event's own.
type Header struct {
	Name  string
	Value string
}

// Event is what a sink writes. Key and Value are encoded; the rest says what the event is about. One document's events
// always have the same Key.
type Event struct {
	Target  Target
	ID      string // the document's id text
	PointID uuid.UUID
	Key     []byte
	Value   []byte // nil is a tombstone
	Headers []Header

	// Position is where a reader of the target finds the event. A sink that knows it sets it when the event is durable.
	Position Position
}

// Position is a place in a sink's target: a Kafka partition and offset.
type Position struct {
	Partition int32
	Offset    int64
	Known     bool
}
