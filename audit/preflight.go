package audit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
)

const (
	driftSample = 100  // points of the index whose ids are computed again, per content type
	fewSampled  = 8    // of them are enough where one agrees, and nothing else is to be compared
	firstLook   = 1000 // documents that a preflight asks about
	// leastPoints is how many points of a content type the index must hold for "none of the first documents is there" to
	// mean anything, and leastDocuments how many documents must have been asked about.
	leastPoints    = 20
	leastDocuments = 20
)

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
		return fmt.Sprintf("the ids have drifted: for document %s of collection %s the seed %s gives point id %s, but the index holds it as %s (%d points compared, none agrees)",
			text.Of(e.ID), e.Collection, text.Quote(e.Seed), e.Computed, e.Held, e.Looked)
	}
	return fmt.Sprintf("the ids seem to have drifted: the index holds points of content type %s, such as %s, but none of the first %d documents of collection %s, such as %s with seed %s and point id %s",
		e.ContentType, e.Held, e.Looked, e.Collection, text.Of(e.ID), text.Quote(e.Seed), e.Computed)
}

// Preflight looks, before anything is sent, whether each content type that the index holds has the ids that the rules make.
type Preflight struct {
	Source          syncd.Source
	Checker         syncd.Checker // nil, or without the List ability: there is nothing to look at
	Rules           []*mapping.Rule
	Workers         int     // collections looked at side by side
	AllowDrift      bool    // ids that have drifted are no error
	MaxMissingRatio float64 // as for RatioGuard
}

