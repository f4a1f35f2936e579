package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// Plan is what a run would send.
type Plan struct {
	RunID       string           `json:"run_id" doc:"Names the comparison."`
	Sample      float64          `json:"sample,omitempty" doc:"The share of the documents that was looked at; then all numbers but the documents are estimates."`
	Asked       bool             `json:"asked" doc:"The index was asked; if not, every document counts as to be sent."`
	Collections []PlanCollection `json:"collections" doc:"The collections, in the order of the configuration."`
	Total       PlanCounts       `json:"total" doc:"All collections together."`
	Differences []Difference     `json:"differences" doc:"The first documents that would be sent or deleted."`
	More        int64            `json:"more_differences" doc:"How many more there are."`
	Failures    []FailedDocument `json:"failures,omitempty" doc:"The first documents that can't be sent."`
	Encoded     int64            `json:"encoded" doc:"Events that were made to learn how large they are, and whether the sink would take them: some of each collection."`
	Unsendable  int64            `json:"unsendable" doc:"Of these, or of the documents that were read to count tokens: those that the sink or a stage would not take, such as those that are too large."`
	Refused     []FailedDocument `json:"refused,omitempty" doc:"The first documents of these."`
	Embed       *PlanEmbed       `json:"embed,omitempty" doc:"What a run would have embedded, of a job that indexes by itself."`
	File        string           `json:"file,omitempty" doc:"The file that the plan was written to."`
	Orphans     []Orphans        `json:"orphans,omitempty" doc:"Points whose documents are gone, by content type, if they were looked for."`
}

// PlanEmbed is what a run would have embedded.
type PlanEmbed struct {
	Model     string   `json:"model" doc:"The model, with its version."`
	Tokens    int64    `json:"tokens" doc:"Tokens that would be embedded."`
	Texts     int64    `json:"texts" doc:"Texts that they are in."`
	Unchanged int64    `json:"unchanged_texts" doc:"Further texts of documents that would be sent, which the index holds already: they keep their vectors."`
	Cost      *float64 `json:"cost,omitempty" doc:"What the tokens cost in US dollars, by stages.embed.price_per_million; left out if that is not set."`
	Documents int64    `json:"documents" doc:"Documents that would be sent."`
	Read      int64    `json:"documents_read" doc:"Documents of these that were read to count tokens; if they are fewer, the numbers are estimates from these, which were chosen evenly."`
	CountedBy string   `json:"counted_by" doc:"How tokens were counted: the tokenizer of stages.chunk, or what estimates them."`
	Estimate  bool     `json:"estimate" doc:"The numbers are estimates: not all documents were read, or no tokenizer counted."`
	sampled   bool     // only a share of all documents was looked at
	Asked     bool     `json:"asked" doc:"The index was asked which texts it holds; if not, all texts of a document count as to be embedded."`
}

// PlanCounts are what a run would do with documents.
type PlanCounts struct {
	Documents  int64  `json:"documents" doc:"Documents read."`
	Present    int64  `json:"present" doc:"Documents that the index has as it should."`
	Missing    int64  `json:"missing" doc:"Documents that the index lacks."`
	Stale      int64  `json:"stale" doc:"Documents of which the index has another version."`
	OtherModel int64  `json:"other_model" doc:"Of the stale documents: those whose vectors are of another model."`
	Partial    int64  `json:"partial" doc:"Documents of which the index has only a part, or chunks of an older version."`
	Orphan     *int64 `json:"orphan" doc:"Documents that are gone, and of which the index has points; null if they were not looked for. Collections of one content type share them."`
	Failed     int64  `json:"failed" doc:"Documents that can't be sent."`
	Events     int64  `json:"events" doc:"Events that a run would send."`
	Bytes      int64  `json:"bytes" doc:"How large they are together, about."`
}

// PlanCollection is what a run would do with one collection.
type PlanCollection struct {
	Name        string `json:"name" doc:"Its name in the source."`
	ContentType string `json:"content_type" doc:"What the index calls its documents."`
	PlanCounts
}

