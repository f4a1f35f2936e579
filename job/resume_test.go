package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/storetest"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

var errBoom = errors.New("boom")

// attempt runs the job whose state is in the file at path as the command line does: it resumes the last attempt, or begins.
func attempt(ctx context.Context, t testing.TB, path string, o job.Options, crash ...*crash) (job.Report, error) {
	t.Helper()
	st, err := bolt.Open(filepath.Dir(path), nameAt(path))
	if err != nil {
		t.Fatal(err)
	}
	if old := st.Info(); old.RunID != "" && old.Resumable {
		o.RunID, err = old.RunID, st.Resume(ctx)
	} else {
		o.RunID = uuid.NewString()
		err = st.Begin(ctx, store.Info{Job: nameAt(path), RunID: o.RunID})
	}
	if err != nil {
		t.Fatal(err)
	}
	handled := st.Handled()
	o.Checkpoints = st
	if len(crash) > 0 {
		crash[0].Checkpoints = st
		o.Checkpoints = crash[0]
	}
	rep, runErr := job.Run(ctx, o)
	end := store.End{Outcome: tally.Complete}
	if runErr != nil || rep.Interrupted {
		end = store.End{Outcome: tally.Interrupted, Resumable: true}
	}
	if err := st.Close(ctx, end); err != nil {
		t.Fatal(err)
	}
	if runErr == nil && !rep.Interrupted && rep.Resumed > handled { // less where a collection was read from its start
		t.Errorf("%d documents are reported as resumed, but %d were handled before", rep.Resumed, handled)
	}
	return rep, runErr
}

// jobFile is the file of a job in a new folder.
func jobFile(t testing.TB) string { t.Helper(); return filepath.Join(t.TempDir(), "job-run.db") }

// nameAt is the job of a file.
func nameAt(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "job-"), ".db")
}

// crash is a store that dies at a moment: what it is told later is not kept.
type crash struct {
	store.Checkpoints
	mu   sync.RWMutex // held for writing while the file is copied, so that no write is cut in two
	dead bool
	copy string
}

func (c *crash) Collection(ctx context.Context, name string, s store.Collection, begin bool) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.dead {
		return errBoom
	}
	return c.Checkpoints.Collection(ctx, name, s, begin)
}

func (c *crash) Split(ctx context.Context, collection string, s store.Split, durable bool) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.dead {
		return errBoom
	}
	return c.Checkpoints.Split(ctx, collection, s, durable)
}

// die keeps the file as it is now.
func (c *crash) die(t testing.TB, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	c.dead, c.copy = true, path+".copy"
	copyFile(t, path, c.copy)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}

// covers checks that what was to be sent was, and nothing else, and returns how many events were more than one for a document.
func covers(t testing.TB, want []string, sent map[string]int) (repeats int) {
	t.Helper()
	for _, id := range want {
		if sent[id] == 0 {
			t.Errorf("%s was never sent", id)
		}
		repeats += max(0, sent[id]-1)
		delete(sent, id)
	}
	if len(sent) > 0 {
		t.Errorf("sent, though nobody missed it: %v", slices.Sorted(maps.Keys(sent)))
	}
	return repeats
}

// halting is a source whose first plan of a collection breaks off.
type halting struct {
	*syncdtest.MemorySource
	after int
	done  *bool
}

func (h halting) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		n := 0
		for s, err := range h.MemorySource.Splits(ctx, c) {
			if n == h.after && !*h.done {
				*h.done = true
				yield(syncd.Split{}, errBoom)
				return
			}
			if n++; !yield(s, err) {
				return
			}
		}
	}
}

