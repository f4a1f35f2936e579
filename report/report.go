// Package report keeps what a run did: as a file that other programs can read, as text, as a comparison of two runs, and as a
// page with plots.
//
// Invariants:
//   - it knows neither configurations nor the command line; the caller fills in what they know;
//   - a field of the file keeps its name and its meaning within a Format;
//   - what a report keeps of a run, and a Recorder during it, does not grow with the run;
//   - no secret and no character that a terminal would take for a command is in a text, and the page loads nothing.
package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

// Format is the version of the file. It changes when a field changes its meaning or goes; a new field leaves it as it is.
const Format = 1

// Report is one run. The doc tags of its fields are their documentation; numbers of seconds are rounded to milliseconds.
type Report struct {
	Format  int           `json:"syncd_report" doc:"Version of this format."`
	RunID   string        `json:"run_id" doc:"The run's id, which is in the header syncd-run-id of its events where they have it."`
	Outcome tally.Outcome `json:"outcome" doc:"complete, failures (some documents could not be sent), not_arrived (the index did not show everything in time), stopped (by a guard), interrupted or failed."`
	Verdict string        `json:"verdict" doc:"The outcome in a sentence."`
	Exit    int           `json:"exit_code" doc:"The program's exit code."`
	Error   string        `json:"error,omitempty" doc:"Why the run did not end well."`
	Hint    string        `json:"hint,omitempty" doc:"What to do about it."`
	Started time.Time     `json:"started" doc:"When the run began."`
	Ended   time.Time     `json:"ended" doc:"When it ended."`

	Seconds  float64 `json:"seconds" doc:"How long the run took, with waiting for the index."`
	Scanning float64 `json:"scanning_seconds" doc:"Until the last batch was accounted for; rates refer to it."`
	Mode     string  `json:"mode" doc:"incremental or full, as configured."`
	DryRun   bool    `json:"dry_run" doc:"Nothing was sent."`
	Asked    bool    `json:"asked" doc:"The index was asked which documents it holds."`
	Plan     bool    `json:"plan" doc:"The run sent what a plan said."`
	Resumed  int64   `json:"resumed_documents" doc:"Documents of these totals that an interrupted run had handled, which this one resumed."`

	Config  Config   `json:"config" doc:"The configuration."`
	Version string   `json:"version" doc:"Version of syncd."`
	Go      string   `json:"go_version" doc:"Version of Go that it was built with."`
	Plugins []Plugin `json:"plugins" doc:"The plugins."`

	Totals      Counts       `json:"totals" doc:"Counts of all collections together. Orphans whose delete failed count as documents that could not be sent."`
	Splits      int          `json:"splits" doc:"Parts of collections that were read to their end and proved."`
	Bytes       int64        `json:"bytes" doc:"Bytes of events that were given to the sink."`
	Collections []Collection `json:"collections" doc:"The collections, in the order of the configuration."`
	Orphans     []Orphans    `json:"orphans,omitempty" doc:"Points whose documents are gone, by content type, if they were looked for."`
	Index       *Index       `json:"index,omitempty" doc:"What the index held, if it can tell."`
	Arrivals    *Arrivals    `json:"arrivals,omitempty" doc:"How much of what was sent the index showed, if the run waited for it."`

	Streams    []Stream    `json:"streams,omitempty" doc:"The streams that the job followed behind the run; the report is then that of the last run, and nothing but these if this process made none."`
	Reconciles []Reconcile `json:"reconciles,omitempty" doc:"Why following was interrupted to look at all documents again, by cause."`

	Embedded *Embedded `json:"embedded,omitempty" doc:"What was embedded, by a job that indexes by itself."`

	Switch *Switch `json:"switch,omitempty" doc:"What became of the name under which readers ask, of a job that switches it."`

	Stages  []Stage `json:"stages" doc:"Where the time went."`
	Retries []Retry `json:"retries,omitempty" doc:"What plugins had to ask again."`
	Sizes   []Size  `json:"sizes,omitempty" doc:"Of what plugins had to ask for less at once."`
	Errors  []Error `json:"errors,omitempty" doc:"Why documents could not be sent, the most frequent reason first."`
	Series  Series  `json:"series" doc:"How the run went on."`
}

