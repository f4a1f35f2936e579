package job_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// readers are those of a name that can be switched.
type readers struct {
	state syncd.SwitchState
	fail  error  // of the next switch
	held  bool   // a switch does not end before its context does
	seen  func() // is called when it is switched
	tried int
}

func (r *readers) ability() *syncd.Switch {
	return &syncd.Switch{
		Name: "the name", Target: "the sink", State: func(context.Context) (syncd.SwitchState, error) { return r.state, nil },
		Do: func(ctx context.Context) (string, error) {
			r.tried++
			if r.held {
				<-ctx.Done()
				return "", ctx.Err()
			}
			if err := r.fail; err != nil {
				r.fail = nil
				return "", err
			}
			before := r.state.Now
			r.state = syncd.SwitchState{Now: "sink", Done: true}
			if r.seen != nil {
				r.seen()
			}
			return before, nil
		},
	}
}

// TestAJobThatFollowsSwitchesReaders behind its look at all documents and what its streams bring of the time of that look, once. Where a
// process ended before, the next one looks again.
func TestAJobThatFollowsSwitchesReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		r := &readers{held: true}
		r.seen = func() { f.same(t) } // at that moment all is there
		f.change = r.ability()
		for i := range 50 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		if _, err := f.live(t, true, func() { settle(); f.source.Insert("page", pageDoc(50, 1)) }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if r.tried == 0 || r.state.Done || len(f.backfill) != 1 {
			t.Fatalf("killed at the switch: %+v, %d looks", r, len(f.backfill))
		}
		r.held, r.fail = false, errors.New("not now")
		f.source.Insert("page", pageDoc(51, 1)) // while it does not run
		if _, err := f.live(t, false, func() { settle(); time.Sleep(time.Minute); settle() }); err != nil {
			t.Fatal(err)
		}
		if !r.state.Done || len(f.backfill) != 2 || !strings.Contains(f.log.String(), "not now") {
			t.Errorf("the next process: %+v, %d looks: %s", r, len(f.backfill), f.log.String())
		}
		tried := r.tried
		if _, err := f.live(t, false, settle); err != nil || r.tried != tried || len(f.backfill) != 2 {
			t.Errorf("with nothing to switch: %+v, %d looks, %v", r, len(f.backfill), err)
		}
		// What somebody has taken back stays so.
		r.state = syncd.SwitchState{Now: "other", Left: true}
		if _, err := f.live(t, false, settle); err != nil || r.tried != tried || len(f.backfill) != 2 {
			t.Errorf("taken back: %+v, %d looks, %v", r, len(f.backfill), err)
		}
	})
}

// TestReadersStayWhereSomethingIsMissing: a document that can't be sent, found by the look or brought by a stream, holds the switch up until
// all documents were looked at again.
func TestReadersStayWhereSomethingIsMissing(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowed(t)
			r := &readers{}
			f.change = r.ability()
			f.more = "schedule: {reconcile: {every: 1m}}\n"
			for i := range 5 {
				f.source.Insert("page", pageDoc(i, 1))
			}
			var bad atomic.Bool
			bad.Store(true)
			refused := "3" // which the look finds
			if streamed {
				refused = "9"
			}
			f.sink.Reject = func(e codec.Event) error {
				if e.ID == refused && bad.Load() {
					return errors.New("refused")
				}
				return nil
			}
			if _, err := f.live(t, false, func() {
				if streamed {
					for synctest.Wait(); len(f.backfill) == 0; synctest.Wait() {
						time.Sleep(time.Millisecond)
					}
					f.source.Insert("page", pageDoc(9, 1))
				}
				settle()
				if r.state.Done {
					t.Errorf("streamed %t: it was switched", streamed)
				}
				bad.Store(false)
				time.Sleep(3 * time.Minute)
				settle()
				if !r.state.Done {
					t.Errorf("streamed %t: it is never switched: %s", streamed, f.log.String())
				}
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
