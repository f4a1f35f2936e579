package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// observer keeps what it is told.
type observer struct {
	mu      sync.Mutex
	started int
	full    bool
	done    []string
}

func (o *observer) Started(_ job.IndexReport, full bool) { o.started++; o.full = full }

func (o *observer) CollectionDone(r engine.CollectionReport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = append(o.done, r.Rule.Collection.Name)
}

func rules(t testing.TB, names ...string) []*mapping.Rule {
	t.Helper()
	c := mapping.Config{Namespace: "url", Seed: mapping.DefaultSeed, Payload: mapping.Defaults().Payload, Owner: &mapping.Owner{Exclusive: true}}
	for _, n := range names {
		c.Collections = append(c.Collections, mapping.Collection{Name: n, ContentType: n})
	}
	d := spec.NewDecoder()
	m := mapping.Compile(c, "db", d, nil)
	if diags := d.Diagnostics(); len(diags) > 0 {
		t.Fatal(diags)
	}
	return m.Rules
}

func pointID(collection, id string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(id+"/"+collection+"/0"))
}

// fixture is a run over memory plugins.
type fixture struct {
	source  *syncdtest.MemorySource
	checker *syncdtest.MemoryChecker
	sink    *syncdtest.MemorySink
	seen    *observer
	opts    job.Options
}

func newFixture(t testing.TB, names ...string) *fixture {
	f := &fixture{
		source: syncdtest.NewMemorySource(), checker: syncdtest.NewMemoryChecker(), sink: syncdtest.NewMemorySink(),
		seen: &observer{},
	}
	f.opts = job.Options{
		Options: engine.Options{
			RunID: "run-1", Source: f.source, Checker: f.checker, Sink: f.sink, Rules: rules(t, names...),
			BatchSize: 10, BatchBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler),
			Hooks: engine.Hooks{CollectionDone: f.seen.CollectionDone},
		},
		Started: f.seen.Started,
	}
	return f
}

// insert puts n documents into a collection; those for which present says so are in the index as well.
func (f *fixture) insert(collection string, n int, present func(i int) bool) {
	for i := range n {
		id := fmt.Sprintf("%05d", i)
		f.source.Insert(collection, syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"title": "t" + id}})
		if present != nil && present(i) {
			f.checker.Add(pointID(collection, id))
		}
	}
}

func (f *fixture) sentIDs() map[string]int {
	out := map[string]int{}
	for _, e := range f.sink.Events() {
		out[e.Target.Collection+"/"+e.ID]++
	}
	return out
}

func TestIncrementalSendsExactlyWhatIsMissing(t *testing.T) {
	for _, splits := range []int{1, 7} {
		for _, share := range []int{1, 2, 3, 100} { // every share-th document is missing
			t.Run(fmt.Sprintf("splits=%d missing=1/%d", splits, share), func(t *testing.T) {
				f := newFixture(t, "page", "epic")
				f.source.SetSplits(splits)
				present := func(i int) bool { return i%share != 0 }
				f.insert("page", 1003, present)
				f.insert("epic", 10, present)
				rep, err := job.Run(t.Context(), f.opts)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]int{}
				for i := 0; i < 1003; i += share {
					want[fmt.Sprintf("page/%05d", i)] = 1
				}
				for i := 0; i < 10; i += share {
					want[fmt.Sprintf("epic/%05d", i)] = 1
				}
				if diff := cmp.Diff(want, f.sentIDs()); diff != "" {
					t.Errorf("sent (-want +got)\n%s", diff)
				}
				c := rep.Total
				if c.Scanned != 1013 || c.Missing != int64(len(want)) || c.Acked != c.Missing || c.Emitted != c.Acked || c.Present != 1013-c.Missing {
					t.Errorf("total %+v", c)
				}
				for _, r := range rep.Collections {
					if !r.Complete || !r.Found || r.Before != r.Scanned || r.Splits != min(splits, int(r.Scanned)) {
						t.Errorf("collection %+v", r)
					}
				}
				if f.seen.started != 1 || len(f.seen.done) != 2 || f.seen.full {
					t.Errorf("observed %+v", f.seen)
				}
				// A second run with the index caught up sends nothing.
				for _, e := range f.sink.Events() {
					f.checker.Add(e.PointID)
				}
				rep, err = job.Run(t.Context(), f.opts)
				if err != nil || rep.Total.Emitted != 0 || rep.Total.Present != 1013 {
					t.Errorf("second run: %+v, %v", rep.Total, err)
				}
			})
		}
	}
}

