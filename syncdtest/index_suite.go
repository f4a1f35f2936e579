package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// IndexHarness tells TestIndex how to reach a sink that writes points, and how to read them.
type IndexHarness struct {
	// Open returns an open sink that writes to a new index, made by it, with vectors of IndexDimensions that are compared by their cosine,
	// with the default keys and fields of IndexFields. A sink is best tested with few points in a request, too. The suite prepares and
	// closes it.
	Open func(t *testing.T) syncd.Sink

	// Points returns what the last opened index holds of a document, by one question: what a reader sees at a moment.
	Points func(t *testing.T, id string) []IndexPoint

	// Transactional says that a document is written in one transaction: then what others write between the question what is held and the
	// Write leaves no chunks behind, and a chunk that was to keep its vector and is gone fails the Write as an outage does.
	Transactional bool

	// Except names cases that the sink can't pass, and why; they are skipped with that reason.
	Except map[string]string

	// Background names functions (as in a stack trace) of goroutines that a client library keeps for good.
	Background []string
}

// IndexPoint is a point as a reader finds it.
type IndexPoint struct {
	ID      uuid.UUID
	Payload map[string]any // as encoding/json reads it
	Vector  bool           // it has one
}

// IndexDimensions is the size of the suite's vectors.
const IndexDimensions = 4

// IndexFields are fields of the suite's documents that are kept; no document has the last.
func IndexFields() []string { return []string{"status", "a.b", "lacking"} }

// TestIndex tests that a sink which writes points does what [syncd.Sink] says, one subtest per case, and that its readers never see a part
// of a document.
func TestIndex(t *testing.T, h IndexHarness) {
	t.Helper()
	runCases(t, h.cases(), h.Except, h.Background)
}

func (h IndexHarness) cases() []testCase {
	cases := []testCase{
		{"payload", h.payload},
		{"shrinks_and_grows", h.shrinksAndGrows},
		{"kept_chunks", h.keptChunks},
		{"readers_never_see_a_hole", h.readersSeeNoHole},
		{"deletes", h.deletes},
		{"the_last_change_of_a_document_counts", h.lastCounts},
		{"document_without_text", h.withoutText},
		{"refused", h.refused},
		{"dimensions", h.dimensions},
		{"many", h.many},
		{"nearest", h.nearest},
		{"what_is_held_is_counted_from_the_index", h.heldIsAsked},
		{"context_that_has_ended", h.indexContext},
	}
	if h.Transactional {
		cases = append(cases, testCase{"what_comes_meanwhile", h.meanwhile}, testCase{"written_together", h.together})
	}
	return cases
}

func (h IndexHarness) open(t *testing.T) syncd.Sink {
	t.Helper()
	s := h.Open(t)
	closeLater(t, s)
	a := s.Abilities()
	if a.Prepare == nil || a.Held == nil || a.Nearest == nil {
		t.Fatal("a sink of points has the abilities Prepare, Held and Nearest")
	}
	vectors := &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return IndexDimensions, nil }}
	for range 2 { // the second finds the index there
		must(t, a.Prepare(t.Context(), syncd.Run{Vectors: vectors}))
	}
	return s
}

// indexPoint is the id of a chunk's point.
func indexPoint(id string, chunk int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/page/%d", id, chunk))
}

// version is a document's version of so many chunks.
func version(id string, number, chunks int) syncd.Change {
	doc := Document(MemoryDoc{ID: id, Fields: map[string]any{"updatedAt": fmt.Sprint("v", number), "status": "open", "a": map[string]any{"b": number}}})
	c := syncd.Change{
		ID: id, PointID: indexPoint(id, 0), Operation: syncd.Replace, Document: doc,
		Target:  &syncd.Target{Database: "db", Collection: "page", ContentType: "page"},
		Content: &syncd.Content{Title: "Title", Model: "model"},
	}
	for k := range chunks {
		text := fmt.Sprintf("version %d chunk %d", number, k)
		c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{PointID: indexPoint(id, k), Text: text, Hash: text, Vector: []float32{1, float32(k), float32(number), 1}})
	}
	return c
}

// gone is a delete.
func gone(id string) syncd.Change {
	c := version(id, 0, 0)
	c.Operation, c.Document = syncd.Delete, nil
	return c
}

// writeIndex is what the engine does around a Write: it asks what is held, and makes the ids of what is left over.
func writeIndex(ctx context.Context, s syncd.Sink, changes ...syncd.Change) error {
	prepared, err := prepareIndex(ctx, s, changes)
	if err != nil {
		return err
	}
	return s.Write(ctx, prepared)
}