// Config says what the run was configured with.
type Config struct {
	File        string `json:"file" doc:"The file."`
	Fingerprint string `json:"fingerprint,omitempty" doc:"The same for two runs that do the same work in the same places; empty if the run ended before it was known."`
	Mapping     string `json:"mapping_fingerprint" doc:"The same for two runs that make the same point ids."`
}

// Plugin is a plugin that took part.
type Plugin struct {
	Kind     string `json:"kind" doc:"source, checker, sink or dead_letter."`
	Name     string `json:"name" doc:"Its name in the configuration."`
	Label    string `json:"label" doc:"The name of its product."`
	Location string `json:"location,omitempty" doc:"Where it works, without secrets."`
}

// Counts accounts for documents and events.
type Counts struct {
	Documents    int64    `json:"documents" doc:"Documents read."`
	Present      int64    `json:"present" doc:"Documents that the index has as it should."`
	Missing      int64    `json:"missing" doc:"Documents that the index lacked."`
	Stale        int64    `json:"stale" doc:"Documents of which the index had another version."`
	OtherModel   int64    `json:"other_model" doc:"Of the stale documents: those whose vectors were of another model."`
	Partial      int64    `json:"partial" doc:"Documents of which the index had only a part, not known how much, or chunks of an older version."`
	Unread       int64    `json:"unread" doc:"Of the documents that the index was asked about: what it holds as the number of their chunks is none."`
	Unasked      int64    `json:"unasked" doc:"Documents that were to be sent without asking the index."`
	Young        int64    `json:"young" doc:"Documents left alone because they changed just now."`
	Unindexed    int64    `json:"unindexed" doc:"Documents left alone because they were sent often enough and never appeared."`
	Unsampled    int64    `json:"unsampled" doc:"Documents not looked at because only a sample was asked for."`
	WouldSend    int64    `json:"would_send" doc:"Documents that a dry run did not send."`
	Gone         int64    `json:"gone" doc:"Documents deleted before they could be sent."`
	Overtaken    int64    `json:"overtaken" doc:"Documents that the index had when it was asked again right before sending."`
	Sent         int64    `json:"sent" doc:"Events that were sent; those that the sink refused are not."`
	Acked        int64    `json:"acked" doc:"Events that the sink confirmed."`
	Unconfirmed  int64    `json:"unconfirmed" doc:"Events whose fate is not known, since the run ended early."`
	Referenced   int64    `json:"referenced" doc:"Events sent without their document, which was too large."`
	DeadLettered int64    `json:"dead_lettered" doc:"Documents that could not be sent and are in the dead letters."`
	Collisions   int64    `json:"collisions" doc:"Documents that have the point id of another document: the index can hold only one of them."`
	Failed       int64    `json:"failed" doc:"Documents that could not be sent: the sum of the next four."`
	FailedRead   int64    `json:"failed_read" doc:"Documents without a usable id or seed."`
	FailedStages int64    `json:"failed_transform" doc:"Documents that a stage could not make what the sink needs of."`
	FailedEncode int64    `json:"failed_encode" doc:"Documents that can't be written as an event."`
	FailedWrite  int64    `json:"failed_write" doc:"Documents that the sink refused."`
	Covered      int64    `json:"covered" doc:"Documents that the index had, or that were sent and confirmed."`
	Expected     int64    `json:"expected" doc:"Documents that there are; -1 if that is not known, since the run ended early."`
	Coverage     *float64 `json:"coverage" doc:"covered / expected; null if there is nothing to cover or expected is not known."`
	Seconds      float64  `json:"seconds" doc:"Time from the first document to the last."`
	PerSecond    float64  `json:"documents_per_second" doc:"Documents read per second by this run."`
}

// Collection is one collection of a run.
type Collection struct {
	Name        string `json:"name" doc:"Its name in the source."`
	ContentType string `json:"content_type" doc:"What the index calls its documents."`
	Found       bool   `json:"found" doc:"The source has it."`
	Complete    bool   `json:"complete" doc:"It was read to its end, and the counts prove that nothing was passed over."`
	Before      *int64 `json:"documents_before" doc:"Documents that it held before it was read; null if the source can't count."`
	Splits      int    `json:"splits" doc:"Parts that were read to their end and proved."`
	Resumed     int64  `json:"resumed_documents" doc:"Documents that an interrupted run had handled."`
	Mapping     string `json:"mapping_fingerprint,omitempty" doc:"The same for two runs that make the same point ids of its documents."`
	Counts
	Shared []Shared `json:"shared_point_ids,omitempty" doc:"The first point ids that several documents have."`
}

