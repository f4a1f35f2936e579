// Package host runs many jobs in one process: those that the YAML files of folders describe. It reads the files again when they
// change, runs each job by its schedule, keeps who wanted it paused or stopped, and tries again what failed.
//
// Where to look: files.go finds jobs and what became of their files; keeper.go is the life of one job; desired.go keeps what people
// want of jobs; status.go is what others are told.
//
// Invariants:
//   - jobs don't touch each other: what one does wrong, a panic included, ends that one alone;
//   - a job runs once at a time, and a changed file takes effect between two runs: the run under way is drained, and the next resumes it;
//   - a file that can't be used leaves the job as it was, and its status says so;
//   - what people want of a job is kept before it takes effect, and outlives the process;
//   - nobody who asks waits for a job: a Status is what is known.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/store"
)

// Options are what a host is made of.
type Options struct {
	Paths    []string // YAML files of jobs, and folders of them
	StateDir string   // where what people want of jobs is kept
	// Load reads a configuration. It is called for one job at a time, again and again.
	Load func(path string) config.Result
	// Run is one run of a job, or its backfill and following, until its end or its drain. It is called concurrently for different jobs.
	Run func(ctx context.Context, r Run) (job.Result, error)
	// RunsDir is the folder of a job's record of runs; empty where it has none.
	RunsDir func(c *config.Config) string

	Memory      int64         // the sum of run.memory of the jobs that run at once, in bytes; 0 does not limit it
	StopTimeout time.Duration // how long a run may take to end when it is to; then what is under way is cut off
	Poll        time.Duration // between two looks at the files; 0 looks only when it is told
	Logger      *slog.Logger
}

// Run is what one run of a job is given.
type Run struct {
	Config   *config.Config
	Revision string // of the configuration's files
	Fresh    *bool  // begin anew; taken back as soon as the old state is gone
	Plan     *planfile.Plan
	Monitor  *job.Monitor
	Again    <-chan struct{} // a job that follows is to look at all documents again
	Drain    <-chan struct{} // closed when it is to end
	Logger   *slog.Logger
}

// Host runs jobs. All methods are safe for concurrent use.
type Host struct {
	o       Options
	memory  *semaphore.Weighted // nil does not limit
	desired *desires

	mu      sync.Mutex
	keepers map[string]*keeper // by name
	files   map[string]*file   // by path
	problem string             // why a folder can't be read
	changed chan struct{}      // closed when something has changed
	ready   bool               // the files were read

	rescan chan struct{}   // holds a wish to look at the files
	scans  sync.Mutex      // one look at a time
	lives  sync.WaitGroup  // of the keepers
	ctx    context.Context //nolint:containedctx // of Serve: the jobs live as long
	stop   <-chan struct{}
}

// The errors of what is asked of a host.
var (
	ErrNoJob    = errors.New("there is no such job")
	ErrConflict = errors.New("the job's state does not allow it")
)

// New returns a host that runs nothing yet.
func New(o Options) (*Host, error) {
	d, err := openDesires(o.StateDir)
	if err != nil {
		return nil, err
	}
	h := &Host{
		o: o, desired: d, keepers: map[string]*keeper{}, files: map[string]*file{}, changed: make(chan struct{}), rescan: make(chan struct{}, 1),
	}
	if o.Memory > 0 {
		h.memory = semaphore.NewWeighted(o.Memory)
	}
	return h, nil
}

// Serve runs the jobs until stop is closed, and then until they have ended, or ctx ends, which cuts them off. It must be called once.
func (h *Host) Serve(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.ctx, h.stop = ctx, stop
	h.scan(true)
	h.mu.Lock()
	h.ready = true
	h.mu.Unlock()
	h.notify()
	var tick <-chan time.Time
	if h.o.Poll > 0 {
		ticker := time.NewTicker(h.o.Poll)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-tick:
			h.scan(false)
		case <-h.rescan:
			h.scan(true)
		case <-stop:
			h.lives.Wait()
			return nil
		case <-ctx.Done():
			h.lives.Wait()
			return ctx.Err()
		}
	}
}

