package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
)

func (h SinkHarness) commitCases() []testCase {
	return []testCase{
		{"commit_marks", h.commitMarks},
		{"commit_changes_and_marks", h.commitChangesAndMarks},
		{"commit_fenced", h.commitFenced},
		{"commit_and_peek", h.commitAndPeek},
		{"commit_overlapping", h.commitOverlapping},
		{"commit_not_encodable", h.commitNotEncodable},
		{"commit_too_large", h.commitTooLarge},
		{"commit_whose_context_has_ended", h.commitContextHasEnded},
		{"commit_whose_context_ends", h.commitContextEnds},
	}
}

// ledgerUser is an outlet that commits.
type ledgerUser struct {
	*outlet
	syncd.SinkAbilities
	users *int // of the ledger, for the ids of their runs
}

// commit opens a sink, which the case is skipped without the ability of, and asks for the run's marks.
func (h SinkHarness) commit(t *testing.T) *ledgerUser {
	t.Helper()
	o := h.open(t)
	a := o.Abilities()
	if a.Commit == nil {
		t.Skip("the sink can't commit")
	}
	if h.OpenAgain == nil {
		t.Fatal("the sink can commit, and the harness has no OpenAgain")
	}
	u := &ledgerUser{o, a, new(int)}
	u.wantMarks(t, nil)
	return u
}

// again opens the sink of a later run. The marks are still to be asked for.
func (u *ledgerUser) again(t *testing.T) *ledgerUser {
	t.Helper()
	next := *u.outlet
	next.Sink = u.h.OpenAgain(t)
	closeLater(t, next.Sink)
	a := next.Abilities()
	if a.Commit == nil {
		t.Fatal("the sink can commit, and opened again it can't")
	}
	*u.users++
	next.prepare(t, fmt.Sprintf("%s/%d", u.name, *u.users))
	return &ledgerUser{&next, a, u.users}
}

// mark names a mark of this case alone.
func (u *ledgerUser) mark(name, value string) syncd.Mark {
	return syncd.Mark{Name: u.name + "/" + name, Value: []byte(value)}
}

