package pipeline

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// TestInflight adds, removes and merges at random, and compares with a map.
func TestInflight(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	rules := []*mapping.Rule{{}, {}, {}}
	f := newInflight(rules)
	p := &poller{set: f}
	want := map[uuid.UUID]Sent{}
	for range 50 {
		var batch []Sent
		for range random.IntN(2000) {
			s := Sent{Rule: rules[random.IntN(3)], ID: fmt.Sprint(random.Uint64N(1 << random.Uint64N(60)))}
			random := random.Uint64()
			s.PointID = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, random))
			if random%3 > 0 {
				s.Position = syncd.Position{Partition: int32(random % 7), Offset: int64(random >> 1), Known: true}
			}
			if random%5 > 2 {
				s.Version = syncd.Value{Text: fmt.Sprint(random % 1000), Set: true}
			}
			batch = append(batch, s)
			want[s.PointID] = s
		}
		f.add(batch)
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
			if id != w.ID || version != w.Version || f.rules[at.rule] != w.Rule || at.offset != offsetOf(w.Position) || w.Position.Known && at.partition != w.Position.Partition {
				t.Fatalf("%q %+v %+v, want %+v", id, version, at, w)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d are open, want %d", seen, len(want))
	}
}

// TestInflightMemory holds the figure in inflight's comment.
func TestInflightMemory(t *testing.T) {
	const events, batch = 400_000, 1000
	rules := []*mapping.Rule{{}}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	sent := make([]Sent, batch)
	for i := range sent {
		sent[i] = Sent{Rule: rules[0], ID: "507f1f77bcf86cd799439011", PointID: uuid.New(), Position: syncd.Position{Known: true}}
	}
	for name, c := range map[string]struct {
		version syncd.Value
		bytes   float64
	}{"id": {bytes: 64}, "id and date": {version: syncd.Value{Text: "2024-05-06T07:08:09.010Z", Set: true}, bytes: 88}} {
		for i := range sent {
			sent[i].Version = c.version
		}
		before := heap()
		f := newInflight(rules)
		for range events / batch {
			f.add(sent)
		}
		each := float64(heap()-before) / events
		runtime.KeepAlive(f)
		t.Logf("%s: %.1f bytes an event", name, each)
		if each > c.bytes*1.15 {
			t.Errorf("%s: %.1f bytes an event, want about %.0f", name, each, c.bytes)
		}
	}
}

// BenchmarkInflight is what following costs for each event sent.
func BenchmarkInflight(b *testing.B) {
	rules := []*mapping.Rule{{}}
	sent := make([]Sent, 1000)
	for i := range sent {
		sent[i] = Sent{Rule: rules[0], ID: "507f1f77bcf86cd799439011", PointID: uuid.New(), Position: syncd.Position{Known: true}}
	}
	f := newInflight(rules)
	for i := 0; b.Loop(); i++ {
		f.add(sent)
		if i%100 == 99 {
			f.take()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}
