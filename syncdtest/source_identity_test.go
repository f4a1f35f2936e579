package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
)

func TestMemoryIdentity(t *testing.T) {
	var last *MemorySource
	h := memoryHarness(1, func(s syncd.Source) syncd.Source {
		last = s.(*MemorySource)
		return FaultySource(s, SourceFaults{})
	})
	h.Drop = func(_ *testing.T, collection string) { last.Drop(collection) }
	runCases(t, h.identityCases(), nil, nil)

	s := NewMemorySource()
	s.Create("c")
	for _, want := range []string{"", "another"} {
		s.SetIdentity("c", want)
		if got, err := s.Identity(t.Context(), syncd.Collection{Name: "c"}); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// identityFunc is a source that is nothing but an identity.
type identityFunc struct {
	syncd.Source
	identify func() (string, error)
}

func (f identityFunc) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{Identity: func(context.Context, syncd.Collection) (string, error) { return f.identify() }}
}

// What the suite holds a source to must be able to fail.
func TestBrokenIdentities(t *testing.T) {
	n := 0
	as := func(identify func() (string, error)) *collection {
		return &collection{Source: identityFunc{identify: identify}}
	}
	counting := as(func() (string, error) { n++; return fmt.Sprint(n), nil })
	failing := as(func() (string, error) { return "", errors.New("no") })
	same := as(func() (string, error) { return "same", nil })
	for what, err := range map[string]error{
		"another each time":        counting.keepsIdentity(t.Context(), "0"),
		"an error":                 failing.keepsIdentity(t.Context(), ""),
		"the same for ever":        same.losesIdentity(t.Context(), "same"),
		"an error, made again":     failing.losesIdentity(t.Context(), ""),
		"of nothing":               same.hasNoIdentity(t.Context()),
		"another error of nothing": failing.hasNoIdentity(t.Context()),
	} {
		if err == nil {
			t.Errorf("%s: nothing was found wrong", what)
		}
	}
	if err := as(func() (string, error) { return "", nil }).losesIdentity(t.Context(), ""); err != nil {
		t.Errorf("a source that can't tell: %v", err)
	}
}