func TestEvents(t *testing.T) {
	f := newFixture(t, "page")
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "a\"é", Fields: map[string]any{"title": "x"}})
	if _, err := job.Run(t.Context(), f.opts); err != nil {
		t.Fatal(err)
	}
	e := f.sink.Events()[0]
	var v struct {
		OperationType string
		NS            struct{ DB, Coll string }
		DocumentKey   struct {
			ID string `json:"_id"`
		}
		FullDocument map[string]any
	}
	if err := json.Unmarshal(e.Value, &v); err != nil {
		t.Fatalf("%s: %v", e.Value, err)
	}
	if v.OperationType != "insert" || v.NS.DB != "db" || v.NS.Coll != "page" || v.DocumentKey.ID != `a"é` ||
		v.FullDocument["_id"] != `a"é` || v.FullDocument["title"] != "x" || string(e.Key) != `a"é` {
		t.Errorf("event %s, key %s", e.Value, e.Key)
	}
	want := []codec.Header{
		{Name: "syncd-point-id", Value: pointID("page", `a"é`).String()},
		{Name: "syncd-content-type", Value: "page"},
		{Name: "syncd-run-id", Value: "run-1"},
		{Name: "syncd-reason", Value: "missing"},
	}
	if diff := cmp.Diff(want, slices.Delete(slices.Clone(e.Headers), 2, 3)); diff != "" {
		t.Error(diff)
	}
	if h := e.Headers[2]; h.Name != "syncd-read-time" {
		t.Errorf("the third header is %v", h)
	} else if at, err := time.Parse(time.RFC3339Nano, h.Value); err != nil || time.Since(at) > time.Minute {
		t.Errorf("read at %s, %v", at, err)
	}
	if got := f.sink.Prepared(); len(got) != 1 || got[0].ContentType != "page" {
		t.Errorf("prepared %+v", got)
	}
}

func TestFullModeAsksNothing(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 25, func(int) bool { return true })
	f.opts.Checker = nil
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.Acked != 25 || rep.Total.Unasked != 25 || len(f.checker.Calls()) != 0 || !f.seen.full {
		t.Errorf("%+v, %v", rep.Total, err)
	}
	for _, e := range f.sink.Events() {
		if headerOf(e.Headers, codec.HeaderReason) != "full" {
			t.Fatalf("headers %v", e.Headers)
		}
	}
}

func TestDryRunSendsNothing(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 40, func(i int) bool { return i >= 30 })
	f.opts.DryRun, f.opts.Sink = &engine.DryRun{}, nil
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Collections[0]
	if c.WouldSend != 30 || c.Emitted != 0 || c.Present != 10 || len(c.Examples) != 3 {
		t.Errorf("%+v", c)
	}
	for _, e := range c.Examples {
		if e.Seed != e.ID+"/page/0" || e.PointID != pointID("page", e.ID) {
			t.Errorf("example %+v", e)
		}
	}
}

