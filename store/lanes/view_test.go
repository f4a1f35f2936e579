package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/store/marks"
)

// fickle is a cluster of one lane, which it takes and gives back while the first commit is under way.
type fickle struct {
	member  syncd.Member
	commits int
	owns    int
}

// own has the member own a lane.
func (f *fickle) own(lane int) {
	f.owns++
	f.member.Own([]syncd.Tenure{{Lane: lane, Number: f.owns}})
}

func (f *fickle) Join(context.Context, syncd.Member) error { return nil }
func (f *fickle) Lanes() int                               { return 1 }
func (f *fickle) Close() error                             { return nil }

func (f *fickle) Commit(context.Context, []syncd.Tenure, []syncd.Change, []syncd.LaneMark) error {
	if f.commits++; f.commits > 1 {
		return nil
	}
	f.member.Lost([]int{0})
	f.own(0)
	return syncd.ErrFenced
}

// TestALaneGainedAnewDuringACommitIsKept: that the commit counts as fenced says nothing of the lane as it is owned now.
func TestALaneGainedAnewDuringACommitIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fickle{}
		v := lanes.New(f, "job", lanes.Owner{Process: "a"})
		f.member = v.Member()
		f.own(0)
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

// torn is a cluster of two lanes whose barriers are read before a split that was divided, and behind its part.
type torn struct{ wide }

func (c *torn) Commit(_ context.Context, _ []syncd.Tenure, _ []syncd.Change, barriers []syncd.LaneMark) error {
	for _, m := range barriers {
		c.member.Read(m)
	}
	return nil
}

// TestALeaderTakesUpSplitsOfOneMoment: it waits for a part whose whole it has read, and for a whole whose part it has.
func TestALeaderTakesUpSplitsOfOneMoment(t *testing.T) {
	mark := func(lane int, name, value string) syncd.LaneMark {
		return syncd.LaneMark{Lane: lane, Mark: syncd.Mark{Name: marks.PrefixOf("job") + name, Value: []byte(value)}}
	}
	before := mark(0, marks.SplitName("page", 0), `{"turn":3,"split":{"index":0}}`)
	whole := mark(0, marks.SplitName("page", 0), fmt.Sprintf(`{"turn":3,"split":{"index":0,"upper":"eA==","divided":[%d]}}`, store.DividedFrom))
	part := mark(1, marks.SplitName("page", store.DividedFrom), fmt.Sprintf(`{"turn":3,"split":{"index":%d,"lower":"eA=="}}`, store.DividedFrom))
	for name, order := range map[string][2]syncd.LaneMark{"part first": {part, whole}, "whole first": {whole, part}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &torn{}
				v := lanes.New(c, "job", lanes.Owner{Process: "a"})
				c.member = v.Member()
				c.own(0)
				for _, m := range []syncd.LaneMark{mark(0, "about", `{"turn":1,"info":{}}`), mark(0, marks.CollectionName("page"), `{"turn":3,"collection":{"found":true}}`), before, order[0]} {
					c.member.Read(m)
				}
				opened := make(chan store.Store, 1)
				go func() {
					st, err := v.Store(t.Context(), false)
					if err != nil {
						t.Error(err)
					}
					opened <- st
				}()
				synctest.Wait()
				if len(opened) > 0 {
					t.Error("it is opened with a part of what was divided")
				}
				c.member.Read(order[1])
				st := <-opened
				if err := st.Recall("page").Check("page"); err != nil || len(st.Recall("page").Splits) != 2 {
					t.Errorf("%+v, %v", st.Recall("page"), err)
				}
				if err := st.Close(t.Context(), store.End{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
