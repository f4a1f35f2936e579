package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/event"
	"github.com/syncd-io/syncd/mapping"
)

// OrphanMode says what a run does about points whose documents are gone.
type OrphanMode string

// The modes.
const (
	OrphansOff    OrphanMode = "off"    // does not look for them
	OrphansReport OrphanMode = "report" // counts and names them
	OrphansPrune  OrphanMode = "prune"  // sends delete events for them
)

// The default limit of deletes: this share of the documents that the index holds of all content types, or at least so many.
const (
	deleteShare = 0.01
	deleteFloor = 1000
)

// maxSeen bounds the orphans that are remembered so that a document's chunks count once.
const maxSeen = 200_000

// maxKept bounds the orphans of a content type that one run deletes; the next run deletes the rest.
const maxKept = 1_000_000

// maxOrphanExamples are named per content type in a report.
const maxOrphanExamples = 20

// OrphanReport is what the reverse pass over one content type found. Points count once each, orphans once a document.
type OrphanReport struct {
	ContentType string
	Points      int64 // that the index holds of the content type
	Documents   int64 // of those points that stand for a document (chunk 0)
	Orphans     int64 // documents that are gone
	Foreign     int64 // points that do not say whose they are, or whose id no rule makes: nobody's to delete
	Deleted     int64 // delete events that the sink confirmed
	Examples    []Orphan
}

// Orphan is a document of which only points are left.
type Orphan struct {
	Rule    *mapping.Rule
	ID      string
	PointID uuid.UUID // of chunk 0
	Held    uuid.UUID // the point that was found
}

// reverse is the pass from the index back to the source.
type reverse struct {
	*run
	finder syncd.Finder
	lister syncd.Lister

	mu      sync.Mutex
	orphans map[string][]Orphan // by content type; complete only as far as pruning allows
	seen    map[orphanKey]bool
	reports map[string]*OrphanReport
}

type orphanKey struct {
	rule *mapping.Rule
	id   string
}

// findOrphans goes over the index's points, of every content type that the rules name, and asks the source for their
// documents. It keeps at most as many orphans as may be deleted, so memory does not grow with the index.
func (r *run) findOrphans(ctx context.Context, rep *Report) error {
	p := &reverse{run: r, orphans: map[string][]Orphan{}, seen: map[orphanKey]bool{}, reports: map[string]*OrphanReport{}}
	var ok bool
	if p.lister, ok = r.Checker.(syncd.Lister); !ok {
		return errors.New("looking for orphans: the checker can't list what the index holds")
	}
	if p.finder, ok = r.Source.(syncd.Finder); !ok {
		return fmt.Errorf("looking for orphans: %w", errNoFinder)
	}
	if r.Orphans == OrphansPrune {
		if err := r.mayPrune(rep); err != nil {
			return err
		}
	}
	byType := map[string][]*mapping.Rule{}
	var types []string
	defer func() { // what was done is told, whatever came after it
		for _, t := range types {
			if found := p.reports[t]; found != nil {
				rep.Orphans = append(rep.Orphans, *found)
			}
		}
	}()
	for _, rule := range r.Rules {
		if byType[rule.ContentType] == nil {
			types = append(types, rule.ContentType)
		}
		byType[rule.ContentType] = append(byType[rule.ContentType], rule)
	}
	for _, o := range r.PlannedOrphans {
		if p.reports[o.Rule.ContentType] == nil {
			p.reports[o.Rule.ContentType] = &OrphanReport{ContentType: o.Rule.ContentType}
		}
		p.keep(o.Rule.ContentType, []Orphan{o})
	}
	undrained, stop := r.untilDrained(ctx)
	defer stop()
	for _, t := range types {
		if p.reports[t] == nil {
			p.reports[t] = &OrphanReport{ContentType: t}
		}
		if r.PlannedOrphans != nil {
			continue
		}
		g, gctx := errgroup.WithContext(undrained)
		for part := range r.Workers {
			g.Go(func() error { return p.pass(gctx, t, byType[t], part, r.Workers) })
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("looking for orphans of content type %s: %w", t, err)
		}
	}
	if r.Orphans == OrphansPrune {
		return p.prune(ctx, types)
	}
	return nil
}

