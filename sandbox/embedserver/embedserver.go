// Package embedserver is a small embedding service with OpenAI's API and deterministic vectors: equal texts have equal vectors, on every
// machine, and texts with words in common have vectors near to one another.
//
// Invariants:
//
//   - it listens on the loopback interface only, and Close leaves no goroutine behind;
//   - a vector follows from the words of its text alone, and has the length 1.
package embedserver

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// Config says how the service answers.
type Config struct {
	Addr       string // host:port; empty is a free port
	Model      string // the only one that it knows; empty takes any
	Dimensions int    // of vectors; 0 stands for 64
	APIKey     string // if it wants one
	Delay      time.Duration
	// Fault may answer in the service's place: it returns true when it has. It is called concurrently.
	Fault func(w http.ResponseWriter, r *http.Request, input []string) bool
}

// Server is a running service.
type Server struct {
	cfg      Config
	listener net.Listener
	server   *http.Server
	served   sync.WaitGroup

	requests, texts atomic.Int64
	most, now       atomic.Int64 // requests in flight
}

// Start starts a service.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Dimensions == 0 {
		cfg.Dimensions = 64
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", cfg.Addr, err)
	}
	s := &Server{cfg: cfg, listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/embeddings", s.embeddings)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	s.served.Go(func() { _ = s.server.Serve(l) })
	return s, nil
}

// Addr is where the service listens, as host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is where the API begins.
func (s *Server) URL() string { return "http://" + s.Addr() + "/v1" }

// Requests counts the requests so far.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Texts counts the texts that were embedded so far.
func (s *Server) Texts() int64 { return s.texts.Load() }

// AtOnce is how many requests were answered at the same time, at most.
func (s *Server) AtOnce() int64 { return s.most.Load() }

// Close cuts all connections and waits for running requests.
func (s *Server) Close() error {
	err := s.server.Close()
	s.served.Wait()
	if err != nil {
		return fmt.Errorf("closing the embedding service: %w", err)
	}
	return nil
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	var q struct {
		Input      json.RawMessage `json:"input"`
		Model      string          `json:"model"`
		Encoding   string          `json:"encoding_format"`
		Dimensions int             `json:"dimensions"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		Refuse(w, http.StatusBadRequest, "invalid_request_error", "the request is no JSON: "+err.Error())
		return
	}
	var input []string
	var one string
	if json.Unmarshal(q.Input, &one) == nil {
		input = []string{one}
	} else if json.Unmarshal(q.Input, &input) != nil || len(input) == 0 {
		Refuse(w, http.StatusBadRequest, "invalid_request_error", "input must be a text or texts")
		return
	}
	if s.cfg.APIKey != "" && r.Header.Get("Authorization") != "Bearer "+s.cfg.APIKey {
		Refuse(w, http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided")
		return
	}
	if s.cfg.Model != "" && q.Model != s.cfg.Model {
		Refuse(w, http.StatusNotFound, "model_not_found", fmt.Sprintf("The model `%s` does not exist", q.Model))
		return
	}
	if s.cfg.Fault != nil && s.cfg.Fault(w, r, input) {
		return
	}
	if s.cfg.Delay > 0 {
		select {
		case <-time.After(s.cfg.Delay):
		case <-r.Context().Done():
			return
		}
	}
	size := s.cfg.Dimensions
	if q.Dimensions > 0 {
		size = q.Dimensions
	}
	type data struct {
		Object    string `json:"object"`
		Index     int    `json:"index"`
		Embedding any    `json:"embedding"`
	}
	out := struct {
		Object string         `json:"object"`
		Data   []data         `json:"data"`
		Model  string         `json:"model"`
		Usage  map[string]int `json:"usage"`
	}{Object: "list", Model: q.Model}
	tokens := 0
	for i, text := range input {
		if strings.TrimSpace(text) == "" {
			Refuse(w, http.StatusBadRequest, "invalid_request_error", "input cannot be an empty string")
			return
		}
		tokens += len(words(text))
		v := Vector(text, size)
		d := data{Object: "embedding", Index: i, Embedding: v}
		if q.Encoding == "base64" {
			packed := make([]byte, 0, 4*len(v))
			for _, x := range v {
				packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(x))
			}
			d.Embedding = base64.StdEncoding.EncodeToString(packed)
		}
		out.Data = append(out.Data, d)
	}
	out.Usage = map[string]int{"prompt_tokens": tokens, "total_tokens": tokens}
	s.texts.Add(int64(len(input)))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// Refuse answers with an error as OpenAI words it.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": code, "code": code}})
}

func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// Vector embeds a text as a bag of words: each word adds 1 or -1 to the component that its hash names. The length is 1, so
// that texts compare by their words, not their size.
func Vector(text string, size int) []float32 {
	sums := make([]float64, size)
	for _, word := range words(text) {
		h := fnv.New64a()
		_, _ = h.Write([]byte(word))
		sum := h.Sum64()
		sums[sum>>1%uint64(size)] += float64(sum&1)*2 - 1
	}
	var squares float64
	for _, s := range sums {
		squares += s * s
	}
	if squares == 0 { // no direction is as good as another, but the cosine needs one
		sums[0], squares = 1, 1
	}
	out := make([]float32, size)
	for i, s := range sums {
		out[i] = float32(s / math.Sqrt(squares))
	}
	return out
}
