package embed

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

// service answers in a test's process, so that a bubble's time is the whole world's.
type service struct {
	answer func(texts []string, r *http.Request) (status int, header http.Header, body string)
	delay  time.Duration

	requests, texts, now, most atomic.Int64
	mu                         sync.Mutex
	sizes                      []int
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	var q body
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.sizes = append(s.sizes, len(q.Input))
	s.mu.Unlock()
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	status, header, text := http.StatusOK, http.Header(nil), ""
	if s.answer != nil {
		status, header, text = s.answer(q.Input, r)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if status == http.StatusOK && text == "" {
		s.texts.Add(int64(len(q.Input)))
		text = vectors(q.Input, string(q.Encoding))
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// vectors answers a request with vectors of three numbers that tell the texts apart.
func vectors(texts []string, encoding string) string {
	var b bytes.Buffer
	b.WriteString(`{"data":[`)
	for i := len(texts) - 1; i >= 0; i-- { // in another order, as the index says
		v := vectorOf(texts[i])
		if encoding == "base64" {
			var packed []byte
			for _, x := range v {
				packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(x))
			}
			fmt.Fprintf(&b, `{"index":%d,"embedding":%q}`, i, base64.StdEncoding.EncodeToString(packed))
		} else {
			fmt.Fprintf(&b, `{"index":%d,"embedding":[%v, %v,%v]}`, i, v[0], v[1], v[2])
		}
		if i > 0 {
			b.WriteByte(',')
		}
	}
	fmt.Fprintf(&b, `],"usage":{"prompt_tokens":%d}}`, 10*len(texts))
	return b.String()
}

func vectorOf(text string) []float32 { return []float32{float32(len(text)), float32(text[0]), 0.25} }

func opened(t *testing.T, s *service, change func(c *Config)) *stage {
	t.Helper()
	conf := defaults()
	conf.URL, conf.Model = "http://embed.example/v1", "model"
	if change != nil {
		change(&conf)
	}
	stage, err := open(conf, syncd.Env{Logger: slog.New(slog.DiscardHandler), Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	stage.client.Transport = s
	t.Cleanup(func() { _ = stage.Close() })
	return stage
}

func document(texts ...string) syncd.Change {
	c := syncd.Change{ID: strings.Join(texts, " "), Content: &syncd.Content{}}
	for _, text := range texts {
		c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{Text: text, Hash: text, Tokens: 10})
	}
	return c
}

func TestStage(t *testing.T) {
	syncdtest.TestStage(t, syncdtest.StageHarness{
		Open: func(t *testing.T) syncd.Stage {
			return opened(t, &service{answer: func(texts []string, _ *http.Request) (int, http.Header, string) {
				if slices.Contains(texts, "no text for a model") {
					return http.StatusBadRequest, nil, `{"error":{"message":"refused"}}`
				}
				return http.StatusOK, nil, ""
			}}, nil)
		},
		Change:  func(n int) syncd.Change { return document(fmt.Sprint("document ", n), "its second chunk") },
		Refused: func() syncd.Change { return document("a good one", "no text for a model") },
	})
}

func TestVectorsReachTheirChunks(t *testing.T) {
	for _, encoding := range []Encoding{Float, Base64} {
		s := &service{}
		stage := opened(t, s, func(c *Config) { c.Encoding, c.TextPrefix, c.BatchSize = encoding, "passage: ", 3 })
		changes := []syncd.Change{document("a", "bb", "", "a"), {Operation: syncd.Delete}, document("ccc"), document("kept")}
		changes[0].Content.Prefix = "T\n\n"
		changes[3].Content.Chunks[0].Kept = true
		if err := stage.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes[:3] {
			if c.Content == nil {
				continue
			}
			for k, chunk := range c.Content.Chunks {
				if chunk.Text == "" {
					if chunk.Vector != nil {
						t.Error("a chunk without text has a vector")
					}
					continue
				}
				if want := vectorOf("passage: " + c.Content.Prefix + chunk.Text); fmt.Sprint(chunk.Vector) != fmt.Sprint(want) {
					t.Errorf("%s: chunk %d, %q: %v, want %v", encoding, k, chunk.Text, chunk.Vector, want)
				}
			}
		}
		if changes[3].Content.Chunks[0].Vector != nil {
			t.Error("what the index holds was embedded again")
		}
		if n := s.texts.Load(); n != 3 { // "a" once
			t.Errorf("%d texts were embedded", n)
		}
		if u := stage.usage(); u.Texts != 3 || u.Tokens != 30 || u.Requests != 1 {
			t.Errorf("%+v", u)
		}
	}
}

// TestTextsOfManyCallsTravelTogether: requests are full, no more than allowed are under way, and the service is kept busy.
func TestTextsOfManyCallsTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{delay: 50 * time.Millisecond}
		stage := opened(t, s, func(c *Config) { c.BatchSize, c.Concurrency = 64, 4 })
		began := time.Now()
		var calls sync.WaitGroup
		const callers, each, rounds = 32, 64, 8
		for w := range callers {
			calls.Go(func() {
				for r := range rounds {
					var changes []syncd.Change
					for i := range each {
						changes = append(changes, document(fmt.Sprintf("text %d %d %d", w, r, i)))
					}
					if err := stage.Apply(t.Context(), changes); err != nil {
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		took, best := time.Since(began), time.Duration(callers*each*rounds/64/4)*50*time.Millisecond
		if float64(best)/float64(took) < 0.9 {
			t.Errorf("it took %v, where concurrency allows %v", took, best)
		}
		if n := s.most.Load(); n != 4 {
			t.Errorf("%d requests were under way at once", n)
		}
		if n := s.requests.Load(); n != callers*each*rounds/64 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestFewTextsWaitAShortWhile: small calls are joined, and one that is alone does not wait for long.
func TestFewTextsWaitAShortWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		stage := opened(t, s, func(c *Config) { c.Linger = 5 * time.Millisecond })
		began := time.Now()
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				if err := stage.Apply(t.Context(), []syncd.Change{document(fmt.Sprint("text ", i))}); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if took := time.Since(began); took != 5*time.Millisecond || s.requests.Load() != 1 {
			t.Errorf("it took %v and %d requests", took, s.requests.Load())
		}
	})
}

func refusal(status int, code, message string) func([]string, *http.Request) (int, http.Header, string) {
	return func([]string, *http.Request) (int, http.Header, string) {
		return status, nil, fmt.Sprintf(`{"error":{"message":%q,"code":%q}}`, message, code)
	}
}

// TestRateLimited: an hour of 429 makes a run slow and does not fail it, with and without a time to wait, and all requests wait together.
func TestRateLimited(t *testing.T) {
	for _, after := range []string{"", "60", "0.5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999"} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			s := &service{answer: func([]string, *http.Request) (int, http.Header, string) {
				if time.Since(began) > time.Hour {
					return http.StatusOK, nil, ""
				}
				return http.StatusTooManyRequests, http.Header{"Retry-After": {after}}, `{"error":{"message":"slow down"}}`
			}}
			stage := opened(t, s, nil)
			changes := []syncd.Change{document("text")}
			if err := stage.Apply(t.Context(), changes); err != nil || changes[0].Content.Chunks[0].Vector == nil {
				t.Errorf("Retry-After %q: %v", after, err)
			}
			if took := time.Since(began); took < time.Hour || took > time.Hour+11*time.Minute {
				t.Errorf("Retry-After %q: it took %v", after, took)
			}
		})
	}
}

// TestAServiceThatAsksToWaitIsLeftAlone: by all requests, also by those that it has not refused, for the longest of the times that it names. One
// that fails without naming a time holds no other up.
func TestAServiceThatAsksToWaitIsLeftAlone(t *testing.T) {
	busy := func(after string) func() (int, http.Header, string) {
		return func() (int, http.Header, string) {
			return http.StatusTooManyRequests, http.Header{"Retry-After": {after}}, `{"error":{"message":"slow down"}}`
		}
	}
	for name, c := range map[string]struct {
		first, second func() (int, http.Header, string)
		want          time.Duration // when the third text reaches the service
	}{
		"for a minute":                      {first: busy("60"), want: time.Minute},
		"for no time that it names":         {first: busy(""), want: briefWait},
		"first for longer":                  {first: busy("60"), second: busy("3"), want: time.Minute},
		"then for longer":                   {first: busy("3"), second: busy("60"), want: time.Minute + 100*time.Millisecond},
		"unavailable, and when is known":    {first: func() (int, http.Header, string) { return 503, http.Header{"Retry-After": {"60"}}, "" }, want: time.Minute},
		"unavailable, and nothing is known": {first: func() (int, http.Header, string) { return 503, nil, "" }, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var mu sync.Mutex
				reached := map[string][]time.Duration{}
				s := &service{answer: func(texts []string, _ *http.Request) (int, http.Header, string) {
					mu.Lock()
					defer mu.Unlock()
					reached[texts[0]] = append(reached[texts[0]], time.Since(began))
					if len(reached[texts[0]]) > 1 {
						return http.StatusOK, nil, ""
					}
					switch {
					case texts[0] == "first":
						return c.first()
					case texts[0] == "second" && c.second != nil:
						return c.second()
					}
					return http.StatusOK, nil, ""
				}}
				// The second is under way when the first is refused; the third comes later.
				s.delay = 100 * time.Millisecond
				stage := opened(t, s, func(c *Config) { c.BatchSize, c.Linger = 1, 0 })
				var calls sync.WaitGroup
				for text, at := range map[string]time.Duration{"first": 0, "second": 100*time.Millisecond - 1, "third": time.Second} {
					calls.Go(func() {
						time.Sleep(at)
						if err := stage.Apply(t.Context(), []syncd.Change{document(text)}); err != nil {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				if got := reached["third"][0] - s.delay; got < c.want || got > c.want+s.delay {
					t.Errorf("the third text reached the service after %v, want %v: %v", got, c.want, reached)
				}
			})
		})
	}
}

// TestADividedRequestIsUnderWayUntilItsLastPart: the service never has more requests than concurrency allows, also where it takes only small
// ones.
func TestADividedRequestIsUnderWayUntilItsLastPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{delay: 50 * time.Millisecond, answer: func(texts []string, _ *http.Request) (int, http.Header, string) {
			if len(texts) > 1 {
				return http.StatusRequestEntityTooLarge, nil, ""
			}
			return http.StatusOK, nil, ""
		}}
		const concurrency, requests, size = 2, 6, 4
		stage := opened(t, s, func(c *Config) { c.BatchSize, c.Concurrency = size, concurrency })
		var changes []syncd.Change
		for i := range requests * size {
			changes = append(changes, document(fmt.Sprint("text ", i)))
		}
		began := time.Now()
		if err := stage.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if n := s.most.Load(); n != concurrency {
			t.Errorf("%d requests were under way at once", n)
		}
		if took, want := time.Since(began), requests/concurrency*(2*size-1)*s.delay; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}

		before, arrived := s.requests.Load(), 0
		if _, err := stage.embed(t.Context(), slices.Repeat([]text{{"text", 1}}, size), func() {
			if arrived++; s.requests.Load() != before+2*size-1 {
				t.Errorf("it has arrived after %d requests", s.requests.Load()-before)
			}
		}); err != nil || arrived != 1 {
			t.Errorf("%v, and it has arrived %d times", err, arrived)
		}
	})
}

func TestLimitsOfTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		stage := opened(t, s, func(c *Config) { c.Limits.Requests, c.BatchSize = 60, 1 })
		began := time.Now()
		var changes []syncd.Change
		for i := range 61 {
			changes = append(changes, document(fmt.Sprint("text ", i)))
		}
		if err := stage.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began).Round(time.Second); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("61 requests at 60 a minute took %v", took)
		}
	})
}

func TestAnEmbedderThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: refusal(http.StatusServiceUnavailable, "", "loading the model")}
		stage := opened(t, s, func(c *Config) { c.Retry.MaxElapsed = time.Minute })
		err := stage.Apply(t.Context(), []syncd.Change{document("text")})
		if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "loading the model") || syncd.HintOf(err) == "" {
			t.Errorf("%v, hint %q", err, syncd.HintOf(err))
		}
	})
	synctest.Test(t, func(t *testing.T) { // and comes back
		began := time.Now()
		s := &service{answer: func([]string, *http.Request) (int, http.Header, string) {
			if time.Since(began) < 2*time.Minute {
				return http.StatusBadGateway, nil, "<html>"
			}
			return http.StatusOK, nil, ""
		}}
		if err := opened(t, s, nil).Apply(t.Context(), []syncd.Change{document("text")}); err != nil {
			t.Error(err)
		}
	})
}

