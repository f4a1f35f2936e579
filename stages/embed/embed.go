// Package embed is the stage that has a service make vectors of chunks: any with OpenAI's API for embeddings, such as OpenAI, Ollama,
// Text Embeddings Inference, vLLM and LiteLLM.
//
// Invariants:
//   - a chunk gets a vector or its document an error, or the whole call ends with one; a vector holds numbers only, and all have one size;
//   - texts of concurrent calls travel in one request; at most concurrency requests are in flight;
//   - what the index holds already (Chunk.Kept) and what has no text is not sent, and equal texts of a call are sent once;
//   - a time that the service asks to wait holds all requests up; no error and no notice shows the API key;
//   - Close ends all requests and leaves no goroutine behind.
package embed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/spec"
)

// Config is the stage's configuration.
type Config struct {
	URL     string      `yaml:"url" env:"EMBEDDING_URL" doc:"Where the service's API begins, /embeddings follows it: https://api.openai.com/v1, http://localhost:11434/v1 for Ollama." rule:"required"`
	Model   string      `yaml:"model" env:"EMBEDDING_MODEL" doc:"The model, as the service calls it." rule:"required,name"`
	Version string      `yaml:"version" doc:"A text that goes with the model's name into the index: another one makes every document stale, so that all are embedded again." rule:"name"`
	APIKey  spec.Secret `yaml:"api_key" env:"EMBEDDING_API_KEY" doc:"The service's key, sent as a bearer token."`
	TLS     TLS         `yaml:"tls" doc:"How to connect where url begins with https."`

	Dimensions      int      `yaml:"dimensions" doc:"How many numbers a vector has; 0 takes what the model gives." rule:"min=0,max=65536"`
	Shorten         bool     `yaml:"shorten" doc:"Ask the model for vectors of just so many dimensions, which only some can give."`
	Encoding        Encoding `yaml:"encoding" doc:"How vectors are asked for: float, which every service knows, or base64, which takes less work." rule:"oneof=float base64"`
	TextPrefix      string   `yaml:"text_prefix" doc:"What the model wants in front of a document's text, such as passage: with a space behind it."`
	QueryPrefix     string   `yaml:"query_prefix" doc:"What the model wants in front of a question."`
	PricePerMillion float64  `yaml:"price_per_million" doc:"What a million tokens cost in US dollars, for plans, progress and reports; 0 is not known." rule:"min=0"`

	BatchSize   int           `yaml:"batch_size" doc:"Texts in a request; of less those wait for others." rule:"min=1,max=10000"`
	BatchTokens int           `yaml:"batch_tokens" doc:"Tokens in a request, by estimate." rule:"min=1,max=10000000"`
	Concurrency int           `yaml:"concurrency" doc:"Requests in flight at once." rule:"min=1,max=1024"`
	Linger      time.Duration `yaml:"linger" doc:"How long a text waits for others to fill its request." rule:"min=0,max=1m"`
	Limits      Limits        `yaml:"limits" doc:"What the service allows; beyond that, the times count that it asks to wait."`

	Timeout time.Duration `yaml:"timeout" doc:"The time that one request may take." rule:"min=1ms,max=1h"`
	Retry   Retry         `yaml:"retry" doc:"How requests are repeated that the service could not answer."`
}

// Limits are what a service allows.
type Limits struct {
	Requests float64 `yaml:"requests_per_minute" doc:"Requests per minute; 0 is no limit." rule:"min=0"`
	Tokens   float64 `yaml:"tokens_per_minute" doc:"Tokens per minute, by estimate; 0 is no limit." rule:"min=0"`
}

// TLS is how the stage connects.
type TLS struct {
	CAFile     string `yaml:"ca_file" doc:"A PEM file of the authorities to trust instead of the system's."`
	CertFile   string `yaml:"cert_file" doc:"A PEM file of the certificate to show to the service; needs key_file."`
	KeyFile    string `yaml:"key_file" doc:"A PEM file of the certificate's key."`
	ServerName string `yaml:"server_name" doc:"The name that the service's certificate must hold, if not the host's."`
	SkipVerify bool   `yaml:"insecure_skip_verify" doc:"Accept any certificate, also a forger's."`
}

// Retry is how requests are repeated that the service could not answer.
type Retry struct {
	MaxElapsed time.Duration `yaml:"max_elapsed" doc:"The time after which a request is given up, not counting waits that the service asks for; 0 never repeats." rule:"min=0s,max=24h"`
	Initial    time.Duration `yaml:"initial" doc:"The longest pause before the first repetition; it doubles with each." rule:"min=1ms,max=1h"`
	Max        time.Duration `yaml:"max" doc:"The longest pause between two repetitions." rule:"min=1ms,max=1h"`
}

