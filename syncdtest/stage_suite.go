package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
)

// StageHarness is what TestStage needs of a stage.
type StageHarness struct {
	// Open opens the stage; the suite closes it.
	Open func(t *testing.T) syncd.Stage
	// Change makes a change that the stage can handle, of another document for each number. A stage that completes what others made gets
	// it as they leave it, with chunks. Each call makes a new one, which shares nothing with others.
	Change func(n int) syncd.Change
	// Refused makes a change whose document the stage must make an error of; nil where there is none such.
	Refused func() syncd.Change
	// Except names cases that the stage can't pass, and why; they are skipped with that reason.
	Except map[string]string
	// Background names functions whose goroutines may outlive the stage, as those of a client library do.
	Background []string
}

// TestStage tests what every stage must keep to: it neither drops nor moves changes, leaves those alone that have no document or have
// failed, makes the same of the same document, keeps nothing of what it gave, lets one document fail alone, may be called concurrently,
// ends with its context, and makes vectors of just what is to have one.
func TestStage(t *testing.T, h StageHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h StageHarness) cases() []testCase {
	return []testCase{
		{"one_document", h.testOne},
		{"no_changes", h.testNone},
		{"changes_keep_their_places", h.testPlaces},
		{"others_are_left_alone", h.testOthers},
		{"equal_documents", h.testEqual},
		{"content_belongs_to_the_change", h.testOwned},
		{"one_document_fails_alone", h.testRefused},
		{"concurrent_calls", h.testConcurrent},
		{"context_that_has_ended", h.testContext},
		{"abilities", h.testAbilities},
		{"vectors", h.testVectors},
		{"probe", h.testProbe},
	}
}

func (h StageHarness) open(t *testing.T) syncd.Stage {
	t.Helper()
	s := h.Open(t)
	closeLater(t, s)
	return s
}

func (h StageHarness) some(n int) []syncd.Change {
	changes := make([]syncd.Change, n)
	for i := range changes {
		changes[i] = h.Change(i)
	}
	return changes
}

// apply calls the stage, and fails the test where it fails or takes too long.
func (h StageHarness) apply(t *testing.T, s syncd.Stage, changes []syncd.Change) {
	t.Helper()
	inTime(t, patience, "Apply", func() error {
		if err := s.Apply(t.Context(), changes); err != nil {
			return fmt.Errorf("Apply: %w", err)
		}
		return nil
	})
}

func (h StageHarness) testOne(t *testing.T) {
	changes := h.some(1)
	h.apply(t, h.open(t), changes)
	c := changes[0]
	if c.Err != nil {
		t.Fatalf("the document's error is %v", c.Err)
	}
	if c.Content == nil {
		return // it makes no chunks
	}
	if len(c.Content.Chunks) == 0 {
		t.Error("a document has no chunk, not even one without text")
	}
	for k, chunk := range c.Content.Chunks {
		if !utf8.ValidString(chunk.Text) {
			t.Errorf("chunk %d is no UTF-8: %q", k, chunk.Text)
		}
	}
}

func (h StageHarness) testNone(t *testing.T) {
	s := h.open(t)
	h.apply(t, s, nil)
	h.apply(t, s, []syncd.Change{})
}

func (h StageHarness) testPlaces(t *testing.T) {
	changes := h.some(9)
	before := slices.Clone(changes)
	h.apply(t, h.open(t), changes)
	for i := range changes {
		a, b := before[i], changes[i]
		if a.ID != b.ID || a.PointID != b.PointID || a.Operation != b.Operation || a.Target != b.Target || a.Key != b.Key {
			t.Errorf("change %d was of document %q and is of %q, or is another operation, point or target", i, a.ID, b.ID)
		}
	}
}

func (h StageHarness) testOthers(t *testing.T) {
	failed := errors.New("it failed before")
	changes := h.some(4)
	changes[1].Operation, changes[1].Document, changes[1].Content = syncd.Delete, nil, nil
	changes[2].Err, changes[2].Content = failed, nil
	h.apply(t, h.open(t), changes)
	if changes[1].Content != nil || changes[1].Err != nil || changes[1].Document != nil {
		t.Errorf("a delete became %+v", changes[1])
	}
	if !errors.Is(changes[2].Err, failed) || changes[2].Content != nil {
		t.Errorf("a change that had failed with %v has the error %v and the content %s", failed, changes[2].Err, shownContent(changes[2].Content))
	}
	if changes[0].Err != nil || changes[3].Err != nil {
		t.Errorf("the documents beside them: %v, %v", changes[0].Err, changes[3].Err)
	}
}

func (h StageHarness) testEqual(t *testing.T) {
	first, second := h.some(5), h.some(5)
	slices.Reverse(second)
	h.apply(t, h.open(t), first)
	h.apply(t, h.open(t), second)
	slices.Reverse(second)
	for i := range first {
		if a, b := shownContent(first[i].Content), shownContent(second[i].Content); a != b {
			t.Errorf("one document became\n%s and\n%s", a, b)
		}
	}
}

func (h StageHarness) testOwned(t *testing.T) {
	s := h.open(t)
	first := h.some(3)
	kept := slices.Clone(first) // the slice is the caller's again after the call
	h.apply(t, s, first)
	copy(kept, first)
	var before []string
	for _, c := range kept {
		before = append(before, shownContent(c.Content))
	}
	clear(first)
	h.apply(t, s, []syncd.Change{h.Change(7), h.Change(8), h.Change(9)})
	for i, c := range kept {
		if now := shownContent(c.Content); now != before[i] {
			t.Errorf("a later call changed the content of document %d from\n%s to\n%s", i, before[i], now)
		}
	}
}

