package syncd

import (
	"context"
	"io"
)

// Checker asks the index which points it holds. Check is safe for concurrent use; Close is called once, after every
// other call has returned.
type Checker interface {
	// Check sets verdicts[i] for points[i]; both have the same length, of any size. It returns nil only if every
	// verdict was set from an answer of the index; on error the verdicts mean nothing. In an index that does not exist
	// (yet), and is allowed not to, every point is Missing. It retries what is worth
	// retrying itself, until ctx ends or its own limits are reached. The slices belong to the caller.
	Check(ctx context.Context, points []Point, verdicts []Verdict) error

	io.Closer
}

// Inspector is implemented by a checker that can describe the index as a whole.
type Inspector interface {
	Inspect(ctx context.Context) (Index, error)
}

// Index describes what a checker asks. Points is for display and for choosing a strategy, never proof: servers count
// approximately.
type Index struct {
	Name   string // of the collection in the index's server
	Exists bool   // false: nothing is indexed yet
	Points int64
}
