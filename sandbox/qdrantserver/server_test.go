package qdrantserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// dial makes a client, closed with the test, and the collection c.
func dial(t *testing.T, server *qdrantserver.Server, adjust func(*qdrant.Config)) *qdrant.Client {
	t.Helper()
	client, err := newClient(server.Addr(), adjust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := createCollection(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	return client
}

func newClient(addr string, adjust func(*qdrant.Config)) (*qdrant.Client, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("splitting address: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("reading port: %w", err)
	}
	config := &qdrant.Config{Host: host, Port: port, SkipCompatibilityCheck: true, PoolSize: 1, Logger: slog.New(slog.DiscardHandler)}
	if adjust != nil {
		adjust(config)
	}
	return qdrant.NewClient(config)
}

// createCollection makes the collection c with vectors of two dimensions.
func createCollection(ctx context.Context, client *qdrant.Client) error {
	return client.CreateCollection(ctx, &qdrant.CreateCollection{
		CollectionName: "c",
		VectorsConfig:  qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 2, Distance: qdrant.Distance_Cosine}),
	})
}

func upsert(t *testing.T, client *qdrant.Client, wait bool, points ...*qdrant.PointStruct) *qdrant.UpdateResult {
	t.Helper()
	result, err := client.Upsert(t.Context(), &qdrant.UpsertPoints{CollectionName: "c", Wait: &wait, Points: points})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func point(n uint64, payload map[string]any) *qdrant.PointStruct {
	return &qdrant.PointStruct{Id: qdrant.NewIDNum(n), Payload: qdrant.NewValueMap(payload), Vectors: qdrant.NewVectors(3, 4)}
}

// matching is the numbers of the points that a filter selects.
func matching(t *testing.T, client *qdrant.Client, filter *qdrant.Filter) []uint64 {
	t.Helper()
	found, err := client.Scroll(t.Context(), &qdrant.ScrollPoints{CollectionName: "c", Filter: filter, Limit: qdrant.PtrOf(uint32(1000))})
	if err != nil {
		t.Fatal(err)
	}
	numbers := []uint64{}
	for _, p := range found {
		numbers = append(numbers, p.GetId().GetNum())
	}
	return numbers
}

// clock is a clock that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestCloseTwice(t *testing.T) {
	server := start(t, qdrantserver.Config{}) // closes it as well
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", server.Addr()); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
}

func TestCloseEndsRunningCalls(t *testing.T) {
	entered := make(chan struct{})
	server := start(t, qdrantserver.Config{Intercept: func(ctx context.Context, method string) error {
		if method != qdrant.Points_Get_FullMethodName {
			return nil
		}
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}})
	client := dial(t, server, nil)
	done := make(chan error, 1)
	go func() {
		_, err := client.Get(context.Background(), &qdrant.GetPoints{CollectionName: "c"})
		done <- err
	}()
	<-entered
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("the call succeeded")
	}
}

