package embed

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheServiceNeverWaitsForAnAnswerToBeRead: while vectors are read, it has as many requests as it may have; but answers that are not read yet
// do not pile up.
func TestTheServiceNeverWaitsForAnAnswerToBeRead(t *testing.T) {
	const most, requests, served = 2, 12, 50 * time.Millisecond
	for name, c := range map[string]struct{ reading, want time.Duration }{
		"quickly":                    {5 * time.Millisecond, requests/most*served + 5*time.Millisecond},
		"as slowly as it answers":    {served, requests/most*served + served},
		"much slower than it is":     {4 * served, requests/(2*most)*5*served + served},
		"without it being said":      {-1, requests / most * served},
		"in no time, and said twice": {0, requests / most * served},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b batcher
				flying, all := 0, 0
				count := func(f, a int) {
					b.mu.Lock()
					defer b.mu.Unlock()
					if flying, all = flying+f, all+a; flying > most || all > 2*most {
						t.Errorf("%d requests in flight, and %d that are not done", flying, all)
					}
				}
				b.start(1, 1000, most, time.Millisecond, func(_ context.Context, texts []text, arrived func()) ([]answer, error) {
					count(1, 1)
					time.Sleep(served)
					count(-1, 0)
					if c.reading >= 0 {
						arrived()
						time.Sleep(c.reading)
					}
					if c.reading == 0 {
						arrived()
					}
					count(0, -1)
					return make([]answer, len(texts)), nil
				})
				defer b.close()
				began := time.Now()
				if _, err := b.ask(t.Context(), make([]text, requests)); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("%d requests took %v, want %v", requests, took, c.want)
				}
			})
		})
	}
}