// prepareIndex is what comes before the Write.
func prepareIndex(ctx context.Context, s syncd.Sink, changes []syncd.Change) ([]syncd.Change, error) {
	asked := make([]syncd.Change, 0, len(changes))
	for i := range changes {
		if changes[i].Operation == syncd.Delete {
			changes[i].Content = &syncd.Content{}
		}
		if id := changes[i].ID; changes[i].Content != nil {
			changes[i].Content.Point = func(chunk int) (uuid.UUID, error) { return indexPoint(id, chunk), nil }
			asked = append(asked, changes[i])
		}
	}
	if err := s.Abilities().Held(ctx, asked); err != nil {
		return nil, err
	}
	for i := range asked {
		c := asked[i].Content
		for k := max(len(c.Chunks), 1); k < c.Held; k++ {
			c.Left = append(c.Left, indexPoint(asked[i].ID, k))
		}
	}
	return changes, nil
}

// held is what a reader finds of a document: the text of each chunk, and the count that chunk 0 names.
func (h IndexHarness) held(t *testing.T, id string) (texts map[int]string, count int) {
	t.Helper()
	texts = map[int]string{}
	for _, p := range h.Points(t, id) {
		k := number(p.Payload["chunk_index"])
		text, _ := p.Payload["content"].(string)
		if _, twice := texts[k]; twice {
			t.Fatalf("chunk %d of %s is there twice", k, id)
		}
		if texts[k] = text; k == 0 {
			count = number(p.Payload["chunk_count"])
		}
	}
	return texts, count
}

func number(v any) int {
	f, ok := v.(float64)
	if !ok {
		return -1
	}
	return int(f)
}

// mustHold wants just the chunks of a version.
func (h IndexHarness) mustHold(t *testing.T, id string, number, chunks int) {
	t.Helper()
	texts, count := h.held(t, id)
	want := map[int]string{}
	for k := range chunks {
		want[k] = fmt.Sprintf("version %d chunk %d", number, k)
	}
	if fmt.Sprint(texts) != fmt.Sprint(want) || count != chunks {
		t.Fatalf("of %s there are %d chunks, and chunk 0 says %d: %v; want %v", id, len(texts), count, texts, want)
	}
}

