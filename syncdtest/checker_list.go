package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

func (h CheckerHarness) listCases() []testCase {
	return []testCase{
		{"list", h.list},
		{"list_parts", h.listParts},
		{"list_parts_side_by_side", h.listSideBySide},
		{"list_match", h.listMatch},
		{"list_limit", h.listLimit},
		{"list_an_empty_index", h.listEmpty},
		{"list_an_index_that_does_not_exist", h.listNoIndex},
		{"list_and_stop_early", h.listStopEarly},
		{"list_when_the_context_has_ended", h.listContextEnded},
		{"cancel_during_a_listing", h.listCancel},
		{"list_unreachable", h.listUnreachable},
		{"sample", h.sample},
		{"sample_an_index_that_does_not_exist", h.sampleNoIndex},
		{"sample_when_the_context_has_ended", h.sampleContextEnded},
		{"sample_unreachable", h.sampleUnreachable},
	}
}

// listFunc is the ability List.
type listFunc = func(context.Context, syncd.ListRequest) iter.Seq2[[]syncd.Listed, error]

func (h CheckerHarness) lister(t *testing.T, n int) (*fullIndex, listFunc) {
	t.Helper()
	x := h.openPayload(t, n)
	l := x.Abilities().List
	if l == nil {
		t.Skip("the checker can't list points")
	}
	return x, l
}

// list reads a listing and checks each point: it is in the index, comes once, and carries what it should. each may be nil.
func (x *fullIndex) list(ctx context.Context, req syncd.ListRequest, each func() bool) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	seen := map[uuid.UUID]bool{}
	var wrong error
	check := func(p syncd.Listed) error {
		stored, ok := x.points[p.ID]
		switch want := x.values(p.ID, req.Keys); {
		case !ok:
			return fmt.Errorf("List: %v is not in the index", p.ID)
		case seen[p.ID]:
			return fmt.Errorf("List: %v came twice", p.ID)
		case !slices.Equal(p.Payload, want):
			return fmt.Errorf("List: %v has under %q the payload\n%+v; want\n%+v", p.ID, req.Keys, p.Payload, want)
		}
		for key, text := range req.Match {
			if got, ok := stored[key]; !ok || got != text {
				return fmt.Errorf("List: %v has under %q the text %q, which does not match %q", p.ID, key, got, text)
			}
		}
		seen[p.ID] = true
		return nil
	}
	err := read(x.Abilities().List(ctx, req), func(batch []syncd.Listed) bool {
		for _, p := range batch {
			if wrong = check(p); wrong != nil {
				return false
			}
			ids = append(ids, p.ID)
		}
		return each == nil || each()
	})
	if wrong != nil {
		return ids, wrong
	}
	if err != nil {
		return ids, fmt.Errorf("List: %w", err)
	}
	return ids, nil
}

// lists checks that the parts together have n points, each once.
func (x *fullIndex) lists(ctx context.Context, req syncd.ListRequest, n int) error {
	in := map[uuid.UUID]int{}
	for req.Part = range req.Parts {
		ids, err := x.list(ctx, req, nil)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if other, ok := in[id]; ok {
				return fmt.Errorf("List: %v is in part %d and in part %d of %d", id, other, req.Part, req.Parts)
			}
			in[id] = req.Part
		}
	}
	if len(in) != n {
		return fmt.Errorf("List, of %d parts and matching %q: %d points; want %d", req.Parts, req.Match, len(in), n)
	}
	return nil
}

func (h CheckerHarness) list(t *testing.T) {
	x, _ := h.lister(t, 1500)
	for _, keys := range [][]string{nil, {"version"}, payloadKeys()} {
		must(t, x.lists(t.Context(), syncd.ListRequest{Parts: 1, Keys: keys}, 1500))
	}
}

func (h CheckerHarness) listParts(t *testing.T) {
	x, _ := h.lister(t, 2500)
	for _, parts := range []int{1, 2, 7, 16} {
		must(t, x.lists(t.Context(), syncd.ListRequest{Parts: parts, Keys: []string{"version"}}, 2500))
	}
	few, _ := h.lister(t, 3) // so that most parts are empty
	must(t, few.lists(t.Context(), syncd.ListRequest{Parts: 16}, 3))
}

