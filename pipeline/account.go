package pipeline

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	maxFailures = 20  // named per collection in the report; all are counted
	maxExamples = 3   // per collection in a dry run
	maxMeasured = 500 // events per collection that a plan encodes
	maxRecent   = 64  // point ids sent last per collection, looked for when waiting for the index
)

// When at least half of the documents lately checked had to be sent, reading whole documents costs less than reading ids
// and then fetching most of them; the way back needs a clear majority of present ones, so that a scan does not flap.
const (
	wholeAbove = 0.5
	idsBelow   = 0.2
	smoothing  = 0.3 // weight of the newest batch
)

// collection is the state of one collection in a run.
type collection struct {
	rule    *mapping.Rule
	started time.Time
	found   bool
	before  int64
	held    bool // the index holds points of the content type; set by the preflight

	identity string // as the source gives it; "" where it can't tell

	mu           sync.Mutex
	counts       Counts
	resumed      Counts // of counts: what an earlier run did
	handed       int    // splits handed out or done before
	failures     []Failure
	examples     []Example
	recent       []uuid.UUID // a ring, newest at next-1
	next         int
	ratio        float64 // smoothed share of documents that had to be sent
	whole        bool    // scans should bring whole documents
	reserved     int
	sizes, bytes int64     // of the events measured
	outstanding  int       // what keeps the collection open: its planning and its splits
	splits       int       // that are done and proved
	proved       bool      // by an earlier run: what the source holds by now says nothing about it
	oldest       time.Time // change of the missing document that changed longest ago; zero if none is known
	report       CollectionReport
	closed       bool
}

// begin starts the clock and holds the collection until it is planned.
func (c *collection) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now()
	c.outstanding++
}

// hold keeps the collection open until as many releases.
func (c *collection) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding++
}

// release ends one hold and reports whether it was the last.
func (c *collection) release() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding--
	return c.outstanding == 0
}

// account adds one batch.
func (c *collection) account(n Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Add(n)
	if asked := n.Checked() - n.Unasked; asked > 0 {
		c.ratio += smoothing * (float64(n.ToSend())/float64(asked) - c.ratio)
		switch {
		case c.ratio >= wholeAbove:
			c.whole = true
		case c.ratio <= idsBelow:
			c.whole = false
		}
	}
}

// age notes when the oldest missing document of a batch was changed, if any.
func (c *collection) age(changed time.Time) {
	if changed.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.oldest.IsZero() || changed.Before(c.oldest) {
		c.oldest = changed
	}
}

// takeMeasure reserves up to n of the events that may still be measured, and measured adds one.
func (c *collection) takeMeasure(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, maxMeasured-c.reserved)
	c.reserved += n
	return n
}

func (c *collection) measured(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes++
	c.bytes += int64(bytes)
}

func (c *collection) splitDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.splits++
}

// setFound notes whether the source has the collection, and how many documents it holds; -1 is not known.
func (c *collection) setFound(found bool, before int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found, c.before = found, before
}

func (c *collection) addSplit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed++
}

// carry takes over what an earlier run did.
func (c *collection) carry(splits []SplitState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range splits {
		c.counts.Add(s.Counts)
		c.resumed.Add(s.Counts)
		for _, f := range s.Failures {
			if len(c.failures) < maxFailures {
				c.failures = append(c.failures, f)
			}
		}
		if s.Done {
			c.handed++
			c.splits++
		}
	}
}

// state is the collection's own state, without its splits.
func (c *collection) state(planned, complete bool) CollectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CollectionState{Identity: c.identity, Found: c.found, Before: c.before, Planned: planned, Complete: complete}
}

func (c *collection) wantsWhole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole
}

func (c *collection) fail(f Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, f)
	}
}

// wantsExample reports whether the dry run still needs examples.
func (c *collection) wantsExample() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.examples) < maxExamples
}

func (c *collection) example(e Example) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.examples) < maxExamples {
		c.examples = append(c.examples, e)
	}
}

func (c *collection) sent(events []Sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range events {
		id := events[i].PointID
		if len(c.recent) < maxRecent {
			c.recent = append(c.recent, id)
			continue
		}
		c.recent[c.next] = id
		c.next = (c.next + 1) % maxRecent
	}
}

// close fills in the collection's report. after is -1 where the documents were not counted again.
func (c *collection) close(complete bool, after int64) CollectionReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.report = CollectionReport{
		Rule: c.rule, Found: c.found, Before: c.before, After: after, Complete: complete, Splits: c.splits,
		Measured: c.sizes, MeasuredBytes: c.bytes,
		Counts: c.counts, Resumed: c.resumed, Failures: c.failures, Examples: c.examples,
	}
	if !c.started.IsZero() {
		c.report.Duration = time.Since(c.started)
	}
	return c.report
}

