package qdrant

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/internal/retry"
)

const (
	// longestWait is the longest that Qdrant may ask to wait. Its rate limits refill within a minute, so a longer wait
	// comes from something that a run should not sleep through. To a shorter one a pause is added: every request in flight is
	// told the same time.
	longestWait = 5 * time.Minute
	// From this long on an outage is worth telling: a run that stands still should say why.
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
// RESOURCE_EXHAUSTED without a time to wait has two causes that last, and halving the batch is right for both: a rate limit that
// so many ids can never pass, and a message longer than the client or the server takes. A server that is short of something at
// the moment says the same, so the batch grows again: see sizer.
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
		// What is negative, or too long for a time.Duration, is no time to wait.
		return throttled, time.Duration(min(max(limited.RetryAfterS, 0), int(longestWait/time.Second)+1)) * time.Second
	}
	return final, 0
}

// retry calls attempt until it succeeds, fails for good, asks too much, ctx ends, or max_elapsed has passed without an
// answer. Time that Qdrant asks to wait does not count: a rate limit makes a run slow and does not fail it. The error is
// ctx's own, or the last attempt's as it was.
//
// n is how much the request asks for. What is too much is given back to the caller, who can ask for less, unless it is one: then
// the cause may be another one, which passes. A request that is late for the second time is given back, too, unless it asks for few.
func (c *checker) retry(ctx context.Context, n int, attempt func(context.Context) error) error {
	var late, doubted int
	var what outcome
	attempts := retry.Retrier{
		Policy: retry.Policy{
			First: c.conf.Retry.Initial, Max: c.conf.Retry.Max, Jitter: 1, MaxDelay: longestWait,
			Elapsed: max(c.conf.Retry.MaxElapsed, 1), // 0 never repeats
		},
		Clock: c.clock,
		Classify: func(err error) (next retry.Decision) {
			what, next.Delay = classify(err)
			switch what {
			case transient, throttled:
				next.Again = true
			case doubtful:
				doubted++
				next.Again = doubted <= doubts
			case tooMuch:
				next.Again = n <= 1
			}
			if status.Code(err) == codes.DeadlineExceeded {
				late++
				next.Again = late != patience || n <= few
			}
			return next
		},
		Waiting: func(err error, wait time.Duration) {
			c.contact.Failed(c.redact(reason(err)), wait)
		},
		Retrying: func(err error) { c.retried(retryReason(what, err)) },
	}.Start()
	for {
		within, cancel := context.WithTimeout(ctx, c.conf.Timeout)
		err := attempt(within)
		cancel()
		if err == nil {
			c.contact.Answered()
			return nil
		}
		if err = attempts.Again(ctx, err); err != nil {
			return cmp.Or(ctx.Err(), err)
		}
	}
}

// retryReason is the name of the error's code in words.
func retryReason(what outcome, err error) string {
	switch what {
	case throttled:
		return retryLimited
	case tooMuch:
		return retryTooLarge
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return "deadline exceeded"
	default:
		return strings.ToLower(status.Code(err).String())
	}
}
