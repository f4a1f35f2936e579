package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// The sigils of a plan's lines: one character says what the index lacks.
var sigils = map[syncd.Verdict]string{
	syncd.Present: "=", syncd.Missing: "+", syncd.Stale: "~", syncd.Partial: "%", syncd.Orphan: "-",
}

// PlanVersion is the version of the plan's format, in its first line.
const PlanVersion = 1

// PlanHeader is the first line of a plan.
type PlanHeader struct {
	Plan        int     `json:"syncd_plan"` // PlanVersion
	RunID       string  `json:"run_id"`
	Fingerprint string  `json:"fingerprint"` // of the mapping; a plan is of no use to another
	Sample      float64 `json:"sample,omitempty"`
}

// PlanLine is one document of a plan.
type PlanLine struct {
	Sigil      string    `json:"sigil"`
	Verdict    string    `json:"verdict"`
	Collection string    `json:"collection"`
	ID         string    `json:"id"`
	Key        []byte    `json:"key,omitempty"` // the source's own, opaque
	PointID    uuid.UUID `json:"point_id"`
}

// LineOf writes an item as a plan's line.
func LineOf(i Item) PlanLine {
	return PlanLine{
		Sigil: sigils[i.Verdict], Verdict: i.Verdict.String(), Collection: i.Rule.Collection.Name, ID: i.ID,
		Key: []byte(i.Key), PointID: i.PointID,
	}
}

// Plan reads a plan from a file, once per collection, so that its size does not matter.
type Plan struct {
	// Open opens the file from its start; the caller of Plan's methods may read it several times at once.
	Open func() (io.ReadCloser, error)
}

