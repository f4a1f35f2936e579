package lanes_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store/lanes"
)

// fickle is a cluster of one lane, which it takes and gives back while the first commit is under way.
type fickle struct {
	member  syncd.Member
	commits int
}

func (f *fickle) Join(context.Context, syncd.Member) error { return nil }
func (f *fickle) Lanes() int                               { return 1 }
func (f *fickle) Close() error                             { return nil }

func (f *fickle) Commit(context.Context, []int, []syncd.Change, []syncd.LaneMark) error {
	if f.commits++; f.commits > 1 {
		return nil
	}
	f.member.Lost([]int{0})
	f.member.Own([]int{0})
	return syncd.ErrFenced
}

// TestALaneGainedAnewDuringACommitIsKept: that the commit counts as fenced says nothing of the lane as it is owned now.
func TestALaneGainedAnewDuringACommitIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fickle{}
		v := lanes.New(f, "job", lanes.Owner{Process: "a"})
		f.member = v.Member()
		f.member.Own([]int{0})
		if err := v.Give(t.Context(), lanes.Order{RunID: "r"}); !errors.Is(err, syncd.ErrFenced) {
			t.Fatalf("the commit ended with %v", err)
		}
		if s := v.Status(); !s.Lanes[0].Mine {
			t.Error("the lane is not owned any more")
		}
		if err := v.Give(t.Context(), lanes.Order{RunID: "r"}); err != nil {
			t.Error(err)
		}
	})
}
