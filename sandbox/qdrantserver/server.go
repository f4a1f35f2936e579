package qdrantserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// DefaultVersion is the Qdrant version that the server claims, and whose behaviour it imitates.
const DefaultVersion = "1.19.0"

// Config says how a server behaves. The zero value is an open server on a free port of the loopback interface.
type Config struct {
	// Addr is the address to listen on; empty means a free port of 127.0.0.1.
	Addr string
	// APIKey grants everything, ReadOnlyAPIKey only reading. With neither, no key is asked for.
	APIKey, ReadOnlyAPIKey string
	// JWT makes the server also take tokens that are signed with APIKey (see Token), as service.jwt_rbac does.
	JWT bool
	// TLS makes the server speak TLS, and nothing else; it may ask clients for certificates.
	TLS *tls.Config
	// Version is what HealthCheck reports; empty means DefaultVersion. Below 1.19 the server silently drops
	// slice conditions, as those releases do: the trap that a client has to detect from the version. Below 1.16 it drops what is to be
	// kept as a collection's metadata.
	Version string
	// VisibilityDelay postpones updates sent with wait=false, as a busy update queue does, until it is over or
	// until an update with wait=true follows them.
	VisibilityDelay time.Duration
	// Intercept sees every call before authentication; a non-nil error is the answer. It may sleep to add
	// latency, and must return when ctx ends. It runs concurrently.
	Intercept func(ctx context.Context, method string) error
	// Between is called between two operations of a batch, of which those before are done; a non-nil error ends the batch and is the
	// answer. It must return when ctx ends, as it does when the client is gone: Qdrant then leaves the rest of a batch undone.
	Between func(ctx context.Context) error
	// Now replaces the clock of rate limits and of VisibilityDelay.
	Now func() time.Time
}

// Server is a running server. All methods may be called concurrently.
type Server struct {
	cfg      Config
	grpc     *grpc.Server
	listener net.Listener
	served   chan struct{}
	serveErr error // written before served is closed

	// slices says whether the claimed version knows the slice condition.
	slices bool
	// metadata says the same of collections' metadata.
	metadata bool

	mu          sync.RWMutex
	collections map[string]*collection
	aliases     map[string]string // alias → collection

	faults faultScript
	calls  callCounter
}

// Start begins to serve. The caller must Close the server.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Version == "" {
		cfg.Version = DefaultVersion
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	slices, err := since(cfg.Version, 19)
	if err != nil {
		return nil, fmt.Errorf("reading version %q: %w", cfg.Version, err)
	}
	metadata, _ := since(cfg.Version, 16) // it was read before
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", cfg.Addr, err)
	}
	s := &Server{
		cfg:         cfg,
		listener:    listener,
		served:      make(chan struct{}),
		slices:      slices,
		metadata:    metadata,
		collections: map[string]*collection{},
		aliases:     map[string]string{},
	}
	s.grpc = grpc.NewServer(s.options()...)
	qdrant.RegisterQdrantServer(s.grpc, rootService{s: s})
	qdrant.RegisterCollectionsServer(s.grpc, collectionsService{s: s})
	qdrant.RegisterPointsServer(s.grpc, pointsService{s: s})
	healthpb.RegisterHealthServer(s.grpc, healthService{})
	go func() {
		defer close(s.served)
		s.serveErr = s.grpc.Serve(listener)
	}()
	return s, nil
}

func (s *Server) options() []grpc.ServerOption {
	// Hyper, on which Qdrant stands, gives every stream and connection 1 MiB, and Qdrant sets no size limits
	// for gRPC messages.
	const window = 1 << 20
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(math.MaxInt32),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
		// Qdrant never complains about pings. grpc-go by default tolerates one in five minutes, and would
		// send an idle Qdrant client, which pings every ten seconds, away with "too many pings".
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Nanosecond, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.serveUnary),
		grpc.UnknownServiceHandler(s.serveUnknown),
		// Without this, Stop would return while handlers still run, and Close would leak them.
		grpc.WaitForHandlers(true),
	}
	if s.cfg.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	return opts
}

