package engine

import (
	"context"
	"errors"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
)

// reader reads splits and hands out their batches.
type reader struct {
	e    *Engine
	feed *feed
	in   <-chan *split
	out  []chan *batch // by lane
}

// run reads splits until there are no more. reading ends with the drain, and with ctx; see planner.run.
func (r *reader) run(ctx, reading context.Context) error {
	for {
		select {
		case s, ok := <-r.in:
			if !ok {
				return nil
			}
			err := r.split(ctx, reading, s)
			if s.stopped() && reading.Err() == nil {
				if err = r.e.leave(ctx, s); err != nil {
					return err
				}
				continue
			}
			if err == nil && s.Stream != nil && reading.Err() == nil {
				err = errStreamEnded
			}
			if err != nil {
				if s.Stream != nil {
					return r.endStream(ctx, s, err)
				}
				return text.Doing(err, "reading collection %s", s.Collection.Name)
			}
			if err := r.e.release(ctx, s); err != nil {
				return err
			}
		case <-reading.Done():
			return reading.Err()
		}
	}
}

// split reads one split to its end. Whether it brings ids or whole documents follows what the workers find: on a change it
// starts again behind the last batch that it handed out.
func (r *reader) split(ctx, reading context.Context, s *split) error {
	if s.stop != nil {
		var stop context.CancelFunc
		reading, stop = wait.Drained(reading, s.stop)
		defer stop()
	}
	for after := s.after; ; {
		next, err := r.pass(ctx, reading, s, after)
		if err != nil || next == "" {
			return err
		}
		after = next
		if s.wanted.CompareAndSwap(true, false) {
			if err := r.divided(ctx, s, after); err != nil {
				return err
			}
		}
	}
}

// pass reads a split from an offset on. It returns the offset at which the split is to be read in the other way, or "" at the
// split's end.
func (r *reader) pass(ctx, reading context.Context, s *split, after syncd.Offset) (next syncd.Offset, err error) {
	whole := r.whole(s)
	size := r.batchSize(s, whole)
	a := &r.e.activity
	ahead, err := r.ask(reading, s, whole, size)
	if err != nil {
		return "", err
	}
	defer func() { ahead.release() }()
	asked, asking := time.Now(), true
	read := asked // a source may read a batch while the one before it is handled, but hardly sooner than it gave that one
	a.enter(StageScan)
	answered := func() { // what comes now is not the source's time
		if asking {
			a.leave(StageScan)
			asking = false
		}
	}
	defer answered()
	for b, err := range r.feed.read(reading, syncd.ReadRequest{
		Split: s.Split, After: after, Fields: s.col.fields(), Documents: whole,
		BatchSize: size, BatchBytes: r.e.BatchBytes,
	}, func(bytes int64) { ahead.resize(bytes) }) {
		if err != nil {
			return "", err
		}
		if len(b.Changes) > 0 || s.Stream != nil {
			answered()
			took := time.Since(asked)
			a.times[StageScan].Add(int64(took))
			a.move()
			bytes, largest := measureChanges(b.Changes)
			s.col.sizes.note(largest)
			ahead.resize(bytes)
			handed := &batch{split: s, changes: b.Changes, offset: b.Offset, read: read, took: took}
			switch {
			case s.Stream == nil:
			case len(b.Changes) == 0:
				handed.idle = read
			default:
				handed.at = b.Changes[len(b.Changes)-1].Streamed.At
			}
			read = time.Now()
			parts := r.feed.divide(handed)
			for _, part := range parts {
				part.share = ahead.cut(part.changes)
			}
			ahead.release()
			for i, part := range parts {
				until := reading
				if i > 0 {
					until = ctx // the offset is behind all parts: what is read again behind it would bring the first ones twice
				}
				if err := r.handOut(until, part); err != nil {
					for _, left := range parts[i+1:] {
						left.share.release()
					}
					return "", err
				}
			}
			if err := r.pause(reading, len(b.Changes)); err != nil {
				return "", err
			}
			if b.Offset != "" && (r.otherwise(s, whole, size) || s.wanted.Load()) {
				return b.Offset, nil
			}
			if ahead, err = r.ask(reading, s, whole, size); err != nil {
				return "", err
			}
		}
		answered()
		a.enter(StageScan)
		asked, asking = time.Now(), true
	}
	return "", reading.Err() // a source may end quietly when its context does
}

// errStreamEnded says that a source breaks its word: a stream never ends by itself.
var errStreamEnded = errors.New("the stream ended by itself")

// endStream returns the error that ended the read of a stream, once everything that was read before it is handled.
func (r *reader) endStream(ctx context.Context, s *split, err error) error {
	if waited := s.settled(ctx); waited != nil {
		return waited
	}
	return &StreamError{Stream: s.Stream.Name, Err: err}
}

// ask takes what the next batch may need, with the answer that the source makes it of.
func (r *reader) ask(ctx context.Context, s *split, whole bool, size int) (share, error) {
	n := int64(size) * changeBytes
	if whole {
		n = int64(r.e.BatchBytes) + 2*s.col.sizes.document(r.e.held.most/portions)
	}
	return r.e.held.take(ctx, reads, n)
}

// otherwise reports whether the split should no longer be read as it is: whole or not, in batches of a size.
func (r *reader) otherwise(s *split, whole bool, size int) bool {
	if s.Stream != nil {
		return false
	}
	now := r.whole(s)
	n := r.batchSize(s, now)
	return now != whole || n < size/2 || n > 2*size
}

// whole reports whether reads of the split should bring whole documents. Where batches are committed as one, the first does, to tell
// how many documents a batch of ids may have.
func (r *reader) whole(s *split) bool {
	return s.Stream == nil && r.e.DryRun == nil && (s.col.wantsWhole() || r.e.committer != nil && !s.col.deletes && !s.col.sizes.known())
}

// handOut gives a batch to whichever worker is free.
func (r *reader) handOut(ctx context.Context, b *batch) error {
	select {
	case r.e.inFlight <- struct{}{}:
	case <-ctx.Done():
		b.share.release()
		return ctx.Err()
	}
	b.split.read(b) // and hold the split until the batch is accounted for
	select {
	case r.out[b.lane] <- b:
	case <-ctx.Done():
		b.split.unread(b)
		<-r.e.inFlight
		b.share.release()
		return ctx.Err()
	}
	return nil
}

// pause makes the pauses that the run is to make behind so many documents.
func (r *reader) pause(ctx context.Context, documents int) error {
	if err := r.e.throttle.documents(ctx, documents); err != nil {
		return err
	}
	return r.e.rest(ctx, r.e.Sleep)
}

// rest makes a pause that is wanted, and so is no standstill.
func (e *Engine) rest(ctx context.Context, d time.Duration) error {
	for portion := d; d > 0; d -= portion {
		if e.StallAfter > 0 {
			portion = min(d, max(e.StallAfter/2, time.Millisecond))
		}
		if err := wait.Pause(ctx, portion); err != nil {
			return err
		}
		e.activity.move()
	}
	return nil
}

// batchSize is how many documents a batch of the split holds at most. A batch that is committed as one is kept in memory as one,
// so a quarter of what documents may take has room for all of it.
func (r *reader) batchSize(s *split, whole bool) int {
	if r.e.committer == nil {
		return r.e.BatchSize
	}
	n := min(r.e.BatchSize, maxCommit)
	if most := r.e.held.most; most > 0 && !whole && s.Stream == nil && s.col.sizes.known() {
		n = min(n, max(1, int(most/4/s.col.sizes.document(most))))
	}
	return n
}