// TestResume ends a run in every way that there is, resumes it, and looks at both runs together.
func TestResume(t *testing.T) {
	third := func(f syncdtest.Fault) syncdtest.Schedule { return syncdtest.Nth(3, f) }
	boom := syncdtest.Fault{Err: errBoom}
	afterwards := syncdtest.Fault{Err: errBoom, Done: true}
	ends := map[string]func(f *fixture, o *job.Options, cancel context.CancelFunc){
		"count": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Count: syncdtest.Nth(2, boom)})
		},
		"scan": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Read: syncdtest.Nth(2, boom)})
		},
		"batch": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: syncdtest.Nth(12, boom)})
		},
		"behind a batch": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: func(n int) syncdtest.Fault {
				if n < 12 { // the engine may stop reading behind any one of them, and never see its error
					return syncdtest.Fault{}
				}
				return afterwards
			}})
		},
		"check": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			if o.Checker != nil {
				o.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Check: syncdtest.Nth(12, boom)})
			} else {
				o.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: syncdtest.Nth(9, boom)})
			}
		},
		"write": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: third(boom)})
		},
		"behind a write": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: third(afterwards)})
		},
		"outage": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: third(syncdtest.Fault{
				Fail: map[int]error{0: fmt.Errorf("%w: %w", errBoom, syncd.ErrUnavailable)},
			})})
		},
		"cancel": func(f *fixture, _ *job.Options, cancel context.CancelFunc) {
			f.sink.Written = atEvent(100, cancel)
		},
		"drain": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			drain := make(chan struct{})
			o.Drain = drain
			f.sink.Written = atEvent(100, func() { close(drain) })
		},
		"planning, nothing planned": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = halting{f.source, 0, new(bool)}
		},
		"planning, some planned": func(f *fixture, o *job.Options, _ context.CancelFunc) {
			o.Source = halting{f.source, 4, new(bool)}
		},
	}
	for name, end := range ends {
		for _, splits := range []int{1, 7} {
			for _, full := range []bool{false, true} {
				if splits == 1 && name == "planning, some planned" {
					continue // one split is planned or not
				}
				t.Run(fmt.Sprintf("%s splits=%d full=%t", name, splits, full), func(t *testing.T) {
					f := newFixture(t, "page", "epic")
					f.source.SetSplits(splits)
					f.insert("page", 500, func(i int) bool { return i%3 == 0 })
					f.insert("epic", 105, func(i int) bool { return i%3 == 0 })
					f.opts.Readers, f.opts.Workers = 2, 3
					if full {
						f.opts.Checker = nil
					}
					want, err := job.Run(t.Context(), f.opts)
					if err != nil {
						t.Fatal(err)
					}
					ids := slices.Collect(maps.Keys(f.sentIDs()))
					*f.sink = syncdtest.MemorySink{}

					path := jobFile(t)
					o := f.opts
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					end(f, &o, cancel)
					first, err := attempt(ctx, t, path, o)
					switch {
					case name == "drain":
						if err != nil || !first.Interrupted {
							t.Errorf("drained: %v, %+v", err, first)
						}
					case name == "cancel":
						if !errors.Is(err, context.Canceled) {
							t.Errorf("cancelled: %v", err)
						}
					case !errors.Is(err, errBoom):
						t.Errorf("the first run: %v", err)
					}
					f.sink.Written = nil
					o.Drain = nil
					rep, err := attempt(t.Context(), t, path, f.opts)
					if err != nil {
						t.Fatal(err)
					}
					if repeats := covers(t, ids, f.sentIDs()); repeats > 2*o.Workers*o.BatchSize {
						t.Errorf("%d documents were sent again", repeats)
					}
					if diff := cmp.Diff(want.Total, rep.Total); diff != "" {
						t.Errorf("total (-uninterrupted +resumed)\n%s", diff)
					}
					if rep.RunID != first.RunID || rep.Resumed > first.Total.Scanned || name == "drain" && rep.Resumed != first.Total.Scanned {
						t.Errorf("run %s, resumed %d; the first one %s, %d", rep.RunID, rep.Resumed, first.RunID, first.Total.Scanned)
					}
					var resumed tally.Counts
					for i, c := range rep.Collections {
						resumed.Add(c.Resumed)
						if !c.Complete || c.Before != want.Collections[i].Before || c.Splits < 1 {
							t.Errorf("%+v", c)
						}
					}
					if resumed.Scanned != rep.Resumed {
						t.Errorf("resumed %d, of the collections %d", rep.Resumed, resumed.Scanned)
					}
					// What is complete is never resumed.
					rep, err = attempt(t.Context(), t, path, f.opts)
					if err != nil || rep.Resumed != 0 || rep.RunID == first.RunID || rep.Total.Scanned != 605 {
						t.Errorf("a third run: %v, resumed %d of %d", err, rep.Resumed, rep.Total.Scanned)
					}
				})
			}
		}
	}
}

// atEvent calls f when the n-th event was written.
func atEvent(n int, f func()) func(codec.Event) {
	seen := 0 // a sink calls one at a time
	return func(codec.Event) {
		if seen++; seen == n {
			f()
		}
	}
}

// keyless is a source whose unreadable documents have neither keys nor ids.
type keyless struct{ *syncdtest.MemorySource }

