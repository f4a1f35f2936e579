package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/syncdtest"
)

// numbered is a stage that makes of document n as many chunks of n+1 letters as each says.
func numbered(each int) *syncdtest.MemoryStage {
	s := chunks(each)
	s.Can.Tokens = &syncd.Tokens{By: "letters", Count: func(text string) int { return len(text) }}
	s.Each = func(c *syncd.Change) error {
		n, err := strconv.Atoi(c.ID)
		if err != nil {
			return err
		}
		c.Content = &syncd.Content{}
		for range each {
			c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{Text: strings.Repeat("x", n+1)})
		}
		return nil
	}
	return s
}

// counted runs a dry run that counts tokens.
func counted(t *testing.T, o engine.Options, embed engine.DryEmbed) (*engine.Embedding, engine.CollectionReport) {
	t.Helper()
	o.Sink, o.DryRun = nil, &engine.DryRun{Embed: &embed}
	e := engine.New(o)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := e.Held(); n != 0 {
		t.Errorf("%d bytes are held for ever", n)
	}
	r := e.Report().Collections[0]
	if problem := r.Problem(); problem != "" || r.Gone != 0 || r.FailedStages != 0 {
		t.Errorf("%s, %+v", problem, r.Counts)
	}
	if r.Embedding == nil {
		t.Fatal("nothing was counted")
	}
	return r.Embedding, r
}

// TestADryRunCountsTokens of what would be embedded: not of what the index holds, what has no text, or what a stage can't handle, which it
// names; with what stands before each text.
func TestADryRunCountsTokens(t *testing.T) {
	f := newFixture(t)
	f.insert(10)
	f.opts.Memory = engine.Memory{Documents: 1 << 20, Sending: 1 << 20}
	for i := range 3 { // 7, 8 and 9 are in the index, as they should be
		f.checker.Put(uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%05d/page/0", 9-i)), nil)
	}
	var embedded atomic.Int64
	make2 := numbered(2)
	each := make2.Each
	make2.Each = func(c *syncd.Change) error {
		switch c.ID {
		case "00001":
			return errors.New("it can't be read")
		case "00002":
			c.Content = &syncd.Content{Chunks: []syncd.Chunk{{}}}
			return nil
		}
		err := each(c)
		c.Content.Prefix = "ab"
		return err
	}
	embedding := vectors("m", func(*syncd.Change) { embedded.Add(1) })
	embedding.Can.Vectors.Prefix = "c"
	f.opts.Stages = []syncd.Stage{make2, embedding}
	got, r := counted(t, f.opts, engine.DryEmbed{})
	// 0, 3, 4, 5 and 6 have two chunks of n+1 letters, and three in front of each.
	want := engine.Embedding{Documents: 7, Texts: 10, Tokens: 2 * (1 + 4 + 5 + 6 + 7 + 5*3), Failed: 1}
	failures := got.Failures
	got.Failures = nil
	if fmt.Sprint(*got) != fmt.Sprint(want) || r.WouldSend != 7 {
		t.Errorf("%+v of %d documents, want %+v", *got, r.WouldSend, want)
	}
	if len(failures) != 1 || failures[0].ID != "00001" || failures[0].Reason != "it can't be read" {
		t.Errorf("%+v", failures)
	}
	if n := embedded.Load(); n != 0 {
		t.Errorf("%d documents were embedded", n)
	}

	// Nothing is asked of an index that lacks the document; where it was not asked about the document, it says which texts it holds.
	var asked atomic.Int64
	held := func(_ context.Context, changes []syncd.Change) error {
		for i := range changes {
			asked.Add(1)
			if changes[i].Content.Chunks[0].Hash == "" || changes[i].Content.Model != "m" {
				t.Errorf("%+v is asked about", changes[i].Content)
			}
			changes[i].Content.Chunks[0].Kept = changes[i].ID != "00002"
		}
		return nil
	}
	if again, _ := counted(t, f.opts, engine.DryEmbed{Held: held}); asked.Load() != 0 || again.Unchanged != 0 {
		t.Errorf("%d were asked about, %+v", asked.Load(), again)
	}
	f.opts.Checker = nil
	got, _ = counted(t, f.opts, engine.DryEmbed{Held: held})
	if got.Documents != 10 || got.Texts != 8 || got.Unchanged != 8 || asked.Load() != 9 { // all but 1 and 2 keep a half; 1 failed
		t.Errorf("%d were asked about, %+v", asked.Load(), got)
	}

	// Where no stage counts tokens, each chunk's own estimate counts. A stage that is down ends it.
	make2.Can.Tokens = nil
	if got, _ := counted(t, f.opts, engine.DryEmbed{}); got.Tokens != got.Texts { // at least one each
		t.Errorf("%+v", got)
	}
	make2.Fail = func() error { return syncd.ErrUnavailable }
	f.opts.Sink, f.opts.DryRun = nil, &engine.DryRun{Embed: &engine.DryEmbed{}}
	e := engine.New(f.opts)
	if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); !errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("a stage that is down: %v", err)
	}
	if n := e.Held(); n != 0 {
		t.Errorf("%d bytes are held for ever", n)
	}
}

// TestTokensOfSomeDocuments: of many documents only so many are read, the same in every run whoever works on them, and they stand for all.
func TestTokensOfSomeDocuments(t *testing.T) {
	const documents, most = 3000, 200
	f := newFixture(t)
	f.insert(documents)
	f.opts.BatchSize = 500
	var first *engine.Embedding
	for _, workers := range []int{1, 7} {
		var made atomic.Int64
		stage := numbered(1)
		each := stage.Each
		stage.Each = func(c *syncd.Change) error { made.Add(1); return each(c) }
		f.opts.Workers, f.opts.Stages = workers, []syncd.Stage{stage, vectors("m", nil)}
		got, r := counted(t, f.opts, engine.DryEmbed{Most: most})
		if r.WouldSend != documents || got.Documents > most || got.Documents < most/3 {
			t.Fatalf("%d of %d documents were counted", got.Documents, r.WouldSend)
		}
		if n := made.Load(); n > documents*2/3 {
			t.Errorf("%d documents were read to count %d", n, got.Documents)
		}
		mean := float64(got.Tokens) / float64(got.Documents) // of all it is 1500.5
		if mean < 1300 || mean > 1700 {
			t.Errorf("the mean of those chosen is %.0f", mean)
		}
		if first != nil && fmt.Sprint(*got) != fmt.Sprint(*first) {
			t.Errorf("%d workers find %+v, and one %+v", workers, got, first)
		}
		first = got
	}
}
