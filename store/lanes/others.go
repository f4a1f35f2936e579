package lanes

import (
	"context"
	"net/url"
	"strings"

	"github.com/syncd-io/syncd/tally"
)

// other is a cluster whose marks are in the same lanes.
type other struct {
	order Order
	lives bool // a mark of it was read since this process has caught up: somebody writes them
	told  bool
}

// readOther takes in what a mark tells of another cluster. The caller holds mu.
func (v *View) readOther(name string, value []byte) {
	escaped, rest, ok := strings.Cut(strings.TrimPrefix(name, "?"), "/")
	job, err := url.PathUnescape(escaped)
	if !ok || err != nil || job == v.job {
		return
	}
	o := v.others[job]
	if o == nil {
		o = &other{}
		v.others[job] = o
	}
	if rest == nameOrder && strings.HasPrefix(name, "?") {
		if order, ok := parseOrder(value); ok {
			o.order, o.told = order, o.told && order.Outcome == tally.Running
			v.change()
		}
	}
	if !o.lives && v.isCaughtUp() {
		o.lives = true
		v.change()
	}
}

// isCaughtUp reports whether everything was read that there was.
func (v *View) isCaughtUp() bool {
	select {
	case <-v.caughtUp:
		return true
	default:
		return false
	}
}

// Rival waits for another cluster in the same lanes that works on what has this fingerprint, and returns its name and its order. It
// returns each once in a run of it.
func (v *View) Rival(ctx context.Context, fingerprint string) (name string, order Order, err error) {
	err = v.wait(ctx, func() bool {
		for job, o := range v.others {
			if o.lives && !o.told && o.order.Outcome == tally.Running && o.order.Fingerprint == fingerprint {
				o.told = true
				name, order = job, o.order
				return true
			}
		}
		return false
	})
	return name, order, err
}

// Processes waits until the processes that own lanes are others than known, and returns them.
func (v *View) Processes(ctx context.Context, known map[string]bool) (now map[string]bool, err error) {
	err = v.wait(ctx, func() bool {
		now = map[string]bool{}
		for l, o := range v.owners {
			if v.lanes[l].owned {
				o = v.me
			}
			now[o.Process] = true
		}
		for name := range now {
			if !known[name] {
				return true
			}
		}
		return len(now) != len(known)
	})
	return now, err
}
