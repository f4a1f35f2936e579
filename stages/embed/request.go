package embed

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/retry"
	shown "github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/internal/wait"
)

const (
	// longestWait is the longest that the service may ask to wait at once; behind a longer time it is asked in between.
	longestWait = 10 * time.Minute
	// briefWait is what is waited where the service says that it is asked too often, and not for how long.
	briefWait = 5 * time.Second
	// notableWait is how long an outage must last to be told: a run that stands still should say why.
	notableWait = time.Second
	// longPause is from which length on a pause is told: until its end nothing else is.
	longPause = 30 * time.Second
	// patience is how often a request of many texts may be late before it is divided.
	patience = 2
)

// answered is an answer of the service that is no success.
type answered struct {
	status  int
	message string
	code    string
	after   time.Duration // that it asks to wait; less than 0 where it names no time
}

func (e *answered) Error() string {
	if e.message == "" {
		return fmt.Sprintf("the embedding service answered %d", e.status)
	}
	return fmt.Sprintf("the embedding service answered %d: %s", e.status, e.message)
}

// errLate says that a request took too long.
var errLate = errors.New("no answer in time")

// embed has texts embedded, in one request or, where the service does not take that, in parts. It calls arrived when the service has answered
// all of them, and only the answer is left to be read.
func (s *stage) embed(ctx context.Context, texts []text, arrived func()) ([]answer, error) {
	answers, err := s.request(ctx, texts, arrived)
	if err == nil {
		return answers, nil
	}
	n := len(texts)
	refused, late := isRefused(err), errors.Is(err, errLate)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case n > 1 && (refused || late):
		s.retried("too large")
		half := n / 2
		first, err := s.embed(ctx, texts[:half], func() {})
		if err != nil {
			return nil, err
		}
		second, err := s.embed(ctx, texts[half:], arrived)
		return append(first, second...), err
	case refused:
		// Before a text is blamed, it must be known that the service takes any.
		if s.works.Load() {
			return []answer{{err: err}}, nil
		}
		if _, probed := s.request(ctx, []text{{"syncd", 1}}, func() {}); probed == nil {
			return []answer{{err: err}}, nil
		}
		return nil, s.explain(err)
	}
	return nil, s.explain(err)
}

// isRefused reports whether the service refused what it was sent.
func isRefused(err error) bool {
	a, ok := errors.AsType[*answered](err)
	return ok && (a.status == http.StatusBadRequest || a.status == http.StatusRequestEntityTooLarge || a.status == http.StatusUnprocessableEntity)
}

// explain turns the final error of a request into one for people.
func (s *stage) explain(err error) error {
	a, ok := errors.AsType[*answered](err)
	switch {
	case !ok && errors.Is(err, syncd.ErrUnavailable):
		return syncd.Hint(err, "check that the embedding service runs at %s; stages.embed.timeout and retry.max_elapsed say how long syncd tries", s.conf.Location())
	case !ok:
		return err
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return syncd.Hint(err, "set stages.embed.api_key to a key that may use the model %s", s.conf.Model)
	case a.status == http.StatusNotFound:
		return syncd.Hint(err, "compare stages.embed.model with the models that the service has, and url with where its API begins, mostly …/v1")
	case a.code == "insufficient_quota":
		return syncd.Hint(err, "the account behind stages.embed.api_key has no credit left; run it again when it has")
	case isRefused(err):
		return syncd.Hint(err, "the service refuses every text: compare stages.embed.model, dimensions and encoding with what it takes")
	case again(a):
		return syncd.Hint(fmt.Errorf("%w: %w", syncd.ErrUnavailable, err), "look at the embedding service's log; stages.embed.retry.max_elapsed says how long syncd tries")
	}
	return err
}

// again reports whether an answer may be another one later.
func again(a *answered) bool {
	switch a.status {
	case http.StatusTooManyRequests:
		return a.code != "insufficient_quota"
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusConflict:
		return true
	}
	return a.status >= 500
}