// mayPrune refuses where an absence might not be one: nothing may be deleted because a scan was cut short.
func (r *run) mayPrune(rep *Report) error {
	refuse := func(advice, format string, args ...any) error {
		return &GuardError{Problem: "orphans are not deleted: " + fmt.Sprintf(format, args...), Advice: advice}
	}
	for _, c := range rep.Collections {
		name := c.Rule.Collection.Name
		switch {
		case !c.Found:
			return refuse("check the database's name and the collection's spelling; to delete what it left, empty it rather than drop it", "the source has no collection %s, so all its points would look like orphans", name)
		case !c.Complete:
			return refuse("run it again", "collection %s was not read to its end", name)
		case c.Rule.Collection.Filter != "":
			return refuse("leave the filter out for a run that prunes", "collection %s is read with a filter", name)
		case c.Failed() > 0:
			return refuse("look at the documents named above first", "%d documents of collection %s could not be handled", c.Failed(), name)
		}
	}
	return nil
}

// pass goes over one part of the index's points of a content type.
func (p *reverse) pass(ctx context.Context, contentType string, rules []*mapping.Rule, part, parts int) error {
	payload := rules[0].Payload
	keys := []string{payload.ID, payload.ChunkIndex}
	version := rules[0].VersionKey()
	if version != "" {
		keys = append(keys, version)
	}
	var buf []byte
	for batch, err := range p.lister.List(ctx, syncd.ListRequest{
		Match: map[string]string{payload.ContentType: contentType}, Keys: keys, Part: part, Parts: parts,
	}) {
		if err != nil {
			return err
		}
		p.move()
		count := OrphanReport{Points: int64(len(batch))}
		asked := make([][]Orphan, len(rules))
		here := map[orphanKey]bool{} // documents already asked about in this batch
		for _, l := range batch {
			id, chunk := l.Payload[0], 0
			if at := l.Payload[1]; at.Set {
				var err error
				if chunk, err = strconv.Atoi(at.Text); err != nil {
					chunk = -1
				}
			}
			if !id.Set || chunk < 0 {
				count.Foreign++
				continue
			}
			if version != "" {
				// What was written after the run began may belong to a document that was inserted after it, too.
				if at, ok := mapping.Instant(l.Payload[2]); ok && at.After(p.started) {
					continue
				}
			}
			owner := ownerOf(rules, &buf, id.Text, chunk, l.ID)
			if owner < 0 {
				count.Foreign++
				continue
			}
			if chunk == 0 {
				count.Documents++
			}
			key := orphanKey{rules[owner], id.Text}
			if here[key] {
				continue
			}
			here[key] = true
			first, _ := rules[owner].PointID(&buf, &syncd.Record{ID: id.Text}, 0)
			asked[owner] = append(asked[owner], Orphan{Rule: rules[owner], ID: id.Text, PointID: first, Held: l.ID})
		}
		for i, orphans := range asked {
			gone, err := p.gone(ctx, rules[i], orphans)
			if err != nil {
				return err
			}
			p.keep(contentType, gone)
		}
		p.mu.Lock()
		rep := p.reports[contentType]
		rep.Points += count.Points
		rep.Documents += count.Documents
		rep.Foreign += count.Foreign
		p.mu.Unlock()
	}
	return ctx.Err()
}

// ownerOf returns which rule makes this point id for the document and chunk, or -1. A rule whose seed needs fields of the
// document can't tell, and claims nothing.
func ownerOf(rules []*mapping.Rule, buf *[]byte, id string, chunk int, point uuid.UUID) int {
	for i, rule := range rules {
		if rule.SeedFields() > 0 {
			continue
		}
		if made, err := rule.PointID(buf, &syncd.Record{ID: id}, chunk); err == nil && made == point {
			return i
		}
	}
	return -1
}

// gone returns those whose documents the source does not have, whatever its filter.
func (p *reverse) gone(ctx context.Context, rule *mapping.Rule, candidates []Orphan) ([]Orphan, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	ids := make([]string, len(candidates))
	for i, c := range candidates {
		ids[i] = c.ID
	}
	keys, err := p.finder.Find(ctx, syncd.Collection{Name: rule.Collection.Name}, ids)
	if err != nil {
		return nil, err // it names the collection
	}
	if len(keys) != len(ids) {
		return nil, fmt.Errorf("finding documents of collection %s: the source answered %d of %d", rule.Collection.Name, len(keys), len(ids))
	}
	var out []Orphan
	for i, k := range keys {
		if k == "" {
			out = append(out, candidates[i])
		}
	}
	return out, nil
}

