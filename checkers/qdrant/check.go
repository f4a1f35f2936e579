package qdrant

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

// Check asks in batches of batch_size, of which concurrency are in flight over all calls. Calls about few points, as those of many
// small collections, are asked together: a request costs both sides more than the ids in it.
func (c *checker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if len(points) != len(verdicts) {
		return fmt.Errorf("asking Qdrant: %d verdicts for %d points", len(verdicts), len(points))
	}
	most := c.limit.now()
	if n := len(points); n == 0 || n > most/2 || c.done.Load() {
		return c.check(ctx, points, verdicts)
	}
	if err := c.together.Ask(ctx, points, verdicts, most); err != nil {
		return cmp.Or(interrupted(ctx), err)
	}
	return nil
}

// check asks about the points of one call, or of several.
func (c *checker) check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	return c.inBatches(ctx, len(points), &c.limit, func(ctx context.Context, from, to int) error {
		a := c.newAsk(selection{})
		defer c.putAsk(a)
		if err := c.lookup(ctx, a, points[from:to], &c.limit); err != nil {
			return err
		}
		a.verdicts(verdicts[from:to])
		return nil
	})
}

// inBatches calls ask for the parts of n things that one request takes each, several at a time.
func (c *checker) inBatches(ctx context.Context, n int, limit *sizer, ask func(ctx context.Context, from, to int) error) error {
	if c.done.Load() {
		return errClosed
	}
	switch {
	case n == 0:
		return interrupted(ctx)
	case n <= limit.now(): // the usual case needs no goroutine
		if err := c.acquire(ctx); err != nil {
			return err
		}
		defer c.release()
		return ask(ctx, 0, n)
	}
	group, gctx := errgroup.WithContext(ctx)
	for from, to := 0, 0; from < n; from = to {
		// A slot before the goroutine, so that a long call does not start them all.
		if err := c.acquire(gctx); err != nil {
			break // ctx has ended, or a batch has failed: Wait tells which
		}
		to = min(from+limit.now(), n)
		group.Go(panics.Caught(func() error {
			defer c.release()
			return ask(gctx, from, to)
		}))
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return interrupted(ctx)
}

func (c *checker) acquire(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	}
}

func (c *checker) release() { <-c.slots }

func interrupted(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("asking Qdrant: %w", err)
	}
	return nil
}

// lookup asks about points in one request, or in several if Qdrant does not take so many ids at once, and leaves in a
// what was found. It asks for less than limit says about what was refused here twice, though others of that size pass.
func (c *checker) lookup(ctx context.Context, a *ask, points []syncd.Point, limit *sizer) error {
	a.fill(points)
	most, refused := len(a.ids), 0
	for from := 0; from < len(a.ids); {
		to := min(from+min(limit.now(), most), len(a.ids))
		err := c.get(ctx, a, from, to)
		if n := to - from; err != nil && c.tooMany(ctx, n, err) {
			if now, lowered := limit.refuse(n); lowered {
				c.log.Info("Qdrant does not take so many ids at once: asking for fewer for now", "ids", n, "next", now, "reason", c.redact(qdrantconn.Reason(err)))
			}
			if most = n; n == refused {
				most = (n + 1) / 2
			}
			refused = n
			c.retried(retryTooLarge)
			continue
		}
		if err != nil {
			return c.cannotAsk(ctx, fmt.Sprintf("asking Qdrant at %s about %d points", c.ep.Addr(), to-from), err)
		}
		limit.pass(to - from)
		from, most, refused = to, len(a.ids), 0
	}
	return nil
}

// get asks about the ids from:to of a and notes which were found.
func (c *checker) get(ctx context.Context, a *ask, from, to int) error {
	a.from, a.to = from, to
	err := c.retry(ctx, to-from, func(ctx context.Context) error {
		// The messages are a's; those of the call are not looked at.
		if _, err := c.client.GetPointsClient().Get(ctx, nil, grpc.ForceCodecV2(a)); err != nil {
			return err
		}
		return a.settle(from, to)
	})
	switch {
	case err == nil:
		c.seen.Store(true)
	case c.isEmpty(err):
		return nil // nothing is found
	}
	return err
}

// tooMany reports whether a request about n ids failed because of its size: it was refused, or late more than once.
func (c *checker) tooMany(ctx context.Context, n int, err error) bool {
	what, _ := qdrantconn.Classify(err)
	return ctx.Err() == nil && (n > 1 && what == qdrantconn.TooMuch || n > few && status.Code(err) == codes.DeadlineExceeded)
}

// isEmpty reports whether err says that there is no collection where that is an index without points.
func (c *checker) isEmpty(err error) bool {
	return status.Code(err) == codes.NotFound && c.conf.OnMissingCollection == missingIsEmpty && !c.seen.Load()
}

// seconds is d as Qdrant's timeouts count it. A timeout of 0 would expire at once.
func seconds(d time.Duration) uint64 { return uint64(max((d+time.Second-1)/time.Second, 1)) }

// cannotAsk turns the final error of a request into one for people. doing is a gerund phrase.
func (c *checker) cannotAsk(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if status.Code(err) == codes.NotFound {
		if c.seen.Load() {
			return c.fail("see who deleted or renamed it; run again when it is there",
				fmt.Sprintf("asking Qdrant at %s: the collection %q was there and is gone", c.ep.Addr(), c.conf.Collection), err)
		}
		return c.noCollection(err)
	}
	return c.explain(doing, err)
}
