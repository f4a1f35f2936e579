package fastmongo

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// ResumableLabel is what servers give errors after which a driver opens a change stream again by itself.
const ResumableLabel = "ResumableChangeStreamError"

// StreamError makes the commands that open change streams ("aggregate") or read them ("getMore") fail with a code, so many times;
// see Always. Errors with the codes 280 and 286 have the label that MongoDB gives them; others have those that are named.
func StreamError(command string, times int, code int32, labels ...string) Fault {
	if code == codeStreamFatal || code == codeHistoryLost {
		labels = append(labels, "NonResumableChangeStreamError")
	}
	return Fault{Commands: []string{command}, Streams: true, Times: times, Code: code, Message: "injected", Labels: labels}
}

// TruncateOplog forgets all that has happened: streams that have not read it, and tokens and times from before, are lost (286).
func (s *Server) TruncateOplog() { s.oplog.truncate() }

// HoldStreams keeps what is written from now on from change streams, as a replica set without a majority does: writes go on, and
// streams are silent, until it is called with false.
func (s *Server) HoldStreams(on bool) { s.oplog.hold(on) }

// WriteNoop writes an entry that says nothing to the oplog, so that tokens move on.
func (s *Server) WriteNoop() { s.oplog.append(nil, change{op: opNoop}) }

// OperationTime is the time of the last entry of the oplog.
func (s *Server) OperationTime() bson.Timestamp {
	last, _ := s.oplog.times()
	return timestamp(last)
}

// CloseConnections closes all connections when they have answered what they are at.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // ends the wait for the next command
	}
}

// GoDown ends the server, as a crash does, until ComeUp: connections are cut, cursors and open transactions are gone. Documents and
// the oplog stay, and can be changed by the server's methods meanwhile.
func (s *Server) GoDown() error {
	err := s.hangUp()
	s.KillCursors()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	s.sessions.last = nil
	if err != nil {
		return fmt.Errorf("taking a MongoDB server down: %w", err)
	}
	return nil
}

// ComeUp starts a server that went down, at its address.
func (s *Server) ComeUp(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("starting a MongoDB server again: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	s.conns.Go(func() { s.accept(l) })
	return nil
}

// Election makes the server step down, and be the primary again after a time. getMores that wait for events fail with
// InterruptedDueToReplStateChange (11602), which is labelled as resumable; all cursors and connections are closed; until the end
// commands fail as those of a server that is not the primary do, and hello says so.
func (s *Server) Election(away time.Duration) {
	s.back.Store(time.Now().Add(away).UnixNano())
	err := fail(11602, "operation was interrupted")
	err.labels = []string{ResumableLabel}
	s.killAll(err)
	s.CloseConnections()
}

// away reports whether the server has stepped down.
func (s *Server) away() bool {
	back := s.back.Load()
	return back != 0 && time.Now().UnixNano() < back
}

func steppedDown(r *request) error {
	f := fail(13435, "not primary and secondaryOk=false")
	switch r.name {
	case "insert", "update", "delete", "commitTransaction", "abortTransaction":
		f = fail(codeNotPrimary, "not primary")
		f.labels = []string{"RetryableWriteError"}
	case "aggregate", "getMore":
		f.labels = []string{ResumableLabel}
	}
	return f
}

// isStream reports whether a command opens or reads a change stream.
func (s *Server) isStream(r *request) bool {
	switch r.name {
	case "aggregate":
		stages, err := readPipeline(lookup(r.body, "pipeline"))
		return err == nil && len(stages) > 0 && stages[0].name == "$changeStream"
	case "getMore":
		s.mu.Lock()
		defer s.mu.Unlock()
		c := s.cursors[toInt(lookup(r.body, "getMore"))]
		return c != nil && c.stream != nil
	}
	return false
}

// resumable are the codes that MongoDB labels as resumable where a getMore of a change stream fails inside the server.
var resumable = []int32{6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13435, 13436}

// configureFailPoint knows failCommand, and failGetMoreAfterCursorCheckout with an errorCode: what tests of drivers use.
func configureFailPoint(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	name, _ := lookup(r.body, "configureFailPoint").StringValueOK()
	if name != "failCommand" && name != "failGetMoreAfterCursorCheckout" {
		return dst, fail(codeBadValue, "there is no fail point %q here", name)
	}
	f, on, err := readFailPoint(name, lookup(r.body, "mode"), lookup(r.body, "data").Data)
	if err != nil {
		return dst, err
	}
	s.faults.mu.Lock()
	before := s.faults.points[name]
	delete(s.faults.points, name)
	s.faults.mu.Unlock()
	if before != nil {
		before()
	}
	if on {
		remove := s.Inject(f)
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		if s.faults.points == nil {
			s.faults.points = map[string]func(){}
		}
		s.faults.points[name] = remove
	}
	return reply(dst, bson.D{{Key: "count", Value: 0}, fine})
}

func readFailPoint(name string, mode value, data bsoncore.Document) (f Fault, on bool, err error) {
	switch m, _ := mode.StringValueOK(); {
	case m == "off":
		return f, false, nil
	case m == "alwaysOn":
		f.Times = Always
	case mode.Type == bsoncore.TypeEmbeddedDocument:
		f.After, f.Times = int(toInt(lookup(mode.Data, "skip"))), Always
		if times := lookup(mode.Data, "times"); times.Type != 0 {
			f.Times = int(toInt(times))
		}
	default:
		return f, false, fail(codeBadValue, "unknown mode of a fail point: %s", mode)
	}
	labelled := false
	for rest := body(data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		switch e.Key() {
		case "failCommands":
			f.Commands = texts(v)
		case "errorCode":
			f.Code, f.Message = int32(toInt(v)), "Failing command via 'failCommand' failpoint"
		case "errorLabels":
			f.Labels, labelled = texts(v), true
		case "closeConnection":
			f.Reset = truthy(v)
		case "blockConnection":
		case "blockTimeMS":
			f.Delay = time.Duration(toInt(v)) * time.Millisecond
		default:
			return f, false, fail(238, "%s of a fail point is not implemented here", e.Key())
		}
	}
	if name != "failCommand" {
		f.Commands, f.Streams = []string{"getMore"}, true
	}
	if !labelled {
		switch {
		case f.Code == codeStreamFatal, f.Code == codeHistoryLost:
			f.Labels = []string{"NonResumableChangeStreamError"}
		case name != "failCommand" && slices.Contains(resumable, f.Code):
			f.Labels = []string{ResumableLabel}
		}
	}
	return f, f.Times != 0, nil
}

func texts(v value) []string {
	var out []string
	for rest := body(v.Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			return out
		}
		if s, ok := e.Value().StringValueOK(); ok {
			out = append(out, s)
		}
	}
}
