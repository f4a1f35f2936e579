package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

// vectorSink is a sink of vectors: it keeps what it is given, and says what the index holds.
type vectorSink struct {
	*syncdtest.MemorySink
	held  func(c *syncd.Change) error
	wrote func(c *syncd.Change) // is called with each that is written

	mu      sync.Mutex
	asked   []string
	written []syncd.Change
	left    map[string][]uuid.UUID // by document
}

func (s *vectorSink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Held: func(_ context.Context, changes []syncd.Change) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range changes {
			s.asked = append(s.asked, changes[i].ID)
			if s.held != nil {
				if err := s.held(&changes[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}}
}

func (s *vectorSink) Write(ctx context.Context, changes []syncd.Change) error {
	s.mu.Lock()
	s.written = append(s.written, changes...)
	for i := range changes { // the engine lets go of what is written
		if s.left == nil {
			s.left = map[string][]uuid.UUID{}
		}
		s.left[changes[i].ID] = changes[i].Content.Left
		if s.wrote != nil {
			s.wrote(&changes[i])
		}
	}
	s.mu.Unlock()
	return s.MemorySink.Write(ctx, changes)
}

// chunks is a stage that makes so many chunks of a document.
func chunks(n int) *syncdtest.MemoryStage {
	return &syncdtest.MemoryStage{
		Can: syncd.StageAbilities{Fingerprint: "chunks"},
		Each: func(c *syncd.Change) error {
			c.Content = &syncd.Content{Prefix: "T"}
			for k := range n {
				c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{Text: fmt.Sprint("text ", k)})
			}
			return nil
		},
	}
}

// vectors is a stage that makes vectors of what the index does not hold.
func vectors(model string, embedded func(c *syncd.Change)) *syncdtest.MemoryStage {
	return &syncdtest.MemoryStage{
		Can: syncd.StageAbilities{Fingerprint: model, Vectors: &syncd.Vectors{Model: model}},
		Each: func(c *syncd.Change) error {
			if embedded != nil {
				embedded(c)
			}
			return nil
		},
	}
}

func TestChangesGoThroughStages(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		f := newFixture(t)
		f.insert(25)
		sink := &vectorSink{MemorySink: f.sink}
		f.opts.Sink, f.opts.Checker = sink, nil
		if exactly {
			f.opts.Sink = sink.MemorySink
			f.commit(t)
		}
		var mu sync.Mutex
		hashes := map[string]bool{}
		f.opts.Stages = []syncd.Stage{chunks(3), vectors("m", func(c *syncd.Change) {
			mu.Lock()
			defer mu.Unlock()
			for k, chunk := range c.Content.Chunks {
				want := uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/%d", c.ID, k))
				if chunk.PointID != want || chunk.Hash == "" || c.Content.Model != "m" {
					t.Errorf("chunk %d of %s comes to be embedded as %+v", k, c.ID, chunk)
				}
				hashes[chunk.Hash] = true
			}
		})}
		e := engine.New(f.opts)
		if err := e.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := e.Report().Total; n.Acked != 25 || len(hashes) != 3 { // equal texts have equal hashes
			t.Errorf("exactly once %t: %+v, %d hashes", exactly, n, len(hashes))
		}
		if n := e.Held(); n != 0 {
			t.Errorf("%d bytes are held for ever", n)
		}
	}
}

// TestTheIndexIsAskedOnlyWhereItMayHoldSomething: what was missing a moment ago is not asked about again.
func TestTheIndexIsAskedOnlyWhereItMayHoldSomething(t *testing.T) {
	f := newFixture(t)
	f.insert(4)
	sink := &vectorSink{MemorySink: f.sink}
	f.opts.Sink, f.opts.Stages = sink, []syncd.Stage{chunks(1), vectors("m", nil)}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(sink.asked) != 0 || len(sink.written) != 4 {
		t.Errorf("asked about %v, wrote %d", sink.asked, len(sink.written))
	}
}

