package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/syncd-io/syncd"
)

// Memory bounds what an engine holds, in bytes. Zero is no bound.
type Memory struct {
	// Documents is what was read or fetched and is not handled yet, with what the source is asked for next. Batches of ids count
	// as well, a few hundred bytes for each id.
	Documents int64
	// Sending is documents that are being written. The sink makes events of them and keeps those until they are acknowledged, so
	// a document that is being written takes several times its size.
	Sending int64
	// PointIDs is what remembers point ids to find collisions.
	PointIDs int64
}

// budget bounds the bytes of what a run holds at once. Whoever wants some takes them before it asks for more, and gives them back
// when it is done.
//
// There are kinds of holders, since one kind may wait for another while it holds something: a reader holds a batch until a worker
// is free, and the workers may all be waiting for bytes to fetch documents. So a kind of which nobody holds anything is always
// let in: then the budget is exceeded by one of its portions, and none waits for ever. For the same reason what is larger than the
// budget passes alone. Nobody may wait for bytes of a kind of which it holds some, nor hold some while it waits for another of
// its kind that does not hold any. Within a kind, bytes are given in the order in which they were asked for.
type budget struct {
	most int64 // 0 is no bound

	mu      sync.Mutex
	held    int64
	holders [kinds]int // shares of each kind
	waiting [kinds][]*waiter
}

// kind is who holds bytes.
type kind int

const (
	reads    kind = iota // batches that were read or are asked for, until they are handled
	fetches              // documents that a worker fetches, until they are delivered
	prepares             // what stages make of documents, until the sink has answered
	writes               // documents in the hands of a sink, until it has answered
	kinds
)

// waiter is somebody who waits for a share.
type waiter struct {
	bytes   int64
	granted chan struct{} // closed with the budget's lock held
}

// share is a part of a budget. The zero value is none. It belongs to one goroutine at a time.
type share struct {
	of    *budget
	kind  kind
	bytes int64
}

// take waits until there is room for n bytes. Its error is ctx's.
func (b *budget) take(ctx context.Context, k kind, n int64) (share, error) {
	if b.most <= 0 || n <= 0 {
		return share{}, ctx.Err()
	}
	s := share{of: b, kind: k, bytes: n}
	b.mu.Lock()
	if len(b.waiting[k]) == 0 && b.fits(k, n) {
		b.grant(k, n)
		b.mu.Unlock()
		return s, nil
	}
	w := &waiter{bytes: n, granted: make(chan struct{})}
	b.waiting[k] = append(b.waiting[k], w)
	b.mu.Unlock()
	select {
	case <-w.granted:
		return s, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	at := slices.Index(b.waiting[k], w)
	if at >= 0 {
		b.waiting[k] = slices.Delete(b.waiting[k], at, at+1)
		b.admit() // who stood behind may fit
	}
	b.mu.Unlock()
	if at < 0 { // it was granted at the same moment
		s.release()
	}
	return share{}, ctx.Err()
}

// fits reports whether a share may be granted now. The caller holds mu.
func (b *budget) fits(k kind, n int64) bool { return b.held+n <= b.most || b.holders[k] == 0 }

// grant notes a share. The caller holds mu.
func (b *budget) grant(k kind, n int64) {
	b.held += n
	b.holders[k]++
}

// admit grants what there is room for. The caller holds mu.
func (b *budget) admit() {
	for k := range kinds {
		for len(b.waiting[k]) > 0 && b.fits(k, b.waiting[k][0].bytes) {
			w := b.waiting[k][0]
			b.waiting[k] = b.waiting[k][1:]
			b.grant(k, w.bytes)
			close(w.granted)
		}
	}
}

// resize makes the share as large as what it is for turned out to be, at once: that is in memory already.
func (s *share) resize(n int64) {
	if s.of == nil {
		return
	}
	b := s.of
	b.mu.Lock()
	b.held += n - s.bytes
	s.bytes = n
	b.admit()
	b.mu.Unlock()
}

// cut makes a share of its own of what some of the changes take that this one is for.
func (s *share) cut(changes []syncd.Change) share {
	if s.of == nil {
		return share{}
	}
	n, _ := measureChanges(changes)
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	s.bytes -= n
	b.holders[s.kind]++
	return share{of: b, kind: s.kind, bytes: n}
}

// release gives the share back. A share that was given back is none.
func (s *share) release() {
	if s.of == nil {
		return
	}
	b := s.of
	b.mu.Lock()
	b.held -= s.bytes
	b.holders[s.kind]--
	*s = share{}
	b.admit()
	b.mu.Unlock()
}
