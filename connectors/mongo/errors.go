package mongo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd"
)

// Codes of MongoDB's errors (Manual, "Error Codes"), by what they mean for a reader.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeAtlas                = 8000 // Atlas gives this one for a wrong password
	codeNotImplemented       = 238
)

// transientCodes are errors of a server or a cursor that another attempt can be spared from.
var transientCodes = []int{
	6,     // HostUnreachable
	7,     // HostNotFound
	43,    // CursorNotFound: timed out, killed, or its server is gone
	50,    // MaxTimeMSExpired
	63,    // StaleShardVersion
	89,    // NetworkTimeout
	91,    // ShutdownInProgress
	133,   // FailedToSatisfyReadPreference
	134,   // ReadConcernMajorityNotAvailableYet
	136,   // CappedPositionLost
	150,   // StaleEpoch
	175,   // QueryPlanKilled: an index or a chunk moved under the query
	189,   // PrimarySteppedDown
	202,   // NetworkInterfaceExceededTimeLimit
	206,   // NoSuchSession
	234,   // RetryChangeStream
	237,   // CursorKilled
	239,   // SnapshotTooOld
	246,   // SnapshotUnavailable
	262,   // ExceededTimeLimit
	9001,  // SocketException
	10107, // NotWritablePrimary
	11600, // InterruptedAtShutdown
	11601, // Interrupted
	11602, // InterruptedDueToReplStateChange
	13388, // StaleConfig
	13435, // NotPrimaryNoSecondaryOk
	13436, // NotPrimaryOrSecondary
}

// lostCursorCodes are those of them that end one cursor or session and say nothing against the server.
var lostCursorCodes = []int{
	43,  // CursorNotFound
	136, // CappedPositionLost
	175, // QueryPlanKilled
	206, // NoSuchSession
	237, // CursorKilled
}

// isTransient reports whether the same question may get an answer later.
func isTransient(err error) bool {
	if hasCode(err, transientCodes...) || mongodriver.IsNetworkError(err) || mongodriver.IsTimeout(err) {
		return !isAuthentication(err)
	}
	if le, ok := errors.AsType[mongodriver.LabeledError](err); ok {
		for _, label := range []string{"RetryableError", "ResumableChangeStreamError", "TransientTransactionError"} {
			if le.HasErrorLabel(label) {
				return true
			}
		}
	}
	if pool := driver.RetryablePoolError(nil); errors.As(err, &pool) { // cleared after another operation's network error
		return true
	}
	return isUnreachable(err) && !isAuthentication(err) && !isTLS(err)
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
	return inCauses(err, func(err error) bool {
		return is[*tls.CertificateVerificationError](err) || is[tls.RecordHeaderError](err) || is[tls.AlertError](err) ||
			is[x509.UnknownAuthorityError](err) || is[x509.HostnameError](err) || is[x509.CertificateInvalidError](err)
	})
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func hasCode(err error, codes ...int) bool {
	return inCauses(err, func(err error) bool {
		if se, ok := errors.AsType[mongodriver.ServerError](err); ok {
			for _, c := range codes {
				if se.HasErrorCode(c) {
					return true
				}
			}
		}
		if de, ok := errors.AsType[driver.Error](err); ok { // inside a failed connection, where the driver doesn't convert it
			for _, c := range codes {
				if int(de.Code) == c {
					return true
				}
			}
		}
		return false
	})
}

// inCauses asks f about err and about why each server could not be used: a failed search for a server keeps those beside
// its chain.
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

type failedServer struct {
	addr string
	err  error
}

func failedServers(err error) []failedServer {
	se, ok := errors.AsType[topology.ServerSelectionError](err)
	if !ok {
		return nil
	}
	var out []failedServer
	for _, s := range se.Desc.Servers {
		if s.LastError != nil {
			out = append(out, failedServer{s.Addr.String(), s.LastError})
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
	clean := s.scrub.scrub(err)
	switch {
	case isAuthentication(err):
		return syncd.Hint(fmt.Errorf("authentication failed%s at %s: %w", s.asUser(), s.target.hosts, clean),
			"check user name, password and authSource in source.mongo.uri; a user lives in one database, often admin: add authSource=admin")
	case hasCode(err, codeUnauthorized):
		if s.target.user == "" {
			return syncd.Hint(fmt.Errorf("not authorized on database %s: %w", s.cfg.Database, clean),
				"the server wants a login: write source.mongo.uri as mongodb://user:password@host/")
		}
		return syncd.Hint(fmt.Errorf("not authorized on database %s%s: %w", s.cfg.Database, s.asUser(), clean),
			`give the user the role "read" on database %s`, s.cfg.Database)
	case isTLS(err):
		return syncd.Hint(fmt.Errorf("securing the connection to %s: %w", s.target.hosts, s.reason(err, clean)),
			"add tlsCAFile=… to source.mongo.uri if the server has a certificate of your own authority, or tls=false if it speaks no TLS")
	case isUnreachable(err):
		return syncd.Hint(fmt.Errorf("%w: no usable server at %s: %w", syncd.ErrUnavailable, s.target.hosts, s.reason(err, clean)),
			"check that MongoDB runs there and can be reached from here; a server that demands TLS hangs up: then add tls=true to source.mongo.uri")
	case isTransient(err):
		return fmt.Errorf("%w: %w", syncd.ErrUnavailable, clean)
	}
	return clean
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
	if len(failed) == 0 {
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