// TestLeftOverChunksAndDeletes: the ids of what a longer version left are made by the rule, and a delete has those of all chunks.
func TestLeftOverChunksAndDeletes(t *testing.T) {
	f := newFixture(t)
	f.insert(1)
	sink := &vectorSink{MemorySink: f.sink, held: func(c *syncd.Change) error {
		c.Content.Held, c.Content.Further = 4, nil
		return nil
	}}
	f.opts.Sink, f.opts.Checker, f.opts.Stages = sink, nil, []syncd.Stage{chunks(2), vectors("m", nil)}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	orphans, _ := f.orphans(t, 1)
	if err := e.Delete(t.Context(), orphans); err != nil {
		t.Fatal(err)
	}
	if len(sink.asked) != 4 || len(sink.written) != 2 { // each once more, about what may be behind
		t.Fatalf("asked about %v, wrote %d", sink.asked, len(sink.written))
	}
	left := func(id string, from, to int) (ids []uuid.UUID) {
		for k := from; k < to; k++ {
			ids = append(ids, uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/%d", id, k)))
		}
		return ids
	}
	for id, from := range map[string]int{"00000": 2, "gone-000": 1} {
		if got, want := fmt.Sprint(sink.left[id]), fmt.Sprint(left(id, from, 4)); got != want {
			t.Errorf("%s leaves %s, want %s", id, got, want)
		}
	}
}

// TestPointsAreThoseOfTheirOwnDocument: a document that fails on its way moves those behind it up. What a sink then asks of one must not be
// answered for another: it deletes the points that it is told.
func TestPointsAreThoseOfTheirOwnDocument(t *testing.T) {
	f := newFixture(t)
	f.insert(5)
	asked := 0
	sink := &vectorSink{MemorySink: f.sink, wrote: func(c *syncd.Change) {
		asked++
		if got, err := c.Content.Point(3); err != nil || got != uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/3", c.ID)) {
			t.Errorf("chunk 3 of %s has the id %v, %v", c.ID, got, err)
		}
	}}
	embeds := vectors("m", nil)
	embeds.Each = func(c *syncd.Change) error {
		if c.ID == "00000" || c.ID == "00002" {
			return errors.New("no vector")
		}
		return nil
	}
	f.opts.Sink, f.opts.Checker, f.opts.Stages = sink, nil, []syncd.Stage{chunks(2), embeds}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	if asked != 3 {
		t.Errorf("%d documents were written", asked)
	}
}

// TestAllThatIsLeftOverIsFound: what a process left that was killed before it had deleted the chunks of a longer version, and of the one
// before that, of which chunk 0 says nothing.
func TestAllThatIsLeftOverIsFound(t *testing.T) {
	for _, c := range []struct {
		name       string
		says, have int // chunks
		chunks     int // of the new version
		want       int // the chunks behind it that are deleted
		asks       int
	}{
		{"nothing", 0, 0, 2, 0, 1},
		{"as many", 2, 2, 2, 0, 1},
		{"fewer", 1, 1, 2, 0, 1},
		{"a longer version", 5, 5, 2, 3, 2},
		{"more than chunk 0 says", 2, 7, 2, 5, 2},
		{"more than chunk 0 says, and that is more than it has now", 4, 7, 2, 5, 2},
		{"more than chunk 0 says, and that is less than it has now", 1, 7, 3, 4, 2},
		{"one more", 2, 3, 2, 1, 2},
		{"a hundred", 2, 102, 2, 100, 4},
		{"exactly those of a question", 2, 3 + 16, 2, 17, 3},
		{"a chunk 0 that is gone", 0, 7, 2, 5, 2},
		{"a chunk 0 that says too much", 9, 3, 2, 7, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.insert(1)
			there := map[uuid.UUID]bool{}
			for k := range c.have {
				there[uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "00000/page/%d", k))] = true
			}
			sink := &vectorSink{MemorySink: f.sink, held: func(change *syncd.Change) error {
				change.Content.Held = c.says
				change.Content.Further = slices.DeleteFunc(change.Content.Further, func(id uuid.UUID) bool { return !there[id] })
				return nil
			}}
			f.opts.Sink, f.opts.Checker, f.opts.Stages = sink, nil, []syncd.Stage{chunks(c.chunks), vectors("m", nil)}
			e := engine.New(f.opts)
			if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
				t.Fatal(err)
			}
			var want []uuid.UUID
			for k := range c.want {
				want = append(want, uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "00000/page/%d", c.chunks+k)))
			}
			if got := sink.left["00000"]; !slices.Equal(got, want) {
				t.Errorf("%d are left over, want %d: %v", len(got), len(want), got)
			}
			if len(sink.asked) != c.asks {
				t.Errorf("%d questions, want %d", len(sink.asked), c.asks)
			}
		})
	}
}

// TestASeedOfOneChunk: where chunks can't be told apart, nothing is behind the only one.
func TestASeedOfOneChunk(t *testing.T) {
	f := newFixture(t)
	c := mapping.Config{Namespace: "url", Seed: "{mongo_id}/{content_type}", Payload: mapping.Defaults().Payload, Collections: []mapping.Collection{{Name: "page", ContentType: "page"}}}
	f.opts.Rules = mapping.Compile(c, "db", spec.NewDecoder(), nil).Rules
	f.insert(3)
	sink := &vectorSink{MemorySink: f.sink, held: func(c *syncd.Change) error {
		c.Content.Held = 1
		if len(c.Content.Further) > 0 {
			t.Errorf("asked about %v as well", c.Content.Further)
		}
		return nil
	}}
	f.opts.Sink, f.opts.Checker, f.opts.Stages = sink, nil, []syncd.Stage{chunks(1), vectors("m", nil)}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := e.Report().Total; n.Acked != 3 || n.Failed() != 0 {
		t.Errorf("%+v", n)
	}
}