// Shared is a point id that several documents have.
type Shared struct {
	PointID   string   `json:"point_id" doc:"The point id."`
	IDs       []string `json:"ids" doc:"The first two of the documents' ids, as the source writes them."`
	Documents int      `json:"documents" doc:"How many documents have it."`
}

// Orphans are the points of one content type whose documents are gone.
type Orphans struct {
	ContentType  string   `json:"content_type" doc:"The content type."`
	Points       int64    `json:"points" doc:"Points that the index holds of it."`
	Documents    int64    `json:"documents" doc:"Points that stand for a document."`
	Orphans      int64    `json:"orphans" doc:"Documents that are gone."`
	Owned        bool     `json:"owned" doc:"It is declared or provable whose the points are; if not, an orphan may be a document of another database or job."`
	Others       int64    `json:"others" doc:"Points that name another source (mapping.owner)."`
	Foreign      int64    `json:"foreign" doc:"Points of which it can't be told whose they are: nobody's to delete."`
	Deleted      int64    `json:"deleted" doc:"Delete events that the sink confirmed."`
	Unindexed    int64    `json:"unindexed" doc:"Documents left alone because their delete was sent often enough and their points are still there."`
	Failed       int64    `json:"failed" doc:"Documents whose delete could not be sent."`
	DeadLettered int64    `json:"dead_lettered" doc:"Of these: in the dead letters."`
	Examples     []string `json:"examples,omitempty" doc:"Ids of the first that are gone."`
}

// Index is what the index held.
type Index struct {
	Before   int64   `json:"points_before" doc:"Points before the run."`
	After    int64   `json:"points_after" doc:"Points after it."`
	CaughtUp bool    `json:"caught_up" doc:"What was sent last was seen in the index."`
	Waited   float64 `json:"waited_seconds" doc:"How long that was waited for."`
}

// Arrivals is how much of what was sent arrived in the index.
type Arrivals struct {
	Sent    int64   `json:"sent" doc:"Events sent."`
	Arrived int64   `json:"arrived" doc:"Events that the index showed."`
	Known   bool    `json:"known" doc:"The index answered; if not, nothing is known of the others."`
	Waited  float64 `json:"waited_seconds" doc:"How long they were waited for after the last was sent."`
}

// Stream is a stream that was followed. Its counts are those since it began, also of earlier processes.
type Stream struct {
	Name      string `json:"stream" doc:"Its name."`
	Changes   int64  `json:"changes" doc:"Changes that were handled since the stream began, also by earlier processes."`
	Sent      int64  `json:"sent" doc:"Changes that were sent and confirmed."`
	Unwatched int64  `json:"unwatched" doc:"Changes that touched no watched field."`
	Unmatched int64  `json:"unmatched" doc:"Changes of documents that the filter does not select."`
	Gone      int64  `json:"gone" doc:"Changes of documents that were deleted by the time they were read."`
	Failed    int64  `json:"failed" doc:"Changes that could not be sent."`
}

// Reconcile is a cause for which all documents were looked at again.
type Reconcile struct {
	Cause  string `json:"cause" doc:"schedule, position_lost or collection_gone."`
	Count  int64  `json:"count" doc:"How often."`
	Stream string `json:"stream,omitempty" doc:"The stream that the last of them was about."`
	Error  string `json:"error,omitempty" doc:"What that stream ended with."`
}

// Stage is the time that batches spent in one stage.
type Stage struct {
	Name    string  `json:"stage" doc:"scan (reading ids or documents), check (asking the index), fetch (reading whole documents), transform (chunking and embedding), write (waiting for the sink) or orphans (listing the index, and asking the source for what it lists)."`
	Seconds float64 `json:"seconds" doc:"Time spent in it by all who work side by side together."`
}

// Embedded is what a run had embedded.
type Embedded struct {
	Model    string  `json:"model" doc:"The model, with its version."`
	Texts    int64   `json:"texts" doc:"Texts that were embedded."`
	Tokens   int64   `json:"tokens" doc:"Tokens, as the service counts them."`
	Requests int64   `json:"requests" doc:"Requests to the service."`
	Cost     float64 `json:"cost" doc:"What they cost in US dollars by stages.embed.price_per_million; 0 if that is not set."`
}

