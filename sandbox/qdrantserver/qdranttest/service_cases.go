package qdranttest

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func serviceCases() []testCase {
	return []testCase{
		{1, "health check needs no key", func(t *testing.T, e *env) {
			stranger := e.dial(t, func(config *qdrant.Config) { config.APIKey = "" })
			reply, err := stranger.HealthCheck(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := reply.GetTitle(), "qdrant - vector search engine"; got != want {
				t.Errorf("title is %q, want %q", got, want)
			}
			if !regexp.MustCompile(`^\d+\.\d+\.\d+`).MatchString(reply.GetVersion()) {
				t.Errorf("version %q does not have the form x.y.z", reply.GetVersion())
			}
		}},
		{2, "gRPC health check", func(t *testing.T, e *env) {
			resp, err := healthpb.NewHealthClient(e.client.GetConnection()).Check(testContext(t), &healthpb.HealthCheckRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("status is %v, want SERVING", resp.GetStatus())
			}
		}},
	}
}

func collectionCases() []testCase {
	return []testCase{
		{3, "a missing collection does not exist", func(t *testing.T, e *env) {
			exists, err := e.client.CollectionExists(testContext(t), e.newName())
			if err != nil || exists {
				t.Errorf("got %v, %v; want false", exists, err)
			}
		}},
		{4, "get missing collection", func(t *testing.T, e *env) {
			name := e.newName()
			_, err := e.client.GetCollectionsClient().Get(testContext(t), &qdrant.GetCollectionInfoRequest{CollectionName: name})
			wantError(t, err, codes.NotFound, missing(name))
		}},
		{5, "create collection", func(t *testing.T, e *env) {
			resp := e.create(t, e.createRequest(e.newName()))
			if !resp.GetResult() || resp.GetTime() <= 0 {
				t.Errorf("got result %v in %v s, want true in some time", resp.GetResult(), resp.GetTime())
			}
		}},
		{6, "create collection again", func(t *testing.T, e *env) {
			name := e.collection(t)
			_, err := e.client.GetCollectionsClient().Create(testContext(t), e.createRequest(name))
			wantError(t, err, codes.AlreadyExists, "Wrong input: Collection `"+name+"` already exists!")
		}},
		{7, "create collection with a slash in its name", func(t *testing.T, e *env) {
			_, err := e.client.GetCollectionsClient().Create(testContext(t), e.createRequest("a/b"))
			wantError(t, err, codes.InvalidArgument, `collection name cannot contain "/" char…`)
		}},
		{8, "create collection with a name that is empty or too long", func(t *testing.T, e *env) {
			for _, name := range []string{"", strings.Repeat("a", 256)} {
				_, err := e.client.GetCollectionsClient().Create(testContext(t), e.createRequest(name))
				wantError(t, err, codes.InvalidArgument, "must be from 1 to 255 characters…")
			}
		}},
		{9, "create collection with vectors of size 0", func(t *testing.T, e *env) {
			req := e.createRequest(e.newName())
			req.VectorsConfig.GetParams().Size = 0
			_, err := e.client.GetCollectionsClient().Create(testContext(t), req)
			wantError(t, err, codes.InvalidArgument, "value 0 invalid, must be from 1 to 65536…")
		}},
		{10, "list collections by name", func(t *testing.T, e *env) {
			mine := []string{e.collection(t), e.collection(t)}
			names, err := e.client.ListCollections(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range mine {
				if !slices.Contains(names, name) {
					t.Errorf("%s is not listed", name)
				}
			}
			if !slices.IsSorted(names) {
				t.Errorf("%q is not sorted", names)
			}
		}},
		{11, "info of a new collection", func(t *testing.T, e *env) {
			info, err := e.client.GetCollectionInfo(testContext(t), e.collection(t))
			if err != nil {
				t.Fatal(err)
			}
			if info.GetStatus() != qdrant.CollectionStatus_Green || info.PointsCount == nil || info.GetPointsCount() != 0 {
				t.Errorf("got status %v with %v points, want green with 0", info.GetStatus(), info.PointsCount)
			}
			params := info.GetConfig().GetParams().GetVectorsConfig().GetParams()
			if params.GetSize() != 4 || params.GetDistance() != qdrant.Distance_Cosine {
				t.Errorf("got vectors %v, want size 4 and cosine", params)
			}
		}},
		{12, "delete a missing collection", func(t *testing.T, e *env) {
			resp, err := e.client.GetCollectionsClient().Delete(testContext(t), &qdrant.DeleteCollection{CollectionName: e.newName()})
			if err != nil || resp.GetResult() {
				t.Errorf("got %v, %v; want false", resp.GetResult(), err)
			}
			err = e.client.DeleteCollection(testContext(t), e.newName())
			if err == nil || !strings.Contains(err.Error(), "failed to delete collection") {
				t.Errorf("the client's error is %v", err)
			}
		}},
	}
}