// Encoding is how vectors are asked for.
type Encoding string

// The encodings.
const (
	Float  Encoding = "float"
	Base64 Encoding = "base64"
)

func defaults() Config {
	return Config{
		Encoding: Float, BatchSize: 64, BatchTokens: 100_000, Concurrency: 8, Linger: 2 * time.Millisecond, Timeout: time.Minute,
		Retry: Retry{MaxElapsed: 5 * time.Minute, Initial: 200 * time.Millisecond, Max: 30 * time.Second},
	}
}

// Plugin declares the stage.
func Plugin() syncd.Plugin {
	return syncd.NewStage("embed", "Has a service with OpenAI's API for embeddings make vectors of chunks.", defaults(),
		func(_ context.Context, conf Config, env syncd.Env) (syncd.Stage, error) { return open(conf, env) }).WithVersion("1", syncd.Experimental)
}

// VectorModel implements syncd.VectorMaker.
func (c *Config) VectorModel() string {
	if c.Version == "" {
		return c.Model
	}
	return c.Model + "@" + c.Version
}

// Location implements syncd.Locator.
func (c *Config) Location() string { return spec.ScrubURLs(c.URL) }

// CheckConfig reports an address that can't be one.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	at, _ := n.Nearest([]string{"url"})
	report := func(problem string) {
		d.Errorf(at, spec.CodeBadValue, "such as https://api.openai.com/v1 or http://localhost:11434/v1", "%s.url %s", d.Path(), problem)
	}
	switch u, err := url.Parse(c.URL); {
	case err != nil:
		report("is no address")
	case u.Scheme != "http" && u.Scheme != "https":
		report("must begin with http:// or https://")
	case u.Host == "":
		report("names no host")
	case u.User != nil:
		report("must not hold a user or a password; write the key into api_key")
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/embeddings"):
		report("ends with /embeddings, which follows by itself: leave it out")
	}
	if c.Shorten && c.Dimensions == 0 {
		d.Errorf(n.Get("shorten"), spec.CodeBadValue, "set dimensions as well", "%s.shorten needs dimensions", d.Path())
	}
	if c.Retry.Initial > c.Retry.Max {
		d.Errorf(n.Get("retry"), spec.CodeBadValue, "", "%s.retry.max must be at least initial, which is %v", d.Path(), c.Retry.Initial)
	}
}

type stage struct {
	conf   Config
	scrub  func(string) string
	client *http.Client
	target string // of requests

	retried func(reason string)
	contact *contact.Contact

	requests, tokens *rate.Limiter // nil: no limit
	gate             gate
	queue            batcher

	size  atomic.Int64 // dimensions; 0 is not known yet
	works atomic.Bool  // a text was embedded

	usedRequests, usedTexts, usedTokens atomic.Int64
}

func open(conf Config, env syncd.Env) (*stage, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = conf.Concurrency
	if strings.HasPrefix(conf.URL, "https:") {
		secure, err := dial.TLS{
			Enabled: true, CAFile: conf.TLS.CAFile, CertFile: conf.TLS.CertFile, KeyFile: conf.TLS.KeyFile, ServerName: conf.TLS.ServerName, SkipVerify: conf.TLS.SkipVerify,
		}.Config()
		if err != nil {
			return nil, syncd.Hint(fmt.Errorf("preparing the connection to the embedding service: %w", err), "check the files of stages.embed.tls")
		}
		transport.TLSClientConfig = secure
	} else if conf.APIKey != "" {
		env.Logger.Warn("the embedding service's key is sent without TLS, readable on the network", "address", spec.ScrubURLs(conf.URL))
	}
	scrubber := dial.NewScrubber(conf.APIKey.Reveal())
	s := &stage{
		conf: conf, scrub: scrubber.Replace, retried: env.Retried,
		contact: contact.New(contact.Config{
			Log: env.Logger, Server: "the embedding service", Address: conf.Location(), Verb: "asked", Patience: notableWait,
			Trying: fmt.Sprintf("each request again, for up to %s (stages.embed.retry.max_elapsed)", conf.Retry.MaxElapsed),
		}),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		target: strings.TrimRight(conf.URL, "/") + "/embeddings",
	}
	s.size.Store(int64(conf.Dimensions))
	perMinute := func(n float64, burst int) *rate.Limiter {
		if n <= 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(n/60), max(1, burst, int(n/60)))
	}
	s.requests, s.tokens = perMinute(conf.Limits.Requests, 1), perMinute(conf.Limits.Tokens, min(conf.BatchTokens, int(conf.Limits.Tokens)))
	s.queue.start(conf.BatchSize, conf.BatchTokens, conf.Concurrency, conf.Linger, s.embed)
	return s, nil
}

