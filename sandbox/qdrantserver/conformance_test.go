package qdrantserver_test

import (
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	"github.com/syncd-io/syncd/sandbox/qdrantserver/qdranttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg qdrantserver.Config) *qdrantserver.Server {
	t.Helper()
	server, err := qdrantserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func slow() bool { return os.Getenv("SYNCD_TEST_SLOW") == "1" }

func TestConformance(t *testing.T) {
	const key, readOnly = "secret", "secret-for-reading"
	server := start(t, qdrantserver.Config{APIKey: key, ReadOnlyAPIKey: readOnly})
	qdranttest.Run(t, qdranttest.Target{Addr: server.Addr(), APIKey: key, ReadOnlyAPIKey: readOnly, Slow: slow()})
}

// TestConformanceOfRealQdrant keeps the suite honest, and with it the embedded server.
func TestConformanceOfRealQdrant(t *testing.T) {
	addr := os.Getenv("SYNCD_TEST_QDRANT_ADDR")
	if addr == "" {
		t.Skip("SYNCD_TEST_QDRANT_ADDR (host:port of a Qdrant's gRPC) is not set")
	}
	qdranttest.Run(t, qdranttest.Target{
		Addr:           addr,
		APIKey:         os.Getenv("SYNCD_TEST_QDRANT_API_KEY"),
		ReadOnlyAPIKey: os.Getenv("SYNCD_TEST_QDRANT_READ_ONLY_API_KEY"),
		Slow:           slow(),
	})
}

// TestPingsAreRefusedWithoutPolicy shows that case 61 can fail: this is a server without our keepalive policy.
func TestPingsAreRefusedWithoutPolicy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	if err := qdranttest.PingIdly(t.Context(), listener.Addr().String(), nil); err == nil {
		t.Error("a server with grpc-go's default policy accepts pings of idle clients; case 61 proves nothing")
	}
}
