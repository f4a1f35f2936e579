package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
)

const (
	// maxSeen bounds the orphans that are remembered so that a document's chunks count once.
	maxSeen = 200_000
	// maxKept bounds the orphans of a content type that one run deletes; the next run deletes the rest.
	maxKept = 1_000_000
	// maxExamples are named per content type in a report.
	maxExamples = 20
)

// OrphanReport is what the search found in one content type. Points count once each, orphans once a document.
type OrphanReport struct {
	ContentType string
	Points      int64 // that the index holds of the content type
	Documents   int64 // of those points that stand for a document (chunk 0)
	Orphans     int64 // documents that are gone
	Owned       bool  // it is declared or provable whose the points are; if not, an orphan may be another's document
	Others      int64 // points that name another source: not this job's to judge
	Foreign     int64 // points that do not say whose they are, or whose id no rule makes: nobody's to delete
	Deleted     int64 // deletes that the sink confirmed; the search leaves it 0
	Examples    []verdict.Item
}

// OrphanSearch is the way back from the index: it goes over the points of every content type that the rules name, and asks the
// source for their documents.
type OrphanSearch struct {
	Source  syncd.Source  // with the Find ability
	Checker syncd.Checker // with the List ability
	Rules   []*mapping.Rule
	Parts   int       // lists of the index that are read side by side, at least 1
	Since   time.Time // what the index's version key says was written after it is left alone; zero leaves nothing alone

	Planned []verdict.Item // looks for these alone; nil looks for all
	Keep    bool           // the orphans are to be deleted, so they are kept for Orphans.Source, up to 1,000,000 a content type

	Item  func(verdict.Item) // is told every orphan, one at a time; nil is told nothing
	Moved func()             // is told that something was done, concurrently; nil is told nothing
	Drain <-chan struct{}    // closed: the search ends with the error of a context that was cancelled; nil never does
}

// Orphans is what a search found.
type Orphans struct {
	Reports []OrphanReport                   // by content type, in the order of the rules
	Took    time.Duration                    // of all parts together
	kept    map[*mapping.Rule][]verdict.Item // in any order
}

// Find searches. Together with an error the Orphans say what was found before it; they are never nil.
func (s OrphanSearch) Find(ctx context.Context) (*Orphans, error) {
	found := &Orphans{kept: map[*mapping.Rule][]verdict.Item{}}
	list, find := s.Checker.Abilities().List, s.Source.Abilities().Find
	if list == nil {
		return found, errors.New("looking for orphans: the checker can't list what the index holds")
	}
	if find == nil {
		return found, fmt.Errorf("looking for orphans: %w", ErrNoFinder)
	}
	byType := map[string][]*mapping.Rule{}
	var types []string
	for _, rule := range s.Rules {
		if byType[rule.ContentType] == nil {
			types = append(types, rule.ContentType)
		}
		byType[rule.ContentType] = append(byType[rule.ContentType], rule)
	}
	ctx, stop := wait.Drained(ctx, s.Drain)
	defer stop()
	planned := map[document]bool{}
	for _, o := range s.Planned {
		planned[document{o.Rule, o.ID}] = true
	}
	seen := map[document]bool{}
	for _, t := range types {
		p := &pass{OrphanSearch: s, list: list, find: find, rules: byType[t], report: OrphanReport{ContentType: t}, planned: planned, seen: seen, kept: found.kept}
		p.report.Owned = !slices.ContainsFunc(p.rules, func(r *mapping.Rule) bool { return !r.Owned() })
		err := p.run(ctx)
		found.Reports = append(found.Reports, p.report)
		found.Took += p.took
		if err != nil {
			return found, fmt.Errorf("looking for orphans of content type %s: %w", t, err)
		}
	}
	return found, nil
}

// pass is the search in one content type. seen and kept are shared by the passes, which come one after another.
type pass struct {
	OrphanSearch
	list  func(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error]
	find  finder
	rules []*mapping.Rule // of the content type

	planned map[document]bool // unless Planned is nil

	mu     sync.Mutex
	took   time.Duration // of all parts
	report OrphanReport
	seen   map[document]bool
	kept   map[*mapping.Rule][]verdict.Item
}

