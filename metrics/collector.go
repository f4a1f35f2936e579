package metrics

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// flow is a number of a run's account that only grows.
type flow struct {
	desc  *prometheus.Desc
	label string // the value of the metric's own label; "" if it has none
	of    func(tally.Counts) int64
}

var placeLabels = []string{"collection", "content_type"}

func placeDesc(name, help string, label ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append(placeLabels[:len(placeLabels):len(placeLabels)], label...), nil)
}

// The metrics of a run, and of the runs before it.
var (
	documents = placeDesc("syncd_documents_total", "Documents read, by verdict. "+
		"present, missing, stale and partial are the index's answers; unasked were sent without asking it; young, unindexed and unsampled were left alone; failed have no id or seed.", "verdict")
	unsent = placeDesc("syncd_documents_unsent_total", "Documents that had to be sent and were not: deleted meanwhile (gone), indexed meanwhile (overtaken), or only counted (dry_run).", "cause")
	errs   = placeDesc("syncd_document_errors_total", "Documents that can't be handled, by where that was found: read, encode or write.", "stage")
	twins  = placeDesc("syncd_document_collisions_total", "Documents that have the point id of another document of their collection, so that the index can hold only one of them.")
	dead   = placeDesc("syncd_dead_letters_total", "Documents that can't be handled and that the dead letters took.")
	events = placeDesc("syncd_events_total", "Events handed to the sink.")
	acks   = placeDesc("syncd_acks_total", "Events that the sink confirmed.")
	bare   = placeDesc("syncd_events_without_document_total", "Of the events confirmed: those sent without their document, since they were too large with it.")

	flows = [...]flow{
		{documents, "present", func(c tally.Counts) int64 { return c.Present }},
		{documents, "missing", func(c tally.Counts) int64 { return c.Missing }},
		{documents, "stale", func(c tally.Counts) int64 { return c.Stale }},
		{documents, "partial", func(c tally.Counts) int64 { return c.Partial }},
		{documents, "unasked", func(c tally.Counts) int64 { return c.Unasked }},
		{documents, "young", func(c tally.Counts) int64 { return c.Young }},
		{documents, "unindexed", func(c tally.Counts) int64 { return c.Unindexed }},
		{documents, "unsampled", func(c tally.Counts) int64 { return c.Unsampled }},
		{documents, "failed", func(c tally.Counts) int64 { return c.FailedRead }},
		{unsent, "gone", func(c tally.Counts) int64 { return c.Gone }},
		{unsent, "overtaken", func(c tally.Counts) int64 { return c.Overtaken }},
		{unsent, "dry_run", func(c tally.Counts) int64 { return c.WouldSend }},
		{errs, "read", func(c tally.Counts) int64 { return c.FailedRead }},
		{errs, "transform", func(c tally.Counts) int64 { return c.FailedStages }},
		{errs, "encode", func(c tally.Counts) int64 { return c.FailedEncode }},
		{errs, "write", func(c tally.Counts) int64 { return c.FailedWrite }},
		{twins, "", func(c tally.Counts) int64 { return c.Collisions }},
		{dead, "", func(c tally.Counts) int64 { return c.DeadLettered }},
		{events, "", func(c tally.Counts) int64 { return c.Emitted }},
		{acks, "", func(c tally.Counts) int64 { return c.Acked }},
		{bare, "", func(c tally.Counts) int64 { return c.Referenced }},
	}

	eventBytes = prometheus.NewDesc("syncd_event_bytes_total", "Bytes of the events given to the sink.", nil, nil)
	deletes    = prometheus.NewDesc("syncd_deletes_total", "Delete events for points whose documents are gone, confirmed by the sink.", []string{"content_type"}, nil)
	tokens     = prometheus.NewDesc("syncd_embedded_tokens_total", "Tokens that were embedded, as the service counts them, by model.", []string{"model"}, nil)
	texts      = prometheus.NewDesc("syncd_embedded_texts_total", "Texts that were embedded, by model.", []string{"model"}, nil)
	requests   = prometheus.NewDesc("syncd_embedding_requests_total", "Requests to an embedding service, also those that failed, by model.", []string{"model"}, nil)
	cost       = prometheus.NewDesc("syncd_embedding_cost_dollars_total", "What the tokens cost by stages.embed.price_per_million, by model; only where that is set.", []string{"model"}, nil)
	runsTotal  = prometheus.NewDesc("syncd_runs_total", "Runs that ended, by outcome: complete, failures, not_arrived, stopped, interrupted or failed.", []string{"outcome"}, nil)

	runActive   = prometheus.NewDesc("syncd_run_active", "1 while a run is under way, from the opening of its plugins on, else 0.", nil, nil)
	runStalled  = prometheus.NewDesc("syncd_run_stalled", "1 while nothing of the run under way has moved for longer than run.stall_after, else 0.", nil, nil)
	runInfo     = prometheus.NewDesc("syncd_run_info", "The id of the run under way, else of the last one; always 1.", []string{"run_id"}, nil)
	runStart    = prometheus.NewDesc("syncd_run_start_timestamp_seconds", "When the run under way began, else the last one.", nil, nil)
	runMoved    = prometheus.NewDesc("syncd_run_last_move_timestamp_seconds", "When anything of the run under way was last handled, else of the last one.", nil, nil)
	runPhase    = prometheus.NewDesc("syncd_run_phase", "1 for the phase of the run under way, 0 for all others: start, read, orphans or wait, and follow while changes are followed.", []string{"phase"}, nil)
	progress    = placeDesc("syncd_run_progress_ratio", "Share of the collection's documents that the run under way, else the last one, has handled; only where the source can count.")
	queue       = prometheus.NewDesc("syncd_queue_batches", "Batches that were read and are not yet handled with all before them.", nil, nil)
	stageActive = prometheus.NewDesc("syncd_stage_active", "Readers and workers in a stage right now: scan, check, fetch or write.", []string{"stage"}, nil)
	held        = placeDesc("syncd_collection_documents", "Documents that the source counted in the collection when the run began; only where it can count.")

	coverage = prometheus.NewDesc("syncd_coverage_ratio", "Share of a content type's documents that the index has, or that were sent and confirmed. "+
		"It is as of the last complete look at its collections; before the first one, of what was seen so far.", []string{"content_type"}, nil)
	oldest = placeDesc("syncd_oldest_missing_timestamp_seconds", "When the longest unchanged of the documents that the index lacked was last changed, as of the last complete look; only where the rule knows dates, see mapping.version.")

	exitCode    = prometheus.NewDesc("syncd_last_run_exit_code", "The exit code of the last run that ended.", nil, nil)
	endTime     = prometheus.NewDesc("syncd_last_run_timestamp_seconds", "When the last run ended.", nil, nil)
	duration    = prometheus.NewDesc("syncd_last_run_duration_seconds", "How long the last run took that ended.", nil, nil)
	success     = prometheus.NewDesc("syncd_last_success_timestamp_seconds", "When the last run ended that looked at every document and sent all that can be sent; dry runs do not count.", nil, nil)
	otherPoints = prometheus.NewDesc("syncd_other_points", "Points of the content type that name another source (mapping.owner), as of the last run that looked for orphans.", []string{"content_type"}, nil)
	orphans     = prometheus.NewDesc("syncd_orphan_documents", "Documents that are gone and whose points are still in the index, as of the last run that looked for them.", []string{"content_type"}, nil)
	indexPoints = prometheus.NewDesc("syncd_index_points", "Points that the index held when the last run ended, where it can be counted.", nil, nil)
)