// Reload has the files looked at now, whether they seem changed or not. It does not wait.
func (h *Host) Reload() {
	select {
	case h.rescan <- struct{}{}:
	default: // it is about to
	}
}

// Ready reports whether the files were read once.
func (h *Host) Ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready
}

// Changed is closed when the status of some job has changed in more than its progress.
func (h *Host) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *Host) notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Jobs tells how all jobs stand, in the order of their names.
func (h *Host) Jobs() []Status {
	h.mu.Lock()
	keepers := make([]*keeper, 0, len(h.keepers))
	for _, k := range h.keepers {
		if !k.isDeleted() {
			keepers = append(keepers, k)
		}
	}
	h.mu.Unlock()
	out := make([]Status, 0, len(keepers))
	for _, k := range keepers {
		out = append(out, k.status())
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Problem says why jobs may be missing: a folder that can't be read; empty where there is nothing to say.
func (h *Host) Problem() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

func (h *Host) keeper(name string) (*keeper, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.keepers[name]; k != nil && !k.isDeleted() {
		return k, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoJob, name)
}

// Job tells how a job stands; its error is ErrNoJob.
func (h *Host) Job(name string) (Status, error) {
	k, err := h.keeper(name)
	if err != nil {
		return Status{}, err
	}
	return k.status(), nil
}

// Config is the configuration that a job runs with, nil where it has none that can be used. Its error is ErrNoJob.
func (h *Host) Config(name string) (*config.Config, error) {
	k, err := h.keeper(name)
	if err != nil {
		return nil, err
	}
	return k.config(), nil
}

// Kept is what the run under way of a job keeps of itself: how far it came. ok is false where none is, and where its store can't be asked.
// Its error is ErrNoJob.
func (h *Host) Kept(name string) (e store.Entry, ok bool, err error) {
	k, err := h.keeper(name)
	if err != nil {
		return e, false, err
	}
	k.mu.Lock()
	monitor := k.monitor
	k.mu.Unlock()
	if monitor != nil {
		e, ok = monitor.Kept()
	}
	return e, ok, nil
}

// Want has a job run, pause or stop, and keeps that; by says who wants it. A job that is paused goes on where it was; one that is
// stopped does so as well, and meanwhile its state may be changed.
func (h *Host) Want(name string, want Desired, by string) error {
	k, err := h.keeper(name)
	if err != nil {
		return err
	}
	if err := h.desired.set(name, want, by); err != nil {
		return err
	}
	h.o.Logger.Info("a job is wanted otherwise", "job", name, "state", string(want), "by", by)
	k.want(want)
	return nil
}

// Restart ends the run under way and begins another, which resumes it, and forgets that it failed. A job that is paused or stopped
// stays so.
func (h *Host) Restart(name, by string) error {
	k, err := h.keeper(name)
	if err != nil {
		return err
	}
	h.o.Logger.Info("a job is restarted", "job", name, "by", by)
	k.restart()
	return nil
}

// Trigger says how a run begins that somebody asked for.
type Trigger struct {
	Fresh bool           // from the beginning, whatever is kept
	Plan  *planfile.Plan // send what it says, and nothing else
}

// Trigger has a job that waits run at once, and one that follows look at all documents again. A job that runs already, or is paused
// or stopped, is ErrConflict.
func (h *Host) Trigger(name string, t Trigger, by string) error {
	k, err := h.keeper(name)
	if err != nil {
		return err
	}
	if err := k.trigger(t); err != nil {
		return err
	}
	h.o.Logger.Info("a run was asked for", "job", name, "fresh", t.Fresh, "planned", t.Plan != nil, "by", by)
	return nil
}

// Idle calls f while a job that is stopped stays so: nothing of it is under way, nor begins before f returns. A job that is not
// stopped is ErrConflict.
func (h *Host) Idle(name string, f func(c *config.Config) error) error {
	k, err := h.keeper(name)
	if err != nil {
		return err
	}
	return k.idle(f)
}

func conflict(name string, format string, args ...any) error {
	return syncd.Hint(fmt.Errorf("%w: %s %s", ErrConflict, name, fmt.Sprintf(format, args...)), "look at its status")
}