type document struct {
	rule *mapping.Rule
	id   string
}

func (p *pass) run(ctx context.Context) error {
	if p.Planned != nil && !slices.ContainsFunc(p.Planned, func(o verdict.Item) bool { return o.Rule.ContentType == p.report.ContentType }) {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	parts := max(1, p.Parts)
	for part := range parts {
		g.Go(panics.Caught(func() error { return p.part(ctx, part, parts) }))
	}
	return g.Wait()
}

// part goes over one part of the points.
func (p *pass) part(ctx context.Context, part, parts int) error {
	began := time.Now()
	defer func() {
		p.mu.Lock()
		p.took += time.Since(began)
		p.mu.Unlock()
	}()
	payload := p.rules[0].Payload
	keys := []string{payload.ID, payload.ChunkIndex, cmp.Or(p.rules[0].OwnerKey(), payload.ID)}
	if version := p.rules[0].VersionKey(); version != "" {
		keys = append(keys, version)
	}
	var buf []byte
	candidates := make([][]verdict.Item, len(p.rules))
	for batch, err := range p.list(ctx, syncd.ListRequest{
		Match: map[string]string{payload.ContentType: p.report.ContentType}, Keys: keys, Part: part, Parts: parts,
	}) {
		if err != nil {
			return err
		}
		count := OrphanReport{Points: int64(len(batch))}
		p.candidates(batch, &buf, candidates, &count)
		for i, some := range candidates {
			gone, err := p.find.gone(ctx, p.rules[i], some)
			if err == nil {
				for k := range gone {
					gone[k].PointID, _ = p.rules[i].PointID(&buf, &syncd.Change{ID: gone[k].ID}, 0) // it made the id of a chunk just now
				}
				gone, err = p.uncontested(ctx, p.rules[i], gone)
			}
			if err != nil {
				return err
			}
			p.add(gone)
		}
		p.mu.Lock()
		p.report.Points += count.Points
		p.report.Documents += count.Documents
		p.report.Others += count.Others
		p.report.Foreign += count.Foreign
		p.mu.Unlock()
		if p.Moved != nil {
			p.Moved()
		}
	}
	return ctx.Err()
}

// candidates sets out, by rule, to the documents of some points, without the ids of their chunk 0. It counts the points.
func (p *pass) candidates(batch []syncd.Listed, buf *[]byte, out [][]verdict.Item, count *OrphanReport) {
	for i := range out {
		out[i] = out[i][:0]
	}
	for _, l := range batch {
		id, chunk, named := l.Payload[0], 0, l.Payload[2]
		if at := l.Payload[1]; at.Set {
			var err error
			if chunk, err = strconv.Atoi(at.Text); err != nil {
				chunk = -1
			}
		}
		if named.Set && !slices.ContainsFunc(p.rules, func(r *mapping.Rule) bool { return r.Owns(named) }) {
			count.Others++
			continue
		}
		if !id.Set || chunk < 0 {
			count.Foreign++
			continue
		}
		if len(l.Payload) > 3 && !p.Since.IsZero() {
			// What was written after the run began may belong to a document that was inserted after it, too.
			if at, ok := mapping.Instant(l.Payload[3]); ok && at.After(p.Since) {
				continue
			}
		}
		owner := ownerOf(p.rules, buf, id.Text, chunk, l.ID)
		if owner < 0 || !p.rules[owner].Owns(named) {
			count.Foreign++
			continue
		}
		if chunk == 0 {
			count.Documents++
		}
		rule := p.rules[owner]
		if p.Planned == nil || p.planned[document{rule, id.Text}] {
			out[owner] = append(out[owner], verdict.Item{Rule: rule, Verdict: syncd.Orphan, ID: id.Text, Held: l.ID})
		}
	}
}

// uncontested leaves out the orphans whose chunk 0 names another source: what is left of them here are chunks that a longer
// document of this source had, and a delete would take the other's with it.
func (p *pass) uncontested(ctx context.Context, rule *mapping.Rule, orphans []verdict.Item) ([]verdict.Item, error) {
	var points []syncd.Point
	for _, o := range orphans {
		if o.Held != o.PointID { // else it named this source
			points = append(points, syncd.Point{ID: o.PointID})
		}
	}
	if rule.OwnerKey() == "" || len(points) == 0 {
		return orphans, nil
	}
	read := p.Checker.Abilities().Read
	if read == nil {
		return nil, errors.New("the checker can't read payload")
	}
	found := make([]syncd.Found, len(points))
	if err := read(ctx, points, []string{rule.OwnerKey()}, found); err != nil {
		return nil, fmt.Errorf("asking whose points are: %w", err)
	}
	return slices.DeleteFunc(orphans, func(o verdict.Item) bool {
		if o.Held == o.PointID {
			return false
		}
		first := found[0]
		found = found[1:]
		return first.Present && !rule.Owns(first.Payload[0])
	}), nil
}

// add counts orphans, each document once, and keeps as many as may matter.
func (p *pass) add(orphans []verdict.Item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range orphans {
		d := document{o.Rule, o.ID}
		if p.seen[d] {
			continue
		}
		if len(p.seen) < maxSeen {
			p.seen[d] = true
		} else if o.Held != o.PointID {
			continue // its chunk 0 counts, or is one of a million others
		}
		p.report.Orphans++
		if len(p.report.Examples) < maxExamples {
			p.report.Examples = append(p.report.Examples, o)
		}
		if p.Keep && p.report.Orphans <= maxKept {
			p.kept[o.Rule] = append(p.kept[o.Rule], o)
		}
		if p.Item != nil {
			p.Item(o)
		}
	}
}

// finder is a source's Find ability.
type finder func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error)

