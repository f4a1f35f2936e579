package job

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/lanes"
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

// Monitor shows a job while it goes on: its run, and beside it the streams that it follows. The zero value is ready to be given to one
// job. It is safe for concurrent use, costs the job nothing, and shows nothing before the run has begun.
type Monitor struct {
	run    atomic.Pointer[run]       // under way, or the last one
	stream atomic.Pointer[streaming] // that the job follows, or last followed
	kept   atomic.Pointer[func() (store.Entry, error)]
	// cluster is what the process knows of those with which it shares the job.
	cluster atomic.Pointer[lanes.View]
	// working is this process's own work in a run that several share; it is shown where another one leads.
	working atomic.Pointer[working]
	meter   meter

	replaced atomic.Pointer[func(forget func())]
}

// OnReplaced has f called when the run that is shown ends without having been told, since another one goes on with it, which counts as an
// earlier process's what this one has done. When f has called forget, the run is not shown any more.
func (m *Monitor) OnReplaced(f func(forget func())) { m.replaced.Store(&f) }

// Embedded is what this process had embedded since the monitor was given to the job, also behind its end; nil where no stage embeds, or
// nothing is embedded.
func (m *Monitor) Embedded() *Embedded {
	m.meter.mu.Lock()
	defer m.meter.mu.Unlock()
	return m.meter.sum()
}

// meter adds up what stages had embedded, which are closed and opened again where servers were down.
type meter struct {
	mu     sync.Mutex
	before Embedded      // by those that are closed
	stages []syncd.Stage // in use, or the last ones
}

// uses says which stages are in use from now on.
func (m *meter) uses(stages []syncd.Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(stages) == 0 || len(m.stages) == len(stages) && &m.stages[0] == &stages[0] {
		return
	}
	if e := m.sum(); e != nil {
		m.before = *e
	}
	m.stages = stages
}

// sum is nil where no stage embeds.
func (m *meter) sum() *Embedded {
	e := embedded(m.stages)
	if e != nil {
		e.Cost += m.before.Cost
		e.Requests, e.Texts, e.Tokens = e.Requests+m.before.Requests, e.Texts+m.before.Texts, e.Tokens+m.before.Tokens
	}
	return e
}

// replace forgets the run that is shown, of which nothing else tells.
func (m *Monitor) replace() {
	forget := func() { m.run.Store(nil) }
	if f := m.replaced.Load(); f != nil {
		(*f)(forget)
		return
	}
	forget()
}

// waits shows that the index is given time, behind a run that has ended.
func (m *Monitor) waits() {
	if m == nil {
		return
	}
	if r := m.run.Load(); r != nil {
		r.phase.Store(int32(PhaseWait))
	}
}

// Kept is what the run under way keeps of itself; ok is false before its store is open, where it can't be asked, and when it is closed.
func (m *Monitor) Kept() (e store.Entry, ok bool) {
	if f := m.kept.Load(); f != nil {
		e, err := (*f)()
		return e, err == nil
	}
	return e, false
}

// keeps has Kept ask a store.
func (m *Monitor) keeps(st store.Store) {
	if s, ok := st.(interface{ Entry() (store.Entry, error) }); ok && m != nil {
		f := s.Entry
		m.kept.Store(&f)
	}
}

// working is a process's own work in a run that several processes share.
type working struct {
	engine *engine.Engine
	runID  string
	since  time.Time
}

// Cluster is how the processes stand that share the job; ok is false where this one works alone.
func (m *Monitor) Cluster() (s lanes.Status, ok bool) {
	if v := m.cluster.Load(); v != nil {
		return v.Status(), true
	}
	return s, false
}

// streaming is the following of streams, which goes on until it is paused: for a reconcile, or while servers are down.
type streaming struct {
	engine *engine.Engine
	runID  string
	since  time.Time
	window atomic.Pointer[syncd.Window] // of all streams, as last asked; nil is not known
	paused atomic.Bool
}

// Snapshot is a run at a moment, or what is followed behind it.
type Snapshot struct {
	RunID   string
	Started time.Time
	Elapsed time.Duration
	Phase   Phase
	engine.Snapshot

	Embedded *Embedded // by this process; nil where no stage embeds, or nothing is embedded

	Window syncd.Window // how far the source's record of changes reaches, where streams are followed and it is known
	Paused bool         // the streams are not read: all documents are looked at again, or a server is down
}

// Snapshot returns how the job stands; ok is false before a run has begun.
func (m *Monitor) Snapshot() (s Snapshot, ok bool) {
	if r := m.run.Load(); r != nil {
		s, ok = Snapshot{
			RunID: r.RunID, Started: r.started, Elapsed: time.Since(r.started), Phase: Phase(r.phase.Load()), Snapshot: r.engine.Snapshot(),
		}, true
	}
	if w := m.working.Load(); w != nil && !ok {
		s, ok = Snapshot{RunID: w.runID, Started: w.since, Elapsed: time.Since(w.since), Phase: PhaseRead, Snapshot: w.engine.Snapshot()}, true
	}
	s.Embedded = m.Embedded()
	if f := m.stream.Load(); f != nil {
		now := f.engine.Snapshot()
		s.Streams, s.Followed, s.Merged, s.Paused = now.Streams, now.Followed, now.Merged, f.paused.Load()
		for i := range s.Streams {
			if s.Streams[i].Heard.IsZero() {
				s.Streams[i].Heard = f.since // it has been silent since then
			}
		}
		if w := f.window.Load(); w != nil {
			s.Window = *w
		}
		if s.Paused {
			return s, ok
		}
		s.Phase, s.LastMove, s.Working, s.Stalled = PhaseFollow, now.LastMove, now.Working, false
		if !ok {
			s.RunID, s.Started = f.runID, f.since
		}
		ok = true
	}
	return s, ok
}

// Lag is how far a stream is behind: the time between the last change that was handled and the newest that the source has, by the
// source's clock, but no more than since all was handled that there was. ok is false where it is not known.
func (s *Snapshot) Lag(stream engine.StreamProgress) (lag time.Duration, ok bool) {
	lag, ok = s.lag(stream)
	if !stream.Since.IsZero() {
		lag = min(lag, max(0, time.Since(stream.Since)))
	}
	return lag, ok
}

func (s *Snapshot) lag(stream engine.StreamProgress) (lag time.Duration, ok bool) {
	switch {
	case stream.Current && s.Paused:
		return max(0, time.Since(stream.Heard)), true // nothing is known of what was changed since
	case stream.Current:
		return 0, true
	case stream.At.IsZero():
		return 0, false
	case !s.Paused && !s.Window.Last.IsZero():
		return max(0, s.Window.Last.Sub(stream.At)), true
	}
	return max(0, time.Since(stream.At)), true
}
