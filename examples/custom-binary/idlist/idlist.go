// Package idlist is a complete checker: the index is a file that holds the id of a point on each line.
package idlist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// Config is the only place where the checker's settings are declared.
type Config struct {
	Path string `yaml:"path" rule:"required" example:"indexed.txt" doc:"The file that lists what is indexed, the id of one point on each line."`
}

// Plugin declares the checker.
func Plugin() syncd.Plugin {
	return syncd.NewChecker("idlist", "Takes for indexed what a file lists.", Config{}, open).WithVersion("1", syncd.Experimental)
}

// open reads the list. A file that does not exist is an index that does not exist yet: every point is missing.
func open(_ context.Context, config Config, _ syncd.Env) (syncd.Checker, error) {
	c := &checker{ids: map[uuid.UUID]bool{}}
	text, err := os.ReadFile(config.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("reading the list: %w: %w", syncd.ErrUnavailable, err)
	}
	c.exists = true
	for line := range strings.Lines(string(text)) {
		id, err := uuid.Parse(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("reading the list: %w", err)
		}
		c.ids[id] = true
	}
	return c, nil
}

type checker struct {
	exists bool
	ids    map[uuid.UUID]bool // never changed once it is open
}

// Check sets every verdict, or returns an error: "could not ask" is never a verdict.
func (c *checker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, p := range points {
		verdicts[i] = syncd.Missing
		if c.ids[p.ID] {
			verdicts[i] = syncd.Present
		}
	}
	return nil
}

// Abilities says that the index can be described, and nothing else: it can't be listed, and its points carry no payload.
func (c *checker) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Inspect: c.inspect}
}

func (c *checker) inspect(ctx context.Context) (syncd.Index, error) {
	return syncd.Index{Name: "idlist", Exists: c.exists, Points: int64(len(c.ids))}, ctx.Err()
}

// Close has nothing to close.
func (c *checker) Close() error { return nil }
