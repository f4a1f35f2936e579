package engine_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// TestSentIsToldWhatWasConfirmed, and of nothing that the sink refused.
func TestSentIsToldWhatWasConfirmed(t *testing.T) {
	refuse := func(e codec.Event) error {
		if e.ID[4] == '3' || e.ID[4] == '8' {
			return errors.New("refused")
		}
		return nil
	}
	for name, exactlyOnce := range map[string]bool{"written": false, "committed": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.insert(50)
			f.sink.Reject = refuse
			sent := func() []codec.Event { return f.sink.Events() }
			if exactlyOnce {
				c := f.commit(t)
				c.Reject, sent = refuse, c.Committed
			}
			var mu sync.Mutex
			var told, want []string
			f.opts.Hooks.Sent = func(_ *mapping.Rule, changes []syncd.Change) {
				mu.Lock()
				defer mu.Unlock()
				for _, c := range changes {
					told = append(told, c.ID)
				}
			}
			e := engine.New(f.opts)
			if err := e.Backfill(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, e := range sent() {
				want = append(want, e.ID)
			}
			slices.Sort(told)
			slices.Sort(want)
			if n := e.Report().Total; !slices.Equal(told, want) || len(want) != 40 || n.Acked != 40 || n.FailedWrite != 10 {
				t.Errorf("told of %q, sent %q; %+v", told, want, n)
			}
		})
	}
}

// TestAReferenceThatIsTooLargeFails: it is tried once with its document, and once without.
func TestAReferenceThatIsTooLargeFails(t *testing.T) {
	refuse := func(e codec.Event) error {
		if e.ID == "00003" {
			return syncd.ErrTooLarge
		}
		return nil
	}
	for name, exactlyOnce := range map[string]bool{"written": false, "committed": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.insert(5)
			f.opts.Oversize = engine.OversizeReference
			tries := 0
			count := func(e codec.Event) error {
				err := refuse(e)
				if err != nil {
					if tries++; tries > 5 {
						t.Error("it is tried again and again")
						return errors.New("enough")
					}
				}
				return err
			}
			f.sink.Reject = count
			if exactlyOnce {
				f.commit(t).Reject = count
			}
			e := engine.New(f.opts)
			err := e.Backfill(t.Context())
			if n := e.Report().Total; err != nil || tries != 2 || n.Acked != 4 || n.FailedWrite != 1 || n.Referenced != 0 {
				t.Errorf("%v, %d tries, %+v", err, tries, n)
			}
		})
	}
}

// TestACollectionIsDoneOnce: its deletes do not announce it again.
func TestACollectionIsDoneOnce(t *testing.T) {
	f := newFixture(t)
	f.insert(5)
	orphans, _ := f.orphans(t, 5)
	var told []engine.CollectionReport
	f.opts.Hooks.CollectionDone = func(r engine.CollectionReport) { told = append(told, r) }
	e := engine.New(f.opts)
	if err := e.Backfill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(t.Context(), orphans); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Missing != 5 || told[0].Orphan != 0 {
		t.Errorf("told %+v", told)
	}
}

// TestWhatWasConfirmedBeforeAnOutageCounts: it must not be reported as unconfirmed.
func TestWhatWasConfirmedBeforeAnOutageCounts(t *testing.T) {
	f := newFixture(t)
	f.insert(10)
	f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Always(syncdtest.Fault{
		Fail: map[int]error{2: syncd.ErrUnavailable, 5: syncd.ErrUnavailable, 7: errors.New("refused")},
	})})
	var told int
	f.opts.Hooks.Sent = func(_ *mapping.Rule, changes []syncd.Change) { told += len(changes) }
	e := engine.New(f.opts)
	err := e.Backfill(t.Context())
	n := e.Report().Total
	if !errors.Is(err, syncd.ErrUnavailable) || len(f.sink.Events()) != 7 || n.Acked != 7 || told != 7 || n.FailedWrite != 1 || n.Unconfirmed() != 2 {
		t.Errorf("%v, %d written, %d told, %+v", err, len(f.sink.Events()), told, n)
	}
}

// found is a store that recalls what it found when it was opened, whatever it is told later, as store/marks does.
type found struct{ state store.Collection }

func (f found) Recall(name string) *store.Collection {
	if name != "page" {
		return nil
	}
	return &f.state
}
func (found) Collection(context.Context, string, store.Collection, bool) error { return nil }
func (found) Split(context.Context, string, store.Split, bool) error           { return nil }

// TestAnIndexThatLostPointsResumesNothing, though the store still recalls it.
func TestAnIndexThatLostPointsResumesNothing(t *testing.T) {
	for points, scanned := range map[int64]int64{30: 20, 29: 50} {
		f := newFixture(t)
		f.insert(50)
		f.source.SetIdentity("page", "")
		f.opts.Index = &syncd.Index{Points: points}
		f.opts.Checkpoints = found{store.Collection{
			Rule: f.rule.Fingerprint(), Found: true, Before: 50, Planned: true,
			Splits: []store.Split{{After: syncd.Offset(f.keyOf(t, 29)), Counts: tally.Counts{Scanned: 30, Present: 30}}},
		}}
		e := engine.New(f.opts)
		if err := e.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := e.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := e.Report(); int64(len(f.sink.Events())) != scanned || r.Total.Scanned-r.Resumed != scanned {
			t.Errorf("%d points: %d sent, %d resumed of %d", points, len(f.sink.Events()), r.Resumed, r.Total.Scanned)
		}
	}
}

