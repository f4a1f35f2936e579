package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// Rest is what the index holds beside the points that were looked at.
type Rest struct {
	// Counted says that points were counted by content type, in the whole index; if not, Unmapped and Unchosen are types that a look at a
	// part of it found, without their numbers, and Others counts them.
	Counted  bool
	Unmapped []syncd.TextCount // content types that no rule names, most points first
	Unchosen []syncd.TextCount // those of collections that were not chosen
	Others   int64             // points that are in neither list, about: the index counts approximately
}

// Points is how many points there are beside those that were looked at, about.
func (r *Rest) Points() (n int64) {
	n = r.Others
	if r.Counted {
		for _, t := range slices.Concat(r.Unmapped, r.Unchosen) {
			n += t.Points
		}
	}
	return n
}

// FindRest finds out what the index holds beside the content types of some rules, of which so many points were seen. It is nil where the
// checker can't tell.
func FindRest(ctx context.Context, checker syncd.Checker, rules []*mapping.Rule, seen int64) (*Rest, error) {
	inspect, survey := checker.Abilities().Inspect, checker.Abilities().Survey
	if inspect == nil || survey == nil || len(rules) == 0 {
		return nil, nil //nolint:nilnil // nobody can tell
	}
	index, err := inspect(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking at the index: %w", err)
	}
	found, err := survey(ctx, rules[0].Payload.ContentType)
	if err != nil {
		return nil, fmt.Errorf("looking at what else the index holds: %w", err)
	}
	rest := &Rest{Counted: found.Whole}
	counted := int64(0)
	for _, t := range found.Texts {
		counted += t.Points
		switch {
		case slices.ContainsFunc(rules, func(r *mapping.Rule) bool { return r.ContentType == t.Text }):
		case slices.Contains(rules[0].ContentTypes(), t.Text):
			rest.Unchosen = append(rest.Unchosen, t)
		default:
			rest.Unmapped = append(rest.Unmapped, t)
		}
	}
	if !rest.Counted {
		counted = seen
	}
	rest.Others = max(0, index.Points-counted)
	return rest, nil
}
