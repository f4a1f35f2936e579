package arrival

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wait"
)

// A lag is asked for again after these pauses: it takes a few requests.
const (
	firstLagPoll = 200 * time.Millisecond
	lastLagPoll  = 5 * time.Second
)

// Lag is how many events a group of consumers has not read yet. Known is false if the group has confirmed nothing at all,
// so that it may not exist.
type Lag struct {
	Group  string
	Unread int64
	Known  bool
	Waited time.Duration
}

// LagError says that a group did not read in time what was sent before.
type LagError struct {
	Lag
	Timeout time.Duration
}

func (e *LagError) Error() string {
	return fmt.Sprintf("consumer group %q still had %d events to read after %s", e.Group, e.Unread, e.Timeout)
}

// LagWait says whose lag is waited for.
type LagWait struct {
	Lag      func(ctx context.Context, group string, targets []syncd.Target) ([]syncd.PartitionLag, error) // of the sink
	Group    string
	Targets  []syncd.Target
	Timeout  time.Duration
	Every    time.Duration // between two calls of Progress
	Progress func(Lag)     // is told the lag at the start, unless there is none, and every so often; never nil
}

// ReadLag reads a group's lag.
func ReadLag(ctx context.Context, w LagWait) (Lag, error) {
	partitions, err := w.Lag(ctx, w.Group, w.Targets)
	if err != nil {
		return Lag{}, err
	}
	return w.sum(partitions, nil), nil
}

// sum adds up what is unread, up to the given ends where there are any.
func (w *LagWait) sum(partitions []syncd.PartitionLag, ends map[lagPlace]int64) Lag {
	l := Lag{Group: w.Group}
	for _, p := range partitions {
		end := p.End
		if ends != nil {
			end = min(end, ends[lagPlace{p.Place, p.Partition}])
		}
		l.Unread += max(0, end-p.Next)
		l.Known = l.Known || p.Confirmed
	}
	return l
}

type lagPlace struct {
	place     string
	partition int32
}

// AwaitLag waits until a group has read all that was in its topics when the wait began: what others send meanwhile is not
// waited for, so the wait ends on a busy topic, too. If the time runs out it returns a *LagError.
func AwaitLag(ctx context.Context, w LagWait) (Lag, error) {
	began := time.Now()
	partitions, err := w.Lag(ctx, w.Group, w.Targets)
	if err != nil {
		return Lag{}, err
	}
	ends := make(map[lagPlace]int64, len(partitions))
	for _, p := range partitions {
		ends[lagPlace{p.Place, p.Partition}] = p.End
	}
	l := w.sum(partitions, ends)
	if l.Unread == 0 {
		return l, nil
	}
	w.Progress(l)
	spoke := time.Now()
	timed, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	for pause := firstLagPoll; ; {
		if wait.Pause(timed, pause) != nil {
			break
		}
		partitions, err := w.Lag(timed, w.Group, w.Targets)
		if err != nil {
			if timed.Err() != nil {
				break
			}
			if !errors.Is(err, syncd.ErrUnavailable) {
				return l, err
			}
			pause = min(2*pause, lastLagPoll)
			continue // what can't be asked now can be asked later
		}
		before := l.Unread
		l = w.sum(partitions, ends)
		l.Waited = time.Since(began)
		if l.Unread == 0 {
			return l, nil
		}
		if time.Since(spoke) >= w.Every {
			w.Progress(l)
			spoke = time.Now()
		}
		if pause = min(2*pause, lastLagPoll); l.Unread < before {
			pause = max(pause/4, firstLagPoll)
		}
	}
	if err := ctx.Err(); err != nil {
		return l, err
	}
	return l, &LagError{Lag: l, Timeout: w.Timeout}
}
