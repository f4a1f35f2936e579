package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
)

// SQLSTATEs (Manual, appendix A) that mean something here.
const (
	CodeUndefinedColumn   = "42703"
	CodeUndefinedFunction = "42883"
	CodeUndefinedTable    = "42P01"
	CodeUndefinedSchema   = "3F000"
	CodeUndefinedObject   = "42704"
	CodeDuplicateObject   = "42710"
	CodePrivilege         = "42501"
	CodeObjectInUse       = "55006"
	CodeNotPrerequisite   = "55000"
	CodeLockNotAvailable  = "55P03"
	CodeTooManySlots      = "53400"
)

// CodeOf is the SQLSTATE of an error, or "".
func CodeOf(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// WithoutText leaves out of an error about a connection string the string itself, which may hold a password.
func WithoutText(err error) error {
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		if inner := errors.Unwrap(pe); inner != nil {
			return inner
		}
		return errors.New("it can't be read")
	}
	return err
}

// connectError is a failure to connect in one line.
type connectError struct {
	text string
	err  error
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }

// connecting leaves of an error to connect each cause once: a server is tried with TLS and without it, at each of its addresses, and what
// came of that is on lines of their own.
func connecting(err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	text := lines[0]
	if len(lines) > 1 {
		text += " " + strings.Join(lines[1:], "; ")
	}
	return &connectError{text, err}
}

// Connect makes a connection.
func Connect(ctx context.Context, c *pgconn.Config) (*pgconn.PgConn, error) {
	conn, err := pgconn.ConnectConfig(ctx, c)
	return conn, connecting(err)
}

// Transient is why the same question may get an answer later, in a few words that come from a fixed set, or "".
func Transient(err error) string {
	if code := CodeOf(err); code != "" {
		switch {
		case strings.HasPrefix(code, "08"):
			return "connection"
		case code == "40001", code == "40P01":
			return "serialization"
		case strings.HasPrefix(code, "53") && code != CodeTooManySlots:
			return "resources"
		case code == "57P01", code == "57P02", code == "57P03", code == "25006":
			return "shutdown"
		case code == CodeObjectInUse:
			return "in_use"
		case code == CodeLockNotAvailable:
			return "lock"
		}
		return ""
	}
	var n net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, ErrBroken), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), pgconn.SafeToRetry(err):
		return "connection"
	case errors.As(err, &n):
		return "network"
	}
	return ""
}

// Explain turns an error into one for people: with what kind of trouble it is, and with a hint. setting is the connection string's.
func Explain(err error, config *pgconn.Config, setting string) error {
	code := CodeOf(err)
	switch {
	case code == "28P01" || code == "28000":
		return syncd.Hint(fmt.Errorf("authentication failed for user %q at %s: %w", config.User, Address(config), err),
			"check user and password in %s, and what pg_hba.conf of the server allows", setting)
	case code == "3D000":
		return syncd.Hint(err, "check the database in %s", setting)
	case code == CodePrivilege:
		return syncd.Hint(err, "give user %q the privilege: GRANT USAGE ON SCHEMA … and GRANT SELECT ON …", config.User)
	case Transient(err) != "":
		if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok {
			return syncd.Hint(fmt.Errorf("%w: no usable server at %s: %w", syncd.ErrUnavailable, Address(config), connecting(ce)),
				"check that PostgreSQL runs there and can be reached from here")
		}
		return syncd.Hint(fmt.Errorf("%w: %w", syncd.ErrUnavailable, err),
			"look at PostgreSQL's log; several attempts in a row have failed, so run again when the server is well")
	}
	return err
}
