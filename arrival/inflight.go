package arrival

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// segmentSize is how many events are asked about at once.
	segmentSize = 4096
	// segmentTexts bounds the texts of a segment, for the sake of ids that are long.
	segmentTexts = 1 << 20
)

// inflight is what was sent and has not been seen in the index yet. An event takes 40 bytes, the text of its id, and the
// text of its version where its rule has one: 64 bytes for an ObjectId, some 90 with a date; a million such events are 64 to
// 90 MB. It holds no pointer per event, so that the garbage collector has nothing to walk.
type inflight struct {
	rules []*mapping.Rule
	index map[*mapping.Rule]uint16

	mu      sync.Mutex
	filling *segment
	full    []*segment
	sent    int64
	first   time.Time // when the first event was confirmed
}

// segment is a number of events, in the order in which they were confirmed.
type segment struct {
	points []syncd.Point
	places []place
	texts  []byte // of each event the text of its id, then that of its version
}

// place says where an event is, and where its texts are in the segment: they begin where those of the event before end.
type place struct {
	offset    int64 // -1 if the sink did not say
	partition int32
	rule      uint16
	versioned bool
	deleted   bool   // it is a delete
	id        uint32 // end of the id's text
	end       uint32 // end of the version's
}

func newInflight(rules []*mapping.Rule) *inflight {
	f := &inflight{rules: rules, index: make(map[*mapping.Rule]uint16, len(rules))}
	for i, r := range rules {
		f.index[r] = uint16(i)
	}
	return f
}

// add notes what the sink confirmed.
func (f *inflight) add(rule *mapping.Rule, changes []syncd.Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent == 0 {
		f.first = time.Now()
	}
	f.sent += int64(len(changes))
	for i := range changes {
		if f.filling == nil {
			f.filling = &segment{}
			if f.sent > segmentSize { // a small run needs no more than it sends
				f.filling.points = make([]syncd.Point, 0, segmentSize)
				f.filling.places = make([]place, 0, segmentSize)
			}
		}
		c := &changes[i]
		f.filling.add(c.PointID, c.ID, rule.DocumentVersion(c), place{
			offset: offsetOf(c.Placement), partition: c.Placement.Partition, rule: f.index[rule], deleted: c.Operation == syncd.Delete,
		})
		if len(f.filling.points) == segmentSize || len(f.filling.texts) >= segmentTexts {
			f.full, f.filling = append(f.full, f.filling), nil
		}
	}
}

func offsetOf(p syncd.Placement) int64 {
	if !p.Known {
		return -1
	}
	return p.Offset
}

// take hands over all that was added since it was last called.
func (f *inflight) take() []*segment {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.full
	if f.filling != nil {
		out = append(out, f.filling)
	}
	f.full, f.filling = nil, nil
	return out
}

func (f *inflight) count() (sent int64, first time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent, f.first
}

func (s *segment) add(point uuid.UUID, id string, version syncd.Value, at place) {
	s.texts = append(s.texts, id...)
	at.id = uint32(len(s.texts))
	if version.Set {
		s.texts = append(s.texts, version.Text...)
	}
	at.versioned, at.end = version.Set, uint32(len(s.texts))
	s.points, s.places = append(s.points, syncd.Point{ID: point}), append(s.places, at)
}

// text returns the texts of event i.
func (s *segment) text(i int) (id string, version syncd.Value) {
	start := uint32(0)
	if i > 0 {
		start = s.places[i-1].end
	}
	at := &s.places[i]
	id = string(s.texts[start:at.id])
	if at.versioned {
		version = syncd.Value{Text: string(s.texts[at.id:at.end]), Set: true}
	}
	return id, version
}

// without returns the events for which gone does not say so: s itself if all are left, nil if none is.
func (s *segment) without(gone []bool) *segment {
	left, texts := 0, 0
	for i := range s.points {
		if !gone[i] {
			left++
			texts += s.length(i)
		}
	}
	switch left {
	case len(s.points):
		return s
	case 0:
		return nil
	}
	out := &segment{points: make([]syncd.Point, 0, left), places: make([]place, 0, left), texts: make([]byte, 0, texts)}
	for i := range s.points {
		if !gone[i] {
			out.move(s, i)
		}
	}
	return out
}

// move appends event i of another segment.
func (s *segment) move(from *segment, i int) {
	start := from.places[i].end - uint32(from.length(i))
	at := from.places[i]
	shift := uint32(len(s.texts)) - start
	s.texts = append(s.texts, from.texts[start:at.end]...)
	at.id, at.end = at.id+shift, at.end+shift
	s.points, s.places = append(s.points, from.points[i]), append(s.places, at)
}

// length is how long the texts of event i are.
func (s *segment) length(i int) int {
	if i == 0 {
		return int(s.places[0].end)
	}
	return int(s.places[i].end - s.places[i-1].end)
}

// takesIn reports whether another segment's events may be appended.
func (s *segment) takesIn(o *segment) bool {
	return len(s.points)+len(o.points) <= segmentSize && len(s.texts)+len(o.texts) <= segmentTexts
}
