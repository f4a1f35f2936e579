package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// oracle is a Qdrant-protocol server without points: a point id is a hash, so whether it is there can be read off its last
// byte. It works on encoded messages, so that it costs little beside its client.
type oracle struct {
	grpc   *grpc.Server
	addr   string
	absent int             // of 256 ids, so many are missing
	lacks  map[string]bool // texts of further ids that are missing; set while nothing is asked
	points uint64
	listed []listedPoint            // sorted by id; only where points are listed
	byType map[string][]listedPoint // what is listed of each content type instead; set before the first request
}

// listedPoint is a point that Scroll gives, and its document.
type listedPoint struct {
	id  uuid.UUID
	oid [12]byte
}

// startOracle serves on a free port. Of 256 points, absent are missing.
// listed, if any, are what Scroll gives, in the order of their ids.
func startOracle(ctx context.Context, absent int, points uint64, listed []listedPoint) (*oracle, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	o := &oracle{addr: l.Addr().String(), absent: absent, points: points, listed: listed}
	o.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(o.serve),
		grpc.MaxRecvMsgSize(1<<30), grpc.MaxSendMsgSize(1<<30), grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(8<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 1, PermitWithoutStream: true}),
	)
	go func() { _ = o.grpc.Serve(l) }()
	return o, nil
}

func (o *oracle) stop() { o.grpc.Stop() }

// rawCodec passes messages as bytes.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawCodec{}

func (o *oracle) serve(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var req []byte
	if err := stream.RecvMsg(&req); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	resp, err := o.answer(method, req)
	if err != nil {
		return err
	}
	return stream.SendMsg(&resp)
}

func (o *oracle) answer(method string, req []byte) ([]byte, error) {
	switch method {
	case qdrant.Points_Get_FullMethodName:
		return o.get(req)
	case qdrant.Points_Scroll_FullMethodName:
		return o.scroll(req)
	case qdrant.Points_QueryBatch_FullMethodName:
		return o.queryBatch(req)
	case qdrant.Points_Count_FullMethodName:
		return proto.Marshal(&qdrant.CountResponse{Result: &qdrant.CountResult{Count: o.points}})
	case qdrant.Collections_Get_FullMethodName:
		return proto.Marshal(&qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{
			Status: qdrant.CollectionStatus_Green, PointsCount: &o.points,
		}})
	case qdrant.Collections_CollectionExists_FullMethodName:
		return proto.Marshal(&qdrant.CollectionExistsResponse{Result: &qdrant.CollectionExists{Exists: true}})
	case qdrant.Qdrant_HealthCheck_FullMethodName:
		return proto.Marshal(&qdrant.HealthCheckReply{Title: "qdrant - vector search engine", Version: "1.19.0"})
	}
	return nil, fmt.Errorf("unexpected call of %s", method)
}

// scroll answers Points.Scroll, whatever the filter, with what the described indexer keeps in a payload.
func (o *oracle) scroll(req []byte) ([]byte, error) {
	var in qdrant.ScrollPoints
	if err := proto.Unmarshal(req, &in); err != nil {
		return nil, err
	}
	if o.byType != nil {
		return proto.Marshal(shown(o.byType[wantedType(in.GetFilter())], int(in.GetLimit())))
	}
	start := 0
	if text := in.GetOffset().GetUuid(); text != "" {
		from, err := uuid.Parse(text)
		if err != nil {
			return nil, err
		}
		start, _ = slices.BinarySearchFunc(o.listed, from, func(p listedPoint, id uuid.UUID) int { return bytes.Compare(p.id[:], id[:]) })
	}
	end := min(len(o.listed), start+int(in.GetLimit()))
	out := shown(o.listed[start:], end-start)
	if end < len(o.listed) {
		out.NextPageOffset = qdrant.NewIDUUID(o.listed[end].id.String())
	}
	return proto.Marshal(out)
}

// queryBatch answers Points.QueryBatch, whose queries are for nothing but points of a content type.
func (o *oracle) queryBatch(req []byte) ([]byte, error) {
	var in qdrant.QueryBatchPoints
	if err := proto.Unmarshal(req, &in); err != nil {
		return nil, err
	}
	out := &qdrant.QueryBatchResponse{}
	for _, q := range in.GetQueryPoints() {
		points := o.listed
		if o.byType != nil {
			points = o.byType[wantedType(q.GetFilter())]
		}
		result := &qdrant.BatchResult{}
		for _, p := range shown(points, int(q.GetLimit())).GetResult() {
			result.Result = append(result.Result, &qdrant.ScoredPoint{Id: p.GetId(), Payload: p.GetPayload()})
		}
		out.Result = append(out.Result, result)
	}
	return proto.Marshal(out)
}

// shown is an answer with up to n points.
func shown(points []listedPoint, n int) *qdrant.ScrollResponse {
	out := &qdrant.ScrollResponse{}
	for _, p := range points[:min(n, len(points))] {
		out.Result = append(out.Result, &qdrant.RetrievedPoint{Id: qdrant.NewIDUUID(p.id.String()), Payload: map[string]*qdrant.Value{
			"mongo_id": qdrant.NewValueString(hex.EncodeToString(p.oid[:])), "chunk_index": qdrant.NewValueInt(0),
		}})
	}
	return out
}

// wantedType is the content type that a filter asks for, as the program asks.
func wantedType(f *qdrant.Filter) string {
	for _, c := range f.GetMust() {
		if text := c.GetField().GetMatch().GetKeyword(); text != "" {
			return text
		}
	}
	return ""
}

// uuidLength is that of an id's text, with which its message ends.
const uuidLength = 36

// get answers Points.Get: the ids of the request that are there, as points without payload or vectors.
func (o *oracle) get(req []byte) ([]byte, error) {
	out := make([]byte, 0, len(req)+len(req)/16)
	for len(req) > 0 {
		num, typ, n := protowire.ConsumeTag(req)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		req = req[n:]
		if num != 2 || typ != protowire.BytesType { // GetPoints.ids
			if n = protowire.ConsumeFieldValue(num, typ, req); n < 0 {
				return nil, protowire.ParseError(n)
			}
			req = req[n:]
			continue
		}
		id, n := protowire.ConsumeBytes(req)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		req = req[n:]
		var last [1]byte
		if _, err := hex.Decode(last[:], id[len(id)-2:]); err != nil {
			return nil, fmt.Errorf("reading an id: %w", err)
		}
		if int(last[0]) < o.absent || len(o.lacks) > 0 && o.lacks[string(id[len(id)-uuidLength:])] {
			continue
		}
		// RetrievedPoint.id = 1, in GetResponse.result = 1
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(1+protowire.SizeBytes(len(id))))
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, id)
	}
	return out, nil
}
