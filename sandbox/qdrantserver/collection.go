package qdrantserver

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// point is immutable once it is in a collection.
type point struct {
	payload map[string]*qdrant.Value
	vectors map[string]*qdrant.VectorOutput // "" is the unnamed vector
}

// collection is the state of one collection. mu guards everything below it.
type collection struct {
	name    string
	now     func() time.Time
	delay   time.Duration
	vectors map[string]vectorSpec
	limiter rateLimiter

	// nextDue is when the head of queue becomes visible, in Unix nanoseconds. It spares readers a write lock.
	nextDue atomic.Int64

	mu     sync.RWMutex
	config *qdrant.CollectionConfig
	fields map[string]*fieldIndex // canonical JSON path → index
	points map[pointID]*point
	order  idOrder
	queue  []queuedUpdate
	nextOp uint64
}

// update changes a collection; it is called with the collection's lock held.
type update func(c *collection) error

type queuedUpdate struct {
	due   time.Time
	apply update
}

func newCollection(name string, config *qdrant.CollectionConfig, vectors map[string]vectorSpec, s *Server) *collection {
	c := &collection{
		name:    name,
		now:     s.cfg.Now,
		delay:   s.cfg.VisibilityDelay,
		vectors: vectors,
		config:  config,
		fields:  map[string]*fieldIndex{},
		points:  map[pointID]*point{},
	}
	c.limiter.now = s.cfg.Now
	c.limiter.configure(config.GetStrictModeConfig())
	c.nextDue.Store(math.MaxInt64)
	return c
}

// submit accepts an update. With wait its error is the answer; without, Qdrant has only logged the update when
// it answers, so the error is lost.
func (c *collection) submit(wait bool, apply update) (*qdrant.UpdateResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := &qdrant.UpdateResult{OperationId: qdrant.PtrOf(c.nextOp), Status: qdrant.UpdateStatus_Acknowledged}
	c.nextOp++
	switch {
	case wait:
		c.applyQueued(len(c.queue))
		if err := apply(c); err != nil {
			return nil, err
		}
		result.Status = qdrant.UpdateStatus_Completed
	case c.delay > 0:
		c.queue = append(c.queue, queuedUpdate{due: c.now().Add(c.delay), apply: apply})
		c.nextDue.Store(c.queue[0].due.UnixNano())
	default:
		_ = apply(c)
	}
	return result, nil
}

// applyQueued applies the first n queued updates. The lock is held.
func (c *collection) applyQueued(n int) {
	for _, queued := range c.queue[:n] {
		_ = queued.apply(c)
	}
	c.queue = c.queue[n:]
	c.nextDue.Store(math.MaxInt64)
	if len(c.queue) > 0 {
		c.nextDue.Store(c.queue[0].due.UnixNano())
	} else {
		c.queue = nil
	}
}

// applyDue makes updates visible whose delay is over. There is no timer: nobody can see an update between its
// time and the next read.
func (c *collection) applyDue() {
	next := c.nextDue.Load()
	if next == math.MaxInt64 || c.now().UnixNano() < next {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, due := c.now(), 0
	for due < len(c.queue) && !c.queue[due].due.After(now) {
		due++
	}
	c.applyQueued(due)
}

// rlock takes the lock for reading, and returns the function that gives it back.
func (c *collection) rlock() (unlock func()) {
	c.applyDue()
	c.mu.RLock()
	return c.mu.RUnlock
}

// rlockOrdered is rlock with the order of ids up to date. The reader that has to merge keeps the lock
// exclusively, since a writer could otherwise make the order stale again for ever.
func (c *collection) rlockOrdered() (unlock func()) {
	unlock = c.rlock()
	if !c.order.stale() {
		return unlock
	}
	unlock()
	c.mu.Lock()
	if c.order.stale() {
		c.order.merge(func(id pointID) bool { return c.points[id] != nil })
	}
	return c.mu.Unlock
}

// put stores a point, replacing the one before it as a whole. The lock is held.
func (c *collection) put(id pointID, p *point) {
	before := len(c.points)
	c.points[id] = p
	if len(c.points) > before {
		c.order.add(id)
	}
}

// remove deletes a point if it exists. The lock is held.
func (c *collection) remove(id pointID) {
	before := len(c.points)
	delete(c.points, id)
	if len(c.points) < before {
		c.order.remove()
	}
}

// strictMode is the collection's strict mode, or nil if it is off.
func (c *collection) strictMode() *qdrant.StrictModeConfig {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if strict := c.config.GetStrictModeConfig(); strict.GetEnabled() {
		return strict
	}
	return nil
}

// lookup finds a collection by its name or an alias.
func (s *Server) lookup(name string) (*collection, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if target, ok := s.aliases[name]; ok {
		name = target
	}
	c, ok := s.collections[name]
	if !ok {
		return nil, collectionNotFound(name)
	}
	return c, nil
}
