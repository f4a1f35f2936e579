package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stage is a part of a batch's way that takes time.
type Stage uint8

// The stages, in a batch's order. Idle is a worker that waits for a batch.
const (
	StageIdle      Stage = iota
	StageScan            // the source is asked for the next batch
	StageCheck           // the index is asked
	StageFetch           // the source is asked for whole documents
	StageTransform       // what the sink needs is made of them: chunks, vectors
	StageWrite           // the sink is to confirm
	StageCount
)

var stageNames = [StageCount]string{"idle", "scan", "check", "fetch", "transform", "write"}

// String gives the stage's word.
func (s Stage) String() string { return stageNames[s] }

// waitingFor says what whoever is in a stage waits for.
var waitingFor = [StageCount]string{"a batch", "documents of the source", "the index's answer", "whole documents of the source", "the stages, such as the embedding service", "the sink's confirmation"}

// activity says what readers and workers do at the moment, and how long they spent on what.
type activity struct {
	moved   atomic.Pointer[time.Time] // when something was last handled; see last
	stalled atomic.Bool
	working [StageCount]atomic.Int64
	times   [StageCount]atomic.Int64
}

func (a *activity) enter(s Stage) { a.working[s].Add(1) }
func (a *activity) leave(s Stage) { a.working[s].Add(-1) }

// move records that the run advanced now. Concurrent calls may store in any order; the latest time is kept.
func (a *activity) move() {
	now := time.Now()
	for before := a.moved.Load(); before == nil || before.Before(now); before = a.moved.Load() {
		if a.moved.CompareAndSwap(before, &now) {
			break
		}
	}
	a.stalled.Store(false) // the watchdog may be just about to say otherwise, until it looks again
}

// last is when something was last handled. It never goes back, not even when the clock is set.
func (a *activity) last() time.Time {
	if t := a.moved.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// watch is Engine.Watch.
func (a *activity) watch(ctx context.Context, stallAfter time.Duration, logger *slog.Logger, phase func() string) (stop func()) {
	if stallAfter <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(max(stallAfter/4, time.Millisecond))
		defer tick.Stop()
		next := stallAfter
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			still := time.Since(a.last())
			a.stalled.Store(still >= stallAfter)
			if still < stallAfter {
				next = stallAfter
				continue
			}
			if still >= next {
				next = 2 * still
				logger.Warn(fmt.Sprintf("nothing has moved for %s: %s", still.Round(time.Second), a.waiting(phase)),
					"hint", "if it lasts, look at the health and load of what is waited for; the run goes on by itself")
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
		a.stalled.Store(false) // nobody would take it back
	}
}

// waiting says what readers and workers are waiting for.
func (a *activity) waiting(phase func() string) string {
	var parts []string
	for s := StageScan; s < StageCount; s++ {
		if n := a.working[s].Load(); n > 0 {
			parts = append(parts, fmt.Sprintf("%d for %s", n, waitingFor[s]))
		}
	}
	if len(parts) == 0 {
		return "the run waits for " + phase()
	}
	return "waiting " + strings.Join(parts, ", ")
}

// clock measures one batch's time in each stage. Time in a stage inside another counts as the inner one's.
type clock struct {
	activity *activity
	tracer   Tracer
	in       Stage // where the worker is
	took     [StageCount]time.Duration
	nested   time.Duration // spent in stages inside the one at hand
}

// enter begins a stage and returns how to leave it.
func (c *clock) enter(ctx context.Context, s Stage, documents int) (inside context.Context, leave func(error)) {
	outer, outerNested := c.in, c.nested
	if outer != StageIdle {
		c.activity.leave(outer)
	}
	c.activity.enter(s)
	c.in, c.nested = s, 0
	start := time.Now()
	inside, end := ctx, func(error) {}
	if c.tracer != nil {
		inside, end = c.tracer.Stage(ctx, s, documents)
	}
	return inside, func(err error) {
		all := time.Since(start)
		own := all - c.nested
		c.took[s] += own
		c.activity.times[s].Add(int64(own))
		c.activity.leave(s)
		if outer != StageIdle {
			c.activity.enter(outer)
		}
		c.in, c.nested = outer, outerNested+all
		if err == nil {
			c.activity.move()
		}
		end(err)
	}
}