func TestBadDocumentsAreCountedAndOthersGoOn(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 30, nil)
	f.source.Insert("page",
		syncdtest.MemoryDoc{ID: "unreadable", Err: errors.New("no id text")},
		syncdtest.MemoryDoc{ID: "unencodable", EncodeErr: errors.New("not UTF-8")},
		syncdtest.MemoryDoc{ID: "huge"},
	)
	f.sink.Reject = func(e codec.Event) error {
		if e.ID == "huge" {
			return errors.New("too large")
		}
		return nil
	}
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	c := rep.Collections[0]
	if c.Acked != 30 || c.FailedRead != 1 || c.FailedEncode != 1 || c.FailedWrite != 1 || c.Failed() != 3 || len(c.Failures) != 3 {
		t.Errorf("%+v", c)
	}
	f.opts.StopOnFailure = true
	rep, err = job.Run(t.Context(), f.opts)
	if !errors.Is(err, engine.ErrStopped) || rep.Total.Failed() == 0 {
		t.Errorf("stop on failure: %v, %+v", err, rep.Total)
	}
}

func TestMissingCollectionCountsAsEmpty(t *testing.T) {
	f := newFixture(t, "page", "gone")
	f.insert("page", 5, nil)
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Collections[1].Found || !rep.Collections[1].Complete || rep.Total.Acked != 5 {
		t.Errorf("%+v, %v", rep.Collections[1], err)
	}
}

// TestFailuresEndTheRun makes each step fail and checks that the run fails with that error, sends nothing that was not
// asked about, and never claims to be complete.
func TestFailuresEndTheRun(t *testing.T) {
	boom := errors.New("boom")
	late := syncdtest.Nth(3, syncdtest.Fault{Err: boom})
	first := syncdtest.Nth(1, syncdtest.Fault{Err: boom})
	for name, wrap := range map[string]func(f *fixture){
		"count": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Count: first})
		},
		"plan": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Splits: first})
		},
		"scan": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Read: first})
		},
		"batch": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Batch: late})
		},
		"fetch": func(f *fixture) {
			f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: first})
		},
		"inspect": func(f *fixture) {
			f.opts.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Inspect: first})
		},
		"check": func(f *fixture) {
			f.opts.Checker = syncdtest.FaultyChecker(f.checker, syncdtest.CheckerFaults{Check: late})
		},
		"prepare": func(f *fixture) {
			f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Prepare: first})
		},
		"write": func(f *fixture) { f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: first}) },
		"outage": func(f *fixture) {
			f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(1, syncdtest.Fault{
				Fail: map[int]error{0: fmt.Errorf("%w: %w", boom, syncd.ErrUnavailable)},
			})})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 500, func(i int) bool { return i%10 != 0 })
			wrap(f)
			rep, err := job.Run(t.Context(), f.opts)
			if !errors.Is(err, boom) {
				t.Fatalf("error %v", err)
			}
			for _, c := range rep.Collections {
				if c.Complete {
					t.Errorf("a failed run says that it is complete: %+v", c)
				}
			}
			for id := range f.sentIDs() {
				if !strings.HasSuffix(id, "0") {
					t.Errorf("sent %s, which is present", id)
				}
			}
			c := rep.Total
			if c.Acked > c.Emitted || c.Acked != int64(len(f.sink.Events())) && name != "write" {
				t.Errorf("%d events arrived: %+v", len(f.sink.Events()), c)
			}
		})
	}
}

// forgetful is a checker that leaves a verdict out.
type forgetful struct{ syncd.Checker }

func (f forgetful) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	err := f.Checker.Check(ctx, points, verdicts)
	verdicts[len(verdicts)-1] = syncd.Unknown
	return err
}

func TestUnknownIsNeverMissing(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 10, func(int) bool { return true })
	f.opts.Checker = forgetful{f.checker}
	if _, err := job.Run(t.Context(), f.opts); err == nil || len(f.sink.Events()) != 0 {
		t.Errorf("error %v, %d events", err, len(f.sink.Events()))
	}
}

// lossy is a source whose scan silently leaves out documents, as range scans over mixed id types do.
type lossy struct{ *syncdtest.MemorySource }

