package audit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
)

// dated is an index of n documents of collection page, whose versions held makes of the document's time.
func dated(n int, held func(i int, at time.Time) any) *fixture.Sides {
	f := fixture.New()
	for i := range n {
		id := fmt.Sprintf("%05d", i)
		at := time.Date(2024, 5, 6, 7, i%60, 13*i%60, 1e6*(i%1000), time.UTC)
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": at.Format("2006-01-02T15:04:05.000Z")}})
		payload := map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0}
		if v := held(i, at); v != nil {
			payload["updatedAt"] = v
		}
		f.Checker.Put(fixture.PointID("page", id, 0), payload)
	}
	return f
}

func TestVersionsOfAnotherFormAreDrift(t *testing.T) {
	for name, c := range map[string]struct {
		held func(i int, at time.Time) any
		want []string
	}{
		"a revision": {func(i int, _ time.Time) any { return 1 + i%5 }, []string{"a date and time, ", "under updatedAt a number, "}},
		"a day":      {func(_ int, at time.Time) any { return at.Format("2006-01-02") }, []string{`a date without a time, "2024-05-06"`}},
		"a minute":   {func(_ int, at time.Time) any { return at.Format("2006-01-02T15:04") }, []string{"without seconds"}},
		"a hash": {func(i int, _ time.Time) any {
			return strings.ReplaceAll(fixture.PointID("x", fmt.Sprint(i), 0).String(), "-", "")
		}, []string{"32 hexadecimal digits"}},
		"a word":                {func(i int, _ time.Time) any { return fmt.Sprintf("v%d", i) }, []string{`a text, "v0"`}},
		"a switch":              {func(int, time.Time) any { return true }, []string{`a switch, "true"`}},
		"local time":            {func(_ int, at time.Time) any { return at.Add(2 * time.Hour).Format("2006-01-02T15:04:05.000000") }, []string{"another time zone"}},
		"local time in seconds": {func(_ int, at time.Time) any { return at.Add(-5 * time.Hour).Unix() }, []string{"another time zone"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := dated(300, c.held)
			p := preflight(f, fixture.Versioned(t, "page"))
			_, err := p.Run(t.Context())
			var drift *audit.VersionDriftError
			if !errors.As(err, &drift) || drift.Looked != 200 {
				t.Fatal(err)
			}
			for _, want := range append(c.want, drift.ID, drift.Document, drift.Held) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
			p.AllowDrift = true
			if _, err := p.Run(t.Context()); err != nil {
				t.Errorf("with leave to drift: %v", err)
			}
		})
	}
}

// TestStaleVersionsAreNoDrift: these are work, however much of it there is.
func TestStaleVersionsAreNoDrift(t *testing.T) {
	for name, held := range map[string]func(i int, at time.Time) any{
		"equal in seconds":     func(_ int, at time.Time) any { return at.Unix() },
		"equal without a zone": func(_ int, at time.Time) any { return at.Format("2006-01-02T15:04:05.000") },
		"all older": func(i int, at time.Time) any {
			return at.Add(-time.Duration(i+1) * 1234 * time.Second).Format(time.RFC3339)
		},
		"all older, in seconds": func(i int, at time.Time) any { return at.Add(-time.Duration(i+1) * 1234 * time.Second).Unix() },
		"all older, days only":  func(_ int, at time.Time) any { return at.AddDate(0, -1, 0).Format("2006-01-02") },
		"all newer": func(i int, at time.Time) any {
			return at.Add(time.Duration(i+1) * 77 * time.Second).Format(time.RFC3339Nano)
		},
		"all changed in one go":      func(int, time.Time) any { return "2024-05-06T05:00:00Z" },
		"an indexer before versions": func(int, time.Time) any { return nil },
		"an indexer of another form": func(i int, at time.Time) any {
			return map[bool]any{true: at.Format(time.RFC3339Nano), false: i}[i > 250]
		},
		"half of them counters":      func(i int, at time.Time) any { return map[bool]any{true: at.Unix(), false: i}[i%2 == 0] },
		"few of them with a version": func(i int, _ time.Time) any { return map[bool]any{true: i}[i < 19] },
		"all a day older":            func(_ int, at time.Time) any { return at.AddDate(0, 0, -1).Format(time.RFC3339) },
		"as Go's String writes it":   func(_ int, at time.Time) any { return at.String() },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := preflight(dated(300, held), fixture.Versioned(t, "page")).Run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	// A batch job gave all documents one time, and gives them another an hour later.
	f := fixture.New()
	for i := range 100 {
		id := fmt.Sprintf("%05d", i)
		f.Source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": "2024-05-06T08:10:00.000Z"}})
		f.Checker.Put(fixture.PointID("page", id, 0), map[string]any{"content_type": "page", "mongo_id": id, "updatedAt": "2024-05-06T07:10:00Z"})
	}
	if _, err := preflight(f, fixture.Versioned(t, "page")).Run(t.Context()); err != nil {
		t.Errorf("all changed at once: %v", err)
	}
	// Points of another tool under the same content type are in the way of nothing.
	f = dated(100, func(_ int, at time.Time) any { return at.Unix() })
	for i := range 100 {
		f.Checker.Put(fixture.PointID("other", fmt.Sprint(i), 0), map[string]any{"content_type": "page", "updatedAt": i})
	}
	if _, err := preflight(f, fixture.Versioned(t, "page", "epic")).Run(t.Context()); err != nil {
		t.Errorf("a shared index: %v", err)
	}
}

// TestVersionFormsOfNewer: by the policy newer a date may be older than any word, and the document would never be sent.
func TestVersionFormsOfNewer(t *testing.T) {
	c := mapping.Defaults()
	c.Version = &mapping.Version{Field: []string{"updatedAt"}, Payload: "updatedAt", Policy: mapping.Newer}
	c.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
	f := dated(100, func(i int, _ time.Time) any { return fmt.Sprintf("v%d", i) })
	_, err := preflight(f, fixture.Compile(t, c)).Run(t.Context())
	var drift *audit.VersionDriftError
	if !errors.As(err, &drift) {
		t.Error(err)
	}
	// Without the ability to read payload nothing is compared.
	p := preflight(f, fixture.Compile(t, c))
	able := f.Checker.Abilities()
	able.Read = nil
	p.Checker = fixture.CheckerFunc{Checker: f.Checker, Can: &able}
	if _, err := p.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
