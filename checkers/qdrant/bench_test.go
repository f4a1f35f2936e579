package qdrant

import (
	"fmt"
	"net"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/syncd-io/syncd"
)

// The benchmarks compare Check with the loop that a careful programmer would write with the same client library. The
// server sends answers that were encoded beforehand and does not decode requests, so what is measured is the client's
// work and the transport's. ns/id is the wall time of one call after another, on whatever cores there are.

// BenchmarkCheck is the checker.
func BenchmarkCheck(b *testing.B) {
	for _, bc := range benchCases() {
		b.Run(bc.name(), func(b *testing.B) {
			conf := testConfig(bc.serve(b))
			conf.BatchSize = bc.ids
			c, _ := opened(b, conf)
			asked := points(pointIDs(0, bc.ids)...)
			verdicts := make([]syncd.Verdict, bc.ids)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Check(b.Context(), asked, verdicts); err != nil {
					b.Fatal(err)
				}
			}
			bc.report(b, verdicts)
		})
	}
}

// BenchmarkFloor is the loop by hand.
func BenchmarkFloor(b *testing.B) {
	for _, bc := range benchCases() {
		b.Run(bc.name(), func(b *testing.B) {
			c, _ := opened(b, testConfig(bc.serve(b)))
			asked := points(pointIDs(0, bc.ids)...)
			verdicts := make([]syncd.Verdict, bc.ids)
			b.ReportAllocs()
			for b.Loop() {
				ids := make([]*qdrant.PointId, len(asked))
				for i, p := range asked {
					ids[i] = qdrant.NewIDUUID(p.ID.String())
				}
				found, err := c.client.Get(b.Context(), &qdrant.GetPoints{
					CollectionName: collection,
					Ids:            ids,
					WithPayload:    qdrant.NewWithPayload(false),
					WithVectors:    qdrant.NewWithVectors(false),
				})
				if err != nil {
					b.Fatal(err)
				}
				present := make(map[string]struct{}, len(found))
				for _, p := range found {
					present[p.GetId().GetUuid()] = struct{}{}
				}
				for i, id := range ids {
					if _, ok := present[id.GetUuid()]; ok {
						verdicts[i] = syncd.Present
					} else {
						verdicts[i] = syncd.Missing
					}
				}
			}
			bc.report(b, verdicts)
		})
	}
}

type benchCase struct{ ids, present int }

func benchCases() []benchCase {
	return []benchCase{{1000, 1000}, {1000, 500}, {1000, 0}, {5000, 5000}, {5000, 2500}}
}

func (bc benchCase) name() string { return fmt.Sprintf("ids=%d/present=%d", bc.ids, bc.present) }

func (bc benchCase) report(b *testing.B, verdicts []syncd.Verdict) {
	found := 0
	for _, v := range verdicts {
		if v == syncd.Present {
			found++
		}
	}
	if found != bc.present {
		b.Fatalf("%d present, want %d", found, bc.present)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bc.ids), "ns/id")
}

// serve answers as if every k-th of the first ids were there, and returns the address.
func (bc benchCase) serve(b *testing.B) string {
	b.Helper()
	var result []*qdrant.RetrievedPoint
	if bc.present > 0 {
		for i := 0; i < bc.ids; i += bc.ids / bc.present {
			result = append(result, &qdrant.RetrievedPoint{Id: qdrant.NewIDUUID(pointID(i).String())})
		}
	}
	return serveEncoded(b, map[string]proto.Message{qdrant.Points_Get_FullMethodName: &qdrant.GetResponse{Result: result}})
}

// serveEncoded answers each method with its message, encoded once, and returns the address.
func serveEncoded(t testing.TB, messages map[string]proto.Message) string {
	t.Helper()
	answers := map[string]encoded{}
	for method, m := range messages {
		answers[method] = encode(m)
	}
	return serveBytes(t, func(method string) encoded { return answers[method] })
}

func encode(m proto.Message) encoded {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

// serveBytes gives the answer to each call, but for those that open a checker, and returns the address.
func serveBytes(t testing.TB, answer func(method string) encoded) string {
	t.Helper()
	opening := map[string]encoded{
		qdrant.Qdrant_HealthCheck_FullMethodName: encode(&qdrant.HealthCheckReply{Title: "qdrant"}),
		qdrant.Collections_Get_FullMethodName:    encode(&qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{}}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(
		func(_ any, stream grpc.ServerStream) error {
			var request encoded
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			method, _ := grpc.MethodFromServerStream(stream)
			if a, ok := opening[method]; ok {
				return stream.SendMsg(a)
			}
			return stream.SendMsg(answer(method))
		}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-ended })
	return l.Addr().String()
}

// encoded is a message that stays as it is on the wire.
type encoded []byte

type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(encoded))}, nil
}
func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
func (rawCodec) Name() string                         { return "proto" }
