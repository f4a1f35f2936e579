package syncd

import (
	"context"
	"io"
	"iter"

	"github.com/google/uuid"
)

// Sink makes changes durable. Write is safe for concurrent use; Close is called once, after every other call has returned.
type Sink interface {
	// Write returns nil when every change is durable: acknowledged by all who must. A *BatchError names the changes
	// that are not durable, and all others are; any other error means that nothing is known about any of them. One that can't
	// be written at all, whatever the sink's state, is refused with an error that wraps ErrNotEncodable.
	//
	// A change with Err is a dead letter: the sink writes what there is of it beside the reason. One of a document's changes
	// in a Write comes before the next, as they stand in changes. Write sets Placement, where it knows it, and Bytes, and
	// changes nothing else. Backpressure is blocking, bounded by ctx. The slice belongs to the caller again after the return.
	Write(ctx context.Context, changes []Change) error

	// Abilities says what the sink can do beyond this. It returns the same for as long as the sink is open.
	Abilities() SinkAbilities

	io.Closer
}

// SinkAbilities is what a sink can do beyond its methods: a nil function is an ability that it lacks, or that its
// configuration does not ask for. The functions are safe for concurrent use unless they say otherwise. A decorator passes on all
// of them.
type SinkAbilities struct {
	// Prepare is called once before the first Write, or Commit with changes, not in a dry run: it checks that all targets can be written to
	// and reports all that can't in one error. Collections that the source does not have are not among them, unless their changes are
	// followed.
	Prepare func(ctx context.Context, run Run) error

	// Route names the place to which a target's changes go: a topic, a file. A sink's config type may implement [Router] as
	// well, to say so without connecting.
	Route func(t Target) string

	// Identity is a text that changes when what was written to a target is gone with the place that held it: the topic was
	// deleted and made again. It is "" where the sink can't tell. A place that is not there is an error that does not wrap
	// ErrUnavailable. It is called after Prepare.
	Identity func(ctx context.Context, t Target) (string, error)

	// Marks and Commit are both there or neither: the sink can write changes together with marks in one transaction, and
	// whoever reads only what was committed sees all of them or none, each once. A run that keeps how far it came writes
	// through Commit alone.
	//
	// Marks is called once, before the first Commit. It shuts out every other user of the sink's transactions, such as a
	// run that was given up and still lives, settles what that one left undecided, and returns the committed marks whose
	// names begin with prefix. It must not return before they are settled.
	Marks func(ctx context.Context, prefix string) (map[string][]byte, error)
	// PeekMarks returns the committed marks like Marks, and shuts out nobody: for a look at a run from outside. It may be nil.
	PeekMarks func(ctx context.Context, prefix string) (map[string][]byte, error)
	// Commit returns nil when the changes and the marks are committed. A *BatchError names changes that were refused, each
	// for its own fault; then nothing is committed, and the caller may commit the others again. Any other error means
	// that nothing is known about any of them until Marks is called by a later run; one that wraps ErrFenced says that
	// there is one. Commit is safe for concurrent use; calls that overlap may share a transaction, and one that is refused
	// does the others no harm. There may be marks and no changes.
	Commit func(ctx context.Context, changes []Change, marks []Mark) error

	// Cluster opens a cluster, over the servers of the sink. Its Commit takes changes where the sink has the ability Commit, whose
	// transactions they share; [Sink.Write] and Commit are not called then. It is called once, before anything is written.
	Cluster func(ctx context.Context, o ClusterOptions) (Cluster, error)

	// Lag returns, for every partition that the targets' changes can be in, how far a group of consumers has read: what it
	// has not read yet is not in the index yet, and a run that sends it again sends it twice. A target that does not exist
	// yet has no partitions. It only reads, and is not called while Write is.
	Lag func(ctx context.Context, group string, targets []Target) ([]PartitionLag, error)

	// Held asks the index that the sink writes to what it holds of changes whose Content is there, in as few requests as it can: it
	// sets Content.Held, and Kept of each chunk that the index holds with the chunk's hash, and takes out of Content.Further what the index
	// does not hold. An error means that nothing is known about any.
	Held func(ctx context.Context, changes []Change) error

	// Nearest finds the points whose vectors are nearest to one, the nearest first, of the content types, or of all where none is given.
	Nearest func(ctx context.Context, vector []float32, contentTypes []string, limit int) ([]Neighbour, error)

	// Switch is there where readers ask under a name that is to stand for what the sink writes when that is complete. nil: what is written
	// is read at once.
	Switch *Switch

	// Raw says that the sink passes on a streamed change in the source's own form, [Streamed].Raw: then it writes an update or a
	// replace without its document, too.
	Raw bool

	// DeadLetters yields what was written as dead letters of the targets, of whatever run, the oldest of each place first, up to what is
	// there when it is called. What is no dead letter is left out, and so is a place that does not exist. An error ends it. It only reads,
	// and is not called while Write is.
	DeadLetters func(ctx context.Context, targets []Target) iter.Seq2[DeadLetter, error]

	// Probe looks whether a run would find what it needs; see [Probe].
	Probe Probe
}

