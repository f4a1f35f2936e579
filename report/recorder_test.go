package report

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRecorderThins: a run of ten hours has no more samples than one of minutes, evenly spaced, and the last is its end.
func TestRecorderThins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r := NewRecorder()
		stop := r.follow(func() (job.Snapshot, bool) {
			s := job.Snapshot{Elapsed: time.Since(begin), Phase: job.PhaseRead}
			s.Total.Scanned = int64(s.Elapsed / time.Second)
			return s, s.Elapsed > time.Second // it has not begun before
		})
		time.Sleep(10*time.Hour + 10*time.Second)
		stop()
		stop() // does nothing
		n := len(r.samples)
		if n < maxSamples/2 || n >= maxSamples || cap(r.samples) > 2*maxSamples {
			t.Fatalf("%d samples", n)
		}
		for i := 2; i < n-1; i++ {
			if gap := r.samples[i].At - r.samples[i-1].At; gap != r.every.Seconds() {
				t.Fatalf("%vs between samples %d and %d, not %s", gap, i-1, i, r.every)
			}
		}
		if last := r.samples[n-1]; last.At != 36010 || last.Documents != 36010 || last.Phase != "reading" {
			t.Errorf("%+v", last)
		}
	})
}

// TestRecorderOfAShortRun: even a run of no time has a last sample.
func TestRecorderOfAShortRun(t *testing.T) {
	r := NewRecorder()
	r.follow(func() (job.Snapshot, bool) {
		s := job.Snapshot{Elapsed: time.Millisecond}
		s.Total.Scanned = 10
		s.Collections = []engine.CollectionProgress{{Earlier: tally.Counts{Scanned: 4}}}
		return s, true
	})()
	if diff := cmp.Diff([]Sample{{At: 0.001, Phase: "starting", Documents: 6}}, r.samples); diff != "" {
		t.Error(diff)
	}
	if s := NewRecorder(); s.sample((&job.Monitor{}).Snapshot) || len(s.samples) > 0 {
		t.Error("a run that never began has samples")
	}
}

// TestRecorderKeepsWhatIsThere: it shares the run's monitor and whoever else is told of failures.
func TestRecorderKeepsWhatIsThere(t *testing.T) {
	r, m, told := NewRecorder(), &job.Monitor{}, 0
	o := job.Options{Monitor: m}
	o.Hooks.Failed = func(string, tally.Failure) { told++ }
	stop := r.Watch(&o)
	o.Hooks.Failed("page", tally.Failure{ID: "1", Stage: "read", Reason: "no id"})
	stop()
	if o.Monitor != m || told != 1 || r.reasons.groups[0].Count != 1 {
		t.Error(told, r.reasons.groups)
	}
	o = job.Options{}
	defer r.Watch(&o)()
	if o.Monitor == nil {
		t.Error("there is no monitor")
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	r := NewRecorder()
	var o job.Options
	stop := r.Watch(&o)
	again := r.Retried("checker list")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 1000 {
				again("UNAVAILABLE")
				o.Hooks.Failed("page", tally.Failure{Stage: "write", Reason: fmt.Sprintf("batch %d: refused", i)})
				r.sample(func() (job.Snapshot, bool) { return job.Snapshot{}, true })
			}
		})
	}
	all.Wait()
	stop()
	rep := New(job.Report{Report: engine.Report{Total: tally.Counts{FailedWrite: 7900}, Deleted: tally.Counts{FailedWrite: 100}}})
	r.Fill(rep)
	if len(rep.Errors) != 1 || rep.Errors[0].Count != 8000 || len(rep.Errors[0].Examples) != maxExamples || rep.Retries[0].Count != 8000 {
		t.Errorf("%+v %+v", rep.Errors, rep.Retries)
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct{ id, reason, want string }{
		{"507f1f77bcf86cd799439011", "event of 1048999 bytes: too large", "event of … bytes: too large"},
		{"abcd", "document abcd: no id", "document …: no id"},
		{"a", "a bad seed", "a bad seed"},
		{"", `field "title": it is "x \" y"`, "field …: it is …"},
		{"", "point 7b619d45-93e1-5724-b96f-63c3ab25907c of 507f1f77bcf86cd799439011", "point … of …"},
		{"", "no answer within 2.5s (code 14), utf8 and int64 stay", "no answer within … (code …), utf8 and int64 stay"},
		{"", "dialing kafka://ada:secret@host/x", "dialing kafka://ada:[redacted]@host/x"},
		{"", "one\nline\x1b[31m", "one\\nline\\x1b[…"},
	} {
		if got := reasonOf(tally.Failure{ID: c.id, Reason: c.reason}); got != c.want {
			t.Errorf("%q: %q, not %q", c.reason, got, c.want)
		}
	}
	if long := reasonOf(tally.Failure{Reason: strings.Repeat("ä", 1000)}); len(long) > maxText+3 {
		t.Error(len(long))
	}
	var r reasons
	for i := range 500 {
		r.add("page", tally.Failure{ID: "1", Stage: "read", Reason: "reason " + strings.Repeat("x", i+1)})
	}
	r.add("page", tally.Failure{ID: "1", Stage: "read", Reason: "reason x"})
	got := r.list(510)
	if n := len(got); n != maxReasons+2 || got[0].Reason != otherReasons || got[0].Count != 400 || got[1].Count != 2 || got[n-1].Reason != earlierReasons || got[n-1].Count != 9 {
		t.Errorf("%d: %+v", n, got)
	}
}
