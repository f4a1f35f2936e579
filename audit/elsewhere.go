package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
)

// Where the index holds no point of a content type, all documents of its collection are missing, and that may be right: the
// collection is new, or the index is. It is wrong where the index holds the documents, but not as the mapping says. These are told
// apart by what the index holds:
//
//   - The documents are there by their ids: whatever their payload says, nothing is sent again.
//   - Points of a content type that is not mapped belong to the collection's documents: at least one where the two names differ
//     only in case, spaces, invisible characters or separators; at least half of those looked at where the names differ by a
//     letter, or altogether and the ids are more than numbers, which any two collections share.
//   - No mapped content type is there, selected or not, and no point has the mapped payload keys. Then either some other key holds
//     ids of the collection's documents, or there are enough points and documents to tell that this is another kind of index.
//
// All else runs: an empty index, a new content type beside others of the mapping, one collection of many, an index shared with
// another tool or job in which this mapping's points are, or in which points have its payload keys but are of other documents.

const (
	mostTypes = 30 // content types that are not mapped whose points are looked at
	mostShown = 10 // content types and payload keys that an error names
)

// elsewhere looks for the documents of one collection after another in an index that has none of its content type.
type elsewhere struct {
	Preflight
	survey  syncd.Survey
	samples map[string][]string // ids that points of a content type name
}

// lookElsewhere is about the rules of whose content type the index holds nothing.
func (p Preflight) lookElsewhere(ctx context.Context, held map[*mapping.Rule]bool) error {
	survey := p.Checker.Abilities().Survey
	if p.AllowDrift || survey == nil || len(held) == len(p.Rules) {
		return nil
	}
	e := elsewhere{Preflight: p, samples: map[string][]string{}}
	var err error
	if e.survey, err = survey(ctx, p.Rules[0].Payload.ContentType); err != nil {
		return fmt.Errorf("looking at what the index holds: %w", err)
	}
	if e.withPayload() == 0 {
		return nil // an empty index, or one whose points say nothing of themselves
	}
	known, err := e.holdsMapped(ctx, held)
	if err != nil {
		return err
	}
	asked, keyed := 0, e.keyed()
	var first *mapping.Rule
	for _, rule := range p.Rules {
		if held[rule] {
			continue
		}
		ids, err := e.absent(ctx, rule)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			continue
		}
		if err := e.underAnotherType(ctx, rule, ids); err != nil {
			return err
		}
		if !known && !keyed {
			if err := e.underAnotherKey(ctx, rule, ids); err != nil {
				return err
			}
		}
		if first == nil {
			first = rule
		}
		asked += len(ids)
	}
	if known || keyed || asked < leastDocuments || e.withPayload() < leastPoints {
		return nil
	}
	return e.drift(first, fmt.Sprintf("none of the first %d documents is there, and no point has the payload keys %s",
		asked, text.Of(first.Payload.ContentType)+" and "+text.Of(first.Payload.ID)))
}

