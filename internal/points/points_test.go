package points

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func point(id string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id)) }

func change(id string) syncd.Change {
	return syncd.Change{
		ID: id, PointID: point(id), Target: &syncd.Target{Database: "db", ContentType: "page"},
		Content: &syncd.Content{Title: "T", Model: "m", Chunks: []syncd.Chunk{{Text: "t", Hash: "h", PointID: point(id)}}},
	}
}

var errRefused, errDown = errors.New("refused"), errors.New("down")

// writer takes documents by their ids: the bad ones are refused, with all that is beside them, and one that is "down" fails everything.
func writer(most int, requests *[]string) *Writer[string] {
	return &Writer[string]{
		Most: most,
		Make: func(c *syncd.Change) (string, int, error) {
			if strings.HasPrefix(c.ID, "wide") {
				return "", 0, &SizeError{Have: 3, Want: 4, Index: "the table"}
			}
			if c.ID == "unmade" {
				return "", 0, ErrNoContent
			}
			return c.ID, len(c.Content.Chunks), nil
		},
		Put: func(_ context.Context, ids []string) error {
			switch {
			case slices.Contains(ids, "down"):
				return errDown
			case slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, "bad") }):
				return errRefused
			}
			*requests = append(*requests, strings.Join(ids, " "))
			return nil
		},
		Faulty: func(err error) (bool, error) { return errors.Is(err, errRefused), fmt.Errorf("as judged: %w", err) },
	}
}

func TestWriter(t *testing.T) {
	large := change("large")
	large.Content.Chunks = make([]syncd.Chunk, 9)
	letter := change("a")
	letter.Err = errors.New("it failed before")
	for _, test := range []struct {
		name     string
		changes  []syncd.Change
		requests string
		failed   string // the places of those
	}{
		{"as many as fit in a request", []syncd.Change{change("a"), change("b"), change("c"), change("d"), change("e")}, "a b c | d e", "[]"},
		{"a large one goes alone", []syncd.Change{change("a"), large, change("b"), change("c")}, "a | large | b c", "[]"},
		{"one bad one", []syncd.Change{change("a"), change("bad"), change("c"), change("d")}, "a | c | d", "[1]"},
		{"all bad", []syncd.Change{change("bad1"), change("bad2"), change("bad3")}, "", "[0 1 2]"},
		{"the last of a document counts", []syncd.Change{change("a"), change("b"), change("a")}, "b a", "[]"},
		{"what was left out is as durable as the last", []syncd.Change{change("bad"), change("b"), change("bad")}, "b", "[0 2]"},
		{"a dead letter is no change of its document", []syncd.Change{change("a"), letter}, "a", "[1]"},
		{"not made", []syncd.Change{change("unmade"), change("b")}, "b", "[0]"},
	} {
		var requests []string
		err := writer(3, &requests).Write(t.Context(), test.changes)
		failed, _ := errors.AsType[*syncd.BatchError](err)
		if failed == nil {
			failed = &syncd.BatchError{}
		}
		if got := strings.Join(requests, " | "); got != test.requests || fmt.Sprint(failed.Failed()) != test.failed {
			t.Errorf("%s: %q, failed %v (%v), want %q, %s", test.name, got, failed.Failed(), err, test.requests, test.failed)
		}
		for i, c := range test.changes {
			if failed.Of(i) != nil && strings.HasPrefix(c.ID, "bad") && !strings.Contains(failed.Of(i).Error(), "as judged") {
				t.Errorf("%s: change %d: %v", test.name, i, failed.Of(i))
			}
		}
	}
}

