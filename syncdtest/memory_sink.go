package syncdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// MemorySink is a sink that keeps what it is given, as changes and as the events that a byte sink would write of them. Every
// method is safe for concurrent use; the fields must be set before Plugin and the first Write.
type MemorySink struct {
	// Event is the form of events. The zero value is the plain form.
	Event codec.Config
	// Reject says why an event is refused, or nil. The refused events of a Write make its BatchError.
	Reject func(e codec.Event) error
	// Written is called with the copy of every event that was kept, one at a time: a place for a stand-in of the
	// indexer that puts the event's point into a MemoryChecker. It must not call the sink.
	Written func(e codec.Event)
	// Placed makes the sink say where each event is: at its index in Events, in partition 0.
	Placed bool

	mu      sync.Mutex
	kept    record
	batches []int
	run     syncd.Run
	closes  int
}

// NewMemorySink returns a sink that refuses nothing which can be encoded.
func NewMemorySink() *MemorySink { return &MemorySink{} }

// Events returns the events that were kept, in the order in which they came.
func (s *MemorySink) Events() []codec.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept.events)
}

// Changes returns the changes that were kept, one for each of Events.
func (s *MemorySink) Changes() []syncd.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept.changes)
}

// Batches returns how many changes each Write had, in the order of the calls.
func (s *MemorySink) Batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// Prepared returns the targets that Prepare was given.
func (s *MemorySink) Prepared() []syncd.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.run.Targets)
}

// Closes says how often Close was called.
func (s *MemorySink) Closes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closes
}

// Plugin declares a sink of that name; opening it gives s itself, with the form of events that the configuration says.
func (s *MemorySink) Plugin(name string) syncd.Plugin {
	return syncd.NewSink(name, "Keeps events in memory.", newMemorySinkConfig(s.Event),
		func(_ context.Context, config memorySinkConfig, _ syncd.Env) (syncd.Sink, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.Event = config.Event
			return s, nil
		})
}

// memorySinkConfig is the configuration of both sinks in memory.
type memorySinkConfig struct {
	Event codec.Config `yaml:"event" doc:"The form of events."`
}

func newMemorySinkConfig(event codec.Config) memorySinkConfig {
	if event == (codec.Config{}) {
		event = codec.Defaults()
	}
	return memorySinkConfig{Event: event}
}

// Route implements syncd.Router, as the open sink does.
func (memorySinkConfig) Route(t syncd.Target) string { return memoryRoute(t) }

// Preview implements syncd.Previewer.
func (c memorySinkConfig) Preview(change *syncd.Change) (key, value []byte, err error) {
	return c.Event.Encoder().Preview(change)
}

// Abilities implements syncd.Sink.
func (s *MemorySink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: s.Prepare, Route: s.Route}
}

// Prepare is the ability of that name. It may be called again.
func (s *MemorySink) Prepare(ctx context.Context, run syncd.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = syncd.Run{ID: run.ID, Targets: append(s.run.Targets, run.Targets...)}
	return ctx.Err()
}

// Route is the ability of that name: the target's own topic, else database.collection.
func (s *MemorySink) Route(t syncd.Target) string { return memoryRoute(t) }

func memoryRoute(t syncd.Target) string {
	if t.Topic != "" {
		return t.Topic
	}
	return t.Database + "." + t.Collection
}

// Write implements syncd.Sink.
func (s *MemorySink) Write(ctx context.Context, changes []syncd.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(changes))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing %d changes: %w", len(changes), err)
	}
	w := writing{event: s.Event, run: s.run.ID, reject: s.Reject, written: s.Written, placed: s.Placed}
	return s.kept.add(w, changes)
}

// Close implements syncd.Sink.
func (s *MemorySink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closes++
	return nil
}

// record is what a sink in memory has kept.
type record struct {
	events  []codec.Event
	changes []syncd.Change // aligned with events
}

// writing says how changes are added to a record.
type writing struct {
	event   codec.Config
	run     string // its id
	reject  func(codec.Event) error
	written func(codec.Event)
	placed  bool
	whole   bool // all or none
}

// add keeps the changes that have an event and are not refused. What it returns is a BatchError of the others, or nil.
func (r *record) add(w writing, changes []syncd.Change) error {
	var batch codec.Batch
	batch.Encode(w.event.Encoder(), w.run, changes)
	var refused syncd.BatchError
	place := int64(len(r.events))
	for i := range batch.Events {
		e := &batch.Events[i]
		if w.reject != nil {
			if err := w.reject(cloneEvent(*e)); err != nil {
				refused.Fail(i, err)
				continue
			}
		}
		if w.placed {
			e.Placement = syncd.Placement{Offset: place, Known: true}
			place++
		}
	}
	settled := slices.Clone(changes) // what is not kept must not be changed either
	err := batch.Settle(settled, refused.OrNil())
	if err != nil && w.whole {
		return err
	}
	for i := range batch.Events {
		if refused.Of(i) != nil {
			continue
		}
		e := cloneEvent(batch.Events[i])
		r.events = append(r.events, e)
		if w.written != nil {
			w.written(e)
		}
	}
	failed, _ := errors.AsType[*syncd.BatchError](err)
	for i, c := range settled {
		if failed != nil && failed.Of(i) != nil {
			continue
		}
		changes[i].Placement, changes[i].Bytes = c.Placement, c.Bytes
		c.Fields = slices.Clone(c.Fields)
		r.changes = append(r.changes, c)
	}
	return err
}

func cloneEvent(e codec.Event) codec.Event {
	e.Key, e.Value, e.Headers = bytes.Clone(e.Key), bytes.Clone(e.Value), slices.Clone(e.Headers)
	return e
}
