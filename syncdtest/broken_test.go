package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/spec"
)

// A suite is worth what it catches. Each plugin here is broken in one way, and the named case of its suite must fail. The
// suites run in a second process of this test binary, since a test that should fail can't run in this one.

const brokenEnv = "SYNCDTEST_RUN_BROKEN_PLUGINS"

var brokenSources = []struct {
	name, caught string
	wreck        func(syncd.Source) syncd.Source
}{
	{"drops the last change of a read", "one_document", changeRead(func(b *readBreaker) { b.dropLast = true })},
	{"drops the last change of a full batch", "every_batch_size", changeRead(func(b *readBreaker) { b.dropOfFull = true })},
	{"repeats a batch", "one_document", changeRead(func(b *readBreaker) { b.repeat = true })},
	{"never ends", "one_document", changeRead(func(b *readBreaker) { b.endless = true })},
	{"reverses each batch", "every_batch_size", changeRead(func(b *readBreaker) { b.reverse = true })},
	{"gives an empty batch at the end", "empty_collection", changeRead(func(b *readBreaker) { b.emptyAtEnd = true })},
	{"uses its batch again", "batches_belong_to_the_caller", changeRead(func(b *readBreaker) { b.reuse = true })},
	{"goes on after the loop was left", "stop_early", changeRead(func(b *readBreaker) { b.deaf = true })},
	{"ignores the context", "cancel_during_a_read", changeRead(func(b *readBreaker) { b.noContext = true })},
	{"hangs once the context has ended", "cancel_during_a_read", changeRead(func(b *readBreaker) { b.hang = true })},
	{"leaves a goroutine", "leaves_no_goroutine", changeRead(func(b *readBreaker) { b.leak = true })},
	{"ignores After", "resume_behind_each_offset", changeRequest(func(r *syncd.ReadRequest) { r.After = "" })},
	{"includes After", "resume_behind_each_offset", changeRead(func(b *readBreaker) { b.includeAfter = true })},
	{"ignores the split", "every_batch_size", changeRequest(func(r *syncd.ReadRequest) { r.Split.Lower, r.Split.Upper = "", "" })},
	{"ignores BatchSize", "every_batch_size", changeRequest(func(r *syncd.ReadRequest) { r.BatchSize = 1000 })},
	{"ignores BatchBytes", "batch_bytes", changeRequest(func(r *syncd.ReadRequest) { r.BatchBytes = 0 })},
	{"always carries documents", "one_document", changeRequest(func(r *syncd.ReadRequest) { r.Documents = true })},
	{"sorts the fields", "fields", changeRequest(func(r *syncd.ReadRequest) {
		r.Fields = slices.Sorted(slices.Values(r.Fields))
	})},
	{"reads all with documents but the first", "documents_change_nothing_else", changeRead(func(b *readBreaker) { b.skipFirstDoc = true })},

	{"gives no offset", "one_document", changeRead(func(b *readBreaker) { b.noOffset = true })},
	{"repeats changes when it resumes", "resume_behind_each_offset", changeRead(func(b *readBreaker) { b.firstOffset = true })},
	{"skips changes when it resumes", "resume_behind_each_offset", changeRead(func(b *readBreaker) { b.nextOffset = true })},
	{"has offsets that are numbers of changes", "resume_behind_a_deleted_document", countOffsets},
	{"has offsets that only it understands", "resume_by_another_source", keepOffsets},
	{"fails where a collection is gone", "read_a_dropped_collection", func(s syncd.Source) syncd.Source { return failsWhenGone{s} }},
	{"says what the index holds", "one_document", changeChange(func(c *syncd.Change) { c.Verdict = syncd.Present })},
	{"makes changes without keys", "one_document", changeChange(func(c *syncd.Change) { c.Key = "" })},
	{"makes errors of documents", "one_document", changeChange(func(c *syncd.Change) { c.Err = errFault })},
	{"loses an ability at once", "abilities", fade(1)},
	{"loses an ability by use", "abilities", fade(2)},

	{"has no splits", "one_document", func(s syncd.Source) syncd.Source { return noSplits{s} }},
	{"splits a missing collection", "missing_collection", func(s syncd.Source) syncd.Source { return anySplits{s} }},
	{"fetches by position", "fetch", changeFetch(func(i int, f syncd.Fetched) (syncd.Fetched, bool) {
		f.Index = i / 2
		return f, true
	})},
	{"fetches a nil document", "fetch", changeFetch(func(_ int, f syncd.Fetched) (syncd.Fetched, bool) {
		f.Document = nil
		return f, true
	})},
	{"fetches at most 1,000", "many_documents", changeFetch(func(i int, f syncd.Fetched) (syncd.Fetched, bool) {
		return f, i < 1000
	})},
	{"fetches less when the context ends", "cancel_during_a_fetch", func(s syncd.Source) syncd.Source { return silentFetch{s} }},
	{"fetches less when the context has ended", "context_that_has_ended", func(s syncd.Source) syncd.Source { return silentFetch{s} }},
	{"miscounts", "count", func(s syncd.Source) syncd.Source { return miscount{s.(*MemorySource)} }},
	{"does not list", "collections", func(s syncd.Source) syncd.Source { return unlisted{s.(*MemorySource)} }},
	{"writes JSON with spaces", "documents", changeDocument(func(d *brokenDoc) { d.spaces = true })},
	{"forgets dst", "documents", changeDocument(func(d *brokenDoc) { d.forget = true })},
	{"writes another _id", "documents", changeDocument(func(d *brokenDoc) { d.otherID = true })},
	{"sets absent fields", "documents", changeDocument(func(d *brokenDoc) { d.setAll = true })},
}

