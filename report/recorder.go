package report

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

const (
	firstEvery = 250 * time.Millisecond // between two samples at first: a short run is to have a curve as well
	maxSamples = 600                    // when there are so many, every second one goes, and the next come half as often
)

// Recorder gathers, during a run, what is not known afterwards: how the run went on, what was asked again, and how often documents
// failed for which reason. What it keeps does not grow with the run. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	every   time.Duration
	samples []Sample
	retries map[Retry]int64 // by plugin and reason
	sizes   map[sized]Size
	reasons reasons
}

// NewRecorder returns a recorder that has seen nothing.
func NewRecorder() *Recorder {
	return &Recorder{every: firstEvery, retries: map[Retry]int64{}, sizes: map[sized]Size{}}
}

// sized is a size that adapts.
type sized struct{ plugin, what string }

// Retried returns what a plugin is to call when it asks again (see syncd.Env).
func (r *Recorder) Retried(plugin string) func(reason string) {
	return func(reason string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.retries[Retry{Plugin: plugin, Reason: reason}]++
	}
}

// Adapted returns what a plugin is to call when it asks for more or less at once (see syncd.Env).
func (r *Recorder) Adapted(plugin string) func(what string, now, most int) {
	return func(what string, now, most int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		key := sized{plugin, what}
		s, known := r.sizes[key]
		if !known {
			s = Size{Plugin: plugin, What: what, Least: now}
		}
		s.Least, s.Ended, s.Most = min(s.Least, now), now, most
		r.sizes[key] = s
	}
}

// Watch follows the run that will have the options, until stop is called, which must happen and leaves no goroutine behind. It
// gives them a Monitor if they have none.
func (r *Recorder) Watch(o *job.Options) (stop func()) {
	if o.Monitor == nil {
		o.Monitor = &job.Monitor{}
	}
	told := o.Hooks.Failed
	o.Hooks.Failed = func(collection string, f tally.Failure) {
		r.mu.Lock()
		r.reasons.add(collection, f)
		r.mu.Unlock()
		if told != nil {
			told(collection, f)
		}
	}
	return r.follow(o.Monitor.Snapshot)
}

// follow takes a sample every so often until stop, and a last one then.
func (r *Recorder) follow(snapshot func() (job.Snapshot, bool)) (stop func()) {
	tick := time.NewTicker(r.every)
	end := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if r.sample(snapshot) {
					tick.Reset(r.every)
				}
			case <-end:
				r.sample(snapshot)
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		following.Wait()
	})
}

// sample takes a sample and reports whether the next ones are to come half as often.
func (r *Recorder) sample(snapshot func() (job.Snapshot, bool)) (thinned bool) {
	s, ok := snapshot()
	if !ok {
		return false
	}
	n := s.Total
	sample := Sample{At: seconds(s.Elapsed), Phase: s.Phase.String(), Bytes: s.Bytes, Documents: n.Scanned, Sent: n.Emitted - n.FailedWrite, Acked: n.Acked, Failed: n.Failed()}
	for i := range s.Collections {
		before := &s.Collections[i].Earlier
		sample.Documents -= before.Scanned
		sample.Sent -= before.Emitted - before.FailedWrite
		sample.Acked -= before.Acked
		sample.Failed -= before.Failed()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, sample)
	if len(r.samples) < maxSamples {
		return false
	}
	for i := range maxSamples / 2 {
		r.samples[i] = r.samples[2*i+1]
	}
	r.samples = r.samples[:maxSamples/2]
	r.every *= 2
	return true
}

// Fill adds to a report what was recorded.
func (r *Recorder) Fill(rep *Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep.Series = Series{Every: seconds(r.every), Samples: append([]Sample{}, r.samples...)}
	rep.Retries = nil
	for retry, n := range r.retries {
		retry.Count = n
		rep.Retries = append(rep.Retries, retry)
	}
	slices.SortFunc(rep.Retries, func(a, b Retry) int {
		return cmp.Or(cmp.Compare(a.Plugin, b.Plugin), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	rep.Sizes = nil
	for _, s := range r.sizes {
		rep.Sizes = append(rep.Sizes, s)
	}
	slices.SortFunc(rep.Sizes, func(a, b Size) int {
		return cmp.Or(cmp.Compare(a.Plugin, b.Plugin), cmp.Compare(a.What, b.What))
	})
	rep.Errors = r.reasons.list(rep.Totals.Failed)
}
