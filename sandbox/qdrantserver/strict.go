package qdrantserver

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// strictRequest is what a collection's strict mode looks at. Nil fields are parameters that the caller left out
// or that the operation does not have.
type strictRequest struct {
	limit       *uint64
	timeout     *uint64
	exact       bool
	upsertBatch *uint64
	readFilter  *filter
	writeFilter *filter
}

// checkStrict applies the limits of strict mode in Qdrant's order, so that the same one wins.
func (c *collection) checkStrict(req strictRequest) error {
	strict := c.strictMode()
	if strict == nil {
		return nil
	}
	if err := checkLimit(req.upsertBatch, strict.UpsertMaxBatchsize, "upsert limit"); err != nil {
		return err
	}
	if err := checkLimit(req.limit, widen(strict.MaxQueryLimit), "limit"); err != nil {
		return err
	}
	if err := c.checkStrictFilter(req.readFilter, strict, strict.UnindexedFilteringRetrieve); err != nil {
		return err
	}
	if err := c.checkStrictFilter(req.writeFilter, strict, strict.UnindexedFilteringUpdate); err != nil {
		return err
	}
	if req.exact && strict.SearchAllowExact != nil && !strict.GetSearchAllowExact() {
		return strictModeError("Exact search disabled!", "Set exact=false.")
	}
	return checkLimit(req.timeout, widen(strict.MaxTimeout), "timeout")
}

func (c *collection) checkStrictFilter(f *filter, strict *qdrant.StrictModeConfig, unindexed *bool) error {
	if f == nil {
		return nil
	}
	if unindexed != nil && !*unindexed {
		if err := c.checkIndexed(f); err != nil {
			return err
		}
	}
	if most := strict.FilterMaxConditions; most != nil && uint64(f.conditions) > *most {
		return strictModeError(fmt.Sprintf("Filter condition limit reached (%d > %d)", f.conditions, *most),
			"Reduce the amount of conditions of your filter.")
	}
	if most := strict.ConditionMaxSize; most != nil && uint64(f.largest) > *most {
		return strictModeError(fmt.Sprintf("Condition size limit reached (%d > %d)", f.largest, *most),
			"Reduce the size of your condition.")
	}
	return nil
}

func (c *collection) checkIndexed(f *filter) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, need := range f.needs {
		if index := c.fields[need.key]; index != nil && slices.Contains(need.kinds, index.kind) {
			continue
		}
		names := make([]string, len(need.kinds))
		for i, kind := range need.kinds {
			names[i] = strings.ToLower(strings.TrimPrefix(kind.String(), "FieldType"))
		}
		slices.Sort(names)
		return strictModeError(fmt.Sprintf("Index required but not found for %q of one of the following types: [%s]",
			need.key, strings.Join(slices.Compact(names), ", ")), "Create an index for this key or use a different filter.")
	}
	return nil
}

func checkLimit(value, limit *uint64, name string) error {
	if value == nil || limit == nil || *value <= *limit {
		return nil
	}
	return strictModeError(fmt.Sprintf("Limit exceeded %d > %d for %q", *value, *limit, name),
		fmt.Sprintf("Reduce the %q parameter to or below %d.", name, *limit))
}

func widen(n *uint32) *uint64 {
	if n == nil {
		return nil
	}
	return qdrant.PtrOf(uint64(*n))
}

// rateLimiter is strict mode's read_rate_limit: a bucket that holds one minute's tokens, starts full and refills
// steadily. Get costs a token per id; Scroll, Count and Facet one, plus one for each condition of the filter.
type rateLimiter struct {
	now func() time.Time

	mu        sync.Mutex
	perMinute float64 // 0: no limit
	tokens    float64
	checked   time.Time
}

// configure starts over with a full bucket, as Qdrant does whenever the configuration changes.
func (l *rateLimiter) configure(strict *qdrant.StrictModeConfig) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.perMinute = 0
	if strict.GetEnabled() {
		l.perMinute = float64(strict.GetReadRateLimit())
	}
	l.tokens, l.checked = l.perMinute, l.now()
}

func (l *rateLimiter) take(cost int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perMinute == 0 {
		return nil
	}
	want := float64(cost)
	if want > l.perMinute {
		// No retry-after: this request can never pass.
		return readLimitExceeded()
	}
	now := l.now()
	l.tokens = math.Min(l.perMinute, l.tokens+now.Sub(l.checked).Seconds()*l.perMinute/60)
	l.checked = now
	if l.tokens >= want {
		l.tokens -= want
		return nil
	}
	retryAfter := time.Duration((want - l.tokens) / l.perMinute * float64(time.Minute))
	return rateLimitError(fmt.Sprintf("Operation requires %d tokens but only %.1f were available. Retry after %ds",
		cost, l.tokens, wholeSeconds(retryAfter)), retryAfter)
}
