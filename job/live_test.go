package job_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// recorded are the runs of the job that are kept, the newest first.
func (f *followed) recorded(t *testing.T) []runlog.Run {
	t.Helper()
	runs, err := runlog.Read(f.state, "job", 100)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// underWay is how the job says that it stands.
func (f *followed) underWay(t *testing.T) *runlog.Live {
	t.Helper()
	now, ok, err := runlog.Current(f.state, "job")
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	return &now
}

// TestEveryRunIsRecorded with how it ended, and nothing is left that says that it is under way.
func TestEveryRunIsRecorded(t *testing.T) {
	down := errors.New("no answer of mongodb://ann:hush@db/x")
	for name, c := range map[string]struct {
		prepare func(f *followed, drain chan struct{})
		outcome tally.Outcome
		why     string
		is      func(r runlog.Run) bool
	}{
		"complete": {nil, tally.Complete, "", func(r runlog.Run) bool {
			return r.Freshness != nil && r.Freshness.Equal(r.Started) && r.Total.Acked == 5 && r.Next == nil && r.RunID != ""
		}},
		"by a schedule": {func(f *followed, _ chan struct{}) { f.more = "schedule: {every: 1h}\n" }, tally.Complete, "", func(r runlog.Run) bool {
			return r.Next != nil && r.Next.After(r.Ended)
		}},
		"of one collection": {func(f *followed, _ chan struct{}) { f.run = "  collections: [page]" }, tally.Complete, "", func(r runlog.Run) bool {
			return r.Freshness == nil && len(r.Collections) == 1
		}},
		"with failures": {func(f *followed, _ chan struct{}) {
			f.faults.Write = syncdtest.Always(syncdtest.Fault{Fail: map[int]error{0: down}})
		}, tally.Failures, "could not be sent", func(r runlog.Run) bool { return r.Freshness == nil && r.Total.FailedWrite > 0 && r.Hint != "" }},
		"failed": {func(f *followed, _ chan struct{}) {
			f.faults.Write = syncdtest.Always(syncdtest.Fault{Err: syncd.Hint(down, "look there: mongodb://ann:hush@db")})
		}, tally.Failed, "no answer", func(r runlog.Run) bool { return strings.HasPrefix(r.Hint, "look there") && r.Freshness == nil }},
		"stopped": {func(f *followed, _ chan struct{}) {
			f.faults.Write = syncdtest.Always(syncdtest.Fault{Fail: map[int]error{0: down, 1: down, 2: down}})
			f.more = "errors: {max: 1}\n"
		}, tally.Stopped, "errors.max", func(r runlog.Run) bool { return r.Freshness == nil }},
		"interrupted": {func(_ *followed, drain chan struct{}) { close(drain) }, tally.Interrupted, "interrupted", func(r runlog.Run) bool {
			return r.Freshness == nil && !r.Started.IsZero()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowed(t)
				f.follow = false
				f.run = "  wait_timeout: 0s"
				for i := range 5 {
					f.source.Insert("page", pageDoc(i, 1))
				}
				drain := make(chan struct{})
				if c.prepare != nil {
					c.prepare(f, drain)
				}
				j := f.job(t, drain)
				j.Revision = "r1"
				_, err := j.Backfill(t.Context(), job.Request{})
				runs := f.recorded(t)
				if len(runs) != 1 {
					t.Fatalf("%d runs, %v", len(runs), err)
				}
				r := runs[0]
				if r.Job != "job" || r.Outcome != c.outcome || !strings.Contains(r.Error, c.why) || c.why == "" && r.Error != "" || r.Config != "r1" || r.Mode != "incremental" ||
					strings.Contains(r.Error+r.Hint, "hush") || r.Ended.Before(r.Started) || r.Planned || r.Resumed || r.Follows || !c.is(r) {
					t.Errorf("%+v\n%v", r, err)
				}
				if now := f.underWay(t); now != nil {
					t.Errorf("under way: %+v", now)
				}
			})
		})
	}
}

// TestWhatKindOfRunIsRecorded: one that resumes another and one that sends a plan are recorded as such; a dry run is not recorded.
func TestWhatKindOfRunIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.follow, f.run = false, "  wait_timeout: 0s\n  batch_size: 1"
		for i := range 5 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		f.faults.Write = syncdtest.Nth(3, syncdtest.Fault{Err: errors.New("no answer")})
		if _, err := f.job(t, nil).Backfill(t.Context(), job.Request{}); err == nil {
			t.Fatal("no error")
		}
		f.faults.Write = nil
		if _, err := f.job(t, nil).Backfill(t.Context(), job.Request{}); err != nil {
			t.Fatal(err)
		}
		if runs := f.recorded(t); len(runs) != 2 || runs[1].Resumed || !runs[0].Resumed {
			t.Fatalf("%+v", runs)
		}
		f.source.Insert("page", pageDoc(6, 1))
		path := filepath.Join(t.TempDir(), "plan")
		if _, err := f.job(t, nil).Plan(t.Context(), job.PlanRequest{Output: path}); err != nil {
			t.Fatal(err)
		}
		if n := len(f.recorded(t)); n != 2 {
			t.Errorf("a plan is recorded: %d", n)
		}
		plan := planfile.File(path)
		if _, err := f.job(t, nil).Backfill(t.Context(), job.Request{Plan: &plan}); err != nil {
			t.Fatal(err)
		}
		if r := f.recorded(t)[0]; !r.Planned || r.Freshness != nil || r.Total.Acked != 1 {
			t.Errorf("%+v", r)
		}
		f.run += "\n  dry_run: true"
		if _, err := f.job(t, nil).Backfill(t.Context(), job.Request{}); err != nil {
			t.Fatal(err)
		}
		if n := len(f.recorded(t)); n != 3 {
			t.Errorf("a dry run is recorded: %d", n)
		}
	})
}

