package syncd

import (
	"context"
	"io"
	"iter"

	"github.com/google/uuid"
)

// Checker asks the index which points it holds. Check is safe for concurrent use; Close is called once, after every
// other call has returned.
type Checker interface {
	// Check sets verdicts[i] for points[i]; both have the same length, of any size. It returns nil only if every
	// verdict was set from an answer of the index; on error the verdicts mean nothing. In an index that does not exist
	// (yet), and is allowed not to, every point is Missing. It retries what is worth
	// retrying itself, until ctx ends or its own limits are reached. The slices belong to the caller.
	Check(ctx context.Context, points []Point, verdicts []Verdict) error

	// Abilities says what the checker can do beyond this. It returns the same for as long as the checker is open.
	Abilities() CheckerAbilities

	io.Closer
}

// CheckerAbilities is what a checker can do beyond its methods: a nil function is an ability that it lacks. The functions are
// safe for concurrent use. A decorator passes on all of them.
type CheckerAbilities struct {
	// Read sets found[i] for points[i], which have the same length, and otherwise keeps to Check's rules. keys are dotted
	// paths into a point's payload; a value's text is what a document's field of the same content has. A Payload that
	// has room for the keys is used again.
	Read func(ctx context.Context, points []Point, keys []string, found []Found) error

	// List yields points in batches, each once, in any order. Points whose ids are not UUIDs are left out: none of them
	// is a document's. A point that was there from the first batch to the last is among them; what changes meanwhile
	// may be. An index that does not exist has no points. A batch belongs to the caller, who may keep it while later ones
	// are read. An error ends the sequence, which is iterated once; it never ends early in silence.
	List func(ctx context.Context, req ListRequest) iter.Seq2[[]Listed, error]

	// Sample is List for several requests, each with a limit of a few points, for a checker that can ask about many of them at once.
	// The answers are aligned with reqs. An error means that nothing is known about any.
	Sample func(ctx context.Context, reqs []ListRequest) ([][]Listed, error)

	// Inspect describes the index as a whole.
	Inspect func(ctx context.Context) (Index, error)

	// Survey looks at what the index holds whatever it is called: the texts under a payload key, and some points with all of
	// their payload, in bounded time and memory. An index that does not exist holds nothing.
	Survey func(ctx context.Context, key string) (Survey, error)

	// Probe looks whether a run would find what it needs; see [Probe].
	Probe Probe
}

// Point is a question to a checker: what does the index hold under this id?
type Point struct {
	ID uuid.UUID
}

// Found is what the index holds under a point's id.
type Found struct {
	Present bool
	Payload []Value // aligned with the keys asked for; unset where the point, or its payload, lacks one
}

// ListRequest says which points are listed.
type ListRequest struct {
	Match map[string]string // payload keys and the text that a point must have under each; nil lists all
	Keys  []string          // payload keys that each listed point carries
	Part  int               // from 0, of Parts disjoint parts that together cover everything, to be listed side by side
	Parts int               // at least 1
	Limit int               // points at most; 0 means all
}

// Listed is one point of the index.
type Listed struct {
	ID      uuid.UUID
	Payload []Value // aligned with ListRequest.Keys
}

// Survey is what an index holds.
type Survey struct {
	Texts  []TextCount         // under the key that was asked for, most points first; not all of them if there are very many
	Whole  bool                // Texts counts all points, perhaps approximately; if not, those of a part of the index
	Sample []map[string]string // of some points, texts by dotted paths; a text that is long or no single value may be empty
}

// TextCount is how many points hold a text.
type TextCount struct {
	Text   string
	Points int64
}

// Index describes what a checker asks. Points is for display and for choosing a strategy, never proof: servers count
// approximately.
type Index struct {
	Name   string // of the collection in the index's server
	Exists bool   // false: nothing is indexed yet
	Points int64
}
