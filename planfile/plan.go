// Package planfile writes what a run would send to a file, and makes a source of such a file, so that a run sends just that.
//
// A plan is JSON, one object a line: a header, one line for each document, and an end with their number and a digest.
//
// Invariants:
//   - a plan is read from start to end as often as need be and never held, so that its size does not matter;
//   - half a plan is never taken for one: a file gets its name when it is whole, and every reading proves by the end that
//     nothing was cut off, left out, put in twice or edited;
//   - a line whose collection is not read, whose point id the mapping does not make, or whose id is not that of the document
//     at its place in the source, is an error, never left out.
package planfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
)

// Version is the version of the format, in a plan's header. Plans of version 1 had no end.
const Version = 2

// Header is the first line of a plan.
type Header struct {
	Plan        int     `json:"syncd_plan"` // Version
	RunID       string  `json:"run_id"`
	Fingerprint string  `json:"fingerprint"` // of the mapping; a plan is of no use to another
	Sample      float64 `json:"sample,omitempty"`
}

// Line is one document of a plan.
type Line struct {
	Sigil      string    `json:"sigil"`
	Verdict    string    `json:"verdict"`
	Collection string    `json:"collection"`
	ID         string    `json:"id"`
	Key        []byte    `json:"key,omitempty"` // the source's own, opaque
	PointID    uuid.UUID `json:"point_id"`
}

// LineOf writes an item as a plan's line.
func LineOf(i verdict.Item) Line {
	return Line{
		Sigil: Sigil(i.Verdict), Verdict: i.Verdict.String(), Collection: i.Rule.Collection.Name, ID: i.ID,
		Key: []byte(i.Key), PointID: i.PointID,
	}
}

// Sigil is the one character that says in a plan what the index lacks.
func Sigil(v syncd.Verdict) string {
	return [...]string{
		syncd.Unknown: "", syncd.Present: "=", syncd.Missing: "+", syncd.Stale: "~", syncd.Partial: "%", syncd.Orphan: "-",
	}[v]
}

// Plan reads a plan.
type Plan struct {
	// Open opens the plan from its start. It may be read several times at once.
	Open func() (io.ReadCloser, error)
	// WithoutDeletes has a run leave out the deletes of the plan.
	WithoutDeletes bool
}

// File is the plan in a file. One that can't be read more than once, such as a pipe, is an error.
func File(path string) Plan {
	return Plan{Open: func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(cmp.Or(err, fmt.Errorf("%s is no regular file, and a plan is read more than once", path)), f.Close())
		}
		return f, nil
	}}
}

// Held is the plan in a file that may be removed: the file is open until nobody has the plan any more.
func Held(path string) (*Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Plan{Open: func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, info.Size())), nil }}, nil
}

// Check reads the whole plan and returns its header, or an error that says what is wrong with the file.
func (p Plan) Check() (Header, error) {
	var h Header
	for _, err := range p.read(&h) {
		if err != nil {
			return h, err
		}
	}
	return h, nil
}

// lines yields the plan's documents. An error ends it, and comes last where the plan is not what was written.
func (p Plan) lines() iter.Seq2[Line, error] { return p.read(new(Header)) }

// read yields the plan's documents, and fills in its header before.
func (p Plan) read(h *Header) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		f, err := p.Open()
		if err != nil {
			yield(Line{}, fmt.Errorf("reading the plan: %w", err))
			return
		}
		defer f.Close() //nolint:errcheck // it was only read
		r := newReader(f)
		*h, err = r.header()
		for err == nil {
			var l Line
			l, err = r.next()
			if errors.Is(err, io.EOF) || err == nil && !yield(l, nil) {
				return
			}
		}
		yield(Line{}, fmt.Errorf("reading the plan: %w", err))
	}
}

// Orphans returns the plan's orphans of the given rules. The slice is never nil, except with an error.
func (p Plan) Orphans(rules []*mapping.Rule) ([]verdict.Item, error) {
	byName := byCollection(rules)
	out := []verdict.Item{}
	var buf []byte
	for l, err := range p.lines() {
		if err != nil {
			return nil, err
		}
		r := byName[l.Collection]
		if r == nil {
			return nil, l.stray()
		}
		if l.Sigil != Sigil(syncd.Orphan) {
			continue
		}
		// The search for orphans claims no point of a rule whose seed has fields, so a plan has none.
		made, err := r.PointID(&buf, &syncd.Change{ID: l.ID}, 0)
		if err != nil || made != l.PointID {
			return nil, l.otherID(made)
		}
		out = append(out, verdict.Item{Rule: r, Verdict: syncd.Orphan, ID: l.ID, PointID: l.PointID, Held: l.PointID})
	}
	return out, nil
}

func byCollection(rules []*mapping.Rule) map[string]*mapping.Rule {
	out := make(map[string]*mapping.Rule, len(rules))
	for _, r := range rules {
		out[r.Collection.Name] = r
	}
	return out
}

// stray is the error of a line whose collection is not read.
func (l *Line) stray() error {
	return fmt.Errorf("document %s: the plan says collection %q, which the configuration does not read; make the plan anew", text.Of(l.ID), l.Collection)
}

// otherID is the error of a line whose point id the configuration does not make.
func (l *Line) otherID(made uuid.UUID) error {
	return fmt.Errorf("document %s: the plan says point id %s, the configuration makes %s; make the plan anew", text.Of(l.ID), l.PointID, made)
}

// otherDocument is the error of a line at whose place in the source another document is.
func (l *Line) otherDocument(id string) error {
	return fmt.Errorf("document %s: at its place in the source is document %s; make the plan anew", text.Of(l.ID), text.Quote(id))
}
