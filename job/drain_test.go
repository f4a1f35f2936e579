package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// stuck makes calls of plugins wait: those of a name, from the n-th on.
type stuck struct {
	name string
	from int64
	wait func(context.Context) error
	seen atomic.Int64
}

func (s *stuck) in(ctx context.Context, name string) error {
	if name != s.name {
		return nil
	}
	if s.seen.Add(1) < s.from {
		return nil
	}
	return s.wait(ctx)
}

// The ways in which a plugin waits: for an answer, and before it asks again.
func silent(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func pausing(ctx context.Context) error {
	if err := wait.Pause(ctx, 1000*time.Hour); err != nil {
		return errors.Join(err, syncd.ErrUnavailable)
	}
	return nil
}

type stuckSource struct {
	*syncdtest.MemorySource
	at *stuck
}

func (s stuckSource) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return held(ctx, s.at, "splits", s.MemorySource.Splits(ctx, c))
}

func (s stuckSource) Read(ctx context.Context, r syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return held(ctx, s.at, "scan", s.MemorySource.Read(ctx, r))
}

func (s stuckSource) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return held(ctx, s.at, "fetch", s.MemorySource.Fetch(ctx, c, keys))
}

func (s stuckSource) Close() error {
	return errors.Join(s.at.in(context.Background(), "close the source"), s.MemorySource.Close())
}

func (s stuckSource) Abilities() syncd.SourceAbilities {
	a := s.MemorySource.Abilities()
	a.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		if err := s.at.in(ctx, "count"); err != nil {
			return 0, err
		}
		return s.Count(ctx, c)
	}
	a.Find = func(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
		if err := s.at.in(ctx, "find"); err != nil {
			return nil, err
		}
		return s.Find(ctx, c, ids)
	}
	a.Identity = func(ctx context.Context, c syncd.Collection) (string, error) {
		if err := s.at.in(ctx, "identity"); err != nil {
			return "", err
		}
		return s.Identity(ctx, c)
	}
	return a
}

// held is a sequence that waits before each of its values.
func held[T any](ctx context.Context, at *stuck, name string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range seq {
			if err == nil {
				if err = at.in(ctx, name); err != nil {
					v = *new(T)
				}
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

type stuckChecker struct {
	*syncdtest.MemoryChecker
	at *stuck
}

func (s stuckChecker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	if err := s.at.in(ctx, "check"); err != nil {
		return err
	}
	return s.MemoryChecker.Check(ctx, points, verdicts)
}

func (s stuckChecker) Abilities() syncd.CheckerAbilities {
	a := s.MemoryChecker.Abilities()
	a.Read = func(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
		if err := s.at.in(ctx, "read"); err != nil {
			return err
		}
		return s.Read(ctx, points, keys, found)
	}
	a.Inspect = func(ctx context.Context) (syncd.Index, error) {
		if err := s.at.in(ctx, "inspect"); err != nil {
			return syncd.Index{}, err
		}
		return s.Inspect(ctx)
	}
	a.List = func(ctx context.Context, r syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
		return held(ctx, s.at, "list", s.List(ctx, r))
	}
	a.Sample = func(ctx context.Context, reqs []syncd.ListRequest) ([][]syncd.Listed, error) {
		if err := s.at.in(ctx, "list"); err != nil {
			return nil, err
		}
		return s.Sample(ctx, reqs)
	}
	return a
}

type stuckSink struct {
	*syncdtest.MemoryCommitter
	at *stuck
}

func (s stuckSink) Write(ctx context.Context, changes []syncd.Change) error {
	if err := s.at.in(ctx, "write"); err != nil {
		return err
	}
	return s.MemoryCommitter.Write(ctx, changes)
}

func (s stuckSink) Abilities() syncd.SinkAbilities {
	a := s.MemoryCommitter.Abilities()
	prepare, commit, readMarks := a.Prepare, a.Commit, a.Marks
	a.Prepare = func(ctx context.Context, r syncd.Run) error {
		if err := s.at.in(ctx, "prepare"); err != nil {
			return err
		}
		return prepare(ctx, r)
	}
	a.Commit = func(ctx context.Context, changes []syncd.Change, m []syncd.Mark) error {
		if err := s.at.in(ctx, "commit"); err != nil {
			return err
		}
		return commit(ctx, changes, m)
	}
	a.Marks = func(ctx context.Context, prefix string) (map[string][]byte, error) {
		if err := s.at.in(ctx, "marks"); err != nil {
			return nil, err
		}
		return readMarks(ctx, prefix)
	}
	return a
}

// drained runs f, closes the drain after a minute, and fails where f takes longer than a second or two from then.
func drained(t *testing.T, f func(ctx context.Context, drain <-chan struct{}) (interrupted bool, err error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(drain) })
		began := time.Now()
		interrupted, err := f(t.Context(), drain)
		took := time.Since(began)
		if took < time.Minute || took > time.Minute+engineGrace+100*time.Millisecond {
			t.Errorf("it took %s: %v", took, err)
		}
		if !interrupted && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrInterrupted) {
			t.Errorf("it ended with %v, and is not interrupted", err)
		}
	})
}