// Difference is one document in which source and index differ.
type Difference struct {
	Sigil      string `json:"sigil" doc:"+ missing, ~ stale, % partial, - orphan, as in plans."`
	Verdict    string `json:"verdict" doc:"The same as a word."`
	Collection string `json:"collection" doc:"The document's collection."`
	ID         string `json:"id" doc:"Its id."`
	PointID    string `json:"point_id" doc:"The id of its point."`
	Why        string `json:"why" doc:"What that means."`
}

// FailedDocument is a document that can't be sent.
type FailedDocument struct {
	Collection string `json:"collection" doc:"The document's collection."`
	ID         string `json:"id" doc:"Its id."`
	NoID       bool   `json:"no_id,omitempty" doc:"It has none; the reason says where it stands."`
	Stage      string `json:"stage" doc:"read, encode or write."`
	Reason     string `json:"reason" doc:"Why it can't be sent."`
}

// Differences keeps the first differences of a comparison.
type Differences struct {
	Most int // how many
	List []Difference
	More int64 // that came behind them
}

// Add takes what is to be said about a document; one that the index has as it should is no difference.
func (d *Differences) Add(i verdict.Item) {
	switch {
	case i.Verdict == syncd.Present || i.Verdict == syncd.Unknown:
	case len(d.List) >= d.Most:
		d.More++
	default:
		d.List = append(d.List, differenceOf(i))
	}
}

func differenceOf(i verdict.Item) Difference {
	l := planfile.LineOf(i)
	return Difference{Sigil: l.Sigil, Verdict: l.Verdict, Collection: l.Collection, ID: l.ID, PointID: l.PointID.String(), Why: whyOf(i)}
}

// whyOf says what a verdict means.
func whyOf(i verdict.Item) string {
	switch i.Verdict {
	case syncd.Missing:
		return "the index has no point with this id"
	case syncd.Stale:
		if i.OtherModel {
			return audit.OtherModel
		}
		return "the index holds another version of it"
	case syncd.Partial:
		return "the index lacks some of its chunks"
	case syncd.Orphan:
		return "the index holds its point, but the document is gone"
	}
	return ""
}

// NewPlan tells what a comparison found that looked at that share of the documents, 0 for all. It names no differences.
func NewPlan(res job.PlanResult, share float64) Plan {
	r := res.Report
	p := Plan{RunID: r.RunID, Sample: share, Asked: res.Asked, Collections: []PlanCollection{}, Differences: []Difference{}, Orphans: orphansOf(&r)}
	orphans := map[string]int64{}
	for _, o := range r.Orphans {
		orphans[o.ContentType] = o.Orphans
	}
	if r.Orphans != nil {
		p.Total.Orphan = new(int64)
	}
	var embed PlanEmbed
	for i := range r.Collections {
		c := &r.Collections[i]
		looked := c.Scanned - c.Unsampled
		scaled := func(n int64) int64 { // of what was looked at, to all that there is
			if share == 0 || looked == 0 {
				return n
			}
			return int64(math.Round(float64(n) * float64(c.Scanned) / float64(looked)))
		}
		n := PlanCounts{
			Documents: c.Scanned, Present: scaled(c.Present), Missing: scaled(c.Missing), Stale: scaled(c.Stale), OtherModel: scaled(c.OtherModel), Partial: scaled(c.Partial),
			Failed: c.Failed(), Events: scaled(c.WouldSend),
		}
		if c.Measured > 0 {
			n.Bytes = n.Events * (c.MeasuredBytes / c.Measured)
		}
		if r.Orphans != nil {
			here := orphans[c.Rule.ContentType]
			n.Orphan = &here
			if !slices.ContainsFunc(p.Collections, func(o PlanCollection) bool { return o.ContentType == c.Rule.ContentType }) {
				*p.Total.Orphan += here
			}
		}
		p.Total.add(n)
		p.Collections = append(p.Collections, PlanCollection{c.Rule.Collection.Name, c.Rule.ContentType, n})
		p.Failures = appendFailures(p.Failures, c.Rule.Collection.Name, c.Failures)
		p.Encoded, p.Unsendable = p.Encoded+c.Measured, p.Unsendable+c.Unsendable
		p.Refused = appendFailures(p.Refused, c.Rule.Collection.Name, c.Refused)
		if e := c.Embedding; e != nil {
			p.Unsendable += e.Failed
			p.Refused = appendFailures(p.Refused, c.Rule.Collection.Name, e.Failures)
			embed.add(e, n.Events)
		}
	}
	if by := res.Embedding; by != nil {
		embed.conclude(by, share)
		p.Embed = &embed
	}
	return p
}