// The metrics of streams that are followed.
var (
	streamChanges = prometheus.NewDesc("syncd_stream_changes_total", "Changes of a stream that were handled since it began, also by earlier processes: "+
		"sent and confirmed (sent), touching no watched field (unwatched), of documents that the filter does not select (unmatched), of documents deleted since (gone), or failed.", []string{"stream", "result"}, nil)
	streamLag      = prometheus.NewDesc("syncd_stream_lag_seconds", "Time between the last change that was handled and the newest that the source has; 0 where nothing is left to handle. While all documents are looked at again it grows.", []string{"stream"}, nil)
	streamWaiting  = prometheus.NewDesc("syncd_stream_waiting_changes", "Changes that were read and are not yet confirmed.", []string{"stream"}, nil)
	streamHeard    = prometheus.NewDesc("syncd_stream_heard_timestamp_seconds", "When the source last said anything of a stream, be it that there is nothing new, which a live one does about every second; at first when following began.", []string{"stream"}, nil)
	streamWindow   = prometheus.NewDesc("syncd_stream_window_seconds", "How far back the source's record of changes reaches: a job that is behind by more has lost its position; only where the source tells it.", nil, nil)
	streamRetained = prometheus.NewDesc("syncd_stream_retained_bytes", "How much of its log the source's server keeps until the streams are read on: what nobody reads fills its disk. Only where the source tells it (PostgreSQL).", nil, nil)
	streamMerged   = prometheus.NewDesc("syncd_stream_merged_changes", "Changes that were left out for a later one of the same document (stream.debounce), since following began or went on.", nil, nil)
	followedOps    = prometheus.NewDesc("syncd_followed_changes", "Changes of a collection that were read since following began or went on, by operation.", []string{"collection", "operation"}, nil)
	reconciles     = prometheus.NewDesc("syncd_reconciles_total", "Times that following was interrupted to look at all documents again, by cause: schedule, position_lost or collection_gone.", []string{"cause"}, nil)
)

