package mongo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial"
)

// Codes of MongoDB's errors (Manual, "Error Codes") that are no passing trouble; codes.go has the others.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeAtlas                = 8000 // Atlas gives this one for a wrong password
	codeNotImplemented       = 238
)

// isTransient reports whether the same question may get an answer later.
func isTransient(err error) bool {
	if transientCode(err) != 0 || mongodriver.IsNetworkError(err) || mongodriver.IsTimeout(err) {
		return !isAuthentication(err)
	}
	if le, ok := errors.AsType[mongodriver.LabeledError](err); ok {
		for _, label := range []string{"RetryableError", "ResumableChangeStreamError", "TransientTransactionError"} {
			if le.HasErrorLabel(label) {
				return true
			}
		}
	}
	if isPoolCleared(err) {
		return true
	}
	return isUnreachable(err) && !isAuthentication(err) && !isTLS(err)
}

// isPoolCleared tells an operation that got no connection because of another's network error.
func isPoolCleared(err error) bool {
	pool := driver.RetryablePoolError(nil)
	return errors.As(err, &pool)
}

func isUnreachable(err error) bool {
	if is[topology.ServerSelectionError](err) {
		return true
	}
	// An error of the operating system about a file, such as tlsCAFile, counts as a net.Error too.
	return is[net.Error](err) && !is[*fs.PathError](err)
}

// isServerRefusal reports whether the server understood the connection and refused the command.
func isServerRefusal(err error) bool {
	return is[mongodriver.ServerError](err) && !isTransient(err) && !hasCode(err, codeUnauthorized) && !isAuthentication(err)
}

func isAuthentication(err error) bool {
	return inCauses(err, func(err error) bool {
		if hasCode(err, codeAuthenticationFailed, codeAtlas) {
			return true
		}
		return is[*auth.Error](err) && !is[net.Error](err) // a net.Error: cut off while logging in
	})
}

func isTLS(err error) bool {
	return inCauses(err, func(err error) bool { return dial.Fault(err) != nil })
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// transientCode is the code among transientCodes that err carries, or 0.
func transientCode(err error) int {
	found := 0
	anyCode(err, func(code int) bool {
		if _, ok := transientCodes[code]; ok {
			found = code
		}
		return found != 0
	})
	return found
}

func hasCode(err error, codes ...int) bool {
	return anyCode(err, func(code int) bool { return slices.Contains(codes, code) })
}

// anyCode reports whether f holds for a code of the server that err carries.
func anyCode(err error, f func(code int) bool) bool {
	return inCauses(err, func(err error) bool {
		if se, ok := errors.AsType[mongodriver.ServerError](err); ok && slices.ContainsFunc(se.ErrorCodes(), f) {
			return true
		}
		de, ok := errors.AsType[driver.Error](err) // inside a failed connection, where the driver doesn't convert it
		return ok && f(int(de.Code))
	})
}

// inCauses asks f about err and about why each server could not be used, until f holds: a failed search for a server keeps
// those beside its chain.
func inCauses(err error, f func(error) bool) bool {
	if f(err) {
		return true
	}
	for _, s := range failedServers(err) {
		if f(s.err) {
			return true
		}
	}
	return false
}

// serverError says why one server can't be used.
type serverError struct {
	addr string
	err  error
}

func (s serverError) Error() string { return s.addr + ": " + s.err.Error() }
func (s serverError) Unwrap() error { return s.err }

func failedServers(err error) []serverError {
	if s, ok := errors.AsType[serverError](err); ok {
		return []serverError{s}
	}
	se, ok := errors.AsType[topology.ServerSelectionError](err)
	if !ok {
		return nil
	}
	var out []serverError
	for _, s := range se.Desc.Servers {
		if s.LastError != nil {
			out = append(out, serverError{s.Addr.String(), s.LastError})
		}
	}
	return out
}

// explain turns an error of the driver into one for people: without secrets, with what kind of trouble it is, and with a
// hint. The end of ctx comes before everything else.
func (s *source) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	if syncd.HintOf(err) != "" {
		return err // it is explained already: the question was one of several
	}
	clean := s.scrub.scrub(err)
	switch {
	case isAuthentication(err):
		return s.notAuthenticated(err)
	case hasCode(err, codeUnauthorized):
		if s.target.user == "" {
			return syncd.Hint(fmt.Errorf("not authorized on database %s: %w", s.cfg.Database, clean),
				"the server wants a login: write source.mongo.uri as mongodb://user:password@host/")
		}
		return syncd.Hint(fmt.Errorf("not authorized on database %s%s: %w", s.cfg.Database, s.asUser(), clean),
			`give the user the role "read" on database %s`, s.cfg.Database)
	case isTLS(err):
		return s.insecure(err)
	case isUnreachable(err):
		if why := s.unsuitable(err); why != nil {
			return why
		}
		return syncd.Hint(fmt.Errorf("%w: no usable server at %s: %w", syncd.ErrUnavailable, s.target.hosts, s.reason(err, clean)),
			"check that MongoDB runs there and can be reached from here")
	case isTransient(err):
		return syncd.Hint(fmt.Errorf("%w: %w", syncd.ErrUnavailable, clean),
			"look at MongoDB's log; %d attempts in a row have failed, so run again when the server is well", maxAttempts)
	}
	return clean
}

