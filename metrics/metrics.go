// Package metrics shows a process's runs as Prometheus metrics, and says whether the process is healthy and ready.
//
// What a run has done is read from its [job.Monitor] when someone asks, so it costs the run nothing. Only the time of each stage
// is observed as batches pass, and retries as they happen. Deletes are counted when their run ends.
//
// Invariants:
//   - a Metrics outlives its runs: what its counters show never goes down, whatever becomes of a run;
//   - what an earlier process did of a run that was resumed is in no counter;
//   - the delete of an orphan counts as a delete, and never as a document or its event;
//   - there is no global state: each Metrics has a registry of its own;
//   - labels take few values: collections and content types of the mapping, models, fixed words, plugins, and at most [maxReasons]
//     reasons of each plugin. The id of a run is a label of syncd_run_info alone.
package metrics

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// End is how a run ended.
type End struct {
	Report   job.Report // as far as the run came; the zero value of one that could not begin
	Outcome  tally.Outcome
	ExitCode int
}

// maxReasons bounds the reasons that one plugin's retries are counted by; all others count as otherReason.
const (
	maxReasons  = 30
	otherReason = "other"
)

// stageBuckets are in seconds: from a check of a small batch beside the index to a write that waits for a slow broker.
var stageBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Metrics is the metrics of a process. All methods are safe for concurrent use. Runs follow one another: Begin, then End.
type Metrics struct {
	own     *prometheus.Registry // syncd's
	all     *prometheus.Registry // these, and the process's
	stages  [engine.StageCount]prometheus.Observer
	retries *prometheus.CounterVec
	now     func() time.Time

	mu      sync.Mutex
	monitor *job.Monitor  // of the run under way; nil between two
	follows *job.Monitor  // of what is followed beside and between runs; nil follows nothing
	meter   *job.Monitor  // of the job that was begun last: what is embedded is no matter of a run
	silence time.Duration // for which a stream may be silent; 0 is for ever
	planned bool          // it sends what a plan says
	before  totals        // of the runs that ended
	last    ended
	looks   map[string]look // the last complete look at each collection
	reasons map[string]map[string]bool

	reconciles map[string]int64 // by cause
	moves      moves            // of lanes
}

// JobLabel names the job on the metrics of a service, which has many.
const JobLabel = "syncd_job"

// New returns the metrics of a process of that version of syncd that runs one job.
func New(version string) *Metrics { return newMetrics(version, nil) }

// NewJob returns the metrics of one job of a service; they carry its name, so that they can be shown beside those of others.
func NewJob(version, job string) *Metrics {
	return newMetrics(version, prometheus.Labels{JobLabel: job})
}

func newMetrics(version string, labels prometheus.Labels) *Metrics {
	m := &Metrics{
		own: prometheus.NewRegistry(), all: prometheus.NewRegistry(), now: time.Now,
		before: newTotals(), looks: map[string]look{}, reasons: map[string]map[string]bool{},
		reconciles: map[string]int64{string(job.CauseSchedule): 0, string(job.CausePositionLost): 0, string(job.CauseCollectionGone): 0, string(job.CauseRequest): 0},
	}
	stages := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "syncd_stage_duration_seconds", Buckets: stageBuckets,
		Help: "Time that a batch spent in a stage: scan, check, fetch or write.",
	}, []string{"stage"})
	for s := engine.StageScan; s < engine.StageCount; s++ {
		m.stages[s] = stages.WithLabelValues(s.String())
	}
	m.retries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "syncd_retries_total", Help: "Times that a plugin asked again after a failure, by plugin and reason.",
	}, []string{"plugin", "reason"})
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "syncd_build_info", Help: "The version of syncd; always 1.", ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	prometheus.WrapRegistererWith(labels, m.own).MustRegister(stages, m.retries, build, runs{m})
	m.all.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Own gives the metrics without those of the process.
func (m *Metrics) Own() prometheus.Gatherer { return m.own }

// Gatherer gives all metrics, with those of the process.
func (m *Metrics) Gatherer() prometheus.Gatherer { return prometheus.Gatherers{m.own, m.all} }

// Begin says that a run begins, which the monitor shows as soon as its plugins are open. A run that is planned sends what a
// plan says and looks at nothing else, so that nothing becomes known of coverage.
func (m *Metrics) Begin(monitor *job.Monitor, planned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	if m.meter != monitor {
		m.before.embed(m.meter)
		m.meter = monitor
	}
	m.monitor, m.planned = monitor, planned
	monitor.OnReplaced(m.replaced)
}

// replaced adds what the run under way has done to the totals, before the monitor shows the one that goes on with it.
func (m *Metrics) replaced(forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	monitor := m.monitor
	m.settle()
	forget()
	m.monitor = monitor
}

