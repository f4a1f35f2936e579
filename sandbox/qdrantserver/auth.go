package qdrantserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// readOnlyKey marks the context of a caller who may not write.
type readOnlyKey struct{}

// authenticate checks the caller's key or token.
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
	case s.cfg.JWT && strings.Count(key, ".") == 2:
		readOnly, err := s.readToken(key)
		if readOnly {
			ctx = context.WithValue(ctx, readOnlyKey{}, true)
		}
		return ctx, err
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

// claims are those of Qdrant's tokens that are imitated: access is "r" or "m", for all collections.
type claims struct {
	Expires int64  `json:"exp,omitempty"` // in seconds since 1970; 0 is never
	Access  string `json:"access"`
}

// tokenLeeway is how long after its end Qdrant still takes a token.
const tokenLeeway = 30 * time.Second

// Token is a JSON web token (RFC 7519, HS256) that is signed with a key. access is "r" to read or "m" to manage.
func Token(key, access string, expires time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	body, err := json.Marshal(claims{Expires: expires.Unix(), Access: access})
	if err != nil {
		panic(err) // of two plain fields
	}
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(body)
	return signed + "." + encode(signature(key, signed))
}

func signature(key, signed string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// readToken says whether a token only lets read, or what is wrong with it, in Qdrant's words.
func (s *Server) readToken(token string) (readOnly bool, err error) {
	last := strings.LastIndex(token, ".")
	given, err := base64.RawURLEncoding.DecodeString(token[last+1:])
	if err != nil || !hmac.Equal(given, signature(s.cfg.APIKey, token[:last])) {
		return false, status.Error(codes.PermissionDenied, "InvalidSignature")
	}
	var c claims
	body, err := base64.RawURLEncoding.DecodeString(token[strings.Index(token, ".")+1 : last])
	if err != nil || json.Unmarshal(body, &c) != nil {
		return false, status.Error(codes.PermissionDenied, "InvalidToken")
	}
	if c.Expires > 0 && s.cfg.Now().After(time.Unix(c.Expires, 0).Add(tokenLeeway)) {
		return false, status.Error(codes.PermissionDenied, "ExpiredSignature")
	}
	return c.Access == "r", nil
}
