package page

import (
	"context"
	"sync"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
)

// How much is kept of what jobs did a while ago.
const (
	sampleEvery = 10 * time.Second
	keepSamples = 360 // of a job: an hour
)

// sample is how a job stood at a moment.
type sample struct {
	At        time.Time
	Live      bool    // a run, or its following, was under way
	PerSecond float64 // less than 0 is not known
	Lag       float64 // in seconds, of the stream that is most behind; less than 0 is not known
}

// samples keep the last hour of the jobs.
type samples struct {
	mu   sync.Mutex
	jobs map[string]*series
}

type series struct {
	samples []sample // the oldest first
	run     string   // that counted
	count   int64
	at      time.Time
}

// Watch begins to look at the jobs again and again, so that the page can show how they did for the last hour.
func (p *Page) Watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() {
		for tick := time.NewTicker(sampleEvery); ; {
			p.samples.take(p.o.Host.Jobs(), p.now())
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	return func() {
		cancel()
		watch.Wait()
	}
}

// take adds a sample to each job, and forgets those that are there no more.
func (s *samples) take(jobs []host.Status, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make(map[string]*series, len(jobs))
	for i := range jobs {
		j := &jobs[i]
		one := s.jobs[j.Name]
		if one == nil {
			one = &series{}
		}
		one.take(j.Live, now)
		kept[j.Name] = one
	}
	s.jobs = kept
}

func (s *series) take(l *runlog.Live, now time.Time) {
	next := sample{At: now, Lag: -1}
	if l != nil {
		next.Live = true
		count := l.Counts.Scanned
		for i := range l.Streams {
			stream := &l.Streams[i]
			count += stream.Counts.Scanned
			if stream.Lag != nil {
				next.Lag = max(next.Lag, *stream.Lag)
			}
		}
		if took := now.Sub(s.at).Seconds(); s.run == l.RunID && took > 0 && count >= s.count {
			next.PerSecond = float64(count-s.count) / took
		} else {
			next.PerSecond = -1
		}
		s.run, s.count, s.at = l.RunID, count, now
	}
	if len(s.samples) == keepSamples {
		s.samples = append(s.samples[:0], s.samples[1:]...)
	}
	s.samples = append(s.samples, next)
}

// of returns the samples of a job, the oldest first.
func (s *samples) of(job string) []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.jobs[job]; one != nil {
		return append([]sample(nil), one.samples...)
	}
	return nil
}