func (h CheckerHarness) listSideBySide(t *testing.T) {
	const parts = 7
	x, _ := h.lister(t, 2000)
	ctx := t.Context()
	var mu sync.Mutex
	var all []uuid.UUID
	together(t, parts, func(i int) error {
		ids, err := x.list(ctx, syncd.ListRequest{Part: i, Parts: parts, Keys: payloadKeys()}, nil)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, ids...)
		return err
	})
	if len(all) != len(x.points) {
		t.Errorf("List: the parts have %d points together; want %d", len(all), len(x.points))
	}
}

func (h CheckerHarness) listMatch(t *testing.T) {
	const n = 1200
	x, _ := h.lister(t, n)
	for _, match := range []map[string]string{
		{}, {"content_type": contentTypes[0]}, {"content_type": contentTypes[2]}, {"content_type": contentTypes[1], "even": "yes"},
		{"meta.owner": "owner 3"}, {"meta.deep.est": "77"}, {"empty": ""},
		{"content_type": "pag"}, {"content_type": "Page"}, {"content_type": ""}, {"absent": "x"}, {"meta": "x"}, {"meta.owner.absent": "x"},
	} {
		want := 0
		for i := range n {
			p := payload(i)
			all := true
			for key, text := range match {
				got, ok := p[key]
				all = all && ok && got == text
			}
			if all {
				want++
			}
		}
		for _, parts := range []int{1, 3} {
			must(t, x.lists(t.Context(), syncd.ListRequest{Parts: parts, Match: match, Keys: []string{"even"}}, want))
		}
	}
}

func (h CheckerHarness) listLimit(t *testing.T) {
	const n = 1200
	x, _ := h.lister(t, n)
	for _, match := range []map[string]string{nil, {"content_type": contentTypes[0]}} {
		have := n
		if match != nil {
			have = n / len(contentTypes)
		}
		for _, limit := range []int{1, 2, 99, 100, 101, have - 1, have, have + 1, 100_000} {
			must(t, x.lists(t.Context(), syncd.ListRequest{Parts: 1, Match: match, Limit: limit, Keys: []string{"version"}}, min(limit, have)))
		}
	}
	ids, err := x.list(t.Context(), syncd.ListRequest{Part: 1, Parts: 2, Limit: 10}, nil)
	must(t, err)
	if len(ids) != 10 {
		t.Errorf("List of a part: %d points where Limit is 10", len(ids))
	}
}

func (h CheckerHarness) listEmpty(t *testing.T) {
	x, _ := h.lister(t, 0)
	for _, req := range []syncd.ListRequest{{Parts: 1}, {Parts: 2, Limit: 5, Keys: payloadKeys()}, {Parts: 1, Match: map[string]string{"a": "b"}}} {
		must(t, x.lists(t.Context(), req, 0))
	}
}

func (h CheckerHarness) listNoIndex(t *testing.T) {
	x := &fullIndex{Checker: h.empty(t)}
	if x.Abilities().List == nil {
		t.Skip("the checker can't list points")
	}
	must(t, x.lists(t.Context(), syncd.ListRequest{Parts: 3, Keys: []string{"version"}, Match: map[string]string{"content_type": "page"}}, 0))
}

func (h CheckerHarness) listStopEarly(t *testing.T) {
	x, l := h.lister(t, 2500)
	ctx := t.Context()
	inTime(t, patience, "a listing that is no longer read", func() error {
		for range 3 {
			if _, err := x.list(ctx, syncd.ListRequest{Parts: 1}, func() bool { return false }); err != nil {
				return err
			}
			next, stop := iter.Pull2(l(ctx, syncd.ListRequest{Parts: 1}))
			if _, err, ok := next(); err != nil || !ok {
				return fmt.Errorf("List: %v, %v", err, ok)
			}
			stop()
			l(ctx, syncd.ListRequest{Parts: 1}) // never read at all
		}
		return nil
	})
	must(t, x.lists(t.Context(), syncd.ListRequest{Parts: 1}, 2500))
}

