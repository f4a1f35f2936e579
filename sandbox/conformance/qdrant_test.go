package conformance

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	client "github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	"github.com/syncd-io/syncd/syncdtest"
)

// qdrantAddr names a real Qdrant (host:port of its gRPC, no key) that the suite also runs against. Collections that it
// creates there have names that begin with syncd_test_, and are deleted.
const qdrantAddr = "SYNCD_TEST_QDRANT_ADDR"

func TestQdrantChecker(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		syncdtest.TestChecker(t, syncdtest.CheckerHarness{
			Open: func(t *testing.T, present []uuid.UUID) syncd.Checker {
				addr := startQdrant(t).Addr()
				return openQdrant(t, addr, fillQdrant(t, addr, present))
			},
			Empty: func(t *testing.T) syncd.Checker {
				return openQdrant(t, startQdrant(t).Addr(), "syncd_test_none")
			},
			Unreachable: func(t *testing.T) syncd.Checker {
				server := startQdrant(t)
				c := openQdrant(t, server.Addr(), fillQdrant(t, server.Addr(), nil))
				if err := server.Close(); err != nil {
					t.Fatal(err)
				}
				return c
			},
		})
	})
	t.Run("real", func(t *testing.T) {
		addr := os.Getenv(qdrantAddr)
		if addr == "" {
			t.Skip(qdrantAddr + " is not set")
		}
		syncdtest.TestChecker(t, syncdtest.CheckerHarness{
			Open: func(t *testing.T, present []uuid.UUID) syncd.Checker {
				return openQdrant(t, addr, fillQdrant(t, addr, present))
			},
			Empty: func(t *testing.T) syncd.Checker { return openQdrant(t, addr, "syncd_test_none") },
		})
	})
}

func startQdrant(t *testing.T) *qdrantserver.Server {
	t.Helper()
	server, err := qdrantserver.Start(qdrantserver.Config{})
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

func openQdrant(t *testing.T, addr, collection string) syncd.Checker {
	t.Helper()
	conf := qdrant.Plugin().Config().(*qdrant.Config)
	conf.URL, conf.Collection = addr, collection
	conf.BatchSize = 500 // so that the suite's calls take several requests
	conf.Retry = qdrant.Retry{MaxElapsed: time.Second, Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond}
	c, err := qdrant.Plugin().OpenChecker(t.Context(), conf, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fillQdrant creates a collection that holds the given points, until the test ends, and returns its name.
func fillQdrant(t *testing.T, addr string, present []uuid.UUID) string {
	t.Helper()
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewClient(&client.Config{Host: host, Port: port, PoolSize: 1, SkipCompatibilityCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	name := "syncd_test_" + uuid.NewString()
	err = c.CreateCollection(t.Context(), &client.CreateCollection{
		CollectionName: name,
		VectorsConfig:  client.NewVectorsConfig(&client.VectorParams{Size: 1, Distance: client.Distance_Dot}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.DeleteCollection(ctx, name) // fails where the server is gone, and the collection with it
	})
	points := make([]*client.PointStruct, len(present))
	for i, id := range present {
		points[i] = &client.PointStruct{Id: client.NewIDUUID(id.String()), Vectors: client.NewVectors(1)}
	}
	if len(points) == 0 {
		return name
	}
	_, err = c.Upsert(t.Context(), &client.UpsertPoints{CollectionName: name, Points: points, Wait: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	return name
}
