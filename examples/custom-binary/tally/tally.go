// Package tally is a complete sink: it counts changes by content type and writes the counts to a file when it is closed.
package tally

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/syncd-io/syncd"
)

// Config is the only place where the sink's settings are declared: names, defaults, rules and sentences.
type Config struct {
	Path  string `yaml:"path" rule:"required" example:"counts.json" doc:"The file to write the counts to."`
	Limit int    `yaml:"limit" rule:"min=0" doc:"Refuse documents of more bytes than this; 0 refuses none."`
}

// Plugin declares the sink.
func Plugin() syncd.Plugin {
	return syncd.NewSink("tally", "Counts changes by content type.", Config{}, open).WithVersion("1", syncd.Experimental)
}

type sink struct {
	config Config

	mu     sync.Mutex
	counts map[string]int
}

// open is called for a run and for validate --connect, never for the other checks of a configuration.
func open(_ context.Context, config Config, _ syncd.Env) (syncd.Sink, error) {
	return &sink{config: config, counts: map[string]int{}}, nil
}

// Write counts the changes. One that is too large fails alone, and the others count. A delete, and a document that could not be
// read, come without a document. A sink that writes bytes would encode the changes here, and set Bytes of each.
func (s *sink) Write(ctx context.Context, changes []syncd.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed syncd.BatchError
	for i, c := range changes {
		if s.config.Limit > 0 && c.Document != nil && c.Document.Size() > s.config.Limit {
			failed.Fail(i, errors.New("the document is larger than sink.tally.limit"))
			continue
		}
		s.counts[c.Target.ContentType]++
	}
	return failed.OrNil()
}

// Abilities says that the sink can do nothing else: no functions are set.
func (s *sink) Abilities() syncd.SinkAbilities { return syncd.SinkAbilities{} }

// Close writes the counts.
func (s *sink) Close() error {
	b, err := json.MarshalIndent(s.counts, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the counts: %w", err)
	}
	if err := os.WriteFile(s.config.Path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the counts: %w", err)
	}
	return nil
}
