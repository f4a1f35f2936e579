package audit

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
)

// The default limits of deletes. A share of the documents that the index holds of all content types protects a large index, and
// a share of those of each content type protects a small one, and a small content type beside large ones. Up to the floors a
// share says nothing.
const (
	deleteShare = 0.01
	deleteFloor = 1000

	typeDeleteShare = 0.2
	typeDeleteFloor = 5
)

// MayOwn refuses to delete where neither the configuration nor the ids say whose the points are.
func MayOwn(rules []*mapping.Rule) error {
	for _, r := range rules {
		switch {
		case r.Owned():
		case r.OwnerKey() != "":
			return &tally.GuardError{
				Problem: fmt.Sprintf("orphans are not deleted: what the payload key %q holds in points of collection %s is not known, since the source names no database",
					r.OwnerKey(), r.Collection.Name),
				Advice: "set mapping.owner.value to the text that the indexer writes there, or name the database in the source's section",
			}
		default:
			return &tally.GuardError{
				Problem: fmt.Sprintf("orphans are not deleted: it is not known whose the points of content type %q are: another database or another job may have documents with the same ids",
					r.ContentType),
				Advice: `add to mapping: "owner: {payload: source_db}" if the indexer writes the database's name into every point, under the payload key source_db here; "owner: {exclusive: true}" if no other database and no other job has points of these content types in the index`,
			}
		}
	}
	return nil
}

// ReadCollection is what MayPrune must know of how a collection was read.
type ReadCollection struct {
	syncd.Collection
	Found    bool  // the source has it
	Complete bool  // it was read to its end, and proved
	Failed   int64 // documents that could not be handled
}

// lookedGone is what to do where a collection that does not exist would make orphans of all its points.
const lookedGone = "check the database's name and the collection's spelling; to delete what it left, empty it rather than drop it"

// MayPrune refuses where an absence might not be one: nothing may be deleted because a collection was not read whole.
func MayPrune(collections []ReadCollection) error {
	refuse := func(advice, format string, args ...any) error {
		return &tally.GuardError{Problem: "orphans are not deleted: " + fmt.Sprintf(format, args...), Advice: advice}
	}
	for _, c := range collections {
		switch {
		case !c.Found:
			return refuse(lookedGone, "the source has no collection %s, so all its points would look like orphans", c.Name)
		case !c.Complete:
			return refuse("run it again", "collection %s was not read to its end", c.Name)
		case c.Filter != "":
			return refuse("leave the filter out for a run that prunes", "collection %s is read with a filter", c.Name)
		case c.Failed > 0:
			return refuse("look at these documents first; they are named", "%d documents of collection %s could not be handled", c.Failed, c.Name)
		}
	}
	return nil
}

// Guard stops a run that would delete more documents than may be. A limit of 0 is 1 % of the documents that the index holds, but
// at least 1,000, and of no content type more than a fifth, but at least 5.
func (o *Orphans) Guard(maxDeletes int64) error {
	const advice = "look at them with run.orphans: report; if they are really gone, set limits.max_deletes to that number for one run"
	var documents, orphans int64
	for _, r := range o.Reports {
		documents += r.Documents
		orphans += r.Orphans
		if limit := max(typeDeleteFloor, int64(typeDeleteShare*float64(r.Documents))); maxDeletes == 0 && r.Orphans > limit {
			return &tally.GuardError{
				Problem: fmt.Sprintf("%d of %d documents of content type %q would be deleted from the index, more than the %d that may be without limits.max_deletes; nothing was deleted",
					r.Orphans, max(r.Orphans, r.Documents), r.ContentType, limit),
				Advice: "make sure that the source is the right database and that no other job has documents of this content type; " + advice,
			}
		}
	}
	if maxDeletes == 0 {
		maxDeletes = max(deleteFloor, int64(deleteShare*float64(documents)))
	}
	if orphans <= maxDeletes {
		return nil
	}
	return &tally.GuardError{
		Problem: fmt.Sprintf("%d documents would be deleted from the index, more than limits.max_deletes, %d; nothing was deleted", orphans, maxDeletes),
		Advice:  advice,
	}
}

// Source returns a source of the deletes of the orphans that the search kept. A collection that has any is one split, in the
// order of the point ids of chunk 0. A change's key and its offset are the text of that id, so a position stays one even if a later
// search finds other orphans. The source can do nothing else.
func (o *Orphans) Source() syncd.Source {
	s := deletes{}
	for rule, orphans := range o.kept {
		slices.SortFunc(orphans, func(a, b verdict.Item) int { return strings.Compare(a.PointID.String(), b.PointID.String()) })
		s[rule.Collection.Name] = orphans
	}
	return s
}

// deletes is the orphans of each collection, in the order of their point ids.
type deletes map[string][]verdict.Item

// Splits implements syncd.Source.
func (s deletes) Splits(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		if len(s[c.Name]) > 0 {
			yield(syncd.Split{Collection: c}, nil)
		}
	}
}

// Read implements syncd.Source.
func (s deletes) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		orphans := s[req.Split.Collection.Name]
		behind, found := slices.BinarySearchFunc(orphans, req.After, func(o verdict.Item, after syncd.Offset) int {
			return strings.Compare(o.PointID.String(), string(after))
		})
		if found {
			behind++
		}
		for some := range slices.Chunk(orphans[behind:], req.BatchSize) {
			if err := ctx.Err(); err != nil {
				yield(syncd.Batch{}, err)
				return
			}
			changes := make([]syncd.Change, len(some))
			for i, o := range some {
				changes[i] = syncd.Change{
					Key: syncd.Key(o.PointID.String()), ID: o.ID, PointID: o.PointID,
					Operation: syncd.Delete, Verdict: syncd.Orphan, Reason: syncd.ReasonOrphan,
				}
				if o.Held != o.PointID && o.Held != uuid.Nil { // a chunk, and chunk 0, which would lead to it, may be gone
					changes[i].Content = &syncd.Content{Left: []uuid.UUID{o.Held}}
				}
			}
			if !yield(syncd.Batch{Changes: changes, Offset: syncd.Offset(changes[len(changes)-1].Key)}, nil) {
				return
			}
		}
	}
}

// Fetch implements syncd.Source: the documents are gone.
func (s deletes) Fetch(context.Context, syncd.Collection, []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(func(syncd.Fetched, error) bool) {}
}

// Abilities implements syncd.Source.
func (s deletes) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{} }

// Close implements syncd.Source.
func (s deletes) Close() error { return nil }