func (h IndexHarness) payload(t *testing.T) {
	s := h.open(t)
	c := version("1", 7, 2)
	must(t, writeIndex(t.Context(), s, c))
	for _, p := range h.Points(t, "1") {
		k := number(p.Payload["chunk_index"])
		for key, want := range map[string]string{
			"mongo_id": "1", "parent_id": "1", "content_type": "page", "title": "Title", "content": fmt.Sprintf("version 7 chunk %d", k),
			"embedding_model": "model", "content_hash": fmt.Sprintf("version 7 chunk %d", k), "database": "db", "updatedAt": "v7", "status": "open",
		} {
			if got := p.Payload[key]; got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		inner, _ := p.Payload["a"].(map[string]any)
		if p.ID != indexPoint("1", k) || number(p.Payload["chunk_count"]) != 2 || number(inner["b"]) != 7 || p.Payload["lacking"] != nil || !p.Vector {
			t.Errorf("%+v", p)
		}
	}
	h.mustHold(t, "1", 7, 2)
	odd := version("2", 1, 1)
	odd.ID, odd.Content.Title, odd.Content.Chunks[0].Text = `"\', {}`, "žluť 🐎 \u2028 $1 %s", strings.Repeat("long ", 20_000)
	must(t, writeIndex(t.Context(), s, odd))
	points := h.Points(t, odd.ID)
	if len(points) != 1 || points[0].Payload["title"] != odd.Content.Title || points[0].Payload["content"] != odd.Content.Chunks[0].Text {
		t.Errorf("of an odd document there are %d points", len(points))
	}
}

// shrinksAndGrows: whatever came before, what is left is the last version and no more.
func (h IndexHarness) shrinksAndGrows(t *testing.T) {
	s := h.open(t)
	for number, chunks := range []int{3, 11, 2, 1, 5, 4} {
		must(t, writeIndex(t.Context(), s, version("1", number, chunks), version("2", number, 12-chunks)))
		h.mustHold(t, "1", number, chunks)
		h.mustHold(t, "2", number, 12-chunks)
	}
}

// keptChunks: a chunk that did not change keeps its vector and gets its new payload.
func (h IndexHarness) keptChunks(t *testing.T) {
	s := h.open(t)
	must(t, writeIndex(t.Context(), s, version("1", 5, 4), version("2", 5, 2)))
	same := version("1", 5, 4)
	same.Content.Chunks[2].Text, same.Content.Chunks[2].Hash = "changed", "changed"
	same.Content.Title = "Another"
	must(t, s.Abilities().Held(t.Context(), []syncd.Change{same}))
	for k := range same.Content.Chunks {
		c := &same.Content.Chunks[k]
		if c.Kept != (k != 2) {
			t.Errorf("chunk %d is kept: %t", k, c.Kept)
		}
		if c.Kept {
			c.Vector = nil // it was not embedded
		}
	}
	must(t, s.Write(t.Context(), []syncd.Change{same}))
	points := h.Points(t, "1")
	for _, p := range points {
		text := fmt.Sprintf("version 5 chunk %d", number(p.Payload["chunk_index"]))
		if number(p.Payload["chunk_index"]) == 2 {
			text = "changed"
		}
		if p.Payload["title"] != "Another" || p.Payload["content"] != text || !p.Vector {
			t.Errorf("%+v", p)
		}
	}
	if len(points) != 4 {
		t.Errorf("%d points", len(points))
	}
	h.mustHold(t, "2", 5, 2)
}

// readersSeeNoHole: a reader, while a document changes, finds all chunks of the version that chunk 0 names, or of the other.
func (h IndexHarness) readersSeeNoHole(t *testing.T) {
	s := h.open(t)
	must(t, writeIndex(t.Context(), s, version("1", 0, 6)))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				texts, count := h.held(t, "1")
				if t.Failed() {
					return
				}
				whole := map[string]int{}
				for _, text := range texts {
					if f := strings.Fields(text); len(f) > 1 {
						whole[f[1]]++
					}
				}
				fine := false
				for number, n := range whole {
					fine = fine || strings.HasPrefix(texts[0], "version "+number+" ") && n >= count
				}
				if !fine {
					t.Errorf("a reader sees %v, and chunk 0 says %d", texts, count)
					return
				}
			}
		})
	}
	var err error
	for number := 0; number < 60 && err == nil; number++ {
		err = writeIndex(t.Context(), s, version("1", number, 1+number*5%9))
	}
	close(done)
	readers.Wait()
	must(t, err)
}

func (h IndexHarness) deletes(t *testing.T) {
	s := h.open(t)
	must(t, writeIndex(t.Context(), s, version("1", 0, 5), version("2", 0, 1)))
	must(t, writeIndex(t.Context(), s, gone("1")))
	h.mustHold(t, "1", 0, 0)
	h.mustHold(t, "2", 0, 1)
	must(t, writeIndex(t.Context(), s, gone("1"))) // once more, as after a crash
}

func (h IndexHarness) lastCounts(t *testing.T) {
	s := h.open(t)
	for _, c := range []struct {
		changes        []syncd.Change
		number, chunks int
	}{
		{[]syncd.Change{version("1", 1, 3), gone("1"), version("1", 2, 2)}, 2, 2},
		{[]syncd.Change{version("1", 3, 4), gone("1")}, 0, 0},
		{[]syncd.Change{gone("1"), version("1", 4, 1)}, 4, 1},
	} {
		must(t, writeIndex(t.Context(), s, c.changes...))
		h.mustHold(t, "1", c.number, c.chunks)
	}
	bad := version("1", 6, 1)
	bad.Content.Chunks[0].Vector = nil
	failed, ok := errors.AsType[*syncd.BatchError](writeIndex(t.Context(), s, version("1", 5, 2), bad))
	if !ok || fmt.Sprint(failed.Failed()) != "[0 1]" {
		t.Errorf("of a document whose last change is refused: %v", failed)
	}
}

// withoutText: a document without text has a point that says so, without a vector: it is there, and nothing is near to it.
func (h IndexHarness) withoutText(t *testing.T) {
	s := h.open(t)
	empty := version("1", 0, 1)
	empty.Content.Chunks[0].Text, empty.Content.Chunks[0].Vector = "", nil
	must(t, writeIndex(t.Context(), s, empty, version("2", 0, 1)))
	if points := h.Points(t, "1"); len(points) != 1 || points[0].Vector || points[0].Payload["content"] != "" {
		t.Errorf("%+v", points)
	}
	found, err := s.Abilities().Nearest(t.Context(), []float32{1, 0, 0, 1}, nil, 10)
	must(t, err)
	if len(found) != 1 || found[0].ID != "2" {
		t.Errorf("%+v", found)
	}
	// Then it gets text, and loses it again.
	must(t, writeIndex(t.Context(), s, version("1", 1, 2)))
	h.mustHold(t, "1", 1, 2)
	must(t, writeIndex(t.Context(), s, empty))
	if points := h.Points(t, "1"); len(points) != 1 || points[0].Vector {
		t.Errorf("%+v", points)
	}
}

