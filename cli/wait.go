package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

// progressEvery is the pause between two lines about what is waited for.
const progressEvery = 5 * time.Second

// engine runs the engine and what belongs around it: the consumers' lag is looked at before, attempts are recorded meanwhile,
// and what was sent is waited for. late is what the wait has to say once the run itself is fine.
func (a *app) engine(ctx context.Context, cfg *config.Config, s session, out *printer, o pipeline.Options) (rep pipeline.Report, late, err error) {
	if cfg.Run.Wait && cfg.Run.Mode == config.Full {
		return rep, nil, usageError("--wait needs the index, which mode full does not ask")
	}
	if err := a.consumersFirst(ctx, cfg, s, out, o); err != nil {
		return rep, nil, err
	}
	ledger, err := a.openAttempts(ctx, cfg, s, o.DryRun)
	if err != nil {
		return rep, nil, err
	}
	if ledger != nil {
		o.Ledger = ledger
		defer func() {
			out.left = ledger.Left()
			if cerr := ledger.Close(); err == nil {
				err = cerr
			}
		}()
	}
	if !cfg.Run.Wait || o.DryRun {
		rep, err = pipeline.Run(ctx, o)
		return rep, nil, err
	}
	lines := &serial{Observer: o.Observer, printer: out}
	o.Observer = lines
	rep, arrivals, err := pipeline.RunAndWait(ctx, o, pipeline.Wait{
		Timeout: cfg.Run.AwaitTimeout, Every: progressEvery, Progress: lines.arriving,
	})
	if err == nil && !rep.Interrupted {
		out.arrivals = &arrivals
		late = out.late(arrivals, cfg.Run.AwaitTimeout)
	}
	return rep, late, err
}

// serial lets the observer's lines and those about arrivals, which come from another goroutine, follow one another.
type serial struct {
	mu sync.Mutex
	pipeline.Observer
	*printer
}

// Started implements pipeline.Observer.
func (s *serial) Started(index pipeline.IndexReport, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Observer.Started(index, full)
}

// CollectionDone implements pipeline.Observer.
func (s *serial) CollectionDone(r pipeline.CollectionReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Observer.CollectionDone(r)
}

func (s *serial) arriving(a pipeline.Arrivals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rate := fmt.Sprintf("%.0f/s", a.PerSecond)
	if a.PerSecond < 10 {
		rate = fmt.Sprintf("%.1f/s", a.PerSecond)
	}
	after := ""
	if !a.Sending {
		after = " after " + round(a.Waited).String()
	}
	if a.Missing() == 0 && !a.Sending {
		s.printf("\n%s shows all %s sent%s (%s)\n", s.index, events(a.Sent), after, rate)
		return
	}
	s.printf("\n%s shows %d of %s sent%s (%s)\n", s.index, a.Arrived, events(a.Sent), after, rate)
}

// notArrived lists what was sent and never appeared.
func (p *printer) notArrived() {
	if p.arrivals == nil || len(p.arrivals.Open) == 0 {
		return
	}
	if p.arrivals.Known {
		p.printf("\nSent, but not in %s:\n", p.index)
	} else {
		p.printf("\nSent, but not known to be in %s:\n", p.index)
	}
	for _, n := range p.arrivals.Open {
		p.printf("  %s %s: ", n.Rule.Collection.Name, orNone(n.ID))
		switch {
		case n.Position.Known:
			p.printf("topic %s, partition %d, offset %d, ", n.Place, n.Position.Partition, n.Position.Offset)
		case n.Place != "":
			p.printf("sent to %s, ", n.Place)
		}
		p.printf("point id %s\n", n.PointID)
	}
	if more := p.arrivals.Missing() - int64(len(p.arrivals.Open)); more > 0 {
		p.printf("  … and %d more\n", more)
	}
}

