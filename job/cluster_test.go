package job_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	sides "github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
)

// shared is a job whose work several processes share, with an indexer that is never behind.
type sharedJob struct {
	source *syncdtest.MemorySource
	index  *syncdtest.MemoryChecker
	broker *syncdtest.MemoryBroker
	exact  bool
	write  time.Duration                   // that a write takes
	hold   func(ctx context.Context) error // what a write does before, nil nothing
	run    string                          // lines of the run section
	more   string                          // further sections
	full   string                          // the process whose disk for dead letters is full

	mu   sync.Mutex
	sent map[string]int // events, by id

	logger *slog.Logger // into log
	log    bytes.Buffer
}

func newShared(lanes, documents, splits int) *sharedJob {
	s := &sharedJob{
		source: syncdtest.NewMemorySource(), index: syncdtest.NewMemoryChecker(), broker: syncdtest.NewMemoryBroker(lanes), sent: map[string]int{},
		write: 20 * time.Millisecond,
	}
	s.broker.Committed = s.take
	s.logger = slog.New(slog.NewTextHandler(&s.log, nil))
	s.source.SetSplits(splits)
	for i := range documents {
		collection := []string{"page", "epic"}[i%2]
		s.source.Insert(collection, syncdtest.MemoryDoc{ID: strconv.Itoa(i), Fields: map[string]any{"v": 1}})
	}
	return s
}

// take notes that changes are in the sink, and has the index show them.
func (s *sharedJob) take(changes []syncd.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.sent[c.ID]++
		s.index.Put(sides.PointID(c.Target.ContentType, c.ID, 0), map[string]any{"mongo_id": c.ID, "content_type": c.Target.ContentType, "chunk_index": 0, "source": "m"})
	}
}

// sharedSink is the sink as one process has it.
type sharedSink struct {
	s       *sharedJob
	process *atomic.Pointer[syncdtest.MemoryProcess]
}

func (k *sharedSink) Write(ctx context.Context, changes []syncd.Change) error {
	if k.s.exact {
		return errors.New("written beside the transactions")
	}
	if err := k.process.Load().Alive(ctx); err != nil {
		return err
	}
	if k.s.hold != nil {
		if err := k.s.hold(ctx); err != nil {
			return err
		}
	}
	time.Sleep(k.s.write)
	if err := k.process.Load().Alive(ctx); err != nil {
		return err
	}
	k.s.take(changes)
	return nil
}

func (k *sharedSink) Abilities() syncd.SinkAbilities {
	a := syncd.SinkAbilities{
		Cluster: func(ctx context.Context, o syncd.ClusterOptions) (syncd.Cluster, error) {
			_ = k.process.Load().Alive(ctx) // what stands still does not join anew
			p := k.s.broker.Process(o)
			k.process.Store(p)
			return p, nil
		},
	}
	if k.s.exact {
		a.Commit = func(context.Context, []syncd.Change, []syncd.Mark) error {
			return errors.New("committed beside the cluster")
		}
		a.Marks = func(context.Context, string) (map[string][]byte, error) {
			return nil, errors.New("read beside the cluster")
		}
	}
	return a
}

func (k *sharedSink) Close() error { return nil }

// lettersSink is a process's own place for dead letters.
type lettersSink struct{ full bool }

func (k *lettersSink) Write(context.Context, []syncd.Change) error {
	if k.full {
		return syscall.ENOSPC
	}
	return nil
}

func (k *lettersSink) Abilities() syncd.SinkAbilities { return syncd.SinkAbilities{} }
func (k *lettersSink) Close() error                   { return nil }

// life is a process.
type life struct {
	name    string
	process atomic.Pointer[syncdtest.MemoryProcess] // as it takes part now
	drain   chan struct{}
	stop    context.CancelFunc
	ended   chan struct{}
	res     job.Result
	err     error
	killed  bool
	monitor *job.Monitor
	state   string         // folder
	decided []job.Decision // may be read when the process stands still
}

