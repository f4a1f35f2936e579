package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/syncdtest"
)

// gauge is how much of something there is, and has been at most.
type gauge struct {
	mu        sync.Mutex
	now, peak int64
}

func (g *gauge) add(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += n
	g.peak = max(g.peak, g.now)
}

// heavy is a document that only says how large it is. It counts what is held from when a source yields it until a sink has it.
type heavy struct {
	id   string
	size int64
}

func (heavy) Lookup(string) (syncd.Value, error) { return syncd.Value{}, nil }
func (heavy) Size() int                          { panic("a heavy is counted by its own size") }
func (d *heavy) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	return append(append(append(dst, `{"_id":"`...), d.id...), `"}`...), nil
}

// sized is a heavy with its size.
type sized struct{ *heavy }

func (d sized) Size() int { return int(d.size) }

// light is a heavy of size 0, for the sink behind the dock: that allocates a buffer of the size that a document states.
type light struct{ *heavy }

func (light) Size() int { return 0 }

func lightened(changes []syncd.Change) []syncd.Change {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Document = light{changes[i].Document.(sized).heavy}
	}
	return changes
}

// warehouse is a source of n documents in some splits. Each answer takes it a moment.
type warehouse struct {
	n, splits int
	size      func(i int) int64
	held      *gauge // of documents that were yielded and not yet written
	fetched   int
	mu        sync.Mutex
	whole     map[string]bool // documents that were read whole
}

func (w *warehouse) document(i int) syncd.Document {
	return sized{&heavy{id: fmt.Sprintf("%05d", i), size: w.size(i)}}
}

func (w *warehouse) Splits(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		for i := range w.splits {
			key := func(i int) syncd.Key { return syncd.Key(fmt.Sprintf("%05d", i*w.n/w.splits)) }
			if !yield(syncd.Split{Collection: c, Index: i, Lower: key(i), Upper: key(i + 1)}, nil) {
				return
			}
		}
	}
}

func (w *warehouse) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		at, _ := strconv.Atoi(string(req.Split.Lower))
		if req.After != "" {
			at, _ = strconv.Atoi(string(req.After))
			at++
		}
		end, _ := strconv.Atoi(string(req.Split.Upper))
		for at < end {
			time.Sleep(time.Millisecond)
			if ctx.Err() != nil {
				yield(syncd.Batch{}, ctx.Err())
				return
			}
			var b syncd.Batch
			bytes := int64(0)
			for ; at < end && len(b.Changes) < req.BatchSize && (!req.Documents || bytes < int64(req.BatchBytes)); at++ {
				id := fmt.Sprintf("%05d", at)
				c := syncd.Change{Key: syncd.Key(id), ID: id}
				if req.Documents {
					c.Document = w.document(at)
					bytes += w.size(at)
					w.mu.Lock()
					w.whole[id] = true
					w.mu.Unlock()
				}
				b.Changes, b.Offset = append(b.Changes, c), syncd.Offset(id)
			}
			w.held.add(bytes)
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (w *warehouse) Fetch(ctx context.Context, _ syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		for i, k := range keys {
			time.Sleep(time.Millisecond / 10)
			if ctx.Err() != nil {
				yield(syncd.Fetched{}, ctx.Err())
				return
			}
			at, _ := strconv.Atoi(string(k))
			w.held.add(w.size(at))
			w.mu.Lock()
			w.fetched++
			w.mu.Unlock()
			if !yield(syncd.Fetched{Index: i, Document: w.document(at)}, nil) {
				return
			}
		}
	}
}

func (w *warehouse) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{} }
func (w *warehouse) Close() error                     { return nil }

// dock is a sink that takes its time.
type dock struct {
	syncd.Sink
	held    *gauge // of the warehouse
	writing gauge
	calls   gauge
	took    func(changes []syncd.Change) time.Duration
}

func (d *dock) Write(ctx context.Context, changes []syncd.Change) error {
	return d.handle(ctx, changes, func() error { return d.Sink.Write(ctx, lightened(changes)) })
}

func (d *dock) handle(ctx context.Context, changes []syncd.Change, write func() error) error {
	bytes := int64(0)
	for i := range changes {
		bytes += int64(changes[i].Document.Size())
	}
	d.writing.add(bytes)
	d.calls.add(1)
	defer d.calls.add(-1)
	defer d.writing.add(-bytes)
	select {
	case <-time.After(d.took(changes)):
	case <-ctx.Done():
		return ctx.Err()
	}
	d.held.add(-bytes)
	return write()
}