// add adds what some documents of a collection show of those that would be sent.
func (p *PlanEmbed) add(e *engine.Embedding, events int64) {
	p.Documents += events
	p.Read += e.Documents
	if e.Documents == 0 {
		return
	}
	scale := max(1, float64(events)/float64(e.Documents))
	p.Texts += int64(math.Round(float64(e.Texts) * scale))
	p.Tokens += int64(math.Round(float64(e.Tokens) * scale))
	p.Unchanged += int64(math.Round(float64(e.Unchanged) * scale))
}

// conclude says how it was counted, of that share of the documents.
func (p *PlanEmbed) conclude(by *job.Embedding, share float64) {
	p.sampled = share > 0
	p.Model, p.Asked, p.CountedBy, p.Estimate = by.Model, by.Held, bytesPerToken, true
	if by.By != nil {
		p.CountedBy, p.Estimate = by.By.By, by.By.Estimate
	}
	p.Estimate = p.Estimate || p.Read < p.Documents || share > 0
	if by.Price > 0 {
		cost := float64(p.Tokens) / 1e6 * by.Price
		p.Cost = &cost
	}
}

// bytesPerToken is how tokens are counted where no stage does.
const bytesPerToken = "an estimate of four bytes a token"

// Lines are what would be embedded in words.
func (p *PlanEmbed) Lines() []string {
	if p.Tokens == 0 && p.Unchanged == 0 {
		return []string{"It would embed nothing"}
	}
	about := ""
	if p.Estimate {
		about = "about "
	}
	out := fmt.Sprintf("It would embed %s%s tokens%s in %s%s by %s", about, text.Short(p.Tokens), dollars(p.Cost), about, text.Plural(p.Texts, "text", "texts"), p.Model)
	if p.Unchanged > 0 {
		out += fmt.Sprintf("; %s%s unchanged and would not be embedded again", about, text.Plural(p.Unchanged, "text is", "texts are"))
	}
	how := "Tokens are counted by " + p.CountedBy
	if p.CountedBy == "words" {
		how += " and marks, an estimate"
	}
	if p.Read < p.Documents {
		how += fmt.Sprintf(" in %d of %d documents", p.Read, p.Documents)
		if !p.sampled {
			how += " (--tokens reads them all)"
		}
	}
	if !p.Asked {
		how += "; the index was not asked which texts it holds"
	}
	return []string{out, how}
}

// dollars is a cost behind what it is of; nothing where it is not known.
func dollars(cost *float64) string {
	if cost == nil {
		return ""
	}
	return ", " + text.Cost(*cost) + ","
}

// Differs reports whether there is anything to send or to delete.
func (p *Plan) Differs() bool {
	return p.Total.Events > 0 || p.Total.Orphan != nil && *p.Total.Orphan > 0
}

// Name names the first differences.
func (p *Plan) Name(d Differences) {
	p.More = d.More
	if d.List != nil {
		p.Differences = d.List
	}
}

