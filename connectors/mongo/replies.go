package mongo

import "sync"

// A server is asked for documents by their number, and answers with up to 16 MiB. So how large they are decides how many are asked
// for: replyBytes of them, if the source may keep that much, and at most as many as the round trip is worth. Ids are about 30
// bytes each: 10,000 of them are a round trip for many batches of the engine.
const (
	idsAtOnce       = 10_000
	documentsAtOnce = 1_000
	replyBytes      = 2 << 20
	// firstAtOnce is how many documents are asked for whose size is not known: all of a small collection.
	firstAtOnce = 200
	// growth is how many times more are asked for than the last time at most, since those that follow may be larger.
	growth = 8
	// memoryReplies is how many replies the source's memory has room for: each reader and each worker has one, and a reader
	// the next one.
	memoryReplies = 32
)

// replies decides how many documents a server is asked for at once, for one kind of question.
type replies struct {
	most  int // documents
	bytes int // of a reply
	next  int // documents
}

// got tells of a reply, and returns how many documents to ask for next.
func (r *replies) got(documents, bytes int) int {
	if documents > 0 {
		fit := r.bytes / max(1, bytes/documents)
		r.next = max(1, min(fit, r.most, growth*max(r.next, documents)))
	}
	return r.next
}

// replies begins a question for documents of a collection, or for their ids and fields.
func (s *source) replies(collection string, whole bool, fields int) replies {
	r := replies{most: documentsAtOnce, bytes: s.replyBytes, next: firstAtOnce}
	if !whole {
		r.most = idsAtOnce
		if r.next = idsAtOnce; fields > 0 {
			r.next = documentsAtOnce
		}
	}
	if s.cfg.BatchSize > 0 {
		r.most = s.cfg.BatchSize
	}
	if whole {
		if n := s.sizes.atOnce(collection); n > 0 {
			r.next = n
		}
	}
	r.next = min(r.next, r.most)
	return r
}

// sizes remembers how many documents of a collection were asked for last: the next question begins with as many.
type sizes struct {
	mu   sync.Mutex
	last map[string]int
}

func (s *sizes) atOnce(collection string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[collection]
}

func (s *sizes) note(collection string, documents int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]int{}
	}
	s.last[collection] = documents
}