func TestWriterEnds(t *testing.T) {
	var requests []string
	if err := writer(1, &requests).Write(t.Context(), []syncd.Change{change("a"), change("down"), change("b")}); !errors.Is(err, errDown) || fmt.Sprint(requests) != "[a]" {
		t.Errorf("an outage: %v, %v", err, requests)
	}
	err := writer(1, &requests).Write(t.Context(), []syncd.Change{change("c"), change("wide")})
	if size, is := errors.AsType[*SizeError](err); !is || size.Want != 4 || len(requests) != 1 {
		t.Errorf("another size: %v, %v", err, requests)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writer(3, &requests).Write(ctx, []syncd.Change{change("bad"), change("d")}); !errors.Is(err, errRefused) || len(requests) != 1 {
		t.Errorf("a refusal when the context has ended: %v, %v", err, requests)
	}
}

func TestQuestion(t *testing.T) {
	a, gone := change("a"), change("gone")
	a.Content.Chunks = append(a.Content.Chunks, syncd.Chunk{Hash: "h1", Kept: true, PointID: point("a1")}, syncd.Chunk{PointID: point("a2")})
	a.Content.Held, gone.Content.Chunks, gone.Operation = 9, nil, syncd.Delete
	q := Ask([]syncd.Change{a, gone})
	if want := []uuid.UUID{point("a"), point("a1"), point("a2"), point("gone")}; !slices.Equal(q.IDs, want) || a.Content.Held != 0 || a.Content.Chunks[1].Kept {
		t.Fatalf("%v, %+v", q.IDs, a.Content)
	}
	q.Held(0, 5, "h")
	q.Held(1, 7, "other")
	q.Held(2, 7, "")
	q.Held(3, 1_000_000, "")
	if c := a.Content; c.Held != 5 || !c.Chunks[0].Kept || c.Chunks[1].Kept || c.Chunks[2].Kept || gone.Content.Held != MostHeld {
		t.Errorf("%+v, %+v", c, gone.Content)
	}
}

func TestPayload(t *testing.T) {
	l := &Layout{Payload: DefaultPayload(), UpdatedAt: "at", Fields: []string{"a.b", "list", "none"}}
	c := change("x")
	c.Document = syncdtest.Document(syncdtest.MemoryDoc{ID: "x", Fields: map[string]any{"at": 7, "a": map[string]any{"b": 1.5, "c": 1}, "list": []any{"v"}}})
	got, err := l.Shared(&c)
	if want := "map[a:map[b:1.5] at:7 chunk_count:1 content_type:page database:db embedding_model:m list:[v] mongo_id:x parent_id:x title:T]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v, want %s", got, err, want)
	}
	if _, whole := got["at"].(int64); !whole {
		t.Errorf("a whole number is a %T", got["at"])
	}
	l.Chunk(3, &c.Content.Chunks[0], func(key string, v any) { got[key] = v })
	if got["chunk_index"] != int64(3) || got["content"] != "t" || got["content_hash"] != "h" {
		t.Error(got)
	}
	c.ID = "\xff"
	if _, err := l.Shared(&c); !errors.Is(err, syncd.ErrNotEncodable) {
		t.Errorf("an id that is no text: %v", err)
	}
	c = change("x")
	c.Document = syncdtest.Document(syncdtest.MemoryDoc{ID: "x", EncodeErr: errRefused})
	if _, err := l.Shared(&c); !errors.Is(err, syncd.ErrNotEncodable) || !errors.Is(err, errRefused) {
		t.Errorf("a document that can't be written: %v", err)
	}
	none := Layout{Payload: Payload{ID: "id", ContentType: "t", ChunkIndex: "i", ChunkCount: "n"}}
	if got, err := none.Shared(new(change("x"))); err != nil || fmt.Sprint(got) != "map[id:x n:1 t:page]" || fmt.Sprint(none.Keys()) != "[id t i n]" {
		t.Errorf("%v, %v, %v", got, err, none.Keys())
	}
}

func TestLayoutCheck(t *testing.T) {
	for text, want := range map[string]string{
		"{keys: {id: a, content_type: b, chunk_index: a, chunk_count: d}}":                            `id and chunk_index have one payload key, "a"`,
		"{keys: {id: a, content_type: b, chunk_index: c, chunk_count: d}, fields: [e, b]}":            `"b" is the payload key of content_type`,
		"{keys: {id: a, content_type: b, chunk_index: c, chunk_count: d, title: at}, updated_at: at}": "title and updated_at",
		"{keys: {id: a, content_type: b, chunk_index: c, chunk_count: d}, fields: [e]}":               "",
	} {
		var conf checked
		if diags := spec.Decode(syncdtest.Node(t, text), &conf); (want == "") != (len(diags) == 0) || !strings.Contains(fmt.Sprint(diags), want) {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
	}
}

type checked struct {
	Keys      Payload  `yaml:"keys" doc:"x"`
	UpdatedAt string   `yaml:"updated_at" doc:"x"`
	Fields    []string `yaml:"fields" doc:"x"`
}

func (c *checked) CheckConfig(d *spec.Decoder, n *spec.Node) {
	l := Layout{Payload: c.Keys, UpdatedAt: c.UpdatedAt, Fields: c.Fields}
	l.Check(d, n, "keys")
}
