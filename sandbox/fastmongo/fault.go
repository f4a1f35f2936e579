package fastmongo

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Always as Fault.Times means that the fault never goes away by itself.
const Always = -1

// Fault is something that goes wrong. What is set happens, in this order: the silence, the delay, then the reset or the error. With a
// delay only, the command is answered late but well.
type Fault struct {
	Commands []string // it happens to; empty means all but those of handshakes, heartbeats and goodbyes
	Streams  bool     // only to those that open or read a change stream
	After    int      // let so many such commands pass first
	Times    int      // 0 means once

	Delay   time.Duration // a command whose maxTimeMS is shorter fails with MaxTimeMSExpired (50) then
	Silent  bool          // never answer
	Reset   bool          // cut the connection instead of answering
	Code    int32         // answer with this error
	Message string
	Labels  []string
}

// NotPrimary is the error of a server that has stepped down, for so many commands.
func NotPrimary(times int) Fault {
	return Fault{Times: times, Code: codeNotPrimary, Message: "not primary", Labels: []string{"RetryableWriteError"}}
}

// NotAuthorized refuses some commands for good.
func NotAuthorized(commands ...string) Fault {
	return Fault{Commands: commands, Times: Always, Code: codeUnauthorized, Message: "not authorized on the database to execute the command"}
}

// ResetAfter cuts the connection instead of answering the command after so many replies, once.
func ResetAfter(replies int) Fault { return Fault{After: replies, Reset: true} }

// Inject makes a fault happen. Faults apply in the order in which they were injected, one to a command; the counts of all
// that match go down. remove takes it away again; it may be called when the fault is used up.
func (s *Server) Inject(f Fault) (remove func()) {
	if f.Times == 0 {
		f.Times = 1
	}
	live := &liveFault{Fault: f}
	s.faults.mu.Lock()
	s.faults.live = append(s.faults.live, live)
	s.faults.mu.Unlock()
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.live = slices.DeleteFunc(s.faults.live, func(l *liveFault) bool { return l == live })
	}
}

// Quirks are ways in which other servers differ from MongoDB.
type Quirks struct {
	IgnoreBounds bool // min and max are ignored without a word
	RejectBounds bool // min and max are refused: NotImplemented (238)
	NoSample     bool // $sample is an unknown stage

	NoChangeStreams bool // $changeStream is an unknown stage
	NoSplit         bool // $changeStreamSplitLargeEvent is an unknown stage, as before MongoDB 6.0.9
	NoStartAfter    bool // startAfter is an unknown field, as in Amazon DocumentDB
}

// SetQuirks replaces the quirks.
func (s *Server) SetQuirks(q Quirks) { s.quirks.Store(&q) }

// OnCommand makes f see each command before it is carried out, on the goroutine of its connection, which waits for f; nil
// ends that. f may call the server's methods, and it may keep what it is given.
func (s *Server) OnCommand(f func(name string, cmd bson.Raw)) {
	if f == nil {
		s.hook.Store(nil)
		return
	}
	s.hook.Store(&f)
}

type liveFault struct{ Fault }

// faults are the faults that may still happen.
type faults struct {
	mu     sync.Mutex
	live   []*liveFault
	points map[string]func() // removes what a fail point has injected
}

// take is the fault that happens to this command, or nil.
func (f *faults) take(r *request, handshake bool, isStream func(*request) bool) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hit *Fault
	f.live = slices.DeleteFunc(f.live, func(l *liveFault) bool {
		switch {
		case len(l.Commands) == 0 && handshake, len(l.Commands) > 0 && !slices.Contains(l.Commands, r.name):
			return false
		case l.Streams && !isStream(r):
			return false
		case l.After > 0:
			l.After--
			return false
		case hit != nil:
			return false
		}
		now := l.Fault
		hit = &now
		if l.Times > 0 {
			l.Times--
		}
		return l.Times == 0
	})
	return hit
}

func (f *Fault) happen(ctx context.Context, r *request) error {
	if f.Silent {
		<-ctx.Done()
		return errReset
	}
	delay, expired := f.Delay, false
	if most := lookup(r.body, "maxTimeMS"); most.IsNumber() && toInt(most) > 0 {
		if limit := time.Duration(toInt(most)) * time.Millisecond; limit < delay {
			delay, expired = limit, true
		}
	}
	if err := wait(ctx, delay); err != nil {
		return err
	}
	switch {
	case expired:
		return fail(50, "operation exceeded time limit")
	case f.Reset:
		return errReset
	case f.Code != 0:
		e := fail(f.Code, "%s", f.Message)
		e.labels = f.Labels
		return e
	}
	return nil
}
