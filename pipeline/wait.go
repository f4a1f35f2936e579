package pipeline

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// The index is asked again after these pauses.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// awaitIndex gives the indexer up to WaitTimeout to index what was sent last of each collection, and then looks at the index
// again. It proves nothing and fails nothing: a slow indexer is not an error of the run, and neither is an index that can't
// be asked any more.
func (r *run) awaitIndex(ctx context.Context, rep *Report) {
	insp, ok := r.Checker.(syncd.Inspector)
	if !ok || !rep.Index.Known || rep.Total.Acked == 0 {
		rep.Index.CaughtUp = true
		return
	}
	if r.WaitTimeout > 0 {
		start := time.Now()
		rep.Index.CaughtUp = r.pollRecent(ctx)
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

func (r *run) pollRecent(ctx context.Context) bool {
	var ids []uuid.UUID
	for _, c := range r.collections {
		ids = append(ids, c.recent...)
	}
	points := make([]syncd.Point, len(ids))
	for i, id := range ids {
		points[i].ID = id
	}
	ctx, stop := r.untilDrained(ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, r.WaitTimeout)
	defer cancel()
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
