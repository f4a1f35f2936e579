package audit_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func preflight(f *fixture.Sides, rules []*mapping.Rule) audit.Preflight {
	return audit.Preflight{Source: f.Source, Checker: f.Checker, Rules: rules, Workers: 4}
}

func TestDriftIsRecognised(t *testing.T) {
	drifted := fixture.Seeded(t, "{mongo_id}:{content_type}/{chunk_index}", "page", "page")
	f := fixture.Truth()
	p := preflight(f, drifted)
	_, err := p.Run(t.Context())
	var drift *audit.DriftError
	if !errors.As(err, &drift) || !drift.SameID {
		t.Fatal(err)
	}
	// It names both ids of one document.
	if drift.Held != fixture.PointID("page", drift.ID, 0) && !strings.Contains(err.Error(), drift.Held.String()) ||
		drift.Computed != uuid.NewSHA1(uuid.NameSpaceURL, []byte(drift.Seed)) || !strings.HasPrefix(drift.Seed, drift.ID+":page/") {
		t.Errorf("%+v", drift)
	}
	p.AllowDrift = true
	if held, err := p.Run(t.Context()); err != nil || !held[drifted[0]] {
		t.Errorf("with leave to drift: %v, %v", held, err)
	}
}

func TestNoDrift(t *testing.T) {
	rules := fixture.Versioned(t, "page", "epic")
	held, err := preflight(fixture.Truth(), rules).Run(t.Context())
	if err != nil || !held[rules[0]] || held[rules[1]] {
		t.Errorf("%v, %v", held, err)
	}
}

// TestDriftWithoutPayload recognises drift from the first documents where points do not say whose they are.
func TestDriftWithoutPayload(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 100, nil)
	for range 30 {
		f.Checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	}
	p := preflight(f, fixture.Rules(t, "page"))
	_, err := p.Run(t.Context())
	var drift *audit.DriftError
	if !errors.As(err, &drift) || drift.SameID || drift.Looked != 100 {
		t.Error(err)
	}
	// One document that is there is enough to go on.
	f.Checker.Put(fixture.PointID("page", "00007", 0), map[string]any{"content_type": "page"})
	if _, err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestANewCollectionOfAKnownContentTypeIsNoDrift: the index's points are another collection's.
func TestANewCollectionOfAKnownContentTypeIsNoDrift(t *testing.T) {
	f := fixture.New()
	for i := range 50 {
		id := fmt.Sprintf("%02d", i)
		f.Source.Insert("a", syncdtest.MemoryDoc{ID: id})
		f.Source.Insert("b", syncdtest.MemoryDoc{ID: id})
		f.Checker.Put(fixture.PointID("a", id, 0), map[string]any{"content_type": "doc", "mongo_id": id, "chunk_index": 0})
	}
	if _, err := preflight(f, fixture.Seeded(t, "{mongo_id}/{collection}/{chunk_index}", "doc", "a", "b")).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// sparse is a source whose reads begin with small batches, and whose collections can't be planned.
type sparse struct {
	*syncdtest.MemorySource
	t *testing.T
}

func (s sparse) Splits(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] {
	s.t.Error("the collection was planned for a look")
	return func(func(syncd.Split, error) bool) {}
}

func (s sparse) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	req.BatchSize = min(req.BatchSize, 3)
	return s.MemorySource.Read(ctx, req)
}

// TestTheFirstDocumentsAreTheCollections, wherever they are: it takes as many batches as it takes, and no plan.
func TestTheFirstDocumentsAreTheCollections(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 100, nil)
	for range 30 {
		f.Checker.Put(uuid.New(), map[string]any{"content_type": "page"})
	}
	p := preflight(f, fixture.Rules(t, "page"))
	p.Source = sparse{f.Source, t}
	_, err := p.Run(t.Context())
	var drift *audit.DriftError
	if !errors.As(err, &drift) || drift.Looked != 100 {
		t.Error(err)
	}
}

