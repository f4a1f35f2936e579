package host

import (
	"time"

	"github.com/syncd-io/syncd/runlog"
)

// State is what a job does.
type State string

// The states.
const (
	Running  State = "running"  // a run, or its following, is under way
	Waiting  State = "waiting"  // for its next time, or its turn
	Retrying State = "retrying" // a run failed, and another comes
	Done     State = "done"     // it has run, and has no schedule
	Paused   State = "paused"
	Stopped  State = "stopped"
	Ending   State = "ending"  // what is under way is about to end: to pause, to stop, or to begin again
	Failed   State = "failed"  // and nobody tries again until it is restarted, triggered or its file changes
	Invalid  State = "invalid" // its file can't be used, and none could before
	Removed  State = "removed" // its file is gone
)

// Status is how a job stands.
type Status struct {
	Name     string     `json:"name"`
	File     string     `json:"file"`
	Wish     Wish       `json:"wish"`
	State    State      `json:"state"`
	Reason   string     `json:"reason,omitempty"` // why, where the state does not say it
	Hint     string     `json:"hint,omitempty"`   // what to do
	Since    time.Time  `json:"since"`
	Next     *time.Time `json:"next,omitempty"` // when it runs again
	Schedule string     `json:"schedule"`       // once, every …, cron … or follow
	Follows  bool       `json:"follows"`
	// Problems are what keeps the file from being used; where the job runs all the same, it is with what the file said before.
	Problems []string     `json:"problems,omitempty"`
	Live     *runlog.Live `json:"run,omitempty"` // under way
	Revision string       `json:"revision,omitempty"`
}

// Healthy reports whether the job does what is wanted of it.
func (s *Status) Healthy() bool {
	switch s.State {
	case Retrying, Failed, Invalid, Removed:
		return false
	}
	return len(s.Problems) == 0 && (s.Live == nil || !s.Live.Stalled)
}