func (h CheckerHarness) listContextEnded(t *testing.T) {
	x, _ := h.lister(t, 500)
	ended(t, "List", func(ctx context.Context, want error) error {
		ids, err := x.list(ctx, syncd.ListRequest{Parts: 1}, nil)
		return noSilence("List", err, want, len(ids) == len(x.points))
	})
	must(t, x.lists(t.Context(), syncd.ListRequest{Parts: 1}, 500))
}

func (h CheckerHarness) listCancel(t *testing.T) {
	x, _ := h.lister(t, 2500)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inTime(t, patience, "List, after its context ended,", func() error {
		ids, err := x.list(ctx, syncd.ListRequest{Parts: 1}, func() bool {
			cancel()
			return true
		})
		return noSilence("List", err, context.Canceled, len(ids) == len(x.points))
	})
}

func (h CheckerHarness) listUnreachable(t *testing.T) {
	x := &fullIndex{Checker: h.gone(t)}
	if x.Abilities().List == nil {
		t.Skip("the checker can't list points")
	}
	ctx := t.Context()
	inTime(t, unreachableLimit, "List, whose server is gone,", func() error {
		ids, err := x.list(ctx, syncd.ListRequest{Parts: 1}, nil)
		if len(ids) > 0 {
			return errors.New("List: points came from a server that is gone")
		}
		return wantUnavailable("List", err)
	})
}

// sampleFunc is the ability Sample.
type sampleFunc = func(context.Context, []syncd.ListRequest) ([][]syncd.Listed, error)

func sampler(t *testing.T, c syncd.Checker) sampleFunc {
	t.Helper()
	s := c.Abilities().Sample
	if s == nil {
		t.Skip("the checker can't sample")
	}
	return s
}

// samples are requests for points of some content types, there or not: more than are asked for at once, of several sizes and keys.
func samples() []syncd.ListRequest {
	var reqs []syncd.ListRequest
	for i := range 100 {
		for _, text := range append(contentTypes, "none") {
			req := syncd.ListRequest{Match: map[string]string{"content_type": text}, Parts: 1, Limit: 1 + i}
			if i%2 == 0 {
				req.Keys = payloadKeys()[i%len(payloadKeys()):]
			}
			reqs = append(reqs, req)
		}
	}
	return reqs
}

func (h CheckerHarness) sample(t *testing.T) {
	x := h.openPayload(t, 150)
	sample := sampler(t, x)
	for _, reqs := range [][]syncd.ListRequest{nil, samples()[:1], samples()} {
		got, err := sample(t.Context(), reqs)
		if err != nil || len(got) != len(reqs) {
			t.Fatalf("Sample: %d answers to %d requests, %v", len(got), len(reqs), err)
		}
		for i, req := range reqs {
			have := 0
			for _, stored := range x.points {
				if stored["content_type"] == req.Match["content_type"] {
					have++
				}
			}
			seen := map[uuid.UUID]bool{}
			for _, p := range got[i] {
				stored, ok := x.points[p.ID]
				if want := x.values(p.ID, req.Keys); !ok || seen[p.ID] || stored["content_type"] != req.Match["content_type"] || !slices.Equal(p.Payload, want) {
					t.Errorf("Sample of %+v: %+v, want the payload %+v", req, p, want)
				}
				seen[p.ID] = true
			}
			if len(seen) != min(have, req.Limit) {
				t.Errorf("Sample of %+v: %d of %d points", req, len(seen), have)
			}
		}
	}
}

func (h CheckerHarness) sampleNoIndex(t *testing.T) {
	got, err := sampler(t, h.empty(t))(t.Context(), samples()[:5])
	if err != nil || len(got) != 5 || len(slices.Concat(got...)) != 0 {
		t.Errorf("Sample of no index: %+v, %v", got, err)
	}
}

func (h CheckerHarness) sampleContextEnded(t *testing.T) {
	sample := sampler(t, h.openPayload(t, 20))
	ended(t, "Sample", func(ctx context.Context, want error) error {
		_, err := sample(ctx, samples())
		return noSilence("Sample", err, want, false)
	})
}

func (h CheckerHarness) sampleUnreachable(t *testing.T) {
	sample := sampler(t, h.gone(t))
	inTime(t, unreachableLimit, "Sample, whose server is gone,", func() error {
		_, err := sample(t.Context(), samples()[:5])
		return wantUnavailable("Sample", err)
	})
}
