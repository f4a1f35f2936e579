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
	Name     string       `json:"name" doc:"The job's name."`
	File     string       `json:"file" doc:"Its file."`
	Wish     Wish         `json:"wish" doc:"What is wanted of it."`
	State    State        `json:"state" doc:"What it does: running, waiting, retrying, done, paused, stopped, ending, failed, invalid or removed; from a state folder killed or ended."`
	Reason   string       `json:"reason,omitempty" doc:"Why, where the state does not say it."`
	Hint     string       `json:"hint,omitempty" doc:"What to do about it."`
	Since    time.Time    `json:"since" doc:"Since when."`
	Next     *time.Time   `json:"next,omitempty" doc:"When it runs again."`
	Schedule string       `json:"schedule" doc:"When it runs: once, every …, cron … or follow."`
	Follows  bool         `json:"follows" doc:"It follows changes."`
	Problems []string     `json:"problems,omitempty" doc:"What keeps the file from being used; where the job runs all the same, it is with what the file said before."`
	Live     *runlog.Live `json:"run,omitempty" doc:"The run under way."`
	Revision string       `json:"revision,omitempty" doc:"Changes with its files."`
}

// Healthy reports whether the job does what is wanted of it.
func (s *Status) Healthy() bool {
	switch s.State {
	case Retrying, Failed, Invalid, Removed:
		return false
	}
	return len(s.Problems) == 0 && (s.Live == nil || !s.Live.Stalled)
}
