package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// When at least half of the documents lately checked had to be sent, reading whole documents costs less than reading ids
// and then fetching most of them; the way back needs a clear majority of present ones, so that a read does not flap.
const (
	wholeAbove = 0.5
	idsBelow   = 0.2
	smoothing  = 0.3 // weight of the newest batch
)

// collection is the state of one collection in a feed. rule, kept, target, deletes and fingerprint never change; sunk is set before anything is
// read; planning alone uses identity and proved.
type collection struct {
	rule    *mapping.Rule
	kept    string // its name in the store
	target  syncd.Target
	deletes bool // what flows are the deletes of its orphans

	fingerprint string // of the rule

	identity string // as the source gives it; "" where it can't tell
	sunk     string // identity of where its events go, as the sink gives it; "" where it can't tell
	absent   bool   // it was not there when the run began, so that there may be no place for its events
	proved   bool   // by an earlier run: what the source holds by now says nothing about it

	collisions *collisions // set before a split is handed out; nil finds none
	sizes      sizes       // of its documents
	embedding  embedding   // of a dry run: how much would be embedded

	mu          sync.Mutex
	started     time.Time
	found       bool
	before      int64
	foretold    int64 // what the source said of before ahead of its turn, for those who watch; -1 is not known
	counts      tally.Counts
	resumed     tally.Counts // of counts: what an earlier run did
	handed      int          // splits handed out or done before
	failures    []tally.Failure
	examples    []Example
	unsendable  int64           // of the events
	refused     []tally.Failure // the first of them
	ratio       float64         // smoothed share of documents that had to be sent
	weighed     bool            // ratio has a batch in it
	whole       bool            // reads should bring whole documents
	reserved    int
	events      int64     // that were measured
	bytes       int64     // of those
	outstanding int       // what keeps the collection open: its planning and its splits
	splits      int       // that are done and proved
	oldest      time.Time // change of the missing document that changed longest ago; zero if none is known
	report      CollectionReport
	closed      bool
	over        chan struct{} // closed when it is complete
}

func newCollection(rule *mapping.Rule, deletes bool) *collection {
	c := &collection{rule: rule, kept: rule.Collection.Name, target: rule.Target(), deletes: deletes, before: -1, foretold: -1, fingerprint: rule.Fingerprint(), over: make(chan struct{})}
	if deletes {
		c.kept = store.DeletesOf(rule.Collection.Name)
	}
	return c
}

// fields are those that a read must bring.
func (c *collection) fields() []string {
	if c.rule == nil { // a stream brings whole documents
		return nil
	}
	return c.rule.Fields()
}

// begin starts the time and holds the collection until it is planned.
func (c *collection) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now()
	c.outstanding++
}

// addSplit holds the collection until the split is done.
func (c *collection) addSplit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding++
	c.handed++
}

// release ends one hold and reports whether it was the last.
func (c *collection) release() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outstanding--
	return c.outstanding == 0
}

// account adds one batch.
func (c *collection) account(n tally.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Add(n)
}

// weigh decides anew how documents are read, by what became known of a batch, of which nothing is sent yet: readers are ahead of
// it. The first batch is all that is known, so it decides alone.
func (c *collection) weigh(n tally.Counts) {
	asked := n.Checked()
	if asked == 0 {
		return
	}
	share := float64(n.ToSend()) / float64(asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.weighed {
		c.ratio, c.weighed = share, true
	}
	c.ratio += smoothing * (share - c.ratio)
	switch {
	case c.ratio >= wholeAbove:
		c.whole = true
	case c.ratio <= idsBelow:
		c.whole = false
	}
}

// expectAll has whole documents read from the start, since all will be sent.
func (c *collection) expectAll() { c.whole, c.ratio = true, 1 }

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

// measured adds one, of the document with that id; the sink would refuse it with err, if that is not nil.
func (c *collection) measured(id string, bytes int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events++
	c.bytes += int64(bytes)
	if err == nil {
		return
	}
	stage := syncd.FailedWrite
	if errors.Is(err, syncd.ErrNotEncodable) {
		stage = syncd.FailedEncode
	}
	if c.unsendable++; len(c.refused) < maxExamples {
		c.refused = append(c.refused, tally.Failure{ID: id, Stage: string(stage), Reason: err.Error()})
	}
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

// foretell shows what a collection is about to hold, of which nothing was read yet.
func (c *collection) foretell(a *asked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(a.err, syncd.ErrCollectionNotFound):
		c.foretold = 0
	case a.err != nil:
	case a.resumed != nil:
		c.foretold = a.resumed.Before
	case a.known:
		c.foretold = a.before
	}
}

// compare has the point ids of the collection's documents compared.
func (c *collection) compare(with *collisions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collisions = with
}

// carry takes over what an earlier run did.
func (c *collection) carry(splits []store.Split) {
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

// state is what is kept of the collection, without its splits.
func (c *collection) state(planned, complete bool) store.Collection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return store.Collection{
		Rule: c.fingerprint, Identity: c.identity, Sunk: c.sunk, Found: c.found, Before: c.before, Planned: planned, Complete: complete,
	}
}

func (c *collection) wantsWhole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole
}

func (c *collection) snapshot() tally.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

func (c *collection) fail(f tally.Failure) {
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

// close fills in the collection's report. after is -1 where the documents were not counted again.
func (c *collection) close(complete bool, after int64) CollectionReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.report = CollectionReport{
		Rule: c.rule, Found: c.found, Before: c.before, After: after, Complete: complete, Splits: c.splits,
		Measured: c.events, MeasuredBytes: c.bytes, Unsendable: c.unsendable, Refused: c.refused,
		Counts: c.counts, Resumed: c.resumed, Failures: c.failures, Examples: c.examples, Embedding: c.embedding.result(),
	}
	c.report.Collided, c.report.NotCompared = c.collisions.result()
	if !c.started.IsZero() {
		c.report.Duration = time.Since(c.started)
	}
	return c.report
}

// awaitClosed waits until the collection is complete.
func (c *collection) awaitClosed(ctx context.Context) error {
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// incomplete takes back that the collection is complete.
func (c *collection) incomplete() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Complete = false
}

// finalReport is the report of a collection that is complete, or as far as it came.
func (c *collection) finalReport() CollectionReport {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if !closed { // by a drain or an error
		return c.close(false, -1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

func (c *collection) progress() CollectionProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := CollectionProgress{
		Name: c.rule.Collection.Name, ContentType: c.rule.ContentType, Before: c.before, Done: c.closed, Began: c.started,
		Started: !c.started.IsZero(), Counts: c.counts, Earlier: c.resumed, Splits: c.handed, SplitsDone: c.splits, OldestMissing: c.oldest,
	}
	if p.Before < 0 {
		p.Before = c.foretold
	}
	if c.closed {
		p.Took = c.report.Duration
	}
	return p
}
