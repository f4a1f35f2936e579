package mongo

import (
	"context"
	"fmt"
	"iter"
	"runtime"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// How many splits a collection has, unless the configuration says it. A split costs a find and, where it is left early, a
// killCursors, so some tens of milliseconds at most; one of 250,000 documents takes seconds to read, which is fine enough
// for readers to end together and for a run to resume near where it stopped. Ten million documents are 40 splits.
const (
	unsplitBelow = 50_000  // documents: less are read in less than a second
	perSplit     = 250_000 // documents
	splitsPerCPU = 4       // at least, so that two readers on each CPU find more than one each
	mostSplits   = 1024
)

// Samples for each split. With 20 the sizes of splits differ by about a fifth (1/√20); a sample is one random read on the
// server, so there are fewer where there are many splits.
const (
	mostPerSplit  = 20
	leastPerSplit = 4
	fewerBeyond   = 20_000 // samples in all
)

// Splits divides a collection at sampled ids. The last split ends behind the last _id there is, so that its reading ends even
// while documents are added faster than it reads; they belong to whoever follows the changes. Where there is one split, Read
// finds that end, if it takes more than one reply or begins in the middle: a small collection costs no question here.
//
// What the server can't do costs parallelism and nothing else: without min and max that are obeyed, or without $sample,
// there is one split. Samples ignore the filter: with it in front, $sample would read every document.
func (s *source) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		d, err := s.divide(ctx, c.Name)
		if err != nil {
			yield(syncd.Split{}, fmt.Errorf("splitting collection %s: %w", c.Name, err))
			return
		}
		split := syncd.Split{Collection: c}
		for _, cut := range d.cuts {
			split.Upper = cut
			if !yield(split, nil) {
				return
			}
			split.Index, split.Lower = split.Index+1, cut
		}
		split.Upper = d.end
		yield(split, nil)
	}
}

// division is where a collection is divided. The zero value is one split without bounds.
type division struct {
	cuts []syncd.Key // ascending
	end  syncd.Key   // of the last split
}

func (s *source) divide(ctx context.Context, name string) (division, error) {
	s.ends.Delete(name)
	if _, small := s.small.LoadAndDelete(name); small {
		return division{}, nil
	}
	t, err := s.look(ctx, name)
	if err != nil || !t.ordinary {
		return division{}, err
	}
	d, err := s.divideOrdinary(ctx, name, t)
	return d, s.explain(ctx, err)
}

func (s *source) divideOrdinary(ctx context.Context, name string, t traits) (d division, err error) {
	want, err := s.splitCount(ctx, name)
	if err != nil || want == 1 {
		return d, err
	}
	bounds, err := retried(ctx, s, func() (obedience, error) { return s.boundsOn(ctx, name) })
	if err != nil {
		return d, err
	}
	if bounds != obeys {
		if bounds != untold {
			s.log.Warn("this server can't read a collection from its middle (find with min, max and hint): one reader reads all of it",
				"collection", name)
		}
		return d, nil
	}
	if d.cuts, err = s.cuts(ctx, name, want, t); err != nil {
		return d, err
	}
	last, err := retried(ctx, s, func() (bson.RawValue, error) { return s.lastID(ctx, name, t) })
	if last.Type != 0 {
		d.end = behind + key(last)
	}
	return d, err
}

// leastDivided is the least number of documents of a split for which it is worth dividing it: less are read in a moment.
const leastDivided = 2_000

// Divide is the ability Divide. The server walks its index of _id, in steps that double, until it is behind the split; the last step but
// one was at a quarter of it at least, and at a half of it at most. A filter is left out: what it selects may lie anywhere.
func (s *source) Divide(ctx context.Context, split syncd.Split, after syncd.Offset) (syncd.Key, error) {
	name := split.Collection.Name
	t, err := s.look(ctx, name)
	if err != nil || !t.ordinary || split.Upper == "" {
		return "", s.explain(ctx, err)
	}
	at, err := s.middle(ctx, split, after)
	if err != nil {
		return "", fmt.Errorf("dividing a split of collection %s: %w", name, s.explain(ctx, err))
	}
	if at.Type == 0 || !t.binary && hasText(at) { // the order of text is the server's own
		return "", nil
	}
	return key(at), nil
}