// early is a source that has no second batch of ids before the first one is being written, and tells when it is asked for whole documents.
type early struct {
	*syncdtest.MemorySource
	writing <-chan struct{}
	whole   func()
}

func (s early) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if req.Documents {
		s.whole()
		return s.MemorySource.Read(ctx, req)
	}
	return func(yield func(syncd.Batch, error) bool) {
		n := 0
		for b, err := range s.MemorySource.Read(ctx, req) {
			if n++; n == 2 {
				select {
				case <-s.writing:
				case <-ctx.Done():
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// late is a sink that writes nothing before whole documents were asked for.
type late struct {
	*syncdtest.MemorySink
	writing func()
	whole   <-chan struct{}
}

func (s late) Write(ctx context.Context, changes []syncd.Change) error {
	s.writing()
	select {
	case <-s.whole:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.MemorySink.Write(ctx, changes)
}

// TestWhatTheIndexLacksIsKnownBeforeItIsSent: readers, which are ahead of a slow sink, bring whole documents from then on.
func TestWhatTheIndexLacksIsKnownBeforeItIsSent(t *testing.T) {
	f := newFixture(t)
	f.insert(100)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	writing, whole := make(chan struct{}), make(chan struct{})
	f.opts.Source = early{f.source, writing, sync.OnceFunc(func() { close(whole) })}
	f.opts.Sink = late{f.sink, sync.OnceFunc(func() { close(writing) }), whole}
	f.opts.Readers, f.opts.Workers = 1, 4
	e := engine.New(f.opts)
	if err := e.Backfill(ctx); err != nil || len(f.sink.Events()) != 100 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
}

// mute is a source whose Fetch ends the run, and then itself, without a word.
type mute struct {
	*syncdtest.MemorySource
	cancel context.CancelFunc
}

func (m mute) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		n := 0
		for f, err := range m.MemorySource.Fetch(context.WithoutCancel(ctx), c, keys) {
			if n++; n > 3 {
				m.cancel()
				<-ctx.Done()
				return
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// TestWhatWasNotFetchedIsNotGone: the batch is not handled, and no checkpoint passes it.
func TestWhatWasNotFetchedIsNotGone(t *testing.T) {
	f := newFixture(t)
	f.insert(10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept := &positions{}
	f.opts.Source, f.opts.Checkpoints = mute{f.source, cancel}, kept
	e := engine.New(f.opts)
	err := e.Backfill(ctx)
	if n := e.Report().Total; !errors.Is(err, context.Canceled) || n.Gone != 0 || len(kept.after) != 0 {
		t.Errorf("%v, kept %q, %+v", err, kept.after, n)
	}
}

// positions is a store that remembers the offsets it was told, by a context that had not ended.
type positions struct {
	found
	mu    sync.Mutex
	after []syncd.Offset
}

func (*positions) Recall(string) *store.Collection { return nil }

func (p *positions) Split(ctx context.Context, _ string, s store.Split, _ bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.After != "" && ctx.Err() == nil {
		p.after = append(p.after, s.After)
	}
	return ctx.Err()
}

// TestWhatWasConfirmedIsKept, even if the run was cancelled before it could be.
func TestWhatWasConfirmedIsKept(t *testing.T) {
	f := newFixture(t)
	f.insert(50)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept := &positions{}
	f.opts.Checkpoints, f.opts.Readers, f.opts.Workers = kept, 1, 1
	f.opts.Hooks.Sent = func(*mapping.Rule, []syncd.Change) { cancel() }
	err := engine.New(f.opts).Backfill(ctx)
	if !errors.Is(err, context.Canceled) || len(f.sink.Events()) == 0 || len(kept.after) == 0 {
		t.Fatalf("%v, %d sent, kept %q", err, len(f.sink.Events()), kept.after)
	}
	if last := syncd.Offset(f.keyOf(t, len(f.sink.Events())-1)); kept.after[len(kept.after)-1] != last {
		t.Errorf("kept %q, but all up to %q was confirmed", kept.after, last)
	}
}

// TestAGuardSeesTheBatchThatIsToBeSent, and not only those before it.
func TestAGuardSeesTheBatchThatIsToBeSent(t *testing.T) {
	f := newFixture(t)
	f.insert(30)
	f.opts.Readers, f.opts.Workers = 1, 1
	enough := errors.New("enough")
	f.opts.Guard = func(_ *mapping.Rule, n tally.Counts) error {
		if n.Missing >= 20 {
			return enough
		}
		return nil
	}
	if err := engine.New(f.opts).Backfill(t.Context()); !errors.Is(err, enough) || len(f.sink.Events()) != 10 {
		t.Errorf("%v, %d sent", err, len(f.sink.Events()))
	}
}
