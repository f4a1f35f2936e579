package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ask asks the service's own interface, inside of this process, for who sent r: what is limited, guarded and written to the log there is
// so for the page as well. take and give may be nil.
func (p *Page) ask(r *http.Request, method string, path []string, query url.Values, take, give any) error {
	to := url.URL{Path: "/api/v1", RawPath: "/api/v1", RawQuery: query.Encode()}
	for _, part := range path {
		to.Path += "/" + part
		to.RawPath += "/" + url.PathEscape(part)
	}
	q := r.Clone(r.Context())
	q.Method, q.URL, q.RequestURI = method, &to, ""
	q.Form, q.PostForm, q.Body, q.ContentLength = nil, nil, http.NoBody, 0
	if take != nil {
		text, err := json.Marshal(take)
		if err != nil {
			return err
		}
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		q.Header.Set("Content-Type", "application/json")
	}
	a := recorded{header: http.Header{}, code: http.StatusOK}
	p.o.API.ServeHTTP(&a, q)
	if err := r.Context().Err(); err != nil {
		return fmt.Errorf("waiting for the answer: %w", err)
	}
	if a.code >= http.StatusMultipleChoices {
		var e struct{ Error, Hint string }
		if json.Unmarshal(a.body.Bytes(), &e) != nil || e.Error == "" {
			e.Error = http.StatusText(a.code)
		}
		return &problem{max(a.code, http.StatusBadRequest), e.Error, e.Hint}
	}
	if give == nil {
		return nil
	}
	return json.Unmarshal(a.body.Bytes(), give)
}

// recorded is an answer that is kept.
type recorded struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *recorded) Header() http.Header            { return a.header }
func (a *recorded) WriteHeader(code int)           { a.code = code }
func (a *recorded) Write(text []byte) (int, error) { return a.body.Write(text) }
