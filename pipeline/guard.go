package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// Guards stop a run before it does what nobody can have meant. Zero values guard nothing, but drift is guarded against unless
// AllowDrift.
type Guards struct {
	AllowDrift      bool
	MaxEvents       int64   // sent by a run; 0 is no limit
	MaxDeletes      int64   // documents deleted from the index; 0 is 1 % of what it holds, but at least 1,000
	MaxMissingRatio float64 // of a collection whose content type the index already holds, above 0 and below 1; 0 is no limit
}

const (
	driftSample = 100  // points of the index whose ids are computed again, per content type
	firstLook   = 1000 // documents that a preflight asks about
	// leastPoints is how many points of a content type the index must hold for "none of the first documents is there" to
	// mean anything, and leastDocuments how many documents must have been asked about.
	leastPoints    = 20
	leastDocuments = 20
)

// GuardError says that a guard stopped the run.
type GuardError struct {
	Problem string
	Advice  string
}

func (e *GuardError) Error() string { return e.Problem }

// DriftError says that the computed ids are not the index's: the seed, the namespace or the ids' text differ from the
// indexer's.
type DriftError struct {
	Collection  string
	ContentType string
	ID          string    // of a document
	Seed        string    // as computed
	Computed    uuid.UUID // from the seed
	Held        uuid.UUID // the id under which the index holds the document, or another of its type if ID is not known there
	SameID      bool      // Held belongs to the document ID
	Looked      int       // how many were compared
}

func (e *DriftError) Error() string {
	if e.SameID {
		return fmt.Sprintf("the ids have drifted: for document %s of collection %s the seed %q gives point id %s, but the index holds it as %s (%d points compared, none agrees)",
			e.ID, e.Collection, e.Seed, e.Computed, e.Held, e.Looked)
	}
	return fmt.Sprintf("the ids seem to have drifted: the index holds points of content type %s, such as %s, but none of the first %d documents of collection %s, such as %s with seed %q and point id %s",
		e.ContentType, e.Held, e.Looked, e.Collection, e.ID, e.Seed, e.Computed)
}

// eventLimit counts events against Guards.MaxEvents.
type eventLimit struct {
	max  int64
	sent atomic.Int64
}

// take reserves n events before they are sent.
func (l *eventLimit) take(n int64) error {
	if l.max <= 0 || l.sent.Add(n) <= l.max {
		return nil
	}
	l.sent.Add(-n)
	return &GuardError{
		Problem: fmt.Sprintf("the run would send more than limits.max_events, %d", l.max),
		Advice:  "look at what is missing with --dry-run, then raise limits.max_events or send the collections one by one",
	}
}

// preflight looks, before anything is sent, whether each content type that the index holds has the ids that the rules make.
func (r *run) preflight(ctx context.Context) error {
	if r.Checker == nil || r.DryRun && r.Item != nil { // a plan shows what it shows
		return nil
	}
	lister, ok := r.Checker.(syncd.Lister)
	if !ok {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Workers)
	for _, c := range r.collections {
		g.Go(func() error { return r.preflightCollection(ctx, lister, c) })
	}
	return g.Wait()
}

func (r *run) preflightCollection(ctx context.Context, lister syncd.Lister, c *collection) error {
	rule := c.rule
	var sample []syncd.Listed
	for batch, err := range lister.List(ctx, syncd.ListRequest{
		Match: map[string]string{rule.Payload.ContentType: rule.ContentType},
		Keys:  []string{rule.Payload.ID, rule.Payload.ChunkIndex}, Parts: 1, Limit: driftSample,
	}) {
		if err != nil {
			return fmt.Errorf("looking at the points of content type %s: %w", rule.ContentType, err)
		}
		for _, l := range batch {
			sample = append(sample, syncd.Listed{ID: l.ID, Payload: append([]syncd.Value(nil), l.Payload...)})
		}
	}
	c.held = len(sample) > 0
	if !c.held {
		return nil
	}
	known, err := r.compareSample(c, sample)
	if err != nil {
		return err
	}
	if known && r.Guards.MaxMissingRatio == 0 {
		return nil
	}
	return r.firstLook(ctx, c, sample, known)
}

