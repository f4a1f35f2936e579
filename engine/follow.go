package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// Following is a stream and where to read it from.
type Following struct {
	syncd.Stream
	State store.Split // what is kept under store.StreamOf
	// Debounce is for how long changes are collected, of which only a document's last is delivered; 0 delivers each.
	Debounce time.Duration
}

// Follow delivers the changes of streams, those of one document in their order, until the drain ends it without an error, ctx
// ends, or an error does. An error that ends a stream is returned when everything that was read of all streams is delivered and
// kept; any other error ends Follow at once. It does not ask the index. Prepare must have been called, by this engine or by one before it with the same sink.
func (e *Engine) Follow(ctx context.Context, streams []Following) error {
	f := feed{source: e.Source, readers: len(streams), lanes: e.Workers, stages: e.streamStages}
	if e.committer != nil {
		f.lanes = 1 // a transaction holds all changes up to its offset
	}
	f.divide = func(b *batch) []*batch { return divide(b, f.lanes) }
	followed := map[string]*followed{}
	for _, rule := range e.Rules {
		followed[rule.Collection.Name] = newFollowed(rule)
	}
	e.followed = followed
	e.failures.max = 0 // what may fail is bounded for a run, and a stream has no end
	collect := 10
	if e.committer != nil {
		collect = 1 // what is collected is committed as one
	}
	var splits []*split
	debounce := map[string]time.Duration{}
	for _, s := range streams {
		splits = append(splits, newStream(s))
		debounce[s.Name] = s.Debounce
	}
	f.plan = func(_, reading context.Context, out chan<- *split) error {
		for _, s := range splits {
			select {
			case out <- s:
			case <-reading.Done():
				return reading.Err()
			}
		}
		return nil
	}
	f.read = func(ctx context.Context, req syncd.ReadRequest, held func(int64)) iter.Seq2[syncd.Batch, error] {
		d := debounce[req.Split.Stream.Name]
		if d == 0 {
			return e.Source.Read(ctx, req)
		}
		read := func(ctx context.Context) iter.Seq2[syncd.Batch, error] { return e.Source.Read(ctx, req) }
		c := collecting{wait: d, changes: collect * req.BatchSize, bytes: int64(collect * req.BatchBytes), held: held}
		if most := e.held.most / int64(2*len(streams)); most > 0 && (c.bytes == 0 || c.bytes > most) {
			c.bytes = most // the other half is for what is on its way
		}
		c.merged = func(n int64) { e.merged.Add(n) }
		return c.read(ctx, read)
	}
	e.streams.Store(&splits)
	return e.run(ctx, &f)
}

// StreamError is the error with which a stream ended, once everything that was read of it is delivered and kept.
type StreamError struct {
	Stream string
	Err    error
}

func (e *StreamError) Error() string { return fmt.Sprintf("following %s: %v", e.Stream, e.Err) }

// Unwrap returns the cause.
func (e *StreamError) Unwrap() error { return e.Err }

// Reached returns how far the streams have come, in the order in which Follow was given them.
func (e *Engine) Reached() []store.Split {
	var reached []store.Split
	if splits := e.streams.Load(); splits != nil {
		for _, s := range *splits {
			s.mu.Lock()
			reached = append(reached, s.state)
			s.mu.Unlock()
		}
	}
	return reached
}

// followed is one collection of a stream.
type followed struct {
	rule   *mapping.Rule
	target syncd.Target
	fields []string // that the point ids need

	mu     sync.Mutex
	counts FollowedCounts
}

func newFollowed(rule *mapping.Rule) *followed {
	return &followed{rule: rule, target: rule.Target(), fields: rule.Fields()}
}

// FollowedCounts counts the changes of one collection that were read.
type FollowedCounts struct {
	Collection                          string
	Inserts, Updates, Replaces, Deletes int64
}

func (f *followed) count(n FollowedCounts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Inserts += n.Inserts
	f.counts.Updates += n.Updates
	f.counts.Replaces += n.Replaces
	f.counts.Deletes += n.Deletes
}

func (f *followed) snapshot() FollowedCounts {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.counts
	n.Collection = f.rule.Collection.Name
	return n
}

// StreamProgress is a stream at a moment.
type StreamProgress struct {
	Name    string
	Counts  tally.Counts
	Waiting int       // changes that were read and are not yet accounted for
	At      time.Time // when the last change that was handled was made, by the source's clock; zero before the first
	Since   time.Time // when the source last had nothing more and everything before was handled, by the clock of here; zero before
	Heard   time.Time // when the source last said anything, be it that there is nothing; a live one does about every second
	Current bool      // the source last said that there is nothing more, and everything before is handled
}

// streamProgress returns how the streams stand, and what was read of their collections.
func (e *Engine) streamProgress() (streams []StreamProgress, collections []FollowedCounts) {
	splits := e.streams.Load()
	if splits == nil {
		return nil, nil
	}
	for _, s := range *splits {
		streams = append(streams, s.streamProgress())
	}
	for _, rule := range e.Rules {
		collections = append(collections, e.followed[rule.Collection.Name].snapshot())
	}
	return streams, collections
}

func (s *split) streamProgress() StreamProgress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return StreamProgress{
		Name: s.Stream.Name, Counts: s.counts, Waiting: int(s.scanned - s.counts.Scanned), At: s.at, Since: s.current, Heard: s.heard, Current: s.idle && s.low == s.next,
	}
}

// laneSeed makes the lanes of keys; a key has the same lane for as long as the process lives.
var laneSeed = maphash.MakeSeed()

// divide makes of a stream's batch one for each lane that has changes in it, so that the changes of one document go through
// one worker in their order. The last of them has the offset: a split passes the others only together with it.
func divide(b *batch, lanes int) []*batch {
	if lanes == 1 || len(b.changes) <= 1 {
		if len(b.changes) == 1 {
			b.lane = laneOf(&b.changes[0], lanes)
		}
		return []*batch{b}
	}
	byLane := make([][]syncd.Change, lanes)
	for i := range b.changes {
		l := laneOf(&b.changes[i], lanes)
		byLane[l] = append(byLane[l], b.changes[i])
	}
	var parts []*batch
	for l, changes := range byLane {
		if len(changes) > 0 {
			parts = append(parts, &batch{split: b.split, lane: l, changes: changes, read: b.read})
		}
	}
	last := parts[len(parts)-1]
	last.offset, last.at, last.took = b.offset, b.at, b.took
	return parts
}

// laneOf chooses a lane by the collection and the text of the document's id: documents of one text share a point id, also where a
// source holds an id more than once.
func laneOf(c *syncd.Change, lanes int) int {
	if lanes == 1 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(laneSeed)
	_, _ = h.WriteString(c.Streamed.Collection)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(c.ID)
	return int(h.Sum64() % uint64(lanes))
}