// TestAnOutageIsToldOnce: however many wait for the service, there is a line when it is lost, one every 30 s, and one at the end; a limit
// that is kept to is told in the same way, and what passes at once is not.
func TestAnOutageIsToldOnce(t *testing.T) {
	for name, c := range map[string]struct {
		lasts time.Duration
		fails func([]string, *http.Request) (int, http.Header, string)
		want  []string
	}{
		"away": {70 * time.Second, refusal(http.StatusBadGateway, "", "s3cret is away"), []string{
			"the embedding service can't be asked: trying again", "the embedding service still can't be asked", "the embedding service still can't be asked",
			"the embedding service can be asked again",
		}},
		"asked to wait": {20 * time.Minute, func([]string, *http.Request) (int, http.Header, string) {
			return http.StatusTooManyRequests, http.Header{"Retry-After": {"600"}}, `{"error":{"message":"slow down"}}`
		}, []string{
			"the embedding service can't be asked: trying again", "the embedding service still can't be asked", "the embedding service can be asked again",
		}},
		"until the last text": {5 * time.Second, refusal(http.StatusBadGateway, "", "away"), []string{
			"the embedding service can't be asked: trying again", "the embedding service can be asked again",
		}},
		"for a moment": {100 * time.Millisecond, refusal(http.StatusBadGateway, "", "away"), nil},
		"refused":      {time.Hour, refusal(http.StatusUnauthorized, "", "no"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				began := time.Now()
				s := &service{answer: func(texts []string, r *http.Request) (int, http.Header, string) {
					if time.Since(began) < c.lasts {
						return c.fails(texts, r)
					}
					return http.StatusOK, nil, ""
				}}
				conf := defaults()
				conf.URL, conf.Model, conf.APIKey, conf.BatchSize = "https://embed.example/v1", "model", "s3cret", 1
				conf.Retry.Initial, conf.Retry.Max = 50*time.Millisecond, 5*time.Second
				stage, err := open(conf, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil)), Retried: func(string) {}})
				if err != nil {
					t.Fatal(err)
				}
				stage.client.Transport = s
				callers := 8
				if name == "until the last text" { // nobody asks any more, right behind the first answer
					callers, stage.conf.Retry.Max = 1, time.Second
				}
				var calls sync.WaitGroup
				for i := range callers {
					calls.Go(func() {
						if err := stage.Apply(t.Context(), []syncd.Change{document(fmt.Sprint("text ", i))}); (err != nil) != (name == "refused") {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				if err := stage.Close(); err != nil {
					t.Error(err)
				}
				var got []string
				for line := range strings.Lines(log.String()) {
					_, text, _ := strings.Cut(line, `msg="`)
					text, _, _ = strings.Cut(text, `"`)
					got = append(got, text)
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) || strings.Contains(log.String(), "s3cret") {
					t.Errorf("%s", log.String())
				}
				if name == "asked to wait" && !strings.Contains(log.String(), "slow down; the next attempt is in 10m") {
					t.Errorf("%s", log.String())
				}
			})
		})
	}
}