// Run returns of which rules' content types the index holds points. The error is a *DriftError, a *tally.GuardError, or that
// something could not be asked.
func (p Preflight) Run(ctx context.Context) (held map[*mapping.Rule]bool, err error) {
	held = make(map[*mapping.Rule]bool, len(p.Rules))
	if p.Checker == nil || p.Checker.Abilities().List == nil {
		return held, nil
	}
	left, err := p.glance(ctx, held)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(max(1, p.Workers))
	for _, rule := range left {
		g.Go(panics.Caught(func() error {
			there, err := p.lookAt(within, rule)
			mu.Lock()
			defer mu.Unlock()
			if there {
				held[rule] = true
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := p.lookElsewhere(ctx, held); err != nil {
		return nil, err
	}
	return held, nil
}

// chunksAt is where a sampled point has the number of chunks, if the rule has chunks.
const chunksAt = 2

// glance looks at a few points of each content type, about all of which it asks at once. It returns the rules that need a closer look:
// those whose points have more to compare than their ids, and those of whose points none agrees.
func (p Preflight) glance(ctx context.Context, held map[*mapping.Rule]bool) (left []*mapping.Rule, err error) {
	ask := p.Checker.Abilities().Sample
	if ask == nil || p.MaxMissingRatio > 0 {
		return p.Rules, nil
	}
	var glanced []*mapping.Rule
	var requests []syncd.ListRequest
	for _, rule := range p.Rules {
		if rule.VersionKey() != "" || rule.ChunksKey() != "" {
			left = append(left, rule)
			continue
		}
		glanced, requests = append(glanced, rule), append(requests, request(rule, fewSampled))
	}
	samples, err := ask(ctx, requests)
	if err != nil {
		return nil, fmt.Errorf("looking at points of the mapped content types: %w", err)
	}
	for i, rule := range glanced {
		if len(samples[i]) == 0 {
			continue
		}
		if known, err := p.compareSample(rule, samples[i]); known && err == nil {
			held[rule] = true
		} else {
			left = append(left, rule)
		}
	}
	return left, nil
}

// lookAt looks at points of a rule's content type, and reports whether there are any.
func (p Preflight) lookAt(ctx context.Context, rule *mapping.Rule) (there bool, err error) {
	var sample []syncd.Listed
	for batch, err := range p.Checker.Abilities().List(ctx, request(rule, driftSample)) {
		if err != nil {
			return false, fmt.Errorf("looking at the points of content type %s: %w", rule.ContentType, err)
		}
		sample = append(sample, batch...)
	}
	if len(sample) == 0 {
		return false, nil
	}
	return true, p.look(ctx, rule, sample)
}

// request asks for up to n points of a rule's content type, with their documents' ids, their chunks and, where the rule has them, the
// number of chunks and their versions.
func request(rule *mapping.Rule, n int) syncd.ListRequest {
	keys := []string{rule.Payload.ID, rule.Payload.ChunkIndex}
	if key := rule.ChunksKey(); key != "" {
		keys = append(keys, key)
	}
	if key := rule.VersionKey(); key != "" {
		keys = append(keys, key)
	}
	return syncd.ListRequest{Match: map[string]string{rule.Payload.ContentType: rule.ContentType}, Keys: keys, Parts: 1, Limit: n}
}

func (p Preflight) look(ctx context.Context, rule *mapping.Rule, sample []syncd.Listed) error {
	known, err := p.compareSample(rule, sample)
	if err == nil && (!known || p.MaxMissingRatio > 0) {
		err = p.firstLook(ctx, rule, sample, known)
	}
	if err == nil {
		err = p.lookAtChunks(rule, sample)
	}
	if err != nil {
		return err
	}
	return p.lookAtVersions(ctx, rule, sample)
}

// compareSample computes the ids of sampled points from what they say of themselves. known reports whether any could be
// compared.
func (p Preflight) compareSample(rule *mapping.Rule, sample []syncd.Listed) (known bool, err error) {
	siblings := rule.OfOneType()
	if p.AllowDrift || slices.ContainsFunc(siblings, func(o *mapping.Rule) bool { return o.SeedFields() > 0 }) {
		return p.AllowDrift, nil // the fields of a seed are not in the index
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
		c := &syncd.Change{ID: id.Text}
		computed, err := rule.PointID(&buf, c, chunk)
		if err != nil {
			continue
		}
		if ownerOf(siblings, &buf, id.Text, chunk, l.ID) >= 0 {
			return true, nil
		}
		compared++
		if first == nil {
			seed, _ := rule.AppendSeed(nil, c, chunk)
			first = &DriftError{
				Collection: rule.Collection.Name, ContentType: rule.ContentType, ID: id.Text, Seed: string(seed),
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

// firstLook asks about the first documents of a collection.
func (p Preflight) firstLook(ctx context.Context, rule *mapping.Rule, sample []syncd.Listed, known bool) error {
	changes, err := p.firstChanges(ctx, rule, firstLook)
	if err != nil {
		return err
	}
	var buf []byte
	var points []syncd.Point
	var first *syncd.Change // of points
	for i := range changes {
		if id, err := rule.PointID(&buf, &changes[i], 0); err == nil {
			if points = append(points, syncd.Point{ID: id}); first == nil {
				first = &changes[i]
			}
		}
	}
	if len(points) == 0 {
		return nil
	}
	verdicts := make([]syncd.Verdict, len(points))
	if err := p.Checker.Check(ctx, points, verdicts); err != nil {
		return fmt.Errorf("checking the first documents of collection %s: %w", rule.Collection.Name, err)
	}
	missing := 0
	for _, v := range verdicts {
		if v == syncd.Missing {
			missing++
		}
	}
	if !known && !p.AllowDrift && missing == len(verdicts) && len(verdicts) >= leastDocuments && len(sample) >= leastPoints {
		seed, _ := rule.AppendSeed(nil, first, 0)
		return &DriftError{
			Collection: rule.Collection.Name, ContentType: rule.ContentType, ID: first.ID, Seed: string(seed),
			Computed: points[0].ID, Held: sample[0].ID, Looked: len(verdicts),
		}
	}
	return guardRatio(p.MaxMissingRatio, rule, int64(len(verdicts)), int64(missing))
}

// firstChanges reads the first n documents of a collection, or some more: of the whole as one split, which need not be planned.
func (p Preflight) firstChanges(ctx context.Context, rule *mapping.Rule, n int) (changes []syncd.Change, err error) {
	for batch, err := range p.Source.Read(ctx, syncd.ReadRequest{
		Split: syncd.Split{Collection: rule.Collection}, Fields: rule.Fields(), BatchSize: n,
	}) {
		if err != nil {
			return nil, text.Doing(err, "reading collection %s", rule.Collection.Name)
		}
		if changes = append(changes, batch.Changes...); len(changes) >= n {
			return changes, nil
		}
	}
	return changes, ctx.Err()
}

// RatioGuard returns a guard that is asked before a batch is sent, with what was found in its collection so far: it stops a run
// where more than the limit's share of a collection is missing whose content type the index already holds. A limit of 0
// guards nothing, and the guard is nil.
func RatioGuard(limit float64, held map[*mapping.Rule]bool) func(rule *mapping.Rule, n tally.Counts) error {
	if limit <= 0 {
		return nil
	}
	return func(rule *mapping.Rule, n tally.Counts) error {
		asked := n.Checked()
		if !held[rule] || asked < firstLook {
			return nil
		}
		return guardRatio(limit, rule, asked, n.Missing)
	}
}

func guardRatio(limit float64, rule *mapping.Rule, asked, missing int64) error {
	if limit <= 0 || asked < leastDocuments || float64(missing) <= limit*float64(asked) {
		return nil
	}
	return &tally.GuardError{
		Problem: fmt.Sprintf("%d of %d documents of collection %s are missing, more than limits.max_missing_ratio, %g",
			missing, asked, rule.Collection.Name, limit),
		Advice: "if they really are new, raise limits.max_missing_ratio; if not, compare the seed with the indexer's (syncd id)",
	}
}

// lookAtChunks compares what sampled points hold as the number of their document's chunks. Where almost none is a number, it is
// looked for in the wrong place, and every run would send every document. Points without one say nothing.
func (p Preflight) lookAtChunks(rule *mapping.Rule, sample []syncd.Listed) error {
	if p.AllowDrift || rule.ChunksKey() == "" {
		return nil
	}
	held, unread, example := 0, 0, ""
	for _, l := range sample {
		if v := l.Payload[chunksAt]; v.Set {
			if held++; !mapping.IsChunks(v) {
				unread, example = unread+1, v.Text
			}
		}
	}
	if held < leastPoints || float64(unread) < almostAll*float64(held) {
		return nil
	}
	return &tally.GuardError{
		Problem: fmt.Sprintf("in %d of %d points of content type %s that were looked at, the payload key %q holds no number of chunks but %.100q or the like: every run would send their documents",
			unread, held, rule.ContentType, rule.ChunksKey(), example),
		Advice: "name the payload key that holds the number of a document's chunks in mapping.chunks, or leave mapping.chunks out; --allow-drift sends all the same",
	}
}
