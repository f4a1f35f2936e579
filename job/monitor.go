package job

import (
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd/engine"
)

// Phase is what a run is about.
type Phase int32

// The phases.
const (
	PhaseStart   Phase = iota // looking at the index, preparing the sink
	PhaseRead                 // collections are read
	PhaseOrphans              // the index is compared with the source
	PhaseWait                 // the index is to show what was sent
	PhaseFollow               // changes are followed
	PhaseEnd
)

// String gives the phase in words.
func (p Phase) String() string {
	return [...]string{"starting", "reading", "looking for orphans", "waiting for the index", "following changes", "done"}[p]
}

// Monitor shows a run while it goes on. The zero value is ready to be given to one run. It is safe for concurrent use, costs the
// run nothing, and shows nothing before the run has begun.
type Monitor struct{ run atomic.Pointer[run] }

// Snapshot is a run at a moment.
type Snapshot struct {
	RunID   string
	Started time.Time
	Elapsed time.Duration
	Phase   Phase
	engine.Snapshot
}

// Snapshot returns how the run stands; ok is false before it has begun.
func (m *Monitor) Snapshot() (s Snapshot, ok bool) {
	r := m.run.Load()
	if r == nil {
		return s, false
	}
	return Snapshot{
		RunID: r.RunID, Started: r.started, Elapsed: time.Since(r.started), Phase: Phase(r.phase.Load()), Snapshot: r.engine.Snapshot(),
	}, true
}