var brokenCheckers = []struct {
	name, caught string
	check        checkFunc
}{
	{"leaves verdicts unknown", "all_present", func(*MemoryChecker, context.Context, []syncd.Point, []syncd.Verdict) error {
		return nil
	}},
	{"sets only what is present", "none_present", func(c *MemoryChecker, _ context.Context, p []syncd.Point, v []syncd.Verdict) error {
		for i := range p {
			if c.holds(p[i]) {
				v[i] = syncd.Present
			}
		}
		return nil
	}},
	{"keeps old verdicts", "old_verdicts_are_replaced", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		old := slices.Clone(v)
		err := c.Check(ctx, p, v)
		for i := range old {
			if old[i] != syncd.Unknown {
				v[i] = old[i]
			}
		}
		return err
	}},
	{"answers in another order", "mixed_in_any_order", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		err := c.Check(ctx, p, v)
		slices.Sort(v)
		return err
	}},
	{"answers a point once", "a_point_twice", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		err := c.Check(ctx, p, v)
		seen := map[syncd.Point]bool{}
		for i := range p {
			if seen[p[i]] {
				v[i] = syncd.Missing
			}
			seen[p[i]] = true
		}
		return err
	}},
	{"asks for at most 1,000", "many_sizes", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		n := min(1000, len(p))
		return c.Check(ctx, p[:n], v[:n])
	}},
	{"takes an outage for missing", "unreachable", func(_ *MemoryChecker, _ context.Context, _ []syncd.Point, v []syncd.Verdict) error {
		for i := range v {
			v[i] = syncd.Missing
		}
		return nil
	}},
	{"hangs in an outage", "unreachable_until_a_deadline", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		if _, deadline := ctx.Deadline(); deadline && ctx.Err() == nil {
			<-hung
		}
		return c.Check(ctx, p, v)
	}},
	{"ignores the context", "context_that_has_ended", func(c *MemoryChecker, ctx context.Context, p []syncd.Point, v []syncd.Verdict) error {
		return c.Check(context.WithoutCancel(ctx), p, v)
	}},
	{"keeps the points", "slices_belong_to_the_caller", keepPoints()},
	{"is not safe for concurrent use", "concurrent_use", unsafeCheck()},
}