func (d *dock) Abilities() syncd.SinkAbilities {
	a := d.Sink.Abilities()
	if commit := a.Commit; commit != nil {
		a.Commit = func(ctx context.Context, changes []syncd.Change, marks []syncd.Mark) error {
			return d.handle(ctx, changes, func() error { return commit(ctx, lightened(changes), marks) })
		}
	}
	return a
}

const (
	kB = 1000
	mB = 1000 * kB
)

// What is held stays within the memory, whatever the size of the documents and the way that they take; small ones lose no
// concurrency, and none waits for ever. It may be exceeded by a portion of fetched documents, and by the first that each reader
// reads, whose size nobody knows.
func TestMemoryIsBounded(t *testing.T) {
	memory := engine.Memory{Documents: 32 * mB, Sending: 16 * mB}
	same := func(n int64) func(int) int64 { return func(int) int64 { return n } }
	for name, c := range map[string]struct {
		n           int
		size        func(i int) int64
		present     int // every so many documents one is missing; 0: all are
		exactlyOnce bool
		held        int64 // at most
		writing     int64
		calls       int64 // of the sink at once, at least
	}{
		"500 B":                  {n: 20_000, size: same(500), held: 20 * mB, writing: 8 * mB, calls: 8},
		"100 kB":                 {n: 2000, size: same(100 * kB), held: 32 * mB, writing: 16 * mB, calls: 8},
		"10 MB":                  {n: 40, size: same(10 * mB), held: 30 * mB, writing: 10 * mB, calls: 1},
		"10 MB, to be fetched":   {n: 400, size: same(10 * mB), present: 10, held: 30 * mB, writing: 10 * mB, calls: 1},
		"100 kB, to be fetched":  {n: 40_000, size: same(100 * kB), present: 10, held: 32 * mB, writing: 16 * mB, calls: 6},
		"2 kB, to be fetched":    {n: 20_000, size: same(2 * kB), present: 10, held: 20 * mB, writing: 8 * mB, calls: 8},
		"larger than the memory": {n: 20, size: same(50 * mB), held: 100 * mB, writing: 50 * mB, calls: 1},
		"one in ten is large":    {n: 3000, size: func(i int) int64 { return []int64{2 * kB, 10 * mB}[boolToInt(i%10 == 9)] }, held: 44 * mB, writing: 16 * mB, calls: 1},
		"one in ten is large, to be fetched": {
			n: 3000, size: func(i int) int64 { return []int64{2 * kB, 10 * mB}[boolToInt(i%100 == 0)] }, present: 10, held: 44 * mB, writing: 16 * mB, calls: 1,
		},
		"exactly once, 500 B":               {n: 20_000, size: same(500), exactlyOnce: true, held: 20 * mB, writing: 8 * mB, calls: 2},
		"exactly once, 100 kB":              {n: 2000, size: same(100 * kB), exactlyOnce: true, held: 32 * mB, writing: 16 * mB, calls: 2},
		"exactly once, 10 MB":               {n: 40, size: same(10 * mB), exactlyOnce: true, held: 32 * mB, writing: 10 * mB, calls: 1},
		"exactly once, to be fetched":       {n: 4000, size: same(100 * kB), exactlyOnce: true, present: 3, held: 32 * mB, writing: 16 * mB, calls: 2},
		"exactly once, 10 MB to be fetched": {n: 400, size: same(10 * mB), exactlyOnce: true, present: 3, held: 44 * mB, writing: 10 * mB, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, w, d := newHeavyFixture(t, c.n, c.size, c.exactlyOnce)
				sent := c.n
				if c.present > 0 {
					sent = f.have(t, w, c.n, c.present)
				} else {
					f.opts.Index = &syncd.Index{} // so that documents are read whole from the start
				}
				f.opts.Memory = memory
				e := engine.New(f.opts)
				if err := errors.Join(e.Prepare(t.Context()), e.Backfill(t.Context())); err != nil {
					t.Fatal(err)
				}
				if n := e.Report().Total.Acked; n != int64(sent) {
					t.Errorf("%d of %d were sent", n, sent)
				}
				if n := e.Held(); n != 0 {
					t.Errorf("%d bytes were not given back", n)
				}
				if w.held.peak > c.held || d.writing.peak > c.writing {
					t.Errorf("held %d bytes and wrote %d at once, want at most %d and %d", w.held.peak, d.writing.peak, c.held, c.writing)
				}
				if d.calls.peak < c.calls {
					t.Errorf("%d writes at once, want %d", d.calls.peak, c.calls)
				}
			})
		})
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// newHeavyFixture is a run over heavy documents: 8 workers, 2 readers, 4 splits, and a sink that takes 20 ms.
func newHeavyFixture(t *testing.T, n int, size func(int) int64, exactlyOnce bool) (*fixture, *warehouse, *dock) {
	f := newFixture(t)
	w := &warehouse{n: n, splits: 4, size: size, held: &gauge{}, whole: map[string]bool{}}
	d := &dock{Sink: f.sink, held: w.held, took: func([]syncd.Change) time.Duration { return 20 * time.Millisecond }}
	if exactlyOnce {
		d.Sink = syncdtest.NewMemoryCommitter()
		f.commitTo(t, d)
	} else {
		f.opts.Sink = d
	}
	f.opts.Source, f.opts.BatchSize, f.opts.Readers, f.opts.Workers = w, 1000, 2, 8
	return f, w, d
}

