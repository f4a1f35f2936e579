package syncdtest

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// readBreaker is a source whose Read is broken in the ways that are set.
type readBreaker struct {
	syncd.Source
	dropLast, dropOfFull, repeat, endless, reverse, emptyAtEnd, reuse, deaf bool
	noContext, hang, leak, includeAfter, skipFirstDoc                       bool
	noOffset, firstOffset, nextOffset                                       bool
}

func changeRead(set func(*readBreaker)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source {
		b := &readBreaker{Source: s}
		set(b)
		return b
	}
}

func (b *readBreaker) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
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
	return func(yield func(syncd.Batch, error) bool) {
		var batches []syncd.Batch
		var failed error
		b.Source.Read(context.WithoutCancel(ctx), req)(func(batch syncd.Batch, err error) bool {
			if failed = err; err == nil {
				batches = append(batches, batch)
			}
			return true
		})
		if b.includeAfter && after != "" {
			var all []syncd.Change
			for _, batch := range batches {
				all = append(all, batch.Changes...)
			}
			from := slices.IndexFunc(all, func(c syncd.Change) bool { return string(c.Key) == string(after) })
			batches = nil
			for chunk := range slices.Chunk(all[max(0, from):], req.BatchSize) {
				batches = slices.AppendSeq(batches, syncd.KeyedBatches(chunk))
			}
		}
		batches = b.spoil(batches, req)
		buffer := make([]syncd.Change, 0, req.BatchSize)
		for i := 0; i < len(batches) || b.endless && i > 0; i++ {
			batch := batches[min(i, len(batches)-1)]
			if b.reuse {
				buffer = append(buffer[:0], batch.Changes...)
				batch.Changes = buffer
			}
			if err := ctx.Err(); err != nil {
				yield(syncd.Batch{}, err)
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
			yield(syncd.Batch{}, failed)
		}
	}
}

// spoil changes what a read has found.
func (b *readBreaker) spoil(batches []syncd.Batch, req syncd.ReadRequest) []syncd.Batch {
	if b.emptyAtEnd {
		batches = append(batches, syncd.Batch{Offset: "end"})
	}
	if len(batches) == 0 {
		return nil
	}
	first, last := &batches[0].Changes, &batches[len(batches)-1].Changes
	if b.dropLast {
		*last = (*last)[:len(*last)-1]
	}
	if b.skipFirstDoc && req.Documents && len(*first) > 1 {
		*first = (*first)[1:]
	}
	for i, batch := range batches {
		if b.dropOfFull && len(batch.Changes) == req.BatchSize && len(batch.Changes) > 1 {
			batches[i].Changes = batch.Changes[:len(batch.Changes)-1]
		}
		if b.reverse {
			slices.Reverse(batch.Changes)
		}
		switch {
		case b.noOffset:
			batches[i].Offset = ""
		case b.firstOffset:
			batches[i].Offset = syncd.Offset(batch.Changes[0].Key)
		case b.nextOffset:
			batches[i].Offset = batches[min(i+1, len(batches)-1)].Offset
		}
	}
	if b.repeat {
		batches = slices.Insert(batches, 0, syncd.Batch{Changes: slices.Clone(*first), Offset: batches[0].Offset})
	}
	return slices.DeleteFunc(batches, func(batch syncd.Batch) bool { return len(batch.Changes) == 0 && !b.emptyAtEnd })
}

// offsetChanger is a source with other offsets: to makes them, when so many changes of the split were read, and from makes of them
// those of the source.
type offsetChanger struct {
	syncd.Source
	to   func(o syncd.Offset, changes int) syncd.Offset
	from func(ctx context.Context, req syncd.ReadRequest) syncd.Offset
}

