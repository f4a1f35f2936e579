package fastmongo

import (
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// cursor is a find or aggregate under way. It is used by one goroutine at a time: see Server.takeCursor.
type cursor struct {
	ns     string
	busy   bool    // in use; guarded by Server.mu
	killed error   // what a getMore under way is told when the cursor is gone; guarded by Server.mu
	stream *stream // if it is a change stream: then the following is not used

	walk       walk
	filter     *filter // nil lets everything pass
	projection *projection
	covered    bool  // answered from _id alone
	keys       bool  // rows come from the _id index
	skip       int64 // rows still to be left out
	left       int64 // rows that the limit still allows; negative for no limit
}

// fill fills a batch and returns true if there is no more. As in MongoDB, a batch that is full ends the cursor only if its
// limit is reached: that nothing follows is known when the next one is asked for.
func (c *cursor) fill(b *batch, count *counters) (bool, error) {
	if c.left >= 0 && (b.most < 0 || c.left <= int64(b.most)) {
		b.most = int(c.left)
	}
	before := b.n
	var end bool
	var err error
	if g, ok := c.walk.(*generatedWalk); ok && c.skip == 0 && (c.filter == nil || c.filter.exact()) && (c.covered || c.projection == nil) {
		end = g.fillFast(b, c.covered)
		c.count(count, b.n-before, b.n-before)
	} else {
		end, err = c.fillRows(b, count)
	}
	if c.left >= 0 {
		c.left -= int64(b.n - before)
		end = end || c.left == 0
	}
	return end, err
}

func (c *cursor) fillRows(b *batch, count *counters) (bool, error) {
	if b.full() {
		return false, nil
	}
	visited, fetched := 0, 0
	end, err := c.walk.each(func(r *row) verdict {
		visited++
		if c.filter != nil {
			if !c.filter.matchID(r.id) {
				return goOn
			}
			if len(c.filter.byDoc) > 0 {
				fetched++
				if !c.filter.matchDoc(r.document()) {
					return goOn
				}
			}
		}
		if c.skip > 0 {
			c.skip--
			return goOn
		}
		mark := len(b.dst)
		b.dst = appendIndex(b.dst, bsoncore.TypeEmbeddedDocument, b.n)
		if c.covered {
			b.dst = appendIDOnly(b.dst, r.id)
		} else {
			if c.filter == nil || len(c.filter.byDoc) == 0 {
				fetched++
			}
			b.dst = c.projection.append(b.dst, r.document())
		}
		if !b.take(mark) {
			visited--
			return stopBefore
		}
		if b.full() {
			return stopBehind
		}
		return goOn
	})
	c.count(count, visited, fetched)
	return end, err
}

// count counts what was read of a collection; results were counted when they were computed.
func (c *cursor) count(count *counters, visited, fetched int) {
	if _, ok := c.walk.(*results); ok {
		return
	}
	if c.keys {
		count.keys.Add(int64(visited))
	}
	if !c.covered {
		count.documents.Add(int64(fetched))
	}
}

// documents gives all that the cursor yields to a function, until that returns false. They are valid during its call.
func (c *cursor) documents(count *counters, each func(bsoncore.Document) bool) error {
	var b batch
	visited, fetched := 0, 0
	_, err := c.walk.each(func(r *row) verdict {
		visited++
		if c.filter != nil && !c.filter.matchID(r.id) {
			return goOn
		}
		if c.covered {
			b.dst = appendIDOnly(b.dst[:0], r.id)
		} else {
			fetched++
			if c.filter != nil && !c.filter.matchDoc(r.document()) {
				return goOn
			}
			b.dst = c.projection.append(b.dst[:0], r.document())
		}
		if !each(b.dst) {
			return stopBehind
		}
		return goOn
	})
	c.count(count, visited, fetched)
	return err
}

// results is a walk through documents that are computed already.
type results struct{ docs []bsoncore.Document }

func (w *results) each(visit func(*row) verdict) (bool, error) {
	for len(w.docs) > 0 {
		r := row{doc: w.docs[0]}
		v := visit(&r)
		if v != stopBefore {
			w.docs = w.docs[1:]
		}
		if v != goOn {
			return false, nil
		}
	}
	return true, nil
}