// The metrics of processes that share a job.
var (
	clusterProcesses = prometheus.NewDesc("syncd_cluster_processes", "Processes that own lanes of the job's cluster, as this one sees it; only where several may share the job.", nil, nil)
	clusterLanes     = prometheus.NewDesc("syncd_cluster_lanes", "Lanes of the job's cluster: partitions of the state topic.", nil, nil)
	clusterOwned     = prometheus.NewDesc("syncd_cluster_lanes_owned", "Lanes of the job's cluster that this process owns.", nil, nil)
	clusterMoves     = prometheus.NewDesc("syncd_cluster_moves_total", "Times that a lane of the job's cluster was seen to go to another process.", nil, nil)
	clusterLeader    = prometheus.NewDesc("syncd_cluster_leader", "1 if this process leads the job's cluster, else 0.", nil, nil)
)

// phases are the words for the phases of a run that is under way.
var phases = [job.PhaseEnd]string{"start", "read", "orphans", "wait", "follow"}

// runs collects what is known of the runs at the moment of the scrape.
type runs struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (r runs) Describe(out chan<- *prometheus.Desc) {
	for i, f := range flows {
		if i == 0 || flows[i-1].desc != f.desc {
			out <- f.desc
		}
	}
	for _, d := range []*prometheus.Desc{
		eventBytes, deletes, tokens, texts, requests, cost, runsTotal, runActive, runStalled, runInfo, runStart, runMoved, runPhase, progress, queue, stageActive, held,
		streamChanges, streamLag, streamWaiting, streamHeard, streamWindow, streamRetained, streamMerged, followedOps, reconciles,
		clusterProcesses, clusterLanes, clusterOwned, clusterMoves, clusterLeader,
		coverage, oldest, exitCode, endTime, duration, success, orphans, otherPoints, indexPoints,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (r runs) Collect(out chan<- prometheus.Metric) {
	v := r.m.view()
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	v.counters(count)
	for model, e := range v.totals.embedded {
		if e.Cost > 0 {
			out <- prometheus.MustNewConstMetric(cost, prometheus.CounterValue, e.Cost, model)
		}
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	v.run(gauge)
	v.streams(gauge, count)
	if v.cluster != nil {
		v.cluster.show(gauge)
		out <- prometheus.MustNewConstMetric(clusterMoves, prometheus.CounterValue, float64(v.cluster.moves))
	}
	v.knowledge(gauge)
	v.end(gauge)
}

// view is what a scrape shows. It shares nothing that changes.
type view struct {
	totals totals
	active bool         // a run has begun, and not ended
	shown  job.Snapshot // of the run under way, else of the last one
	moving bool         // shown is under way
	looks  map[string]look
	last   ended

	followed   job.Snapshot // of the streams, if there are any
	reconciles map[string]int64

	cluster *cluster // nil where the process works alone, or nothing is under way
}

func (m *Metrics) view() view {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := view{active: m.monitor != nil, shown: m.last.snapshot, totals: m.before.clone(), last: m.last}
	var seen *job.Snapshot
	if v.active {
		if s, ok := m.monitor.Snapshot(); ok {
			v.shown, v.moving = s, true
			v.totals.add(s)
			if !m.planned {
				seen = &s
			}
		}
	}
	v.looks = lookedAt(m.looks, seen)
	v.totals.embed(m.meter)
	v.reconciles = maps.Clone(m.reconciles)
	if m.follows != nil {
		v.followed, _ = m.follows.Snapshot()
	}
	for _, monitor := range []*job.Monitor{m.follows, m.monitor} {
		if monitor == nil {
			continue
		}
		if s, ok := monitor.Cluster(); ok {
			v.cluster = &cluster{len(s.Owners), len(s.Lanes), s.Owned(), m.moves.seen(s.Moves), s.Leads()}
		}
	}
	return v
}

// moves counts what begins anew with each membership.
type moves struct{ before, last int }

func (m *moves) seen(n int) int {
	if n < m.last {
		m.before += m.last
	}
	m.last = n
	return m.before + n
}

// cluster is how the processes stand that share the job.
type cluster struct {
	processes, lanes, owned int
	moves                   int // of lanes, since this process began
	leads                   bool
}

func (c *cluster) show(gauge func(d *prometheus.Desc, n float64, labels ...string)) {
	gauge(clusterProcesses, float64(c.processes))
	gauge(clusterLanes, float64(c.lanes))
	gauge(clusterOwned, float64(c.owned))
	gauge(clusterLeader, number(c.leads))
}

func (v *view) counters(count func(d *prometheus.Desc, n int64, labels ...string)) {
	for at, sums := range v.totals.flows {
		for i, f := range flows {
			if f.label == "" {
				count(f.desc, sums[i], at.collection, at.contentType)
			} else {
				count(f.desc, sums[i], at.collection, at.contentType, f.label)
			}
		}
	}
	count(eventBytes, v.totals.bytes)
	for contentType, n := range v.totals.deletes {
		count(deletes, n, contentType)
	}
	for model, e := range v.totals.embedded {
		count(tokens, e.Tokens, model)
		count(texts, e.Texts, model)
		count(requests, e.Requests, model)
	}
	for _, o := range tally.Outcomes() {
		count(runsTotal, v.totals.runs[o], string(o))
	}
}

// run shows the run under way, and what stays of it until the next one.
func (v *view) run(gauge func(d *prometheus.Desc, n float64, labels ...string)) {
	gauge(runActive, number(v.active))
	gauge(runStalled, number(v.moving && v.shown.Stalled))
	phase := job.PhaseEnd
	switch {
	case v.moving:
		phase = v.shown.Phase
	case v.active:
		phase = job.PhaseStart
	case v.followed.Phase == job.PhaseFollow:
		phase = job.PhaseFollow
	}
	for i, name := range phases {
		gauge(runPhase, number(phase == job.Phase(i)), name)
	}
	var working [engine.StageCount]int
	waiting := 0
	if v.moving {
		working, waiting = v.shown.Working, v.shown.Waiting
	}
	for s := engine.StageScan; s < engine.StageCount; s++ {
		gauge(stageActive, float64(working[s]), s.String())
	}
	gauge(queue, float64(waiting))
	if v.shown.Started.IsZero() {
		return
	}
	gauge(runInfo, 1, v.shown.RunID)
	gauge(runStart, seconds(v.shown.Started))
	gauge(runMoved, seconds(v.shown.LastMove))
	for _, c := range v.shown.Collections {
		if c.Before < 0 || !c.Started {
			continue
		}
		gauge(held, float64(c.Before), c.Name, c.ContentType)
		share := 1.0 // of nothing
		if c.Before > 0 {
			share = min(1, float64(c.Counts.Scanned)/float64(c.Before))
		}
		gauge(progress, share, c.Name, c.ContentType)
	}
}

// streams shows what is followed.
func (v *view) streams(gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, int64, ...string)) {
	for cause, n := range v.reconciles {
		count(reconciles, n, cause)
	}
	s := &v.followed
	for _, stream := range s.Streams {
		n := stream.Counts
		count(streamChanges, n.Acked, stream.Name, "sent")
		count(streamChanges, n.Unwatched, stream.Name, "unwatched")
		count(streamChanges, n.Unmatched, stream.Name, "unmatched")
		count(streamChanges, n.Gone, stream.Name, "gone")
		count(streamChanges, n.Failed(), stream.Name, "failed")
		gauge(streamWaiting, float64(stream.Waiting), stream.Name)
		gauge(streamHeard, seconds(stream.Heard), stream.Name)
		if lag, ok := s.Lag(stream); ok {
			gauge(streamLag, lag.Seconds(), stream.Name)
		}
	}
	if len(s.Streams) == 0 {
		return
	}
	if w := s.Window; !w.First.IsZero() && w.Last.After(w.First) {
		gauge(streamWindow, w.Last.Sub(w.First).Seconds())
	}
	if n := s.Window.Retained; n > 0 {
		gauge(streamRetained, float64(n))
	}
	gauge(streamMerged, float64(s.Merged))
	for _, f := range s.Followed {
		gauge(followedOps, float64(f.Inserts), f.Collection, "insert")
		gauge(followedOps, float64(f.Updates), f.Collection, "update")
		gauge(followedOps, float64(f.Replaces), f.Collection, "replace")
		gauge(followedOps, float64(f.Deletes), f.Collection, "delete")
	}
}

// knowledge shows what is known of collections.
func (v *view) knowledge(gauge func(d *prometheus.Desc, n float64, labels ...string)) {
	types := map[string]look{}
	for name, l := range v.looks {
		if !l.oldest.IsZero() {
			gauge(oldest, seconds(l.oldest), name, l.contentType)
		}
		if l.found {
			sum := types[l.contentType]
			sum.covered += l.covered
			sum.documents += l.documents
			types[l.contentType] = sum
		}
	}
	for contentType, l := range types {
		share := 1.0 // nothing lacks
		if l.documents > 0 {
			share = min(1, float64(l.covered)/float64(l.documents))
		}
		gauge(coverage, share, contentType)
	}
}

// end shows the last run that ended.
func (v *view) end(gauge func(d *prometheus.Desc, n float64, labels ...string)) {
	l := v.last
	if !l.known {
		return
	}
	gauge(exitCode, float64(l.exitCode))
	gauge(endTime, seconds(l.at))
	gauge(duration, l.duration.Seconds())
	if !l.success.IsZero() {
		gauge(success, seconds(l.success))
	}
	for contentType, n := range l.orphans {
		gauge(orphans, float64(n), contentType)
	}
	for contentType, n := range l.others {
		gauge(otherPoints, float64(n), contentType)
	}
	if l.points >= 0 {
		gauge(indexPoints, float64(l.points))
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
