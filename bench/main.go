package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/cli"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sinks/kafka"
)

// documentSize is how large the documents are, in bytes.
const documentSize = 2000

var floors = map[string]func(context.Context, endpoints, int) (int, error){
	"scan": floorScan, "read": floorRead, "uuid": floorUUID, "get": floorGet, "json": floorJSON, "produce": floorProduce,
	"baseline": baseline,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "serve" {
		var l load
		if err := json.Unmarshal([]byte(args[1]), &l); err != nil {
			return err
		}
		return serve(ctx, l)
	}
	if len(args) > 1 && args[0] == "syncd" {
		return countAllocations(args[1:])
	}
	if len(args) == 4 && args[0] == "floor" {
		var e endpoints
		if err := json.Unmarshal([]byte(args[2]), &e); err != nil {
			return err
		}
		n, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		did, err := floors[args[1]](ctx, e, n)
		if err == nil && did != n {
			err = fmt.Errorf("the loop %s handled %d documents, not %d", args[1], did, n)
		}
		return err
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	syncd := f.String("syncd", "bin/syncd", "the program to measure")
	sizes := f.String("sizes", "10000,100000,1000000", "numbers of documents")
	repeat := f.Int("n", 5, "how often each measurement is repeated")
	cases := f.String("cases", "", "only the cases whose names contain this")
	if err := f.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := filepath.Abs(*syncd)
	if err != nil {
		return err
	}
	// A topic measures and decides its gates, with b.decide. Each is a file of its own.
	topics := []struct {
		name string
		run  func(*bench, context.Context) error
	}{}
	b := &bench{self: self, syncd: program, repeat: *repeat}
	fmt.Printf(rowFormat, "documents", "case", "process", "CPU µs/doc", "wall s", "docs/s", "peak MB", "first event s", "syncd compared")
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return err
		}
		for _, c := range []benchCase{
			{"no-op", 0, false}, {"1 % missing", 3, false}, {"all missing", 256, false}, {"verify", 0, true},
		} {
			if !strings.Contains(c.name, *cases) {
				continue
			}
			if n*c.absent/256 > brokerLimit || c.verify && n > listLimit {
				fmt.Printf("%10d  %-12s  left out: the servers keep it in memory\n", n, c.name)
				continue
			}
			if err := b.run(ctx, n, c); err != nil {
				return err
			}
		}
	}
	for _, t := range topics {
		if !strings.Contains(t.name, *cases) {
			continue
		}
		if err := t.run(b, ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", t.name, err)
		}
	}
	if len(b.failed) > 0 {
		return fmt.Errorf("these gates failed: %s", strings.Join(b.failed, ", "))
	}
	return nil
}

const (
	brokerLimit = 1_000_000 // events that the broker keeps in memory, 2 kB each
	listLimit   = 5_000_000 // points that the Qdrant-protocol server keeps for listing
)

// benchCase is a state of the index: of 256 points, absent are missing.
type benchCase struct {
	name   string
	absent int
	verify bool // a full audit, in both directions, rather than a run
}

type bench struct {
	self, syncd string // paths of this program, and of the one to measure
	repeat      int    // how often each measurement is repeated
	gates
}