// start starts a process.
func (s *sharedJob) start(t *testing.T, name string) *life {
	t.Helper()
	l := &life{name: name, drain: make(chan struct{}), ended: make(chan struct{}), monitor: new(job.Monitor), state: t.TempDir()}
	l.process.Store(s.broker.Process(syncd.ClusterOptions{}))
	sink := syncd.NewSink("sink", "Keeps events in memory.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
		return &sharedSink{s, &l.process}, nil
	})
	letters := syncd.NewSink("letters", "Keeps dead letters, where there is room.", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
		return &lettersSink{full: name == s.full}, nil
	})
	registry, err := syncd.NewRegistry(s.source.Plugin("memory"), s.index.Plugin("index"), sink, letters)
	if err != nil {
		t.Fatal(err)
	}
	text := "name: shared\nsource: {memory: {}}\nchecker: {index: {}}\nsink: {sink: {}}\nmapping: {owner: {exclusive: true}, collections: {page: page, epic: epic}}\n" +
		"cluster: {group: g}\nrun:\n  batch_size: 7\n  workers: 3\n  readers: 2\n  state_dir: " + strconv.Quote(l.state) + "\n" + s.run + "\n" + s.more
	c, diags := config.Load(config.Input{Path: "job.yaml", Text: []byte(text), Registry: registry})
	if c == nil {
		t.Fatal(diags)
	}
	j := &job.Job{Config: c, Logger: s.logger.With("process", name), Getenv: func(string) string { return "" }, Drain: l.drain, Process: name}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	go func() {
		defer close(l.ended)
		l.res, l.err = j.Backfill(ctx, job.Request{
			Monitor: l.monitor, Observer: job.Observer{State: func(d job.Decision) { l.decided = append(l.decided, d) }},
		})
		s.logger.Info("ended", "process", name, "error", l.err)
	}()
	return l
}

// kill ends a process as SIGKILL does.
func (l *life) kill() {
	l.killed = true
	l.process.Load().Kill()
	l.stop()
	<-l.ended
}

// await waits for the end of a process that nothing hinders.
func (l *life) await(t *testing.T) {
	select {
	case <-l.ended:
	case <-time.After(10 * time.Minute):
		t.Error("a process does not end")
		l.kill()
	}
}

// settled checks what every schedule must come to.
func (s *sharedJob) settled(t *testing.T, documents, most int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	repeats := 0
	for i := range documents {
		n := s.sent[strconv.Itoa(i)]
		if n == 0 {
			t.Errorf("document %d was lost", i)
		}
		repeats += max(0, n-1)
	}
	if len(s.sent) != documents {
		t.Errorf("%d documents were sent", len(s.sent))
	}
	if s.exact && repeats > 0 || repeats > most {
		t.Errorf("%d events were sent again, at most %d may be", repeats, most)
	}
}

// TestProcessesShareARun: three processes share the splits; the one that leads reports all, and all end together.
func TestProcessesShareARun(t *testing.T) {
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly_once=%t", exact), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(8, 400, 6)
				s.exact = exact
				var lives []*life
				for i := range 3 {
					lives = append(lives, s.start(t, strconv.Itoa(i)))
				}
				whole := 0
				for _, l := range lives {
					l.await(t)
					if l.err != nil {
						t.Error(l.err)
					}
					if l.res.Report.Total.Scanned == 400 && l.res.Report.Total.Acked == 400 {
						whole++
					}
				}
				if whole != 1 {
					t.Errorf("%d processes report the whole run", whole)
				}
				s.settled(t, 400, 0)
				if t.Failed() {
					t.Log(s.log.String())
				}
			})
		})
	}
}

// TestClusterThroughFaults: processes join, leave, die, and stand still while others take their work over.
func TestClusterThroughFaults(t *testing.T) {
	for seed := range uint64(clusterSeeds) {
		for _, exact := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed=%d,exactly_once=%t", seed, exact), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { clusterThroughFaults(t, rand.New(rand.NewPCG(seed, 16)), exact) })
			})
		}
	}
}

var clusterSeeds = 300

