package audit_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
)

// surveyed is a checker that answers a survey in its own way.
type surveyed struct {
	*syncdtest.MemoryChecker
	spoil func(*syncd.CheckerAbilities)
}

func (c surveyed) Abilities() syncd.CheckerAbilities {
	a := c.MemoryChecker.Abilities()
	c.spoil(&a)
	return a
}

func TestFindRest(t *testing.T) {
	m := &mapping.Mapping{Rules: fixture.Rules(t, "page", "epic")}
	chosen, err := m.Select([]string{"page"})
	if err != nil {
		t.Fatal(err)
	}
	index := syncdtest.NewMemoryChecker()
	for _, contentType := range []string{"page", "page", "epic", "note", "note", "draft"} {
		index.Put(uuid.New(), map[string]any{"content_type": contentType})
	}
	index.Put(uuid.New(), map[string]any{"text": "of no type"})
	whole := func(w bool) func(*syncd.CheckerAbilities) {
		return func(a *syncd.CheckerAbilities) {
			survey := a.Survey
			a.Survey = func(ctx context.Context, key string) (syncd.Survey, error) {
				s, err := survey(ctx, key)
				s.Whole = w
				return s, err
			}
		}
	}
	unmapped := []syncd.TextCount{{Text: "note", Points: 2}, {Text: "draft", Points: 1}}
	for name, c := range map[string]struct {
		rules []*mapping.Rule
		spoil func(*syncd.CheckerAbilities)
		seen  int64
		want  *audit.Rest
		all   int64
		err   string
	}{
		"counted": {m.Rules, whole(true), 3, &audit.Rest{Counted: true, Unmapped: unmapped, Others: 1}, 4, ""},
		"chosen": {chosen.Rules, whole(true), 2, &audit.Rest{
			Counted: true, Unmapped: unmapped, Unchosen: []syncd.TextCount{{Text: "epic", Points: 1}}, Others: 1,
		}, 5, ""},
		"not counted":         {m.Rules, whole(false), 3, &audit.Rest{Unmapped: unmapped, Others: 4}, 4, ""},
		"more seen than told": {m.Rules, whole(false), 9, &audit.Rest{Unmapped: unmapped}, 0, ""},
		"can't survey":        {m.Rules, func(a *syncd.CheckerAbilities) { a.Survey = nil }, 3, nil, 0, ""},
		"can't inspect":       {m.Rules, func(a *syncd.CheckerAbilities) { a.Inspect = nil }, 3, nil, 0, ""},
		"an error": {m.Rules, func(a *syncd.CheckerAbilities) {
			a.Survey = func(context.Context, string) (syncd.Survey, error) { return syncd.Survey{}, errors.New("boom") }
		}, 3, nil, 0, "looking at what else the index holds: boom"},
	} {
		got, err := audit.FindRest(t.Context(), surveyed{index, c.spoil}, c.rules, c.seen)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if got != nil && got.Points() != c.all {
			t.Errorf("%s: %d points", name, got.Points())
		}
	}
}