func (k keyless) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		for batch, err := range k.MemorySource.Read(ctx, req) {
			for i := range batch.Changes {
				if c := &batch.Changes[i]; c.Err != nil {
					c.Key, c.ID = "", ""
				}
			}
			if err != nil {
				yield(batch, err)
				return
			}
			for b := range syncd.KeyedBatches(batch.Changes) {
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

// TestResumeBehindKeylessDocuments: a read can't resume behind them, so that they are met again, but they count once.
func TestResumeBehindKeylessDocuments(t *testing.T) {
	for _, size := range []int{1, 2, 5, 10} {
		for _, dead := range []bool{false, true} {
			t.Run(fmt.Sprintf("batch=%d dead=%t", size, dead), func(t *testing.T) {
				f := newFixture(t, "page")
				for i := range 60 {
					d := syncdtest.MemoryDoc{ID: fmt.Sprintf("%05d", i)}
					if i%10 >= 8 || i >= 55 {
						d.Err = errors.New("no id")
					}
					f.source.Insert("page", d)
				}
				f.opts.Source, f.opts.BatchSize, f.opts.Workers, f.opts.Readers = keyless{f.source}, size, 1, 1
				if dead {
					f.opts.DeadLetters = syncdtest.NewMemorySink()
				}
				want, err := job.Run(t.Context(), f.opts)
				if err != nil {
					t.Fatal(err)
				}
				ids := slices.Collect(maps.Keys(f.sentIDs()))
				*f.sink = syncdtest.MemorySink{}
				path := jobFile(t)
				for n := 1; ; n++ { // the n-th write of each attempt fails
					o := f.opts
					o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Err: errBoom})})
					rep, err := attempt(t.Context(), t, path, o)
					if errors.Is(err, errBoom) && n < 100 {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want.Total, rep.Total); diff != "" {
						t.Errorf("total (-uninterrupted +resumed)\n%s", diff)
					}
					break
				}
				covers(t, ids, f.sentIDs())
			})
		}
	}
}

// interrupted leaves a run of a hundred documents of page, all missing, that ended in its middle.
func interrupted(t *testing.T, f *fixture) (path string) {
	t.Helper()
	f.insert("page", 100, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	o := f.opts
	o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(5, syncdtest.Fault{Err: errBoom})})
	path = jobFile(t)
	if _, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	if n := len(f.sink.Events()); n != 40 {
		t.Fatalf("%d events", n)
	}
	return path
}

// TestACollectionMadeAnewIsReadFromItsStart: keys of the old one mean nothing in it.
func TestACollectionMadeAnewIsReadFromItsStart(t *testing.T) {
	f := newFixture(t, "page")
	path := interrupted(t, f)
	*f.sink = syncdtest.MemorySink{}
	f.source.Drop("page")
	f.insert("page", 70, nil)
	rep, err := attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Resumed != 0 || rep.Total.Acked != 70 || len(f.sentIDs()) != 70 {
		t.Errorf("%v, resumed %d, %+v", err, rep.Resumed, rep.Total)
	}
}

// TestARuleThatChangedReadsItsCollectionFromItsStart: what was present for the old one may be missing for it.
func TestARuleThatChangedReadsItsCollectionFromItsStart(t *testing.T) {
	f := newFixture(t, "page")
	path := interrupted(t, f)
	*f.sink = syncdtest.MemorySink{}
	f.opts.Rules = seeded(t, "{content_type}/{mongo_id}/{chunk_index}", "page", "page")
	rep, err := attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Resumed != 0 || rep.Total.Acked != 100 || len(f.sentIDs()) != 100 {
		t.Errorf("%v, resumed %d, %+v", err, rep.Resumed, rep.Total)
	}
}

// TestACollectionThatIsGoneHoldsNothing, whatever was read of it.
func TestACollectionThatIsGoneHoldsNothing(t *testing.T) {
	f := newFixture(t, "page")
	path := interrupted(t, f)
	f.source.Drop("page")
	rep, err := attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Resumed != 0 || rep.Total.Scanned != 0 || rep.Collections[0].Found {
		t.Errorf("%v, %+v", err, rep)
	}
}

// TestIdentityThatCannotBeAsked ends the run: to begin anew would send everything again.
func TestIdentityThatCannotBeAsked(t *testing.T) {
	f := newFixture(t, "page")
	path := interrupted(t, f)
	o := f.opts
	o.Source = nameless{f.source}
	if _, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) {
		t.Error(err)
	}
	rep, err := attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Resumed != 40 || rep.Total.Acked != 100 || len(f.sink.Events()) != 100 {
		t.Errorf("%v, resumed %d, %+v", err, rep.Resumed, rep.Total)
	}
}

type nameless struct{ *syncdtest.MemorySource }

func (n nameless) Abilities() syncd.SourceAbilities {
	can := n.MemorySource.Abilities()
	can.Identity = func(context.Context, syncd.Collection) (string, error) { return "", errBoom }
	return can
}

// recounted is a source that gives these counts, one after another.
type recounted struct {
	*syncdtest.MemorySource
	mu     sync.Mutex
	counts []int64
	scans  map[string]int
}

func (r *recounted) Abilities() syncd.SourceAbilities {
	can := r.MemorySource.Abilities()
	can.Count = r.Count
	return can
}

func (r *recounted) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Name != "page" {
		return r.MemorySource.Abilities().Count(ctx, c)
	}
	n := r.counts[0]
	r.counts = r.counts[1:]
	return n, nil
}

func (r *recounted) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scans[req.Split.Collection.Name]++
	return r.MemorySource.Read(ctx, req)
}

