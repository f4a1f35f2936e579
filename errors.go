package syncd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Errors that a plugin wraps, so that the engine can tell what an error means without reading its text.
var (
	// ErrUnavailable means that the far side could not be reached or asked now; it may work later.
	ErrUnavailable = errors.New("unavailable")
	// ErrForeign means that something else seems to answer where the far side was to be. Wrapped beside ErrUnavailable it may still be
	// an outage, which is worth waiting for, but not worth doing without the far side.
	ErrForeign = errors.New("something else answers there")
	// ErrCollectionNotFound means that the source has no such collection.
	ErrCollectionNotFound = errors.New("collection not found")
	// ErrTooLarge means that one change is larger than the sink, or what is behind it, takes. Sent without its document it
	// may pass.
	ErrTooLarge = errors.New("too large")
	// ErrNotEncodable means that a sink has no form for one document, whatever the sink's state.
	ErrNotEncodable = errors.New("not encodable")
	// ErrNoID means that a document has no id that a point id could be made of: it is missing, null, or not text that can be read.
	ErrNoID = errors.New("no usable id")
	// ErrLost means that the sink does not hold what it confirmed earlier: a run that goes on from there would pass over it.
	ErrLost = errors.New("what was confirmed is not there")
	// ErrFenced means that another run has taken over the sink's transactions: this one may write no more.
	ErrFenced = errors.New("taken over by another run")
)

// FailedStage says where a document failed.
type FailedStage string

// The stages at which a document can fail.
const (
	FailedRead   FailedStage = "read"   // its id or seed can't be made
	FailedEncode FailedStage = "encode" // it can't be written as an event
	FailedWrite  FailedStage = "write"  // the sink refused it
	// FailedTransform is a failure in one of the stages between the source and the sink.
	FailedTransform FailedStage = "transform"
)

// DocumentError is the Err of a change on its way to the dead letters: why it could not be delivered.
type DocumentError struct {
	Stage FailedStage
	Route string // where it would have gone, as the sink names it, else the collection
	Split int    // in which it was read
	Cause error
}

func (e *DocumentError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *DocumentError) Unwrap() error { return e.Cause }

// RecordError is the Err of a change that a source could not make of a record of a topic. It holds all of the record, so that the dead
// letters can hold it as it was.
type RecordError struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte // nil is none
	Value     []byte // likewise
	Headers   []RecordHeader
	Cause     error
}

// RecordHeader is a header of a record.
type RecordHeader struct {
	Name  string
	Value []byte
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s, partition %d, offset %d: %v", e.Topic, e.Partition, e.Offset, e.Cause)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Cause }

// Hint attaches to err what the user should do next. The hint is not part of the error's text; [HintOf] finds it.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// HintOf returns the outermost hint attached to err, or "".
func HintOf(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// BatchError is a Write that failed for some changes: those marked as failed are not durable, all others are. A change's
// error is that one document's fault unless it wraps ErrUnavailable.
type BatchError struct {
	failed map[int]error
}

// Fail marks the change at index i of the Write as failed.
func (e *BatchError) Fail(i int, err error) {
	if e.failed == nil {
		e.failed = make(map[int]error)
	}
	e.failed[i] = err
}

// Failed returns the failed indices in order.
func (e *BatchError) Failed() []int { return slices.Sorted(maps.Keys(e.failed)) }

// Of returns the error of change i, or nil if it is durable.
func (e *BatchError) Of(i int) error { return e.failed[i] }

// OrNil returns e as an error if any change failed, else nil.
func (e *BatchError) OrNil() error {
	if len(e.failed) == 0 {
		return nil
	}
	return e
}

// Error summarises: how many failed, and the first of them.
func (e *BatchError) Error() string {
	f := e.Failed()
	if len(f) == 0 {
		return "no change failed"
	}
	return fmt.Sprintf("%d changes failed, the first: %v", len(f), e.failed[f[0]])
}

// Unwrap gives every change's error to errors.Is and errors.As.
func (e *BatchError) Unwrap() []error {
	f := e.Failed()
	errs := make([]error, len(f))
	for i, k := range f {
		errs[i] = e.failed[k]
	}
	return errs
}
