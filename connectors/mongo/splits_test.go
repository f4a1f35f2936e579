package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

func splitsOf(ctx context.Context, s syncd.Source, c syncd.Collection) ([]syncd.Split, error) {
	var out []syncd.Split
	for split, err := range s.Splits(ctx, c) {
		if err != nil {
			return out, err
		}
		out = append(out, split)
	}
	return out, nil
}

// openWith opens a source with a configuration and a log of its own.
func openWith(t *testing.T, server *stub, change func(*Config)) (src *source, notices func() string) {
	t.Helper()
	var mu sync.Mutex
	var log bytes.Buffer
	cfg := config("mongodb://" + server.addr() + "/")
	cfg.BatchSize = 7
	if change != nil {
		change(cfg)
	}
	s, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*source), func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func withSplits(n int) func(*Config) { return func(c *Config) { c.Splits = n } }

// readSplits reads every split, resuming behind every k-th batch, and returns the keys in order.
func readSplits(ctx context.Context, s syncd.Source, splits []syncd.Split, k int, change func()) ([]syncd.Key, error) {
	var out []syncd.Key
	for _, split := range splits {
		req := syncd.ReadRequest{Split: split, BatchSize: 3}
		for again := true; again; {
			again = false
			n := 0
			for batch, err := range s.Read(ctx, req) {
				if err != nil {
					return out, err
				}
				for _, c := range batch.Changes {
					out = append(out, c.Key)
				}
				if len(out) > 10_000 {
					return out, errors.New("the reading does not end")
				}
				if change != nil {
					change()
				}
				if n++; n == k {
					req.After, again = batch.Offset, true
					break
				}
			}
		}
	}
	return out, nil
}

func eachOnce(t *testing.T, what string, docs []any, got []syncd.Key) {
	t.Helper()
	seen := map[syncd.Key]int{}
	for _, k := range got {
		seen[k]++
	}
	for _, d := range docs {
		id := value(t, d.(bson.D)[0].Value)
		if n := seen[key(id)]; n != 1 {
			t.Errorf("%s: %v was seen %d times", what, id, n)
		}
	}
	if len(got) != len(docs) {
		t.Errorf("%s: %d changes of %d documents", what, len(got), len(docs))
	}
}

func TestSplitsCoverMixedIDs(t *testing.T) {
	server := newStub(t)
	docs := mixed()
	for i := range 60 {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("text %d", i)}}, bson.D{{Key: "_id", Value: 100 + i}},
			bson.D{{Key: "_id", Value: 200.25 + float64(i)}}, bson.D{{Key: "_id", Value: bson.NewObjectID()}})
	}
	server.set(t, "c", docs...)
	for _, n := range []int{1, 3, 16, 1000} {
		src, _ := openWith(t, server, withSplits(n))
		splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
		if err != nil {
			t.Fatal(err)
		}
		if len(splits) > n || n <= 16 && len(splits) != n {
			t.Errorf("%d splits, want %d", len(splits), n)
		}
		for i, s := range splits {
			if s.Index != i || (s.Lower == "") != (i == 0) || i > 0 && s.Lower != splits[i-1].Upper {
				t.Errorf("split %d of %d: %+v", i, n, s)
			}
		}
		for _, k := range []int{0, 1, 3} {
			got, err := readSplits(t.Context(), src, splits, k, nil)
			if err != nil {
				t.Fatal(err)
			}
			eachOnce(t, fmt.Sprintf("%d splits, resumed after every batch %d", n, k), docs, got)
		}
	}
}

