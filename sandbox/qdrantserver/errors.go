package qdrantserver

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Qdrant prefixes the text of an error with its kind; clients and operators match on these texts, so the
// constructors below are the only places where they are spelt.

func invalidArgument(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// validationError is what Qdrant answers when a field of a request message is out of bounds.
func validationError(field, problem string) error {
	return invalidArgument("Validation error in body: [%s: %s]", field, problem)
}

func wrongInput(format string, args ...any) error {
	return invalidArgument("Wrong input: "+format, args...)
}

func badRequest(format string, args ...any) error {
	return invalidArgument("Bad request: "+format, args...)
}

func notFound(format string, args ...any) error {
	return status.Errorf(codes.NotFound, "Not found: "+format, args...)
}

func collectionNotFound(name string) error {
	return notFound("Collection `%s` doesn't exist!", name)
}

// alreadyExists keeps Qdrant's prefix for wrong input, although the code differs.
func alreadyExists(name string) error {
	return status.Errorf(codes.AlreadyExists, "Wrong input: Collection `%s` already exists!", name)
}

func forbidden(reason string) error {
	return status.Errorf(codes.PermissionDenied, "Forbidden: %s", reason)
}

// strictModeError is the form of every refusal by a collection's strict mode.
func strictModeError(problem, help string) error {
	return badRequest("%s. Help: %s", problem, help)
}

// retryAfterError is a status that carries Qdrant's retry-after metadata. The interceptor turns the number
// into a trailer, because a handler's error alone cannot carry one.
type retryAfterError struct {
	status  *status.Status
	seconds int
}

func (e *retryAfterError) Error() string              { return e.status.Err().Error() }
func (e *retryAfterError) GRPCStatus() *status.Status { return e.status }

// RateLimitError is Qdrant's answer to a request that its read rate limit refuses for now: RESOURCE_EXHAUSTED
// with a retry-after trailer, rounded up to whole seconds. It is meant for FailNext and for Config.Intercept.
func RateLimitError(retryAfter time.Duration) error {
	return rateLimitError(fmt.Sprintf("Operation requires 1 tokens but only 0.0 were available. Retry after %ds",
		wholeSeconds(retryAfter)), retryAfter)
}

func rateLimitError(reason string, retryAfter time.Duration) error {
	return &retryAfterError{
		status:  status.New(codes.ResourceExhausted, "Rate limiting exceeded: Read rate limit exceeded: "+reason),
		seconds: wholeSeconds(retryAfter),
	}
}

// readLimitExceeded is the answer to a request that no waiting can help.
func readLimitExceeded() error {
	return status.Error(codes.ResourceExhausted, "Rate limiting exceeded: Read rate limit exceeded, "+
		"request larger than rate limiter capacity, please try to split your request")
}

func wholeSeconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