// Header returns the plan's first line, or an error that says what is wrong with the file.
func (p Plan) Header() (PlanHeader, error) {
	f, err := p.Open()
	if err != nil {
		return PlanHeader{}, fmt.Errorf("reading the plan: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	var h PlanHeader
	if err := json.NewDecoder(f).Decode(&h); err != nil || h.Plan == 0 {
		return h, errors.New("reading the plan: its first line is not a plan's; make one with syncd plan -o FILE")
	}
	if h.Plan != PlanVersion {
		return h, fmt.Errorf("reading the plan: it has version %d, this program reads version %d", h.Plan, PlanVersion)
	}
	return h, nil
}

// lines yields the plan's documents.
func (p Plan) lines() iter.Seq2[PlanLine, error] {
	return func(yield func(PlanLine, error) bool) {
		f, err := p.Open()
		if err != nil {
			yield(PlanLine{}, fmt.Errorf("reading the plan: %w", err))
			return
		}
		defer f.Close() //nolint:errcheck // it was only read
		dec := json.NewDecoder(bufio.NewReaderSize(f, 1<<20))
		var header json.RawMessage
		if err := dec.Decode(&header); err != nil {
			yield(PlanLine{}, fmt.Errorf("reading the plan: %w", err))
			return
		}
		for n := 2; ; n++ {
			var l PlanLine
			err := dec.Decode(&l)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(l, fmt.Errorf("reading the plan: document %d: %w", n-1, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// Source returns a source whose collections hold just the documents that the plan sends: it fetches them by their keys, so a
// run over it sends what the plan says, after asking the index again. Documents that are gone by now are left out. It does
// not count what they hold, and closing it leaves the other open.
func (p Plan) Source(of syncd.Source, rules []*mapping.Rule) syncd.Source {
	s := &plannedSource{plan: p, of: of, rules: map[string]*mapping.Rule{}}
	for _, r := range rules {
		s.rules[r.Collection.Name] = r
	}
	return s
}

// Orphans returns the plan's orphans of the given rules.
func (p Plan) Orphans(rules []*mapping.Rule) ([]Orphan, error) {
	byName := map[string]*mapping.Rule{}
	for _, r := range rules {
		byName[r.Collection.Name] = r
	}
	var out []Orphan
	var buf []byte
	for l, err := range p.lines() {
		if err != nil {
			return nil, err
		}
		r := byName[l.Collection]
		if r == nil {
			return nil, l.stray()
		}
		if l.Sigil != sigils[syncd.Orphan] {
			continue
		}
		// The pass over the index claims no point of a rule whose seed has fields, so a plan has none.
		made, err := r.PointID(&buf, &syncd.Record{ID: l.ID}, 0)
		if err != nil || made != l.PointID {
			return nil, l.otherID(made)
		}
		out = append(out, Orphan{Rule: r, ID: l.ID, PointID: l.PointID, Held: l.PointID})
	}
	return out, nil
}

// stray is the error of a line whose collection is not read.
func (l *PlanLine) stray() error {
	return fmt.Errorf("document %s: the plan says collection %q, which the configuration does not read; make the plan anew", l.ID, l.Collection)
}

// otherID is the error of a line whose point id the configuration does not make.
func (l *PlanLine) otherID(made uuid.UUID) error {
	return fmt.Errorf("document %s: the plan says point id %s, the configuration makes %s; make the plan anew", l.ID, l.PointID, made)
}

type plannedSource struct {
	plan  Plan
	of    syncd.Source
	rules map[string]*mapping.Rule
}

// Plan implements syncd.Source: one split.
func (s *plannedSource) Plan(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) { yield(syncd.Split{Collection: c}, nil) }
}

// Scan implements syncd.Source.
func (s *plannedSource) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	return func(yield func([]syncd.Record, error) bool) {
		var batch []PlanLine
		flush := func() bool {
			records, err := s.fetch(ctx, req, batch)
			batch = batch[:0]
			if err != nil {
				yield(nil, err)
				return false
			}
			return len(records) == 0 || yield(records, nil)
		}
		// A run that changes from ids to documents would start behind a key; here every record has its document.
		for l, err := range s.plan.lines() {
			if err == nil && s.rules[l.Collection] == nil {
				err = l.stray()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if l.Collection != req.Split.Collection.Name || l.Sigil == sigils[syncd.Present] || l.Sigil == sigils[syncd.Orphan] {
				continue
			}
			if batch = append(batch, l); len(batch) == min(req.BatchSize, plannedBatch) && !flush() {
				return
			}
		}
		if len(batch) > 0 {
			flush()
		}
	}
}

// plannedBatch bounds the whole documents that are held at once.
const plannedBatch = 200

// fetch loads the documents of some lines as records with the fields that were asked for.
func (s *plannedSource) fetch(ctx context.Context, req syncd.ScanRequest, lines []PlanLine) ([]syncd.Record, error) {
	rule := s.rules[req.Split.Collection.Name]
	keys := make([]syncd.Key, len(lines))
	for i, l := range lines {
		if len(l.Key) == 0 {
			return nil, fmt.Errorf("document %s: the plan has no key for it; make the plan anew", l.ID)
		}
		keys[i] = syncd.Key(l.Key)
	}
	var out []syncd.Record
	var buf []byte
	for f, err := range fetch(ctx, s.of, req.Split.Collection, keys) {
		if err != nil {
			return nil, err
		}
		rec := RecordOf(f.Document, lines[f.Index].ID, req.Fields)
		// The fields of a seed may have changed or gone since: then the document counts as it is now.
		made, err := rule.PointID(&buf, &rec, 0)
		if err == nil && made != lines[f.Index].PointID && rule.SeedFields() == 0 {
			return nil, lines[f.Index].otherID(made)
		}
		out = append(out, rec)
	}
	return out, ctx.Err()
}

// RecordOf makes of a whole document the record that a scan would have yielded. It has no key: nothing is read behind it.
func RecordOf(doc syncd.Document, id string, fields []string) syncd.Record {
	rec := syncd.Record{ID: id, Document: doc, Fields: make([]syncd.Value, len(fields))}
	for i, path := range fields {
		v, err := doc.Lookup(path)
		if err != nil {
			rec.Err = fmt.Errorf("reading field %s: %w", path, err)
			break
		}
		rec.Fields[i] = v
	}
	return rec
}

// Fetch implements syncd.Source.
func (s *plannedSource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return s.of.Fetch(ctx, c, keys)
}

// EstimateCount implements syncd.Estimator, to say no more than whether the collection is there at all: of one that is not,
// everything in the index would look like an orphan.
func (s *plannedSource) EstimateCount(ctx context.Context, c syncd.Collection) (n int64, ok bool, err error) {
	if e, can := s.of.(syncd.Estimator); can {
		_, _, err = e.EstimateCount(ctx, c)
	} else if counter, can := s.of.(syncd.Counter); can {
		_, err = counter.Count(ctx, c)
	}
	return -1, false, err
}

// Find implements syncd.Finder where the other source does.
func (s *plannedSource) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	finder, ok := s.of.(syncd.Finder)
	if !ok {
		return nil, errNoFinder
	}
	return finder.Find(ctx, c, ids)
}

// Close implements syncd.Source.
func (s *plannedSource) Close() error { return nil }

var errNoFinder = errors.New("the source can't find documents by their ids")
