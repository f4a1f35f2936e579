package mongo

import (
	"context"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// A question that fails for a passing reason is asked maxAttempts times in a row before it counts as failed. The pauses
// between add up to about 8 s; beside them the driver itself waits for a usable server, up to connect_timeout each time,
// so an election (Manual: 12 s as a rule) is outlasted.
const (
	maxAttempts  = 5
	firstPause   = 500 * time.Millisecond
	longestPause = 5 * time.Second
)

// attempts counts failures since the last progress.
type attempts struct {
	failed  int
	pause   *backoff.ExponentialBackOff
	retried func(reason string)
}

// newAttempts begins to ask. retried is told each time that it is done again; what the driver repeats by itself, once for
// each question, is not seen here.
func (s *source) newAttempts() *attempts {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = firstPause, longestPause, 2
	b.Reset()
	return &attempts{pause: b, retried: s.retried}
}

// progress forgets earlier failures.
func (a *attempts) progress() {
	if a.failed > 0 {
		a.failed = 0
		a.pause.Reset()
	}
}

// again reports whether to try once more after err, and waits before it does.
func (a *attempts) again(ctx context.Context, err error) bool {
	a.failed++
	if a.failed >= maxAttempts || ctx.Err() != nil || !isTransient(err) {
		return false
	}
	if a.failed > 1 || !hasCode(err, lostCursorCodes...) { // else the server is well; a scan held up often would only lose more time
		t := time.NewTimer(a.pause.NextBackOff())
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	a.retried(retryReason(err))
	return true
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

// retried calls f until it succeeds or there is no point in going on.
func retried[T any](ctx context.Context, s *source, f func() (T, error)) (T, error) {
	for a := s.newAttempts(); ; {
		v, err := f()
		if err == nil || !a.again(ctx, err) {
			return v, err
		}
	}
}