var brokenSinks = []struct {
	name, caught string
	event        codec.Config
	write        writeFunc
}{
	{"drops the last change", "one_change", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		return claim(c, s.Write(ctx, c[:max(0, len(c)-1)]))
	}},
	{"sends twice", "one_change", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		_ = s.Write(ctx, c)
		return s.Write(ctx, c)
	}},
	{"refuses an empty batch", "no_changes", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		if len(c) == 0 {
			return errFault
		}
		return s.Write(ctx, c)
	}},
	{"is durable one write later", "one_change", plain, laterSink()},
	{"reverses a batch", "order_within_a_key", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		reversed := slices.Clone(c)
		slices.Reverse(reversed)
		return claim(c, s.Write(ctx, reversed))
	}},
	{"compacts JSON", "exact_text", mongoKafka, changeEvents(func(e *codec.Event) {
		e.Value = []byte(strings.ReplaceAll(string(e.Value), ": ", ":"))
	})},
	{"drops headers without a value", "headers", plain, changeEvents(func(e *codec.Event) {
		e.Headers = slices.DeleteFunc(slices.Clone(e.Headers), func(h codec.Header) bool { return h.Value == "" })
	})},
	{"sorts headers", "one_change", plain, changeEvents(func(e *codec.Event) {
		slices.SortFunc(e.Headers, func(a, b codec.Header) int { return strings.Compare(a.Name, b.Name) })
	})},
	{"writes tombstones as empty values", "operations", tombstones, changeEvents(func(e *codec.Event) { e.Value = append([]byte{}, e.Value...) })},
	{"writes deletes that are no tombstones as such", "operations", plain, changeEvents(func(e *codec.Event) {
		if strings.Contains(string(e.Value), `"operationType":"delete"`) {
			e.Value = nil
		}
	})},
	{"repairs UTF-8", "exact_text", bsonWire, changeEvents(func(e *codec.Event) {
		if e.Value != nil {
			e.Value = []byte(strings.ToValidUTF8(string(e.Value), "?"))
		}
	})},
	{"writes another form of events", "one_change", mongoKafka, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		s.Event = codec.Defaults()
		return claim(c, s.Write(ctx, c))
	}},
	{"inserts what is to be replaced", "operations", plain, changeBefore(func(c *syncd.Change) { c.Operation = syncd.Insert })},
	{"gives one reason for all", "operations", plain, changeBefore(func(c *syncd.Change) { c.Reason = syncd.ReasonMissing })},
	{"writes the documents of references", "references", plain, changeBefore(func(c *syncd.Change) { c.Reference = false })},
	{"takes dead letters for changes", "dead_letters", plain, changeBefore(func(c *syncd.Change) { c.Err = nil })},
	{"leaves out dead letters", "dead_letters", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		return claim(c, s.Write(ctx, slices.DeleteFunc(slices.Clone(c), func(c syncd.Change) bool { return c.Err != nil })))
	}},
	{"ignores a target's topic", "targets", plain, changeEvents(func(e *codec.Event) { e.Target.Topic = "" })},
	{"keeps the caller's slice", "changes_belong_to_the_caller", plain, keepingSink()},
	{"takes the documents away", "changes_are_not_changed", plain, changeAfter(func(c *syncd.Change) { c.Document = nil })},
	{"takes the errors away", "dead_letters", plain, changeAfter(func(c *syncd.Change) { c.Err = nil })},
	{"writes into a document", "changes_are_not_changed", plain, changeAfter(func(c *syncd.Change) {
		raw := c.Document.(syncd.BSONDocument).BSON()
		raw[len(raw)-2]++
	})},
	{"writes behind the changes", "changes_are_not_changed", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		all := c[:cap(c)]
		for i := range all {
			all[i].Bytes = 1
		}
		return s.Write(ctx, c)
	}},
	{"does not tell how much it wrote", "one_change", plain, changeAfter(func(c *syncd.Change) { c.Bytes = 0 })},
	{"tells the size without the key", "one_change", plain, changeAfter(func(c *syncd.Change) { c.Bytes -= int32(len(c.ID)) })},
	{"tells another place", "many_sizes", plain, changeAfter(func(c *syncd.Change) { c.Placement.Offset++ })},
	{"places what it refuses", "not_encodable", plain, changeAfter(func(c *syncd.Change) { c.Bytes++ })},
	{"says nothing of the size", "too_large", plain, changeError(func(_ *MemorySink, failed *syncd.BatchError) error {
		for _, i := range failed.Failed() {
			failed.Fail(i, errFault)
		}
		return failed
	})},
	{"takes a large change for an outage", "too_large", plain, changeError(func(_ *MemorySink, failed *syncd.BatchError) error {
		for _, i := range failed.Failed() {
			failed.Fail(i, fmt.Errorf("%w: %w", syncd.ErrUnavailable, failed.Of(i)))
		}
		return failed
	})},
	{"does not tell what has no form", "not_encodable", plain, changeError(func(_ *MemorySink, failed *syncd.BatchError) error {
		for _, i := range failed.Failed() {
			failed.Fail(i, errFault)
		}
		return failed
	})},
	{"fails a batch for one change", "too_large", plain, changeError(func(*MemorySink, *syncd.BatchError) error { return errFault })},
	{"fails a batch for one change without a form", "not_encodable", plain, changeError(func(*MemorySink, *syncd.BatchError) error { return errFault })},
	{"leaves out what has no form", "not_encodable", plain, changeError(func(*MemorySink, *syncd.BatchError) error { return nil })},
	{"stops at a bad change", "too_large", plain, stopAtBad},
	{"stops at a change without a form", "not_encodable", plain, stopAtBad},
	{"ignores the context", "context_that_has_ended", plain, func(s *MemorySink, ctx context.Context, c []syncd.Change) error {
		return s.Write(context.WithoutCancel(ctx), c)
	}},
	{"loses changes of concurrent writers", "concurrent_writers", plain, unsafeWrite()},
}

