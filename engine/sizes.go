package engine

import (
	"sync/atomic"

	"github.com/syncd-io/syncd"
)

const (
	// changeBytes is about what a change takes without its document: the struct, its key and the text of its id.
	changeBytes = 256
	// unknownSize is what a document is taken for before one was seen: no database has larger ones.
	unknownSize = 16 << 20
	// portions is how many batches of whole documents the memory for documents has room for at least.
	portions = 8
)

// sizes is how large the documents of a collection are: about the largest of those that were seen lately. It is safe for
// concurrent use; of two that note something at once, one may go unheard.
type sizes struct{ largest atomic.Int64 }

// note tells of the largest of some documents. A size that does not come again is forgotten step by step.
func (s *sizes) note(largest int64) {
	switch before := s.largest.Load(); {
	case largest >= before:
		s.largest.Store(largest)
	case largest > 0:
		s.largest.Store(before - (before-largest)/8)
	}
}

// known reports whether a document was seen.
func (s *sizes) known() bool { return s.largest.Load() > 0 }

// document is what to expect of one: at most so many bytes where none was seen.
func (s *sizes) document(most int64) int64 {
	if n := s.largest.Load(); n > 0 {
		return n
	}
	return min(unknownSize, most)
}

// measureChanges returns about how much memory changes take, and the size of the largest document that they have.
func measureChanges(changes []syncd.Change) (bytes, largest int64) {
	for i := range changes {
		c := &changes[i]
		bytes += weigh(c)
		if c.Document != nil {
			largest = max(largest, int64(c.Document.Size()))
		}
	}
	return bytes, largest
}

// weigh returns about how much memory a change takes. The documents of a change in its source's own form lie in that.
func weigh(c *syncd.Change) int64 {
	n := 0
	if c.Document != nil {
		n = c.Document.Size()
	}
	if s := c.Streamed; s != nil {
		if s.Before != nil {
			n += s.Before.Size()
		}
		n = max(n, len(s.Raw))
	}
	return changeBytes + int64(n)
}

// sent is what it takes a sink to write changes.
func sent(changes []syncd.Change) (bytes int64) {
	for i := range changes {
		if c := &changes[i]; c.Reference {
			bytes += changeBytes
		} else {
			bytes += weigh(c)
		}
	}
	return bytes
}
