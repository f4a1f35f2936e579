package mongo

import (
	"context"
	"net"
	"time"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd/internal/retry"
)

// A question that fails for a passing reason is asked maxAttempts times in a row before it counts as failed. The pauses
// between add up to about 8 s; beside them the driver itself waits for a usable server, up to connect_timeout each time,
// so an election (Manual: 12 s as a rule) is outlasted.
const (
	maxAttempts  = 5
	firstPause   = 700 * time.Millisecond
	longestPause = 6 * time.Second
)

// retrier repeats questions. s.retried is told each time; what the driver repeats by itself, once for each question, is not
// seen here.
func (s *source) retrier() retry.Retrier {
	return retry.Retrier{
		Clock:  s.clock,
		Policy: retry.Policy{First: firstPause, Max: longestPause, Jitter: 0.5, Attempts: maxAttempts},
		Classify: func(err error) retry.Decision {
			// After a lost cursor the server is well; a read held up often would only lose more time.
			return retry.Decision{Again: isTransient(err), AtOnce: hasCode(err, lostCursorCodes...)}
		},
		Waiting: func(err error, pause time.Duration) {
			s.contact.Failed(retryReason(err)+": "+s.scrub.scrub(err).Error(), pause)
		},
		Retrying: func(err error) { s.retried(retryReason(err)) },
		Answered: s.contact.Answered,
	}
}

// retried calls f until it succeeds or there is no point in going on.
func retried[T any](ctx context.Context, s *source, f func() (T, error)) (T, error) {
	return retry.Do(ctx, s.retrier(), f)
}

// retryReason is why err is worth another attempt, in the words of codes.go.
func retryReason(err error) string {
	if code := transientCode(err); code != 0 {
		return transientCodes[code]
	}
	switch {
	case is[topology.ServerSelectionError](err):
		return retryNoServer
	case mongodriver.IsTimeout(err):
		return retryTimeout
	case mongodriver.IsNetworkError(err) || isPoolCleared(err) || is[net.Error](err):
		return retryNetwork
	}
	return retryOther
}