// TestAnEmbedderThatIsSlow: many texts that are late are asked for in smaller requests; one that is late for ever is an outage.
func TestAnEmbedderThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		s.answer = func(texts []string, r *http.Request) (int, http.Header, string) {
			select {
			case <-time.After(time.Duration(len(texts)) * time.Second):
				return http.StatusOK, nil, ""
			case <-r.Context().Done():
				return http.StatusServiceUnavailable, nil, ""
			}
		}
		stage := opened(t, s, func(c *Config) { c.Timeout = 10 * time.Second })
		var changes []syncd.Change
		for i := range 32 {
			changes = append(changes, document(fmt.Sprint("text ", i)))
		}
		if err := stage.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		for i := range changes {
			if changes[i].Content.Chunks[0].Vector == nil {
				t.Fatalf("text %d has no vector", i)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &service{delay: time.Hour}
		stage := opened(t, s, func(c *Config) { c.Timeout, c.Retry.MaxElapsed = 10*time.Second, time.Minute })
		changes := []syncd.Change{document("one"), document("two")}
		began := time.Now()
		err := stage.Apply(t.Context(), changes)
		if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time within 10s") || !strings.Contains(syncd.HintOf(err), "stages.embed.timeout") {
			t.Errorf("%v, hint %q", err, syncd.HintOf(err))
		}
		if took := time.Since(began); took > 3*time.Minute || changes[0].Err != nil {
			t.Errorf("it took %v; a document's error is %v", took, changes[0].Err)
		}
	})
}