// engineGrace is the longest that a run may take behind the drain.
const engineGrace = 2 * time.Second

// TestEveryWaitOfARunEndsWithTheDrain, be it for an answer or before a question is asked again.
func TestEveryWaitOfARunEndsWithTheDrain(t *testing.T) {
	exactlyOnce := func(t *testing.T, o *Options) {
		st, err := marks.Open(t.Context(), o.Sink.Abilities(), "job")
		if err != nil {
			t.Fatal(err)
		}
		o.Checkpoints = st
	}
	prune := func(t *testing.T, o *Options) {
		c := mapping.Defaults()
		c.Owner = &mapping.Owner{Exclusive: true}
		c.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
		o.Orphans, o.Rules = OrphansPrune, fixture.Compile(t, c)
	}
	awaiting := func(_ *testing.T, o *Options) { o.Await = &Await{Timeout: 1000 * time.Hour, Every: time.Hour} }
	for name, c := range map[string]struct {
		at   string
		from int64
		set  func(t *testing.T, o *Options)
		own  bool // the engine's own wait: no plugin waits
	}{
		"looking at the index":                {at: "inspect", from: 1},
		"preparing the sink":                  {at: "prepare", from: 1},
		"looking at the index's points":       {at: "list", from: 1},
		"counting":                            {at: "count", from: 1},
		"planning":                            {at: "splits", from: 1},
		"planning in the middle":              {at: "splits", from: 2},
		"scanning":                            {at: "scan", from: 1},
		"scanning in the middle":              {at: "scan", from: 3},
		"checking":                            {at: "check", from: 2},
		"checking in the middle":              {at: "check", from: 4},
		"reading payloads":                    {at: "read", from: 1, set: func(t *testing.T, o *Options) { o.Rules = fixture.Versioned(t, "page") }},
		"fetching":                            {at: "fetch", from: 1},
		"fetching in the middle":              {at: "fetch", from: 5}, // of the first batch: what comes later may be read whole
		"writing":                             {at: "write", from: 1},
		"writing in the middle":               {at: "write", from: 3},
		"committing":                          {at: "commit", from: 2, set: exactlyOnce},
		"committing in the middle":            {at: "commit", from: 5, set: exactlyOnce},
		"looking for orphans":                 {at: "list", from: 2, set: prune},
		"finding the documents of orphans":    {at: "find", from: 1, set: prune},
		"finding them again before a delete":  {at: "find", from: 2, set: prune},
		"looking at the index afterwards":     {at: "inspect", from: 2},
		"waiting for what was sent to arrive": {set: awaiting, own: true},
		"asking whether it has":               {at: "check", from: 30, set: awaiting},
		"documents per second":                {set: func(_ *testing.T, o *Options) { o.Limits.DocumentsPerSecond = 0.001 }, own: true},
		"bytes per second":                    {set: func(_ *testing.T, o *Options) { o.Limits.BytesPerSecond = 1 }, own: true},
		"a pause between batches":             {set: func(_ *testing.T, o *Options) { o.Sleep = time.Hour }, own: true},
		"a pause that is no standstill":       {set: func(_ *testing.T, o *Options) { o.Sleep, o.StallAfter = time.Hour, time.Minute }, own: true},
		"waiting for an index that is away":   {at: "check", from: 2, set: func(_ *testing.T, o *Options) { o.WaitForIndex = true }},
	} {
		for way, w := range map[string]func(context.Context) error{"an answer": silent, "a pause": pausing} {
			if c.own && way == "a pause" {
				continue
			}
			t.Run(name+"/"+way, func(t *testing.T) {
				f := fixture.New()
				f.Source.SetSplits(4)
				f.Insert("page", 200, nil)
				for i := 0; i < 200; i += 3 {
					f.Index("page", fmt.Sprintf("%05d", i), "", 1)
				}
				f.Index("page", "gone", "", 1)
				at := &stuck{name: c.at, from: c.from, wait: w}
				drained(t, func(ctx context.Context, drain <-chan struct{}) (bool, error) {
					o := Options{Options: engine.Options{
						RunID: "run", Source: stuckSource{f.Source, at}, Checker: stuckChecker{f.Checker, at},
						Sink: stuckSink{syncdtest.NewMemoryCommitter(), at}, Rules: fixture.Rules(t, "page"),
						BatchSize: 10, BatchBytes: 1 << 20, Workers: 1, Readers: 1, Logger: slog.New(slog.DiscardHandler), Drain: drain,
					}}
					if c.set != nil {
						c.set(t, &o)
					}
					rep, err := Run(ctx, o)
					if n := rep.Total; n.Scanned != n.Checked()+n.FailedRead {
						t.Errorf("%+v", n)
					}
					late := name == "looking at the index afterwards" // the run is over
					return rep.Interrupted || late || rep.Arrivals != nil && rep.Arrivals.Interrupted, err
				})
			})
		}
	}
}