func stopAtBad(s *MemorySink, ctx context.Context, c []syncd.Change) error { //nolint:revive // it stands for a method
	for i := range c {
		if err := s.Write(ctx, c[i:i+1]); err != nil {
			var failed syncd.BatchError
			failed.Fail(i, err)
			return &failed
		}
	}
	return ctx.Err()
}

// brokenAbilities are sinks that are broken in what they say they can do.
var brokenAbilities = []struct {
	name, caught string
	wreck        func(*MemorySink) syncd.Sink
}{
	{"loses an ability by use", "abilities", func(s *MemorySink) syncd.Sink { return fadingSink{s} }},
	{"has marks and can't commit", "abilities", func(s *MemorySink) syncd.Sink { return halfCommitter{s} }},
	{"forgets the run", "one_change", func(s *MemorySink) syncd.Sink { return unnamed{s} }},
}

type badConfig struct {
	URL      string             `yaml:"URL" doc:"Where it is."`
	Size     int                `yaml:"size" doc:"How many"`
	Password string             `yaml:"admin_password" doc:"Password."`
	Forgot   bool               ``
	Inner    struct{ X, Y int } `yaml:"inner" doc:"More."`
}

var brokenPlugins = []struct {
	name, caught string
	plugin       syncd.Plugin
}{
	{"has a name with a hyphen", "names", plugin("a-b", "Does it.", struct{}{})},
	{"has a summary that is no sentence", "names", plugin("a", "Does it", struct{}{})},
	{"has bad settings", "settings", plugin("a", "Does it.", badConfig{})},
	{"shares a default", "defaults", plugin("a", "Does it.", struct {
		List []string `yaml:"list" doc:"A list."`
	}{[]string{"x"}})},
	{"has a default that breaks its rule", "defaults", plugin("a", "Does it.", struct {
		N int `yaml:"n" doc:"A number." rule:"max=3"`
	}{4})},
	{"has a rule that does not exist", "required", plugin("a", "Does it.", struct {
		N int `yaml:"n" doc:"A number." rule:"maximum=3"`
	}{})},
	{"can't miss what is required", "required", plugin("a", "Does it.", forgetful{})},
	{"accepts any filter", "filters", plugin("a", "Does it.", anyFilter{})},
}

// forgetful reports nothing that it lacks.
type forgetful struct {
	Name string `yaml:"name" doc:"A name." rule:"required"`
}

func (forgetful) DecodeNode(*spec.Decoder, *spec.Node) {}

type anyFilter struct{}

func (anyFilter) CheckFilter(string) error { return nil }

func plugin[C any](name, summary string, defaults C) syncd.Plugin {
	return syncd.NewSource(name, summary, defaults, func(context.Context, C, syncd.Env) (syncd.Source, error) { return nil, errFault })
}

// hung is never closed.
var hung = make(chan struct{})