// notAuthenticated says what the server itself says: around it the driver puts how far it had come.
func (s *source) notAuthenticated(err error) error {
	cause := err
	inCauses(err, func(e error) bool {
		if de, ok := errors.AsType[driver.Error](e); ok && de.Code != 0 {
			cause = errors.New(de.Message)
			return true
		}
		return false
	})
	hint := "check user name, password and authSource in source.mongo.uri; a user lives in one database, often admin: add authSource=admin"
	if s.mechanism == mechanismX509 {
		hint = "the server must know a user in the database $external whose name is the subject of source.mongo.tls.cert_file"
	}
	return syncd.Hint(fmt.Errorf("authentication failed%s at %s: %w", s.asUser(), s.target.hosts, s.scrub.scrub(cause)), "%s", hint)
}

// insecure is an error for the first server whose TLS failed.
func (s *source) insecure(err error) error {
	failed := append(failedServers(err), serverError{s.target.hosts, err})
	first := failed[slices.IndexFunc(failed, func(f serverError) bool { return dial.Fault(f.err) != nil })]
	why := dial.Fault(first.err)
	clean := s.scrub.scrub(why)
	if first.addr != s.target.hosts { // which names several
		clean = fmt.Errorf("%s: %w", first.addr, clean)
	}
	return syncd.Hint(fmt.Errorf("securing the connection to %s: %w", s.target.hosts, clean), "%s", insecureHint(why))
}

func insecureHint(why error) string {
	switch {
	case errors.Is(why, dial.ErrWantsTLS):
		return "set source.mongo.tls.enabled: true, or add tls=true to source.mongo.uri"
	case errors.Is(why, dial.ErrNoTLS):
		return "turn TLS off where it was turned on, by source.mongo.tls.enabled or tls=true in source.mongo.uri (mongodb+srv:// takes tls=false), unless host and port are wrong"
	case is[dial.RefusedError](why):
		return "if the server asks for a client's certificate, set source.mongo.tls.cert_file and key_file, or tlsCertificateKeyFile in source.mongo.uri, to one that it trusts"
	}
	return dial.CertificateHint(why,
		"connect by a name that the certificate holds, or set source.mongo.tls.server_name to one",
		"renew the server's certificate; if it should be valid, set this machine's clock",
		"set source.mongo.tls.ca_file, or tlsCAFile in source.mongo.uri, to the certificate of the authority that signed the server's")
}

func (s *source) asUser() string {
	if s.target.user == "" {
		return ""
	}
	return fmt.Sprintf(" for user %q", s.target.user)
}

// reason is the first server's own error where a search for a server failed; the driver's text for that is a dump of all
// it knows.
func (s *source) reason(err, otherwise error) error {
	failed := failedServers(err)
	switch {
	case len(failed) == 0 && is[topology.ServerSelectionError](err):
		return fmt.Errorf("no answer within %s", s.cfg.ConnectTimeout)
	case len(failed) == 0:
		return otherwise
	}
	cause := failed[0].err
	if ce, ok := errors.AsType[topology.ConnectionError](cause); ok && ce.Wrapped != nil {
		cause = ce.Wrapped
	}
	if len(failed) > 1 {
		cause = fmt.Errorf("%s: %w", failed[0].addr, cause)
	}
	return s.scrub.scrub(cause)
}
