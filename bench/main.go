package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/cli"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/sinks/kafka"
)

var floors = map[string]func(context.Context, endpoints, int) (int, error){
	"scan": floorScan, "read": floorRead, "uuid": floorUUID, "get": floorGet, "json": floorJSON, "produce": floorProduce,
	"baseline": baseline, "script": script, "index": floorIndex,
	"postgres Qdrant": floorPostgresQdrant, "postgres pgvector": floorPostgresPGVector,
}

// sections are what is measured beside the cases. Each is a file of its own, and decides its gates with b.decide.
var sections = []section{
	{name: "NDJSON", run: (*bench).ndjson}, {name: "many collections", run: (*bench).collections}, {name: "start and end", run: (*bench).start},
	{name: "changes", run: (*bench).stream}, {name: "lost position", run: (*bench).lostPosition}, {name: "memory", run: (*bench).memory},
	{name: "PostgreSQL", run: (*bench).postgres},
	{name: "indexing", run: (*bench).indexing, always: true}, {name: "indexing, a slow service", run: (*bench).slowService, always: true},
}

type section struct {
	name   string
	run    func(*bench, context.Context) error
	always bool // also where no gates are decided, for its tables
}

// names are those of all cases and sections.
func names() []string {
	var out []string
	for _, c := range benchCases {
		out = append(out, c.name)
	}
	for _, t := range sections {
		out = append(out, t.name)
	}
	return out
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		var l load
		if err := json.Unmarshal([]byte(args[1]), &l); err != nil {
			return err
		}
		if l.Indexing.Unit != "" {
			return serveIndexing(ctx, l)
		}
		return serve(ctx, l)
	case len(args) > 1 && args[0] == "syncd":
		return countAllocations(args[1], args[2:])
	case len(args) == 4 && args[0] == "floor":
		return floor(ctx, args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "watch":
		return watchAndProduce(ctx, args[1], args[2])
	case len(args) > 0 && args[0] == "peers":
		return peers(ctx, args[1:])
	}
	return compare(ctx, args)
}

// floor runs one loop, and makes sure that it did its work.
func floor(ctx context.Context, name, at, documents string) error {
	var e endpoints
	if err := json.Unmarshal([]byte(at), &e); err != nil {
		return err
	}
	n, err := strconv.Atoi(documents)
	if err != nil {
		return err
	}
	did, err := floors[name](ctx, e, n)
	if err == nil && did != n {
		err = fmt.Errorf("the loop %s handled %d documents, not %d", name, did, n)
	}
	return err
}

// countAllocations is syncd inside this program, which writes to a file how many objects it allocated.
func countAllocations(file string, args []string) error {
	os.Args = append([]string{"syncd"}, args...)
	code := cli.Main(mongo.Plugin(), qdrant.Plugin(), kafka.Plugin())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if code != 0 {
		return fmt.Errorf("syncd ended with %d", code)
	}
	return os.WriteFile(file, strconv.AppendUint(nil, m.Mallocs, 10), 0o600)
}

type bench struct {
	self, syncd string // paths of this program, and of the one to measure
	old         string // of one to compare with, or empty
	repeat      int    // how often each measurement is repeated
	most        int    // the largest number of documents
	gates
}

// compare measures all that was asked for, and prints tables and gates.
func compare(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	syncd := f.String("syncd", "bin/syncd", "the program to measure")
	old := f.String("old", "", "a program to compare with, or the git revision to build it from")
	numbers := f.String("sizes", "10000,100000,1000000", "numbers of documents, ascending")
	bytes := f.String("bytes", "2000,500,100000", "sizes of documents; the others than the first only where all are sent, at the last number of documents")
	most := f.Int("most", 200_000_000, "most bytes of documents in a run that sends all of them, so that it does not take too long")
	repeat := f.Int("n", 5, "how often each measurement is repeated")
	only := f.String("cases", "", "only the cases and sections whose names contain this")
	judged := f.Bool("gates", true, "decide gates, and measure what only they need")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil // it was printed
	} else if err != nil {
		return err
	}
	if known := names(); !slices.ContainsFunc(known, func(name string) bool { return strings.Contains(name, *only) }) {
		return fmt.Errorf("-cases %q is in no name; there are: %s", *only, strings.Join(known, ", "))
	}
	documents, err := integers(*numbers)
	if err != nil {
		return err
	}
	sizes, err := integers(*bytes)
	if err != nil {
		return err
	}
	b := &bench{repeat: max(1, *repeat), most: documents[len(documents)-1], gates: gates{off: !*judged}}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.syncd, err = filepath.Abs(*syncd); err != nil {
		return err
	}
	if *old != "" {
		path, remove, err := oldProgram(ctx, *old)
		if err != nil {
			return err
		}
		defer remove()
		b.old = path
	}
	fmt.Printf("%s Each figure is one of %d repetitions, taken in turn: the least / the median.\n\n", machine(), b.repeat)
	var results []*result
	last := map[string]*result{}
	for _, c := range benchCases {
		if !strings.Contains(c.name, *only) {
			continue
		}
		for _, l := range loads(c, documents, sizes, *most) {
			fmt.Fprintf(os.Stderr, "measuring %s, %d documents of %d bytes\n", c.name, l.Documents, l.Size)
			r, err := b.run(ctx, c, l)
			if err != nil {
				return err
			}
			results = append(results, r)
			if l.Size == sizes[0] {
				last[c.name] = r
			}
		}
	}
	if len(results) > 0 {
		othersTable(results).print(os.Stdout)
		fmt.Print("syncd:\n\n")
		syncdTable(results).print(os.Stdout)
		fmt.Print("syncd divided by the others, repetition by repetition:\n\n")
		ratiosTable(results).print(os.Stdout)
	}
	if *judged {
		b.judge(last)
	}
	for _, t := range sections {
		if !strings.Contains(t.name, *only) || !*judged && !t.always {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", t.name)
		if err := t.run(b, ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", t.name, err)
		}
	}
	if len(b.failed) > 0 {
		return fmt.Errorf("these gates failed: %s", strings.Join(b.failed, ", "))
	}
	return nil
}

// loads are the numbers and sizes of documents that a case is measured with, the first size first. Only where all documents
// are sent does their size matter, and their bytes are bounded.
func loads(c benchCase, documents, sizes []int, most int) []load {
	var out []load
	for i, size := range sizes {
		if i > 0 && c.absent < 256 {
			break
		}
		for j, n := range documents {
			if i > 0 && j < len(documents)-1 {
				continue
			}
			if c.absent == 256 {
				n = min(n, max(1, most/size))
			}
			if l := (load{Documents: n, Size: size}); !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}

func integers(list string) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		if n < 1 {
			return nil, fmt.Errorf("%d is not a number of documents or bytes", n)
		}
		out = append(out, n)
	}
	return out, nil
}