// StillOrphans returns those of the orphans whose documents are still gone and of which the index still holds a point.
func StillOrphans(ctx context.Context, source syncd.Source, checker syncd.Checker, orphans []Orphan) ([]Orphan, error) {
	finder, ok := source.(syncd.Finder)
	if !ok {
		return nil, errNoFinder
	}
	p := &reverse{finder: finder}
	byRule := map[*mapping.Rule][]Orphan{}
	for _, o := range orphans {
		byRule[o.Rule] = append(byRule[o.Rule], o)
	}
	var out []Orphan
	for rule, some := range byRule {
		gone, err := p.gone(ctx, rule, some)
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

// keep counts orphans, each document once, and holds on to as many as may matter.
func (p *reverse) keep(contentType string, orphans []Orphan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rep := p.reports[contentType]
	for _, o := range orphans {
		key := orphanKey{o.Rule, o.ID}
		if p.seen[key] {
			continue
		}
		if len(p.seen) < maxSeen {
			p.seen[key] = true
		} else if o.Held != o.PointID {
			continue // its chunk 0 counts, or is one of a million others
		}
		rep.Orphans++
		if len(rep.Examples) < maxOrphanExamples {
			rep.Examples = append(rep.Examples, o)
		}
		if p.Orphans == OrphansPrune && len(p.orphans[contentType]) < maxKept {
			p.orphans[contentType] = append(p.orphans[contentType], o)
		}
		if p.Item != nil {
			p.observe.Lock()
			p.Item(Item{Rule: o.Rule, Verdict: syncd.Orphan, ID: o.ID, PointID: o.PointID, Held: o.Held})
			p.observe.Unlock()
		}
	}
}

// prune sends delete events, unless they are more than may be.
func (p *reverse) prune(ctx context.Context, types []string) error {
	var all []Orphan
	var documents, orphans int64
	for _, t := range types {
		all = append(all, p.orphans[t]...)
		documents += p.reports[t].Documents
		orphans += p.reports[t].Orphans
	}
	limit := p.Guards.MaxDeletes
	if limit == 0 {
		limit = max(deleteFloor, int64(deleteShare*float64(documents)))
	}
	if orphans > limit {
		return &GuardError{
			Problem: fmt.Sprintf("%d documents would be deleted from the index, more than limits.max_deletes, %d; nothing was deleted", orphans, limit),
			Advice:  "look at them with run.orphans: report, and raise limits.max_deletes if they are really gone",
		}
	}
	for chunk := range slices.Chunk(all, p.BatchSize) {
		if p.draining() {
			return nil
		}
		if err := p.delete(ctx, chunk); err != nil {
			return err
		}
		p.move()
	}
	return nil
}

// delete asks once more, right before, and sends delete events for those that are still gone.
func (p *reverse) delete(ctx context.Context, orphans []Orphan) error {
	byRule := map[*mapping.Rule][]Orphan{}
	for _, o := range orphans {
		byRule[o.Rule] = append(byRule[o.Rule], o)
	}
	for _, rule := range p.Rules {
		still, err := p.gone(ctx, rule, byRule[rule])
		if err != nil {
			return err
		}
		if len(still) == 0 {
			continue
		}
		if err := p.events.take(int64(len(still))); err != nil {
			return err
		}
		events := make([]syncd.Event, len(still))
		for i, o := range still {
			key, err := p.Events.AppendKey(nil, o.ID, nil)
			if err != nil {
				return fmt.Errorf("deleting document %s of collection %s: %w", o.ID, rule.Collection.Name, err)
			}
			e := syncd.Event{
				Target: rule.Target(), ID: o.ID, PointID: o.PointID, Key: key,
				Headers: event.Headers(p.RunID, syncd.ReasonOrphan, o.PointID, rule.ContentType, time.Now()),
			}
			if !p.Tombstones {
				if e.Value, err = p.Events.AppendValue(nil, syncd.Delete, rule.Target(), o.ID, nil); err != nil {
					return fmt.Errorf("deleting document %s of collection %s: %w", o.ID, rule.Collection.Name, err)
				}
			}
			events[i] = e
		}
		refused, err := refusals(p.Sink.Write(ctx, events), len(events))
		if err == nil {
			p.reports[rule.ContentType].Deleted += int64(len(events))
		}
		if refused != nil {
			p.reports[rule.ContentType].Deleted -= int64(len(refused.Failed()))
			err = refused.OrNil()
		}
		if err != nil {
			return fmt.Errorf("sending deletes of collection %s: %w", rule.Collection.Name, err)
		}
	}
	return nil
}
