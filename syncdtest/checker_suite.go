package syncdtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// CheckerHarness tells TestChecker how to reach a checker.
type CheckerHarness struct {
	// Open returns an open checker whose index exists and holds exactly the given points, even if there are none. The
	// suite closes the checker; what else Open started ends with t.Cleanup.
	Open func(t *testing.T, present []uuid.UUID) syncd.Checker

	// OpenPayload is Open for points that carry payload: strings, under names that are paths where they hold dots ("a.b"
	// is b in the object a). Nil skips the cases of the abilities Read and List.
	OpenPayload func(t *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker

	// Empty returns an open checker whose index does not exist yet. Nil skips the cases that need it.
	Empty func(t *testing.T) syncd.Checker

	// Unreachable returns an open checker whose server is gone by now. Nil skips the cases that need it.
	Unreachable func(t *testing.T) syncd.Checker

	// Except names cases that the checker can't pass, and why; they are skipped with that reason.
	Except map[string]string

	// Background names functions (as in a stack trace) of goroutines that a client library keeps for good.
	Background []string
}

// unreachableLimit is how long a checker may try to reach a server that is gone before it says so.
const unreachableLimit = 30 * time.Second

// TestChecker tests that a checker does what [syncd.Checker] says, one subtest per case.
func TestChecker(t *testing.T, h CheckerHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h CheckerHarness) cases() []testCase {
	cases := []testCase{
		{"all_present", h.allPresent},
		{"none_present", h.nonePresent},
		{"mixed_in_any_order", h.mixed},
		{"no_points", h.noPoints},
		{"many_sizes", h.manySizes},
		{"a_point_twice", h.pointTwice},
		{"old_verdicts_are_replaced", h.oldVerdicts},
		{"slices_belong_to_the_caller", h.slicesBelongToTheCaller},
		{"concurrent_use", h.concurrentUse},
		{"context_that_has_ended", h.contextThatHasEnded},
		{"cancel_during_a_check", h.cancelDuringCheck},
		{"index_that_does_not_exist", h.indexThatDoesNotExist},
		{"unreachable", h.unreachable},
		{"unreachable_until_a_deadline", h.unreachableUntilDeadline},
		{"inspect", h.inspect},
		{"abilities", h.abilities},
		{"close_unused", func(t *testing.T) { h.open(t, 1) }},
	}
	return slices.Concat(cases, h.readCases(), h.listCases(), h.surveyCases())
}

// point is the n-th of the points that the suite uses: a well-formed UUIDv5 whose bytes are spread over the whole range.
func point(n int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// points returns the points from..to-1.
func points(from, to int) []syncd.Point {
	out := make([]syncd.Point, to-from)
	for i := range out {
		out[i].ID = point(from + i)
	}
	return out
}

// index is an open checker whose index holds the points 0..present-1.
type index struct {
	syncd.Checker
	present map[uuid.UUID]bool
}

func (h CheckerHarness) open(t *testing.T, present int) *index {
	t.Helper()
	x := &index{present: map[uuid.UUID]bool{}}
	held := make([]uuid.UUID, present)
	for i := range held {
		held[i] = point(i)
		x.present[held[i]] = true
	}
	x.Checker = h.Open(t, held)
	closeLater(t, x.Checker)
	return x
}

// empty opens a checker whose index does not exist, and gone one whose server is gone.
func (h CheckerHarness) empty(t *testing.T) syncd.Checker { return openedBy(t, "Empty", h.Empty) }

func (h CheckerHarness) gone(t *testing.T) syncd.Checker {
	return openedBy(t, "Unreachable", h.Unreachable)
}

func openedBy(t *testing.T, name string, open func(*testing.T) syncd.Checker) syncd.Checker {
	t.Helper()
	if open == nil {
		t.Skip("the harness has no " + name)
	}
	c := open(t)
	closeLater(t, c)
	return c
}

// check asks for points and compares every verdict.
func (x *index) check(ctx context.Context, points []syncd.Point) error {
	verdicts := make([]syncd.Verdict, len(points))
	if err := x.Check(ctx, points, verdicts); err != nil {
		return fmt.Errorf("Check of %d points: %w", len(points), err)
	}
	return x.compare(points, verdicts)
}

func (x *index) compare(points []syncd.Point, verdicts []syncd.Verdict) error {
	for i, p := range points {
		want := syncd.Missing
		if x.present[p.ID] {
			want = syncd.Present
		}
		if verdicts[i] != want {
			return fmt.Errorf("Check of %d points: point %d, %v, is %v; want %v", len(points), i, p.ID, verdicts[i], want)
		}
	}
	return nil
}

func (h CheckerHarness) allPresent(t *testing.T) {
	must(t, h.open(t, 100).check(t.Context(), points(0, 100)))
}

func (h CheckerHarness) nonePresent(t *testing.T) {
	must(t, h.open(t, 0).check(t.Context(), points(0, 100)))
	must(t, h.open(t, 100).check(t.Context(), points(100, 200)))
}

func (h CheckerHarness) mixed(t *testing.T) {
	x := h.open(t, 50)
	asked := points(0, 100)
	must(t, x.check(t.Context(), asked))
	slices.Reverse(asked)
	must(t, x.check(t.Context(), asked))
	for i := range 50 { // one missing, one present, and so on
		asked[2*i].ID, asked[2*i+1].ID = point(50+i), point(i)
	}
	must(t, x.check(t.Context(), asked))
}

func (h CheckerHarness) noPoints(t *testing.T) {
	x := h.open(t, 1)
	must(t, x.check(t.Context(), nil))
	must(t, x.check(t.Context(), []syncd.Point{}))
}

func (h CheckerHarness) manySizes(t *testing.T) {
	x := h.open(t, 5000)
	for _, n := range []int{1, 2, 3, 99, 100, 101, 999, 1000, 1001, 1024, 4095, 4096, 4097, 9999, 10_000} {
		must(t, x.check(t.Context(), points(5000-n/2, 5000-n/2+n)))
	}
}

func (h CheckerHarness) pointTwice(t *testing.T) {
	x := h.open(t, 10)
	asked := slices.Concat(points(5, 15), points(5, 15), points(9, 10), points(9, 10), points(10, 11), points(10, 11))
	must(t, x.check(t.Context(), asked))
}

func (h CheckerHarness) oldVerdicts(t *testing.T) {
	x := h.open(t, 10)
	asked := points(0, 20)
	for _, old := range []syncd.Verdict{syncd.Present, syncd.Missing} {
		verdicts := slices.Repeat([]syncd.Verdict{old}, len(asked))
		must(t, x.Check(t.Context(), asked, verdicts))
		must(t, x.compare(asked, verdicts))
	}
}

func (h CheckerHarness) slicesBelongToTheCaller(t *testing.T) {
	x := h.open(t, 100)
	asked := points(0, 200)
	verdicts := make([]syncd.Verdict, len(asked))
	must(t, x.Check(t.Context(), asked, verdicts))
	if !slices.Equal(asked, points(0, 200)) {
		t.Error("Check has changed the points")
	}
	// With other contents in the same memory a checker that has kept the slices answers, or writes, something else.
	for range 3 {
		copy(asked, points(50, 250))
		clear(verdicts)
		must(t, x.Check(t.Context(), asked[:150], verdicts[:150]))
		must(t, x.compare(asked[:150], verdicts[:150]))
		if slices.ContainsFunc(verdicts[150:], func(v syncd.Verdict) bool { return v != syncd.Unknown }) {
			t.Error("Check has written beyond the verdicts that it was given")
		}
	}
}

func (h CheckerHarness) concurrentUse(t *testing.T) {
	x := h.open(t, 500)
	ctx := t.Context()
	together(t, 8, func(i int) error {
		for k := range 5 {
			if err := x.check(ctx, points(40*i+k, 40*i+k+400)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h CheckerHarness) contextThatHasEnded(t *testing.T) {
	x := h.open(t, 10)
	fails(t, "Check", func(ctx context.Context) error { return x.Check(ctx, points(0, 20), make([]syncd.Verdict, 20)) })
	must(t, x.check(t.Context(), points(0, 20)))
}

func (h CheckerHarness) cancelDuringCheck(t *testing.T) {
	x := h.open(t, 1000)
	asked := points(0, 10_000)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel() // sooner or later than the answer; both must be right
		inTime(t, patience, "Check, after its context ended,", func() error {
			verdicts := make([]syncd.Verdict, len(asked))
			if x.Check(ctx, asked, verdicts) != nil {
				return nil
			}
			return x.compare(asked, verdicts)
		})
		cancel()
	}
	must(t, x.check(t.Context(), points(0, 20)))
}

func (h CheckerHarness) indexThatDoesNotExist(t *testing.T) {
	x := &index{Checker: h.empty(t)}
	must(t, x.check(t.Context(), points(0, 100)))
	if inspect := x.Abilities().Inspect; inspect != nil {
		described, err := inspect(t.Context())
		if err != nil || described.Exists || described.Points != 0 || described.Name == "" {
			t.Errorf("Inspect = %+v, %v; want an index that does not exist, and its name", described, err)
		}
	}
}

func (h CheckerHarness) unreachable(t *testing.T) {
	c := h.gone(t)
	ctx := t.Context()
	inTime(t, unreachableLimit, "Check, whose server is gone,", func() error {
		return wantUnavailable("Check", c.Check(ctx, points(0, 10), make([]syncd.Verdict, 10)))
	})
	if inspect := c.Abilities().Inspect; inspect != nil {
		inTime(t, unreachableLimit, "Inspect, whose server is gone,", func() error {
			_, err := inspect(ctx)
			return wantUnavailable("Inspect", err)
		})
	}
}

func wantUnavailable(what string, err error) error {
	if errors.Is(err, syncd.ErrUnavailable) {
		return nil
	}
	return fmt.Errorf("the server is gone, and %s returned: %v; want an error that wraps ErrUnavailable", what, err)
}

func (h CheckerHarness) unreachableUntilDeadline(t *testing.T) {
	c := h.gone(t)
	const deadline = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	inTime(t, deadline+min(patience, 5*time.Second), "Check, whose server is gone and whose context has ended,", func() error {
		if c.Check(ctx, points(0, 10), make([]syncd.Verdict, 10)) == nil {
			return errors.New("the server is gone, and Check returned nil")
		}
		return nil
	})
}

func (h CheckerHarness) inspect(t *testing.T) {
	const n = 200
	x := h.open(t, n)
	inspect := x.Abilities().Inspect
	if inspect == nil {
		t.Skip("the checker can't describe its index")
	}
	described, err := inspect(t.Context())
	must(t, err)
	if !described.Exists || described.Name == "" {
		t.Errorf("Inspect = %+v; want an index that exists, and its name", described)
	}
	// Servers count approximately, but nobody may read "a few hundred" as none or as millions.
	if described.Points < n/2 || described.Points > 2*n {
		t.Errorf("Inspect counts %d points where there are %d", described.Points, n)
	}
}

// abilities are the same at any moment.
func (h CheckerHarness) abilities(t *testing.T) {
	x := h.open(t, 10)
	first := abilitiesOf(x.Abilities())
	must(t, sameAbilities(first, x.Abilities()))
	must(t, x.check(t.Context(), points(0, 20)))
	must(t, sameAbilities(first, x.Abilities()))
	together(t, 8, func(int) error { return sameAbilities(first, x.Abilities()) })
}