func TestStartErrors(t *testing.T) {
	server := start(t, qdrantserver.Config{})
	for _, cfg := range []qdrantserver.Config{{Addr: server.Addr()}, {Version: "latest"}, {Version: "1.x.0"}} {
		if another, err := qdrantserver.Start(cfg); err == nil {
			another.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

func TestScriptedFaults(t *testing.T) {
	server := start(t, qdrantserver.Config{})
	client := dial(t, server, nil)
	get := func() error {
		_, err := client.Get(t.Context(), &qdrant.GetPoints{CollectionName: "c"})
		return err
	}
	server.FailNext(qdrant.Points_Get_FullMethodName, 2, status.Error(codes.Unavailable, "gone"))
	server.FailNext(qdrant.Points_Get_FullMethodName, 1, qdrantserver.RateLimitError(1500*time.Millisecond))
	if _, err := client.Count(t.Context(), &qdrant.CountPoints{CollectionName: "c"}); err != nil {
		t.Errorf("another method fails: %v", err)
	}
	for range 2 {
		if err := get(); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want UNAVAILABLE", err)
		}
	}
	var limited *qdrant.QdrantResourceExhaustedError
	if err := get(); !errors.As(err, &limited) || limited.RetryAfterS != 2 {
		t.Errorf("got %v, want a rate limit with two seconds to wait", err)
	}
	if err := get(); err != nil {
		t.Errorf("the script is over, but: %v", err)
	}
	if got := server.Calls(qdrant.Points_Get_FullMethodName); got != 4 {
		t.Errorf("counted %d calls of Get, want 4", got)
	}
	want := map[string]int{
		qdrant.Points_Get_FullMethodName: 4, qdrant.Points_Count_FullMethodName: 1, qdrant.Collections_Create_FullMethodName: 1,
	}
	if diff := cmp.Diff(want, server.CallsByMethod()); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
}

func TestVisibilityDelay(t *testing.T) {
	clock := newClock()
	client := dial(t, start(t, qdrantserver.Config{VisibilityDelay: time.Minute, Now: clock.Now}), nil)
	want := func(when string, numbers ...uint64) {
		t.Helper()
		if diff := cmp.Diff(numbers, matching(t, client, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	upsert(t, client, false, point(1, nil))
	clock.advance(30 * time.Second)
	upsert(t, client, false, point(2, nil))
	info, err := client.GetCollectionInfo(t.Context(), "c")
	if err != nil || info.GetUpdateQueue().GetLength() != 2 || info.GetPointsCount() != 0 {
		t.Errorf("got info %v and error %v, want two queued updates", info, err)
	}
	clock.advance(30 * time.Second)
	want("after the first minute", 1)
	clock.advance(30 * time.Second)
	want("after both", 1, 2)
	upsert(t, client, false, point(3, nil))
	if got := upsert(t, client, true, point(4, nil)); got.GetOperationId() != 3 {
		t.Errorf("the fourth operation has id %d, want 3", got.GetOperationId())
	}
	want("waiting for one update makes the earlier ones visible", 1, 2, 3, 4)
}

func TestRateLimitRefills(t *testing.T) {
	clock := newClock()
	client := dial(t, start(t, qdrantserver.Config{Now: clock.Now}), nil)
	err := client.UpdateCollection(t.Context(), &qdrant.UpdateCollection{CollectionName: "c", StrictModeConfig: &qdrant.StrictModeConfig{
		Enabled: qdrant.PtrOf(true), ReadRateLimit: qdrant.PtrOf(uint32(60)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(n int) error {
		ids := make([]*qdrant.PointId, n)
		for i := range ids {
			ids[i] = qdrant.NewIDNum(uint64(i))
		}
		_, err := client.Get(t.Context(), &qdrant.GetPoints{CollectionName: "c", Ids: ids})
		return err
	}
	if err := get(60); err != nil {
		t.Fatal(err)
	}
	clock.advance(10 * time.Second)
	var limited *qdrant.QdrantResourceExhaustedError
	if err := get(15); !errors.As(err, &limited) {
		t.Fatalf("got %v, want a rate limit", err)
	}
	want := "Rate limiting exceeded: Read rate limit exceeded: Operation requires 15 tokens but only 10.0 were available. Retry after 5s"
	if limited.RetryAfterS != 5 || limited.Reason != want {
		t.Errorf("got %d s and %q, want 5 s and %q", limited.RetryAfterS, limited.Reason, want)
	}
	// Scroll costs one token, and one for its condition.
	filter := &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewMatch("a", "b")}}
	matching(t, client, filter)
	if err := get(8); err != nil {
		t.Errorf("8 tokens should be left: %v", err)
	}
	if err := get(1); !errors.As(err, &limited) {
		t.Errorf("got %v, want a rate limit", err)
	}
}

// TestSlicesOfOlderVersions: a server that does not know slices returns everything, without an error.
func TestSlicesOfOlderVersions(t *testing.T) {
	slice := &qdrant.Filter{Must: []*qdrant.Condition{qdrant.NewSlice(2, 0)}}
	for version, knows := range map[string]bool{"1.18.3": false, "1.19.0": true, "2.0.0": true} {
		client := dial(t, start(t, qdrantserver.Config{Version: version}), nil)
		for i := range uint64(10) {
			upsert(t, client, true, point(i, nil))
		}
		if got := matching(t, client, slice); (len(got) < 10) != knows {
			t.Errorf("%s: one of two slices has the points %v", version, got)
		}
	}
}

func TestTLS(t *testing.T) {
	server, pool := certificate(t)
	client := dial(t, start(t, qdrantserver.Config{TLS: server}), func(config *qdrant.Config) {
		config.UseTLS, config.TLSConfig = true, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	})
	upsert(t, client, true, point(1, nil))
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestConcurrentReadersAndWriters(t *testing.T) {
	client := dial(t, start(t, qdrantserver.Config{}), nil)
	var group sync.WaitGroup
	for worker := range uint64(4) {
		group.Go(func() {
			for i := range uint64(50) {
				upsert(t, client, i%2 == 0, point(worker*1000+i, map[string]any{"worker": int(worker)}))
				matching(t, client, nil)
				_, err := client.Delete(t.Context(), &qdrant.DeletePoints{CollectionName: "c", Points: qdrant.NewPointsSelector(qdrant.NewIDNum(worker*1000 + i/2))})
				if err != nil {
					t.Error(err)
				}
				if _, err := client.GetCollectionInfo(t.Context(), "c"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := len(matching(t, client, nil)); got != 4*25 {
		t.Errorf("%d points are left, want 100", got)
	}
}