// compareSample computes the ids of sampled points from what they say of themselves. known reports whether any could be
// compared.
func (r *run) compareSample(c *collection, sample []syncd.Listed) (known bool, err error) {
	siblings := c.rule.OfOneType()
	if r.Guards.AllowDrift || slices.ContainsFunc(siblings, func(o *mapping.Rule) bool { return o.SeedFields() > 0 }) {
		return r.Guards.AllowDrift, nil // the fields of a seed are not in the index
	}
	var buf []byte
	var first *DriftError
	compared := 0
	for _, l := range sample {
		id := l.Payload[0]
		if !id.Set {
			continue
		}
		chunk := 0
		if at := l.Payload[1]; at.Set {
			if _, err := fmt.Sscan(at.Text, &chunk); err != nil || chunk < 0 || chunk > math.MaxInt32 {
				continue
			}
		}
		rec := &syncd.Record{ID: id.Text}
		computed, err := c.rule.PointID(&buf, rec, chunk)
		if err != nil {
			continue
		}
		if ownerOf(siblings, &buf, id.Text, chunk, l.ID) >= 0 {
			return true, nil
		}
		compared++
		if first == nil {
			seed, _ := c.rule.AppendSeed(nil, rec, chunk)
			first = &DriftError{
				Collection: c.rule.Collection.Name, ContentType: c.rule.ContentType, ID: id.Text, Seed: string(seed),
				Computed: computed, Held: l.ID, SameID: true,
			}
		}
	}
	if first == nil {
		return false, nil
	}
	first.Looked = compared
	return true, first
}

// firstLook asks about the first documents of a collection before anything is sent.
func (r *run) firstLook(ctx context.Context, c *collection, sample []syncd.Listed, known bool) error {
	records, err := r.firstRecords(ctx, c.rule)
	if err != nil {
		return err
	}
	w := newWorker(r)
	w.points, w.index = w.points[:0], w.index[:0]
	for i := range records {
		id, err := c.rule.PointID(&w.seed, &records[i], 0)
		if err == nil {
			w.points, w.index = append(w.points, syncd.Point{ID: id}), append(w.index, i)
		}
	}
	if len(w.points) == 0 {
		return nil
	}
	verdicts := make([]syncd.Verdict, len(w.points))
	if err := r.Checker.Check(ctx, w.points, verdicts); err != nil {
		return fmt.Errorf("checking the first documents of collection %s: %w", c.rule.Collection.Name, err)
	}
	missing := 0
	for _, v := range verdicts {
		if v == syncd.Missing {
			missing++
		}
	}
	if !known && !r.Guards.AllowDrift && missing == len(verdicts) && len(verdicts) >= leastDocuments && len(sample) >= leastPoints {
		rec := &records[w.index[0]]
		seed, _ := c.rule.AppendSeed(nil, rec, 0)
		return &DriftError{
			Collection: c.rule.Collection.Name, ContentType: c.rule.ContentType, ID: rec.ID, Seed: string(seed),
			Computed: w.points[0].ID, Held: sample[0].ID, Looked: len(verdicts),
		}
	}
	return r.ratioGuard(c, int64(len(verdicts)), int64(missing))
}

// firstRecords reads the first documents of a collection, of as many splits and batches as it takes.
func (r *run) firstRecords(ctx context.Context, rule *mapping.Rule) (records []syncd.Record, err error) {
	for s, err := range r.Source.Plan(ctx, rule.Collection) {
		if err != nil {
			break // the run itself will meet it and report it
		}
		for batch, err := range r.Source.Scan(ctx, syncd.ScanRequest{Split: s, Fields: rule.Fields(), BatchSize: firstLook}) {
			if err != nil {
				return nil, fmt.Errorf("reading collection %s: %w", rule.Collection.Name, err)
			}
			if records = append(records, batch...); len(records) >= firstLook {
				return records, nil
			}
		}
	}
	return records, ctx.Err()
}

// ratioGuard stops a run where too many documents are missing of a collection that the index already holds.
func (r *run) ratioGuard(c *collection, asked, missing int64) error {
	limit := r.Guards.MaxMissingRatio
	if limit <= 0 || !c.held || asked < leastDocuments || float64(missing) <= limit*float64(asked) {
		return nil
	}
	return &GuardError{
		Problem: fmt.Sprintf("%d of %d documents of collection %s are missing, more than limits.max_missing_ratio, %g",
			missing, asked, c.rule.Collection.Name, limit),
		Advice: "if they really are new, raise limits.max_missing_ratio; if not, compare the seed with the indexer's (syncd id)",
	}
}

// guard applies the ratio to what the collection's checks have found so far, this batch included, before the batch is sent.
func (w *worker) guard(b *batch) error {
	if w.Guards.MaxMissingRatio <= 0 || w.Checker == nil {
		return nil
	}
	b.col.mu.Lock()
	asked, missing := b.col.counts.Checked()+w.counts.Checked(), b.col.counts.Missing+w.counts.Missing
	b.col.mu.Unlock()
	if asked < firstLook {
		return nil
	}
	return w.ratioGuard(b.col, asked, missing)
}