func TestBroken(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		t.Skip("run by TestSuitesCatchBrokenPlugins")
	}
	patience = 300 * time.Millisecond
	// Only the case that must catch it, beside an easy one for what shows at the end; all cases would take a minute.
	some := func(t *testing.T, cases []testCase, caught string) {
		cases = slices.DeleteFunc(cases, func(c testCase) bool { return c.name != caught && c.name != "one_document" })
		runCases(t, cases, nil, nil)
	}
	for _, b := range brokenSources {
		t.Run("source "+b.name, func(t *testing.T) { some(t, memoryHarness(3, b.wreck).cases(), b.caught) })
	}
	for _, b := range brokenCheckers {
		t.Run("checker "+b.name, func(t *testing.T) {
			some(t, checkerHarness(func(c syncd.Checker) syncd.Checker {
				m, ok := c.(*MemoryChecker)
				if !ok {
					m = NewMemoryChecker()
				}
				return brokenChecker{m, func(ctx context.Context, p []syncd.Point, v []syncd.Verdict) error { return b.check(m, ctx, p, v) }}
			}).cases(), b.caught)
		})
	}
	for _, b := range brokenSinks {
		t.Run("sink "+b.name, func(t *testing.T) {
			some(t, sinkHarness(b.event, func(s syncd.Sink) syncd.Sink {
				m := s.(*MemorySink)
				return brokenSink{m, func(ctx context.Context, c []syncd.Change) error { return b.write(m, ctx, c) }}
			}).cases(), b.caught)
		})
	}
	for _, b := range brokenAbilities {
		t.Run("sink "+b.name, func(t *testing.T) {
			some(t, sinkHarness(plain, func(s syncd.Sink) syncd.Sink { return b.wreck(s.(*MemorySink)) }).cases(), b.caught)
		})
	}
	t.Run("checker loses an ability by use", func(t *testing.T) {
		some(t, checkerHarness(func(c syncd.Checker) syncd.Checker { return fadingChecker{c.(*MemoryChecker)} }).cases(), "abilities")
	})
	for _, b := range brokenCommitters {
		t.Run("committer "+b.name, func(t *testing.T) {
			some(t, committerHarness(plain, func(c *MemoryCommitter) syncd.Sink { return b.wreck(c) }).cases(), b.caught)
		})
	}
	runBrokenAbilities(t, some)
	for _, b := range brokenStages {
		t.Run("stage "+b.name, func(t *testing.T) { some(t, stageHarness(b.wreck).cases(), b.caught) })
	}
	for name, caught := range brokenIndexes {
		t.Run("index "+name, func(t *testing.T) { some(t, memoryIndexHarness(name).cases(), caught) })
	}
	for _, b := range brokenPlugins {
		t.Run("plugin "+b.name, func(t *testing.T) { TestPlugin(t, b.plugin) })
	}
	t.Run("harness excepts what does not exist", func(t *testing.T) {
		h := sinkHarness(plain, asIs[syncd.Sink])
		h.Except = map[string]string{"no_such_case": "it was renamed"}
		TestSink(t, h)
	})
}

func TestSuitesCatchBrokenPlugins(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBroken$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed {
		t.Fatalf("running the broken plugins: %v\n%s", err, out)
	}
	failed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`).FindAllSubmatch(out, -1) {
		failed[string(m[1])] = true
	}
	if !failed["TestBroken"] {
		t.Fatalf("the broken plugins have ended the test before its end:\n%s", out)
	}
	caught := func(kind, name, by string) {
		test := strings.ReplaceAll("TestBroken/"+kind+" "+name, " ", "_")
		if by != "" {
			test += "/" + by
		}
		if !failed[test] {
			t.Errorf("a %s that %s passes %s", kind, name, by)
		}
	}
	for _, b := range brokenSources {
		caught("source", b.name, b.caught)
	}
	for name, by := range brokenIndexes {
		caught("index", name, by)
	}
	for _, b := range brokenCheckers {
		caught("checker", b.name, b.caught)
	}
	for _, b := range brokenSinks {
		caught("sink", b.name, b.caught)
	}
	for _, b := range brokenCommitters {
		caught("committer", b.name, b.caught)
	}
	for _, b := range brokenReaders {
		caught("reader", b.name, b.caught)
	}
	for _, b := range brokenListers {
		caught("lister", b.name, b.caught)
	}
	for _, b := range brokenFinders {
		caught("finder", b.name, b.caught)
	}
	for _, b := range brokenStages {
		caught("stage", b.name, b.caught)
	}
	for _, b := range brokenPlugins {
		caught("plugin", b.name, b.caught)
	}
	for _, b := range brokenAbilities {
		caught("sink", b.name, b.caught)
	}
	caught("checker", "loses an ability by use", "abilities")
	caught("harness", "excepts what does not exist", "")
	for _, fault := range []string{`"URL": the name`, `"size": its doc`, `"admin_password": it holds`, `"Forgot": the field`, `"inner.X": the field`} {
		if !strings.Contains(string(out), fault) {
			t.Errorf("bad settings are not told: %s", fault)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
