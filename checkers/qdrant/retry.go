package qdrant

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// longestWait is the longest that Qdrant may ask to wait. Its rate limits refill within a minute, so a longer wait
	// comes from something that a run should not sleep through.
	longestWait = 5 * time.Minute
	// From this long on a pause is worth telling: a run that stands still should say why.
	notableWait = time.Second
	// So often a request may be late before it is taken to ask for too much, where it asks about more than few ids.
	patience = 2
	few      = 50
	// So often a request is repeated that failed for a reason which Qdrant does not name.
	doubts = 3
)

// Why a request was repeated, where that is not the name of an error's code.
const (
	retryLimited  = "rate limited"
	retryTooLarge = "too large"
)

// outcome is what an error of one attempt means for the next.
type outcome uint8

const (
	final     outcome = iota // asking again would give the same
	transient                // Qdrant could not be asked, now
	doubtful                 // an error without a name: it may be either
	throttled                // Qdrant says when to ask again
	tooMuch                  // fewer ids may pass
)

// classify tells the outcomes apart, by code and type alone.
//
// RESOURCE_EXHAUSTED without a time to wait has two causes, and halving the batch is right for both: a rate limit that so
// many ids can never pass, and a message longer than the client or the server takes.
//
// INTERNAL is what Qdrant gives for any error of its own that it has no code for ("Service internal error"): a shard of
// which no replica is alive at the moment, and a broken segment. UNKNOWN and ABORTED it never gives for a read; they come
// from what stands in front of it.
func classify(err error) (outcome, time.Duration) {
	s, ok := status.FromError(err)
	if !ok { // not an answer, but what was found wrong with one
		return final, 0
	}
	switch s.Code() {
	case codes.Internal, codes.Unknown, codes.Aborted:
		return doubtful, 0
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled: // canceled by the server: the caller's ctx is looked at first
		return transient, 0
	case codes.ResourceExhausted:
		limited, ok := errors.AsType[*qdrant.QdrantResourceExhaustedError](err)
		if !ok {
			return tooMuch, 0
		}
		wait := time.Duration(limited.RetryAfterS) * time.Second
		if wait > longestWait {
			return final, 0
		}
		return throttled, wait
	}
	return final, 0
}

// retry calls attempt until it succeeds, fails for good, asks too much, ctx ends, or max_elapsed has passed without an
// answer. Time that Qdrant asks to wait does not count: a rate limit makes a run slow and does not fail it. The error is
// ctx's own, or the last attempt's as it was.
//
// smaller says that the caller can ask for less: then a request that is late for the second time is given back to it.
func (c *checker) retry(ctx context.Context, smaller bool, attempt func(context.Context) error) error {
	var pause *backoff.ExponentialBackOff
	started := c.now()
	for late, doubted := 0, 0; ; {
		within, cancel := context.WithTimeout(ctx, c.conf.Timeout)
		err := attempt(within)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		what, wait := classify(err)
		switch what {
		case transient, throttled:
		case doubtful:
			if doubted++; doubted > doubts {
				return err
			}
		default:
			return err
		}
		if status.Code(err) == codes.DeadlineExceeded {
			if late++; late == patience && smaller {
				return err
			}
		}
		if pause == nil {
			pause = c.pauses()
		}
		// Every request in flight is told the same time to wait; the jitter keeps them from coming back as one.
		next := pause.NextBackOff()
		wait += next
		if what == throttled {
			started = started.Add(wait)
		} else if c.now().Sub(started)+wait > c.conf.Retry.MaxElapsed {
			return err
		}
		if wait >= notableWait {
			c.log.Warn("waiting before asking Qdrant again", "wait", wait.Round(10*time.Millisecond), "reason", c.redact(reason(err)))
		}
		if err := c.sleep(ctx, wait); err != nil {
			return err
		}
		c.retried(retryReason(what, err))
	}
}

// retryReason is the name of the error's code in words.
func retryReason(what outcome, err error) string {
	if what == throttled {
		return retryLimited
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return "deadline exceeded"
	default:
		return strings.ToLower(status.Code(err).String())
	}
}

// pauses gives pauses with full jitter: from nothing to a bound that doubles from initial to max. The library's are
// interval ± factor × interval, which is the same for half the interval and a factor of 1.
func (c *checker) pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = c.conf.Retry.Initial / 2
	b.MaxInterval = c.conf.Retry.Max / 2
	b.RandomizationFactor = 1
	b.Multiplier = 2
	b.Reset()
	return b
}

// sleep waits for d or until ctx ends, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
