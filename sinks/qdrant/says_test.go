package qdrant

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// quoting is a server that says what it was sent, and whose collections have several vectors.
type quoting struct {
	qdrant.UnimplementedCollectionsServer
	qdrant.UnimplementedQdrantServer
}

func (quoting) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{}, nil
}

func (quoting) Update(context.Context, *qdrant.UpdateCollection) (*qdrant.CollectionOperationResponse, error) {
	return nil, status.Error(codes.PermissionDenied, "the key geheim-1234 may not")
}

func (quoting) Get(context.Context, *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	of := map[string]*qdrant.VectorParams{}
	for _, name := range []string{"d", "b", "a", "c", "e"} {
		of[name] = &qdrant.VectorParams{Size: 3}
	}
	return &qdrant.GetCollectionInfoResponse{Result: &qdrant.CollectionInfo{
		Config: &qdrant.CollectionConfig{Params: &qdrant.CollectionParams{VectorsConfig: qdrant.NewVectorsConfigMap(of)}},
	}}, nil
}

// TestWhatIsSaid: no notice shows the key, and names come in their order.
func TestWhatIsSaid(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	qdrant.RegisterCollectionsServer(server, quoting{})
	qdrant.RegisterQdrantServer(server, quoting{})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	var log bytes.Buffer
	conf := defaults()
	conf.URL, conf.Collection, conf.APIKey, conf.Alias = "http://"+listener.Addr().String(), "documents", "geheim-1234", "readers"
	s, err := open(t.Context(), conf, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil)), Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	s.mark(t.Context())
	if got := log.String(); !strings.Contains(got, "could not be noted") || strings.Contains(got, "geheim") {
		t.Error(got)
	}
	if _, err := s.look(t.Context()); err == nil || !strings.Contains(syncd.HintOf(err), `"a", "b", "c", "d", "e"`) {
		t.Errorf("%v: %s", err, syncd.HintOf(err))
	}
}
