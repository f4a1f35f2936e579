package qdranttest

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

func transportCases() []testCase {
	return []testCase{
		{60, "unknown methods", func(t *testing.T, e *env) {
			for _, method := range []string{"/qdrant.Points/NoSuchMethod", "/qdrant.NoSuchService/Get"} {
				err := e.client.GetConnection().Invoke(testContext(t), method, &qdrant.GetPoints{}, &qdrant.GetResponse{},
					grpc.MaxCallRecvMsgSize(1<<20))
				if status.Code(err) != codes.Unimplemented {
					t.Errorf("%s: got %v, want UNIMPLEMENTED", method, err)
				}
			}
		}},
		{61, "idle clients may ping", func(t *testing.T, e *env) {
			if err := PingIdly(testContext(t), e.target.Addr, e.target.TLS); err != nil {
				t.Error(err)
			}
			t.Run("in real time", func(t *testing.T) {
				if !e.target.Slow {
					t.Skip("grpc-go pings every ten seconds at most, so that this takes 45 seconds")
				}
				idle(t, e)
			})
		}},
	}
}

// PingIdly connects as an idle gRPC client does that checks whether the server is alive, sends pings in quick
// succession and fails if the server objects. Servers built on grpc-go object to the third ping that comes too
// early or without a call, and then send clients away that do what Qdrant's client does by default.
func PingIdly(ctx context.Context, addr string, config *tls.Config) error {
	conn, err := dialHTTP2(ctx, addr, config)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("setting a deadline: %w", err)
		}
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return fmt.Errorf("sending the preface: %w", err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return fmt.Errorf("sending settings: %w", err)
	}
	for i := range uint64(10) {
		// Servers may answer a burst at once; real pings come one by one.
		time.Sleep(2 * time.Millisecond)
		var data [8]byte
		binary.BigEndian.PutUint64(data[:], i)
		if err := framer.WritePing(false, data); err != nil {
			return fmt.Errorf("sending ping %d: %w", i+1, err)
		}
		if err := awaitPong(framer, data); err != nil {
			return fmt.Errorf("awaiting the answer to ping %d: %w", i+1, err)
		}
	}
	return nil
}

func dialHTTP2(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	if config == nil {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", addr)
	}
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	dialer := tls.Dialer{Config: config}
	return dialer.DialContext(ctx, "tcp", addr)
}

func awaitPong(framer *http2.Framer, data [8]byte) error {
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return fmt.Errorf("reading a frame: %w", err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				if err := framer.WriteSettingsAck(); err != nil {
					return fmt.Errorf("accepting settings: %w", err)
				}
			}
		case *http2.GoAwayFrame:
			return fmt.Errorf("the server ends the connection: %v %s", frame.ErrCode, frame.DebugData())
		case *http2.PingFrame:
			if frame.IsAck() && frame.Data == data {
				return nil
			}
		}
	}
}

// idle leaves a pool of connections alone for longer than a strict server tolerates, and checks that none of
// them had to be made anew.
func idle(t *testing.T, e *env) {
	t.Helper()
	collection := e.collection(t)
	e.load(t, collection, points(1)...)
	var connections connCounter
	const pool = 3
	client := e.dial(t, func(config *qdrant.Config) {
		config.PoolSize, config.KeepAliveTime = pool, 10
		config.GrpcOptions = append(config.GrpcOptions, grpc.WithStatsHandler(&connections))
	})
	get := func() {
		for range pool {
			if _, err := client.Get(testContext(t), &qdrant.GetPoints{CollectionName: collection, Ids: []*qdrant.PointId{uuidID(1)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	get()
	opened := connections.opened.Load()
	time.Sleep(45 * time.Second)
	get()
	if again := connections.opened.Load() - opened; again > 0 {
		t.Errorf("%d of %d idle connections were lost", again, pool)
	}
}

// connCounter counts connections that a client opens.
type connCounter struct{ opened atomic.Int64 }

func (c *connCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *connCounter) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *connCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *connCounter) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		c.opened.Add(1)
	}
}
