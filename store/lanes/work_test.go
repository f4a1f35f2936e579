package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/lanes"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// book is a cluster that writes down what is committed, and fences what is in the name of tenures that are over.
type book struct {
	member syncd.Member
	before func() // is called by each commit before it is looked at

	mu      sync.Mutex
	lanes   []syncd.Tenure // that the member owns; Number 0: not
	grants  int
	commits []string
}

func (b *book) Join(context.Context, syncd.Member) error { return nil }
func (b *book) Lanes() int                               { return len(b.lanes) }
func (b *book) Close() error                             { return nil }

func (b *book) Commit(_ context.Context, tenures []syncd.Tenure, changes []syncd.Change, all []syncd.LaneMark) error {
	if b.before != nil {
		b.before()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tenures {
		if b.lanes[t.Lane] != t {
			return syncd.ErrFenced
		}
	}
	for _, m := range all {
		if name, is := strings.CutPrefix(m.Name, marks.PrefixOf("job")); is {
			v, err := marks.ParseValue(name, m.Value)
			if err != nil {
				return err
			}
			if v.Split != nil {
				b.commits = append(b.commits, fmt.Sprintf("%d: split %d at %s, %d changes", m.Lane, v.Split.Index, v.Split.After, len(changes)))
			}
		}
	}
	return nil
}

func (b *book) own(lane int) {
	b.mu.Lock()
	b.grants++
	tenure := syncd.Tenure{Lane: lane, Number: b.grants}
	b.lanes[lane] = tenure
	b.mu.Unlock()
	b.member.Own([]syncd.Tenure{tenure})
}

func (b *book) lose(lane int) {
	b.mu.Lock()
	b.lanes[lane] = syncd.Tenure{}
	b.mu.Unlock()
	b.member.Lost([]int{lane})
}

// committed returns what was committed since it was asked last.
func (b *book) committed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.commits
	b.commits = nil
	return c
}

// split is the mark of a split in a lane, as any process writes it.
func (b *book) split(lane int, s string, index int) {
	b.member.Read(syncd.LaneMark{Lane: lane, Mark: syncd.Mark{
		Name: marks.PrefixOf("job") + marks.SplitName("page", index), Value: fmt.Appendf(nil, `{"turn":3,"split":{"index":%d%s}}`, index, s),
	}})
}

// crew is a process's work in a book's cluster, on a run that is under way.
type crew struct {
	*book
	view     *lanes.View
	worker   *lanes.Worker
	stop     func() // ends the work
	assigned []lanes.Assignment
}

func newCrew(t *testing.T, n int) *crew {
	t.Helper()
	c := &crew{book: &book{lanes: make([]syncd.Tenure, n)}}
	c.view = lanes.New(c.book, "job", lanes.Owner{Process: "a"})
	c.member = c.view.Member()
	for name, value := range map[string]string{
		marks.PrefixOf("job") + "about": `{"turn":1,"info":{}}`, marks.PrefixOf("job") + marks.CollectionName("page"): `{"turn":3,"collection":{"found":true}}`,
		"?job/order": `{"run_id":"r","outcome":"running"}`,
	} {
		c.member.Read(syncd.LaneMark{Mark: syncd.Mark{Name: name, Value: []byte(value)}})
	}
	c.work()
	t.Cleanup(func() { c.stop() })
	return c
}

// work begins the work on the run.
func (c *crew) work() {
	ctx, cancel := context.WithCancel(context.Background())
	w, done := c.view.Worker(ctx), make(chan struct{})
	go func() {
		defer close(done)
		_ = c.view.Work(ctx, lanes.Order{RunID: "r"}, w, func(a lanes.Assignment) { c.assigned = append(c.assigned, a) })
	}()
	c.worker = w
	c.stop = func() {
		cancel()
		<-done
		w.Close()
	}
}

// takes wants work on splits to begin, and returns it by their indexes.
func (c *crew) takes(t *testing.T, indexes ...int) map[int]lanes.Assignment {
	t.Helper()
	synctest.Wait()
	all := map[int]lanes.Assignment{}
	var got []int
	for _, a := range c.assigned {
		all[a.State.Index] = a
		got = append(got, a.State.Index)
	}
	c.assigned = nil
	if slices.Sort(got); !slices.Equal(got, indexes) {
		t.Fatalf("work began on the splits %v, want %v", got, indexes)
	}
	return all
}

func (c *crew) keeps(t *testing.T, index int, after syncd.Offset) {
	t.Helper()
	if err := c.worker.Split(t.Context(), "page", store.Split{Index: index, After: after, Counts: tally.Counts{Scanned: int64(len(after))}}, true); err != nil {
		t.Fatal(err)
	}
}

func (c *crew) wants(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, c.committed()); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
}

