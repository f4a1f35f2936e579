package arrival_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
)

// lagFunc says the lag of the nth question, counted from 1.
type lagFunc func(n int) ([]syncd.PartitionLag, error)

type lagReader struct {
	n   int
	lag lagFunc
}

func (r *lagReader) Lag(ctx context.Context, _ string, _ []syncd.Target) ([]syncd.PartitionLag, error) {
	r.n++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.lag(r.n)
}

func partition(p int32, next, end int64) syncd.PartitionLag {
	return syncd.PartitionLag{Place: "t", Partition: p, Next: next, End: end, Confirmed: next > 0}
}

func TestAwaitLag(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		lag    lagFunc
		said   int   // at least
		unread int64 // in the end
		waited time.Duration
		err    func(error) bool
	}{
		"nothing unread": {lag: func(int) ([]syncd.PartitionLag, error) { return []syncd.PartitionLag{partition(0, 7, 7)}, nil }},
		"no topic":       {lag: func(int) ([]syncd.PartitionLag, error) { return nil, nil }},
		"read after a while": {said: 1, waited: time.Second, lag: func(n int) ([]syncd.PartitionLag, error) {
			return []syncd.PartitionLag{partition(0, int64(min(n, 10)), 10)}, nil
		}},
		"others go on sending": {said: 1, lag: func(n int) ([]syncd.PartitionLag, error) {
			return []syncd.PartitionLag{partition(0, int64(n), int64(n)+4), partition(1, 3, 3+int64(n-1))}, nil
		}},
		"a partition is read ahead and another is not": {
			said: 1, unread: 4, waited: time.Minute, lag: func(n int) ([]syncd.PartitionLag, error) {
				return []syncd.PartitionLag{partition(0, 1+int64(n)*100, 1+int64(n)*100), partition(1, 1, 5)}, nil
			}, err: func(err error) bool { var l *arrival.LagError; return errors.As(err, &l) && l.Unread == 4 && l.Known },
		},
		"never read": {
			said: 1, unread: 5, waited: time.Minute, lag: func(int) ([]syncd.PartitionLag, error) { return []syncd.PartitionLag{partition(0, 0, 5)}, nil },
			err: func(err error) bool { var l *arrival.LagError; return errors.As(err, &l) && !l.Known },
		},
		"an outage in between": {said: 1, lag: func(n int) ([]syncd.PartitionLag, error) {
			if n > 1 && n < 4 {
				return nil, syncd.ErrUnavailable
			}
			return []syncd.PartitionLag{partition(0, int64(n), 4)}, nil
		}},
		"an outage from the start": {
			lag: func(int) ([]syncd.PartitionLag, error) { return nil, syncd.ErrUnavailable },
			err: func(err error) bool { return errors.Is(err, syncd.ErrUnavailable) },
		},
		"a refusal later": {said: 1, unread: 3, lag: func(n int) ([]syncd.PartitionLag, error) {
			if n > 1 {
				return nil, boom
			}
			return []syncd.PartitionLag{partition(0, 1, 4)}, nil
		}, err: func(err error) bool { return errors.Is(err, boom) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said := 0
				l, err := arrival.AwaitLag(t.Context(), arrival.LagWait{
					Lag: (&lagReader{lag: c.lag}).Lag, Group: "g", Timeout: time.Minute, Every: 5 * time.Second,
					Progress: func(arrival.Lag) { said++ },
				})
				if c.err == nil && err != nil || c.err != nil && !c.err(err) {
					t.Errorf("error %v", err)
				}
				if l.Unread != c.unread || said < c.said || c.said == 0 && said > 0 || l.Waited < c.waited*9/10 || l.Waited > time.Minute {
					t.Errorf("%+v, said %d times", l, said)
				}
			})
		})
	}
}

func TestAwaitLagIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, nil)
		defer cancel()
		_, err := arrival.AwaitLag(ctx, arrival.LagWait{
			Lag:   (&lagReader{lag: func(int) ([]syncd.PartitionLag, error) { return []syncd.PartitionLag{partition(0, 1, 4)}, nil }}).Lag,
			Group: "g", Timeout: time.Minute, Progress: func(arrival.Lag) {},
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}