// Follow says that a job follows streams, which the monitor shows from now on, whatever becomes of runs. A stream of which nothing
// is heard for longer than silence is not healthy; 0 does not mind.
func (m *Metrics) Follow(monitor *job.Monitor, silence time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.follows, m.silence = monitor, silence
}

// Reconciles counts that following was interrupted to look at all documents again.
func (m *Metrics) Reconciles(cause job.Cause) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reconciles[string(cause)]++
}

// BatchDone observes how long a batch was in each stage; it is for engine.Hooks.
func (m *Metrics) BatchDone(b engine.BatchReport) {
	for s := engine.StageScan; s < engine.StageCount; s++ {
		if t := b.Times[s]; t > 0 { // a batch does not pass all stages
			m.stages[s].Observe(t.Seconds())
		}
	}
}

// Retried returns what counts a plugin's retries; it is for syncd.Env.
func (m *Metrics) Retried(plugin string) func(reason string) {
	return func(reason string) {
		m.retries.WithLabelValues(plugin, m.reason(plugin, strings.ToValidUTF8(reason, "?"))).Inc()
	}
}

// reason returns the label for a reason: a plugin that does not keep to a fixed set must not make ever more series.
func (m *Metrics) reason(plugin, reason string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.reasons[plugin]
	if known == nil {
		known = map[string]bool{}
		m.reasons[plugin] = known
	}
	if !known[reason] {
		if len(known) >= maxReasons {
			return otherReason
		}
		known[reason] = true
	}
	return reason
}

// End says how the run ended that Begin began.
func (m *Metrics) End(e End) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	m.before.end(e)
	m.last.end(e, m.now())
	if m.planned {
		return
	}
	if e.Outcome.Finished() { // a collection that it did not read is not in the mapping any more
		m.looks = map[string]look{}
	}
	for i := range e.Report.Collections {
		if c := &e.Report.Collections[i]; c.Complete {
			m.looks[c.Rule.Collection.Name] = look{
				contentType: c.Rule.ContentType, found: c.Found,
				covered: coveredBy(c.Counts), documents: c.Scanned - c.Unsampled - c.Gone, oldest: m.last.oldest[c.Rule.Collection.Name],
			}
		}
	}
}

// settle adds what the run under way has done to the totals. From then on it is not looked at any more.
func (m *Metrics) settle() {
	if m.monitor == nil {
		return
	}
	if s, ok := m.monitor.Snapshot(); ok {
		m.before.add(s)
		m.last.settle(s)
	}
	m.monitor = nil
}

// Healthy returns why the process is not healthy: its run stands still, or nothing is heard of a stream that it follows. Of a
// run it is what the stall watchdog found, which needs engine.Options.StallAfter.
func (m *Metrics) Healthy() error {
	s, ok, _ := m.running()
	if !ok || !s.Stalled {
		return m.silent()
	}
	var waiting []string
	for stage := engine.StageScan; stage < engine.StageCount; stage++ {
		if n := s.Working[stage]; n > 0 {
			waiting = append(waiting, fmt.Sprintf("%d in %s", n, stage))
		}
	}
	text := fmt.Sprintf("the run has not moved for %s", m.now().Sub(s.LastMove).Round(time.Second))
	if len(waiting) > 0 {
		text += ": waiting " + strings.Join(waiting, ", ")
	}
	return errors.New(text)
}

// silent returns which stream is silent for longer than it may be. One that has nothing to say says that, and one that is not read
// is left to the run that goes on meanwhile, or to a server that is down, which a new process would not mend.
func (m *Metrics) silent() error {
	m.mu.Lock()
	monitor, most := m.follows, m.silence
	m.mu.Unlock()
	if monitor == nil || most == 0 {
		return nil
	}
	if s, ok := monitor.Snapshot(); ok && s.Phase == job.PhaseFollow {
		for _, stream := range s.Streams {
			if silent := m.now().Sub(stream.Heard); silent > most {
				return fmt.Errorf("nothing was heard from the stream %s for %s", stream.Name, silent.Round(time.Second))
			}
		}
	}
	return nil
}

// Ready returns why the process is not ready: a run has begun, and its plugins are not open yet. Between two runs it is.
func (m *Metrics) Ready() error {
	if _, ok, begun := m.running(); begun && !ok {
		return errors.New("the source, the index and the sink are being connected to")
	}
	return nil
}

// running shows the run under way: whether one has begun, and whether its plugins are open.
func (m *Metrics) running() (s job.Snapshot, ok, begun bool) {
	m.mu.Lock()
	monitor := m.monitor
	m.mu.Unlock()
	if monitor == nil {
		return s, false, false
	}
	s, ok = monitor.Snapshot()
	return s, ok, true
}
