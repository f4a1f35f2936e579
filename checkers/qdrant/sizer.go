package qdrant

import "sync"

// The sizes that adapt, in words.
const (
	sizeOfLookups = "ids per request"
	sizeOfReads   = "ids per request for payload"
	sizeOfPages   = "points per page"
)

const (
	// growth is the part of the most by which a size grows with each request that passes.
	growth = 64
	// near is the part of a size that is not worth a request which may be refused.
	near = 8
	// forget is after how many requests that passed a size is tried again that was refused. So where a server has a fixed limit,
	// one request of some thirty is refused for nothing.
	forget = 64
)

// sizer is how much one request asks for. It halves what is refused, and grows by steps while requests pass: a refusal may have
// a passing cause, such as the load that others make. So a size that passed before is halved only when it is refused twice, and a
// step that is refused is only taken back. It is safe for concurrent use.
type sizer struct {
	mu      sync.Mutex
	size    int
	most    int                 // as configured
	changed func(now, most int) // is called with mu held

	refused int // the last size that was lowered; 0 if none was, or that is forgotten
	passed  int // the largest that passed since; 0 if nothing did
	calm    int // requests that passed since the size was lowered
}

// start sets the size to the most that is asked for at once. changed is told of other sizes.
func (s *sizer) start(most int, changed func(now, most int)) {
	s.size, s.most, s.changed = most, most, changed
}

// now is how much to ask for.
func (s *sizer) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// pass notes that a request for n passed. One for much less than the size says nothing about it.
func (s *sizer) pass(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if 2*n < s.size {
		return
	}
	s.passed = max(s.passed, n)
	if s.size == s.most {
		return
	}
	if s.calm++; s.calm >= forget {
		s.refused = 0
	}
	next := min(s.size+max(s.most/growth, 1), s.most)
	switch room := s.refused - s.size; {
	case s.refused == 0:
	case room <= s.size/near:
		return
	default:
		next = min(next, s.size+room/2)
	}
	s.set(next)
}

// refuse notes that n were too many, and returns how many to ask for. lowered is false where that is to be tried again, or another
// request has been there.
func (s *sizer) refuse(n int) (now int, lowered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.size {
		return s.size, false
	}
	if s.passed >= n {
		s.passed = 0
		return s.size, false
	}
	less := max((n+1)/2, s.passed)
	s.refused, s.passed, s.calm = n, 0, 0
	s.set(less)
	return less, true
}

// limit notes that more than most are never taken.
func (s *sizer) limit(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
	s.set(min(s.size, most))
}

func (s *sizer) set(size int) {
	if size != s.size {
		s.size = size
		s.changed(size, s.most)
	}
}
