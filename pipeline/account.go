package pipeline

import (
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

	mu           sync.Mutex
	counts       Counts
	failures     []Failure
	examples     []Example
	recent       []uuid.UUID // a ring, newest at next-1
	next         int
	ratio        float64 // smoothed share of documents that had to be sent
	whole        bool    // scans should bring whole documents
	reserved     int
	sizes, bytes int64 // of the events measured
	outstanding  int   // what keeps the collection open: its planning and its splits
	splits       int   // that are done and proved
	report       CollectionReport
	closed       bool
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
	c.counts.add(n)
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
		Counts: c.counts, Failures: c.failures, Examples: c.examples,
	}
	if !c.started.IsZero() {
		c.report.Duration = time.Since(c.started)
	}
	return c.report
}

// split is a range under way.
type split struct {
	syncd.Split
	col *collection

	mu      sync.Mutex
	holds   int   // its reading, and its batches that are not yet accounted for
	scanned int64 // records that the source yielded
	counts  Counts
}

// read notes a batch that the source yielded, and holds the split until the batch is accounted for.
func (s *split) read(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds++
	s.scanned += int64(records)
}

// account adds what became of a batch.
func (s *split) account(n Counts) {
	s.mu.Lock()
	s.counts.add(n)
	s.mu.Unlock()
	s.col.account(n)
}

// release ends one hold and reports whether it was the last. A split that is done must have handled what was read.
func (s *split) release() (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds--; s.holds > 0 {
		return false, nil
	}
	problem := s.counts.problem()
	if problem == "" && s.scanned != s.counts.Scanned {
		problem = fmt.Sprintf("the source gave %d documents, but %d were handled", s.scanned, s.counts.Scanned)
	}
	if problem != "" {
		return true, &CoverageError{Collection: s.Collection.Name, Problem: fmt.Sprintf("split %d: %s", s.Index, problem)}
	}
	s.col.splitDone()
	return true, nil
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