// TestWorkOfAnEarlierTenureKeepsNothing: a lane that was lost and is owned anew is not worked on before the work of before has left it, and
// nothing of that comes behind what others have kept, in whatever way the work ends.
func TestWorkOfAnEarlierTenureKeepsNothing(t *testing.T) {
	for name, leave := range map[string]func(c *crew, a lanes.Assignment){
		"it leaves": func(_ *crew, a lanes.Assignment) { a.Left() },
		"it ends by an error": func(c *crew, _ lanes.Assignment) {
			c.stop()
			c.work()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t, 2)
				c.own(1)
				c.split(1, "", 0)
				before := c.takes(t, 0)[0]
				c.keeps(t, 0, "aaa")
				c.wants(t, "1: split 0 at aaa, 0 changes")
				c.lose(1)
				select {
				case <-before.Stop:
				default:
					t.Error("the work is not told to stop")
				}
				c.split(1, `,"after":"YmI="`, 0) // bb, by another process
				c.own(1)
				c.takes(t)
				c.keeps(t, 0, "aaaa")
				if err := c.worker.Committing().Commit(t.Context(), make([]syncd.Change, 2), "page", store.Split{After: "aaaaa"}); !errors.Is(err, syncd.ErrFenced) {
					t.Errorf("changes of before: %v", err)
				}
				c.wants(t)
				leave(c, before)
				if a := c.takes(t, 0)[0]; a.State.After != "bb" {
					t.Errorf("it goes on at %q", a.State.After)
				}
				c.keeps(t, 0, "bbb") // which is behind what it told before
				c.wants(t, "1: split 0 at bbb, 0 changes")
			})
		})
	}
}

// TestALeaderOfAnEarlierTenureKeepsNothing: nothing that was begun before lane 0 was lost is said of the run when it is owned anew.
func TestALeaderOfAnEarlierTenureKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, 1)
		c.own(0)
		is := func(lanes.Order, bool) bool { return false }
		leading, _, err := c.view.Turn(t.Context(), "", is)
		if err != nil {
			t.Fatal(err)
		}
		c.lose(0)
		c.own(0)
		if err := c.view.Give(t.Context(), lanes.Order{RunID: "r", Outcome: tally.Complete}); !errors.Is(err, syncd.ErrFenced) {
			t.Errorf("the order of before: %v", err)
		}
		leading.End()
		if leading, _, err = c.view.Turn(t.Context(), "", is); err != nil {
			t.Fatal(err)
		}
		if err := c.view.Give(t.Context(), lanes.Order{RunID: "r", Outcome: tally.Complete}); err != nil {
			t.Error(err)
		}
		leading.End()
	})
}

// TestACommitKeepsItsTenures: what is tried once more of a commit of which one lane was lost is in the name of the tenures in which it was begun.
func TestACommitKeepsItsTenures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, 3)
		c.own(1)
		c.own(2)
		c.split(1, "", 0)
		c.split(2, "", 1)
		c.takes(t, 0, 1)
		c.keeps(t, 0, "a")
		c.committed()
		tries := 0
		c.before = func() {
			if tries++; tries == 1 {
				c.lose(1)
				c.own(1)
			}
		}
		for i, after := range []syncd.Offset{"aa", "b"} {
			if err := c.worker.Split(t.Context(), "page", store.Split{Index: i, After: after, Counts: tally.Counts{Scanned: 9}}, false); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if c.wants(t, "2: split 1 at b, 0 changes"); tries != 3 {
			t.Errorf("%d tries", tries)
		}
	})
}

// TestPartsHaveIndexesOfTheirOwn: whoever divides splits of a lane, and whatever was read of parts that were made before.
func TestPartsHaveIndexesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, 3)
		c.own(1)
		first := store.DividedFrom + 1
		c.split(1, "", 0)
		c.split(1, fmt.Sprintf(`,"divided":[%d]`, first), 1) // a former owner's, whose part is in a lane that is not read yet
		work := c.takes(t, 0, 1)
		var under sync.WaitGroup
		divided := make(chan int, 3)
		divide := func(index int) {
			defer under.Done()
			whole, err := work[index].Divide(t.Context(), work[index].State, "m")
			if err != nil {
				t.Error(err)
				return
			}
			divided <- whole.Divided[len(whole.Divided)-1]
		}
		c.before = func() { time.Sleep(time.Second) }
		under.Add(3)
		go func() { // which divide(0) waits for, when it has its index
			defer under.Done()
			c.keeps(t, 0, "a")
		}()
		synctest.Wait()
		go divide(0)
		synctest.Wait()
		go divide(1)
		under.Wait()
		under.Add(1)
		divide(0) // before anything is read back
		close(divided)
		var got []int
		for index := range divided {
			got = append(got, index)
		}
		slices.Sort(got)
		if want := []int{first + 3, first + 6, first + 9}; !slices.Equal(got, want) {
			t.Errorf("parts have the indexes %v, want %v", got, want)
		}
		c.split(2, "", first+12) // a part that a later run has put elsewhere
		whole, err := work[1].Divide(t.Context(), work[1].State, "m")
		if want := first + 15; err != nil || !slices.Contains(whole.Divided, want) {
			t.Errorf("parts %v, want one more, %d; %v", whole.Divided, want, err)
		}
	})
}