// have puts all documents but every one in so many into the index, and returns how many are missing.
func (f *fixture) have(t *testing.T, w *warehouse, n, one int) (missing int) {
	var seed []byte
	there := map[uuid.UUID]int{}
	for i := range n {
		if i%one == 0 {
			missing++
			continue
		}
		point, err := f.rule.PointID(&seed, &syncd.Change{ID: fmt.Sprintf("%05d", i)}, 0)
		if err != nil {
			t.Fatal(err)
		}
		there[point] = i
	}
	f.opts.Checker = index{f.checker, w, there}
	return missing
}

// index has documents. Those that were read whole are held no more once they are known to be there: nobody writes them.
type index struct {
	syncd.Checker
	w     *warehouse
	there map[uuid.UUID]int
}

func (x index) Check(_ context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	time.Sleep(time.Millisecond)
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	for i := range points {
		verdicts[i] = syncd.Missing
		if at, ok := x.there[points[i].ID]; ok {
			verdicts[i] = syncd.Present
			if id := fmt.Sprintf("%05d", at); x.w.whole[id] {
				x.w.held.add(-x.w.size(at))
				delete(x.w.whole, id)
			}
		}
	}
	return nil
}

// Whoever waits for memory ends with the drain and with the context, and gives back what it holds.
func TestWaitingForMemoryEnds(t *testing.T) {
	for name, exactlyOnce := range map[string]bool{"at least once": false, "exactly once": true} {
		for _, present := range []int{0, 3} {
			for _, drain := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, present %d, drain %v", name, present, drain), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, w, d := newHeavyFixture(t, 600, func(int) int64 { return 10 * mB }, exactlyOnce)
						if present > 0 {
							f.have(t, w, 600, present)
						} else {
							f.opts.Index = &syncd.Index{}
						}
						d.took = func([]syncd.Change) time.Duration { return time.Second } // so that nearly everybody waits for memory
						f.opts.Memory = engine.Memory{Documents: 32 * mB, Sending: 16 * mB}
						drained := make(chan struct{})
						f.opts.Drain = drained
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						e := engine.New(f.opts)
						if err := e.Prepare(ctx); err != nil {
							t.Fatal(err)
						}
						go func() {
							time.Sleep(2500 * time.Millisecond)
							if drain {
								close(drained)
							} else {
								cancel()
							}
						}()
						start := time.Now()
						err := e.Backfill(ctx)
						if drain && err != nil || !drain && !errors.Is(err, context.Canceled) {
							t.Errorf("the run ended with %v", err)
						}
						// What was read before the drain is sent: 200 documents, one after the other.
						if took := time.Since(start); took > 210*time.Second || !drain && took > 2600*time.Millisecond {
							t.Errorf("the run ended after %s", took)
						}
						if n := e.Held(); n != 0 {
							t.Errorf("%d bytes were not given back", n)
						}
						if acked := e.Report().Total.Acked; acked == 0 || acked == 600 {
							t.Errorf("%d were sent", acked)
						}
					})
				})
			}
		}
	}
}