// request is one request, repeated while that may help.
func (s *stage) request(ctx context.Context, texts []text, arrived func()) ([]answer, error) {
	late := 0
	attempts := retry.Retrier{
		Policy: retry.Policy{First: s.conf.Retry.Initial, Max: s.conf.Retry.Max, Jitter: 1, Elapsed: max(s.conf.Retry.MaxElapsed, 1)},
		Classify: func(err error) retry.Decision {
			a, ok := errors.AsType[*answered](err)
			switch {
			case ok && again(a):
				after := a.after
				if after < 0 {
					after = briefWait
				}
				after = min(after, longestWait)
				s.gate.shut(after)
				return retry.Decision{Again: true, Delay: after}
			case ok:
				return retry.Decision{}
			case errors.Is(err, errLate):
				late++
				return retry.Decision{Again: late < patience || len(texts) == 1}
			}
			return retry.Decision{Again: errors.Is(err, syncd.ErrUnavailable)}
		},
		Waiting: func(err error, wait time.Duration) {
			reason := err.Error()
			if wait > longPause {
				reason += fmt.Sprintf("; the next attempt is in %s", wait.Round(time.Second))
			}
			s.contact.Failed(reason, wait)
		},
		Retrying: func(err error) { s.retried(reason(err)) },
	}.Start()
	tokens := 0
	for _, t := range texts {
		tokens += t.tokens
	}
	for {
		if err := s.mayAsk(ctx, tokens); err != nil {
			return nil, err
		}
		answers, err := s.post(ctx, texts, tokens, arrived)
		if err == nil {
			s.works.Store(true)
			s.contact.Answered()
			return answers, nil
		}
		if a, ok := errors.AsType[*answered](err); ok && !again(a) {
			s.contact.Answered()
		}
		if err = attempts.Again(ctx, err); err != nil {
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
}

// reason is why a request is repeated, in words from a fixed set.
func reason(err error) string {
	if a, ok := errors.AsType[*answered](err); ok {
		if a.status == http.StatusTooManyRequests {
			return "rate limited"
		}
		return "status " + strconv.Itoa(a.status)
	}
	if errors.Is(err, errLate) {
		return "deadline exceeded"
	}
	return "unavailable"
}

// mayAsk waits until the limits allow a request.
func (s *stage) mayAsk(ctx context.Context, tokens int) error {
	for {
		left := s.gate.left()
		if left <= 0 {
			break
		}
		if err := wait.Pause(ctx, left); err != nil {
			return err
		}
	}
	take := func(l *rate.Limiter, n int) error {
		for l != nil && n > 0 {
			portion := min(n, l.Burst())
			if err := wait.Pause(ctx, l.ReserveN(time.Now(), portion).Delay()); err != nil {
				return err
			}
			n -= portion
		}
		return nil
	}
	if err := take(s.requests, 1); err != nil {
		return err
	}
	return take(s.tokens, tokens)
}

// body is a request.
type body struct {
	Input      []string `json:"input"`
	Model      string   `json:"model"`
	Encoding   Encoding `json:"encoding_format"`
	Dimensions int      `json:"dimensions,omitempty"`
}

// response is a success.
type response struct {
	Data []struct {
		Index     *int   `json:"index"`
		Embedding vector `json:"embedding"`
	} `json:"data"`
	Usage struct {
		Prompt int64 `json:"prompt_tokens"`
		Total  int64 `json:"total_tokens"`
	} `json:"usage"`
}

// post is one attempt.
func (s *stage) post(ctx context.Context, texts []text, estimated int, arrived func()) ([]answer, error) {
	q := body{Input: make([]string, len(texts)), Model: s.conf.Model, Encoding: s.conf.Encoding}
	for i, t := range texts {
		q.Input[i] = t.text
	}
	if s.conf.Shorten {
		q.Dimensions = s.conf.Dimensions
	}
	out, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding a request: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, s.conf.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodPost, s.target, bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("preparing a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if key := s.conf.APIKey.Reveal(); key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	s.usedRequests.Add(1)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, s.failed(ctx, within, err)
	}
	defer func() { _ = resp.Body.Close() }()
	most := int64(1 << 30) // a vector as text takes up to some 25 bytes a number
	if resp.StatusCode != http.StatusOK {
		most = 64 << 10 // more than a message shows
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, s.failed(ctx, within, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.refusal(resp, data)
	}
	arrived()
	return s.read(data, len(texts), estimated)
}

// failed is the error of a request without an answer.
func (s *stage) failed(ctx, within context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case within.Err() != nil:
		return fmt.Errorf("%w: asking the embedding service: %w within %v", syncd.ErrUnavailable, errLate, s.conf.Timeout)
	}
	return fmt.Errorf("%w: asking the embedding service: %s", syncd.ErrUnavailable, s.scrub(strings.TrimPrefix(err.Error(), `Post "`+s.target+`": `)))
}

// refusal reads an answer that is no success.
func (s *stage) refusal(resp *http.Response, data []byte) error {
	a := &answered{status: resp.StatusCode, after: retryAfter(resp)}
	var known struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(data, &known) == nil {
		var object struct {
			Message string `json:"message"`
			Code    any    `json:"code"`
			Type    string `json:"type"`
		}
		var plain string
		switch {
		case json.Unmarshal(known.Error, &plain) == nil:
			a.message = plain
		case json.Unmarshal(known.Error, &object) == nil:
			a.message = object.Message
			a.code, _ = object.Code.(string)
			if a.code == "" {
				a.code = object.Type
			}
		case known.Message != "":
			a.message = known.Message
		default:
			a.message = string(known.Detail)
		}
	} else {
		a.message = string(data)
	}
	a.message = shown.Line(s.scrub(strings.TrimSpace(a.message)))
	return a
}

// retryAfter is how long an answer asks to wait. Where it says nothing and the service is asked too often it is less than 0, and else 0.
func retryAfter(resp *http.Response) time.Duration {
	h := resp.Header.Get("Retry-After")
	if ms, err := strconv.ParseFloat(resp.Header.Get("Retry-After-Ms"), 64); err == nil && ms > 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	if seconds, err := strconv.ParseFloat(h, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, (2*longestWait).Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(h); err == nil {
		if d := time.Until(at); d > 0 {
			return d
		}
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return -1
	}
	return 0
}

// read reads a success: one vector for each text.
func (s *stage) read(data []byte, n, estimated int) ([]answer, error) {
	var r response
	err := json.Unmarshal(data, &r)
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax {
		// What is no number is none of JSON either, and some services write it all the same.
		r = response{}
		err = json.Unmarshal(noNumbers.ReplaceAll(data), &r)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the embedding service's answer: %w", err)
	}
	if len(r.Data) != n {
		return nil, syncd.Hint(fmt.Errorf("the embedding service gave %d vectors for %d texts", len(r.Data), n), "look at the embedding service's log; a smaller stages.embed.batch_size may help")
	}
	tokens := cmp.Or(r.Usage.Prompt, r.Usage.Total, int64(estimated))
	s.usedTexts.Add(int64(n))
	s.usedTokens.Add(tokens)
	answers, set := make([]answer, n), make([]bool, n)
	for i := range r.Data {
		at := i
		if r.Data[i].Index != nil {
			at = *r.Data[i].Index
		}
		if at < 0 || at >= n || set[at] {
			return nil, fmt.Errorf("the embedding service's answer has vector %d twice, or for no text", at)
		}
		set[at] = true
		v := r.Data[i].Embedding
		if err := s.sized(len(v)); err != nil {
			return nil, err
		}
		answers[at] = answer{vector: v, tokens: int(tokens) / n}
		for _, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				answers[at] = answer{err: errNoNumber}
				break
			}
		}
	}
	return answers, nil
}

var errNoNumber = errors.New("the embedding service gave a vector that holds something other than numbers")

// sized checks that all vectors have one size.
func (s *stage) sized(n int) error {
	if n == 0 {
		return errors.New("the embedding service gave an empty vector")
	}
	if s.size.CompareAndSwap(0, int64(n)) {
		return nil
	}
	if want := s.size.Load(); want != int64(n) {
		return syncd.Hint(fmt.Errorf("the model %s gave a vector of %d numbers where %d were expected", s.conf.Model, n, want),
			"compare stages.embed.dimensions with the model's; 0 takes what it gives")
	}
	return nil
}

// vector is read from a list of numbers, or from the base64 of 32-bit numbers.
type vector []float32

// UnmarshalJSON implements json.Unmarshaler.
func (v *vector) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var packed []byte
		if err := json.Unmarshal(data, &packed); err != nil {
			return err
		}
		if len(packed)%4 != 0 {
			return errors.New("a vector in base64 is cut off")
		}
		*v = make(vector, len(packed)/4)
		for i := range *v {
			(*v)[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
		}
		return nil
	}
	if len(data) < 2 || data[0] != '[' {
		return errors.New("a vector is no list of numbers")
	}
	out := make(vector, 0, bytes.Count(data, []byte{','})+1)
	for rest := data[1 : len(data)-1]; len(bytes.TrimSpace(rest)) > 0; {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{','})
		field = bytes.TrimSpace(field)
		x, err := strconv.ParseFloat(string(field), 32)
		switch {
		case err == nil, errors.Is(err, strconv.ErrRange):
		case string(field) == "null" || len(field) > 0 && field[0] == '"':
			x = math.NaN()
		default:
			return errors.New("a vector is no list of numbers")
		}
		out = append(out, float32(x))
	}
	*v = out
	return nil
}

// noNumbers writes null for what is no number.
var noNumbers = replacer{[]byte("NaN"), []byte("-Infinity"), []byte("Infinity"), []byte("-inf"), []byte("inf")}

type replacer [][]byte

// ReplaceAll returns data with null in place of each word behind a [ or a comma.
func (r replacer) ReplaceAll(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		replaced := false
		if i > 0 && (data[i-1] == '[' || data[i-1] == ',' || data[i-1] == ' ') {
			for _, word := range r {
				if bytes.HasPrefix(data[i:], word) {
					out, i, replaced = append(out, "null"...), i+len(word), true
					break
				}
			}
		}
		if !replaced {
			out = append(out, data[i])
			i++
		}
	}
	return out
}
