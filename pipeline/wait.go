package pipeline

import (
	"context"
	"time"

	"github.com/syncd-io/syncd"
)

// The index is asked again after these pauses.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// awaitIndex gives the indexer up to WaitTimeout to index what was sent, and then looks at the index again. It proves nothing
// and fails nothing: a slow indexer is not an error of the run, and neither is an index that can't be asked any more.
func (r *run) awaitIndex(ctx context.Context, rep *Report) {
	insp, ok := r.Checker.(syncd.Inspector)
	if !ok || !rep.Index.Known || rep.Total.Acked == 0 {
		rep.Index.CaughtUp = true
		return
	}
	if r.WaitTimeout > 0 {
		start := time.Now()
		wait, stop := r.untilDrained(ctx)
		wait, cancel := context.WithTimeout(wait, r.WaitTimeout)
		rep.Index.CaughtUp = r.pollRecent(wait) && r.pollCount(wait, insp, rep.Index.Before.Points+rep.Total.Acked)
		cancel()
		stop()
		rep.Index.Waited = time.Since(start)
	}
	after, err := insp.Inspect(ctx)
	if err != nil {
		r.Logger.Warn("can't look at the index after the run", "error", err)
		rep.Index.Known = false
		return
	}
	rep.Index.After = after
}

// pollRecent waits until the index holds the points that were sent last of each collection.
func (r *run) pollRecent(ctx context.Context) bool {
	var points []syncd.Point
	for _, c := range r.collections {
		for _, id := range c.recent {
			points = append(points, syncd.Point{ID: id})
		}
	}
	for wait := firstPoll; ; wait = min(wait*2, lastPoll) {
		verdicts := make([]syncd.Verdict, len(points))
		if err := r.Checker.Check(ctx, points, verdicts); err != nil {
			return false
		}
		left := points[:0]
		for i, v := range verdicts {
			if v == syncd.Missing {
				left = append(left, points[i])
			}
		}
		if points = left; len(points) == 0 {
			return true
		}
		if pause(ctx, wait) != nil {
			return false
		}
	}
}

// pollCount waits until the index holds as many points as it should at least, or no longer grows: documents sent last may
// be indexed before others, and some documents an indexer never indexes.
func (r *run) pollCount(ctx context.Context, insp syncd.Inspector, want int64) bool {
	last := int64(-1)
	for wait := 4 * firstPoll; ; wait = min(wait*2, lastPoll) {
		index, err := insp.Inspect(ctx)
		if err != nil {
			return false
		}
		if index.Points >= want || index.Points == last {
			return true
		}
		last = index.Points
		if pause(ctx, wait) != nil {
			return false
		}
	}
}
