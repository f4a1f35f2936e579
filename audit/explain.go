package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
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

	Same []syncd.FoundID // the documents that have this point id; more than one is a collision

	Verdict syncd.Verdict
	Why     string
	Key     string // of the event that would be sent
	Bytes   int    // of its value
	Refused error  // why the sink would not take it; nil if it would, or if nobody can tell
}

// Nowhere reports whether neither the source nor the index has the document.
func (e *Explanation) Nowhere() bool { return !e.Found && !e.Held.Present && e.Seed != "" }

// Preview returns the event that a sink would write of a change; see syncd.Previewer.
type Preview func(c *syncd.Change) (key, value []byte, err error)

// Explain follows one document from the text of its id to the verdict, asking the source and the index. Without a preview the
// event is not described.
func Explain(ctx context.Context, source syncd.Source, checker syncd.Checker, rule *mapping.Rule, preview Preview, id string) (Explanation, error) {
	e := Explanation{Rule: rule, ID: id, Keys: rule.PayloadKeys()}
	c, err := load(ctx, source, rule, id)
	if err != nil {
		return e, err
	}
	e.Found, e.Version = c.Document != nil, rule.DocumentVersion(&c)
	seed, err := rule.AppendSeed(nil, &c, 0)
	if err != nil {
		if e.Verdict, e.Why = syncd.Unknown, err.Error(); !e.Found {
			e.Why = "the source has no such document, and without its fields its point id can't be made, so the index can't be asked"
		}
		return e, nil
	}
	e.Seed = string(seed)
	if c.PointID, err = rule.PointID(new([]byte), &c, 0); err != nil {
		return e, err
	}
	e.PointID = c.PointID
	if source.Abilities().FindAll != nil {
		same, err := verdict.SamePoint(ctx, source, rule, []verdict.Made{{ID: id, PointID: e.PointID}})
		if err != nil {
			return e, fmt.Errorf("finding documents with the same point id: %w", err)
		}
		e.Same = same[0]
	}
	if err := e.ask(ctx, checker, &c); err != nil {
		return e, err
	}
	if e.Found && preview != nil {
		key, value, err := preview(&c)
		e.Key, e.Bytes, e.Refused = string(key), len(value), err
	}
	return e, nil
}

// HaveID names those of some collections that have a document with the id; at most so many are asked.
func HaveID(ctx context.Context, source syncd.Source, rules []*mapping.Rule, id string, most int) (names []string, err error) {
	find := finder(source.Abilities().Find)
	if find == nil {
		return nil, ErrNoFinder
	}
	for _, r := range rules[:min(most, len(rules))] {
		gone, err := find.gone(ctx, r, []verdict.Item{{Rule: r, ID: id}})
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
		case err != nil:
			return nil, err
		case len(gone) == 0:
			names = append(names, r.Collection.Name)
		}
	}
	return names, nil
}

// load reads a document. The change has none if the source has no such document.
func load(ctx context.Context, source syncd.Source, rule *mapping.Rule, id string) (syncd.Change, error) {
	c := syncd.Change{ID: id}
	find := source.Abilities().Find
	if find == nil {
		return c, ErrNoFinder
	}
	collection := syncd.Collection{Name: rule.Collection.Name}
	keys, err := find(ctx, collection, []string{id})
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("the source answered %d of 1", len(keys))
	}
	if err != nil {
		return c, text.Doing(err, "finding documents of collection %s", collection.Name)
	}
	if keys[0] == "" {
		return c, nil
	}
	read := time.Now().UnixNano()
	for f, err := range fetch.Documents(ctx, source, collection, keys) {
		if err != nil {
			return c, text.Doing(err, "fetching documents of collection %s", collection.Name)
		}
		target := rule.Target()
		c = fetch.Change(f.Document, id, rule.Fields())
		c.Key, c.Target, c.ReadAt = keys[0], &target, read
	}
	return c, ctx.Err()
}

// askWhose asks whose the point of a document is that is gone.
func (e *Explanation) askWhose(ctx context.Context, checker syncd.Checker) error {
	if !e.Rule.Owned() {
		e.Why += "; it is not known whose the point is: another database or another job may have the document (mapping.owner)"
		return nil
	}
	read := checker.Abilities().Read
	if e.Rule.OwnerKey() == "" || read == nil {
		return nil
	}
	found := make([]syncd.Found, 1)
	if err := read(ctx, []syncd.Point{{ID: e.PointID}}, []string{e.Rule.OwnerKey()}, found); err != nil {
		return fmt.Errorf("asking the index: %w", err)
	}
	if found[0].Present && !e.Rule.Owns(found[0].Payload[0]) {
		e.Why = fmt.Sprintf("the document is not in the source, and the point does not name the source: its payload key %q holds %q", e.Rule.OwnerKey(), found[0].Payload[0].Text)
		e.Verdict = syncd.Missing
	}
	return nil
}

// OtherModel is what is wrong with a document whose vectors are of another model.
const OtherModel = "the index holds it with vectors of another model"

// ask asks the index about the change, and says what a run would do with it.
func (e *Explanation) ask(ctx context.Context, checker syncd.Checker, c *syncd.Change) error {
	asker := verdict.New(checker)
	one := []syncd.Change{*c}
	ask := asker.Ask
	if !e.Found {
		ask = asker.AskFirst
	}
	if err := ask(ctx, e.Rule, one); err != nil {
		return fmt.Errorf("asking the index: %w", err)
	}
	e.Held = asker.Found(0)
	if !e.Found {
		e.Verdict, e.Why = syncd.Missing, "neither the source nor the index has it: a run has nothing to do about it"
		if e.Held.Present {
			e.Verdict, e.Why = syncd.Orphan, "the index holds its point, but the document is gone"
			return e.askWhose(ctx, checker)
		}
		return nil
	}
	e.Verdict = one[0].Verdict
	e.Chunks, e.ChunksPresent = asker.Chunks(0)
	switch c.Verdict = e.Verdict; e.Verdict {
	case syncd.Missing:
		c.Operation, c.Reason, e.Why = syncd.Insert, syncd.ReasonMissing, "the index has no point with this id"
	case syncd.Stale:
		c.Operation, c.Reason, e.Why = syncd.Replace, syncd.ReasonStale, "the index holds another version of it"
		if e.Rule.OtherModel(&e.Held) {
			c.Reason, e.Why = syncd.ReasonModel, OtherModel
		}
	case syncd.Partial:
		c.Operation, c.Reason, e.Why = syncd.Replace, syncd.ReasonPartial, "the index lacks some of its chunks"
		if asker.LeftOver(0) {
			e.Why = "the index holds more chunks of it than chunk 0 says: those of an older version, which a process that was killed has left"
		}
		if len(asker.Unread()) > 0 {
			e.Why = fmt.Sprintf("what the index holds under %s is no number of chunks, so it is not known whether they are there", e.Rule.ChunksKey())
		}
	case syncd.Present:
		e.Why = "the index has it, so a run skips it"
	default:
		e.Why = "the index gave no answer"
	}
	return nil
}