type stuckConfig struct{}

func (stuckConfig) DatabaseName() string      { return "memory" }
func (stuckConfig) CheckFilter(string) error  { return nil }
func (stuckConfig) Route(syncd.Target) string { return "topic" }

// TestEveryWaitOfAJobEndsWithTheDrain: those around a run, from opening the plugins to closing them.
func TestEveryWaitOfAJobEndsWithTheDrain(t *testing.T) {
	backfill := func(ctx context.Context, j *Job) error {
		_, err := j.Backfill(ctx, Request{})
		return err
	}
	verify := func(ctx context.Context, j *Job) error {
		_, err := j.Verify(ctx, VerifyRequest{MinAge: 1000 * time.Hour})
		return err
	}
	for name, c := range map[string]struct {
		at   string
		from int64
		run  string
		do   func(ctx context.Context, j *Job) error
		done bool // it has come to its end before
	}{
		"opening the sink":                  {at: "open the sink", from: 1, do: backfill},
		"opening the source":                {at: "open the source", from: 1, do: backfill},
		"opening the checker":               {at: "open the checker", from: 1, do: backfill},
		"an index that can't be reached":    {at: "away", from: 1, run: "on_check_unavailable: wait", do: backfill},
		"identifying collections":           {at: "identity", from: 1, do: backfill},
		"reading the committed positions":   {at: "marks", from: 1, do: backfill},
		"waiting for consumers":             {at: "lag", from: 1, run: "consumer_group: g, wait_timeout: 999h", do: backfill},
		"asking for the lag of consumers":   {at: "ask for the lag", from: 1, run: "consumer_group: g, wait_timeout: 999h", do: backfill},
		"beginning the state":               {at: "commit", from: 1, do: backfill},
		"keeping how it ended":              {at: "end", from: 1, do: backfill},
		"closing the source":                {at: "close the source", from: 1, do: backfill, done: true},
		"differences to be old enough":      {at: "nothing", from: 1, do: verify},
		"opening the source for an audit":   {at: "open the source", from: 1, do: verify},
		"checking in an audit":              {at: "check", from: 3, do: verify},
		"looking for orphans in an audit":   {at: "find", from: 1, do: verify},
		"looking at the index for an audit": {at: "inspect", from: 1, do: verify},
	} {
		for way, w := range map[string]func(context.Context) error{"an answer": silent, "a pause": pausing} {
			t.Run(name+"/"+way, func(t *testing.T) {
				at := &stuck{name: c.at, from: c.from, wait: w}
				f := fixture.New()
				f.Insert("page", 100, func(i int) bool { return i%3 == 0 })
				f.Index("page", "gone", "", 1)
				sink := lagging{stuckSink{syncdtest.NewMemoryCommitter(), at}}
				config := jobConfig(t, c.run, at,
					stuckSource{f.Source, at}, stuckChecker{f.Checker, at}, sink)
				drained(t, func(ctx context.Context, drain <-chan struct{}) (bool, error) {
					released := make(chan struct{})
					if c.at == "close the source" { // it has no context
						at.wait = func(context.Context) error { <-released; return nil }
					}
					j := &Job{Config: config, Logger: slog.New(slog.DiscardHandler), Drain: drain}
					err := c.do(ctx, j)
					close(released)
					return c.done, err
				})
			})
		}
	}
}