// refused: what the sink can't write does not keep the others from being written.
func (h IndexHarness) refused(t *testing.T) {
	s := h.open(t)
	var changes []syncd.Change
	for i := range 20 {
		changes = append(changes, version(strconv.Itoa(i), 0, 1))
	}
	changes[13].ID = "\xff"
	changes[3].Content.Chunks[0].Vector = nil
	changes[4].Content = nil
	changes[7].Err = errors.New("it is a dead letter")
	failed, ok := errors.AsType[*syncd.BatchError](writeIndex(t.Context(), s, changes...))
	if !ok || fmt.Sprint(failed.Failed()) != "[3 4 7 13]" {
		t.Fatalf("%v", failed)
	}
	for _, i := range failed.Failed() {
		if !errors.Is(failed.Of(i), syncd.ErrNotEncodable) {
			t.Errorf("change %d is refused: %v", i, failed.Of(i))
		}
	}
	for i := range changes {
		want := 1
		if slices.Contains(failed.Failed(), i) {
			want = 0
		}
		if texts, _ := h.held(t, strconv.Itoa(i)); len(texts) != want {
			t.Errorf("of document %d there are %v", i, texts)
		}
		if want == 1 && changes[i].Bytes <= 0 {
			t.Errorf("document %d has %d bytes", i, changes[i].Bytes)
		}
	}
}

// dimensions: a model that was set wrong is nobody's document error.
func (h IndexHarness) dimensions(t *testing.T) {
	s := h.open(t)
	wide := version("1", 0, 1)
	wide.Content.Chunks[0].Vector = make([]float32, IndexDimensions+3)
	err := writeIndex(t.Context(), s, wide)
	if _, batch := errors.AsType[*syncd.BatchError](err); err == nil || batch || syncd.HintOf(err) == "" || !strings.Contains(err.Error(), "7 dimensions") {
		t.Errorf("%v (%s)", err, syncd.HintOf(err))
	}
	h.mustHold(t, "1", 0, 0)
}