// Switch is what became of a name under which readers ask.
type Switch struct {
	Name   string `json:"name" doc:"The name, in words."`
	Target string `json:"target" doc:"What the job writes, in words."`
	Before string `json:"before" doc:"What the name stood for before; empty for nothing."`
	State  string `json:"state" doc:"switched (by this run), already (it stood for the target before), left (it did, and somebody has pointed it elsewhere since) or pending (see why)."`
	Why    string `json:"why,omitempty" doc:"Why it is still to be switched."`
	Again  int64  `json:"sent_again" doc:"Documents that had changed meanwhile, which a second look right before found and sent."`
}

// NewSwitch is what a job tells of it; nil where it has nothing to switch.
func NewSwitch(s *job.Switched) *Switch {
	if s == nil {
		return nil
	}
	out := &Switch{Name: s.Name, Target: s.Target, Before: s.Before, State: string(s.State), Why: spec.ScrubURLs(s.Why)}
	if s.Again != nil {
		out.Again = s.Again.Acked
	}
	return out
}

// Text is what became of it, as a sentence; empty where there is nothing to say.
func (s *Switch) Text() string {
	now := "for nothing"
	if s.Before != "" {
		now = fmt.Sprintf("for the collection %q", s.Before)
	}
	again := ""
	if s.Again > 0 {
		again = fmt.Sprintf("; %s sent in a second look before", plural(s.Again, "document that had changed meanwhile was", "documents that had changed meanwhile were"))
	}
	switch job.SwitchOutcome(s.State) {
	case job.SwitchDone:
		kept := ""
		if s.Before != "" {
			kept = ", which is kept"
		}
		return fmt.Sprintf("%s stands for %s now; before it stood %s%s%s", s.Name, s.Target, now, kept, again)
	case job.SwitchLeft:
		return fmt.Sprintf("%s was switched to %s before, stands %s since, and is left there", s.Name, s.Target, now)
	case job.SwitchPending:
		if s.Why != "" {
			return fmt.Sprintf("%s stands %s still: %s", s.Name, now, s.Why)
		}
		return fmt.Sprintf("%s stands %s still", s.Name, now)
	case job.SwitchAlready:
	}
	return ""
}

// Retry is a reason for which a plugin asked again.
type Retry struct {
	Plugin string `json:"plugin" doc:"The plugin's kind and name."`
	Reason string `json:"reason" doc:"The reason."`
	Count  int64  `json:"count" doc:"How often."`
}

// Size is how much a plugin asked for at once, where a server did not take as much as it may be.
type Size struct {
	Plugin string `json:"plugin" doc:"The plugin's kind and name."`
	What   string `json:"what" doc:"Of what, such as ids per request."`
	Ended  int    `json:"ended" doc:"How much it was at the end."`
	Least  int    `json:"least" doc:"The least that it was meanwhile."`
	Most   int    `json:"most" doc:"The most that it may be."`
}

// Error is a reason for which documents could not be sent.
type Error struct {
	Stage    string    `json:"stage" doc:"read, encode or write; empty for what an earlier run met that this one resumed."`
	Reason   string    `json:"reason" doc:"The reason, without what differs between documents."`
	Count    int64     `json:"count" doc:"How many documents."`
	Examples []Example `json:"examples,omitempty" doc:"The first of them."`
}

// Example is a document that could not be sent.
type Example struct {
	Collection string `json:"collection" doc:"Its collection."`
	ID         string `json:"id" doc:"Its id's text."`
	NoID       bool   `json:"no_id,omitempty" doc:"It has no usable id; the reason says where it stands."`
	Reason     string `json:"reason" doc:"The whole reason."`
}

// Series is how a run went on. Its length is bounded: the longer the run, the further apart the samples.
type Series struct {
	Every   float64  `json:"every_seconds" doc:"Time between two samples."`
	Samples []Sample `json:"samples" doc:"The samples."`
}

