package fastmongo

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Counters say what a server has done since its start or the last ResetCounters.
type Counters struct {
	Commands  map[string]int64 // by name, handshakes and unknown ones included
	Keys      int64            // keys of the _id index that were visited
	Documents int64            // documents that were read ("examined"): 0 for a covered scan of ids
	Returned  int64            // documents, whole or in part, that were sent
	InKeys    int64            // values that clients named in an $in on _id
	Bytes     int64            // that were sent
}

type counters struct {
	keys, documents, returned, inKeys, bytes atomic.Int64

	mu       sync.Mutex
	commands map[string]int64
}

func (c *counters) command(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands[name]++
}

// Counters returns the counters as they are.
func (s *Server) Counters() Counters {
	c := &s.count
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counters{
		Commands: maps.Clone(c.commands),
		Keys:     c.keys.Load(), Documents: c.documents.Load(), Returned: c.returned.Load(), InKeys: c.inKeys.Load(), Bytes: c.bytes.Load(),
	}
}

// ResetCounters sets all counters to zero.
func (s *Server) ResetCounters() {
	c := &s.count
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.commands)
	for _, n := range []*atomic.Int64{&c.keys, &c.documents, &c.returned, &c.inKeys, &c.bytes} {
		n.Store(0)
	}
}