func (l lossy) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		for b, err := range l.MemorySource.Read(ctx, req) {
			if len(b.Changes) > 1 {
				b.Changes = b.Changes[1:]
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

func TestCoverageIsProved(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.opts.Source = lossy{f.source}
	_, err := job.Run(t.Context(), f.opts)
	var coverage *tally.CoverageError
	if !errors.As(err, &coverage) || coverage.Collection != "page" {
		t.Errorf("a scan that loses documents: %v", err)
	}
}

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	f := newFixture(t, "page", "epic")
	f.insert("page", 2000, nil)
	f.insert("epic", 2000, nil)
	gate := syncdtest.NewGate()
	f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Always(syncdtest.Fault{Gate: gate})})
	drain := make(chan struct{})
	f.opts.Drain = drain
	go func() {
		<-gate.Arrived()
		close(drain)
		gate.Open()
	}()
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || !rep.Interrupted {
		t.Fatalf("drained: %v, %+v", err, rep)
	}
	c := rep.Total
	if c.Acked == 0 || c.Acked != c.Emitted || c.Acked != int64(len(f.sink.Events())) || c.Acked == 4000 {
		t.Errorf("%+v, %d events", c, len(f.sink.Events()))
	}
	for _, r := range rep.Collections {
		if r.Complete {
			t.Errorf("%s says that it is complete", r.Rule.Collection.Name)
		}
	}
}

func TestCancelEndsAtOnce(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 500, nil)
	gate := syncdtest.NewGate()
	f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Always(syncdtest.Fault{Gate: gate})})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-gate.Arrived()
		cancel()
	}()
	rep, err := job.Run(ctx, f.opts)
	if !errors.Is(err, context.Canceled) || rep.Total.Unconfirmed() == 0 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
}

func TestDeletedMeanwhileIsNotAFailure(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, func(i int) bool { return i != 50 && i != 55 })
	gate := syncdtest.NewGate()
	f.opts.Source = syncdtest.FaultySource(f.source, syncdtest.SourceFaults{Fetch: syncdtest.Nth(1, syncdtest.Fault{Gate: gate})})
	f.opts.Workers = 1
	go func() {
		<-gate.Arrived()
		f.source.Delete("page", "00050")
		f.source.Delete("page", "00055")
		gate.Open()
	}()
	rep, err := job.Run(t.Context(), f.opts)
	if c := rep.Total; err != nil || c.Gone != 2 || c.Emitted != 0 || c.Failed() != 0 {
		t.Errorf("%v, %+v", err, c)
	}
}

// counting counts the scans and the documents that a source was asked for.
type counting struct {
	*syncdtest.MemorySource
	mu      sync.Mutex
	whole   int
	ids     int
	fetched int
}

func (c *counting) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	c.mu.Lock()
	if req.Documents {
		c.whole++
	} else {
		c.ids++
	}
	c.mu.Unlock()
	return c.MemorySource.Read(ctx, req)
}

func (c *counting) Fetch(ctx context.Context, col syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	c.mu.Lock()
	c.fetched += len(keys)
	c.mu.Unlock()
	return c.MemorySource.Fetch(ctx, col, keys)
}

func TestScanAdaptsToWhatIsMissing(t *testing.T) {
	f := newFixture(t, "page")
	src := &counting{MemorySource: f.source}
	f.opts.Source, f.opts.Workers, f.opts.Readers = src, 1, 1
	f.insert("page", 1000, nil) // the index is empty: whole documents from the start
	if _, err := job.Run(t.Context(), f.opts); err != nil || src.ids != 0 || src.whole != 1 || src.fetched != 0 {
		t.Errorf("empty index: %+v, %v", src, err)
	}
	// The index holds the first and last quarter: ids, then whole documents, then ids again.
	f = newFixture(t, "page")
	src = &counting{MemorySource: f.source}
	f.opts.Source, f.opts.Workers, f.opts.Readers = src, 1, 1
	f.insert("page", 1000, func(i int) bool { return i < 250 || i >= 750 })
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || src.ids != 2 || src.whole != 1 || src.fetched == 0 || src.fetched > 100 {
		t.Errorf("half: ids %d, whole %d, fetched %d, %v", src.ids, src.whole, src.fetched, err)
	}
	if rep.Total.Acked != 500 || len(f.sentIDs()) != 500 || rep.Total.Scanned != 1000 {
		t.Errorf("half: %+v", rep.Total)
	}
}