// run measures one case: each floor alone, then syncd, then the baseline, all on the same servers.
func (b *bench) run(ctx context.Context, n int, c benchCase) (err error) {
	// The baseline keeps all documents in memory: it is left out where that is no use.
	const baselineLimit = 1_000_000
	s, err := startServers(ctx, b.self, load{Documents: n, Size: documentSize, Absent: c.absent, List: c.verify})
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, s.stop())
		}
	}()
	floor := func(name string, n int) (figure, error) {
		e, err := json.Marshal(s.endpoints)
		if err != nil {
			return figure{}, err
		}
		f, err := measure(exec.CommandContext(ctx, b.self, "floor", name, string(e), strconv.Itoa(n)))
		if err == nil {
			b.row(n, c.name, "loop: "+name, f, n, "", "")
		}
		return f, err
	}
	stages := []string{"scan", "uuid", "get"}
	sent := n * c.absent / 256
	switch {
	case c.verify: // nobody writes an audit by hand
		stages = nil
	case c.absent == 256:
		stages = []string{"read", "uuid", "get"}
	}
	var sum, slowest time.Duration
	for _, name := range stages {
		f, err := floor(name, n)
		if err != nil {
			return err
		}
		sum, slowest = sum+f.cpu, max(slowest, f.wall)
	}
	var produceWall time.Duration
	if sent > 0 {
		for _, name := range []string{"json", "produce"} {
			f, err := floor(name, sent)
			if err != nil {
				return err
			}
			sum, slowest = sum+f.cpu, max(slowest, f.wall)
			if name == "produce" {
				produceWall = f.wall
			}
		}
	}
	var base figure
	if n <= baselineLimit && c.absent < 256 && !c.verify {
		if base, err = floor("baseline", n); err != nil {
			return err
		}
	}
	f, allocations, err := b.measureSyncd(ctx, s, c)
	if err != nil {
		return err
	}
	stopped = true
	if err := s.stop(); err != nil {
		return err
	}
	first := ""
	for _, at := range s.Produced {
		if at.After(f.start) {
			first = fmt.Sprintf("%.2f", at.Sub(f.start).Seconds())
			break
		}
	}
	compare := []string{fmt.Sprintf("%.1f allocations/document", float64(allocations)/float64(n))}
	if sum > 0 {
		compare = append(compare, fmt.Sprintf("CPU %.2f × loops", f.cpu.Seconds()/sum.Seconds()),
			fmt.Sprintf("wall %.2f × slowest loop", f.wall.Seconds()/slowest.Seconds()))
	}
	if base.wall > 0 {
		compare = append(compare, fmt.Sprintf("%.1f × faster than baseline", base.wall.Seconds()/f.wall.Seconds()))
	}
	if produceWall > 0 && c.absent == 256 {
		compare = append(compare, fmt.Sprintf("wall %.2f × produce loop", f.wall.Seconds()/produceWall.Seconds()))
	}
	b.row(n, c.name, "syncd", f, n, first, strings.Join(compare, ", "))
	return nil
}

const rowFormat = "%10v  %-12v  %-14v  %10v  %8v  %9v  %8v  %13v  %v\n"

func (b *bench) row(n int, name, process string, f figure, documents int, first, compare string) {
	fmt.Printf(rowFormat, n, name, process, fmt.Sprintf("%.2f", perDocument(f.cpu, documents)), fmt.Sprintf("%.2f", f.wall.Seconds()),
		fmt.Sprintf("%.0f", float64(documents)/f.wall.Seconds()), f.rss>>20, first, compare)
}

// measureSyncd runs the program on the servers with a configuration of its own.
// It runs it a second time, which is not measured, to count its allocations.
func (b *bench) measureSyncd(ctx context.Context, s *servers, c benchCase) (figure, uint64, error) {
	args := []string{"run"}
	if c.verify {
		args = []string{"verify", "--min-age", "0s"}
	}
	config := configuration(s.endpoints, load{})
	f, err := measureProgram(ctx, b.syncd, config, args...)
	if err != nil {
		return f, 0, err
	}
	dir, err := os.MkdirTemp("", "syncd-bench-")
	if err != nil {
		return f, 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	counted := filepath.Join(dir, "allocations")
	if err := os.Setenv(allocationsFile, counted); err != nil {
		return f, 0, err
	}
	if _, err := measureProgram(ctx, b.self, config, append([]string{"syncd"}, args...)...); err != nil {
		return f, 0, err
	}
	number, err := os.ReadFile(counted)
	if err != nil {
		return f, 0, err
	}
	n, err := strconv.ParseUint(string(number), 10, 64)
	return f, n, err
}

// allocationsFile is the variable that names where countAllocations leaves its figure.
const allocationsFile = "BENCH_ALLOCATIONS"

// countAllocations is syncd inside this program, which writes down how many objects it allocated.
func countAllocations(args []string) error {
	os.Args = append([]string{"syncd"}, args...)
	code := cli.Main(mongo.Plugin(), qdrant.Plugin(), kafka.Plugin())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if code != 0 {
		return fmt.Errorf("syncd ended with %d", code)
	}
	return os.WriteFile(os.Getenv(allocationsFile), strconv.AppendUint(nil, m.Mallocs, 10), 0o600)
}