// Every pair of id types, so that a bound of one type lies among ids of another.
func TestSplitsCoverEveryPairOfTypes(t *testing.T) {
	server := newStub(t)
	src, _ := openWith(t, server, withSplits(4))
	byType := map[bson.Type][]any{}
	for _, d := range mixed() {
		id := value(t, d.(bson.D)[0].Value)
		for i := range 3 { // documents with ids of one type: some are variants, MinKey and the like have but one
			byType[id.Type] = append(byType[id.Type], variant(d.(bson.D)[0].Value, i))
		}
	}
	types := make([]bson.Type, 0, len(byType))
	for typ := range byType {
		types = append(types, typ)
	}
	slices.Sort(types)
	for i, a := range types {
		for _, b := range types[i:] {
			var docs []any
			have := map[syncd.Key]bool{}
			for _, id := range slices.Concat(byType[a], byType[b]) {
				if k := key(value(t, id)); !have[k] {
					have[k] = true
					docs = append(docs, bson.D{{Key: "_id", Value: id}})
				}
			}
			server.set(t, "c", docs...)
			splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := readSplits(t.Context(), src, splits, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			eachOnce(t, fmt.Sprintf("%v and %v", a, b), docs, got)
		}
	}
}

// variant returns another id of the same type, where there is one.
func variant(id any, i int) any {
	switch v := id.(type) {
	case int32:
		return v + int32(i)
	case int64:
		return v + int64(i)
	case float64:
		return v + float64(i)
	case string:
		return v + strings.Repeat("x", i)
	case bson.ObjectID:
		v[11] += byte(i)
		return v
	case bson.DateTime:
		return v + bson.DateTime(i)
	case bson.D:
		return append(slices.Clone(v), bson.E{Key: "z", Value: i})
	}
	return id
}

// MongoDB itself keeps 5 and 5.0 from being the _ids of two documents, but not on two shards.
func TestEqualComparingIDs(t *testing.T) {
	server := newStub(t)
	dec, _ := bson.ParseDecimal128("5.0")
	var docs []any
	for i := range 12 {
		if i != 5 {
			docs = append(docs, bson.D{{Key: "_id", Value: int32(i)}})
		}
	}
	// In the order of the server, which is stable.
	docs = append(docs, bson.D{{Key: "_id", Value: 5.0}}, bson.D{{Key: "_id", Value: int32(5)}}, bson.D{{Key: "_id", Value: dec}}, bson.D{{Key: "_id", Value: int64(5)}})
	server.set(t, "c", docs...)
	src, _ := openWith(t, server, withSplits(8))
	splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range splits[:len(splits)-1] {
		if i > 0 {
			a, _ := parsed(s.Lower)
			b, _ := parsed(s.Upper)
			if compareValues(a, b) >= 0 {
				t.Errorf("split %d is empty or backwards: %v to %v", i, a, b)
			}
		}
	}
	for k := range 4 {
		got, err := readSplits(t.Context(), src, splits, k, nil)
		if err != nil {
			t.Fatal(err)
		}
		eachOnce(t, fmt.Sprintf("resumed after every batch %d", k), docs, got)
	}
	one := syncd.Split{Collection: syncd.Collection{Name: "c"}}
	all, err := readKeys(t.Context(), src, syncd.ReadRequest{Split: one})
	if err != nil {
		t.Fatal(err)
	}
	for i, after := range all {
		rest, err := readKeys(t.Context(), src, syncd.ReadRequest{After: syncd.Offset(after), BatchSize: 1})
		if err != nil || !slices.Equal(rest, all[i+1:]) {
			t.Errorf("after %q: %q, %v", after, rest, err)
		}
	}
	// With the one to continue behind gone, its equals may be seen again, and must be seen.
	for i, after := range all {
		id, _ := parsed(after)
		server.set(t, "c", docs...)
		server.remove("c", id)
		rest, err := readKeys(t.Context(), src, syncd.ReadRequest{After: syncd.Offset(after)})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range all[i+1:] {
			if !slices.Contains(rest, want) {
				t.Errorf("after the deleted %q: %q is missing", after, want)
			}
		}
	}
}

func TestReadEndsUnderInserts(t *testing.T) {
	for name, c := range map[string]struct {
		splits, resume, most int
	}{
		"splits with ends":            {5, 1, 100},
		"in one go":                   {1, 0, 150}, // three batches of the first reply, and what comes before the second is at hand
		"resumed behind each batch":   {1, 1, 110}, // what was there when it was resumed first
		"resumed in the second reply": {1, 4, 150},
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			var docs []any
			for i := range 100 {
				docs = append(docs, bson.D{{Key: "_id", Value: i}})
			}
			server.set(t, "c", docs...)
			src, _ := openWith(t, server, withSplits(c.splits))
			parts, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
			if err != nil {
				t.Fatal(err)
			}
			next := 100
			grown := slices.Clone(docs)
			got, err := readSplits(t.Context(), src, parts, c.resume, func() { // more come than are read
				for range 10 {
					grown = append(grown, bson.D{{Key: "_id", Value: next}})
					next++
				}
				server.set(t, "c", grown...)
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > c.most {
				t.Errorf("%d were read; want at most %d", len(got), c.most)
			}
			eachOnce(t, name, grown[:max(100, len(got))], got)
		})
	}
}

// The last document of the last split is deleted, and others come behind it: the end is where it was.
func TestTheEndOfASplitStaysWhereItWas(t *testing.T) {
	for _, splits := range []int{1, 5} {
		server := newStub(t)
		var docs []any
		for i := range 100 {
			docs = append(docs, bson.D{{Key: "_id", Value: i}})
		}
		server.set(t, "c", docs...)
		src, _ := openWith(t, server, withSplits(splits))
		parts, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
		if err != nil {
			t.Fatal(err)
		}
		batches := 0
		got, err := readSplits(t.Context(), src, parts, 2, func() {
			if batches++; batches == 4 { // that it was resumed after two
				server.set(t, "c", append(slices.Clone(docs[:99]), bson.D{{Key: "_id", Value: 100}})...)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		eachOnce(t, fmt.Sprintf("%d splits", splits), docs[:99], got)
	}
}

// Documents come and go inside the range as well: what is there throughout is seen once.
func TestReadUnderChanges(t *testing.T) {
	server := newStub(t)
	random := rand.New(rand.NewPCG(5, 6))
	var stable []any
	for i := range 200 {
		stable = append(stable, bson.D{{Key: "_id", Value: 10 * i}}, bson.D{{Key: "_id", Value: fmt.Sprintf("s%04d", 10*i)}})
	}
	server.set(t, "c", stable...)
	src, _ := openWith(t, server, withSplits(6))
	parts, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readSplits(t.Context(), src, parts, 2, func() {
		docs := slices.Clone(stable)
		for range 50 {
			docs = append(docs, bson.D{{Key: "_id", Value: 10*random.IntN(200) + 5}}, bson.D{{Key: "_id", Value: fmt.Sprintf("s%04d", 10*random.IntN(200)+5)}})
		}
		server.set(t, "c", docs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[syncd.Key]bool{}
	for _, d := range stable {
		want[key(value(t, d.(bson.D)[0].Value))] = true
	}
	got = slices.DeleteFunc(got, func(k syncd.Key) bool { return !want[k] })
	eachOnce(t, "what was there throughout", stable, got)
}

func TestSplitsByWhatTheServerCanDo(t *testing.T) {
	var docs []any
	for i := range 100 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	frozen := syncd.Key(behind) + key(value(t, 99))
	for name, c := range map[string]struct {
		setup  func(*stub)
		splits int
		want   int // splits
		end    syncd.Key
		notice string
	}{
		"everything":                   {setup: func(*stub) {}, splits: 4, want: 4, end: frozen},
		"one is enough":                {setup: func(*stub) {}, splits: 1, want: 1},
		"bounds ignored":               {setup: func(s *stub) { s.ignoreBounds = true }, splits: 4, want: 1, notice: "from its middle"},
		"bounds rejected":              {setup: func(s *stub) { s.rejectBounds = true }, splits: 4, want: 1, notice: "from its middle"},
		"only max ignored":             {setup: func(s *stub) { s.ignoreMax = true }, splits: 4, want: 1, notice: "from its middle"},
		"bounds rejected, one enough":  {setup: func(s *stub) { s.rejectBounds = true }, splits: 1, want: 1},
		"no $sample":                   {setup: func(s *stub) { s.noSample = true }, splits: 4, want: 1, end: frozen, notice: "$sample"},
		"a view":                       {setup: func(s *stub) { s.kinds = kind("view", nil) }, splits: 4, want: 1},
		"a time series":                {setup: func(s *stub) { s.kinds = kind("timeseries", nil) }, splits: 4, want: 1},
		"numbers in a collation":       {setup: func(s *stub) { s.kinds = kind("collection", bson.D{{Key: "locale", Value: "sv"}}) }, splits: 4, want: 4, end: frozen},
		"automatic, few documents":     {setup: func(*stub) {}, want: 1},
		"automatic, many documents":    {setup: func(s *stub) { s.estimates = map[string]int64{"c": 10_000_000} }, want: splitsFor(10_000_000, 1, 0), end: frozen},
		"automatic, nobody knows":      {setup: func(s *stub) { s.noCount = true }, want: 1},
		"many documents but no bounds": {setup: func(s *stub) { s.ignoreBounds, s.estimates = true, map[string]int64{"c": 1e6} }, want: 1, notice: "from its middle"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			c.setup(server)
			server.set(t, "c", docs...)
			src, notices := openWith(t, server, withSplits(c.splits))
			splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
			if err != nil {
				t.Fatal(err)
			}
			if len(splits) < c.want || len(splits) > max(c.want, 4*64) || splits[0].Lower != "" || splits[len(splits)-1].Upper != c.end {
				t.Errorf("%d splits, want %d: %+v", len(splits), c.want, splits)
			}
			if log := notices(); !strings.Contains(log, c.notice) || (c.notice == "") != (log == "") {
				t.Errorf("notices %q, want %q", log, c.notice)
			}
			for _, k := range []int{0, 1, 3} {
				got, err := readSplits(t.Context(), src, splits, k, nil)
				if err != nil {
					t.Fatal(err)
				}
				eachOnce(t, "all splits", docs, got)
			}
		})
	}
}

func kind(typ string, collation bson.D) map[string]bson.D {
	d := bson.D{{Key: "type", Value: typ}}
	if collation != nil {
		d = append(d, bson.E{Key: "options", Value: bson.D{{Key: "collation", Value: collation}}})
	}
	return map[string]bson.D{"c": d}
}

// Text in a collation has an order that only the server knows, so nothing says when a read is past the last one.
func TestNoFrozenEndForTextInACollation(t *testing.T) {
	server := newStub(t)
	server.kinds = kind("collection", bson.D{{Key: "locale", Value: "sv"}})
	var docs []any
	for i := range 50 {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("%02d", i)}})
	}
	server.set(t, "c", docs...)
	src, _ := openWith(t, server, withSplits(4))
	splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	if err != nil || len(splits) != 4 || splits[3].Upper != "" {
		t.Errorf("%+v, %v", splits, err)
	}
}

func TestSplitsOfNothing(t *testing.T) {
	server := newStub(t)
	server.set(t, "c")
	server.estimates = map[string]int64{"c": 1e6} // as after a crash
	src, notices := openWith(t, server, nil)
	splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	if err != nil || len(splits) > 1 || notices() != "" {
		t.Errorf("%+v, %v, %s", splits, err, notices())
	}
}

func TestSplitsSurvivePassingFaults(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"listCollections", "count", "find", "aggregate"} {
		server := newStub(t)
		server.estimates = map[string]int64{"c": 1e6}
		var docs []any
		for i := range 50 {
			docs = append(docs, bson.D{{Key: "_id", Value: i}})
		}
		server.set(t, "c", docs...)
		src, _ := openWith(t, server, nil)
		var left atomic.Int32
		left.Store(1)
		server.mu.Lock()
		server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
			if name != command || left.Add(-1) < 0 {
				return nil, false
			}
			return failure(237, "CursorKilled"), false
		}
		server.mu.Unlock()
		splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
		if err != nil || len(splits) < 4 || left.Load() > 0 {
			t.Errorf("%s: %d splits, %v", command, len(splits), err)
		}
	}
}

func TestSplitsFail(t *testing.T) {
	for _, command := range []string{"listCollections", "count", "find", "aggregate"} {
		server := newStub(t)
		server.estimates = map[string]int64{"c": 1e6}
		server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
		src, _ := openWith(t, server, nil)
		server.mu.Lock()
		server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
			if name != command {
				return nil, false
			}
			return failure(codeAuthenticationFailed, "AuthenticationFailed"), false
		}
		server.mu.Unlock()
		if _, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"}); err == nil || !strings.HasPrefix(err.Error(), "splitting collection c: ") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestSplitsFor(t *testing.T) {
	for _, c := range []struct {
		documents int64
		cpus      int
		least     int
		want      int
	}{
		{0, 2, 0, 1}, {49_999, 2, 24, 1}, {50_000, 2, 0, 8}, {50_000, 2, 24, 24}, {1_000_000, 2, 0, 8}, {2_000_001, 2, 0, 9},
		{10_000_000, 2, 24, 40}, {1_000_000_000, 2, 0, 1024}, {50_000, 8, 0, 32}, {50_000, 1000, 2000, 1024}, {1 << 62, 2, 0, 1024},
	} {
		if got := splitsFor(c.documents, c.cpus, c.least); got != c.want {
			t.Errorf("%d documents on %d CPUs: %d, want %d", c.documents, c.cpus, got, c.want)
		}
	}
	for splits, want := range map[int]int{2: 40, 1000: 20_000, 1024: 19 * 1024, 5000: 20_000, 10_000: 40_000} {
		if got := samplesFor(splits); got != want {
			t.Errorf("%d splits: %d samples, want %d", splits, got, want)
		}
	}
}

func TestEvenly(t *testing.T) {
	var samples []bson.RawValue
	for i := range 100 {
		samples = append(samples, value(t, i))
	}
	for _, c := range []struct {
		samples, want int
		cuts          []int
	}{
		{100, 4, []int{25, 50, 75}}, {100, 1, nil}, {0, 4, nil}, {1, 4, nil}, {3, 5, []int{1, 2}}, {2, 2, []int{1}},
	} {
		var want []syncd.Key
		for _, i := range c.cuts {
			want = append(want, key(samples[i]))
		}
		if diff := cmp.Diff(want, evenly(samples[:c.samples], c.want)); diff != "" {
			t.Errorf("%d samples for %d splits: %s", c.samples, c.want, diff)
		}
	}
}

func TestAscending(t *testing.T) {
	dec, _ := bson.ParseDecimal128("5")
	var sorted, want []bson.RawValue
	for _, v := range []any{bson.MinKey{}, 1, 5.0, 5, dec, 7, 6, "b", "a", "c", "c", bson.ObjectID{1}, bson.MaxKey{}} {
		sorted = append(sorted, value(t, v))
	}
	for _, v := range []any{1, 5.0, 7, "b", "c", bson.ObjectID{1}} {
		want = append(want, value(t, v))
	}
	if got := ascending(sorted, true); !slices.EqualFunc(got, want, bson.RawValue.Equal) {
		t.Errorf("%v", got)
	}
	if got := ascending(sorted, false); len(got) != 7 || !got[4].Equal(value(t, "a")) {
		t.Errorf("with a collation the server's word for the order of text counts: %v", got)
	}
}

func TestEstimate(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}})
	server.set(t, "view", bson.D{{Key: "_id", Value: 1}})
	server.kinds = map[string]bson.D{"view": {{Key: "type", Value: "view"}}}
	server.estimates = map[string]int64{"c": 12}
	src, _ := openWith(t, server, nil)
	if n, ok, err := src.Estimate(t.Context(), syncd.Collection{Name: "c"}); n != 12 || !ok || err != nil {
		t.Errorf("%d, %v, %v", n, ok, err)
	}
	for _, c := range []syncd.Collection{{Name: "c", Filter: `{"_id": 1}`}, {Name: "view"}} {
		if _, ok, err := src.Estimate(t.Context(), c); ok || err != nil {
			t.Errorf("%+v: %v, %v", c, ok, err)
		}
	}
	if _, _, err := src.Estimate(t.Context(), syncd.Collection{Name: "no"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Error(err)
	}
}