func TestFaultsOfAnAnswer(t *testing.T) {
	answer := func(text string) func([]string, *http.Request) (int, http.Header, string) {
		return func([]string, *http.Request) (int, http.Header, string) { return http.StatusOK, nil, text }
	}
	for name, c := range map[string]struct {
		answer   func([]string, *http.Request) (int, http.Header, string)
		run, doc string // the run's error, or that of the first document
	}{
		"fewer vectors than texts": {answer: answer(`{"data":[{"index":0,"embedding":[1,2,3]}]}`), run: "1 vectors for 2 texts"},
		"more vectors than texts":  {answer: answer(`{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[1]}]}`), run: "3 vectors for 2 texts"},
		"a vector twice":           {answer: answer(`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`), run: "vector 0 twice"},
		"a vector of no text":      {answer: answer(`{"data":[{"index":0,"embedding":[1]},{"index":7,"embedding":[1]}]}`), run: "vector 7"},
		"another size":             {answer: answer(`{"data":[{"embedding":[1,2]},{"embedding":[1,2,3]}]}`), run: "3 numbers where 2 were expected"},
		"empty vectors":            {answer: answer(`{"data":[{"embedding":[]},{"embedding":[]}]}`), run: "an empty vector"},
		"not a number":             {answer: answer(`{"data":[{"embedding":[1,NaN]},{"embedding":[1,2]}]}`), doc: "something other than numbers"},
		"null for a number":        {answer: answer(`{"data":[{"embedding":[1,null]},{"embedding":[1,2]}]}`), doc: "something other than numbers"},
		"infinity":                 {answer: answer(`{"data":[{"embedding":[1,1e999]},{"embedding":[1,2]}]}`), doc: "something other than numbers"},
		"infinity as a word":       {answer: answer(`{"data":[{"embedding":[1,-Infinity]},{"embedding":[1,2]}]}`), doc: "something other than numbers"},
		"words for numbers":        {answer: answer(`{"data":[{"embedding":[1,x]},{"embedding":[1,2]}]}`), run: "reading the embedding service's answer"},
		"base64 cut off":           {answer: answer(`{"data":[{"embedding":"AAAA"},{"embedding":"AAAA"}]}`), run: "cut off"},
		"no JSON":                  {answer: answer(`<html>`), run: "reading the embedding service's answer"},
		"a refused key":            {answer: refusal(http.StatusUnauthorized, "", "Incorrect API key s3cret"), run: "answered 401"},
		"no such model":            {answer: refusal(http.StatusNotFound, "", "model not found"), run: "model not found"},
		"no credit":                {answer: refusal(http.StatusTooManyRequests, "insufficient_quota", "You exceeded your quota"), run: "You exceeded your quota"},
		"all refused":              {answer: refusal(http.StatusBadRequest, "", "encoding_format is not known"), run: "encoding_format is not known"},
		"a redirect": {answer: func([]string, *http.Request) (int, http.Header, string) {
			return http.StatusFound, http.Header{"Location": {"http://elsewhere.example"}}, ""
		}, run: "answered 302"},
	} {
		t.Run(name, func(t *testing.T) {
			stage := opened(t, &service{answer: c.answer}, func(c *Config) { c.APIKey = "s3cret" })
			changes := []syncd.Change{document("one"), document("two")}
			err := stage.Apply(t.Context(), changes)
			switch {
			case c.run != "":
				if err == nil || !strings.Contains(err.Error(), c.run) || strings.Contains(err.Error()+syncd.HintOf(err), "s3cret") {
					t.Errorf("%v, want %q", err, c.run)
				}
			case err != nil:
				t.Error(err)
			case changes[0].Err == nil || !strings.Contains(changes[0].Err.Error(), c.doc):
				t.Errorf("%v, want %q", changes[0].Err, c.doc)
			case changes[1].Err != nil || changes[1].Content.Chunks[0].Vector == nil:
				t.Errorf("the other document: %v", changes[1].Err)
			}
		})
	}
}