func TestWaitsForTheIndexer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 100, nil)
		f.opts.WaitTimeout = time.Minute
		f.sink.Written = func(e codec.Event) {
			time.AfterFunc(5*time.Second, func() { f.checker.Add(e.PointID) })
		}
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || !rep.Index.CaughtUp || rep.Index.Before.Points != 0 || rep.Index.After.Points != 100 {
			t.Errorf("%v, %+v", err, rep.Index)
		}
		if rep.Index.Waited < 5*time.Second || rep.Index.Waited > 8*time.Second {
			t.Errorf("waited %s", rep.Index.Waited)
		}
		time.Sleep(time.Minute) // of the bubble's clock: lets its timers end
	})
}

func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 10, nil)
		f.opts.WaitTimeout = 10 * time.Second
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Index.CaughtUp || rep.Index.Waited != 10*time.Second {
			t.Errorf("%v, %+v", err, rep.Index)
		}
	})
}

func TestSleepsBetweenBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "page")
		f.insert("page", 100, func(int) bool { return true })
		f.opts.Sleep = time.Second
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Duration < 9*time.Second || rep.Duration > 11*time.Second {
			t.Errorf("ten batches took %s, %v", rep.Duration, err)
		}
	})
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits engine.Limits
		least  time.Duration
	}{
		"documents": {engine.Limits{DocumentsPerSecond: 50}, 8 * time.Second}, // 500 documents, the first 50 at once
		"bytes":     {engine.Limits{BytesPerSecond: 5000}, 9 * time.Second},   // 500 events of more than 100 bytes
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 500, nil)
				f.opts.Limits = c.limits
				rep, err := job.Run(t.Context(), f.opts)
				if err != nil || rep.Total.Acked != 500 || rep.Scanning < c.least || rep.Scanning > 3*c.least {
					t.Errorf("%v, %d sent in %s", err, rep.Total.Acked, rep.Scanning)
				}
			})
		})
	}
}

// estimating is a source that knows its size at once, and is wrong about it.
type estimating struct {
	*syncdtest.MemorySource
	estimate int64
	counted  int
}

func (e *estimating) Abilities() syncd.SourceAbilities {
	can := e.MemorySource.Abilities()
	count := can.Count
	can.Estimate = func(context.Context, syncd.Collection) (int64, bool, error) { return e.estimate, true, nil }
	can.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		e.counted++
		return count(ctx, c)
	}
	return can
}

func TestEstimateIsCheckedOnlyWhereItIsNotReached(t *testing.T) {
	for estimate, counts := range map[int64]int{100: 0, 90: 0, 130: 1} {
		f := newFixture(t, "page")
		f.insert("page", 100, nil)
		src := &estimating{MemorySource: f.source, estimate: estimate}
		f.opts.Source = src
		if _, err := job.Run(t.Context(), f.opts); err != nil || src.counted != counts {
			t.Errorf("estimate %d: %v, counted %d times", estimate, err, src.counted)
		}
	}
}

// flood is a source of any number of documents that exist only while they are looked at.
type flood struct {
	n, size int
}

type floodDoc struct{ size int }

func (d floodDoc) Lookup(string) (syncd.Value, error) { return syncd.Value{}, nil }
func (d floodDoc) Size() int                          { return d.size }
func (d floodDoc) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	dst = append(dst, '"')
	for range d.size {
		dst = append(dst, 'x')
	}
	return append(dst, '"'), nil
}

