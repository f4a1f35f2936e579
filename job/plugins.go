package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/wait"
)

// Plugins is a set of open plugins.
type Plugins struct {
	Source      syncd.Source
	Checker     syncd.Checker // nil: nothing is asked
	Stages      []syncd.Stage // in their order
	Sink        syncd.Sink    // nil where nothing is sent
	DeadLetters syncd.Sink    // takes the documents that can't be sent; nil if there is no such place
}

// slowOpening is how long servers may take to answer before those that do not are named.
const slowOpening = time.Second

// connecting says which servers have not answered yet.
func (j *Job) connecting(places []string) {
	j.Logger.Info("connecting to " + strings.Join(places, ", "))
}

// drainGrace is how long servers may take to answer when the job is to end, where that is not the engine's to say.
const drainGrace = 2 * time.Second

// With opens the plugins that a use of the job needs, calls f with them, and closes them. While they are opened nothing is
// under way, so a closed Drain ends that; f sees to Drain itself. Behind it, closing may take a moment.
func (j *Job) With(ctx context.Context, sink bool, f func(ctx context.Context, p *Plugins) error) (err error) {
	return j.with(ctx, sink, j.connecting, f)
}

// with is With where slow is told of the places that are still not open after slowOpening.
func (j *Job) with(ctx context.Context, sink bool, slow func(places []string), f func(ctx context.Context, p *Plugins) error) (err error) {
	opening, stop := wait.Drained(ctx, j.Drain)
	p, err := j.open(opening, sink, slow)
	interrupted := opening.Err() != nil
	stop()
	if err != nil {
		if interrupted {
			err = errors.Join(ErrInterrupted, err)
		}
		return err
	}
	defer func() {
		closing, stop := wait.Drained(ctx, j.Drain)
		defer stop()
		if cerr := closeUntil(closing, p.close); cerr != nil && err == nil {
			err = cerr
		}
	}()
	return panics.Caught(func() error { return f(ctx, p) })()
}

// splitsPerLane is how many splits of a collection a lane has at least, where it is divided at all: splits are of unequal length, and
// with several in each lane the processes still end at about the same time.
const splitsPerLane = 4

// env is what a plugin is opened with.
func (j *Job) env(p config.Plugin) syncd.Env {
	env := syncd.Env{Logger: j.Logger, Memory: j.Config.Run.PluginMemory(p.Kind()), Process: j.Process}
	if j.Config.Cluster.Enabled() {
		env.Splits = splitsPerLane * j.Config.Cluster.Partitions
	}
	if j.Env != nil {
		env = j.Env(env, p)
	}
	return env
}

// open opens them side by side, since each waits for a server of its own. When one fails, the others are not waited for any longer,
// and nothing is left open.
func (j *Job) open(ctx context.Context, sink bool, slow func(places []string)) (*Plugins, error) {
	c, p := j.Config, &Plugins{}
	var o opening
	ctx, o.cut = context.WithCancel(ctx)
	defer o.cut()
	told := make(chan struct{})
	late := time.AfterFunc(slowOpening, func() {
		defer close(told)
		if places := o.pending(); len(places) > 0 {
			slow(places)
		}
	})
	defer func() {
		if !late.Stop() {
			<-told // so that nothing is said when all are open
		}
	}()
	if sink {
		env := j.env(c.Sink)
		o.open(c.Sink.Place(), func() (err error) {
			p.Sink, err = c.Sink.OpenSink(ctx, c.Sink.Settings, env)
			return err
		})
		if c.DeadLetter.Settings != nil {
			env := j.env(c.DeadLetter)
			o.open(c.DeadLetter.Place(), func() (err error) {
				if p.DeadLetters, err = c.DeadLetter.OpenSink(ctx, c.DeadLetter.Settings, env); err != nil {
					return fmt.Errorf("opening errors.dead_letter: %w", err)
				}
				return nil
			})
		}
	}
	p.Stages = make([]syncd.Stage, len(c.Stages))
	for i, s := range c.Stages {
		env := j.env(s)
		o.open(s.Place(), func() (err error) {
			if p.Stages[i], err = s.OpenStage(ctx, s.Settings, env); err != nil {
				return fmt.Errorf("opening stages.%s: %w", s.Name(), err)
			}
			return nil
		})
	}
	env := j.env(c.Source)
	o.open(c.Source.Place(), func() (err error) {
		p.Source, err = c.Source.OpenSource(ctx, c.Source.Settings, env)
		return err
	})
	if c.Run.Mode != config.Full { // in which nothing is asked
		env := j.env(c.Checker)
		o.open(c.Checker.Place(), func() (err error) {
			p.Checker, err = j.openChecker(ctx, env)
			return err
		})
	}
	if err := o.wait(); err != nil {
		return p, errors.Join(err, p.close())
	}
	return p, nil
}

