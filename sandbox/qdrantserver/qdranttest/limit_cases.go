package qdranttest

import (
	"errors"
	"strconv"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

func limitCases() []testCase {
	strict := func(t *testing.T, e *env, config *qdrant.StrictModeConfig) string {
		t.Helper()
		collection := e.collection(t)
		config.Enabled = qdrant.PtrOf(true)
		err := e.client.UpdateCollection(testContext(t), &qdrant.UpdateCollection{CollectionName: collection, StrictModeConfig: config})
		if err != nil {
			t.Fatalf("switching strict mode on: %v", err)
		}
		return collection
	}
	ids := func(n int) []*qdrant.PointId {
		all := make([]*qdrant.PointId, n)
		for i := range all {
			all[i] = uuidID(i + 1)
		}
		return all
	}
	return []testCase{
		{57, "strict mode limits Scroll, not Get", func(t *testing.T, e *env) {
			collection := strict(t, e, &qdrant.StrictModeConfig{MaxQueryLimit: qdrant.PtrOf(uint32(100))})
			_, err := e.client.GetPointsClient().Scroll(testContext(t), &qdrant.ScrollPoints{
				CollectionName: collection, Limit: qdrant.PtrOf(uint32(1000)),
			})
			wantError(t, err, codes.InvalidArgument,
				`Bad request: Limit exceeded 1000 > 100 for "limit". Help: Reduce the "limit" parameter to or below 100.`)
			e.get(t, collection, nil, ids(1000)...)
		}},
		{58, "the read rate limit counts ids", func(t *testing.T, e *env) {
			collection := strict(t, e, &qdrant.StrictModeConfig{ReadRateLimit: qdrant.PtrOf(uint32(100))})
			get := func(n int) (metadata.MD, error) {
				var trailer metadata.MD
				_, err := e.client.GetPointsClient().Get(testContext(t), &qdrant.GetPoints{CollectionName: collection, Ids: ids(n)}, grpc.Trailer(&trailer))
				return trailer, err
			}
			trailer, err := get(101)
			wantError(t, err, codes.ResourceExhausted, "Rate limiting exceeded: Read rate limit exceeded, "+
				"request larger than rate limiter capacity, please try to split your request")
			if after := trailer.Get("retry-after"); len(after) > 0 {
				t.Errorf("got retry-after %q for a request that can never pass", after)
			}
			if _, err := get(60); err != nil {
				t.Fatalf("the first 60 ids: %v", err)
			}
			trailer, err = get(60)
			wantError(t, underlying(err), codes.ResourceExhausted,
				"Rate limiting exceeded: Read rate limit exceeded: Operation requires 60 tokens but only …")
			after := trailer.Get("retry-after")
			if len(after) != 1 {
				t.Fatalf("got retry-after %q, want one", after)
			}
			// 20 tokens are missing, and 100 come in a minute.
			if seconds, err := strconv.Atoi(after[0]); err != nil || seconds < 1 || seconds > 12 {
				t.Errorf("got retry-after %q, want 12 seconds or a little less", after)
			}
		}},
		{59, "keys", func(t *testing.T, e *env) {
			collection := e.collection(t)
			e.load(t, collection, points(1)...)
			with := func(key string) qdrant.PointsClient {
				return e.dial(t, func(config *qdrant.Config) { config.APIKey = key }).GetPointsClient()
			}
			get := &qdrant.GetPoints{CollectionName: collection, Ids: ids(1)}
			_, err := with("").Get(testContext(t), get)
			wantError(t, err, codes.Unauthenticated, "Must provide an API key or an Authorization bearer token")
			_, err = with(e.target.APIKey+"x").Get(testContext(t), get)
			wantError(t, err, codes.Unauthenticated, "Invalid API key or JWT")

			bearer := e.dial(t, func(config *qdrant.Config) {
				config.APIKey, config.Headers = "", map[string]string{"authorization": "Bearer " + e.target.APIKey}
			})
			if _, err := bearer.GetPointsClient().Get(testContext(t), get); err != nil {
				t.Errorf("the key as a bearer token: %v", err)
			}

			t.Run("read only", func(t *testing.T) {
				if e.target.ReadOnlyAPIKey == "" {
					t.Skip("needs a server that is configured with a read-only API key")
				}
				reader := with(e.target.ReadOnlyAPIKey)
				if _, err := reader.Get(testContext(t), get); err != nil {
					t.Errorf("reading: %v", err)
				}
				_, err := reader.Upsert(testContext(t), &qdrant.UpsertPoints{CollectionName: collection, Points: points(1)})
				wantError(t, err, codes.PermissionDenied, "Forbidden: Global manage access is required")
			})
		}},
	}
}

// underlying is the status within the client's own error for rate limits.
func underlying(err error) error {
	var limited *qdrant.QdrantResourceExhaustedError
	if errors.As(err, &limited) {
		return limited.Unwrap()
	}
	return err
}