// many documents are written at once, by many.
func (h IndexHarness) many(t *testing.T) {
	s := h.open(t)
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			var changes []syncd.Change
			for i := range 50 {
				changes = append(changes, version(fmt.Sprint(w, "-", i), w, 1+i%7))
			}
			for range 2 {
				if err := writeIndex(t.Context(), s, changes...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	for w := range 4 {
		for _, i := range []int{0, 1, 6, 49} {
			h.mustHold(t, fmt.Sprint(w, "-", i), w, 1+i%7)
		}
	}
}

func (h IndexHarness) nearest(t *testing.T) {
	s := h.open(t)
	var changes []syncd.Change
	for i, v := range [][]float32{{1, 0, 0, 0}, {1, 1, 0, 0}, {0, 1, 0, 0}, {-1, 0, 0, 0}} {
		c := version(strconv.Itoa(i), 0, 1)
		c.Content.Chunks[0].Vector = v
		if i == 1 {
			c.Target = &syncd.Target{Database: "db", Collection: "task", ContentType: "task"}
		}
		changes = append(changes, c)
	}
	must(t, writeIndex(t.Context(), s, changes...))
	for _, test := range []struct {
		types []string
		limit int
		want  string
	}{
		{nil, 10, "0 1.00 1 0.71 2 0.00 3 -1.00"}, {nil, 2, "0 1.00 1 0.71"}, {[]string{"task"}, 10, "1 0.71"}, {[]string{"task", "page"}, 1, "0 1.00"},
		{[]string{"other"}, 10, ""},
	} {
		found, err := s.Abilities().Nearest(t.Context(), []float32{2, 0, 0, 0}, test.types, test.limit)
		must(t, err)
		var got []string
		for _, n := range found {
			got = append(got, fmt.Sprintf("%s %.2f", n.ID, n.Score+1e-6))
			if n.Title != "Title" || n.Text != "version 0 chunk 0" || n.Chunk != 0 || n.Chunks != 1 || n.PointID != indexPoint(n.ID, 0) {
				t.Errorf("%+v", n)
			}
		}
		if strings.ReplaceAll(strings.Join(got, " "), "-0.00", "0.00") != test.want {
			t.Errorf("%v, the nearest %d: %v, want %s", test.types, test.limit, got, test.want)
		}
	}
}

// heldIsAsked: what was held before does not count.
func (h IndexHarness) heldIsAsked(t *testing.T) {
	s := h.open(t)
	must(t, writeIndex(t.Context(), s, version("1", 0, 5)))
	c, unknown, deleted := version("1", 0, 3), version("2", 0, 2), gone("1")
	deleted.Content = &syncd.Content{}
	c.Content.Chunks[1].Hash = ""
	unknown.Content.Held, unknown.Content.Chunks[1].Kept = 7, true
	must(t, s.Abilities().Held(t.Context(), []syncd.Change{unknown, c, deleted}))
	if c.Content.Held != 5 || deleted.Content.Held != 5 || unknown.Content.Held != 0 {
		t.Errorf("held are %d, %d and %d", c.Content.Held, deleted.Content.Held, unknown.Content.Held)
	}
	if !c.Content.Chunks[0].Kept || c.Content.Chunks[1].Kept || unknown.Content.Chunks[1].Kept {
		t.Errorf("%+v, %+v", c.Content.Chunks, unknown.Content.Chunks)
	}
	must(t, s.Abilities().Held(t.Context(), nil))
}

// meanwhile: somebody else, such as the last transaction of a process that was killed, writes after the index was asked.
func (h IndexHarness) meanwhile(t *testing.T) {
	s := h.open(t)
	for _, before := range []int{0, 2, 7} {
		if before > 0 {
			must(t, writeIndex(t.Context(), s, version("1", 0, before)))
		}
		late, err := prepareIndex(t.Context(), s, []syncd.Change{version("1", 2, 3), gone("2")})
		must(t, err)
		must(t, writeIndex(t.Context(), s, version("1", 1, 9), version("2", 1, 5)))
		must(t, s.Write(t.Context(), late))
		h.mustHold(t, "1", 2, 3)
		h.mustHold(t, "2", 0, 0)
	}
	for _, other := range []syncd.Change{gone("1"), version("1", 3, 3), version("1", 3, 1)} {
		must(t, writeIndex(t.Context(), s, version("1", 2, 3), version("2", 2, 1)))
		kept := []syncd.Change{version("1", 2, 3), version("2", 4, 2)}
		kept[0].Content.Title = "Another"
		kept, err := prepareIndex(t.Context(), s, kept)
		must(t, err)
		must(t, writeIndex(t.Context(), s, other))
		_, batch := errors.AsType[*syncd.BatchError](s.Write(t.Context(), kept))
		if err := s.Write(t.Context(), kept); !errors.Is(err, syncd.ErrUnavailable) || batch {
			t.Errorf("of chunks that were to stay and changed meanwhile: %v", err)
		}
		h.mustHold(t, "1", 3, len(other.Content.Chunks))
		h.mustHold(t, "2", 2, 1) // nothing of the transaction is there
	}
}

// together: several write the same document at the same time, none of whom knows of the others. What is left is whole.
func (h IndexHarness) together(t *testing.T) {
	s := h.open(t)
	for round := range 15 {
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				changes, err := prepareIndex(t.Context(), s, []syncd.Change{version("1", w, 1+(w*5+round)%9)})
				for k := range changes[0].Content.Chunks {
					changes[0].Content.Chunks[k].Kept = false
				}
				if err == nil {
					err = s.Write(t.Context(), changes)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		texts, _ := h.held(t, "1")
		var winner int
		if _, err := fmt.Sscanf(texts[0], "version %d", &winner); err != nil {
			t.Fatalf("%v: %v", texts, err)
		}
		h.mustHold(t, "1", winner, 1+(winner*5+round)%9)
	}
}

func (h IndexHarness) indexContext(t *testing.T) {
	s := h.open(t)
	ended(t, "Write", func(ctx context.Context, want error) error {
		if err := s.Write(ctx, []syncd.Change{version("1", 0, 1)}); !errors.Is(err, want) {
			return fmt.Errorf("writing: %w, want %w", err, want)
		}
		return nil
	})
	ended(t, "Held", func(ctx context.Context, want error) error {
		if err := s.Abilities().Held(ctx, []syncd.Change{version("1", 0, 1)}); !errors.Is(err, want) {
			return fmt.Errorf("asking what is held: %w, want %w", err, want)
		}
		return nil
	})
	h.mustHold(t, "1", 0, 0)
}
