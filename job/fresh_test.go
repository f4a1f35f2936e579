package job

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

// TestTheStateOfExactlyOnce is in the sink's transactions and nowhere else. One that can't be read is an error, whose hint is what
// helps.
func TestTheStateOfExactlyOnce(t *testing.T) {
	dir := t.TempDir()
	j := &Job{Config: &config.Config{Name: "job", Run: config.Run{State: config.State{Resume: true, StateDir: dir, ResumeWithin: 1 << 60}}}}
	c := syncdtest.NewMemoryCommitter()
	open := func(runID string, fresh bool) (store.Store, *Decision, error) {
		o := Options{Options: engine.Options{RunID: runID}}
		st, d, err := j.openStore(t.Context(), &Plugins{Sink: c.Reopen()}, store.Scope{}, &fresh, &o)
		if _, commits := o.Checkpoints.(store.Committer); commits != (err == nil) || fresh {
			t.Errorf("commits %t, still to begin anew %t", commits, fresh)
		}
		return st, d, err
	}
	st, d, err := open("run-1", false)
	if err != nil || d != nil || st.Info().RunID != "run-1" {
		t.Fatalf("%v, %+v", err, d)
	}
	if err := st.Close(t.Context(), store.End{Outcome: tally.Interrupted, Resumable: true}); err != nil {
		t.Fatal(err)
	}
	if st, d, err = open("run-2", false); err != nil || !d.Resumed || st.Info().RunID != "run-1" {
		t.Fatalf("%v, %+v", err, d)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, beside the sink: %v", err, left)
	}

	user := c.Reopen()
	_, err = user.Marks(t.Context(), "")
	if err = errors.Join(err, user.Commit(t.Context(), nil, []syncd.Mark{{Name: "job/split/0/page", Value: []byte("x")}})); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open("run-3", false); !errors.Is(err, store.ErrNotResumable) || !strings.Contains(syncd.HintOf(err), "--fresh") {
		t.Errorf("%v (hint %q)", err, syncd.HintOf(err))
	}
	if st, d, err = open("run-4", true); err != nil || d != nil || st.Info().RunID != "run-4" || len(c.Ledger()) != 1 {
		t.Errorf("begun anew: %v, %+v, marks %v", err, d, c.Ledger())
	}
}
