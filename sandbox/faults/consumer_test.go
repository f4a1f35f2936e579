package faults

import (
	"encoding/json"
	"strings"
	"time"

	qdrantclient "github.com/qdrant/go-client/qdrant"
	"github.com/twmb/franz-go/pkg/kgo"
)

// followedEvent is an event as a consumer sees it.
type followedEvent struct {
	key
	operation string
	version   int64
	hidden    bool
	changed   bool // it is of a stream
	by        int64
}

// consumer reads events, each partition in its order, and applies them.
type consumer struct {
	*world
	committed bool
	seen      int // records
	events    []followedEvent
	has       map[key]int64 // versions
	indexed   int           // events that are in the index
}

// look returns all events up to now.
func (c *consumer) look() []followedEvent {
	c.t.Helper()
	all := c.records(c.committed)
	for _, r := range all[c.seen:] {
		if name, ours := strings.CutPrefix(r.Topic, database+"."); ours {
			e := c.readFollowed(name, r)
			if c.events = append(c.events, e); e.operation == "delete" {
				delete(c.has, e.key)
			} else {
				c.has[e.key] = e.version
			}
		}
	}
	c.seen = len(all)
	return c.events
}

// read is how many events there were at the last look.
func (c *consumer) read() int { return len(c.events) }

func (w *world) readFollowed(name string, r *kgo.Record) followedEvent {
	e := followedEvent{key: key{name, string(r.Key)}, changed: header(r, "syncd-reason") == "changed", by: r.ProducerID}
	var v struct {
		OperationType string `json:"operationType"`
		FullDocument  *struct {
			UpdatedAt time.Time `json:"updatedAt"`
			Hidden    bool      `json:"hidden"`
		} `json:"fullDocument"`
	}
	if err := json.Unmarshal(r.Value, &v); err != nil || v.OperationType != "delete" && v.FullDocument == nil {
		w.t.Errorf("the event %s %s: %v", r.Key, r.Value, err)
		return e
	}
	e.operation = v.OperationType
	if v.FullDocument != nil {
		e.version, e.hidden = int64(v.FullDocument.UpdatedAt.Sub(epoch)/time.Second), v.FullDocument.Hidden
	}
	return e
}

// marked reports whether marks of both collections have come by the stream.
func (w *world) marked(after int64) bool {
	seen := map[string]bool{}
	for _, e := range w.followed.look() {
		if e.changed && strings.HasPrefix(e.id, markID) && e.version > after {
			seen[e.collection] = true
		}
	}
	return len(seen) == len(collections)
}

// indexFollowed makes the index what the events make of it.
func (w *world) indexFollowed() {
	w.t.Helper()
	events := w.followed.look()
	var points []*qdrantclient.PointStruct
	var gone []*qdrantclient.PointId
	seen := map[key]bool{}
	for _, e := range events[w.followed.indexed:] {
		if seen[e.key] {
			continue
		}
		seen[e.key] = true
		if version, there := w.followed.has[e.key]; there {
			points = append(points, pointsOf(e.key, timeOf(version).Format(time.RFC3339), 1, 1)...)
			w.indexed[e.key] = true
		} else {
			gone = append(gone, pointsOf(e.key, "", 1, 1)[0].GetId())
			delete(w.indexed, e.key)
		}
	}
	w.followed.indexed = len(events)
	w.upsert(points)
	w.remove(gone)
}

// compareState holds what a consumer has against what is there.
func (y *writer) compareState(excused func(key) bool) {
	y.t.Helper()
	y.followed.look()
	wrong := 0
	complain := func(format string, args ...any) {
		y.t.Helper()
		if wrong++; wrong <= 10 {
			y.t.Errorf(format, args...)
		}
	}
	for k, d := range y.there {
		if strings.HasPrefix(k.id, markID) || d.hidden {
			continue // the last marks may come behind the end; what is hidden may be as it was before
		}
		if got, there := y.followed.has[k]; (got != d.version || !there) && !(y.staged[k] && excused(k)) {
			complain("%v has version %d, and whoever applies the events has %d (%t)", k, d.version, got, there)
		}
	}
	deleted := map[key]int{} // the last event that did
	for i, e := range y.followed.events {
		if e.operation == "delete" {
			deleted[e.key] = i + 1
		}
	}
	for k, version := range y.followed.has {
		at, doomed := y.doomed[k]
		missed := doomed && deleted[k] <= at
		if _, there := y.there[k]; !there && (missed || !excused(k)) {
			complain("%v is gone, and whoever applies the events has version %d", k, version)
		}
	}
	if wrong > 10 {
		y.t.Errorf("%d documents are wrong", wrong)
	}
}

// compare holds the events against what was written. Where the position was lost, or a collection has gone, and the index is
// behind, it does not show yet what was sent and has gone since, or was replaced: the next look at all documents finds that.
func (y *writer) compare(lost bool) {
	y.t.Helper()
	y.compareState(func(k key) bool { return lost || y.dropped[k] || y.staged[k] })
	wrong := 0
	complain := func(format string, args ...any) {
		y.t.Helper()
		if wrong++; wrong <= 10 {
			y.t.Errorf(format, args...)
		}
	}
	made := map[int64]written{}
	for _, c := range y.log {
		made[c.version] = c
	}
	type lifeOf struct {
		key
		by int64
	}
	came := map[int64]int{}
	highest, last := map[lifeOf]int64{}, map[lifeOf]int64{}
	for _, e := range y.followed.look() {
		if y.s.filter && e.hidden {
			complain("%v is hidden, and its version %d was sent", e.key, e.version)
		}
		if !e.changed || !y.s.exact(e.operation) {
			continue
		}
		c := made[e.version]
		if c.key != e.key || c.operation != e.operation && c.operation != "unwatched" && y.s.debounce == 0 {
			complain("an event says %s of %v with version %d; what was done is %v", e.operation, e.key, e.version, c)
		}
		if came[e.version]++; came[e.version] > 1 && y.s.base.exactlyOnce {
			complain("the %s of %v with version %d came %d times", e.operation, e.key, e.version, came[e.version])
		}
		at := lifeOf{e.key, e.by}
		switch {
		case e.version < highest[at]:
			complain("%v goes back from version %d to %d without a restart", e.key, highest[at], e.version)
		case e.version == last[at] && y.s.watch && y.deniedEvents() == 0:
			complain("the %s of %v with version %d came again, though nothing that is watched changed", e.operation, e.key, e.version)
		}
		last[at], highest[at] = e.version, max(highest[at], e.version)
	}
	if !lost && y.s.debounce == 0 {
		for _, c := range y.log {
			if c.version <= y.ended && c.version >= y.first && came[c.version] == 0 && y.s.exact(c.operation) {
				complain("the %s of %v with version %d never came", c.operation, c.key, c.version)
			}
		}
	}
	if wrong > 10 {
		y.t.Errorf("%d things are wrong", wrong)
	}
}
