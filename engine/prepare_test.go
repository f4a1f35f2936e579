package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
)

// listed is a source whose list of collections is another one.
type listed struct {
	syncd.Source
	list func(context.Context) ([]string, error) // nil: it has none
}

func (l listed) Abilities() syncd.SourceAbilities {
	a := l.Source.Abilities()
	a.Collections = l.list
	return a
}

// TestPlacesAreMadeForWhatIsThere: a wrong database is to leave no topics behind.
func TestPlacesAreMadeForWhatIsThere(t *testing.T) {
	names := func(names ...string) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { return names, nil }
	}
	refused := func(context.Context) ([]string, error) { return nil, errors.New("not authorized to list") }
	for name, c := range map[string]struct {
		dropped bool
		list    func(context.Context) ([]string, error)
		ahead   bool
		want    int
	}{
		"there":                            {list: names("page"), want: 1},
		"not there":                        {dropped: true, list: names("other")},
		"not there, and followed":          {dropped: true, list: names("other"), ahead: true, want: 1},
		"there, and left out of the list":  {list: names("other"), want: 1},
		"not there, but nobody may look":   {dropped: true, list: refused, want: 1},
		"not there, but nobody could look": {dropped: true, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if c.dropped {
				f.source.Drop("page")
			}
			f.opts.Source, f.opts.Ahead = listed{f.source, c.list}, c.ahead
			if err := engine.New(f.opts).Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := f.sink.Prepared(); len(got) != c.want {
				t.Errorf("prepared for %v, want %d", got, c.want)
			}
		})
	}
}

// TestACollectionThatAppearsIsLeftToTheNextRun, since there may be no place for its events.
func TestACollectionThatAppearsIsLeftToTheNextRun(t *testing.T) {
	f := newFixture(t)
	f.source.Drop("page")
	e := engine.New(f.opts)
	if err := e.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.insert(3)
	if err := e.Backfill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := e.Report(); len(f.sink.Events()) > 0 || r.Collections[0].Found {
		t.Errorf("%d sent, %+v", len(f.sink.Events()), r.Collections[0])
	}
}
