package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// Options is what an engine needs. All plugins and the store are open and stay the caller's to close.
type Options struct {
	RunID   string
	Source  syncd.Source
	Checker syncd.Checker // nil: every document is sent without asking, with reason full
	Stages  []syncd.Stage // that changes go through before the sink, in this order
	Sink    syncd.Sink    // nil in a dry run
	Rules   []*mapping.Rule
	Index   *syncd.Index // what the index held at the start; nil is not known

	DryRun     *DryRun // nothing is sent; nil sends
	Ahead      bool    // places are prepared for collections that the source does not have yet as well: they may come
	BatchSize  int     // documents, at least 1
	BatchBytes int     // bytes of whole documents per batch and per write, at least 1; Memory may allow less
	Memory     Memory
	Sleep      time.Duration // after each batch of a reader
	Readers    int           // 0: automatic
	Workers    int           // 0: automatic
	Limits     Limits
	MinAge     time.Duration // documents that changed within it are left alone, where a rule knows when they did

	// Guard is asked before a batch is sent, with what was found in the collection so far; its error ends the run. nil guards
	// nothing.
	Guard  func(rule *mapping.Rule, n tally.Counts) error
	Ledger Ledger // remembers what was sent and never appeared; nil remembers nothing

	StopOnFailure bool       // the first document that can't be handled ends the run
	MaxFailures   int64      // documents that may fail before the run ends; 0 is no limit
	DeadLetters   syncd.Sink // takes the documents that can't be sent; nil only counts and names them
	Oversize      Oversize   // "" is OversizeDLQ
	WaitForIndex  bool       // an index that can't be asked any more is asked again for as long as it takes

	// Checkpoints keeps how far the run came; nil keeps nothing. Where it is a store.Committer, each batch and how far it goes
	// are committed as one.
	Checkpoints store.Checkpoints

	// Shared has the splits worked on by whoever reads them from the store, and Backfill reads none itself. It calls moved with every
	// split's state as it changes, and returns with ctx's error or that of moved, or with what ends the run. nil: Backfill works on them.
	Shared func(ctx context.Context, runID string, moved func(collection string, s store.Split) error) error

	StallAfter time.Duration   // without any progress a run is reported to stand still; 0 never reports it
	Drain      <-chan struct{} // closed: read no more, finish what is under way, and return; nil never does
	Hooks      Hooks
	Logger     *slog.Logger
}

// DryRun says what a run that sends nothing finds out beside the verdicts.
type DryRun struct {
	Sample  float64 // look only at this share of the documents, above 0 and below 1; 0 looks at all
	Measure int     // encode up to so many events of each batch, to learn their size
	// Preview encodes an event, as syncd.Previewer; nil measures nothing.
	Preview func(c *syncd.Change) (key, value []byte, err error)
	// Embed finds out how much of what would be sent would be embedded; nil does not.
	Embed *DryEmbed
}

// DryEmbed says how a dry run finds out how much would be embedded.
type DryEmbed struct {
	Most int // documents of each collection that are read for it, chosen evenly among those that would be sent; 0 reads all
	// Held is as syncd.SinkAbilities.Held; nil counts unchanged texts as to be embedded.
	Held func(ctx context.Context, changes []syncd.Change) error
}

// Hooks are told how a run goes. Each may be nil.
type Hooks struct {
	CollectionDone func(CollectionReport)                           // a collection is complete; called one at a time, in any order
	Item           func(verdict.Item)                               // every document that was looked at; called one at a time
	Sent           func(rule *mapping.Rule, changes []syncd.Change) // what the sink confirmed; called concurrently, must not keep changes
	Failed         func(collection string, f tally.Failure)         // every document that can't be handled; called concurrently
	BatchDone      func(BatchReport)                                // every batch that was handled; called concurrently
	Tracer         Tracer                                           // follows the batches
}

// Ledger remembers documents that were sent and never appeared in the index, so that a run need not send them for ever. It
// says nothing about what is in the index. It is safe for concurrent use.
type Ledger interface {
	// Judge is told what the index says of a document, and reports whether the run should leave it alone.
	Judge(rule *mapping.Rule, c *syncd.Change) (leave bool, err error)
	// Sent is told what was sent; it must not keep the slice.
	Sent(rule *mapping.Rule, changes []syncd.Change) error
}

// Oversize says what happens to a change that the sink finds too large.
type Oversize string

// The policies.
const (
	OversizeDLQ       Oversize = "dlq"            // it is a document that can't be sent
	OversizeReference Oversize = "reference_only" // it is sent without its document
	OversizeFail      Oversize = "fail"           // the run stops
)

// ErrStopped is the cause of a run that a document error ended because of StopOnFailure.
var ErrStopped = errors.New("stopped at the first document that can't be handled")

// Tracer follows batches through their stages. Its methods are called concurrently.
type Tracer interface {
	// Batch begins a batch's way; end is called once, with what became of it.
	Batch(ctx context.Context, b BatchInfo) (inside context.Context, end func(error))
	// Stage begins one stage inside it.
	Stage(ctx context.Context, s Stage, documents int) (inside context.Context, end func(error))
}

// BatchInfo says which batch a trace is about.
type BatchInfo struct {
	Collection string
	Split      int
	Documents  int
	Read       time.Time     // when its reading began
	ReadTime   time.Duration // that the source took
}

// BatchReport is one batch that was handled. Its numbers are the batch's own.
type BatchReport struct {
	Collection string
	Deletes    bool // of orphans
	Counts     tally.Counts
	Bytes      int64 // of what was written
	Times      [StageCount]time.Duration
}
