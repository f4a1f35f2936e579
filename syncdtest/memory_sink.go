package syncdtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
)

// MemorySink is a sink that keeps what it is given. Every method is safe for concurrent use; the fields must be set
// before the first Write.
type MemorySink struct {
	// Reject says why an event is refused, or nil. The refused events of a Write make its BatchError.
	Reject func(e syncd.Event) error
	// Written is called with the copy of every event that was kept, one at a time: a place for a stand-in of the
	// indexer that puts the event's point into a MemoryChecker. It must not call the sink.
	Written func(e syncd.Event)

	mu      sync.Mutex
	events  []syncd.Event
	batches []int
	targets []syncd.Target
	closes  int
}

// NewMemorySink returns a sink that refuses nothing.
func NewMemorySink() *MemorySink { return &MemorySink{} }

// Events returns the events that were kept, in the order in which they came.
func (s *MemorySink) Events() []syncd.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Batches returns how many events each Write had, in the order of the calls.
func (s *MemorySink) Batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// Prepared returns the targets that Prepare was given.
func (s *MemorySink) Prepared() []syncd.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.targets)
}

// Closes says how often Close was called.
func (s *MemorySink) Closes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closes
}

// Plugin declares a sink of that name; opening it gives s itself.
func (s *MemorySink) Plugin(name string) syncd.Plugin {
	return syncd.NewSink(name, "Keeps events in memory.", struct{}{},
		func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { return s, nil })
}

// Prepare implements syncd.Preparer.
func (s *MemorySink) Prepare(ctx context.Context, targets []syncd.Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = append(s.targets, targets...)
	return ctx.Err()
}

// Route implements syncd.Router: the target's own topic, else database.collection.
func (s *MemorySink) Route(t syncd.Target) string { return memoryRoute(t) }

func memoryRoute(t syncd.Target) string {
	if t.Topic != "" {
		return t.Topic
	}
	return t.Database + "." + t.Collection
}

// Write implements syncd.Sink.
func (s *MemorySink) Write(ctx context.Context, events []syncd.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(events))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing %d events: %w", len(events), err)
	}
	var failed syncd.BatchError
	for i, e := range events {
		if s.Reject != nil {
			if err := s.Reject(e); err != nil {
				failed.Fail(i, err)
				continue
			}
		}
		e = cloneEvent(e)
		s.events = append(s.events, e)
		if s.Written != nil {
			s.Written(e)
		}
	}
	return failed.OrNil()
}

// Close implements syncd.Sink.
func (s *MemorySink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closes++
	return nil
}