// TestWhatIsCompleteIsNotReadAgain, nor proved again: what the collection holds by now says nothing about a scan that ended
// before.
func TestWhatIsCompleteIsNotReadAgain(t *testing.T) {
	f := newFixture(t, "page", "epic")
	f.insert("page", 50, nil)
	f.insert("epic", 50, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	// One of 51 documents was deleted before the scan came to it; much later there are more.
	source := &recounted{MemorySource: f.source, counts: []int64{51, 50, 99}, scans: map[string]int{}}
	f.opts.Source = source
	o := f.opts
	o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(8, syncdtest.Fault{Err: errBoom})})
	path := jobFile(t)
	rep, err := attempt(t.Context(), t, path, o)
	if !errors.Is(err, errBoom) || !rep.Collections[0].Complete {
		t.Fatal(err, rep)
	}
	clear(source.scans)
	f.seen.done = nil
	rep, err = attempt(t.Context(), t, path, f.opts)
	if err != nil || source.scans["page"] != 0 || source.scans["epic"] != 1 || rep.Total.Acked != 100 || rep.Resumed != 70 {
		t.Errorf("%v, scans %v, resumed %d, %+v", err, source.scans, rep.Resumed, rep.Total)
	}
	if !slices.Equal(f.seen.done, []string{"page", "epic"}) {
		t.Errorf("done: %v", f.seen.done)
	}
}

// recalls is a store that holds one state and keeps nothing.
type recalls map[string]*store.Collection

func (r recalls) Recall(collection string) *store.Collection { return r[collection] }
func (r recalls) Collection(context.Context, string, store.Collection, bool) error {
	return nil
}
func (r recalls) Split(context.Context, string, store.Split, bool) error { return nil }

func TestStatesThatDoNotFitAreRefused(t *testing.T) {
	split := func(i int, lower, upper syncd.Key) store.Split {
		return store.Split{Index: i, Lower: lower, Upper: upper}
	}
	done := split(0, "", "")
	done.Done, done.Counts = true, tally.Counts{Scanned: 3, Present: 2}
	for name, s := range map[string]store.Collection{
		"a gap":                      {Splits: []store.Split{split(0, "", "t5"), split(1, "t6", "")}},
		"an overlap":                 {Splits: []store.Split{split(0, "", "t5"), split(1, "t4", "")}},
		"from the start again":       {Splits: []store.Split{split(0, "", ""), split(1, "", "")}},
		"the first is not there":     {Splits: []store.Split{split(1, "", "")}},
		"one is not there":           {Splits: []store.Split{split(0, "", "t5"), split(2, "t5", "")}},
		"one is there twice":         {Splits: []store.Split{split(0, "", "t5"), split(0, "t5", "")}},
		"numbers that do not add up": {Splits: []store.Split{done}},
		"complete, but not done":     {Complete: true, Splits: []store.Split{split(0, "", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 10, nil)
			f.source.SetIdentity("page", "")
			s.Rule = f.opts.Rules[0].Fingerprint()
			f.opts.Checkpoints = recalls{"page": &s}
			if _, err := job.Run(t.Context(), f.opts); !errors.Is(err, store.ErrNotResumable) || len(f.sink.Events()) != 0 {
				t.Errorf("%v, %d events", err, len(f.sink.Events()))
			}
		})
	}
}

// broken is a store that fails from its n-th call on.
type broken struct {
	recalls
	mu   sync.Mutex
	left int
}

func (b *broken) call() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left--; b.left < 0 {
		return errBoom
	}
	return nil
}

func (b *broken) Collection(context.Context, string, store.Collection, bool) error {
	return b.call()
}
func (b *broken) Split(context.Context, string, store.Split, bool) error { return b.call() }

// TestAStoreThatFails ends the run, at whichever call, since what follows could not be resumed.
func TestAStoreThatFails(t *testing.T) {
	f := newFixture(t, "page", "gone")
	f.insert("page", 30, nil)
	f.opts.Workers, f.opts.Readers = 1, 1
	for n := 0; ; n++ {
		f.opts.Checkpoints = &broken{left: n}
		_, err := job.Run(t.Context(), f.opts)
		if err == nil {
			if n < 8 { // page: begun, a split, planned, three batches at once or not, done, complete; gone: begun, complete
				t.Errorf("%d calls were enough", n)
			}
			return
		}
		if !errors.Is(err, errBoom) || n > 20 {
			t.Fatalf("call %d: %v", n, err)
		}
	}
}

