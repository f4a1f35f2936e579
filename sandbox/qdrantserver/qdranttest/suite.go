package qdranttest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
)

// Target is a server under test.
type Target struct {
	// Addr is its gRPC address, as host:port.
	Addr string
	// APIKey and ReadOnlyAPIKey are the keys that it is configured with, empty without.
	APIKey, ReadOnlyAPIKey string
	// TLS is how to reach it, nil for plain text.
	TLS *tls.Config
	// Skip excuses cases by number, with the reason that the test log then gives.
	Skip map[int]string
	// Slow permits cases that have to wait in real time, for most of a minute.
	Slow bool
}

// testCase is one numbered statement about Qdrant.
type testCase struct {
	number int
	title  string
	run    func(*testing.T, *env)
}

// Run checks all statements against a target, one subtest each.
func Run(t *testing.T, target Target) {
	t.Helper()
	version := serverVersion(t, target)
	excused := exceptions(target, version)
	for _, list := range [][]testCase{
		serviceCases(), collectionCases(), aliasCases(), upsertCases(), getCases(), scrollCases(), filterCases(), changeCases(), limitCases(), transportCases(),
	} {
		for _, c := range list {
			t.Run(fmt.Sprintf("%02d %s", c.number, c.title), func(t *testing.T) {
				if reason := excused[c.number]; reason != "" {
					t.Skip(reason)
				}
				e := &env{target: target, number: c.number}
				e.client = e.dial(t, nil)
				c.run(t, e)
			})
		}
	}
}

// exceptions are the cases that a target's configuration or version rules out, beside those it excuses itself.
func exceptions(target Target, version string) map[int]string {
	excused := map[int]string{}
	if target.APIKey == "" {
		excused[59] = "needs a server that is configured with an API key"
	}
	if before(version, 1, 19) {
		excused[48] = "the slice condition needs Qdrant 1.19, this is " + version
	}
	if before(version, 1, 16) {
		excused[66] = "collections have metadata since Qdrant 1.16, this is " + version
	}
	if before(version, 1, 18) {
		excused[10] = "collections are listed by name since Qdrant 1.18, this is " + version
	}
	for number, reason := range target.Skip {
		excused[number] = reason
	}
	return excused
}

func serverVersion(t *testing.T, target Target) string {
	t.Helper()
	e := &env{target: target}
	reply, err := e.dial(t, nil).HealthCheck(testContext(t))
	if err != nil {
		t.Fatalf("asking %s for its version: %v", target.Addr, err)
	}
	return reply.GetVersion()
}

func before(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	gotMajor, err1 := strconv.Atoi(parts[0])
	gotMinor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (gotMajor < major || gotMajor == major && gotMinor < minor)
}

// env is what a case works with.
type env struct {
	target Target
	number int
	client *qdrant.Client
}

// dial makes a client that is closed with the test; adjust may change its configuration.
func (e *env) dial(t *testing.T, adjust func(*qdrant.Config)) *qdrant.Client {
	t.Helper()
	host, portText, err := net.SplitHostPort(e.target.Addr)
	if err != nil {
		t.Fatalf("splitting address %q: %v", e.target.Addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatalf("reading port of %q: %v", e.target.Addr, err)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // the client joins host and port itself, without brackets
	}
	config := &qdrant.Config{
		Host: host, Port: port, APIKey: e.target.APIKey,
		UseTLS: e.target.TLS != nil, TLSConfig: e.target.TLS,
		SkipCompatibilityCheck: true, PoolSize: 1, Logger: slog.New(slog.DiscardHandler),
	}
	if adjust != nil {
		adjust(config)
	}
	client, err := qdrant.NewClient(config)
	if err != nil {
		t.Fatalf("making a client for %s: %v", e.target.Addr, err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// largeAnswers lifts the client's own limit on the size of a message.
func largeAnswers(config *qdrant.Config) {
	config.GrpcOptions = append(config.GrpcOptions, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// newName is a name that nobody else uses.
func (e *env) newName() string {
	return fmt.Sprintf("conformance_%02d_%s", e.number, uuid.NewString())
}

// collection makes an empty collection with one unnamed vector of 4 dimensions, compared by cosine.
func (e *env) collection(t *testing.T) string {
	t.Helper()
	name := e.newName()
	e.create(t, e.createRequest(name))
	return name
}

func (e *env) createRequest(name string) *qdrant.CreateCollection {
	return &qdrant.CreateCollection{
		CollectionName: name,
		VectorsConfig:  qdrant.NewVectorsConfig(&qdrant.VectorParams{Size: 4, Distance: qdrant.Distance_Cosine}),
	}
}

func (e *env) create(t *testing.T, req *qdrant.CreateCollection) *qdrant.CollectionOperationResponse {
	t.Helper()
	resp, err := e.client.GetCollectionsClient().Create(testContext(t), req)
	if err != nil {
		t.Fatalf("creating collection %s: %v", req.GetCollectionName(), err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := e.client.GetCollectionsClient().Delete(ctx, &qdrant.DeleteCollection{CollectionName: req.GetCollectionName()})
		if err != nil {
			t.Errorf("deleting collection %s: %v", req.GetCollectionName(), err)
		}
	})
	return resp
}

// load upserts points and waits.
func (e *env) load(t *testing.T, collection string, points ...*qdrant.PointStruct) {
	t.Helper()
	const batch = 10_000
	for ; len(points) > 0; points = points[min(batch, len(points)):] {
		e.upsert(t, collection, points[:min(batch, len(points))]...)
	}
}

func (e *env) upsert(t *testing.T, collection string, points ...*qdrant.PointStruct) {
	t.Helper()
	_, err := e.client.GetPointsClient().Upsert(testContext(t), &qdrant.UpsertPoints{
		CollectionName: collection, Wait: qdrant.PtrOf(true), Points: points,
	})
	if err != nil {
		t.Fatalf("loading %d points into %s: %v", len(points), collection, err)
	}
}

// get asks for points with the given selector for payloads.
func (e *env) get(t *testing.T, collection string, payload *qdrant.WithPayloadSelector, ids ...*qdrant.PointId) []*qdrant.RetrievedPoint {
	t.Helper()
	resp, err := e.client.GetPointsClient().Get(testContext(t), &qdrant.GetPoints{
		CollectionName: collection, Ids: ids, WithPayload: payload,
	})
	if err != nil {
		t.Fatalf("getting %d points from %s: %v", len(ids), collection, err)
	}
	return resp.GetResult()
}

func (e *env) scroll(t *testing.T, req *qdrant.ScrollPoints) *qdrant.ScrollResponse {
	t.Helper()
	resp, err := e.client.GetPointsClient().Scroll(testContext(t), req)
	if err != nil {
		t.Fatalf("scrolling %s: %v", req.GetCollectionName(), err)
	}
	return resp
}

// matching is the ids that a filter selects, in order.
func (e *env) matching(t *testing.T, collection string, filter *qdrant.Filter) []string {
	t.Helper()
	return idsOf(e.scroll(t, &qdrant.ScrollPoints{
		CollectionName: collection, Filter: filter, Limit: qdrant.PtrOf(uint32(1000)), WithPayload: qdrant.NewWithPayload(false),
	}).GetResult())
}
