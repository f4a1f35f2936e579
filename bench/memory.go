package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memoryBudget is run.memory where nothing is set, and memoryRest what a process may take beside it, in bytes.
const (
	memoryBudget = 128 << 20
	memoryRest   = 60_000_000
)

// memoryLoads are enough documents of each size for memory to stop growing if it does.
var memoryLoads = []load{
	{Documents: 200_000, Size: 500}, {Documents: 100_000, Size: 2000}, {Documents: 5000, Size: 100_000}, {Documents: 50, Size: 10_000_000},
}

// memoryCases are what is done with them: of 256 points, absent are missing.
var memoryCases = []struct {
	name   string
	absent int
	sink   string // settings beside the servers
}{
	{"no-op", 0, ""},
	{"1/8 missing", 32, ""},
	{"all missing", 256, ""},
	{"1/8 missing, exactly once", 32, ", delivery: exactly_once, transactions: {id: bench}"},
	{"all missing, exactly once", 256, ", delivery: exactly_once, transactions: {id: bench}"},
}

// memory measures the peak memory of runs over documents of very different sizes: each must stay within run.memory and a fixed
// rest. Beside an older program it also compares the CPU that this takes.
func (b *bench) memory(ctx context.Context) error {
	t := &table{header: []string{"bytes", "case", "peak MB", "CPU µs/doc"}}
	var decided []gate
	for _, l := range memoryLoads {
		for _, c := range memoryCases {
			l.Absent = c.absent
			figures, err := b.measureMemory(ctx, l, c.sink)
			if err != nil {
				return fmt.Errorf("%s, documents of %d bytes: %w", c.name, l.Size, err)
			}
			megabytes := each(figures[0], func(f figure) float64 { return float64(f.rss) / 1e6 })
			cpu := func(f figure) float64 { return perDocument(f.cpu, l.Documents) }
			t.add(strconv.Itoa(l.Size), c.name, least(megabytes), least(each(figures[0], cpu)))
			name := fmt.Sprintf("%s, documents of %d bytes, ", c.name, l.Size)
			decided = append(decided, gate{name: name + "peak memory", unit: "MB", limit: (memoryBudget + memoryRest) / 1_000_000, values: megabytes})
			if len(figures) > 1 {
				decided = append(decided, gate{name: name + "CPU ÷ that of the old program", limit: 1.1, values: ratios(figures[0], figures[1], cpu)})
			}
		}
	}
	t.print(os.Stdout)
	for _, g := range decided {
		b.decide(g)
	}
	return nil
}

// measureMemory runs the program, and the old one if there is one, on the same servers.
func (b *bench) measureMemory(ctx context.Context, l load, sink string) (figures [][]figure, err error) {
	s, err := startServers(ctx, b.self, l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	settings := fmt.Sprintf(", max_message_bytes: %d%s}}", max(1_000_000, l.Size+l.Size/2), sink)
	config := strings.Replace(configuration(s.endpoints, l), fmt.Sprintf("%q}}", s.Kafka), fmt.Sprintf("%q", s.Kafka)+settings, 1)
	of := func(program string) func() (figure, error) {
		return func() (figure, error) { return measureProgram(ctx, program, config, "run", "--quiet") }
	}
	measurements := []func() (figure, error){of(b.syncd)}
	repeat := 1
	if b.old != "" {
		measurements, repeat = append(measurements, of(b.old)), b.repeat
	}
	return interleave(repeat, measurements...)
}