func (s offsetChanger) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		n := 0
		if req.After != "" {
			n, _ = strconv.Atoi(string(req.After))
			req.After = s.from(ctx, req)
		}
		for batch, err := range s.Source.Read(ctx, req) {
			n += len(batch.Changes)
			if err == nil {
				batch.Offset = s.to(batch.Offset, n)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// countOffsets has offsets that are numbers of changes, which others are behind when a document is gone.
func countOffsets(s syncd.Source) syncd.Source {
	return offsetChanger{
		Source: s,
		to:     func(_ syncd.Offset, changes int) syncd.Offset { return syncd.Offset(strconv.Itoa(changes)) },
		from: func(ctx context.Context, req syncd.ReadRequest) syncd.Offset {
			n, _ := strconv.Atoi(string(req.After))
			req.After = ""
			var all []syncd.Change
			for batch := range s.Read(ctx, req) {
				all = append(all, batch.Changes...)
			}
			if len(all) == 0 {
				return ""
			}
			return syncd.Offset(all[min(n, len(all))-1].Key)
		},
	}
}

// keepOffsets has offsets that mean something only to the source that made them.
func keepOffsets(s syncd.Source) syncd.Source {
	own := map[syncd.Offset]syncd.Offset{}
	return offsetChanger{
		Source: s,
		to: func(o syncd.Offset, _ int) syncd.Offset {
			mine := syncd.Offset(strconv.Itoa(len(own) + 1))
			own[mine] = o
			return mine
		},
		from: func(_ context.Context, req syncd.ReadRequest) syncd.Offset { return own[req.After] },
	}
}

// changeChanger is a source that changes what it has read.
type changeChanger struct {
	syncd.Source
	change func(*syncd.Change)
}

func changeChange(change func(*syncd.Change)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return changeChanger{s, change} }
}

func (s changeChanger) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		for batch, err := range s.Source.Read(ctx, req) {
			for i := range batch.Changes {
				s.change(&batch.Changes[i])
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}

// failsWhenGone is a source whose Read fails where the collection has been dropped.
type failsWhenGone struct{ syncd.Source }

func (s failsWhenGone) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	if _, err := s.Abilities().Count(ctx, req.Split.Collection); errors.Is(err, syncd.ErrCollectionNotFound) {
		return func(yield func(syncd.Batch, error) bool) { yield(syncd.Batch{}, err) }
	}
	return s.Source.Read(ctx, req)
}

// fading loses an ability when it was asked what it can do so many times.
type fading struct {
	syncd.Source
	asked *atomic.Int64
	after int64
}

func fade(after int64) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return fading{s, new(atomic.Int64), after} }
}

func (s fading) Abilities() syncd.SourceAbilities {
	a := s.Source.Abilities()
	if s.asked.Add(1) > s.after {
		a.Count = nil
	}
	return a
}

// fadingChecker and fadingSink lose an ability by their first use.
type fadingChecker struct {
	*MemoryChecker
}

func (c fadingChecker) Abilities() syncd.CheckerAbilities {
	a := c.MemoryChecker.Abilities()
	if len(c.Calls()) > 0 {
		a.List = nil
	}
	return a
}

type fadingSink struct {
	*MemorySink
}

func (s fadingSink) Abilities() syncd.SinkAbilities {
	a := s.MemorySink.Abilities()
	if len(s.Batches()) > 0 {
		a.Route = nil
	}
	return a
}

// halfCommitter has Marks, and no Commit.
type halfCommitter struct {
	*MemorySink
}

func (s halfCommitter) Abilities() syncd.SinkAbilities {
	a := s.MemorySink.Abilities()
	a.Marks = NewMemoryCommitter().Marks
	return a
}

// unnamed does not keep the run's id.
type unnamed struct {
	*MemorySink
}

func (s unnamed) Abilities() syncd.SinkAbilities {
	a := s.MemorySink.Abilities()
	prepare := a.Prepare
	a.Prepare = func(ctx context.Context, run syncd.Run) error {
		run.ID = ""
		return prepare(ctx, run)
	}
	return a
}

