package fetch_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fetch"
	"github.com/syncd-io/syncd/syncdtest"
)

// changing is a source whose Fetch yields what change makes of it.
type changing struct {
	*syncdtest.MemorySource
	change func(found []syncd.Fetched) []syncd.Fetched
}

func (s changing) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		var found []syncd.Fetched
		for f, err := range s.MemorySource.Fetch(ctx, c, keys) {
			if err != nil {
				yield(f, err)
				return
			}
			found = append(found, f)
		}
		for _, f := range s.change(found) {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func keysOf(t *testing.T, s *syncdtest.MemorySource, ids ...string) []syncd.Key {
	t.Helper()
	keys, err := s.Find(t.Context(), syncd.Collection{Name: "page"}, ids)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestFetchIsNotTrusted: a source that breaks its word about what it fetched is an error; nothing is lost behind it.
func TestFetchIsNotTrusted(t *testing.T) {
	source := syncdtest.NewMemorySource()
	for _, id := range []string{"a", "b", "c"} {
		source.Insert("page", syncdtest.MemoryDoc{ID: id})
	}
	keys := keysOf(t, source, "a", "b", "c")
	for name, c := range map[string]struct {
		change func([]syncd.Fetched) []syncd.Fetched
		right  bool
	}{
		"one twice, another never": {change: func(f []syncd.Fetched) []syncd.Fetched { f[1] = f[0]; return f }},
		"beyond the keys":          {change: func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = 1000; return f }},
		"before the keys":          {change: func(f []syncd.Fetched) []syncd.Fetched { f[0].Index = -1; return f }},
		"no document":              {change: func(f []syncd.Fetched) []syncd.Fetched { f[0].Document = nil; return f }},
		"out of order":             {change: func(f []syncd.Fetched) []syncd.Fetched { slices.Reverse(f); return f }, right: true},
	} {
		var got []int
		var failed error
		for f, err := range fetch.Documents(t.Context(), changing{source, c.change}, syncd.Collection{Name: "page"}, keys) {
			if failed = err; err == nil {
				got = append(got, f.Index)
			}
		}
		if (failed == nil) != c.right || c.right && len(got) != 3 {
			t.Errorf("%s: %v, %v", name, got, failed)
		}
	}
}

// broken is a document with a field that can't be read.
type broken struct{ syncd.Document }

func (b broken) Lookup(path string) (syncd.Value, error) {
	if path == "bad" {
		return syncd.Value{}, errors.New("boom")
	}
	return b.Document.Lookup(path)
}

func TestChange(t *testing.T) {
	source := syncdtest.NewMemorySource()
	source.Insert("page", syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"x": 1, "y": "z"}})
	for f, err := range fetch.Documents(t.Context(), source, syncd.Collection{Name: "page"}, keysOf(t, source, "a")) {
		if err != nil {
			t.Fatal(err)
		}
		c := fetch.Change(f.Document, "a", []string{"y", "none", "x"})
		want := []syncd.Value{{Text: "z", Set: true}, {}, {Text: "1", Set: true}}
		if c.Err != nil || c.ID != "a" || c.Document == nil || !slices.Equal(c.Fields, want) {
			t.Errorf("%+v", c)
		}
		if c := fetch.Change(broken{f.Document}, "a", []string{"y", "bad"}); c.Err == nil {
			t.Errorf("%+v", c)
		}
	}
}