// Sample is a run at a moment. Its numbers count from the run's start.
type Sample struct {
	At        float64 `json:"at_seconds" doc:"Time since the run began."`
	Phase     string  `json:"phase" doc:"What the run was about: starting, reading, looking for orphans, waiting for the index or done."`
	Documents int64   `json:"documents" doc:"Documents read."`
	Sent      int64   `json:"sent" doc:"Events that were sent, without deletes and what the sink refused."`
	Acked     int64   `json:"acked" doc:"Events that the sink confirmed, without deletes."`
	Failed    int64   `json:"failed" doc:"Documents that could not be sent, without deletes."`
	Bytes     int64   `json:"bytes" doc:"Bytes of events."`
}

// New makes a report of what a job tells of its run. What the caller knows is left for it to fill in, and End completes it.
func New(p job.Report) *Report {
	r := &Report{
		Format: Format, RunID: p.RunID, Started: p.Started, Ended: p.Started.Add(p.Duration), Seconds: seconds(p.Duration), Scanning: seconds(p.Scanning),
		DryRun: p.DryRun, Asked: !p.Full, Resumed: p.Resumed, Bytes: p.Bytes, Collections: []Collection{}, Stages: []Stage{},
		Series: Series{Samples: []Sample{}}, Plugins: []Plugin{},
	}
	r.Totals = countsOf(p.Total, p.Scanning, p.Resumed)
	expected := int64(0)
	for i := range p.Collections {
		c := collectionOf(&p.Collections[i])
		r.Collections = append(r.Collections, c)
		r.Splits += c.Splits
		if expected >= 0 && c.Expected >= 0 {
			expected += c.Expected
		} else {
			expected = -1
		}
	}
	r.Totals.cover(expected)
	r.Totals.FailedRead += p.Deleted.FailedRead
	r.Totals.FailedStages += p.Deleted.FailedStages
	r.Totals.FailedEncode += p.Deleted.FailedEncode
	r.Totals.FailedWrite += p.Deleted.FailedWrite
	r.Totals.DeadLettered += p.Deleted.DeadLettered
	r.Totals.Failed = p.Failed()
	for s := engine.StageScan; s < engine.StageCount; s++ {
		r.Stages = append(r.Stages, Stage{Name: s.String(), Seconds: seconds(p.Times[s])})
	}
	if e := p.Embedded; e != nil {
		r.Embedded = &Embedded{Model: e.Model, Texts: e.Texts, Tokens: e.Tokens, Requests: e.Requests, Cost: e.Cost}
	}
	r.Switch = NewSwitch(p.Switch)
	if p.Orphans != nil {
		r.Stages = append(r.Stages, Stage{Name: "orphans", Seconds: seconds(p.OrphanTime)})
	}
	r.Orphans = orphansOf(&p)
	if p.Index.Known {
		r.Index = &Index{
			Before: p.Index.Before.Points, After: p.Index.After.Points, CaughtUp: p.Index.CaughtUp, Waited: seconds(p.Index.Waited),
		}
	}
	if a := p.Arrivals; a != nil {
		r.Arrivals = &Arrivals{Sent: a.Sent, Arrived: a.Arrived, Known: a.Known, Waited: seconds(a.Waited)}
	}
	return r
}

// orphansOf tells what was found where orphans were looked for.
func orphansOf(p *job.Report) (out []Orphans) {
	for _, o := range p.Orphans {
		found := Orphans{
			ContentType: o.ContentType, Points: o.Points, Documents: o.Documents, Orphans: o.Orphans, Owned: o.Owned, Others: o.Others, Foreign: o.Foreign, Deleted: o.Deleted,
		}
		for i := range p.Deletes {
			if d := &p.Deletes[i]; d.Rule.ContentType == o.ContentType {
				found.Unindexed += d.Unindexed
				found.Failed += d.Failed()
				found.DeadLettered += d.DeadLettered
			}
		}
		for _, e := range o.Examples {
			found.Examples = append(found.Examples, e.ID)
		}
		out = append(out, found)
	}
	return out
}

// Followed adds what became of the streams.
func (r *Report) Followed(streams []job.StreamCounts) {
	for _, s := range streams {
		r.Streams = append(r.Streams, Stream{
			Name: s.Name, Changes: s.Scanned, Sent: s.Acked, Unwatched: s.Unwatched, Unmatched: s.Unmatched, Gone: s.Gone, Failed: s.Failed(),
		})
	}
}

