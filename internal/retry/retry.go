// Package retry repeats what failed for a reason that may pass: it decides how long to wait, how often, and when to give up.
//
// Invariants:
//
//   - A pause is never longer than Policy.Max, and never shorter than its share that is not jitter.
//   - A delay that a server asks for is bounded on both sides: a pause is added to it, so that it is never shorter than a pause
//     and clients that were told the same delay come back one by one; one above Policy.MaxDelay is not waited for.
//   - Nobody waits in vain: a wait that would exceed Policy.Elapsed is not begun. Delays that servers ask for don't count.
//   - The end of a context ends a wait at once, and behind it there is no other attempt.
//   - The error that ends the attempts is the last one as it was, joined with the context's own where that has ended a wait.
package retry

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/syncd-io/syncd/internal/wait"
)

// Policy says how long to wait between attempts, and how many there are. A limit of zero does not limit.
type Policy struct {
	First  time.Duration // the longest pause behind the first failure
	Factor float64       // by which the longest pause grows with each further one; 0 stands for 2
	Max    time.Duration // what it grows to; less than First stands for First: pauses don't grow
	Jitter float64       // the share of a pause that is random: 0 is none, with 1 a pause may be anything from 0 to the longest

	Attempts int           // in a row without progress
	Elapsed  time.Duration // since the start, or the last progress
	MaxDelay time.Duration // that a server may ask for
}

// Decision is what an error means for the next attempt. The zero Decision is to give up.
type Decision struct {
	Again bool
	// AtOnce spares the pause, where the error is the first in a row: the server is well, and only this attempt has failed.
	AtOnce bool
	// Delay is what the server asks to wait.
	Delay time.Duration
}

// Clock is the time that pauses take. The zero Clock is the real one, which testing/synctest can replace; tests that can't use
// that set both fields.
type Clock struct {
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Pauses gives one pause after another. It is not safe for concurrent use.
type Pauses struct {
	Policy  Policy
	longest time.Duration // of the last pause; 0 before the first
}

// Next returns the next pause.
func (p *Pauses) Next() time.Duration {
	if p.longest == 0 {
		p.longest = p.Policy.First
	} else {
		longer := float64(p.longest) * cmp.Or(p.Policy.Factor, 2)
		p.longest = time.Duration(min(longer, float64(max(p.Policy.First, p.Policy.Max))))
	}
	return p.longest - time.Duration(rand.Float64()*p.Policy.Jitter*float64(p.longest)) //nolint:gosec // it spreads clients out, and need not be secret
}

// Reset begins again with the first pause.
func (p *Pauses) Reset() { p.longest = 0 }

// Retrier is how something is repeated.
type Retrier struct {
	Policy   Policy
	Clock    Clock
	Classify func(error) Decision
	Waiting  func(err error, wait time.Duration) // is told before each wait; may be nil
	Retrying func(err error)                     // is told before each further attempt; may be nil
	Answered func()                              // is told of progress, and by Do of success; may be nil
}

// Attempts counts what has failed since the last progress. It is not safe for concurrent use.
type Attempts struct {
	Retrier
	pauses Pauses
	failed int
	since  time.Time // the start or the last progress, later by the delays that servers asked for
}

// Start is to be called before the first attempt.
func (r Retrier) Start() *Attempts {
	if r.Clock.Now == nil {
		r.Clock = Clock{Now: time.Now, Sleep: wait.Pause}
	}
	return &Attempts{Retrier: r, pauses: Pauses{Policy: r.Policy}, since: r.Clock.Now()}
}

// Progress forgets what has failed.
func (a *Attempts) Progress() {
	a.failed, a.since = 0, a.Clock.Now()
	a.pauses.Reset()
	a.answered()
}

func (a *Attempts) answered() {
	if a.Answered != nil {
		a.Answered()
	}
}

// Again waits after an attempt that failed with err, and returns nil when the next is due. Otherwise it returns err, joined
// with ctx's own error where that has ended the wait.
func (a *Attempts) Again(ctx context.Context, err error) error {
	a.failed++
	if limit := a.Policy.Attempts; ctx.Err() != nil || limit > 0 && a.failed >= limit {
		return err
	}
	next := a.Classify(err)
	if !next.Again || a.Policy.MaxDelay > 0 && next.Delay > a.Policy.MaxDelay {
		return err
	}
	if !next.AtOnce || a.failed > 1 {
		pause := a.pauses.Next() + max(next.Delay, 0)
		if next.Delay > 0 {
			a.since = a.since.Add(pause)
		} else if limit := a.Policy.Elapsed; limit > 0 && a.Clock.Now().Sub(a.since)+pause > limit {
			return err
		}
		if a.Waiting != nil {
			a.Waiting(err, pause)
		}
		if ended := a.Clock.Sleep(ctx, pause); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
	}
	if a.Retrying != nil {
		a.Retrying(err)
	}
	return nil
}

// Do calls attempt until it succeeds, or Again gives up.
func Do[T any](ctx context.Context, r Retrier, attempt func() (T, error)) (T, error) {
	for a := r.Start(); ; {
		v, err := attempt()
		if err == nil {
			a.answered()
			return v, nil
		}
		if err = a.Again(ctx, err); err != nil {
			return v, err
		}
	}
}
