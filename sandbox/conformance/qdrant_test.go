package conformance

import (
	"context"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
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
				return openQdrant(t, addr, fillQdrant(t, addr, bare(present)...))
			},
			OpenPayload: func(t *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker {
				addr := startQdrant(t).Addr()
				return openQdrant(t, addr, fillQdrant(t, addr, withPayload(points)...))
			},
			Empty: func(t *testing.T) syncd.Checker {
				return openQdrant(t, startQdrant(t).Addr(), "syncd_test_none")
			},
			Unreachable: func(t *testing.T) syncd.Checker {
				server := startQdrantAt(t, goneAddr())
				c := openQdrant(t, server.Addr(), fillQdrant(t, server.Addr()))
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
				return openQdrant(t, addr, fillQdrant(t, addr, bare(present)...))
			},
			OpenPayload: func(t *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker {
				return openQdrant(t, addr, fillQdrant(t, addr, withPayload(points)...))
			},
			Empty: func(t *testing.T) syncd.Checker { return openQdrant(t, addr, "syncd_test_none") },
		})
	})
}

// goneAddr is for a server that is closed while it is still asked. Where the system has many loopback addresses it is one at which no other
// test has its servers, which could be given its port.
func goneAddr() string {
	if runtime.GOOS == "linux" {
		return "127.127.0.1:0"
	}
	return ""
}

func startQdrant(t *testing.T) *qdrantserver.Server {
	t.Helper()
	return startQdrantAt(t, "")
}

func startQdrantAt(t *testing.T, addr string) *qdrantserver.Server {
	t.Helper()
	server, err := qdrantserver.Start(qdrantserver.Config{Addr: addr})
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

// bare makes points of ids alone.
func bare(ids []uuid.UUID) []*client.PointStruct {
	points := make([]*client.PointStruct, len(ids))
	for i, id := range ids {
		points[i] = &client.PointStruct{Id: client.NewIDUUID(id.String())}
	}
	return points
}

// withPayload makes points with texts under dotted names.
func withPayload(texts map[uuid.UUID]map[string]string) []*client.PointStruct {
	points := make([]*client.PointStruct, 0, len(texts))
	for id, fields := range texts {
		payload := map[string]*client.Value{}
		for path, text := range fields {
			at := payload
			names := strings.Split(path, ".")
			for _, name := range names[:len(names)-1] {
				if at[name] == nil {
					at[name] = client.NewValueStruct(&client.Struct{Fields: map[string]*client.Value{}})
				}
				at = at[name].GetStructValue().GetFields()
			}
			at[names[len(names)-1]] = client.NewValueString(text)
		}
		points = append(points, &client.PointStruct{Id: client.NewIDUUID(id.String()), Payload: payload})
	}
	return points
}

// TestQdrantListing has what the suite can't store: ids that are numbers, and values that are no texts.
func TestQdrantListing(t *testing.T) {
	addrs := map[string]string{"embedded": startQdrant(t).Addr()}
	if addr := os.Getenv(qdrantAddr); addr != "" {
		addrs["real"] = addr
	}
	for name, addr := range addrs {
		t.Run(name, func(t *testing.T) { testQdrantListing(t, addr) })
	}
}

func testQdrantListing(t *testing.T, addr string) {
	values := map[string]*client.Value{
		"kind": client.NewValueString("page"), "n": client.NewValueInt(7), "f": client.NewValueDouble(1718000000123), "b": client.NewValueBool(true),
		"null": client.NewValueNull(), "tags": client.NewValueList(&client.ListValue{Values: []*client.Value{client.NewValueString("x"), client.NewValueInt(7)}}),
		"two words": client.NewValueString("quoted"),
		"o":         client.NewValueStruct(&client.Struct{Fields: map[string]*client.Value{"$date": client.NewValueString("2024")}}),
	}
	var points []*client.PointStruct
	for i := range uint64(2000) {
		points = append(points, &client.PointStruct{Id: client.NewIDNum(i), Payload: values})
	}
	id, first := uuid.MustParse("6ba7b811-9dad-51d1-80b4-00c04fd430c8"), uuid.UUID{}
	points = append(points,
		&client.PointStruct{Id: client.NewIDUUID(id.String()), Payload: values}, &client.PointStruct{Id: client.NewIDUUID(first.String())})
	checker := openQdrant(t, addr, fillQdrant(t, addr, points...))
	defer checker.Close()

	keys := []string{"kind", "n", "f", "b", "null", "tags", "two words", "o", "o.$date"}
	want := []syncd.Value{
		{Text: "page", Set: true}, {Text: "7", Set: true}, {Text: "1718000000123", Set: true}, {Text: "true", Set: true}, {},
		{Text: `["x",7]`, Set: true}, {Text: "quoted", Set: true}, {Text: `{"$date":"2024"}`, Set: true}, {Text: "2024", Set: true},
	}
	found := make([]syncd.Found, 1)
	if err := checker.Abilities().Read(t.Context(), []syncd.Point{{ID: id}}, keys, found); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found[0].Payload, want) {
		t.Errorf("read %+v\nwant %+v", found[0].Payload, want)
	}
	for _, c := range []struct {
		match map[string]string
		want  []uuid.UUID
	}{
		{nil, []uuid.UUID{first, id}},
		{map[string]string{"kind": "page"}, []uuid.UUID{id}},
		{map[string]string{"n": "7", "b": "true"}, []uuid.UUID{id}},
		{map[string]string{"tags": "x"}, []uuid.UUID{id}},
		{map[string]string{"tags": "7"}, []uuid.UUID{id}},
		{map[string]string{"two words": "quoted"}, []uuid.UUID{id}},
		{map[string]string{"n": "07"}, nil},
		{map[string]string{"n": "8"}, nil},
	} {
		var got []uuid.UUID
		for batch, err := range checker.Abilities().List(t.Context(), syncd.ListRequest{Match: c.match, Keys: keys, Parts: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range batch {
				got = append(got, p.ID)
				if p.ID == id && !slices.Equal(p.Payload, want) {
					t.Errorf("listed %+v\nwant %+v", p.Payload, want)
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("matching %q: %v, want %v", c.match, got, c.want)
		}
	}
}

// fillQdrant creates a collection that holds the given points, until the test ends, and returns its name.
func fillQdrant(t *testing.T, addr string, points ...*client.PointStruct) string {
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
	for part := range slices.Chunk(points, 1000) {
		for _, p := range part {
			p.Vectors = client.NewVectors(1)
		}
		_, err = c.Upsert(t.Context(), &client.UpsertPoints{CollectionName: name, Points: part, Wait: new(true)})
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}
