// Package qdrantconn is what the plugins share that talk to Qdrant: how an address is read, the client, and what an error of one
// request means for the next.
package qdrantconn

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const (
	// MaxReceive bounds an answer. A found id takes 42 bytes, so 50,000 take 2.1 MB; gRPC's own limit of 4 MB would be
	// near, and shard keys make an answer longer.
	MaxReceive = 64 << 20
	// The HTTP/2 windows must hold a whole answer, or it waits for the network's round trips.
	streamWindow = 4 << 20
	connWindow   = 8 << 20
	// Pings keep idle connections open through firewalls. Qdrant allows any rate, gRPC's client not less than 10 s.
	keepAliveSeconds        = 30
	keepAliveTimeoutSeconds = 10
)

// bufferSizes are those of the buffers that gRPC shares between calls. It clears a buffer before each use, so the steps are small.
var bufferSizes = []int{1 << 8, 1 << 12, 1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20}

// Buffers returns a pool of the buffers that gRPC shares between calls.
func Buffers() mem.BufferPool { return mem.NewTieredBufferPool(bufferSizes...) }

// Settings says how to connect to an endpoint.
type Settings struct {
	APIKey   string
	TLS      *tls.Config // nil where TLS is off
	PoolSize int
	Buffers  mem.BufferPool

	FirstPause, LongestPause time.Duration // between two attempts to connect
	ConnectTimeout           time.Duration
}

// Client returns a client that connects when it is first asked.
func Client(ep Endpoint, s Settings) (*qdrant.Client, error) {
	return qdrant.NewClient(&qdrant.Config{
		Host: ep.ClientHost(), Port: ep.Port,
		APIKey: s.APIKey,
		UseTLS: ep.TLS, TLSConfig: s.TLS,
		PoolSize:         uint(s.PoolSize),
		KeepAliveTime:    keepAliveSeconds,
		KeepAliveTimeout: keepAliveTimeoutSeconds,
		// The library's check waits a minute for a silent server and then only warns. Its retries ignore how long Qdrant asks to wait.
		SkipCompatibilityCheck: true,
		Logger:                 slog.New(slog.DiscardHandler), // it warns of a key without TLS once per connection
		GrpcOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxReceive)),
			experimental.WithBufferPool(s.Buffers),
			grpc.WithInitialWindowSize(streamWindow),
			grpc.WithInitialConnWindowSize(connWindow),
			// By default gRPC waits up to two minutes before it connects again: longer than a request is retried.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: s.FirstPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: s.LongestPause},
				MinConnectTimeout: s.ConnectTimeout,
			}),
		},
	})
}

// LongestWait is the longest that Qdrant may ask to wait. Its rate limits refill within a minute, so a longer wait
// comes from something that a run should not sleep through. To a shorter one a pause is added: every request in flight is
// told the same time.
const LongestWait = 5 * time.Minute

// Outcome is what an error of one attempt means for the next.
type Outcome uint8

// The outcomes.
const (
	Final     Outcome = iota // asking again would give the same
	Transient                // Qdrant could not be asked, now
	Doubtful                 // an error without a name: it may be either
	Throttled                // Qdrant says when to ask again
	TooMuch                  // less at once may pass
)

// Classify tells the outcomes apart, by code and type alone.
//
// RESOURCE_EXHAUSTED without a time to wait has two causes that last, and halving the batch is right for both: a rate limit that
// so many points can never pass, and a message longer than the client or the server takes. A server that is short of something at
// the moment says the same, so the batch should grow again.
//
// INTERNAL is what Qdrant gives for any error of its own that it has no code for ("Service internal error"): a shard of
// which no replica is alive at the moment, and a broken segment. UNKNOWN and ABORTED it never gives for a read; they come
// from what stands in front of it.
func Classify(err error) (Outcome, time.Duration) {
	s, ok := status.FromError(err)
	if !ok { // not an answer, but what was found wrong with one
		return Final, 0
	}
	switch s.Code() {
	case codes.Internal, codes.Unknown, codes.Aborted:
		return Doubtful, 0
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled: // canceled by the server: the caller's ctx is looked at first
		return Transient, 0
	case codes.ResourceExhausted:
		limited, ok := errors.AsType[*qdrant.QdrantResourceExhaustedError](err)
		if !ok {
			return TooMuch, 0
		}
		// What is negative, or too long for a time.Duration, is no time to wait.
		return Throttled, time.Duration(min(max(limited.RetryAfterS, 0), int(LongestWait/time.Second)+1)) * time.Second
	}
	return Final, 0
}

// Reason is the server's or the transport's own sentence in a gRPC error.
func Reason(err error) string {
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return s.GRPCStatus().Message()
	}
	return err.Error()
}

// Failure is an error whose text was written for people, while its causes stay to be found by errors.Is and errors.As.
// A gRPC error's own text begins with "rpc error: code = Unavailable desc = connection error: desc = " and more.
func Failure(text string, causes ...error) error { return &failure{text, causes} }

type failure struct {
	text   string
	causes []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.causes }