// Switch is a name under which readers ask, and that can be made to stand for what the sink writes. All of it is there, and the functions
// are called one at a time, Do after Prepare.
type Switch struct {
	Name   string // what readers ask, in words: the alias "documents"
	Target string // what is written, in words: the collection "documents_2"
	// State tells what the name stands for.
	State func(ctx context.Context) (SwitchState, error)
	// Do makes the name stand for what is written, at one instant: a reader finds all of what it stood for before, or all of what is written.
	// After an error it is not known whether it was done, and doing it again does no harm.
	Do func(ctx context.Context) (before string, err error)
}

// SwitchState is what a name stands for.
type SwitchState struct {
	Now  string // "" for nothing
	Done bool   // that is what the sink writes
	// Left says that it is not, though it was: somebody has made the name stand for something else since, which is not to be undone.
	Left bool
}

// Switcher is implemented by the config type of a sink that can have the ability Switch, and says whether it will have it. It must not
// connect.
type Switcher interface {
	Switches() bool
}

// Run is what a sink is told of a run before the first Write.
type Run struct {
	ID      string
	Targets []Target
	Vectors *Vectors // of the stage that embeds; nil if there is none
}

// Neighbour is a point that was found by its vector.
type Neighbour struct {
	PointID     uuid.UUID
	Score       float32
	ID          string // the text of the document's id
	ContentType string
	Title       string
	Text        string
	Chunk       int
	Chunks      int
}

// Indexer is implemented by the config type of a sink that writes vectors, and so needs a stage that makes them.
type Indexer interface {
	PayloadKeys() PayloadKeys
}

// PayloadKeys are the keys under which a sink keeps what a point is; "" is not kept.
type PayloadKeys struct {
	ID, ContentType, ChunkIndex, ChunkCount string
	Database                                string
	Model                                   string   // of the vector
	UpdatedAt                               string   // the document's field of that name
	Fields                                  []string // further fields of the document, of those names
}

// Placed is implemented by the config types of checkers and sinks of one index, to find out whether they mean the same. IndexName is the
// server and the name of the index in it. It must not connect.
type Placed interface {
	IndexName() string
}

// Mark is a name and a value that a sink keeps. A nil value forgets the name.
type Mark struct {
	Name  string
	Value []byte
}

// Target is where a collection's changes go.
type Target struct {
	Database    string
	Collection  string
	ContentType string
	Topic       string // the collection's own topic; empty means the sink's rule
}

// PartitionLag is how far a group of consumers has come with one partition.
type PartitionLag struct {
	Place     string // the topic
	Partition int32
	Next      int64 // offset that the group reads next; the partition's first one if the group never confirmed any
	End       int64 // offset that the next event will have
	Confirmed bool  // the group has confirmed an offset here; where it has nowhere, there may be no such group
}

// Previewer is implemented by the config type of a sink that writes bytes: Preview returns the event that an open sink would
// write of a change, for plans and explanations. An event that the sink would not take, as far as it can know without its server, is
// returned with the error that Write would refuse it with: one that is too large with one that wraps ErrTooLarge. It must not connect.
type Previewer interface {
	Preview(c *Change) (key, value []byte, err error)
}

// Router is implemented by a sink's config type to name the place to which a target's changes go. It must not connect.
type Router interface {
	Route(t Target) string
}

// PlaceFolder is implemented by the config type of a Router whose servers confuse some names of places. FoldPlace gives what is
// alike in the names that they confuse, and what comes of it; OwnPlaces are places of the sink's own, beside those of targets.
type PlaceFolder interface {
	FoldPlace(place string) (folded, trouble string)
	OwnPlaces() []string
}

// Deriver is implemented by a sink's config type when a second sink, for dead letters, may start from its settings. Derive
// returns a pointer to a new config of the same type without what two sinks must not share: where events go, and
// transactions.
type Deriver interface {
	Derive() any
}

// Transactor is implemented by the config type of a sink that can have the abilities Marks and Commit, and says whether it will
// have them. It must not connect.
type Transactor interface {
	Transactional() bool
}

// Continuer is implemented by a sink's config type when what an interrupted run sent may be gone by the time that the rest
// is: then Continues is false, and a run always begins from the start. Without it, it is taken to be there.
type Continuer interface {
	Continues() bool
}

// TargetChecker is implemented by a sink's config type when not every target can be written to; CheckTarget says why this
// one can't. It must not connect.
type TargetChecker interface {
	CheckTarget(t Target) error
}