// Reconciled counts that following was interrupted.
func (r *Report) Reconciled(why job.Reconcile) {
	i := slices.IndexFunc(r.Reconciles, func(other Reconcile) bool { return other.Cause == string(why.Cause) })
	if i < 0 {
		i = len(r.Reconciles)
		r.Reconciles = append(r.Reconciles, Reconcile{Cause: string(why.Cause)})
	}
	of := &r.Reconciles[i]
	of.Count++
	if of.Stream = why.Stream; why.Err != nil {
		of.Error = spec.ScrubURLs(why.Err.Error())
	}
}

// End says how the run ended, and why if it did not end well.
func (r *Report) End(outcome tally.Outcome, exitCode int, problem, hint string) {
	r.Outcome, r.Exit, r.Error, r.Hint = outcome, exitCode, spec.ScrubURLs(problem), spec.ScrubURLs(hint)
	r.Verdict = r.verdict()
}

func collectionOf(p *engine.CollectionReport) Collection {
	c := Collection{
		Name: p.Rule.Collection.Name, ContentType: p.Rule.ContentType, Found: p.Found, Complete: p.Complete, Splits: p.Splits,
		Resumed: p.Resumed.Scanned, Mapping: p.Rule.Identity(), Counts: countsOf(p.Counts, p.Duration, p.Resumed.Scanned),
	}
	for _, d := range p.Collided {
		c.Shared = append(c.Shared, Shared{PointID: d.PointID.String(), IDs: d.IDs, Documents: d.Documents})
	}
	if p.Before >= 0 {
		before := p.Before
		c.Before = &before
	}
	expected := p.Scanned
	if !p.Complete {
		if expected = -1; p.Before >= 0 {
			expected = max(p.Before, p.Scanned)
		}
	}
	if expected >= 0 {
		expected -= p.Gone
	}
	c.cover(expected)
	return c
}

func countsOf(c tally.Counts, took time.Duration, resumed int64) Counts {
	out := Counts{
		Documents: c.Scanned, Present: c.Present, Missing: c.Missing, Stale: c.Stale, OtherModel: c.OtherModel, Partial: c.Partial, Unread: c.Unread, Unasked: c.Unasked,
		Young: c.Young, Unindexed: c.Unindexed, Unsampled: c.Unsampled, WouldSend: c.WouldSend, Gone: c.Gone, Overtaken: c.Overtaken,
		Sent: c.Emitted - c.FailedWrite, Acked: c.Acked, Unconfirmed: c.Unconfirmed(), Referenced: c.Referenced, DeadLettered: c.DeadLettered,
		Collisions: c.Collisions, Failed: c.Failed(), FailedRead: c.FailedRead, FailedStages: c.FailedStages, FailedEncode: c.FailedEncode, FailedWrite: c.FailedWrite,
		Covered: c.Present + c.Overtaken + c.Acked, Seconds: seconds(took),
	}
	if took > 0 {
		out.PerSecond = float64(int64(float64(c.Scanned-resumed)/took.Seconds()*10+0.5)) / 10
	}
	return out
}

// cover sets how many documents there are, and which share of them is covered.
func (c *Counts) cover(expected int64) {
	c.Expected, c.Coverage = expected, nil
	if expected > 0 {
		share := min(1, float64(c.Covered)/float64(expected))
		c.Coverage = &share
	}
}

// coverageBefore is the share that was covered before anything was sent.
func (c *Counts) coverageBefore() float64 {
	return min(1, float64(c.Covered-c.Acked)/float64(max(1, c.Expected)))
}

// ContentType is what the collections of one content type have in common.
type ContentType struct {
	Name string
	Counts
}

// ContentTypes adds up the collections of each content type, in their order.
func (r *Report) ContentTypes() []ContentType {
	var out []ContentType
	for i := range r.Collections {
		c := &r.Collections[i]
		k := slices.IndexFunc(out, func(t ContentType) bool { return t.Name == c.ContentType })
		if k < 0 {
			out = append(out, ContentType{Name: c.ContentType, Counts: c.Counts})
			continue
		}
		t := &out[k]
		t.Documents += c.Documents
		t.Present += c.Present
		t.Acked += c.Acked
		t.Missing += c.Missing
		t.Covered += c.Covered
		if t.Expected >= 0 && c.Expected >= 0 {
			t.cover(t.Expected + c.Expected)
		} else {
			t.cover(-1)
		}
	}
	return out
}

// seconds are a time span's, in whole milliseconds.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