// add adds another account, but for orphans.
func (c *PlanCounts) add(o PlanCounts) {
	c.Documents += o.Documents
	c.Present += o.Present
	c.Missing += o.Missing
	c.Stale += o.Stale
	c.OtherModel += o.OtherModel
	c.Partial += o.Partial
	c.Failed += o.Failed
	c.Events += o.Events
	c.Bytes += o.Bytes
}

func appendFailures(to []FailedDocument, collection string, failures []tally.Failure) []FailedDocument {
	for _, f := range failures {
		to = append(to, FailedDocument{collection, f.ID, f.NoID, f.Stage, spec.ScrubURLs(f.Reason)})
	}
	return to
}

// Audit is how the index differs from the source.
type Audit struct {
	RunID       string            `json:"run_id" doc:"Names the comparison."`
	Equal       bool              `json:"equal" doc:"The index equals the source in all that was compared."`
	Compared    []string          `json:"compared" doc:"What was compared: ids (is there a point for each document), orphans (is there a document for each point), versions, chunks."`
	NotCompared []NotCompared     `json:"not_compared" doc:"What was not compared, of some collections or at all, and why."`
	Collections []AuditCollection `json:"collections" doc:"The collections, in the order of the configuration."`
	Total       AuditCounts       `json:"total" doc:"All collections together."`
	Unread      int64             `json:"unread" doc:"Of the partial documents: what the index holds as the number of their chunks is none."`
	Others      int64             `json:"others" doc:"Points of the index that name another source (mapping.owner)."`
	Foreign     int64             `json:"foreign" doc:"Points of the index of which it can't be told whose they are."`
	Searched    bool              `json:"orphans_looked_for" doc:"What else the index holds was looked at."`
	Owned       bool              `json:"orphans_owned" doc:"It is known whose the orphans are; if not, another database or job may have their documents."`
	Final       bool              `json:"looked_again" doc:"No young difference counts: false if there were too many to look at again."`
	Differences []Difference      `json:"differences" doc:"The first differences."`
	More        int64             `json:"more_differences" doc:"How many more there are."`
	Failures    []FailedDocument  `json:"failures,omitempty" doc:"The first documents that can't be compared."`
}

// NotCompared is what a comparison did not look at.
type NotCompared struct {
	What        string   `json:"what" doc:"versions, chunks or orphans; filtered (documents that a filter leaves out); unmapped, unchosen or other (points of content types that no rule names, of those of collections that were not chosen, and of none or of further ones)."`
	Collections []string `json:"collections,omitempty" doc:"Of these collections; all, if there are none here."`
	Types       []string `json:"content_types,omitempty" doc:"The content types, those with most points first."`
	Points      *int64   `json:"points,omitempty" doc:"How many points; about, as the index counts."`
	Why         string   `json:"why" doc:"Why not, and what that means."`
}

// AuditCounts are how documents stand.
type AuditCounts struct {
	Documents  int64    `json:"documents" doc:"Documents read."`
	Present    int64    `json:"present" doc:"Documents that the index has as it should."`
	Coverage   *float64 `json:"coverage" doc:"present / documents; null if there are none."`
	Missing    int64    `json:"missing" doc:"Documents that the index lacks."`
	Stale      int64    `json:"stale" doc:"Documents of which the index has another version."`
	OtherModel int64    `json:"other_model" doc:"Of the stale documents: those whose vectors are of another model."`
	Partial    int64    `json:"partial" doc:"Documents of which the index has only a part, not known how much, or chunks of an older version."`
	Orphan     int64    `json:"orphan" doc:"Documents that are gone, and of which the index has points."`
	Unindexed  int64    `json:"unindexed" doc:"Documents that were sent often enough and never appeared; they are no difference."`
	Collisions int64    `json:"collisions" doc:"Documents that have the point id of another document."`
	Failed     int64    `json:"failed" doc:"Documents that can't be compared."`
}

// AuditCollection is how one collection stands.
type AuditCollection struct {
	Name        string `json:"name" doc:"Its name in the source."`
	ContentType string `json:"content_type" doc:"What the index calls its documents."`
	AuditCounts
}

