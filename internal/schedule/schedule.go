// Package schedule says when something that is done again and again comes next.
package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/robfig/cron/v3"
)

// maxJitter bounds the delay that keeps many schedules from meeting at their servers.
const maxJitter = 30 * time.Second

// Schedule is when something comes again. Its zero value never does.
type Schedule struct {
	every time.Duration
	times cron.Schedule
	// Jitter is the most of a random delay; Every and Cron set it to a tenth of the interval, at most 30 s.
	Jitter time.Duration
}

// Every comes so long after it last came.
func Every(d time.Duration) Schedule { return Schedule{every: d, Jitter: min(d/10, maxJitter)} }

// Cron comes at the times of a cron expression of five fields, which may have CRON_TZ=… in front.
func Cron(expression string) (Schedule, error) {
	times, err := cron.ParseStandard(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is not a cron expression: %w", expression, err)
	}
	next := times.Next(time.Now())
	if next.IsZero() {
		return Schedule{}, fmt.Errorf("%q %w", expression, errNever)
	}
	return Schedule{times: times, Jitter: min(times.Next(next).Sub(next)/10, maxJitter)}, nil
}

var errNever = errors.New("never comes")

// IsZero reports whether it never comes.
func (s Schedule) IsZero() bool { return s.times == nil && s.every == 0 }

// Next is when it comes, after it came at last; where it has not yet come at all, last is zero, and what comes every so often
// comes at once.
func (s Schedule) Next(last, now time.Time) time.Time {
	var at time.Time
	switch {
	case s.times != nil:
		at = s.times.Next(now)
	case last.IsZero():
		return now
	default:
		at = last.Add(s.every)
	}
	if s.Jitter > 0 {
		at = at.Add(rand.N(s.Jitter)) //nolint:gosec // it keeps clocks apart, and no secret
	}
	if at.Before(now) {
		return now
	}
	return at
}