// late is the error of a wait that did not see everything arrive.
func (p *printer) late(a pipeline.Arrivals, timeout time.Duration) error {
	index := p.index
	if index == "" {
		index = "the index"
	}
	switch {
	case a.Err != nil:
		return failed(fmt.Errorf("whether the %s sent have all arrived is not known: %w", events(a.Sent), a.Err))
	case !a.Known:
		return &codeError{exitFailed, syncd.Hint(fmt.Errorf("whether the %s sent have arrived is not known: %s was not asked", events(a.Sent), index),
			"run it again when %s can be reached", index)}
	case a.Interrupted:
		return fmt.Errorf("%w: %d of %s sent are not in %s yet", errInterrupted, a.Missing(), events(a.Sent), index)
	case a.Missing() > 0:
		return &codeError{exitGuard, syncd.Hint(fmt.Errorf("%d of %s sent did not appear in %s within %s", a.Missing(), events(a.Sent), index, timeout),
			"look for them in the indexing consumer's log; if it is only slow, wait longer with --wait-timeout; a new run sends them again")}
	}
	return nil
}

// consumersFirst looks at the lag of the consumers' group before anything is asked or sent: what they have not read yet would
// look missing, and be sent once more.
func (a *app) consumersFirst(ctx context.Context, cfg *config.Config, s session, out *printer, o pipeline.Options) error {
	group, policy := cfg.Run.ConsumerGroup, cfg.Run.ConsumerLag
	if group == "" || policy == config.LagIgnore || s.checker == nil {
		return nil
	}
	ctx, stop := until(ctx, o.Drain)
	defer stop()
	sink := s.sink
	if sink == nil { // a dry run needs none but for this
		var err error
		sink, err = cfg.Sink.OpenSink(ctx, cfg.Sink.Settings, syncd.Env{Logger: o.Logger})
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			o.Logger.Warn("the consumers' lag is not known", "consumer_group", group, "error", err)
			return nil
		}
		defer func() { _ = sink.Close() }()
	}
	reader, ok := sink.(syncd.LagReader)
	if !ok {
		return &codeError{exitInvalid, syncd.Hint(fmt.Errorf("the sink %s can't tell the lag of a consumer group", cfg.Sink.Name()), "remove run.consumer_group")}
	}
	w := pipeline.LagWait{
		Reader: reader, Group: group, Timeout: cfg.Run.AwaitTimeout, Every: progressEvery,
		Progress: func(l pipeline.Lag) {
			if !l.Known {
				o.Logger.Warn("the consumer group has confirmed nothing in these topics, so all that they hold counts as not read: is run.consumer_group right?",
					"consumer_group", group)
			}
			passed := ""
			if l.Waited > 0 {
				passed = " after " + round(l.Waited).String()
			}
			out.printf("Waiting for consumer group %s: %s to read%s\n", group, events(l.Unread), passed)
		},
	}
	for _, rule := range o.Rules {
		w.Targets = append(w.Targets, rule.Target())
	}
	if policy == config.LagReport || o.DryRun {
		l, err := pipeline.ReadLag(ctx, w)
		if err != nil {
			return err
		}
		out.printf("Consumer group %s has %s to read", group, events(l.Unread))
		if l.Unread > 0 {
			out.printf("; until then their documents look as if they were missing")
		}
		if l.Unread > 0 && !l.Known {
			out.printf("; it has confirmed none, so it may be another group's name")
		}
		out.printf("\n")
		return nil
	}
	l, err := pipeline.AwaitLag(ctx, w)
	if err == nil && l.Waited > 0 {
		out.printf("Consumer group %s has read everything after %s\n", group, round(l.Waited))
	}
	return err
}

// lagError gives the error of a lag that did not go away its exit code and what to do.
func lagError(err error) error {
	var lag *pipeline.LagError
	if !errors.As(err, &lag) {
		return nil
	}
	hint := "run it again when the consumers have caught up, or wait longer (run.wait_timeout); run.consumer_lag: report sends all the same, which does no harm but costs the consumers time"
	if !lag.Known {
		hint = "check that run.consumer_group is the name of the indexing consumers' group and that they are running; " + hint
	}
	return &codeError{exitGuard, syncd.Hint(fmt.Errorf("stopped before anything was sent: %w", err), "%s", hint)}
}

// until returns a context that also ends when drain is closed; stop must be called and leaves no goroutine behind.
func until(ctx context.Context, drain <-chan struct{}) (ended context.Context, stop func()) {
	ended, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-drain:
			cancel()
		case <-ended.Done():
		}
	})
	return ended, func() { cancel(); watch.Wait() }
}