// TestOrphansAfterAResumedRun: a run that was interrupted looks for them at its end like any other, and may delete.
func TestOrphansAfterAResumedRun(t *testing.T) {
	f := newFixture(t, "page")
	for i := range 5 {
		id := fmt.Sprintf("gone%d", i)
		f.checker.Put(pointID("page", id), map[string]any{"content_type": "page", "mongo_id": id, "chunk_index": 0})
	}
	f.opts.Orphans = job.OrphansPrune
	path := interrupted(t, f)
	rep, err := attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Resumed != 40 || len(rep.Orphans) != 1 || rep.Orphans[0].Deleted != 5 || rep.Total.Acked != 100 {
		t.Errorf("%v, resumed %d, %+v, %+v", err, rep.Resumed, rep.Orphans, rep.Total)
	}
}

// TestLimitsAreOfTheWholeRun, however often it is interrupted and resumed.
func TestLimitsAreOfTheWholeRun(t *testing.T) {
	var guard *tally.GuardError
	f := newFixture(t, "page")
	path := interrupted(t, f)
	f.opts.Limits.MaxEvents = 99
	_, err := attempt(t.Context(), t, path, f.opts)
	if !errors.As(err, &guard) || len(f.sink.Events()) != 90 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}
	f.opts.Limits.MaxEvents = 100
	if _, err := attempt(t.Context(), t, path, f.opts); err != nil || len(f.sink.Events()) != 100 {
		t.Errorf("%v, %d events", err, len(f.sink.Events()))
	}

	f = newFixture(t, "page")
	f.sink.Reject = func(e codec.Event) error {
		if e.ID[4] == '3' || e.ID[4] == '7' {
			return errors.New("no")
		}
		return nil
	}
	f.opts.Workers, f.opts.Readers = 1, 1
	f.insert("page", 100, nil)
	path = jobFile(t)
	o := f.opts
	o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(5, syncdtest.Fault{Err: errBoom})})
	if _, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	for n, want := range map[int64]bool{19: true, 20: false} {
		other := jobFile(t)
		copyFile(t, path, other)
		f.opts.MaxFailures = n
		if _, err := attempt(t.Context(), t, other, f.opts); errors.As(err, &guard) != want {
			t.Errorf("errors.max %d: %v", n, err)
		}
	}
}

// TestSplitStateJSON: keys are bytes, of which JSON text would lose some.
func TestSplitStateJSON(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, s := range []store.Split{
		{},
		{Index: 7, Lower: syncd.Key(all), Upper: "\xff\xfe", After: "\x00", Done: true},
		{Counts: tally.Counts{Scanned: 3, FailedRead: 1, Unasked: 2, Emitted: 2, Acked: 2}, Failures: []tally.Failure{{ID: "a", Stage: "read", Reason: "é"}}},
	} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back store.Split
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	if err := json.Unmarshal([]byte(`{"index":"x"}`), &store.Split{}); err == nil {
		t.Error("a split that is none")
	}
}

// scenario is a random run, for the properties that hold of all.
type scenario struct {
	*fixture
	rnd  *rand.Rand
	want []string // to be sent
	docs int
}

func newScenario(t testing.TB, seed uint64) *scenario {
	s := &scenario{rnd: rand.New(rand.NewPCG(seed, 1))}
	f := newFixture(t, "page", "epic")
	s.fixture = f
	f.source.SetSplits(1 + s.rnd.IntN(6))
	for _, c := range []string{"page", "epic"} {
		f.source.Create(c)
		missing := s.rnd.Float64() // of the documents
		for i := range s.rnd.IntN(120) {
			d := syncdtest.MemoryDoc{ID: fmt.Sprintf("%05d", i), Fields: map[string]any{"n": i}}
			s.docs++
			switch {
			case s.rnd.IntN(20) == 0:
				d.Err = errors.New("no id")
			case s.rnd.Float64() < missing:
				s.want = append(s.want, c+"/"+d.ID.(string))
			default:
				f.checker.Add(pointID(c, d.ID.(string)))
			}
			f.source.Insert(c, d)
		}
	}
	f.opts.Source = f.source
	if s.rnd.IntN(2) == 0 {
		f.opts.Source = keyless{f.source}
	}
	f.opts.Readers, f.opts.Workers, f.opts.BatchSize = 1+s.rnd.IntN(3), 1+s.rnd.IntN(4), 1+s.rnd.IntN(20)
	if s.rnd.IntN(3) == 0 {
		f.opts.BatchBytes = 1 // an event a write
	}
	if s.rnd.IntN(3) == 0 {
		f.opts.DeadLetters = syncdtest.NewMemorySink()
	}
	return s
}

// fault is one at some call, and what it does there.
func (s *scenario) fault() syncdtest.Schedule {
	if s.rnd.IntN(3) > 0 {
		return nil
	}
	f := syncdtest.Fault{Err: errBoom, Done: s.rnd.IntN(2) == 0}
	if s.rnd.IntN(4) == 0 {
		f = syncdtest.Fault{Fail: map[int]error{s.rnd.IntN(3): syncd.ErrUnavailable}}
	}
	return syncdtest.Nth(1+s.rnd.IntN(20), f)
}