// middle returns the _id from which on the second part is, or the zero value.
func (s *source) middle(ctx context.Context, split syncd.Split, after syncd.Offset) (at bson.RawValue, err error) {
	bounds, err := retried(ctx, s, func() (obedience, error) { return s.boundsOn(ctx, split.Collection.Name) })
	if err != nil || bounds != obeys {
		return at, err
	}
	lower, from, err := lowerBound(split, syncd.Key(after))
	if err != nil {
		return at, err
	}
	if from != "" {
		if lower, err = bound(from); err != nil {
			return at, err
		}
	}
	upper, _, err := upperBound(split.Upper)
	if err != nil {
		return at, err
	}
	var passed []bson.RawValue
	for n := leastDivided / 4; ; n *= 2 {
		id, err := retried(ctx, s, func() (bson.RawValue, error) {
			return s.oneID(ctx, query{
				collection: split.Collection.Name, filter: everything, projection: byID, min: lower, max: upper, skip: n, limit: 1,
			})
		})
		switch {
		case isServerRefusal(err): // the bounds have met
			return at, nil
		case err != nil:
			return at, err
		}
		if id.Type == 0 {
			break
		}
		passed = append(passed, id)
	}
	if len(passed) < 3 { // fewer than leastDivided
		return at, nil
	}
	return passed[len(passed)-2], nil
}

// lastID is the last _id that there is, or the zero value where the collection is empty or its order is not known here.
func (s *source) lastID(ctx context.Context, name string, t traits) (bson.RawValue, error) {
	last, err := s.oneID(ctx, query{collection: name, filter: everything, projection: byID, hint: true, limit: 1, descending: true})
	if !t.binary && hasText(last) {
		last = bson.RawValue{}
	}
	return last, err
}

// splitCount is how many splits there should be.
func (s *source) splitCount(ctx context.Context, name string) (int, error) {
	if s.cfg.Splits > 0 {
		return s.cfg.Splits, nil
	}
	n, err := s.estimate(ctx, name)
	switch {
	case isServerRefusal(err):
		return 1, nil
	case err != nil:
		return 0, err
	}
	return splitsFor(n, runtime.GOMAXPROCS(0), s.splits), nil
}

// splitsFor is how many splits so many documents are worth, for a process with so many CPUs; least is what others want of a collection
// that is divided at all.
func splitsFor(documents int64, cpus, least int) int {
	if documents < unsplitBelow {
		return 1
	}
	n := min((documents+perSplit-1)/perSplit, mostSplits)
	return min(max(int(n), splitsPerCPU*cpus, least), mostSplits)
}

func samplesFor(splits int) int {
	return splits * min(max(fewerBeyond/splits, leastPerSplit), mostPerSplit)
}

// cuts returns at most want-1 ids that divide the collection into parts of about the same size.
func (s *source) cuts(ctx context.Context, name string, want int, t traits) ([]syncd.Key, error) {
	sample, err := retried(ctx, s, func() ([]bson.RawValue, error) { return s.sample(ctx, name, samplesFor(want)) })
	if isServerRefusal(err) {
		s.log.Warn("this server can't pick documents at random ($sample): one reader reads all of the collection",
			"collection", name, "error", s.scrub.scrub(err))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return evenly(ascending(sample, t.binary), want), nil
}

// sample returns random ids in the server's order, some perhaps more than once. $sample comes first in the pipeline:
// only there it need not read everything.
func (s *source) sample(ctx context.Context, name string, n int) ([]bson.RawValue, error) {
	c, err := s.db.Collection(name).Aggregate(ctx, []bson.D{
		{{Key: "$sample", Value: bson.D{{Key: "size", Value: n}}}},
		{{Key: "$project", Value: byID}},
		{{Key: "$sort", Value: byID}},
	})
	if err != nil {
		return nil, err
	}
	return readIDs(ctx, driverCursor{c})
}

// ascending leaves out ids that are not greater than the one before: the server demands that min is less than max, and
// holds 5 and 5.0 to be equal. Where text has an order of its own, the server's word for it is taken. MinKey and MaxKey
// divide nothing.
func ascending(sorted []bson.RawValue, binary bool) []bson.RawValue {
	var out []bson.RawValue
	for _, id := range sorted {
		if id.Type == bson.TypeMinKey || id.Type == bson.TypeMaxKey {
			continue
		}
		if len(out) > 0 {
			c := compareValues(out[len(out)-1], id)
			if c == 0 || c > 0 && (binary || !hasText(id)) {
				continue
			}
		}
		out = append(out, id)
	}
	return out
}

// evenly picks at most want-1 ids that divide the samples into parts of the same size.
func evenly(samples []bson.RawValue, want int) []syncd.Key {
	var out []syncd.Key
	last := 0 // nothing is in front of the first sample, as far as is known
	for i := 1; i < want; i++ {
		if at := i * len(samples) / want; at > last {
			out = append(out, key(samples[at]))
			last = at
		}
	}
	return out
}

func key(id bson.RawValue) syncd.Key { return syncd.Key(bsondoc.AppendKey(nil, id)) }

// hasText reports whether the order of a value may depend on a collation.
func hasText(v bson.RawValue) bool {
	switch v.Type {
	case bson.TypeString, bson.TypeSymbol, bson.TypeEmbeddedDocument, bson.TypeArray:
		return true
	}
	return false
}