func (f flood) Splits(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) { yield(syncd.Split{Collection: c}, nil) }
}

func (f flood) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		start := 0
		if req.After != "" {
			fmt.Sscanf(string(req.After), "%d", &start)
			start++
		}
		for ; start < f.n; start += req.BatchSize {
			var b []syncd.Change
			for i := start; i < min(start+req.BatchSize, f.n); i++ {
				id := fmt.Sprintf("%09d", i)
				r := syncd.Change{Key: syncd.Key(id), ID: id}
				if req.Documents {
					r.Document = floodDoc{f.size}
				}
				b = append(b, r)
			}
			if !yield(syncd.Batch{Changes: b, Offset: syncd.Offset(b[len(b)-1].Key)}, ctx.Err()) {
				return
			}
		}
	}
}

func (f flood) Fetch(_ context.Context, _ syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		for i := range keys {
			if !yield(syncd.Fetched{Index: i, Document: floodDoc{f.size}}, nil) {
				return
			}
		}
	}
}

func (f flood) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{} }
func (f flood) Close() error                     { return nil }

// heapSink measures the live heap now and then.
type heapSink struct {
	mu   sync.Mutex
	n    int
	peak uint64
}

func (s *heapSink) Write(_ context.Context, events []syncd.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n++; s.n%50 == 1 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s.peak = max(s.peak, m.HeapAlloc)
	}
	return nil
}

func (s *heapSink) Abilities() syncd.SinkAbilities { return syncd.SinkAbilities{} }
func (s *heapSink) Close() error                   { return nil }

// TestMemoryDoesNotGrowWithTheCollection sends 16 times as many documents and compares the live heap.
func TestMemoryDoesNotGrowWithTheCollection(t *testing.T) {
	peak := func(n int) uint64 {
		f := newFixture(t, "page")
		sink := &heapSink{}
		f.opts.Source, f.opts.Sink, f.opts.BatchBytes = flood{n: n, size: 1000}, sink, 100_000
		rep, err := job.Run(t.Context(), f.opts)
		if err != nil || rep.Total.Acked != int64(n) {
			t.Fatalf("%v, %+v", err, rep.Total)
		}
		return sink.peak
	}
	small, large := peak(5_000), peak(80_000)
	if large > small+small/2+2<<20 {
		t.Errorf("live heap %d bytes with 5,000 documents, %d with 80,000", small, large)
	}
}

// TestAFilterThatLeavesNothing is said, and the run ends as any other: its documents may be still to come.
func TestAFilterThatLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		documents int
		filter    string
		plan      bool
		want      bool
	}{
		"none of them":          {5, `{"title": "x"}`, false, true},
		"none of them, planned": {5, `{"title": "x"}`, true, true},
		"one of them":           {5, `{"title": "t00003"}`, false, false},
		"an empty collection":   {0, `{"title": "x"}`, false, false},
		"no filter":             {0, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page", "epic")
			f.source.Create("page")
			f.insert("page", c.documents, nil)
			f.insert("epic", 5, nil)
			var said strings.Builder
			f.opts.Logger = slog.New(slog.NewTextHandler(&said, nil))
			f.opts.Rules[0].Collection.Filter = c.filter
			if c.plan {
				f.opts.DryRun, f.opts.Sink = &engine.DryRun{}, nil
			}
			rep, err := job.Run(t.Context(), f.opts)
			if err != nil || !rep.Collections[0].Complete {
				t.Fatalf("%+v, %v", rep.Collections, err)
			}
			if got := strings.Count(said.String(), "the filter leaves none"); got != 0 != c.want || got > 1 || c.want && !strings.Contains(said.String(), "collection=page") {
				t.Errorf("%s", said.String())
			}
		})
	}
}

// headerOf is the value of an event's header; empty where there is none.
func headerOf(headers []codec.Header, name string) string {
	for _, h := range headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}
