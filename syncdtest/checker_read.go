package syncdtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

func (h CheckerHarness) readCases() []testCase {
	return []testCase{
		{"read", h.read},
		{"read_without_keys", h.readWithoutKeys},
		{"read_no_points", h.readNoPoints},
		{"read_a_point_twice", h.readPointTwice},
		{"read_many_sizes", h.readManySizes},
		{"read_into_used_places", h.readIntoUsedPlaces},
		{"read_concurrently", h.readConcurrently},
		{"read_when_the_context_has_ended", h.readContextEnded},
		{"read_an_index_that_does_not_exist", h.readNoIndex},
		{"read_unreachable", h.readUnreachable},
	}
}

// fullIndex is an open checker whose index holds points with payload.
type fullIndex struct {
	syncd.Checker
	points map[uuid.UUID]map[string]string
}

// openPayload opens a checker with the points 0..n-1.
func (h CheckerHarness) openPayload(t *testing.T, n int) *fullIndex {
	t.Helper()
	if h.OpenPayload == nil {
		t.Skip("the harness has no OpenPayload")
	}
	x := &fullIndex{points: make(map[uuid.UUID]map[string]string, n)}
	stored := make(map[uuid.UUID]map[string]string, n)
	for i := range n {
		x.points[point(i)], stored[point(i)] = payload(i), payload(i)
	}
	x.Checker = h.OpenPayload(t, stored)
	closeLater(t, x.Checker)
	return x
}

var contentTypes = []string{"page", "work_item", "žluť & \"漢字\""}

func payload(i int) map[string]string {
	p := map[string]string{
		"content_type":  contentTypes[i%len(contentTypes)],
		"version":       fmt.Sprintf("2024-01-02T03:04:05.%03dZ", i%1000),
		"empty":         "",
		"meta.owner":    fmt.Sprintf("owner %d", i%7),
		"meta.deep.est": strconv.Itoa(i),
	}
	if i%2 == 0 {
		p["even"] = "yes"
	}
	return p
}

// payloadKeys has keys that a point has, may have, and can't have.
func payloadKeys() []string {
	return []string{"even", "version", "absent", "meta.owner", "meta.absent", "meta.deep.est", "version.absent", "empty", "content_type"}
}

// values gives the payload of a point under each key.
func (x *fullIndex) values(id uuid.UUID, keys []string) []syncd.Value {
	out := make([]syncd.Value, len(keys))
	for i, k := range keys {
		out[i].Text, out[i].Set = x.points[id][k]
	}
	return out
}

// readFunc is the ability Read.
type readFunc = func(context.Context, []syncd.Point, []string, []syncd.Found) error

func (h CheckerHarness) reader(t *testing.T, n int) (*fullIndex, readFunc) {
	t.Helper()
	x := h.openPayload(t, n)
	r := x.Abilities().Read
	if r == nil {
		t.Skip("the checker can't read payload")
	}
	return x, r
}

// read reads points and compares all that was found.
func (x *fullIndex) read(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	if err := x.Abilities().Read(ctx, points, keys, found); err != nil {
		return fmt.Errorf("Read of %d points: %w", len(points), err)
	}
	for i, p := range points {
		_, present := x.points[p.ID]
		want := x.values(p.ID, keys)
		switch got := found[i]; {
		case got.Present != present:
			return fmt.Errorf("Read of %d points: point %d, %v, is present: %t; want %t", len(points), i, p.ID, got.Present, present)
		case !slices.Equal(got.Payload, want):
			return fmt.Errorf("Read of %d points: point %d, %v, has under %q the payload\n%+v; want\n%+v", len(points), i, p.ID, keys, got.Payload, want)
		}
	}
	return nil
}

func (h CheckerHarness) read(t *testing.T) {
	x, _ := h.reader(t, 100)
	asked := points(50, 150)
	keys := payloadKeys()
	for range keys {
		must(t, x.read(t.Context(), asked, keys, make([]syncd.Found, len(asked))))
		keys = append(keys[1:], keys[0])
		slices.Reverse(asked)
	}
	for _, k := range append(keys, "meta") {
		if k == "meta" {
			keys = []string{"meta.owner", "meta.deep.est", "meta.owner"} // the same key twice
		} else {
			keys = []string{k}
		}
		must(t, x.read(t.Context(), asked, keys, make([]syncd.Found, len(asked))))
	}
	must(t, (&index{Checker: x.Checker, present: x.presence()}).check(t.Context(), asked))
}

