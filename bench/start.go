package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
)

// start measures what a short run takes from its start to its end, and what the program takes that does nothing.
func (b *bench) start(ctx context.Context) (err error) {
	const documents, runLimit, versionLimit = 1500, 100, 10 // of the limits: ms of wall time, on servers on the same machine
	names := []string{"no-op", "all missing", "syncd version"}
	measurements := make([]func() (figure, error), 0, len(names))
	for _, absent := range []int{0, 256} {
		l := load{Documents: documents, Size: documentSize, Absent: absent}
		s, err := startServers(ctx, b.self, l)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		measurements = append(measurements, func() (figure, error) {
			return measureProgram(ctx, b.syncd, configuration(s.endpoints, l), "run")
		})
	}
	measurements = append(measurements, func() (figure, error) { return measure(exec.CommandContext(ctx, b.syncd, "version")) })
	figures, err := interleave(3*b.repeat, measurements...)
	if err != nil {
		return err
	}
	var decided []gate
	t := &table{header: []string{"documents", "case", "CPU ms", "wall ms"}}
	milliseconds := func(f figure) float64 { return f.wall.Seconds() * 1000 }
	for i, name := range names {
		n, limit := strconv.Itoa(documents), float64(runLimit)
		if i == len(names)-1 {
			n, limit = "", versionLimit
		}
		t.add(n, name, least(each(figures[i], func(f figure) float64 { return f.cpu.Seconds() * 1000 })), least(each(figures[i], milliseconds)))
		decided = append(decided, gate{name: name + ", start to end", unit: "ms", limit: limit, values: each(figures[i], milliseconds)})
	}
	t.print(os.Stdout)
	for _, g := range decided {
		b.decide(g)
	}
	return nil
}
