package job_test

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
)

// group is what a source's own servers keep of how far its stream was read, as those of Kafka do for a group of consumers.
type group struct {
	mu        sync.Mutex
	at        syncd.Offset
	committed int // how often
	nows      int
}

// groupConfig declares a source that can only be followed.
type groupConfig struct{}

func (*groupConfig) FollowedOnly() {}

func (g *group) plugin(of *syncdtest.MemorySource) syncd.Plugin {
	return syncd.NewSource("memory", "Can only be followed.", groupConfig{}, func(context.Context, groupConfig, syncd.Env) (syncd.Source, error) {
		return groupSource{of, g}, nil
	})
}

type groupSource struct {
	*syncdtest.MemorySource
	g *group
}

func (s groupSource) Splits(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] {
	panic("there are no documents to look at")
}

// Read begins where the group stands, whatever else is known.
func (s groupSource) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	req.After = s.g.at
	return s.MemorySource.Read(ctx, req)
}

func (s groupSource) Abilities() syncd.SourceAbilities {
	stream := s.MemorySource.Abilities().Stream
	now := stream.Now
	stream.Now = func(ctx context.Context, of syncd.Stream) (syncd.Offset, error) {
		at, err := now(ctx, of)
		s.g.mu.Lock()
		defer s.g.mu.Unlock()
		if s.g.nows++; s.g.at == "" || s.g.nows > 1 {
			s.g.at = at
		}
		return "group", err
	}
	stream.Commit = func(_ context.Context, _ syncd.Stream, at syncd.Offset) error {
		s.g.mu.Lock()
		defer s.g.mu.Unlock()
		s.g.at = at
		s.g.committed++
		return nil
	}
	return syncd.SourceAbilities{Stream: stream}
}

// TestASourceThatCanOnlyBeFollowed: no documents are looked at, no index is asked, and its own servers' word is where a life goes on, also
// where the state folder is another.
func TestASourceThatCanOnlyBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.group = &group{}
		for life := range 3 {
			if life == 2 {
				f.state = t.TempDir()
				f.group.nows = 0
			}
			f.source.Insert("page", pageDoc(100+life, 1)) // before the group began in the first life, and while nobody reads in the others
			res, err := f.live(t, life == 1, func() {
				settle()
				for i := range 60 {
					f.source.Insert("page", pageDoc(i, life))
				}
				f.source.Delete("page", strconv.Itoa(life))
				settle()
			})
			if err != nil && (life != 1 || !errors.Is(err, context.Canceled)) {
				t.Fatalf("life %d: %v", life, err)
			}
			if res.Followed == nil || res.Followed.Acked < 61 {
				t.Errorf("life %d: %+v", life, res.Followed)
			}
		}
		want := 3*61 + 2
		if n := len(f.sink.Events()); n != want || len(f.backfill) != 0 || len(f.lost) != 0 || f.group.committed < 3 {
			t.Errorf("%d events, want %d; %d backfills, lost %q, committed %d times", n, want, len(f.backfill), f.lost, f.group.committed)
		}
	})
}

// TestALostPositionOfASourceThatCanOnlyBeFollowed: what was lost can't be found, so that a job ends there unless it is told to go on.
func TestALostPositionOfASourceThatCanOnlyBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowed(t)
		f.group = &group{}
		insert := func(id int) func() {
			return func() {
				settle()
				f.source.Insert("page", pageDoc(id, 1))
				settle()
			}
		}
		if _, err := f.live(t, false, insert(1)); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			f.source.Insert("page", pageDoc(2, 1))
		}
		f.source.Forget(0)
		for _, policy := range []string{"", "stream: {on_position_lost: fail}\n"} {
			f.more = policy
			if _, err := f.live(t, false, settle); !errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(syncd.HintOf(err), "stream.on_position_lost: continue") {
				t.Errorf("%q: %v (%s)", policy, err, syncd.HintOf(err))
			}
		}
		before := len(f.sink.Events())
		f.more = "stream: {on_position_lost: continue}\n"
		if _, err := f.live(t, false, insert(3)); err != nil {
			t.Fatal(err)
		}
		if n := len(f.sink.Events()) - before; n != 1 || len(f.lost) != 1 || !strings.HasPrefix(f.lost[0], "position_lost") || len(f.backfill) != 0 {
			t.Errorf("%d events, lost %q, %d backfills", n, f.lost, len(f.backfill))
		}
	})
}

// TestWhatNeedsDocuments is refused where there are none.
func TestWhatNeedsDocuments(t *testing.T) {
	f := newFollowed(t)
	f.group = &group{}
	j := f.job(t, nil)
	_, plan := j.Plan(t.Context(), job.PlanRequest{})
	_, verify := j.Verify(t.Context(), job.VerifyRequest{})
	_, explain := j.Explain(t.Context(), "page", "1")
	for what, err := range map[string]error{"plan": plan, "verify": verify, "explain": explain} {
		var usage *job.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "no documents to look at") || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}