// TestADocumentThatFailsInAStage is counted, becomes a dead letter, and holds up no other.
func TestADocumentThatFailsInAStage(t *testing.T) {
	f := newFixture(t)
	f.insert(30)
	letters := syncdtest.NewMemorySink()
	refuse := &syncdtest.MemoryStage{Each: func(c *syncd.Change) error {
		if strings.HasSuffix(c.ID, "7") {
			return errors.New("it can't be read")
		}
		return nil
	}}
	f.opts.DeadLetters, f.opts.Stages = letters, []syncd.Stage{chunks(1), refuse}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	n := e.Report().Total
	if n.FailedStages != 3 || n.Acked != 27 || n.DeadLettered != 3 || n.Problem() != "" {
		t.Errorf("%+v: %s", n, n.Problem())
	}
	for _, c := range letters.Changes() {
		failed, _ := errors.AsType[*syncd.DocumentError](c.Err)
		if failed == nil || failed.Stage != syncd.FailedTransform {
			t.Errorf("%+v", c.Err)
		}
		if c.Content != nil {
			t.Errorf("what was made of %s is kept for its dead letter, which does not say it", c.ID)
		}
	}

	f.opts.StopOnFailure = true
	e = engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("with tolerance none: %v", err)
	}
}

// TestAStageThatFailsEndsTheRun: an outage of a stage is nobody's document error, and nothing of it is confirmed.
func TestAStageThatFailsEndsTheRun(t *testing.T) {
	f := newFixture(t)
	f.insert(5)
	f.opts.Stages = []syncd.Stage{&syncdtest.MemoryStage{Fail: func() error { return fmt.Errorf("%w: down", syncd.ErrUnavailable) }}}
	e := engine.New(f.opts)
	err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context()))
	n := e.Report().Total
	if !errors.Is(err, syncd.ErrUnavailable) || n.Acked != 0 || n.Failed() != 0 || len(f.sink.Events()) != 0 {
		t.Errorf("%v, %+v", err, n)
	}
	if n := e.Held(); n != 0 {
		t.Errorf("%d bytes are held for ever", n)
	}
	f.opts.Stages = []syncd.Stage{chunks(1)}
	f.opts.Checker = nil
	f.opts.Sink = &vectorSink{MemorySink: f.sink, held: func(*syncd.Change) error { return fmt.Errorf("%w: down", syncd.ErrUnavailable) }}
	e = engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); !errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("an index that can't say what it holds: %v", err)
	}
}

// TestAHashFollowsFromAllThatAVectorFollowsFrom: another text, another title in front of it, another stage or model make another hash, or a chunk
// would keep a vector that is not its own.
func TestAHashFollowsFromAllThatAVectorFollowsFrom(t *testing.T) {
	hash := func(prefix, text, fingerprint, model string) (hash string) {
		f := newFixture(t)
		f.insert(1)
		f.opts.Stages = []syncd.Stage{
			&syncdtest.MemoryStage{Can: syncd.StageAbilities{Fingerprint: fingerprint}, Each: func(c *syncd.Change) error {
				c.Content = &syncd.Content{Prefix: prefix, Chunks: []syncd.Chunk{{Text: text}}}
				return nil
			}},
			vectors(model, func(c *syncd.Change) { hash = c.Content.Chunks[0].Hash }),
		}
		e := engine.New(f.opts)
		if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
			t.Fatal(err)
		}
		return hash
	}
	seen := map[string]string{}
	for _, of := range [][4]string{
		{"ab", "cd", "f", "m"}, {"xy", "cd", "f", "m"}, {"ab", "c", "f", "m"}, {"a", "bcd", "f", "m"}, {"abc", "d", "f", "m"}, {"", "abcd", "f", "m"}, {"ab", "cd", "g", "m"}, {"ab", "cd", "f", "n"}, {"ab", "cd", "fm", ""},
	} {
		h := hash(of[0], of[1], of[2], of[3])
		if other, again := seen[h]; again || h == "" {
			t.Errorf("%q has the hash of %s", of, other)
		}
		seen[h] = fmt.Sprintf("%q", of)
	}
	if one, again := hash("ab", "cd", "f", "m"), hash("ab", "cd", "f", "m"); one != again {
		t.Error("another time, another hash")
	}
}