// withFaults is a run in which something fails, or nothing.
func (s *scenario) withFaults() job.Options {
	o := s.opts
	faults := syncdtest.SourceFaults{Batch: s.fault(), Fetch: s.fault(), Read: s.fault()}
	if s.rnd.IntN(6) == 0 {
		faults.Splits = syncdtest.Nth(1+s.rnd.IntN(2), syncdtest.Fault{Err: errBoom, Done: s.rnd.IntN(2) == 0})
	}
	o.Source = syncdtest.FaultySource(o.Source, faults)
	o.Checker = syncdtest.FaultyChecker(s.checker, syncdtest.CheckerFaults{Check: s.fault()})
	o.Sink = syncdtest.FaultySink(s.sink, syncdtest.SinkFaults{Write: s.fault()})
	return o
}

// complete checks a run that came to its end, after so many that did not.
func (s *scenario) complete(t testing.TB, rep job.Report, interruptions int) {
	t.Helper()
	repeats := covers(t, s.want, s.sentIDs())
	if limit := interruptions * 2 * s.opts.Workers * s.opts.BatchSize; repeats > limit {
		t.Errorf("%d documents were sent again, more than %d interruptions can explain", repeats, interruptions)
	}
	n := rep.Total
	if n.Scanned != int64(s.docs) || n.Acked != int64(len(s.want)) || n.Emitted != n.Acked || n.Present+n.FailedRead+n.Missing != n.Scanned {
		t.Errorf("of %d documents, %d to be sent: %+v", s.docs, len(s.want), n)
	}
	if s.opts.DeadLetters != nil && n.DeadLettered != n.FailedRead {
		t.Errorf("dead letters: %+v", n)
	}
}

// TestResumedRunsSendEverything interrupts random runs again and again: by errors, and by deaths, after which there is the file
// of that moment and what was sent until then.
func TestResumedRunsSendEverything(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 30
	}
	dir := t.TempDir()
	for seed := range seeds {
		s := newScenario(t, seed)
		path := filepath.Join(dir, fmt.Sprintf("job-run-%d.db", seed))
		interruptions := 0
		for {
			o := s.opts
			var death *crash
			ctx, cancel := context.WithCancel(t.Context())
			if interruptions < 6 {
				o = s.withFaults()
				if s.rnd.IntN(2) == 0 {
					death = &crash{}
					s.sink.Written = atEvent(1+s.rnd.IntN(40), func() {
						death.die(t, path)
						cancel()
					})
				}
			}
			var rep job.Report
			var err error
			if death != nil {
				rep, err = attempt(ctx, t, path, o, death)
			} else {
				rep, err = attempt(ctx, t, path, o)
			}
			cancel()
			s.sink.Written = nil
			if death != nil && death.dead {
				if rerr := os.Rename(death.copy, path); rerr != nil {
					t.Fatal(rerr)
				}
				if err == nil {
					err = errBoom // it died on its last step
				}
			}
			if err != nil {
				if interruptions++; interruptions > 6 || errors.Is(err, store.ErrNotResumable) {
					t.Errorf("attempt %d: %v", interruptions, err)
					break
				}
				continue
			}
			s.complete(t, rep, interruptions)
			break
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, s.opts)
		}
	}
}

// forgetting is the worst store that keeps its word: of what it is told, a death leaves only what must be durable, and what
// came before it.
type forgetting struct {
	mu         sync.Mutex
	told, kept map[string]store.Collection
	dead       bool
}

func newForgetting() *forgetting {
	return &forgetting{told: map[string]store.Collection{}, kept: map[string]store.Collection{}}
}

func cloneStates(from map[string]store.Collection) map[string]store.Collection {
	to := maps.Clone(from)
	for name, s := range to {
		s.Splits = slices.Clone(s.Splits)
		to[name] = s
	}
	return to
}

// reborn is the store that the next run finds.
func (f *forgetting) reborn() *forgetting {
	return &forgetting{told: cloneStates(f.kept), kept: cloneStates(f.kept)}
}

func (f *forgetting) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

func (f *forgetting) Recall(collection string) *store.Collection {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.told[collection]
	if !ok {
		return nil
	}
	s.Splits = slices.Clone(s.Splits)
	return &s
}

func (f *forgetting) Collection(ctx context.Context, name string, s store.Collection, begin bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errBoom
	}
	if !begin {
		s.Splits = f.told[name].Splits
	}
	f.told[name] = s
	return nil
}

func (f *forgetting) Split(ctx context.Context, collection string, p store.Split, durable bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errBoom
	}
	s, ok := f.told[collection]
	switch {
	case !ok || p.Index > len(s.Splits):
		return fmt.Errorf("a split before its collection, or before the one in front of it: %d of %d", p.Index, len(s.Splits))
	case p.Index == len(s.Splits):
		s.Splits = append(s.Splits, p)
	case p.Counts.Scanned < s.Splits[p.Index].Counts.Scanned:
		return fmt.Errorf("split %d goes back", p.Index)
	default:
		s.Splits[p.Index] = p
	}
	f.told[collection] = s
	if durable {
		f.kept = cloneStates(f.told)
	}
	return nil
}

