package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd/engine"
)

// TestTransactionsAreThrottled by what they write.
func TestTransactionsAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.insert(500)
		c := f.commit(t)
		f.opts.Limits.BytesPerSecond = 5000 // 500 events of more than 100 bytes
		began := time.Now()
		err := engine.New(f.opts).Backfill(t.Context())
		if took := time.Since(began); err != nil || len(c.Committed()) != 500 || took < 9*time.Second {
			t.Errorf("%v, %d committed in %s", err, len(c.Committed()), took)
		}
	})
}