// TestATextOverTheModelsLimit: one text that the service refuses is one document's error, and no other's.
func TestATextOverTheModelsLimit(t *testing.T) {
	s := &service{answer: func(texts []string, _ *http.Request) (int, http.Header, string) {
		for _, text := range texts {
			if len(text) > 100 {
				return http.StatusBadRequest, nil, `{"error":{"message":"maximum context length is 100"}}`
			}
		}
		return http.StatusOK, nil, ""
	}}
	stage := opened(t, s, nil)
	var changes []syncd.Change
	for i := range 40 {
		changes = append(changes, document(fmt.Sprint("text ", i)))
	}
	changes[17] = document("short", strings.Repeat("long ", 40))
	if err := stage.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	for i := range changes {
		if failed := changes[i].Err != nil; failed != (i == 17) || !failed && changes[i].Content.Chunks[0].Vector == nil {
			t.Errorf("document %d: %v", i, changes[i].Err)
		}
	}
	if err := changes[17].Err; err != nil && (!strings.Contains(err.Error(), "maximum context length is 100") || !strings.Contains(err.Error(), "chunk 1")) {
		t.Error(err)
	}
}

func TestTheEndOfTheContextEndsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{delay: time.Hour}
		stage := opened(t, s, func(c *Config) { c.Timeout = 2 * time.Hour })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := stage.Apply(ctx, []syncd.Change{document("text")}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
		if err := stage.Apply(t.Context(), []syncd.Change{document("text")}); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestDimensionsAreAskedForOnce(t *testing.T) {
	s := &service{}
	stage := opened(t, s, nil)
	for range 3 {
		if n, err := stage.dimensions(t.Context()); n != 3 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if s.requests.Load() != 1 {
		t.Errorf("%d requests", s.requests.Load())
	}
	if n, err := opened(t, s, func(c *Config) { c.Dimensions = 7 }).dimensions(t.Context()); n != 7 || err != nil || s.requests.Load() != 1 {
		t.Errorf("%d, %v, %d requests", n, err, s.requests.Load())
	}
}

// TestProbe asks once, whatever the answer is: nobody waits for a service to come back to be told that it is away.
func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		answer             func([]string, *http.Request) (int, http.Header, string)
		dimensions         int
		want, detail, hint string
	}{
		"fine":            {want: "ok", detail: "vectors of 3 numbers"},
		"of that size":    {dimensions: 3, want: "ok", detail: "vectors of 3 numbers"},
		"of another size": {dimensions: 7, want: "failed", detail: "a vector of 3 numbers where 7 were expected", hint: "stages.embed.dimensions"},
		"no such model":   {answer: refusal(http.StatusNotFound, "", "model not found"), want: "failed", detail: "model not found", hint: "stages.embed.model"},
		"a refused key":   {answer: refusal(http.StatusUnauthorized, "", "no"), want: "failed", detail: "answered 401", hint: "api_key"},
		"asked too often": {answer: refusal(http.StatusTooManyRequests, "", "slow down"), want: "failed", detail: "slow down", hint: "log"},
		"starting":        {answer: refusal(http.StatusServiceUnavailable, "", "loading"), want: "failed", detail: "loading", hint: "log"},
		"no numbers": {answer: func([]string, *http.Request) (int, http.Header, string) {
			return 200, nil, `{"data":[{"embedding":[NaN]}]}`
		}, want: "failed", detail: "other than numbers"},
		"fewer than asked":  {answer: func([]string, *http.Request) (int, http.Header, string) { return 200, nil, `{"data":[]}` }, want: "failed", detail: "0 vectors for 1 texts"},
		"not an API at all": {answer: func([]string, *http.Request) (int, http.Header, string) { return 200, nil, `<html>` }, want: "failed", detail: "reading the embedding service's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{answer: c.answer}
			f := opened(t, s, func(conf *Config) { conf.Dimensions = c.dimensions }).Abilities().Probe(t.Context(), nil)
			if len(f) != 1 || f[0].Subject != "model model" || string(f[0].Status) != c.want || !strings.Contains(f[0].Detail, c.detail) || !strings.Contains(f[0].Hint, c.hint) {
				t.Errorf("%+v", f)
			}
			if n := f[0].Dimensions; (n == 3) != (c.want == "ok") {
				t.Errorf("it has %d dimensions", n)
			}
			if n := s.requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
	syncdtest.TestProber(t, opened(t, &service{}, nil).Abilities().Probe, nil)
}

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"{model: m}": "url", "{url: 'ftp://x', model: m}": "must begin with http://", "{url: 'http://u:p@x', model: m}": "must not hold a user",
		"{url: 'http://x/v1/embeddings', model: m}": "ends with /embeddings", "{url: 'http:///v1', model: m}": "names no host",
		"{url: 'http://x', model: m, shorten: true}": "needs dimensions", "{url: 'http://x', model: m, retry: {initial: 1m}}": "at least initial",
		"{url: 'http://x'}": "model",
	} {
		conf := defaults()
		if diags := spec.Decode(syncdtest.Node(t, text), &conf, "stages", "embed"); !strings.Contains(fmt.Sprint(diags), want) {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"data":[{"index":0,"embedding":[1,2]}]}`, `{"data":[{"embedding":"AAAAAA=="}]}`, `{"data":[{"embedding":[NaN]}]}`, `{}`, `[`} {
		f.Add([]byte(s))
	}
	conf := defaults()
	conf.URL, conf.Model = "http://embed.example/v1", "model"
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := open(conf, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		answers, err := s.read(data, 1, 1)
		if err == nil && (len(answers) != 1 || answers[0].err == nil && len(answers[0].vector) == 0) {
			t.Fatalf("%+v", answers)
		}
	})
}

// endless is an answer without an end.
type endless struct{ read int }

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(e), Request: r}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 16<<20 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestARefusalIsReadToABound: of what a service says of an error no more is held than a message takes.
func TestARefusalIsReadToABound(t *testing.T) {
	s, e := opened(t, &service{}, nil), &endless{}
	s.client.Transport = e
	err := s.Apply(t.Context(), []syncd.Change{document("a")})
	if err == nil || e.read > 1<<20 {
		t.Errorf("%d bytes were read: %v", e.read, err)
	}
}