// TestDeathRepeatsNoMoreThanIsUnderWay, whatever was not yet kept.
func TestDeathRepeatsNoMoreThanIsUnderWay(t *testing.T) {
	seeds := uint64(500)
	if testing.Short() {
		seeds = 100
	}
	for seed := range seeds {
		s := newScenario(t, seed)
		j := newForgetting()
		deaths := 0
		for {
			o := s.opts
			if deaths < 6 {
				o = s.withFaults()
				s.sink.Written = atEvent(1+s.rnd.IntN(40), j.die)
			}
			o.Checkpoints = j
			rep, err := job.Run(t.Context(), o)
			s.sink.Written = nil
			if err != nil {
				if deaths++; deaths > 6 || errors.Is(err, store.ErrNotResumable) {
					t.Errorf("death %d: %v", deaths, err)
					break
				}
				j = j.reborn()
				continue
			}
			s.complete(t, rep, deaths)
			break
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// durables is a store that remembers the positions that it was to keep durably.
type durables struct {
	recalls
	mu    sync.Mutex
	after []syncd.Offset
}

func (d *durables) Split(_ context.Context, _ string, s store.Split, durable bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if durable {
		d.after = append(d.after, s.After)
	}
	return nil
}

// holding is a checker that does not answer a question about one point until the gate opens.
type holding struct {
	*syncdtest.MemoryChecker
	point uuid.UUID
	gate  *syncdtest.Gate
}

func (h holding) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if slices.Contains(points, syncd.Point{ID: h.point}) {
		faulty := syncdtest.FaultyChecker(h.MemoryChecker, syncdtest.CheckerFaults{Check: syncdtest.Always(syncdtest.Fault{Gate: h.gate})})
		return faulty.Check(ctx, points, verdicts)
	}
	return h.MemoryChecker.Check(ctx, points, verdicts)
}

// TestWhatWasSentIsKeptDurably, even if the batch that lets the split move on past it sent nothing itself.
func TestWhatWasSentIsKeptDurably(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 30, func(i int) bool { return i < 10 || i >= 20 })
		j, gate := &durables{}, syncdtest.NewGate()
		f.opts.Checker, f.opts.Checkpoints, f.opts.Workers, f.opts.Readers = holding{f.checker, pointID("page", "00000"), gate}, j, 2, 1
		ended := make(chan error)
		go func() {
			_, err := job.Run(t.Context(), f.opts)
			ended <- err
		}()
		synctest.Wait() // the second batch was sent, the third had nothing to send, and both wait for the first
		if len(f.sink.Events()) != 10 || len(j.after) != 0 {
			t.Errorf("%d events, kept %q", len(f.sink.Events()), j.after)
		}
		gate.Open()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if !slices.Equal(j.after, []syncd.Offset{"t00029"}) {
			t.Errorf("kept durably: %q", j.after)
		}
	})
}

// discreet is a source whose plan ends without a word when its context does.
type discreet struct {
	*syncdtest.MemorySource
	drain chan struct{}
}

func (d discreet) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		n := 0
		for s, err := range d.MemorySource.Splits(context.WithoutCancel(ctx), c) {
			if n == 1 {
				close(d.drain)
				<-ctx.Done()
			}
			if ctx.Err() != nil || !yield(s, err) {
				return
			}
			n++
		}
	}
}

// TestAPlanThatWasCutShortIsNotWhole, even if the source does not say that it was.
func TestAPlanThatWasCutShortIsNotWhole(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.source.SetSplits(5)
	path := jobFile(t)
	o := f.opts
	drain := make(chan struct{})
	o.Source, o.Drain = discreet{f.source, drain}, drain
	rep, err := attempt(t.Context(), t, path, o)
	if err != nil || !rep.Interrupted || rep.Collections[0].Complete {
		t.Errorf("%v, %+v", err, rep.Collections)
	}
	rep, err = attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Total.Scanned != 100 || len(f.sentIDs()) != 100 {
		t.Errorf("%v, %d read, %d sent", err, rep.Total.Scanned, len(f.sentIDs()))
	}
}

