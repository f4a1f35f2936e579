package fastmongo

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// failure is an error as the protocol carries it.
type failure struct {
	code   int32
	name   string
	msg    string
	labels []string
	extra  bson.D
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%d): %s", f.name, f.code, f.msg) }

func fail(code int32, format string, args ...any) *failure {
	return &failure{code: code, name: codeName(code), msg: fmt.Sprintf(format, args...)}
}

// Codes that are used in several places.
const (
	codeBadValue          = 2
	codeUnauthorized      = 13
	codeTypeMismatch      = 14
	codeIllegalOperation  = 20
	codeNamespaceNotFound = 26
	codeCursorNotFound    = 43
	codeNoMatch           = 47
	codeInvalidToken      = 260
	codeStreamFatal       = 280
	codeHistoryLost       = 286
	codeNotPrimary        = 10107
	codeTooLarge          = 10334
	codeDuplicateKey      = 11000
)

func codeName(code int32) string {
	switch code {
	case 1:
		return "InternalError"
	case codeBadValue:
		return "BadValue"
	case 9:
		return "FailedToParse"
	case codeUnauthorized:
		return "Unauthorized"
	case codeTypeMismatch:
		return "TypeMismatch"
	case 18:
		return "AuthenticationFailed"
	case codeIllegalOperation:
		return "IllegalOperation"
	case codeNamespaceNotFound:
		return "NamespaceNotFound"
	case codeCursorNotFound:
		return "CursorNotFound"
	case codeNoMatch:
		return "NoMatchingDocument"
	case 48:
		return "NamespaceExists"
	case 50:
		return "MaxTimeMSExpired"
	case 59:
		return "CommandNotFound"
	case 66:
		return "ImmutableField"
	case 72:
		return "InvalidOptions"
	case 73:
		return "InvalidNamespace"
	case 91:
		return "ShutdownInProgress"
	case 112:
		return "WriteConflict"
	case 115:
		return "CommandNotSupported"
	case 175:
		return "QueryPlanKilled"
	case 189:
		return "PrimarySteppedDown"
	case 237:
		return "CursorKilled"
	case 238:
		return "NotImplemented"
	case 251:
		return "NoSuchTransaction"
	case 256:
		return "TransactionCommitted"
	case codeInvalidToken:
		return "InvalidResumeToken"
	case codeStreamFatal:
		return "ChangeStreamFatalError"
	case codeHistoryLost:
		return "ChangeStreamHistoryLost"
	case 292:
		return "QueryExceededMemoryLimitNoDiskUseAllowed"
	case codeNotPrimary:
		return "NotWritablePrimary"
	case codeTooLarge:
		return "BSONObjectTooLarge"
	case 11602:
		return "InterruptedDueToReplStateChange"
	case codeDuplicateKey:
		return "DuplicateKey"
	case 13435:
		return "NotPrimaryNoSecondaryOk"
	}
	return fmt.Sprintf("Location%d", code)
}

// document is the reply that says err.
func (f *failure) document() bson.D {
	d := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: f.msg}, {Key: "code", Value: f.code}, {Key: "codeName", Value: f.name}}
	d = append(d, f.extra...)
	if len(f.labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: f.labels})
	}
	return d
}

// asFailure gives any error the form that the protocol carries.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return fail(1, "%v", err)
}
