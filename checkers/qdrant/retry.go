package qdrant

import (
	"cmp"
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/internal/retry"
)

const (
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

// retry calls attempt until it succeeds, fails for good, asks too much, ctx ends, or max_elapsed has passed without an
// answer. Time that Qdrant asks to wait does not count: a rate limit makes a run slow and does not fail it. The error is
// ctx's own, or the last attempt's as it was.
//
// n is how much the request asks for. What is too much is given back to the caller, who can ask for less, unless it is one: then
// the cause may be another one, which passes. A request that is late for the second time is given back, too, unless it asks for few.
func (c *checker) retry(ctx context.Context, n int, attempt func(context.Context) error) error {
	var late, doubted int
	var what qdrantconn.Outcome
	attempts := retry.Retrier{
		Policy: c.conf.Retry.Policy(),
		Clock:  c.clock,
		Classify: func(err error) (next retry.Decision) {
			what, next.Delay = qdrantconn.Classify(err)
			switch what {
			case qdrantconn.Transient, qdrantconn.Throttled:
				next.Again = true
			case qdrantconn.Doubtful:
				doubted++
				next.Again = doubted <= doubts
			case qdrantconn.TooMuch:
				next.Again = n <= 1
			}
			if status.Code(err) == codes.DeadlineExceeded {
				late++
				next.Again = late != patience || n <= few
			}
			return next
		},
		Waiting: func(err error, wait time.Duration) {
			c.contact.Failed(c.redact(qdrantconn.Reason(err)), wait)
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
func retryReason(what qdrantconn.Outcome, err error) string {
	switch what {
	case qdrantconn.Throttled:
		return retryLimited
	case qdrantconn.TooMuch:
		return retryTooLarge
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return "deadline exceeded"
	default:
		return strings.ToLower(status.Code(err).String())
	}
}
