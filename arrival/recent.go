package arrival

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
)

// maxRecent is how many of the events sent last are remembered of each collection.
const maxRecent = 64

// Recent takes a short look at whether the index catches up, which proves nothing: it remembers the events sent last of each
// collection. Sent is safe for concurrent use.
type Recent struct {
	checker syncd.Checker

	mu   sync.Mutex
	last map[*mapping.Rule]*ring
}

// ring is the events sent last, the newest at next-1 once it is full.
type ring struct {
	events []sentPoint
	next   int
}

type sentPoint struct {
	id      uuid.UUID
	deleted bool
}

// NewRecent returns a Recent that remembers nothing so far.
func NewRecent(checker syncd.Checker) *Recent {
	return &Recent{checker: checker, last: map[*mapping.Rule]*ring{}}
}

// Sent notes changes of one rule that the sink confirmed. It does not keep the slice.
func (r *Recent) Sent(rule *mapping.Rule, changes []syncd.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.last[rule]
	if last == nil {
		last = &ring{}
		r.last[rule] = last
	}
	for i := max(0, len(changes)-maxRecent); i < len(changes); i++ {
		e := sentPoint{changes[i].PointID, changes[i].Operation == syncd.Delete}
		if len(last.events) < maxRecent {
			last.events = append(last.events, e)
			continue
		}
		last.events[last.next] = e
		last.next = (last.next + 1) % maxRecent
	}
}

// Await waits until the index shows the events sent last, and then until it holds as many points as it should at least, or
// no longer changes: events sent last may be indexed before others, and some documents an indexer never indexes. Where points
// is negative it is not known how many there will be, since some were deleted. It returns false when the time is up, drain is
// closed, or the index can't be asked.
func (r *Recent) Await(ctx context.Context, drain <-chan struct{}, timeout time.Duration, points int64) bool {
	ctx, stop := wait.Drained(ctx, drain)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.awaitLast(ctx) && r.awaitCount(ctx, points)
}

// awaitLast waits until the index shows the events sent last.
func (r *Recent) awaitLast(ctx context.Context) bool {
	var open []sentPoint
	r.mu.Lock()
	for _, last := range r.last {
		open = append(open, last.events...)
	}
	r.mu.Unlock()
	for pause := firstPoll; ; pause = min(pause*2, lastPoll) {
		points, verdicts := make([]syncd.Point, len(open)), make([]syncd.Verdict, len(open))
		for i, e := range open {
			points[i].ID = e.id
		}
		if err := r.checker.Check(ctx, points, verdicts); err != nil {
			return false
		}
		left := open[:0]
		for i, v := range verdicts {
			if open[i].deleted && v == syncd.Present || !open[i].deleted && v == syncd.Missing {
				left = append(left, open[i])
			}
		}
		if open = left; len(open) == 0 {
			return true
		}
		if wait.Pause(ctx, pause) != nil {
			return false
		}
	}
}

// awaitCount waits until the index holds so many points, where that is not negative, or as many as the time before.
func (r *Recent) awaitCount(ctx context.Context, want int64) bool {
	inspect := r.checker.Abilities().Inspect
	if inspect == nil {
		return true
	}
	last := int64(-1)
	for pause := 4 * firstPoll; ; pause = min(pause*2, lastPoll) {
		index, err := inspect(ctx)
		if err != nil {
			return false
		}
		if want >= 0 && index.Points >= want || index.Points == last {
			return true
		}
		last = index.Points
		if wait.Pause(ctx, pause) != nil {
			return false
		}
	}
}
