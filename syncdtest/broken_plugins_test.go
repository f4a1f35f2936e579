package syncdtest

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
)

// scanBreaker is a source whose Scan is broken in the ways that are set.
type scanBreaker struct {
	syncd.Source
	dropLast, dropOfFull, repeat, endless, reverse, emptyAtEnd, reuse, deaf bool
	noContext, hang, leak, includeAfter, skipFirstDoc                       bool
}

func changeScan(set func(*scanBreaker)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source {
		b := &scanBreaker{Source: s}
		set(b)
		return b
	}
}

func (b *scanBreaker) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	if b.noContext {
		ctx = context.WithoutCancel(ctx)
	}
	if b.leak {
		go func() { <-hung }()
	}
	after := req.After
	if b.includeAfter {
		req.After = ""
	}
	return func(yield func([]syncd.Record, error) bool) {
		var batches [][]syncd.Record
		var failed error
		b.Source.Scan(context.WithoutCancel(ctx), req)(func(batch []syncd.Record, err error) bool {
			if failed = err; err == nil {
				batches = append(batches, batch)
			}
			return true
		})
		if b.includeAfter && after != "" {
			var all []syncd.Record
			for _, batch := range batches {
				all = append(all, batch...)
			}
			from := slices.IndexFunc(all, func(r syncd.Record) bool { return r.Key == after })
			batches = slices.Collect(slices.Chunk(all[max(0, from):], req.BatchSize))
		}
		batches = b.spoil(batches, req)
		buffer := make([]syncd.Record, 0, req.BatchSize)
		for i := 0; i < len(batches) || b.endless && i > 0; i++ {
			batch := batches[min(i, len(batches)-1)]
			if b.reuse {
				buffer = append(buffer[:0], batch...)
				batch = buffer
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(batch, nil) && !b.deaf {
				return
			}
			if b.hang && ctx.Err() != nil {
				<-hung
			}
		}
		if failed != nil {
			yield(nil, failed)
		}
	}
}

// spoil changes what a scan has read.
func (b *scanBreaker) spoil(batches [][]syncd.Record, req syncd.ScanRequest) [][]syncd.Record {
	if b.emptyAtEnd {
		batches = append(batches, nil)
	}
	if len(batches) == 0 {
		return nil
	}
	first, last := &batches[0], &batches[len(batches)-1]
	if b.dropLast {
		*last = (*last)[:len(*last)-1]
	}
	if b.skipFirstDoc && req.Documents && len(*first) > 1 {
		*first = (*first)[1:]
	}
	for i, batch := range batches {
		if b.dropOfFull && len(batch) == req.BatchSize && len(batch) > 1 {
			batches[i] = batch[:len(batch)-1]
		}
		if b.reverse {
			slices.Reverse(batch)
		}
	}
	if b.repeat {
		batches = slices.Insert(batches, 0, slices.Clone(*first))
	}
	return slices.DeleteFunc(batches, func(batch []syncd.Record) bool { return len(batch) == 0 && !b.emptyAtEnd })
}

// requestChanger is a source that scans something else than what it is asked for.
type requestChanger struct {
	syncd.Source
	change func(*syncd.ScanRequest)
}

func changeRequest(change func(*syncd.ScanRequest)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return requestChanger{s, change} }
}

func (s requestChanger) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	s.change(&req)
	return s.Source.Scan(ctx, req)
}

type noPlan struct{ syncd.Source }

func (noPlan) Plan(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(func(syncd.Split, error) bool) {}
}

type anyPlan struct{ syncd.Source }

func (anyPlan) Plan(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) { yield(syncd.Split{Collection: c}, nil) }
}

// fetchChanger changes the i-th document that is fetched, or ends there.
type fetchChanger struct {
	syncd.Source
	change func(i int, f syncd.Fetched) (syncd.Fetched, bool)
}

func changeFetch(change func(i int, f syncd.Fetched) (syncd.Fetched, bool)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return fetchChanger{s, change} }
}

func (s fetchChanger) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		i := 0
		for f, err := range s.Source.Fetch(ctx, c, keys) {
			f, more := s.change(i, f)
			if !more || !yield(f, err) {
				return
			}
			i++
		}
	}
}

// silentFetch takes the end of its context for the end of the documents.
type silentFetch struct{ syncd.Source }

func (s silentFetch) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		for f, err := range s.Source.Fetch(ctx, c, keys) {
			if err != nil || !yield(f, nil) {
				return
			}
		}
	}
}

type miscount struct{ *MemorySource }

func (s miscount) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	n, err := s.MemorySource.Count(ctx, c)
	return n + 1, err
}

