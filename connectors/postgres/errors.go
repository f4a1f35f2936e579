package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
)

// SQLSTATEs (Manual, appendix A) that mean something here.
const (
	codeUndefinedTable   = "42P01"
	codeUndefinedSchema  = "3F000"
	codeUndefinedObject  = "42704"
	codeDuplicateObject  = "42710"
	codePrivilege        = "42501"
	codeObjectInUse      = "55006"
	codeNotPrerequisite  = "55000"
	codeLockNotAvailable = "55P03"
	codeTooManySlots     = "53400"
)

func codeOf(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// withoutText leaves out of an error about a connection string the string itself, which may hold a password.
func withoutText(err error) error {
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		if inner := errors.Unwrap(pe); inner != nil {
			return inner
		}
		return errors.New("it can't be read")
	}
	return err
}

// transient is why the same question may get an answer later, in a few words that come from a fixed set, or "".
func transient(err error) string {
	if code := codeOf(err); code != "" {
		switch {
		case strings.HasPrefix(code, "08"):
			return "connection"
		case code == "40001", code == "40P01":
			return "serialization"
		case strings.HasPrefix(code, "53") && code != codeTooManySlots:
			return "resources"
		case code == "57P01", code == "57P02", code == "57P03", code == "25006":
			return "shutdown"
		case code == codeObjectInUse:
			return "in_use"
		case code == codeLockNotAvailable:
			return "lock"
		}
		return ""
	}
	var n net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, errBroken), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection"
	case errors.As(err, &n):
		return "network"
	}
	return ""
}

// A question that fails for a passing reason is asked so often in a row before it counts as failed; the pauses add up to about 8 s.
const (
	maxAttempts  = 6
	firstPause   = 300 * time.Millisecond
	longestPause = 6 * time.Second
)

func (s *source) retrier() retry.Retrier {
	return retry.Retrier{
		Policy:   retry.Policy{First: firstPause, Max: longestPause, Jitter: 0.5, Attempts: maxAttempts},
		Classify: func(err error) retry.Decision { return retry.Decision{Again: transient(err) != ""} },
		Retrying: func(err error) { s.retried(transient(err)) },
	}
}

// retried calls f until it succeeds or there is no point in going on.
func retried[T any](ctx context.Context, s *source, f func() (T, error)) (T, error) {
	return retry.Do(ctx, s.retrier(), f)
}

// explain turns an error into one for people: with what kind of trouble it is, and with a hint. The end of ctx comes before all else.
func (s *source) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	if syncd.HintOf(err) != "" {
		return err
	}
	code := codeOf(err)
	switch {
	case code == "28P01" || code == "28000":
		return syncd.Hint(fmt.Errorf("authentication failed for user %q at %s: %w", s.connect.User, s.address, err),
			"check user and password in source.postgres.dsn, and what pg_hba.conf of the server allows")
	case code == "3D000":
		return syncd.Hint(err, "check the database in source.postgres.dsn")
	case code == codePrivilege:
		return syncd.Hint(err, "give user %q the privilege: GRANT USAGE ON SCHEMA … and GRANT SELECT ON …", s.connect.User)
	case transient(err) != "":
		if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok {
			return syncd.Hint(fmt.Errorf("%w: no usable server at %s: %w", syncd.ErrUnavailable, s.address, ce),
				"check that PostgreSQL runs there and can be reached from here")
		}
		return syncd.Hint(fmt.Errorf("%w: %w", syncd.ErrUnavailable, err),
			"look at PostgreSQL's log; %d attempts in a row have failed, so run again when the server is well", maxAttempts)
	}
	return err
}