// holdsMapped reports whether the index holds points of any content type of the mapping.
func (e *elsewhere) holdsMapped(ctx context.Context, held map[*mapping.Rule]bool) (bool, error) {
	if len(held) > 0 {
		return true, nil
	}
	rule := e.Rules[0]
	for _, t := range rule.ContentTypes() {
		for batch, err := range e.Checker.Abilities().List(ctx, syncd.ListRequest{
			Match: map[string]string{rule.Payload.ContentType: t}, Parts: 1, Limit: 1,
		}) {
			if err != nil {
				return false, fmt.Errorf("looking for points of content type %s: %w", text.Of(t), err)
			}
			if len(batch) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// keyed reports whether a point of the sample has the mapped payload keys.
func (e *elsewhere) keyed() bool {
	payload := e.Rules[0].Payload
	return slices.ContainsFunc(e.survey.Sample, func(p map[string]string) bool {
		_, contentType := p[payload.ContentType]
		_, id := p[payload.ID]
		return contentType && id
	})
}

// withPayload counts the points of the sample that have any payload: those that have none say nothing of themselves.
func (e *elsewhere) withPayload() (n int) {
	for _, p := range e.survey.Sample {
		if len(p) > 0 {
			n++
		}
	}
	return n
}

// absent returns the ids of the first documents of a collection, or nothing if one of them is in the index.
func (e *elsewhere) absent(ctx context.Context, rule *mapping.Rule) (ids []string, err error) {
	changes, err := e.firstChanges(ctx, rule, firstLook)
	if err != nil {
		return nil, err
	}
	var buf []byte
	var points []syncd.Point
	for i := range changes {
		if id, err := rule.PointID(&buf, &changes[i], 0); err == nil {
			points, ids = append(points, syncd.Point{ID: id}), append(ids, changes[i].ID)
		}
	}
	if len(points) == 0 {
		return nil, nil
	}
	verdicts := make([]syncd.Verdict, len(points))
	if err := e.Checker.Check(ctx, points, verdicts); err != nil {
		return nil, fmt.Errorf("checking the first documents of collection %s: %w", rule.Collection.Name, err)
	}
	if slices.Contains(verdicts, syncd.Present) {
		return nil, nil
	}
	return ids, nil
}

// underAnotherType looks for the documents of a collection under content types that are not mapped, those of a like name first.
func (e *elsewhere) underAnotherType(ctx context.Context, rule *mapping.Rule, first []string) error {
	var types []string
	for _, t := range e.survey.Texts {
		if !slices.Contains(rule.ContentTypes(), t.Text) {
			types = append(types, t.Text)
		}
	}
	slices.SortStableFunc(types, func(a, b string) int { return int(likeness(b, rule.ContentType)) - int(likeness(a, rule.ContentType)) })
	for _, t := range types[:min(len(types), mostTypes)] {
		ids, err := e.idsOf(ctx, t)
		if err != nil {
			return err
		}
		found, err := e.belonging(ctx, rule, first, ids)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		half := 2*len(found) >= len(ids)
		switch likeness(t, rule.ContentType) {
		case sameButForForm:
		case oneLetterOff:
			if !half {
				continue
			}
		default:
			if !half || !slices.ContainsFunc(found, telling) {
				continue
			}
		}
		return e.drift(rule, fmt.Sprintf("its document %s is there as %s %s, as are %d of %d points looked at",
			text.Of(found[0]), text.Of(rule.Payload.ContentType), text.Quote(t), len(found), len(ids)))
	}
	return nil
}

// underAnotherKey looks for ids of a collection's documents under payload keys that are not mapped: at least half of the points
// must have one, and not all the same.
func (e *elsewhere) underAnotherKey(ctx context.Context, rule *mapping.Rule, first []string) error {
	byKey := map[string][]string{}
	points := 0
	for _, p := range e.survey.Sample {
		if len(p) > 0 {
			points++
		}
		for key, value := range p {
			if telling(value) {
				byKey[key] = append(byKey[key], value)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		values := byKey[key]
		if 2*len(values) < points {
			continue
		}
		found, err := e.belonging(ctx, rule, first, values)
		if err != nil {
			return err
		}
		if 2*len(found) < points || points > 1 && len(slices.Compact(slices.Sorted(slices.Values(found)))) < 2 {
			continue
		}
		return e.drift(rule, fmt.Sprintf("its document %s is there under the payload key %s, as are the ids of %d of %d points looked at",
			text.Of(found[0]), text.Quote(key), len(found), points))
	}
	return nil
}

// idsOf samples the ids that the points of a content type name.
func (e *elsewhere) idsOf(ctx context.Context, contentType string) ([]string, error) {
	if ids, done := e.samples[contentType]; done {
		return ids, nil
	}
	payload := e.Rules[0].Payload
	ids := []string{}
	for batch, err := range e.Checker.Abilities().List(ctx, syncd.ListRequest{
		Match: map[string]string{payload.ContentType: contentType}, Keys: []string{payload.ID}, Parts: 1, Limit: driftSample,
	}) {
		if err != nil {
			return nil, fmt.Errorf("looking at the points of content type %s: %w", text.Of(contentType), err)
		}
		for _, l := range batch {
			if l.Payload[0].Set {
				ids = append(ids, l.Payload[0].Text)
			}
		}
	}
	e.samples[contentType] = ids
	return ids, nil
}

// belonging returns those of the ids that are documents of a collection, each as often as it comes: the source is asked, or else
// it must be one of the first documents.
func (e *elsewhere) belonging(ctx context.Context, rule *mapping.Rule, first, ids []string) (found []string, err error) {
	find := e.Source.Abilities().Find
	if find == nil {
		for _, id := range ids {
			if slices.Contains(first, id) {
				found = append(found, id)
			}
		}
		return found, nil
	}
	if len(ids) == 0 {
		return nil, nil
	}
	keys, err := find(ctx, syncd.Collection{Name: rule.Collection.Name}, ids)
	if err != nil {
		return nil, err // it names the collection
	}
	if len(keys) != len(ids) {
		return nil, fmt.Errorf("finding documents of collection %s: the source answered %d of %d", rule.Collection.Name, len(keys), len(ids))
	}
	for i, k := range keys {
		if k != "" {
			found = append(found, ids[i])
		}
	}
	return found, nil
}

// telling reports whether a text, as an id, says something: numbers are ids of anything.
func telling(id string) bool {
	_, err := strconv.ParseFloat(id, 64)
	return id != "" && err != nil
}

// drift is the error, with both sides.
func (e *elsewhere) drift(rule *mapping.Rule, why string) error {
	part := ""
	if !e.survey.Whole {
		part = ", of a part of its points"
	}
	payload := rule.Payload
	return &tally.GuardError{
		Problem: fmt.Sprintf("nothing was sent: the index has no document of collection %s as the mapping says, but %s; looked for: %s %s, payload keys %s; the index holds%s: %s %s, payload keys %s",
			text.Of(rule.Collection.Name), why,
			text.Of(payload.ContentType), text.Quote(rule.ContentType), list([]string{payload.ContentType, payload.ID, payload.ChunkIndex}),
			part, text.Of(payload.ContentType), e.types(), list(e.keys())),
		Advice: "make mapping.collections, mapping.payload, mapping.seed and the checker's collection what the indexer uses; if the points are another's and this is the first run into their index, --allow-drift sends all the same",
	}
}

// types are the content types that the index holds.
func (e *elsewhere) types() string {
	var out []string
	for i, t := range e.survey.Texts {
		if i == mostShown {
			out = append(out, "…")
			break
		}
		out = append(out, fmt.Sprintf("%s (%d)", text.Quote(t.Text), t.Points))
	}
	if len(out) == 0 {
		return "(none)"
	}
	return strings.Join(out, ", ")
}

// keys are the payload keys of the sample.
func (e *elsewhere) keys() []string {
	keys := map[string]bool{}
	for _, p := range e.survey.Sample {
		for k := range p {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func list(names []string) string {
	if len(names) == 0 {
		return "(none)"
	}
	var out []string
	for i, n := range names {
		if i == mostShown {
			out = append(out, "…")
			break
		}
		out = append(out, text.Of(n))
	}
	return strings.Join(out, ", ")
}

// alike is how much two names are.
type alike int

const (
	unlike alike = iota
	oneLetterOff
	sameButForForm // case, spaces, invisible characters, separators
)

func likeness(a, b string) alike {
	x, y := bare(a), bare(b)
	switch {
	case slices.Equal(x, y):
		return sameButForForm
	case min(len(x), len(y)) >= 3 && oneEdit(x, y):
		return oneLetterOff
	}
	return unlike
}

// bare is a name without what people don't see or write in different ways.
func bare(name string) (out []rune) {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) {
			out = append(out, unicode.ToLower(unicode.ToUpper(r)))
		}
	}
	return out
}

// oneEdit reports whether one letter put in, left out or replaced makes a b.
func oneEdit(a, b []rune) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && slices.Equal(a[i+1:], b[i+1:])
	}
	return len(b) == len(a)+1 && slices.Equal(a[i:], b[i+1:])
}