// marks asks for the case's marks, without their common prefix. It is a user's first call.
func (u *ledgerUser) marks(t *testing.T, prefix string) map[string]string {
	t.Helper()
	var found map[string][]byte
	inTime(t, 3*patience, "Marks", func() (err error) {
		found, err = u.Marks(t.Context(), u.name+"/"+prefix)
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
	out := map[string]string{}
	for name, value := range found {
		short, ok := strings.CutPrefix(name, u.name+"/")
		if !ok {
			t.Errorf("Marks gives %q, which does not begin with %q", name, u.name+"/"+prefix)
		}
		if value == nil {
			t.Errorf("mark %q is nil, which would mean that it is forgotten", name)
		}
		out[short] = string(value)
	}
	return out
}

func (u *ledgerUser) wantMarks(t *testing.T, want map[string]string) {
	t.Helper()
	if got := u.marks(t, ""); !maps.Equal(want, got) {
		t.Errorf("marks (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// committed commits, which must succeed.
func (u *ledgerUser) committed(t *testing.T, changes []syncd.Change, marks ...syncd.Mark) {
	t.Helper()
	expected, before := u.expect(changes...), slices.Clone(changes)
	if err := u.Commit(t.Context(), changes, marks); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	mustBeUnchanged(t, before, changes)
	u.sent = append(u.sent, expected...)
}

func (h SinkHarness) commitMarks(t *testing.T) {
	u := h.commit(t)
	forgotten := u.mark("a/forgotten", "x")
	u.committed(t, nil) // of nothing
	u.committed(t, nil, u.mark("a/1", "one"), u.mark("a/2", "two"), u.mark("b/1", "three"), u.mark("a/empty", ""),
		u.mark("a/binary \x00\xff", "\x00\xff\n"), u.mark("a/twice", "old"), u.mark("a/twice", "new"), forgotten)
	u.committed(t, nil, u.mark("a/2", "changed"), u.mark("a/3", "other"))
	forgotten.Value = nil
	u.committed(t, nil, forgotten, syncd.Mark{Name: u.run + "/a/never", Value: nil})
	a := map[string]string{"a/1": "one", "a/2": "changed", "a/3": "other", "a/empty": "", "a/binary \x00\xff": "\x00\xff\n", "a/twice": "new"}
	next := u.again(t)
	if got := next.marks(t, "a/"); !maps.Equal(a, got) {
		t.Errorf("marks under a prefix (-want +got):\n%s", cmp.Diff(a, got))
	}
	a["b/1"] = "three"
	u.again(t).wantMarks(t, a)
}

func (h SinkHarness) commitChangesAndMarks(t *testing.T) {
	u := h.commit(t)
	want := map[string]string{}
	for i, n := range []int{1, 100, 0, 1000} {
		m := u.mark("progress", strconv.Itoa(i))
		u.committed(t, u.changes(10_000*i, 10_000*i+n), m)
		u.verify(t) // what is committed is there when Commit returns
		for k := range m.Value {
			m.Value[k] = '#' // the bytes are the caller's again
		}
		want["progress"] = strconv.Itoa(i)
	}
	next := u.again(t)
	next.wantMarks(t, want)
	next.sent = u.sent
	next.verify(t)
}

func (h SinkHarness) commitFenced(t *testing.T) {
	old := h.commit(t)
	old.committed(t, old.changes(0, 10), old.mark("progress", "old"))
	next := old.again(t)
	next.wantMarks(t, map[string]string{"progress": "old"})
	next.sent = old.sent
	for i := range 2 { // it stays shut out
		inTime(t, patience, "Commit of a run that is shut out", func() error {
			err := old.Commit(t.Context(), old.changes(100+10*i, 110+10*i), []syncd.Mark{old.mark("progress", "stale")})
			if !errors.Is(err, syncd.ErrFenced) {
				return fmt.Errorf("Commit of a run that is shut out: %w, want one that wraps ErrFenced", err)
			}
			return nil
		})
	}
	next.committed(t, next.changes(200, 210), next.mark("progress", "new"))
	last := next.again(t)
	last.wantMarks(t, map[string]string{"progress": "new"})
	last.sent = next.sent
	last.verify(t)
}

func (h SinkHarness) commitOverlapping(t *testing.T) {
	u := h.commit(t)
	const writers, batches, size = 8, 10, 20
	want := map[string]string{}
	for w := range writers {
		want[fmt.Sprintf("writer-%d", w)] = strconv.Itoa(batches - 1)
		for b := range batches {
			want[fmt.Sprintf("writer-%d/batch-%d", w, b)] = "done"
		}
	}
	ctx := t.Context()
	together(t, writers, func(w int) error {
		for b := range batches {
			from := (w*batches + b) * size
			err := u.Commit(ctx, u.changes(from, from+size), []syncd.Mark{
				u.mark(fmt.Sprintf("writer-%d", w), strconv.Itoa(b)), u.mark(fmt.Sprintf("writer-%d/batch-%d", w, b), "done"),
			})
			if err != nil {
				return fmt.Errorf("Commit: %w", err)
			}
		}
		return nil
	})
	u.sent = u.expect(u.changes(0, writers*batches*size)...)
	u.verify(t)
	u.again(t).wantMarks(t, want)
}

func (h SinkHarness) commitNotEncodable(t *testing.T) {
	h.commitRefused(t, syncd.ErrNotEncodable, func(_ *ledgerUser, c syncd.Change) syncd.Change {
		c.Document = &unwritable{c.Document}
		return c
	})
}

func (h SinkHarness) commitTooLarge(t *testing.T) {
	if h.TooLarge == 0 {
		t.Skip("the harness has no TooLarge")
	}
	h.commitRefused(t, syncd.ErrTooLarge, func(u *ledgerUser, c syncd.Change) syncd.Change {
		return u.padded(strings.TrimPrefix(c.ID, u.name+"/"), h.TooLarge)
	})
}

// commitRefused has overlapping calls, each with one change that is refused: each must hear of its own alone, nothing of it is
// committed, and the others can be committed again.
func (h SinkHarness) commitRefused(t *testing.T, want error, spoil func(*ledgerUser, syncd.Change) syncd.Change) {
	u := h.commit(t)
	const calls, size = 3, 3
	marks := map[string]string{}
	var mu sync.Mutex
	ctx := t.Context()
	together(t, calls, func(i int) error {
		changes := u.changes(10*i, 10*i+size)
		changes[i] = spoil(u, changes[i])
		name := fmt.Sprintf("call-%d", i)
		own, err := refusalOf(i, u.Commit(ctx, changes, []syncd.Mark{u.mark(name, "done")}))
		if err != nil {
			return err
		}
		if !errors.Is(own, want) {
			return fmt.Errorf("change %d is refused: %w; want an error that wraps: %w", i, own, want)
		}
		rest := slices.Delete(changes, i, i+1)
		expected := u.expect(rest...)
		if err := u.Commit(ctx, rest, []syncd.Mark{u.mark(name, "done")}); err != nil {
			return fmt.Errorf("committing what was not refused: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		marks[name] = "done"
		u.sent = append(u.sent, expected...)
		return nil
	})
	u.committed(t, u.changes(1000, 1001))
	u.verify(t)
	u.again(t).wantMarks(t, marks)
}

// commitAndPeek looks at marks from outside, which shuts out nobody.
func (h SinkHarness) commitAndPeek(t *testing.T) {
	u := h.commit(t)
	if u.PeekMarks == nil {
		t.Skip("the sink can't show marks to others")
	}
	look := func(want string) {
		t.Helper()
		other := u.again(t)
		inTime(t, 3*patience, "PeekMarks", func() error {
			found, err := other.PeekMarks(t.Context(), u.name+"/a/")
			if err != nil {
				return fmt.Errorf("PeekMarks: %w", err)
			}
			if len(found) != 1 || string(found[u.name+"/a/progress"]) != want {
				return fmt.Errorf("PeekMarks = %q; want one mark, a/progress, with the value %q", found, want)
			}
			return nil
		})
	}
	for i := range 3 {
		value := strconv.Itoa(i)
		u.committed(t, u.changes(10*i, 10*i+3), u.mark("a/progress", value), u.mark("b/other", value))
		look(value)
	}
	u.verify(t)
}

func (h SinkHarness) commitContextHasEnded(t *testing.T) {
	u := h.commit(t)
	fails(t, "Commit", func(ctx context.Context) error {
		return u.Commit(ctx, u.changes(0, 1), []syncd.Mark{u.mark("never", "x")})
	})
	next := u.again(t)
	next.wantMarks(t, nil)
	next.verify(t)
}

// commitContextEnds ends contexts at every moment at which a sink may look at one: whatever Commit returns, a later run finds
// the changes and the mark, or neither.
func (h SinkHarness) commitContextEnds(t *testing.T) {
	u := h.commit(t)
	want := map[string]string{}
	for looks := range 12 {
		ctx := newFragileContext(t, looks)
		name := fmt.Sprintf("mark-%02d", looks)
		var err error
		inTime(t, patience, "Commit, whose context ended,", func() error {
			err = u.Commit(ctx, u.changes(100*looks, 100*looks+20), []syncd.Mark{u.mark(name, "x")})
			return nil
		})
		if err == nil {
			want[name] = "x"
		}
		next := u.again(t)
		found := next.marks(t, "")
		if found[name] != "" && err != nil { // committed, and only the answer was lost
			want[name] = "x"
		}
		if !maps.Equal(want, found) {
			t.Fatalf("marks after Commit returned %v (-want +got):\n%s", err, cmp.Diff(want, found))
		}
		next.sent = u.sent
		if want[name] != "" {
			next.sent = append(next.sent, u.expect(u.changes(100*looks, 100*looks+20)...)...)
		}
		next.verify(t)
		u = next
	}
}

// fragileContext ends when it was looked at so many times, which needs no clock.
type fragileContext struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelFunc
	mu              sync.Mutex
	looks           int
}

func newFragileContext(t *testing.T, looks int) *fragileContext {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &fragileContext{Context: ctx, cancel: cancel, looks: looks}
}

func (c *fragileContext) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looks--; c.looks < 0 {
		c.cancel()
	}
}

func (c *fragileContext) Done() <-chan struct{} {
	c.look()
	return c.Context.Done()
}

func (c *fragileContext) Err() error {
	c.look()
	return c.Context.Err()
}
