package engine

import (
	"context"

	"github.com/syncd-io/syncd"
)

// identify makes the point ids, and takes out documents that have none.
type identify struct {
	failures *failurePolicy
	seed     []byte // scratch of PointID
}

func (s *identify) apply(_ context.Context, b *batch) error {
	rule, failed := b.rule(), false
	for i := range b.changes {
		c := &b.changes[i]
		var err error
		if c.PointID, err = rule.PointID(&s.seed, c, 0); err != nil {
			b.complete(c)
			s.failures.fail(b, c, syncd.FailedRead, err)
			c.Err, failed = err, true
		}
	}
	if failed {
		b.keep(func(c *syncd.Change) bool { return c.Err == nil })
	}
	return nil
}
