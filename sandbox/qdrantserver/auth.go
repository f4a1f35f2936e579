package qdrantserver

import (
	"context"
	"crypto/subtle"
	"strings"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// readOnlyKey marks the context of a caller who may not write.
type readOnlyKey struct{}

// authenticate checks the caller's key. Tokens (JWT) are not imitated: to this server they are wrong keys.
func (s *Server) authenticate(ctx context.Context, method string) (context.Context, error) {
	if s.cfg.APIKey == "" && s.cfg.ReadOnlyAPIKey == "" {
		return ctx, nil
	}
	// Qdrant lets probes through without a key.
	if method == qdrant.Qdrant_HealthCheck_FullMethodName || method == healthpb.Health_Check_FullMethodName {
		return ctx, nil
	}
	key, ok := presentedKey(ctx)
	switch {
	case !ok:
		return ctx, status.Error(codes.Unauthenticated, "Must provide an API key or an Authorization bearer token")
	case equalKeys(key, s.cfg.APIKey):
		return ctx, nil
	case equalKeys(key, s.cfg.ReadOnlyAPIKey):
		return context.WithValue(ctx, readOnlyKey{}, true), nil
	default:
		return ctx, status.Error(codes.Unauthenticated, "Invalid API key or JWT")
	}
}

func presentedKey(ctx context.Context) (string, bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	if keys := md.Get("api-key"); len(keys) > 0 {
		return keys[0], true
	}
	if headers := md.Get("authorization"); len(headers) > 0 {
		return strings.CutPrefix(headers[0], "Bearer ")
	}
	return "", false
}

// equalKeys is false for a key that is not configured.
func equalKeys(presented, configured string) bool {
	return configured != "" && subtle.ConstantTimeCompare([]byte(presented), []byte(configured)) == 1
}

// requireWrite refuses callers with a read-only key.
func requireWrite(ctx context.Context) error {
	if ctx.Value(readOnlyKey{}) != nil {
		return forbidden("Global manage access is required")
	}
	return nil
}