// TestAJobThatAnotherProcessWorksOnRecordsNothing, since that one does.
func TestAJobThatAnotherProcessWorksOnRecordsNothing(t *testing.T) {
	f := newFollowed(t)
	f.follow = false
	other, err := bolt.Open(f.state, "job")
	if err != nil {
		t.Fatal(err)
	}
	if err := runlog.Publish(f.state, runlog.Live{Job: "job", RunID: "other"}); err != nil {
		t.Fatal(err)
	}
	_, err = f.job(t, nil).Backfill(t.Context(), job.Request{})
	if _, busy := errors.AsType[*bolt.BusyError](err); !busy {
		t.Fatal(err)
	}
	if runs, now := f.recorded(t), f.underWay(t); len(runs) != 0 || now == nil || now.RunID != "other" {
		t.Errorf("%+v, %+v", runs, now)
	}
	if err := other.Close(t.Context(), store.End{Outcome: tally.Interrupted, Resumable: true}); err != nil {
		t.Error(err)
	}
}

// TestFollowingIsRecorded: the look before it, what is followed while it is, each look that comes between, and the end.
func TestFollowingIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.run = "  wait_timeout: 0s"
		for i := range 5 {
			f.source.Insert("page", pageDoc(i, 1))
		}
		again := make(chan struct{}, 1)
		drain, done := make(chan struct{}), make(chan error)
		j := f.job(t, drain)
		monitor := &job.Monitor{}
		go func() {
			_, err := j.Backfill(t.Context(), job.Request{Monitor: monitor, Again: again})
			done <- err
		}()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		runs, now := f.recorded(t), f.underWay(t)
		if len(runs) != 1 || runs[0].Outcome != tally.Complete || !runs[0].Follows || runs[0].Total.Acked != 5 || runs[0].Freshness == nil {
			t.Errorf("the look: %+v", runs)
		}
		if now == nil || now.PID != os.Getpid() || now.Host == "" || now.Phase != "following changes" || len(now.Streams) != 1 || now.Config != "job.yaml" {
			t.Errorf("following: %+v", now)
		}
		f.source.Insert("page", pageDoc(9, 1))
		time.Sleep(5 * time.Second)
		if now = f.underWay(t); now == nil || now.Streams[0].Counts.Acked != 1 || time.Since(now.Updated) > 3*time.Second {
			t.Errorf("a change: %+v", now)
		}
		again <- struct{}{}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if runs = f.recorded(t); len(runs) != 2 || runs[0].Total.Present != 6 || !runs[0].Follows || runs[0].Freshness == nil || !runs[0].Freshness.After(*runs[1].Freshness) {
			t.Errorf("looked again: %+v", runs)
		}
		close(drain)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		runs, now = f.recorded(t), f.underWay(t)
		if now != nil || len(runs) != 3 || runs[0].Followed == nil || runs[0].Followed.Acked < 1 || runs[0].Total.Scanned != 0 || runs[0].Freshness != nil {
			t.Errorf("the end: %+v, %+v", now, runs)
		}
		// One that goes on following looks at no documents, so it proves nothing new, and goes by the id of the run that it resumes.
		drain, monitor = make(chan struct{}), &job.Monitor{}
		j = f.job(t, drain)
		go func() {
			_, err := j.Backfill(t.Context(), job.Request{Monitor: monitor})
			done <- err
		}()
		time.Sleep(5 * time.Second)
		if now = f.underWay(t); now == nil || now.RunID == "" || now.RunID != runs[0].RunID || now.Phase != "following changes" {
			t.Errorf("following, resumed: %+v, after %+v", now, runs[0])
		}
		close(drain)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if runs = f.recorded(t); len(runs) != 4 || !runs[0].Resumed || runs[0].RunID != runs[1].RunID || runs[0].Freshness != nil || runs[0].Outcome != tally.Complete {
			t.Errorf("the end of what was resumed: %+v", runs)
		}
	})
}

// TestARecordThatCannotBeKept ends no run, and is said once.
func TestARecordThatCannotBeKept(t *testing.T) {
	f := newFollowed(t)
	f.follow, f.run = false, "  wait_timeout: 0s"
	f.source.Insert("page", pageDoc(1, 1))
	// A folder of its name stands where the record is to be.
	if err := os.Mkdir(filepath.Join(f.state, "job-job.runs.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.job(t, nil).Backfill(t.Context(), job.Request{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(f.log.String(), "no record of this run is kept"); n != 1 {
		t.Errorf("said %d times: %s", n, f.log.String())
	}
}

// TestAPlanBesideARun: what has the record of attempts open does not keep a plan or a verification from being made.
func TestAPlanBesideARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it waits for the record for a while
		f := newFollowed(t)
		f.follow = false
		f.run = "  wait_timeout: 0s\n  attempts: {max: 3}"
		gate := make(chan struct{})
		entered := make(chan struct{}, 10)
		f.source.Insert("page", pageDoc(1, 1))
		f.faults.Write = func(int) syncdtest.Fault {
			entered <- struct{}{}
			<-gate
			return syncdtest.Fault{}
		}
		done := make(chan error)
		j := f.job(t, nil)
		go func() {
			_, err := j.Backfill(t.Context(), job.Request{})
			done <- err
		}()
		<-entered
		res, err := f.job(t, nil).Plan(t.Context(), job.PlanRequest{})
		if err != nil || res.Report.Total.Missing != 1 {
			t.Errorf("%+v, %v", res.Report.Total, err)
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(f.log.String(), "a run has the record of attempts") {
			t.Error(f.log.String())
		}
	})
}