func clusterThroughFaults(t *testing.T, r *rand.Rand, exact bool) {
	documents := 200 + r.IntN(600)
	s := newShared(1+r.IntN(12), documents, 1+r.IntN(8))
	s.exact, s.write = exact, time.Duration(1+r.IntN(200))*time.Millisecond
	s.broker.Latency = time.Duration(r.IntN(100)) * time.Millisecond
	s.broker.Lag = time.Duration(r.IntN(2)) * 500 * time.Millisecond
	lives := map[int]*life{}
	started, faults := 0, 0
	start := func() *life {
		started++
		return s.start(t, strconv.Itoa(started))
	}
	slots := 1 + r.IntN(4)
	for i := range slots {
		lives[i] = start()
	}
	isOver := func() *life {
		for _, l := range lives {
			select {
			case <-l.ended:
				if l.err == nil && !l.killed {
					return l
				}
			default:
			}
		}
		return nil
	}
	for range 4 + r.IntN(8) {
		time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
		if isOver() != nil {
			break
		}
		i := r.IntN(slots)
		l := lives[i]
		faults++
		what := r.IntN(5)
		s.logger.Info([]string{"kill", "stop for a while", "drain", "start another", "evict"}[what], "process", l.name)
		switch what {
		case 0:
			l.kill()
			time.Sleep(time.Duration(r.IntN(15)) * time.Second)
			lives[i] = start()
		case 1:
			l.process.Load().Stop()
			time.Sleep(time.Duration(r.IntN(30)) * time.Second)
			l.process.Load().Continue()
		case 2:
			select {
			case <-l.ended:
			default:
				close(l.drain)
			}
			<-l.ended
			if l.err != nil && !errors.Is(l.err, job.ErrInterrupted) {
				t.Errorf("a drained process: %v", l.err)
			}
			l.killed = l.err != nil
			lives[i] = start()
		case 3:
			slots++
			lives[slots-1] = start()
		case 4:
			l.process.Load().Evict([]error{syncd.ErrFenced, syncd.ErrUnavailable}[r.IntN(2)]) // it comes back by itself
		}
	}
	time.Sleep(5 * time.Minute)
	for _, l := range lives {
		l.await(t)
		if l.err != nil && !l.killed {
			t.Errorf("a process: %v", l.err)
		}
	}
	inFlight := 2 * 3 * 7 // batches in flight, by their size
	s.settled(t, documents, faults*inFlight)
	if t.Failed() {
		t.Log(s.log.String())
	}
}

// TestToldToStopALeaderThatFollowsHandsOver: the others follow on, and end only when each is told to.
func TestToldToStopALeaderThatFollowsHandsOver(t *testing.T) {
	for n := range 4 {
		exact, reversed := n%2 == 1, n/2 == 1
		t.Run(fmt.Sprintf("exactly_once=%t,reversed=%t", exact, reversed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(4, 0, 2)
				s.exact, s.run = exact, "  follow: true\n"
				s.source.Record()
				s.source.Create("page")
				s.source.Create("epic")
				lives := []*life{s.start(t, "0"), s.start(t, "1"), s.start(t, "2")}
				if reversed { // whichever leads, there is an order in which it is not the last
					slices.Reverse(lives)
				}
				for i, l := range lives {
					time.Sleep(time.Minute)
					id := strconv.Itoa(i)
					s.source.Insert("page", syncdtest.MemoryDoc{ID: id, Fields: map[string]any{"v": 1}})
					time.Sleep(time.Minute)
					s.mu.Lock()
					if s.sent[id] != 1 {
						t.Errorf("change %d was sent %d times", i, s.sent[id])
					}
					s.mu.Unlock()
					for k, other := range lives[i:] {
						select {
						case <-other.ended:
							t.Errorf("process %d of them ended with the one before it: %v", i+k, other.err)
						default:
						}
					}
					if t.Failed() {
						break
					}
					close(l.drain)
					l.await(t)
					if l.err != nil { // to follow has no other end
						t.Error(l.err)
					}
				}
				for _, l := range lives {
					l.kill()
				}
				if t.Failed() {
					t.Log(s.log.String())
				}
			})
		})
	}
}

// TestAProcessWithOtherWorkTakesNoRunOver: it is refused, whether or not it is given the lane of the leader, and the run ends as it began.
func TestAProcessWithOtherWorkTakesNoRunOver(t *testing.T) {
	for n := range 8 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				members := 1 + n/4
				s := newShared(members+1+n%4, 400, 4) // with a lane for the other process
				s.write = time.Second
				var lives []*life
				for i := range members {
					lives = append(lives, s.start(t, strconv.Itoa(i)))
					time.Sleep(time.Second)
				}
				s.run = "  mode: full\n"
				other := s.start(t, "other")
				for _, l := range lives {
					l.await(t)
					if l.err != nil {
						t.Error(l.err)
					}
				}
				select {
				case <-other.ended:
					if _, invalid := errors.AsType[*job.InvalidError](other.err); !invalid {
						t.Errorf("the other process ended with %v", other.err)
					}
				case <-time.After(time.Minute):
					t.Error("the other process goes on")
				}
				other.kill()
				if t.Failed() {
					t.Log(s.log.String())
				}
			})
		})
	}
}
