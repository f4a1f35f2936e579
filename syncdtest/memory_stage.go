package syncdtest

import (
	"context"
	"sync/atomic"

	"github.com/syncd-io/syncd"
)

// MemoryStage is a stage of functions. Its fields must be set before the first Apply.
type MemoryStage struct {
	// Each is called with every change that has a document and has not failed, concurrently; its error is the document's.
	Each func(c *syncd.Change) error
	// Fail, if set, is called before, and its error is that of the whole call.
	Fail func() error
	// Can is what the stage can do.
	Can syncd.StageAbilities

	calls, closes atomic.Int64
}

// Calls says how often Apply was called.
func (s *MemoryStage) Calls() int { return int(s.calls.Load()) }

// Closes says how often Close was called.
func (s *MemoryStage) Closes() int { return int(s.closes.Load()) }

// Apply implements syncd.Stage.
func (s *MemoryStage) Apply(ctx context.Context, changes []syncd.Change) error {
	s.calls.Add(1)
	if s.Fail != nil {
		if err := s.Fail(); err != nil {
			return err
		}
	}
	for i := range changes {
		if c := &changes[i]; c.Document != nil && c.Err == nil && s.Each != nil {
			c.Err = s.Each(c)
		}
	}
	return ctx.Err()
}

// Abilities implements syncd.Stage.
func (s *MemoryStage) Abilities() syncd.StageAbilities { return s.Can }

// Close implements syncd.Stage.
func (s *MemoryStage) Close() error {
	s.closes.Add(1)
	return nil
}

// Plugin declares a stage of that name; opening it gives s itself.
func (s *MemoryStage) Plugin(name string) syncd.Plugin {
	return syncd.NewStage(name, "Applies functions.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Stage, error) { return s, nil })
}