func TestMaxMissingRatio(t *testing.T) {
	f := fixture.New()
	rules := fixture.Versioned(t, "page")
	p := preflight(f, rules)
	p.MaxMissingRatio = 0.5
	for i := range 100 {
		id := fmt.Sprintf("%05d", i)
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: id})
		if i < 40 {
			f.Index("page", id, "", 1)
		}
	}
	var guard *tally.GuardError
	if _, err := p.Run(t.Context()); !errors.As(err, &guard) {
		t.Error(err)
	}
	for i := 40; i < 60; i++ {
		f.Index("page", fmt.Sprintf("%05d", i), "", 1)
	}
	if held, err := p.Run(t.Context()); err != nil || !held[rules[0]] {
		t.Errorf("below the limit: %v, %v", held, err)
	}
	// A collection of which nothing is indexed yet is new, not wrong.
	f.Checker.Drop()
	if held, err := p.Run(t.Context()); err != nil || held[rules[0]] {
		t.Errorf("an empty index: %v, %v", held, err)
	}
}

func TestRatioGuard(t *testing.T) {
	rules := fixture.Rules(t, "page", "epic")
	if audit.RatioGuard(0, nil) != nil {
		t.Error("a guard without a limit")
	}
	guard := audit.RatioGuard(0.5, map[*mapping.Rule]bool{rules[0]: true})
	for name, c := range map[string]struct {
		rule  *mapping.Rule
		n     tally.Counts
		stops bool
	}{
		"too many":          {rules[0], tally.Counts{Missing: 600, Present: 500}, true},
		"as many as may be": {rules[0], tally.Counts{Missing: 500, Present: 500}, false},
		"too soon to tell":  {rules[0], tally.Counts{Missing: 999}, false},
		"a new collection":  {rules[1], tally.Counts{Missing: 5000}, false},
		"stale ones":        {rules[0], tally.Counts{Stale: 5000}, false},
	} {
		err := guard(c.rule, c.n)
		var stopped *tally.GuardError
		if errors.As(err, &stopped) != c.stops || err != nil && !c.stops {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPreflightWithNothingToLookAt(t *testing.T) {
	f := fixture.Truth()
	drifted := fixture.Seeded(t, "{mongo_id}:{content_type}/{chunk_index}", "page", "page")
	p := preflight(f, drifted)
	for name, checker := range map[string]syncd.Checker{
		"no index": nil, "an index that can't be listed": fixture.CheckerFunc{Checker: f.Checker, Can: &syncd.CheckerAbilities{}},
	} {
		p.Checker = checker
		if held, err := p.Run(t.Context()); err != nil || len(held) != 0 {
			t.Errorf("%s: %v, %v", name, held, err)
		}
	}
}

func TestAPreflightThatCannotAskIsAnError(t *testing.T) {
	boom := errors.New("boom")
	first := syncdtest.Nth(1, syncdtest.Fault{Err: boom})
	for name, spoil := range map[string]func(p *audit.Preflight){
		"list": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{List: first})
		},
		"check": func(p *audit.Preflight) {
			p.Checker = syncdtest.FaultyChecker(p.Checker, syncdtest.CheckerFaults{Check: first})
		},
		"read": func(p *audit.Preflight) {
			p.Source = syncdtest.FaultySource(p.Source, syncdtest.SourceFaults{Read: first})
		},
	} {
		f := fixture.Truth()
		p := preflight(f, fixture.Versioned(t, "page"))
		p.MaxMissingRatio = 0.9
		spoil(&p)
		if _, err := p.Run(t.Context()); !errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMorePointsAreLookedAtWhereTheFirstDisagree: a few are enough only where one of them agrees.
func TestMorePointsAreLookedAtWhereTheFirstDisagree(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 100, nil)
	point := func(id uuid.UUID, document string) {
		f.Checker.Put(id, map[string]any{"content_type": "page", "mongo_id": document, "chunk_index": 0})
	}
	for i := range 20 { // the first in the order of ids
		point(uuid.UUID{6: 0x40, 8: 0x80, 15: byte(i + 1)}, fmt.Sprintf("%05d", i))
	}
	p := preflight(f, fixture.Rules(t, "page"))
	var drift *audit.DriftError
	if _, err := p.Run(t.Context()); !errors.As(err, &drift) || drift.Looked != 20 {
		t.Errorf("%v", err)
	}
	point(fixture.PointID("page", "00050", 0), "00050")
	if held, err := p.Run(t.Context()); err != nil || !held[p.Rules[0]] {
		t.Errorf("one agrees: %v, %v", held, err)
	}
}