// split is a range under way. Its batches are handled in any order; its state moves on in theirs.
type split struct {
	syncd.Split
	col   *collection
	after syncd.Key // where an earlier run left off

	mu      sync.Mutex
	holds   int   // its reading, and its batches that are not yet accounted for
	scanned int64 // records that the source yielded
	counts  Counts

	next    int             // the number of the next batch that is read
	low     int             // all batches before this one are handled and in state
	waiting map[int]handled // handled, but one before them is not
	state   SplitState
	rest    Counts        // handled documents that state does not hold yet, since no key follows them
	changed chan struct{} // closed and made anew whenever low moves on
	sent    int           // batches before this one sent something

	keeping sync.Mutex // held while state is kept, so that a newer one is never replaced by an older one
	kept    int        // low as it was kept
	durable int        // likewise, so that a crash can't undo it
}

// read notes a batch that the source yielded, numbers it, and holds the split until the batch is accounted for.
func (s *split) read(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
	s.scanned += int64(len(b.records))
	b.number = s.next
	s.next++
}

// account adds what became of a batch, handled or not.
func (s *split) account(n Counts) {
	s.mu.Lock()
	s.counts.Add(n)
	s.mu.Unlock()
	s.col.account(n)
}

// turn waits until every batch before this one was handled.
func (s *split) turn(ctx context.Context, b *batch) error {
	for {
		s.mu.Lock()
		first, changed := s.low == b.number, s.changed
		s.mu.Unlock()
		if first {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// with is the state that the split will have once the batch, whose turn it is, is handled.
func (s *split) with(h handled) SplitState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, rest := s.state, s.rest
	state.add(h, &rest)
	return state
}

// handled notes that a batch was handled to its end. It returns how many batches the split moved on by.
func (s *split) handled(b *batch, h handled) (moved int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[b.number] = h
	for {
		h, ok := s.waiting[s.low]
		if !ok {
			break
		}
		delete(s.waiting, s.low)
		s.state.add(h, &s.rest)
		s.low++
		moved++
		if h.counts.Emitted+h.counts.DeadLettered > 0 {
			s.sent = s.low
		}
	}
	if moved > 0 {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return moved
}

// release ends one hold and reports whether it was the last, with the state of the split that is done. It must have handled
// what was read.
func (s *split) release() (done bool, state SplitState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds--; s.holds > 0 {
		return false, state, nil
	}
	problem := s.counts.problem()
	if problem == "" && s.scanned != s.counts.Scanned {
		problem = fmt.Sprintf("the source gave %d documents, but %d were handled", s.scanned, s.counts.Scanned)
	}
	if s.state.finish(&s.rest); problem == "" && s.state.Counts != s.counts {
		problem = fmt.Sprintf("%d documents were handled, but %d are kept as handled", s.counts.Scanned, s.state.Counts.Scanned)
	}
	if problem != "" {
		return true, state, &CoverageError{Collection: s.Collection.Name, Problem: fmt.Sprintf("split %d: %s", s.Index, problem)}
	}
	s.col.splitDone()
	return true, s.state, nil
}

// CoverageError says that a collection's numbers do not prove that every document was handled.
type CoverageError struct {
	Collection string
	Problem    string
}

func (e *CoverageError) Error() string {
	return fmt.Sprintf("collection %s: %s", e.Collection, e.Problem)
}

// problem says where the numbers of something completely handled do not add up, or nothing.
func (c *Counts) problem() string {
	switch {
	case c.Scanned != c.Checked()+c.FailedRead:
		return fmt.Sprintf("%d documents were read, but %d were checked and %d failed", c.Scanned, c.Checked(), c.FailedRead)
	case c.ToSend() != c.WouldSend+c.Gone+c.Overtaken+c.FailedEncode+c.Emitted:
		return fmt.Sprintf("%d documents had to be sent, but %d were", c.ToSend(), c.Emitted+c.WouldSend)
	case c.Emitted != c.Acked+c.FailedWrite:
		return fmt.Sprintf("%d events were sent, but %d were confirmed and %d refused", c.Emitted, c.Acked, c.FailedWrite)
	case c.DeadLettered > c.Failed():
		return fmt.Sprintf("%d documents failed, but %d became dead letters", c.Failed(), c.DeadLettered)
	case c.Referenced > c.Acked:
		return fmt.Sprintf("%d events were confirmed, but %d without their documents", c.Acked, c.Referenced)
	}
	return ""
}

// prove checks that a completely read collection adds up and that its scan saw all that it should.
func (r *CollectionReport) prove() error {
	problem := r.problem()
	if problem == "" && r.Before >= 0 && r.After >= 0 && r.Scanned < min(r.Before, r.After) {
		problem = fmt.Sprintf("the scan saw %d documents, but there were %d before it and %d after it", r.Scanned, r.Before, r.After)
	}
	if problem == "" {
		return nil
	}
	return &CoverageError{Collection: r.Rule.Collection.Name, Problem: problem}
}