// TestAVerificationIsSeenToWait: before differences are looked at again, the monitor shows that the index is given time.
func TestAVerificationIsSeenToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, at := fixture.New(), &stuck{}
		f.Insert("page", 100, func(i int) bool { return i%3 == 0 })
		j := &Job{Config: jobConfig(t, "", at, f.Source, f.Checker, syncdtest.NewMemorySink()), Logger: slog.New(slog.DiscardHandler)}
		m := &Monitor{}
		ended := make(chan error, 1)
		go func() {
			_, err := j.Verify(t.Context(), VerifyRequest{MinAge: time.Hour, Monitor: m})
			ended <- err
		}()
		time.Sleep(time.Minute)
		if s, ok := m.Snapshot(); !ok || s.Phase != PhaseWait || s.Total.Scanned != 100 {
			t.Errorf("%v: %s, %d documents", ok, s.Phase, s.Total.Scanned)
		}
		if err := <-ended; OutcomeOf(err) != tally.Stopped {
			t.Error(err)
		}
		if s, _ := m.Snapshot(); s.Phase != PhaseEnd {
			t.Errorf("in the end: %s", s.Phase)
		}
	})
}

// lagging is a sink with consumers that never read.
type lagging struct{ stuckSink }

func (s lagging) Abilities() syncd.SinkAbilities {
	a := s.stuckSink.Abilities()
	commit := a.Commit
	a.Commit = func(ctx context.Context, changes []syncd.Change, m []syncd.Mark) error {
		if s.at.name == "end" && slices.ContainsFunc(m, func(m syncd.Mark) bool { return bytes.Contains(m.Value, []byte(`"complete"`)) }) {
			return s.at.wait(ctx)
		}
		return commit(ctx, changes, m)
	}
	a.Lag = func(ctx context.Context, _ string, _ []syncd.Target) ([]syncd.PartitionLag, error) {
		if err := s.at.in(ctx, "ask for the lag"); err != nil {
			return nil, err
		}
		if s.at.name == "lag" {
			return []syncd.PartitionLag{{Place: "page", End: 100}}, nil
		}
		return nil, nil
	}
	return a
}