// Abilities implements syncd.Stage.
func (s *stage) Abilities() syncd.StageAbilities {
	return syncd.StageAbilities{
		Fingerprint: fmt.Sprintf("embed/1 %q %d %t %q", s.conf.VectorModel(), s.conf.Dimensions, s.conf.Shorten, s.conf.TextPrefix),
		Vectors: &syncd.Vectors{
			Model: s.conf.VectorModel(), Dimensions: s.dimensions, Embed: s.question, Usage: s.usage, Price: s.conf.PricePerMillion, Prefix: s.conf.TextPrefix,
		},
		Probe: s.probe,
	}
}

// Close implements syncd.Stage.
func (s *stage) Close() error {
	s.queue.close()
	s.contact.Close()
	s.client.CloseIdleConnections()
	return nil
}

func (s *stage) usage() syncd.Usage {
	return syncd.Usage{Requests: s.usedRequests.Load(), Texts: s.usedTexts.Load(), Tokens: s.usedTokens.Load()}
}

// Apply implements syncd.Stage.
func (s *stage) Apply(ctx context.Context, changes []syncd.Change) error {
	type place struct{ change, chunk int }
	var texts []text
	var places [][]place // of each text
	first := map[string]int{}
	for i := range changes {
		c := &changes[i]
		if c.Content == nil || c.Err != nil {
			continue
		}
		for k := range c.Content.Chunks {
			chunk := &c.Content.Chunks[k]
			if chunk.Kept || chunk.Text == "" {
				continue
			}
			if at, again := first[chunk.Hash]; again && chunk.Hash != "" {
				places[at] = append(places[at], place{i, k})
				continue
			}
			first[chunk.Hash] = len(texts)
			texts = append(texts, text{s.conf.TextPrefix + c.Content.Prefix + chunk.Text, max(chunk.Tokens, 1)})
			places = append(places, []place{{i, k}})
		}
	}
	if len(texts) == 0 {
		return nil
	}
	answers, err := s.queue.ask(ctx, texts)
	if err != nil {
		return fmt.Errorf("embedding %d texts: %w", len(texts), err)
	}
	for t := range answers {
		for _, p := range places[t] {
			c := &changes[p.change]
			if err := answers[t].err; err != nil {
				if c.Err == nil {
					c.Err = fmt.Errorf("embedding chunk %d: %w", p.chunk, err)
				}
				continue
			}
			c.Content.Chunks[p.chunk].Vector, c.Content.Chunks[p.chunk].Tokens = answers[t].vector, answers[t].tokens
		}
	}
	return nil
}

// question embeds a question.
func (s *stage) question(ctx context.Context, q string) ([]float32, error) {
	answers, err := s.queue.ask(ctx, []text{{s.conf.QueryPrefix + q, max(1, len(q)/4)}})
	if err == nil {
		err = answers[0].err
	}
	if err != nil {
		return nil, fmt.Errorf("embedding the question: %w", err)
	}
	return answers[0].vector, nil
}

// dimensions asks for a vector, if none was made yet.
func (s *stage) dimensions(ctx context.Context) (int, error) {
	if n := s.size.Load(); n > 0 {
		return int(n), nil
	}
	if _, err := s.question(ctx, "syncd"); err != nil {
		return 0, fmt.Errorf("finding out how many dimensions the model %s has: %w", s.conf.Model, err)
	}
	return int(s.size.Load()), nil
}

// probe has one word embedded: no other question is answered alike by all services, and none says as much.
func (s *stage) probe(ctx context.Context, _ []syncd.ProbeTarget) []syncd.Finding {
	f := syncd.Finding{Subject: "model " + s.conf.Model}
	// One attempt: what may pass is told of, and not waited for.
	answers, err := s.post(ctx, []text{{s.conf.QueryPrefix + "syncd", 1}}, 1, func() {})
	if err == nil {
		err = answers[0].err
	}
	switch {
	case ctx.Err() != nil:
		f.Status, f.Detail = syncd.StatusFailed, "no answer in time"
	case err != nil:
		err = s.explain(err)
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
	default:
		f.Status, f.Dimensions = syncd.StatusOK, len(answers[0].vector)
		f.Detail = fmt.Sprintf("it gives vectors of %d numbers", f.Dimensions)
	}
	return []syncd.Finding{f}
}

// gate holds requests up until a time that the service named.
type gate struct {
	mu    sync.Mutex
	until time.Time
}

// shut holds requests up for a while from now.
func (g *gate) shut(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(d); until.After(g.until) {
		g.until = until
	}
}

func (g *gate) left() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.until)
}

var errClosed = errors.New("the stage is closed")