func (h StageHarness) testRefused(t *testing.T) {
	if h.Refused == nil {
		t.Skip("the harness knows no document that it refuses")
	}
	changes := h.some(5)
	alone := shownContent(applied(t, h, changes[3]).Content)
	changes = h.some(5)
	changes[2] = h.Refused()
	h.apply(t, h.open(t), changes)
	for i, c := range changes {
		if (c.Err != nil) != (i == 2) {
			t.Errorf("of the documents the third is refused; the error of document %d is %v", i, c.Err)
		}
	}
	if got := shownContent(changes[3].Content); got != alone {
		t.Errorf("beside a document that is refused, another became\n%s and alone\n%s", got, alone)
	}
}

// applied is what the stage makes of one change.
func applied(t *testing.T, h StageHarness, c syncd.Change) syncd.Change {
	t.Helper()
	changes := []syncd.Change{c}
	h.apply(t, h.open(t), changes)
	return changes[0]
}

func (h StageHarness) testConcurrent(t *testing.T) {
	s := h.open(t)
	const calls = 8
	want := make([]string, calls)
	for i := range want {
		want[i] = shownContent(applied(t, h, h.Change(i)).Content)
	}
	together(t, calls, func(i int) error {
		for range 5 {
			changes := []syncd.Change{h.Change(i), h.Change((i + 1) % calls)}
			if err := s.Apply(t.Context(), changes); err != nil {
				return fmt.Errorf("Apply: %w", err)
			}
			for k, c := range changes {
				if got := shownContent(c.Content); c.Err != nil || got != want[(i+k)%calls] {
					return fmt.Errorf("a document became\n%s (%w) beside other calls, and alone\n%s", got, c.Err, want[(i+k)%calls])
				}
			}
		}
		return nil
	})
}

func (h StageHarness) testContext(t *testing.T) {
	s := h.open(t)
	ended(t, "Apply", func(ctx context.Context, want error) error {
		changes := h.some(3)
		if err := s.Apply(ctx, changes); err != nil && !errors.Is(err, want) {
			return fmt.Errorf("the context had ended with %w, and Apply with %w", want, err)
		}
		for i := range changes {
			if changes[i].Err != nil {
				return fmt.Errorf("the end of a context is nobody's fault, and document %d has the error %w", i, changes[i].Err)
			}
		}
		return nil
	})
}

func (h StageHarness) testAbilities(t *testing.T) {
	s := h.open(t)
	before, fingerprint := abilitiesOf(s.Abilities()), s.Abilities().Fingerprint
	h.apply(t, s, h.some(3))
	if err := sameAbilities(before, s.Abilities()); err != nil {
		t.Error(err)
	}
	if now := s.Abilities().Fingerprint; now != fingerprint {
		t.Errorf("the fingerprint was %q and is %q", fingerprint, now)
	}
	if other := h.open(t).Abilities().Fingerprint; other != fingerprint {
		t.Errorf("with the same settings the fingerprint is %q and %q: every document would be embedded again", fingerprint, other)
	}
	if v := s.Abilities().Vectors; v != nil && (v.Model == "" || v.Dimensions == nil || v.Embed == nil || v.Usage == nil) {
		t.Errorf("it makes vectors, but something lacks of %+v", v)
	}
}

func (h StageHarness) testVectors(t *testing.T) {
	s := h.open(t)
	v := s.Abilities().Vectors
	if v == nil {
		t.Skip("it makes no vectors")
	}
	size, err := v.Dimensions(t.Context())
	must(t, err)
	used := v.Usage()
	changes := h.some(4)
	if len(changes[1].Content.Chunks) == 0 || len(changes[2].Content.Chunks) == 0 {
		t.Fatal("the harness makes changes without chunks")
	}
	held := []float32{4, 5}
	changes[1].Content.Chunks[0].Kept, changes[1].Content.Chunks[0].Vector = true, held
	changes[2].Content.Chunks[0].Text = ""
	h.apply(t, s, changes)
	made := int64(0)
	for i := range changes {
		for k, chunk := range changes[i].Content.Chunks {
			switch {
			case chunk.Kept:
				if !slices.Equal(chunk.Vector, held) {
					t.Errorf("a chunk that the index holds has the vector %v", chunk.Vector)
				}
			case chunk.Text == "":
				if chunk.Vector != nil {
					t.Errorf("a chunk without text has the vector %v", chunk.Vector)
				}
			case len(chunk.Vector) != size:
				t.Errorf("chunk %d of document %d has a vector of %d numbers, and Dimensions says %d", k, i, len(chunk.Vector), size)
			default:
				made++
			}
		}
	}
	if n := v.Usage().Texts - used.Texts; n < 1 || n > made {
		t.Errorf("%d vectors were made, and Usage counts %d texts", made, n)
	}
	question, err := v.Embed(t.Context(), "a question")
	must(t, err)
	if len(question) != size {
		t.Errorf("a question has a vector of %d numbers, and Dimensions says %d", len(question), size)
	}
}

func (h StageHarness) testProbe(t *testing.T) {
	probe := h.open(t).Abilities().Probe
	if probe == nil {
		t.Skip("it has no Probe")
	}
	TestProber(t, probe, nil)
}

func shownContent(c *syncd.Content) string {
	if c == nil {
		return "nothing"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%q %q", c.Title, c.Prefix)
	for _, k := range c.Chunks {
		fmt.Fprintf(&out, " %q %v", k.Text, k.Vector)
	}
	return out.String()
}