// opening is what is opened side by side.
type opening struct {
	cut    context.CancelFunc // of the context in which all are opened
	group  sync.WaitGroup
	mu     sync.Mutex
	failed bool
	errs   []error  // in the order of the calls of open
	places []string // likewise; empty once it is open or has failed
}

// open calls f in a goroutine of its own.
func (o *opening) open(place string, f func() error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := len(o.errs)
	o.errs, o.places = append(o.errs, nil), append(o.places, place)
	o.group.Go(func() {
		err := panics.Caught(f)()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.places[i] = ""
		if err == nil {
			return
		}
		if o.failed && errors.Is(err, context.Canceled) {
			return // it was cut off, and says nothing new
		}
		o.errs[i], o.failed = err, true
		o.cut()
	})
}

// pending names what is neither open nor has failed, each place once.
func (o *opening) pending() (places []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, place := range o.places {
		if place != "" && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return places
}

// wait waits until all are open or have failed. Its error holds all those that one could not open, and has the hints of all.
func (o *opening) wait() error {
	o.group.Wait()
	var all error
	for _, err := range o.errs {
		switch {
		case err == nil:
		case all == nil:
			all = err
		default:
			hints := slices.DeleteFunc([]string{syncd.HintOf(all), syncd.HintOf(err)}, func(h string) bool { return h == "" })
			all = syncd.Hint(fmt.Errorf("%w; %w", all, err), "%s", strings.Join(hints, "; "))
		}
	}
	return all
}

// close closes what is open, side by side, since each may wait for a server of its own. Its error names those that failed, the source
// first.
func (p *Plugins) close() error {
	errs := make([]error, 4+len(p.Stages))
	var group sync.WaitGroup
	closing := func(i int, what string, plugin io.Closer) {
		group.Go(func() {
			if err := panics.Caught(plugin.Close)(); err != nil {
				errs[i] = fmt.Errorf("closing %s: %w", what, err)
			}
		})
	}
	if p.Source != nil {
		closing(0, "the source", p.Source)
	}
	if p.Checker != nil {
		closing(1, "the checker", p.Checker)
	}
	if p.Sink != nil {
		closing(2, "the sink", p.Sink)
	}
	if p.DeadLetters != nil {
		closing(3, "the dead letters", p.DeadLetters)
	}
	for i, s := range p.Stages {
		if s != nil {
			closing(4+i, "a stage", s)
		}
	}
	group.Wait()
	return errors.Join(errs...)
}

// closeAtOnce is how long plugins may still take to close after ctx ended; servers that do not answer are not waited for.
const closeAtOnce = time.Second

// closeUntil closes, and gives up soon after ctx has ended.
func closeUntil(ctx context.Context, f func() error) error {
	closed := make(chan error, 1)
	go func() { closed <- f() }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-closed:
		return err
	case <-time.After(closeAtOnce):
		return nil
	}
}

// openChecker opens the checker, or returns nil where the policy says so about an index that can't be reached: then every document
// is to be sent.
func (j *Job) openChecker(ctx context.Context, env syncd.Env) (syncd.Checker, error) {
	c := j.Config
	open := func() (syncd.Checker, error) { return c.Checker.OpenChecker(ctx, c.Checker.Settings, env) }
	checker, err := open()
	if err == nil || !errors.Is(err, syncd.ErrUnavailable) || ctx.Err() != nil {
		return checker, err
	}
	if c.Run.OnCheckUnavailable == config.OutageFull && errors.Is(err, syncd.ErrForeign) {
		return nil, err // a wrong address must not send every document
	}
	policy := slog.String("policy", "run.on_check_unavailable: "+string(c.Run.OnCheckUnavailable))
	label := c.Checker.Label()
	why := strings.TrimPrefix(err.Error(), "could not connect to "+label+" ") // it is said below
	switch c.Run.OnCheckUnavailable {
	case config.OutageFull:
		j.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): falling back to full backfill", label, why), policy,
			slog.String("hint", "if every document must not be sent again, set run.on_check_unavailable: fail"))
		return nil, nil //nolint:nilnil // nothing is asked
	case config.OutageWait:
		j.Logger.Warn(fmt.Sprintf("could not connect to %s (%v): waiting for it", label, why), policy, slog.String("hint", syncd.HintOf(err)))
		var outage contact.Pace
		outage.Due() // was told above
		checker, err := backoff.Retry(ctx, func() (syncd.Checker, error) {
			c, err := open()
			if err != nil && !errors.Is(err, syncd.ErrUnavailable) {
				return nil, backoff.Permanent(err)
			}
			if lasted, due := outage.Due(); err != nil && due {
				j.Logger.Warn("still waiting for "+label, slog.String("for", lasted), slog.String("error", err.Error()))
			}
			return c, err
		}, backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 15 * time.Second,
		}), backoff.WithMaxElapsedTime(0))
		if lasted, _ := outage.Over(); err == nil {
			j.Logger.Info(label+" can be reached", slog.String("after", lasted))
		}
		return checker, err
	}
	return nil, err
}