// gone returns those whose documents the source does not have, whatever the rule's filter.
func (find finder) gone(ctx context.Context, rule *mapping.Rule, candidates []verdict.Item) ([]verdict.Item, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	ids := make([]string, len(candidates))
	for i, c := range candidates {
		ids[i] = c.ID
	}
	keys, err := find(ctx, syncd.Collection{Name: rule.Collection.Name}, ids)
	if err == nil && len(keys) != len(ids) {
		err = fmt.Errorf("the source answered %d of %d", len(keys), len(ids))
	}
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		err = syncd.Hint(err, "%s", lookedGone)
	}
	if err != nil {
		return nil, text.Doing(err, "finding documents of collection %s", rule.Collection.Name)
	}
	var out []verdict.Item
	for i, c := range candidates {
		if keys[i] == "" {
			out = append(out, c)
		}
	}
	return out, nil
}

// StillOrphans returns those of the orphans whose documents are still gone and of which the index still holds a point.
func StillOrphans(ctx context.Context, source syncd.Source, checker syncd.Checker, orphans []verdict.Item) ([]verdict.Item, error) {
	find := finder(source.Abilities().Find)
	if find == nil {
		return nil, ErrNoFinder
	}
	byRule := map[*mapping.Rule][]verdict.Item{}
	var rules []*mapping.Rule
	for _, o := range orphans {
		if byRule[o.Rule] == nil {
			rules = append(rules, o.Rule)
		}
		byRule[o.Rule] = append(byRule[o.Rule], o)
	}
	var out []verdict.Item
	for _, rule := range rules {
		gone, err := find.gone(ctx, rule, byRule[rule])
		if err != nil {
			return nil, err
		}
		points := make([]syncd.Point, len(gone))
		for i, o := range gone {
			points[i].ID = o.Held
		}
		verdicts := make([]syncd.Verdict, len(gone))
		if err := checker.Check(ctx, points, verdicts); err != nil {
			return nil, fmt.Errorf("checking orphans of collection %s: %w", rule.Collection.Name, err)
		}
		for i, v := range verdicts {
			if v == syncd.Present {
				out = append(out, gone[i])
			}
		}
	}
	return out, nil
}
