package arrival

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture"
)

// TestInflight adds, removes and merges at random, and compares with a map.
func TestInflight(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rules := fixture.Versioned(t, "a", "b", "c")
	f := newInflight(rules)
	p := &Tracker{set: f}
	type sent struct {
		rule   int
		change syncd.Change
	}
	want := map[uuid.UUID]sent{}
	for range 50 {
		rule := random.IntN(3)
		var batch []syncd.Change
		for range random.IntN(2000) {
			c := syncd.Change{ID: fmt.Sprint(random.Uint64N(1 << random.Uint64N(60))), Fields: make([]syncd.Value, 2)}
			random := random.Uint64()
			c.PointID = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, random))
			if random%3 > 0 {
				c.Placement = syncd.Placement{Partition: int32(random % 7), Offset: int64(random >> 1), Known: true}
			}
			if random%5 > 2 {
				c.Fields[random%2] = syncd.Value{Text: fmt.Sprint(random % 1000), Set: true}
			}
			if random%11 == 0 {
				c.Operation = syncd.Delete
			}
			batch = append(batch, c)
			want[c.PointID] = sent{rule, c}
		}
		f.add(rules[rule], batch)
		p.open = append(p.open, f.take()...)
		open := p.open
		p.open = nil
		for _, s := range open {
			gone := make([]bool, len(s.points))
			chance := random.IntN(4)
			for i := range gone {
				if gone[i] = random.IntN(3) < chance; gone[i] {
					delete(want, s.points[i].ID)
				}
			}
			if kept := s.without(gone); kept != nil {
				p.keep(kept)
			}
		}
	}
	seen := 0
	for _, s := range p.open {
		if len(s.points) > segmentSize {
			t.Errorf("a segment of %d", len(s.points))
		}
		for i, q := range s.points {
			w, ok := want[q.ID]
			if !ok {
				t.Fatalf("%s should be gone", q.ID)
			}
			seen++
			id, version := s.text(i)
			at := s.places[i]
			if id != w.change.ID || version != rules[w.rule].DocumentVersion(&w.change) || int(at.rule) != w.rule || at.deleted != (w.change.Operation == syncd.Delete) ||
				at.offset != offsetOf(w.change.Placement) || w.change.Placement.Known && at.partition != w.change.Placement.Partition {
				t.Fatalf("%q %+v %+v, want %+v", id, version, at, w)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d are open, want %d", seen, len(want))
	}
}

// sentChanges are changes of a rule as a sink confirms them.
func sentChanges(n int, version syncd.Value) []syncd.Change {
	out := make([]syncd.Change, n)
	for i := range out {
		out[i] = syncd.Change{
			ID: "507f1f77bcf86cd799439011", PointID: uuid.New(), Placement: syncd.Placement{Known: true}, Fields: []syncd.Value{version, {}},
		}
	}
	return out
}

// TestInflightMemory holds the figure in inflight's comment.
func TestInflightMemory(t *testing.T) {
	const events, batch = 400_000, 1000
	rules := fixture.Versioned(t, "page")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, c := range map[string]struct {
		version syncd.Value
		bytes   float64
	}{"id": {bytes: 64}, "id and date": {version: syncd.Value{Text: "2024-05-06T07:08:09.010Z", Set: true}, bytes: 88}} {
		sent := sentChanges(batch, c.version)
		before := heap()
		f := newInflight(rules)
		for range events / batch {
			f.add(rules[0], sent)
		}
		each := float64(heap()-before) / events
		runtime.KeepAlive(f)
		runtime.KeepAlive(sent)
		t.Logf("%s: %.1f bytes an event", name, each)
		if each > c.bytes*1.15 {
			t.Errorf("%s: %.1f bytes an event, want about %.0f", name, each, c.bytes)
		}
	}
}

// BenchmarkInflight is what following costs for each event sent.
func BenchmarkInflight(b *testing.B) {
	rules := fixture.Versioned(b, "page")
	sent := sentChanges(1000, syncd.Value{})
	f := newInflight(rules)
	for i := 0; b.Loop(); i++ {
		f.add(rules[0], sent)
		if i%100 == 99 {
			f.take()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