// NewAudit tells what an audit found, and names that many differences.
func NewAudit(a *job.Audit, most int) Audit {
	r := &a.Report
	out := Audit{
		RunID: r.RunID, Collections: []AuditCollection{}, Unread: r.Total.Unread, Searched: r.Orphans != nil, Final: !a.TooMany(), Differences: []Difference{},
		Owned: !slices.ContainsFunc(r.Orphans, func(o audit.OrphanReport) bool { return o.Orphans > 0 && !o.Owned }),
		Equal: a.Different() == 0 && r.Failed() == 0 && r.Total.Collisions == 0,
	}
	for _, o := range r.Orphans {
		out.Others += o.Others
		out.Foreign += o.Foreign
	}
	out.compared(a)
	for i := range r.Collections {
		c := &r.Collections[i]
		d := a.Counts[c.Rule.Collection.Name]
		n := AuditCounts{
			Documents: c.Scanned, Missing: d[syncd.Missing], Stale: d[syncd.Stale], OtherModel: a.OtherModel[c.Rule.Collection.Name], Partial: d[syncd.Partial], Orphan: d[syncd.Orphan],
			Unindexed: c.Unindexed, Collisions: c.Collisions, Failed: c.Failed(),
		}
		n.Present = n.Documents - n.Missing - n.Stale - n.Partial - n.Failed - n.Unindexed - n.Collisions
		n.cover()
		out.Collections = append(out.Collections, AuditCollection{c.Rule.Collection.Name, c.Rule.ContentType, n})
		out.Total.add(n)
		out.Failures = appendFailures(out.Failures, c.Rule.Collection.Name, c.Failures)
	}
	out.Total.cover()
	for _, i := range a.Differences[:min(most, len(a.Differences))] {
		out.Differences = append(out.Differences, differenceOf(i))
	}
	out.More = a.Different() - int64(len(out.Differences))
	return out
}

func (c *AuditCounts) add(o AuditCounts) {
	c.Documents += o.Documents
	c.Present += o.Present
	c.Missing += o.Missing
	c.Stale += o.Stale
	c.OtherModel += o.OtherModel
	c.Partial += o.Partial
	c.Orphan += o.Orphan
	c.Unindexed += o.Unindexed
	c.Collisions += o.Collisions
	c.Failed += o.Failed
}

func (c *AuditCounts) cover() {
	if c.Documents > 0 {
		share := float64(c.Present) / float64(c.Documents)
		c.Coverage = &share
	}
}

// Explanation is all that is known of one document.
type Explanation struct {
	Collection    string            `json:"collection" doc:"The document's collection."`
	ID            string            `json:"id" doc:"Its id."`
	Found         bool              `json:"found" doc:"The source has it."`
	Version       *string           `json:"version" doc:"Its version; null if the mapping knows none or the document has none."`
	ContentType   string            `json:"content_type" doc:"What the index calls its documents."`
	Seed          string            `json:"seed,omitempty" doc:"The text that its point id is made of; empty if it can't be made."`
	PointID       string            `json:"point_id,omitempty" doc:"The id of its point."`
	Held          bool              `json:"held" doc:"The index has that point."`
	Payload       map[string]string `json:"payload" doc:"What the point carries, of what matters here; a key that is not set is left out."`
	Chunks        int               `json:"chunks" doc:"Further points that the index says the document has."`
	ChunksPresent int               `json:"chunks_present" doc:"How many of them are there."`
	Same          []string          `json:"same_point_id,omitempty" doc:"The documents that have this point id, where there are several."`
	Verdict       string            `json:"verdict" doc:"present, missing, stale, partial, orphan, unknown, or nowhere if neither the source nor the index has it."`
	In            []string          `json:"in,omitempty" doc:"Of a document that is nowhere: other collections with a document of that id."`
	Why           string            `json:"why" doc:"What that means, and what a run would do."`
	EventKey      string            `json:"event_key,omitempty" doc:"The key of the event that would be sent; bytes that are no text are hexadecimal."`
	EventBytes    int               `json:"event_bytes,omitempty" doc:"The length of its value."`
	Topic         string            `json:"topic,omitempty" doc:"Where it would go."`
	Refused       string            `json:"refused,omitempty" doc:"Why the sink would not take the event, such as that it is too large; empty if it would, as far as that is known without its server."`
	Fate          string            `json:"fate,omitempty" doc:"What becomes of a document that the sink does not take."`
}

