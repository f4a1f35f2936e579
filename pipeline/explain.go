package pipeline

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
	"github.com/syncd-io/syncd/mapping"
)

// Explanation is all that is known of one document.
type Explanation struct {
	Rule    *mapping.Rule
	ID      string
	Found   bool // in the source
	Version syncd.Value
	Seed    string // empty if it can't be made
	PointID uuid.UUID

	Held          syncd.Found // of chunk 0, with the payload under Keys
	Keys          []string
	Chunks        int // further ones that the index says there are
	ChunksPresent int

	Verdict syncd.Verdict
	Why     string
	Key     string // of the event that would be sent
	Bytes   int    // of its value
}

// Explain follows one document from the text of its id to the verdict, asking the source and the index.
func Explain(ctx context.Context, source syncd.Source, checker syncd.Checker, rule *mapping.Rule, events event.Encoder, id string) (Explanation, error) {
	e := Explanation{Rule: rule, ID: id}
	finder, ok := source.(syncd.Finder)
	if !ok {
		return e, errNoFinder
	}
	keys, err := finder.Find(ctx, syncd.Collection{Name: rule.Collection.Name}, []string{id})
	if err != nil {
		return e, fmt.Errorf("finding the document: %w", err)
	}
	rec := syncd.Record{ID: id}
	if keys[0] != "" {
		for f, err := range fetch(ctx, source, syncd.Collection{Name: rule.Collection.Name}, keys) {
			if err != nil {
				return e, fmt.Errorf("fetching the document: %w", err)
			}
			e.Found = true
			rec = RecordOf(f.Document, id, rule.Fields())
			if value, err := events.AppendValue(nil, syncd.Insert, rule.Target(), id, f.Document); err == nil {
				e.Bytes = len(value)
			}
			if key, err := events.AppendKey(nil, id, f.Document); err == nil {
				e.Key = string(key)
			}
		}
	}
	e.Version = rule.DocumentVersion(&rec)
	var buf []byte
	seed, err := rule.AppendSeed(nil, &rec, 0)
	if err != nil {
		e.Verdict, e.Why = syncd.Unknown, err.Error()
		return e, nil
	}
	e.Seed = string(seed)
	if e.PointID, err = rule.PointID(&buf, &rec, 0); err != nil {
		return e, err
	}
	return e, e.judge(ctx, checker, &rec)
}

func (e *Explanation) judge(ctx context.Context, checker syncd.Checker, rec *syncd.Record) error {
	points := []syncd.Point{{ID: e.PointID}}
	if keys := e.Rule.PayloadKeys(); len(keys) > 0 {
		reader, ok := checker.(syncd.PayloadReader)
		if !ok {
			return errNoPayload
		}
		found := make([]syncd.Found, 1)
		if err := reader.Read(ctx, points, keys, found); err != nil {
			return fmt.Errorf("asking the index: %w", err)
		}
		e.Held, e.Keys = found[0], keys
	} else {
		verdicts := make([]syncd.Verdict, 1)
		if err := checker.Check(ctx, points, verdicts); err != nil {
			return fmt.Errorf("asking the index: %w", err)
		}
		e.Held.Present = verdicts[0] == syncd.Present
	}
	if !e.Found {
		e.Verdict, e.Why = syncd.Missing, "neither the source nor the index has it"
		if e.Held.Present {
			e.Verdict, e.Why = syncd.Orphan, "the index holds its point, but the document is gone"
		}
		return nil
	}
	e.Verdict, e.Chunks = e.Rule.Judge(rec, &e.Held)
	switch e.Verdict {
	case syncd.Missing:
		e.Why = "the index has no point with this id"
		return nil
	case syncd.Stale:
		e.Why = "the index holds another version of it"
		return nil
	}
	e.Why = "the index has it, so a run skips it"
	if e.Chunks == 0 {
		return nil
	}
	chunks := make([]syncd.Point, e.Chunks)
	var buf []byte
	for i := range chunks {
		id, err := e.Rule.PointID(&buf, rec, i+1)
		if err != nil {
			return err
		}
		chunks[i].ID = id
	}
	verdicts := make([]syncd.Verdict, len(chunks))
	if err := checker.Check(ctx, chunks, verdicts); err != nil {
		return fmt.Errorf("asking the index: %w", err)
	}
	for _, v := range verdicts {
		if v == syncd.Present {
			e.ChunksPresent++
		}
	}
	if e.ChunksPresent < e.Chunks {
		e.Verdict, e.Why = syncd.Partial, "the index lacks some of its chunks"
	}
	return nil
}