// requestChanger is a source that reads something else than what it is asked for.
type requestChanger struct {
	syncd.Source
	change func(*syncd.ReadRequest)
}

func changeRequest(change func(*syncd.ReadRequest)) func(syncd.Source) syncd.Source {
	return func(s syncd.Source) syncd.Source { return requestChanger{s, change} }
}

func (s requestChanger) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	s.change(&req)
	return s.Source.Read(ctx, req)
}

type noSplits struct{ syncd.Source }

func (noSplits) Splits(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(func(syncd.Split, error) bool) {}
}

type anySplits struct{ syncd.Source }

func (anySplits) Splits(_ context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
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

func (s miscount) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		n, err := s.Count(ctx, c)
		return n + 1, err
	}
	return a
}

type unlisted struct{ *MemorySource }

func (s unlisted) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.Collections = func(context.Context) ([]string, error) { return nil, nil }
	return a
}

// changeDocument makes a source whose documents are broken.
func changeDocument(set func(*brokenDoc)) func(syncd.Source) syncd.Source {
	return changeChange(func(c *syncd.Change) {
		if c.Document != nil {
			d := &brokenDoc{Document: c.Document}
			set(d)
			c.Document = d
		}
	})
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
	write func(context.Context, []syncd.Change) error
}

func (b brokenSink) Write(ctx context.Context, changes []syncd.Change) error {
	return b.write(ctx, changes)
}

type writeFunc = func(*MemorySink, context.Context, []syncd.Change) error

// changeEvents changes the events that a Write has kept.
func changeEvents(change func(*codec.Event)) writeFunc {
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		n := len(s.Events())
		err := s.Write(ctx, changes)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.kept.events[n:] {
			change(&s.kept.events[n+i])
		}
		return err
	}
}

// claim says of changes that they were written, so that a sink is caught by what it did not write.
func claim(changes []syncd.Change, err error) error {
	for i := range changes {
		changes[i].Bytes = 1 << 20
	}
	return err
}

// changeBefore writes other changes than those it is given.
func changeBefore(change func(*syncd.Change)) writeFunc {
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		own := slices.Clone(changes)
		for i := range own {
			change(&own[i])
		}
		return claim(changes, s.Write(ctx, own))
	}
}

// changeAfter changes what the caller gets back.
func changeAfter(change func(*syncd.Change)) writeFunc {
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		err := s.Write(ctx, changes)
		for i := range changes {
			change(&changes[i])
		}
		return err
	}
}

// changeError returns something else about the changes that can't be written.
func changeError(change func(s *MemorySink, failed *syncd.BatchError) error) writeFunc {
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		err := s.Write(ctx, changes)
		if failed, ok := errors.AsType[*syncd.BatchError](err); ok {
			return change(s, failed)
		}
		return err
	}
}

// laterSink writes what the call before was given.
func laterSink() writeFunc {
	var mu sync.Mutex
	var pending []syncd.Change
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		mu.Lock()
		defer mu.Unlock()
		err := s.Write(ctx, pending)
		pending = slices.Clone(changes)
		return claim(changes, err)
	}
}

// keepingSink keeps the caller's slices, and writes all of them again with every call.
func keepingSink() writeFunc {
	var mu sync.Mutex
	var kept [][]syncd.Change
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, changes)
		s.mu.Lock()
		s.kept = record{}
		s.mu.Unlock()
		return claim(changes, s.Write(ctx, slices.Concat(kept...)))
	}
}

// unsafeWrite keeps the changes where the next call puts its own.
func unsafeWrite() writeFunc {
	var mu sync.Mutex
	var pending []syncd.Change
	return func(s *MemorySink, ctx context.Context, changes []syncd.Change) error {
		mu.Lock()
		pending = changes
		mu.Unlock()
		letOthersRun()
		mu.Lock()
		defer mu.Unlock()
		return s.Write(ctx, pending)
	}
}
