package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/spec"
)

// maxBody is what a request may say, in bytes.
const maxBody = 64 << 10

// Error is the answer to a request that could not be answered otherwise.
type Error struct {
	Status int    `json:"-"`
	Text   string `json:"error" doc:"What went wrong."`
	Hint   string `json:"hint,omitempty" doc:"What to do about it."`
	Code   string `json:"code" doc:"The same in a word: bad_request, not_found, method_not_allowed, conflict, too_large, media_type, too_many, starting, ending or failed."`
}

// Refusal is the answer to who may not ask: it comes before any route is looked for.
type Refusal struct {
	Code    int    `json:"error_code" doc:"The status."`
	Message string `json:"message" doc:"Why."`
}

func (e *Error) Error() string { return e.Text }

func badRequest(text, hint string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Text: text, Hint: hint}
}

func conflict(err error) *Error {
	return &Error{Status: http.StatusConflict, Code: "conflict", Text: err.Error(), Hint: syncd.HintOf(err)}
}

// asError gives an error its code.
func asError(err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	_, usage := errors.AsType[*job.UsageError](err)
	_, invalid := errors.AsType[*job.InvalidError](err)
	switch {
	case errors.Is(err, host.ErrNoJob):
		return &Error{Status: http.StatusNotFound, Code: "not_found", Text: err.Error(), Hint: "syncd status and GET " + prefix + "jobs list what there is"}
	case errors.Is(err, host.ErrConflict), usage, invalid:
		return conflict(err)
	}
	return &Error{Status: http.StatusInternalServerError, Code: "failed", Text: err.Error(), Hint: syncd.HintOf(err)}
}

// fail answers with an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := *asError(err)
	if r.Context().Err() != nil {
		return // nobody waits for it
	}
	e.Text, e.Hint = spec.ScrubURLs(e.Text), spec.ScrubURLs(e.Hint)
	if e.Status == http.StatusInternalServerError {
		a.o.Logger.Warn("a request failed", "method", r.Method, "path", r.URL.Path, "error", e.Text)
	}
	a.answer(w, e.Status, &e)
}

// answer writes a value as JSON.
func (a *API) answer(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // a number that JSON does not have
		a.o.Logger.Error("an answer can't be written", "error", err.Error())
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer can't be written as JSON","code":"failed"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked may have gone
}

// read takes what a request says. Without a body it says nothing.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	body := http.MaxBytesReader(w, r.Body, maxBody)
	text, err := io.ReadAll(body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Text: "the request says too much", Hint: "a body has at most 64 KiB"}
	}
	if err != nil {
		return badRequest("the request can't be read: "+err.Error(), "")
	}
	if len(text) == 0 {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &Error{Status: http.StatusUnsupportedMediaType, Code: "media_type", Text: "the request's body is not declared as JSON", Hint: "send it with Content-Type: application/json"}
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest("the request's body is not what is expected: "+err.Error(), "GET "+prefix+"openapi.json says what is")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("there is something behind the JSON of the request's body", "")
	}
	return nil
}

// wanted answers with the value of a handler, or its error.
func (a *API) wanted(status int, f func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(w, r)
		switch {
		case err != nil:
			a.fail(w, r, err)
		case v == nil:
			w.WriteHeader(status)
		default:
			a.answer(w, status, v)
		}
	}
}