type unlisted struct{ *MemorySource }

func (unlisted) Collections(context.Context) ([]string, error) { return nil, nil }

// docChanger is a source whose documents are broken.
type docChanger struct {
	syncd.Source
	set func(*brokenDoc)
}

func changeDocument(set func(*brokenDoc)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return docChanger{s, set} }
}

func (s docChanger) Scan(ctx context.Context, req syncd.ScanRequest) iter.Seq2[[]syncd.Record, error] {
	return func(yield func([]syncd.Record, error) bool) {
		for batch, err := range s.Source.Scan(ctx, req) {
			for i := range batch {
				if batch[i].Document != nil {
					d := &brokenDoc{Document: batch[i].Document}
					s.set(d)
					batch[i].Document = d
				}
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

type brokenDoc struct {
	syncd.Document
	spaces, forget, otherID, setAll bool
}

func (d *brokenDoc) AppendJSON(dst []byte, dialect syncd.Dialect) ([]byte, error) {
	if d.forget {
		dst = dst[:0]
	}
	out, err := d.Document.AppendJSON(slices.Clone(dst), dialect)
	switch {
	case d.spaces:
		out = slices.Insert(out, len(out)-1, ' ')
	case d.otherID:
		out = slices.Concat(dst, []byte(`{"_id":"other"}`))
	}
	return out, err
}

func (d *brokenDoc) Lookup(path string) (syncd.Value, error) {
	v, err := d.Document.Lookup(path)
	v.Set = v.Set || d.setAll
	return v, err
}

// brokenChecker is a MemoryChecker with another Check.
type brokenChecker struct {
	*MemoryChecker
	check func(context.Context, []syncd.Point, []syncd.Verdict) error
}

func (b brokenChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	return b.check(ctx, points, verdicts)
}

func (c *MemoryChecker) holds(p syncd.Point) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.present[p.ID]
	return ok
}

type checkFunc = func(*MemoryChecker, context.Context, []syncd.Point, []syncd.Verdict) error

// keepPoints answers from what it was told when it last saw the same memory.
func keepPoints() checkFunc {
	var mu sync.Mutex
	known := map[*syncd.Point][]syncd.Point{}
	return func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		mu.Lock()
		defer mu.Unlock()
		if len(p) > 0 {
			if kept := known[&p[0]]; len(kept) >= len(p) {
				p = kept[:len(p)]
			} else {
				known[&p[0]] = slices.Clone(p)
			}
		}
		return c.Check(ctx, p, v)
	}
}

// unsafeCheck keeps the question where the next call puts its own. The lock only keeps the race detector out of it: the
// suite must see wrong answers, not rely on -race.
func unsafeCheck() checkFunc {
	var mu sync.Mutex
	var asked []syncd.Point
	return func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		mu.Lock()
		asked = p
		mu.Unlock()
		letOthersRun()
		mu.Lock()
		defer mu.Unlock()
		n := min(len(asked), len(v))
		return c.Check(ctx, asked[:n], v[:n])
	}
}

func letOthersRun() {
	for range 100 {
		runtime.Gosched()
	}
}

// brokenSink is a MemorySink with another Write.
type brokenSink struct {
	*MemorySink
	write func(context.Context, []syncd.Event) error
}

func (b brokenSink) Write(ctx context.Context, events []syncd.Event) error {
	return b.write(ctx, events)
}

type writeFunc = func(*MemorySink, context.Context, []syncd.Event) error

// changeEvent writes other events than those it is given.
func changeEvent(change func(*syncd.Event)) writeFunc {
	return func(s *MemorySink, ctx context.Context, events []syncd.Event) error {
		events = slices.Clone(events)
		for i := range events {
			change(&events[i])
		}
		return s.Write(ctx, events)
	}
}

// laterSink writes what the call before was given.
func laterSink() writeFunc {
	var mu sync.Mutex
	var pending []syncd.Event
	return func(s *MemorySink, ctx context.Context, events []syncd.Event) error {
		mu.Lock()
		defer mu.Unlock()
		err := s.Write(ctx, pending)
		pending = cloneEvents(events)
		return err
	}
}

// unsafeWrite keeps the events where the next call puts its own.
func unsafeWrite() writeFunc {
	var mu sync.Mutex
	var pending []syncd.Event
	return func(s *MemorySink, ctx context.Context, events []syncd.Event) error {
		mu.Lock()
		pending = events
		mu.Unlock()
		letOthersRun()
		mu.Lock()
		defer mu.Unlock()
		return s.Write(ctx, pending)
	}
}