// TestAnIndexThatLostPointsIsLookedAtAnew: what the interrupted run found there says nothing any more.
func TestAnIndexThatLostPointsIsLookedAtAnew(t *testing.T) {
	for name, tc := range map[string]struct {
		left   int // of the 50 documents that the interrupted run found present
		resume bool
	}{
		"nothing lost": {50, true},
		"one lost":     {49, false},
		"all lost":     {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 100, func(i int) bool { return i < 50 })
			f.opts.Workers, f.opts.Readers = 1, 1
			o := f.opts
			o.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{Err: errBoom})})
			path := jobFile(t)
			if rep, err := attempt(t.Context(), t, path, o); !errors.Is(err, errBoom) || rep.Total.Present != 50 {
				t.Fatal(err, rep.Total)
			}
			index := syncdtest.NewMemoryChecker()
			for i := range tc.left {
				index.Add(pointID("page", fmt.Sprintf("%05d", i)))
			}
			o = f.opts
			o.Checker = index
			if !tc.resume { // an attempt that comes to nothing, and other points meanwhile, do not bring the old answers back
				drained := make(chan struct{})
				close(drained)
				o.Drain = drained
				if rep, err := attempt(t.Context(), t, path, o); err != nil || !rep.Interrupted {
					t.Fatal(err, rep)
				}
				o.Drain = nil
				for range 50 {
					index.Add(uuid.New())
				}
			}
			rep, err := attempt(t.Context(), t, path, o)
			if want := int64(100 - tc.left); err != nil || (rep.Resumed > 0) != tc.resume || rep.Total.Acked != want {
				t.Errorf("%v, resumed %d, %+v", err, rep.Resumed, rep.Total)
			}
		})
	}
}

// drainedStore has the run drained when it is told of something, and is slow to keep it.
type drainedStore struct {
	store.Store
	at    func(name string, s store.Split) bool // name is empty for a split's state
	drain chan struct{}
	once  sync.Once
	cut   atomic.Bool // what was told when the run was drained was cut off
}

func (d *drainedStore) keep(ctx context.Context, name string, s store.Split) error {
	if d.at(name, s) {
		d.once.Do(func() {
			close(d.drain)
			select {
			case <-ctx.Done():
				d.cut.Store(true)
			case <-time.After(50 * time.Millisecond):
			}
		})
	}
	return ctx.Err()
}

func (d *drainedStore) Collection(ctx context.Context, name string, c store.Collection, begin bool) error {
	if err := d.keep(ctx, name, store.Split{}); err != nil {
		return err
	}
	return d.Store.Collection(ctx, name, c, begin)
}

func (d *drainedStore) Split(ctx context.Context, name string, s store.Split, durable bool) error {
	if err := d.keep(ctx, "", s); err != nil {
		return err
	}
	return d.Store.Split(ctx, name, s, durable)
}

// TestADrainCutsOffNoCheckpoint: a store that keeps things in transactions could not tell what became of it, and would keep nothing more.
func TestADrainCutsOffNoCheckpoint(t *testing.T) {
	for name, at := range map[string]func(name string, s store.Split) bool{
		"collection": func(name string, _ store.Split) bool { return name == "page" },
		"split":      func(name string, s store.Split) bool { return name == "" && !s.Done },
		"done":       func(_ string, s store.Split) bool { return s.Done },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page", "epic")
			f.insert("page", 20, nil)
			f.insert("epic", 20, nil)
			d := &drainedStore{Store: storetest.NewMemoryStore(), at: at, drain: make(chan struct{})}
			if err := d.Begin(t.Context(), store.Info{RunID: "run"}); err != nil {
				t.Fatal(err)
			}
			f.opts.Checkpoints, f.opts.Drain, f.opts.Readers = d, d.drain, 1
			if rep, err := job.Run(t.Context(), f.opts); err != nil || !rep.Interrupted || d.cut.Load() {
				t.Errorf("%v, interrupted %t, cut off %t", err, rep.Interrupted, d.cut.Load())
			}
		})
	}
}

// quiet is a source whose reads end without a word when their context does.
type quiet struct {
	*syncdtest.MemorySource
	drain chan struct{}
}

func (q quiet) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		n := 0
		for b, err := range q.MemorySource.Read(context.WithoutCancel(ctx), req) {
			if n == 3 {
				close(q.drain)
				<-ctx.Done()
			}
			if ctx.Err() != nil || !yield(b, err) {
				return
			}
			n++
		}
	}
}

// TestAReadThatWasCutShortIsNotTheEnd of its split, even if the source does not say that it was.
func TestAReadThatWasCutShortIsNotTheEnd(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	path := jobFile(t)
	o := f.opts
	drain := make(chan struct{})
	o.Source, o.Drain = quiet{f.source, drain}, drain
	rep, err := attempt(t.Context(), t, path, o)
	if err != nil || !rep.Interrupted || rep.Collections[0].Complete || rep.Collections[0].Splits != 0 {
		t.Errorf("%v, %+v", err, rep.Collections)
	}
	rep, err = attempt(t.Context(), t, path, f.opts)
	if err != nil || rep.Total.Scanned != 100 || len(f.sentIDs()) != 100 {
		t.Errorf("%v, %d read, %d sent", err, rep.Total.Scanned, len(f.sentIDs()))
	}
}
