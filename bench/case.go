package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// benchCase is a state of the index: of 256 points, absent are missing.
type benchCase struct {
	name   string
	absent int
	verify bool // a full audit, in both directions, rather than a run
}

var benchCases = []benchCase{{name: "no-op"}, {name: "1 % missing", absent: 3}, {name: "all missing", absent: 256}, {name: "verify", verify: true}}

// stages are the hand-written loops that do the case's work, one stage each. Nobody writes an audit by hand.
func (c benchCase) stages() []string {
	switch {
	case c.verify:
		return nil
	case c.absent == 0:
		return []string{"scan", "uuid", "get"}
	case c.absent == 256:
		return []string{"read", "uuid", "get", "json", "produce"}
	}
	return []string{"scan", "uuid", "get", "json", "produce"}
}

// command is what syncd is told to do.
func (c benchCase) command() []string {
	if c.verify {
		return []string{"verify", "--min-age", "0s"}
	}
	return []string{"run"}
}

// A series is one program's or loop's repetitions.
type series struct {
	name      string
	documents int // that it handled in each
	figures   []figure
}

// A result is what was measured of a case at one number and size of documents.
type result struct {
	benchCase
	load
	series      []series
	firstEvents []float64 // seconds from syncd's start; none if it sends nothing
	allocations uint64    // of one run
}

// of returns the repetitions of a process, none if there was no such.
func (r *result) of(name string) []figure {
	for _, p := range r.series {
		if p.name == name {
			return p.figures
		}
	}
	return nil
}

// loops are the stages of each repetition together: their CPU, and the wall time of the slowest, since they could overlap.
func (r *result) loops() []figure {
	var out []figure
	for _, name := range r.stages() {
		figures := r.of("loop: " + name)
		if out == nil {
			out = make([]figure, len(figures))
		}
		for i, f := range figures {
			out[i].cpu += f.cpu
			out[i].wall = max(out[i].wall, f.wall)
		}
	}
	return out
}

// compared divides syncd's figure by the one of others, repetition by repetition: nil without others.
func (r *result) compared(others []figure, what func(figure) float64) []float64 {
	if len(others) == 0 {
		return nil
	}
	return ratios(r.of("syncd"), others, what)
}

// What whole backfills cost by hand does not depend on the number of documents, and they are slow: beyond these they are left
// out. The baseline waits for every event.
const (
	backfillDocuments = 100_000
	baselineEvents    = 1200
)

// run measures one case: each loop alone, the described algorithm, the old program if there is one, and syncd, in turn and all
// on the same servers.
func (b *bench) run(ctx context.Context, c benchCase, l load) (r *result, err error) {
	l.Absent, l.List = c.absent, c.verify
	s, err := startServers(ctx, b.self, l)
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, s.stop())
		}
	}()
	e, err := json.Marshal(s.endpoints)
	if err != nil {
		return nil, err
	}
	r = &result{benchCase: c, load: l}
	var measurements []func() (figure, error)
	loop := func(name string, documents int) {
		r.series = append(r.series, series{name: "loop: " + name, documents: documents})
		measurements = append(measurements, func() (figure, error) {
			return measure(exec.CommandContext(ctx, b.self, "floor", name, string(e), strconv.Itoa(documents)))
		})
	}
	config := configuration(s.endpoints, l)
	program := func(name, path string) {
		r.series = append(r.series, series{name: name, documents: l.Documents})
		measurements = append(measurements, func() (figure, error) { return measureProgram(ctx, path, config, c.command()...) })
	}
	sent := l.Documents * c.absent / 256
	for _, name := range c.stages() {
		if name == "json" || name == "produce" {
			loop(name, max(1, sent))
		} else {
			loop(name, l.Documents)
		}
	}
	if !c.verify && l.Documents <= backfillDocuments {
		loop("script", l.Documents)
		if sent <= baselineEvents {
			loop("baseline", l.Documents)
		}
	}
	if b.old != "" {
		program("old syncd", b.old)
	}
	program("syncd", b.syncd)
	figures, err := interleave(b.repeat, measurements...)
	if err != nil {
		return nil, err
	}
	for i := range r.series {
		r.series[i].figures = figures[i]
	}
	if r.allocations, err = b.allocations(ctx, config, c); err != nil {
		return nil, err
	}
	stopped = true
	if err := s.stop(); err != nil {
		return nil, err
	}
	if err := r.complete(s.Events); err != nil {
		return nil, err
	}
	if len(r.of("loop: produce")) > 0 {
		r.firstEvents = firstEvents(s.Produced, r.of("syncd"))
	}
	return r, nil
}

// complete makes sure that whatever was to send what is missing sent all of it, and nothing else: figures of anything less say
// nothing.
func (r *result) complete(events int) error {
	missing, want := r.missing(), 0
	for _, s := range r.series {
		switch s.name {
		case "loop: produce":
			want += s.documents * len(s.figures)
		case "loop: script", "loop: baseline", "old syncd":
			want += missing * len(s.figures)
		case "syncd":
			want += missing * (len(s.figures) + 1) // allocations were counted too
		}
	}
	if events != want {
		return fmt.Errorf("%s: all programs together sent %d events, not %d", r.name, events, want)
	}
	return nil
}

// firstEvents are the times from each start to the first request to produce, in seconds.
func firstEvents(produced []time.Time, of []figure) []float64 {
	var out []float64
	for _, f := range of {
		for _, at := range produced {
			if at.After(f.start) {
				out = append(out, at.Sub(f.start).Seconds())
				break
			}
		}
	}
	return out
}

// allocations counts the objects that a run allocates, by syncd inside this program.
func (b *bench) allocations(ctx context.Context, config string, c benchCase) (uint64, error) {
	dir, err := os.MkdirTemp("", "syncd-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	counted := filepath.Join(dir, "allocations")
	if _, err := measureProgram(ctx, b.self, config, append([]string{"syncd", counted}, c.command()...)...); err != nil {
		return 0, err
	}
	number, err := os.ReadFile(counted)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(number), 10, 64)
}
