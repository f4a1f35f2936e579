package lanes

import (
	"context"
	"errors"

	"github.com/syncd-io/syncd/store/marks"
)

// allowance is how many events of a run a process wants to have sent in all, or may.
type allowance struct {
	RunID   string `json:"run_id"`
	Process string `json:"process"`
	Events  int64  `json:"events"`
	// Final says that this is all that the run allows.
	Final bool `json:"final,omitempty"`
}

// Ask asks the leader for leave to have sent so many events of a run in all, and returns how many this process may. It is fewer where the
// run allows no more. One call at a time is under way.
func (v *View) Ask(ctx context.Context, runID string, want int64) (int64, error) {
	mine := allowance{RunID: runID, Process: v.me.Process, Events: want}
	for {
		at := -1
		if err := v.wait(ctx, func() bool {
			for l := range v.lanes {
				if v.lanes[l].open {
					at = l
				}
			}
			return at >= 0
		}); err != nil {
			return 0, err
		}
		err := v.say(ctx, at, nameAsk+v.me.Process, mine)
		if err == nil {
			break
		}
		if !errors.Is(err, marks.ErrNothing) {
			return 0, err
		}
	}
	var may int64
	err := v.wait(ctx, func() bool {
		g := v.grants[v.me.Process]
		may = g.Events
		return g.RunID == runID && (g.Events >= want || g.Final)
	})
	return may, err
}

// Grant grants what processes ask for, of a run that may send so many events in all, until ctx ends. It is for the leader. What a process
// was granted and did not send before it died is lost to the others.
func (v *View) Grant(ctx context.Context, runID string, most int64) error {
	for {
		var next []allowance
		if err := v.wait(ctx, func() bool {
			left := most
			for _, g := range v.grants {
				if g.RunID == runID {
					left -= g.Events
				}
			}
			for _, ask := range v.asks {
				had := v.grants[ask.Process]
				if had.RunID != runID {
					had = allowance{}
				}
				if ask.RunID != runID || had.Events >= ask.Events || had.Final && left <= 0 {
					continue
				}
				more := min(ask.Events-had.Events, max(0, left))
				left -= more
				next = append(next, allowance{RunID: runID, Process: ask.Process, Events: had.Events + more, Final: had.Events+more < ask.Events})
			}
			return len(next) > 0
		}); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		for _, g := range next {
			if err := v.say(ctx, 0, nameGrant+g.Process, g); err != nil {
				return err
			}
			v.mu.Lock()
			v.grants[g.Process] = g
			v.change()
			v.mu.Unlock()
		}
	}
}
