package mongo

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"github.com/syncd-io/syncd/internal/dial"
)

// The driver takes a wrong certificate, like every other failure to connect, for something that may pass, and tries again
// until connect_timeout is over. And where one side speaks TLS and the other does not, all that it sees is a connection that
// ends or stays silent. So while a connection is opened its failures are looked at, and a cut one is diagnosed.

// longSilence is how long a server may say nothing before it is looked at.
const longSilence = time.Second

// monitor fills heartbeatFailed whenever a server could not be reached, and keeps what those that can be say of themselves.
func (s *source) monitor() *event.ServerMonitor {
	return &event.ServerMonitor{
		ServerHeartbeatFailed: func(*event.ServerHeartbeatFailedEvent) {
			select {
			case s.heartbeatFailed <- struct{}{}:
			default: // a look is due already
			}
		},
		ServerHeartbeatSucceeded: s.answers.keep,
	}
}

// ping asks a server that the connection string's read preference allows. The driver gives up the search for one after
// connect_timeout; logging in to it and the answer get as long again. Where no server could ever be used, ping ends at once.
func (s *source) ping(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 2*s.cfg.ConnectTimeout)
	defer cancel()
	var answer error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		answer = s.client.Ping(within, nil)
	}()
	silence := time.NewTimer(min(longSilence, s.cfg.ConnectTimeout/2))
	defer silence.Stop()
	for {
		quiet := false
		select {
		case <-answered:
			return s.explain(ctx, answer)
		case <-s.heartbeatFailed:
		case <-silence.C:
			quiet = true
		}
		if err := s.hopeless(within, quiet); err != nil {
			cancel()
			<-answered
			return s.explain(ctx, err)
		}
	}
}

// hopeless says why no server can ever be used as things are; nil where one may. quiet says that servers which have not
// answered are to be looked at too.
func (s *source) hopeless(ctx context.Context, quiet bool) error {
	known, cancel := context.WithCancel(ctx)
	cancel() // what the driver knows is in the error that it gives when it may not wait
	failure, ok := errors.AsType[topology.ServerSelectionError](s.client.Ping(known, nil))
	if !ok {
		return nil
	}
	var first error
	for _, server := range failure.Desc.Servers {
		addr := server.Addr.String()
		why := dial.Fault(server.LastError)
		if why == nil && (isCut(server.LastError) || quiet && server.LastError == nil) {
			why = dial.Diagnose(ctx, server.Addr.Network(), addr, s.tls, answersInPlain)
		}
		if why == nil {
			return nil
		}
		first = cmp.Or(first, error(serverError{addr, why}))
	}
	return first
}

// isCut reports whether a connection was made, and then ended by the other side or never answered on: what a server that
// waits for TLS does to a client without it, and the reverse.
func isCut(err error) bool {
	silent, ok := errors.AsType[net.Error](err)
	return ok && silent.Timeout() ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// answersInPlain reports whether a server answers a hello that is sent without TLS.
func answersInPlain(conn net.Conn) bool {
	hello, err := bson.Marshal(bson.D{{Key: "hello", Value: 1}, {Key: "$db", Value: "admin"}})
	if err != nil {
		return false
	}
	at, msg := wiremessage.AppendHeaderStart(nil, 1, 0, wiremessage.OpMsg)
	msg = wiremessage.AppendMsgFlags(msg, 0)
	msg = wiremessage.AppendMsgSectionType(msg, wiremessage.SingleDocument)
	msg = append(msg, hello...)
	binary.LittleEndian.PutUint32(msg[at:], uint32(len(msg)))
	if _, err := conn.Write(msg); err != nil {
		return false
	}
	header := make([]byte, 16)
	if _, err := io.ReadFull(conn, header); err != nil {
		return false
	}
	_, _, answers, op, _, ok := wiremessage.ReadHeader(header)
	return ok && answers == 1 && op == wiremessage.OpMsg
}
