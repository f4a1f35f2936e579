package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/store/marks"
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

// TestLanesAreReadInAnyOrder: a split's name that runs have put into one lane after another stands where the last of them has put it.
func TestLanesAreReadInAnyOrder(t *testing.T) {
	mark := func(lane int, turn int64) syncd.LaneMark {
		m := syncd.LaneMark{Lane: lane, Mark: syncd.Mark{Name: marks.PrefixOf("job") + marks.SplitName("page", 0)}}
		if turn > 0 { // else it is forgotten
			m.Value = fmt.Appendf(nil, `{"turn":%d,"split":{"index":0}}`, turn)
		}
		return m
	}
	logs := [][]syncd.LaneMark{
		{mark(0, 2), mark(0, 0), mark(0, 8)},
		{mark(1, 5), mark(1, 0)},
	}
	order := []int{0, 0, 0, 1, 1}
	for range 100 {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		v := lanes.New(&wide{}, "job", lanes.Owner{Process: "a"})
		at := make([]int, len(logs))
		for _, lane := range order {
			v.Member().Read(logs[lane][at[lane]])
			at[lane]++
		}
		if s := v.Status(); s.Lanes[0].Splits != 1 || s.Lanes[1].Splits != 0 {
			t.Fatalf("read in the order %v, the lanes hold %d and %d splits, want 1 and 0", order, s.Lanes[0].Splits, s.Lanes[1].Splits)
		}
	}
}

// wide is a cluster of two lanes.
type wide struct{ fickle }

func (*wide) Lanes() int { return 2 }