// NewExplanation tells what is known of a document.
func NewExplanation(e job.Explained) Explanation {
	out := Explanation{
		Collection: e.Rule.Collection.Name, ID: e.ID, Found: e.Found, ContentType: e.Rule.ContentType, Seed: e.Seed, Held: e.Held.Present,
		Payload: map[string]string{}, Chunks: e.Chunks, ChunksPresent: e.ChunksPresent, Verdict: e.Verdict.String(), Why: e.Why, EventKey: EventKey(e.Key),
		EventBytes: e.Bytes, Topic: e.Topic,
	}
	if e.Version.Set {
		out.Version = &e.Version.Text
	}
	if e.Nowhere() {
		out.Verdict, out.In = "nowhere", e.In
	}
	if e.Refused != nil {
		out.Refused, out.Fate = spec.ScrubURLs(e.Refused.Error()), e.Fate
	}
	if e.Seed != "" {
		out.PointID = e.PointID.String()
	}
	for i, key := range e.Keys {
		if i < len(e.Held.Payload) && e.Held.Payload[i].Set {
			out.Payload[key] = e.Held.Payload[i].Text
		}
	}
	if len(e.Same) > 1 {
		for _, s := range e.Same {
			out.Same = append(out.Same, s.Text)
		}
	}
	return out
}

// EventKey is the key of an event as text.
func EventKey(key string) string {
	if utf8.ValidString(key) {
		return key
	}
	return fmt.Sprintf("%x", key) // BSON
}

// DeadLetter is the last dead letter of a document.
type DeadLetter struct {
	ID          string          `json:"id" doc:"The document's id; empty if it has none."`
	Collection  string          `json:"collection,omitempty" doc:"Its collection, where that is known."`
	ContentType string          `json:"content_type,omitempty" doc:"What the index calls it."`
	Reason      string          `json:"reason" doc:"Why it could not be sent."`
	Stage       string          `json:"stage" doc:"Where it failed, in Kafka Connect's word."`
	Class       string          `json:"class,omitempty" doc:"The kind of the error."`
	At          *time.Time      `json:"at,omitempty" doc:"When the letter was written, where that is known."`
	Times       int64           `json:"times" doc:"How often the document became a dead letter."`
	Place       string          `json:"place" doc:"Where the letter stands: topic, partition and offset; file and line."`
	Route       string          `json:"route,omitempty" doc:"Where its event was to go."`
	RunID       string          `json:"run_id,omitempty" doc:"The run."`
	Value       json.RawMessage `json:"value,omitempty" doc:"What there is of the document, where that is asked for and is JSON."`
	Bytes       []byte          `json:"value_base64,omitempty" doc:"The same, where it is no JSON."`
}

// NewDeadLetter is a dead letter as it is shown, with what there is of the document if value says so.
func NewDeadLetter(l job.DeadLetter, value bool) DeadLetter {
	s := DeadLetter{
		ID: l.ID, Collection: l.Collection, ContentType: l.ContentType, Reason: l.Reason, Stage: l.Stage, Class: l.Class, Times: l.Times, Place: l.Place,
		Route: l.Route, RunID: l.RunID,
	}
	if !l.At.IsZero() {
		at := l.At.UTC()
		s.At = &at
	}
	switch {
	case !value:
	case json.Valid(l.Value):
		s.Value = l.Value
	default:
		s.Bytes = l.Value
	}
	return s
}