func (x *fullIndex) presence() map[uuid.UUID]bool {
	out := make(map[uuid.UUID]bool, len(x.points))
	for id := range x.points {
		out[id] = true
	}
	return out
}

func (h CheckerHarness) readWithoutKeys(t *testing.T) {
	x, _ := h.reader(t, 10)
	for _, keys := range [][]string{nil, {}} {
		must(t, x.read(t.Context(), points(0, 20), keys, make([]syncd.Found, 20)))
	}
}

func (h CheckerHarness) readNoPoints(t *testing.T) {
	x, _ := h.reader(t, 1)
	must(t, x.read(t.Context(), nil, payloadKeys(), nil))
	must(t, x.read(t.Context(), []syncd.Point{}, nil, []syncd.Found{}))
}

func (h CheckerHarness) readPointTwice(t *testing.T) {
	x, _ := h.reader(t, 10)
	asked := slices.Concat(points(5, 15), points(5, 15), points(9, 10), points(9, 10), points(10, 11), points(10, 11))
	found := make([]syncd.Found, len(asked))
	must(t, x.read(t.Context(), asked, payloadKeys(), found))
	// Each has memory of its own, or a caller that writes to one would write to the other.
	for i := range found {
		clear(found[i].Payload)
		for k, other := range found {
			if k > i && asked[k] == asked[i] && found[i].Present && !slices.Equal(other.Payload, x.values(asked[k].ID, payloadKeys())) {
				t.Fatalf("the payloads of %d and %d, the same point, share memory", i, k)
			}
		}
	}
}

func (h CheckerHarness) readManySizes(t *testing.T) {
	x, _ := h.reader(t, 5000)
	for _, n := range []int{1, 99, 100, 101, 999, 1000, 1001, 4096, 10_000} {
		must(t, x.read(t.Context(), points(5000-n/2, 5000-n/2+n), []string{"version", "even"}, make([]syncd.Found, n)))
	}
}

func (h CheckerHarness) readIntoUsedPlaces(t *testing.T) {
	x, _ := h.reader(t, 10)
	asked, keys := points(0, 20), []string{"even", "version", "absent"}
	found := make([]syncd.Found, len(asked))
	memory := map[int]*syncd.Value{}
	for i := range found { // as an earlier Read might have left them, and with more or less room
		found[i] = syncd.Found{Present: i >= 10, Payload: slices.Repeat([]syncd.Value{{Text: "old", Set: true}}, i%7)}
		if i%7 >= len(keys) {
			memory[i] = &found[i].Payload[0]
		}
	}
	must(t, x.read(t.Context(), asked, keys, found))
	for i, first := range memory {
		if &found[i].Payload[0] != first {
			t.Errorf("the payload of place %d had room for the keys and was not used again", i)
		}
	}
	must(t, x.read(t.Context(), points(10, 30), keys[:1], found))
	must(t, x.read(t.Context(), asked, append(keys, "meta.owner"), found))
	if !slices.Equal(asked, points(0, 20)) {
		t.Error("Read has changed the points")
	}
}

func (h CheckerHarness) readConcurrently(t *testing.T) {
	x, _ := h.reader(t, 500)
	ctx := t.Context()
	together(t, 8, func(i int) error {
		found := make([]syncd.Found, 400)
		keys := payloadKeys()[i%4:]
		for k := range 5 {
			if err := x.read(ctx, points(40*i+k, 40*i+k+400), keys, found); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h CheckerHarness) readContextEnded(t *testing.T) {
	x, r := h.reader(t, 10)
	fails(t, "Read", func(ctx context.Context) error {
		return r(ctx, points(0, 20), []string{"version"}, make([]syncd.Found, 20))
	})
	must(t, x.read(t.Context(), points(0, 20), []string{"version"}, make([]syncd.Found, 20)))
}

func (h CheckerHarness) readNoIndex(t *testing.T) {
	x := &fullIndex{Checker: h.empty(t)}
	if x.Abilities().Read == nil {
		t.Skip("the checker can't read payload")
	}
	must(t, x.read(t.Context(), points(0, 100), payloadKeys(), make([]syncd.Found, 100)))
}

func (h CheckerHarness) readUnreachable(t *testing.T) {
	c := h.gone(t)
	r := c.Abilities().Read
	if r == nil {
		t.Skip("the checker can't read payload")
	}
	ctx := t.Context()
	inTime(t, unreachableLimit, "Read, whose server is gone,", func() error {
		return wantUnavailable("Read", r(ctx, points(0, 10), []string{"version"}, make([]syncd.Found, 10)))
	})
}
