package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATEs (Manual, appendix A) that mean something here.
const (
	CodeUndefinedTable   = "42P01"
	CodeUndefinedSchema  = "3F000"
	CodeUndefinedObject  = "42704"
	CodeDuplicateObject  = "42710"
	CodePrivilege        = "42501"
	CodeObjectInUse      = "55006"
	CodeNotPrerequisite  = "55000"
	CodeLockNotAvailable = "55P03"
	CodeTooManySlots     = "53400"
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
	case errors.Is(err, ErrBroken), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection"
	case errors.As(err, &n):
		return "network"
	}
	return ""
}