// Addr is the address that the server listens on, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close cuts all connections, waits for running calls and releases the port. Closing twice is harmless.
func (s *Server) Close() error {
	s.grpc.Stop()
	<-s.served
	if s.serveErr != nil && !errors.Is(s.serveErr, grpc.ErrServerStopped) {
		return fmt.Errorf("serving on %s: %w", s.Addr(), s.serveErr)
	}
	return nil
}

// Calls counts the calls of one method (such as qdrant.Points_Get_FullMethodName) since the start, refused
// ones included.
func (s *Server) Calls(method string) int { return s.calls.count(method) }

// CallsByMethod is a snapshot of all counters.
func (s *Server) CallsByMethod() map[string]int { return s.calls.snapshot() }

// FailNext makes the next n calls of a method (a full method name; empty means any) answer err instead of
// reaching the server. Scripts for one method queue up behind each other. A plain status error is enough for
// UNAVAILABLE and the like; RateLimitError adds a retry-after trailer. Without an error, or without calls, nothing is scripted.
func (s *Server) FailNext(method string, n int, err error) { s.faults.add(method, n, err) }

func (s *Server) serveUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, withTrailer(ctx, err)
	}
	resp, err := handler(ctx, req)
	if err != nil {
		return nil, withTrailer(ctx, err)
	}
	return resp, nil
}

// serveUnknown answers for services that the server does not have. Qdrant authenticates before it routes, so
// that a stranger cannot even learn which methods exist.
func (s *Server) serveUnknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	ctx, err := s.admit(stream.Context(), method)
	if err != nil {
		return withTrailer(ctx, err)
	}
	return status.Error(codes.Unimplemented, "")
}

// admit counts the call, plays scripted faults and authenticates.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	s.calls.add(method)
	if err := s.faults.take(method); err != nil {
		return ctx, err
	}
	if s.cfg.Intercept != nil {
		if err := s.cfg.Intercept(ctx, method); err != nil {
			return ctx, err
		}
	}
	return s.authenticate(ctx, method)
}

func withTrailer(ctx context.Context, err error) error {
	var limited *retryAfterError
	if !errors.As(err, &limited) {
		return err
	}
	// The only failure is a call whose headers are already gone, which a unary handler has not sent yet.
	_ = grpc.SetTrailer(ctx, metadata.Pairs("retry-after", strconv.Itoa(limited.seconds)))
	return limited.status.Err()
}

// since reports whether a version x.y.z is at least 1 and that minor one.
func since(version string, minor int) (bool, error) {
	parts := strings.Split(version, ".")
	if len(parts) != 3 {
		return false, errors.New("it must have the form x.y.z")
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false, err
	}
	have, err := strconv.Atoi(parts[1])
	if err != nil {
		return false, err
	}
	return major > 1 || major == 1 && have >= minor, nil
}

// callCounter counts calls by method.
type callCounter struct {
	byMethod sync.Map // string → *atomic.Int64
}

func (c *callCounter) add(method string) {
	n, ok := c.byMethod.Load(method)
	if !ok {
		n, _ = c.byMethod.LoadOrStore(method, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

func (c *callCounter) count(method string) int {
	n, ok := c.byMethod.Load(method)
	if !ok {
		return 0
	}
	return int(n.(*atomic.Int64).Load())
}

func (c *callCounter) snapshot() map[string]int {
	return maps.Collect(func(yield func(string, int) bool) {
		c.byMethod.Range(func(method, n any) bool { return yield(method.(string), int(n.(*atomic.Int64).Load())) })
	})
}

// rootService answers the one method that needs no collection.
type rootService struct {
	qdrant.UnimplementedQdrantServer
	s *Server
}

func (r rootService) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{Title: "qdrant - vector search engine", Version: r.s.cfg.Version}, nil
}

// healthService is always SERVING, whatever the service name: Qdrant keeps no per-service state.
type healthService struct {
	healthpb.UnimplementedHealthServer
}

func (healthService) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}