// jobConfig is a configuration over the plugins.
func jobConfig(t *testing.T, run string, at *stuck, source syncd.Source, checker syncd.Checker, sink syncd.Sink) *config.Config {
	t.Helper()
	registry, err := syncd.NewRegistry(
		syncd.NewSource("stuck", "A source.", stuckConfig{}, func(ctx context.Context, _ stuckConfig, _ syncd.Env) (syncd.Source, error) {
			return source, at.in(ctx, "open the source")
		}),
		syncd.NewChecker("stuck", "A checker.", stuckConfig{}, func(ctx context.Context, _ stuckConfig, _ syncd.Env) (syncd.Checker, error) {
			if at.name == "away" {
				return nil, fmt.Errorf("could not connect: %w", syncd.ErrUnavailable)
			}
			return checker, at.in(ctx, "open the checker")
		}),
		syncd.NewSink("stuck", "A sink.", stuckConfig{}, func(ctx context.Context, _ stuckConfig, _ syncd.Env) (syncd.Sink, error) {
			return sink, at.in(ctx, "open the sink")
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "syncd.yaml")
	if run != "" {
		run += ", "
	}
	text := "source: {stuck: {}}\nchecker: {stuck: {}}\nsink: {stuck: {}}\nmapping: {collections: {page: page}}\nrun: {" + run + "batch_size: 10, state_dir: " + t.TempDir() + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, diags := config.Load(config.Input{Path: path, Registry: registry})
	if cfg == nil {
		t.Fatal(diags)
	}
	return cfg
}

// TestTheDrainFinishesWhatIsUnderWay: an index that limits the rate ends its batch at once, and cuts nothing off that others have
// under way, however long that takes, as long as it moves.
func TestTheDrainFinishesWhatIsUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		write time.Duration // each
		bytes int           // per batch of writes
		acked int64
	}{
		"one write":                     {write: 1900 * time.Millisecond, bytes: 1 << 20, acked: 10},
		"ten writes, one after another": {write: 450 * time.Millisecond, bytes: 1, acked: 10}, // within the time after which the index is asked again
		"a write that is late":          {write: 1000 * time.Hour, bytes: 1 << 20, acked: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fixture.New()
				f.Insert("page", 40, nil)
				f.Index("page", "00039", "", 1) // so that ids are read first
				drain := make(chan struct{})
				check := &stuck{name: "check", from: 2, wait: func(ctx context.Context) error {
					time.AfterFunc(time.Second, func() { close(drain) })
					return pausing(ctx)
				}}
				write := &stuck{name: "write", from: 1, wait: func(ctx context.Context) error {
					timer := time.NewTimer(c.write)
					defer timer.Stop()
					select {
					case <-timer.C:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}}
				sink := syncdtest.NewMemoryCommitter()
				rep, err := Run(t.Context(), Options{Options: engine.Options{
					RunID: "run", Source: f.Source, Checker: stuckChecker{f.Checker, check}, Sink: stuckSink{sink, write}, Rules: fixture.Rules(t, "page"),
					BatchSize: 10, BatchBytes: c.bytes, Workers: 2, Readers: 1, Logger: slog.New(slog.DiscardHandler), Drain: drain,
				}})
				if err != nil || !rep.Interrupted || rep.Total.Acked != c.acked {
					t.Errorf("%v, interrupted: %t, %+v", err, rep.Interrupted, rep.Total)
				}
			})
		})
	}
}

// TestTheDrainKeepsWhatALimitHeldUp: a batch that waits only because of what it wrote is handled.
func TestTheDrainKeepsWhatALimitHeldUp(t *testing.T) {
	f := fixture.New()
	f.Insert("page", 40, nil)
	dir := t.TempDir()
	open := func() *bolt.Store {
		st, err := bolt.Open(dir, "job")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	ended := store.End{Outcome: tally.Interrupted, Resumable: true}
	st := open()
	if err := st.Begin(t.Context(), store.Info{Job: "job", RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	var acked int64
	drained(t, func(ctx context.Context, drain <-chan struct{}) (bool, error) {
		rep, err := Run(ctx, Options{Options: engine.Options{
			RunID: "run", Source: f.Source, Checker: f.Checker, Sink: syncdtest.NewMemorySink(), Rules: fixture.Rules(t, "page"), Checkpoints: st,
			BatchSize: 10, BatchBytes: 1 << 20, Workers: 1, Readers: 1, Limits: engine.Limits{BytesPerSecond: 1}, Logger: slog.New(slog.DiscardHandler), Drain: drain,
		}})
		acked = rep.Total.Acked
		return rep.Interrupted, errors.Join(err, st.Close(ctx, ended))
	})
	again := open()
	if n := again.Handled(); acked == 0 || n != acked {
		t.Errorf("%d events are confirmed, %d documents handled", acked, n)
	}
	if err := again.Close(t.Context(), ended); err != nil {
		t.Error(err)
	}
}
