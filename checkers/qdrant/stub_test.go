package qdrant

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
)

// stub answers as Qdrant does where nothing was scripted. Its fields are set before it starts.
type stub struct {
	title      string
	missing    bool   // the collection
	key        string // that must be sent, except to HealthCheck
	points     uint64 // points_count, if not the number of points
	deferred   uint64
	health     error
	info       error
	count      error
	get        func(call int, req *qdrant.GetPoints) (*qdrant.GetResponse, error)       // nil, nil: answer as usual
	scroll     func(call int, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) // likewise
	query      func(req *qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error)   // nil: answers as usual
	retryAfter string                                                                   // sent with every error of get
	strict     *qdrant.StrictModeConfig

	mu      sync.Mutex
	present map[string]bool
	payload map[string]map[string]*qdrant.Value
	gets    []*qdrant.GetPoints
	scrolls []*qdrant.ScrollPoints
	batches []*qdrant.QueryBatchPoints
	counts  []*qdrant.CountPoints
}

const collection = "pms_collection"

func newStub(present ...uuid.UUID) *stub {
	s := &stub{title: "qdrant - vector search engine", present: map[string]bool{}}
	for _, id := range present {
		s.present[id.String()] = true
	}
	return s
}

// start serves s and returns its address.
func (s *stub) start(t testing.TB, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t, l, opts...)
	return l.Addr().String()
}

func (s *stub) serve(t testing.TB, l net.Listener, opts ...grpc.ServerOption) {
	server := grpc.NewServer(opts...)
	s.register(server)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-ended })
}

func (s *stub) register(server *grpc.Server) {
	qdrant.RegisterQdrantServer(server, qdrantStub{stub: s})
	qdrant.RegisterCollectionsServer(server, collectionsStub{stub: s})
	qdrant.RegisterPointsServer(server, pointsStub{stub: s})
}

func (s *stub) requests() []*qdrant.GetPoints {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

func (s *stub) authorize(ctx context.Context) error {
	if s.key == "" {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	switch sent := strings.Join(md.Get("api-key"), ","); sent {
	case s.key:
		return nil
	case "":
		return status.Error(codes.Unauthenticated, "Must provide an API key or an Authorization bearer token")
	case "expired":
		return status.Error(codes.PermissionDenied, "ExpiredSignature")
	default: // the real one does not quote the key; a proxy might
		return status.Error(codes.Unauthenticated, "Invalid API key or JWT: "+sent)
	}
}

func (s *stub) exists() error {
	if s.missing {
		return status.Errorf(codes.NotFound, "Not found: Collection `%s` doesn't exist!", collection)
	}
	return nil
}

type qdrantStub struct {
	qdrant.UnimplementedQdrantServer
	*stub
}

func (s qdrantStub) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{Title: s.title, Version: "1.19.0"}, s.health
}

type collectionsStub struct {
	qdrant.UnimplementedCollectionsServer
	*stub
}

func (s collectionsStub) Get(ctx context.Context, _ *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if err := s.exists(); err != nil {
		return nil, err
	}
	n := s.points
	if n == 0 {
		n = uint64(len(s.present))
	}
	return &qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{
		PointsCount: &n, UpdateQueue: &qdrant.UpdateQueueInfo{DeferredPoints: &s.deferred},
		Config: &qdrant.CollectionConfig{StrictModeConfig: s.strict},
	}}, s.info
}

type pointsStub struct {
	qdrant.UnimplementedPointsServer
	*stub
}

func (s pointsStub) Get(ctx context.Context, req *qdrant.GetPoints) (*qdrant.GetResponse, error) {
	s.mu.Lock()
	call := len(s.gets)
	s.gets = append(s.gets, req)
	s.mu.Unlock()
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if s.get != nil {
		r, err := s.get(call, req)
		if err != nil && s.retryAfter != "" {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("retry-after", s.retryAfter))
		}
		if r != nil || err != nil {
			return r, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.exists(); err != nil {
		return nil, err
	}
	r := &qdrant.GetResponse{}
	covered := map[string]bool{}
	for _, id := range req.GetIds() {
		if u := id.GetUuid(); s.present[u] && !covered[u] {
			covered[u] = true
			r.Result = append(r.Result, &qdrant.RetrievedPoint{Id: id, Payload: included(s.payload[u], req.GetWithPayload())})
		}
	}
	return r, nil
}

func (s pointsStub) Count(_ context.Context, req *qdrant.CountPoints) (*qdrant.CountResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = append(s.counts, req)
	return &qdrant.CountResponse{Result: &qdrant.CountResult{Count: uint64(len(s.present))}}, s.count
}

// testConfig reaches the stub at addr, and never waits long.
func testConfig(addr string) Config {
	conf := defaults()
	conf.URL = addr
	conf.ConnectTimeout = 5 * time.Second
	return conf
}

// opened opens a checker that closes with the test. Its clock moves only while it sleeps, which takes no time.
func opened(t testing.TB, conf Config) (*checker, *pauses) {
	t.Helper()
	c, err := open(t.Context(), conf, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &pauses{now: time.Unix(0, 0)}
	c.clock = retry.Clock{Now: p.clock, Sleep: p.sleep}
	return c, p
}

// pauses is a clock that only sleep moves.
type pauses struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func (p *pauses) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slept = append(p.slept, d)
	p.now = p.now.Add(d)
	return ctx.Err()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// recorded gives a logger and what it wrote.
func recorded() (*slog.Logger, *strings.Builder) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(io.Writer(&b), &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

// pointID is the i-th of the points that tests use.
func pointID(i int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte{byte(i), byte(i >> 8), byte(i >> 16)})
}

func pointIDs(from, to int) []uuid.UUID {
	out := make([]uuid.UUID, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, pointID(i))
	}
	return out
}

func points(ids ...uuid.UUID) []syncd.Point {
	out := make([]syncd.Point, len(ids))
	for i, id := range ids {
		out[i].ID = id
	}
	return out
}

// check asks and returns the verdicts.
func check(t testing.TB, c syncd.Checker, ids ...uuid.UUID) ([]syncd.Verdict, error) {
	t.Helper()
	verdicts := make([]syncd.Verdict, len(ids))
	err := c.Check(t.Context(), points(ids...), verdicts)
	return verdicts, err
}
