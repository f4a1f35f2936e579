// Package qdrant is the sink that writes documents as points of a Qdrant collection: a point for each chunk, with its vector.
//
// Invariants:
//   - a reader sees all chunks of a document's old version or of its new one: new chunks are written before left-over ones are deleted,
//     and chunk 0, which says how many there are and of which version, is written last of a document that takes several requests;
//   - the points of a document have no hole, whenever the process is killed: the others are written from the first and deleted from the
//     last, so what is left over of a longer version begins where the document ends;
//   - a change is confirmed when Qdrant has applied it;
//   - of several changes of one document in a Write the last counts;
//   - points are deleted by their ids only;
//   - one document that Qdrant refuses does not keep the others of its request from being written;
//   - a vector of another size than the collection's ends the run, and is nobody's document error;
//   - no error and no notice shows the API key; Close leaves no goroutine and no connection behind.
package qdrant

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/points"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/internal/retry"
)

// Plugin declares the sink.
func Plugin() syncd.Plugin {
	return syncd.NewSink("qdrant", "Writes documents to a Qdrant collection, a point with its vector for each chunk.", defaults(),
		func(ctx context.Context, conf Config, env syncd.Env) (syncd.Sink, error) { return open(ctx, conf, env) }).
		WithLabel("Qdrant").WithVersion("1", syncd.Experimental)
}

type sink struct {
	conf     Config
	ep       qdrantconn.Endpoint
	client   *qdrant.Client
	log      *slog.Logger
	contact  *contact.Contact
	retried  func(string)
	scrub    dial.Scrubber
	ordering *qdrant.WriteOrdering
	layout   points.Layout
	writer   points.Writer[document]
	size     atomic.Int64 // of the collection's vectors; 0 is not known
	closed   atomic.Bool
}

func open(ctx context.Context, conf Config, env syncd.Env) (*sink, error) {
	ep, err := conf.endpoint()
	if err != nil {
		return nil, fmt.Errorf("reading the address of Qdrant: it %w", err)
	}
	var secure *tls.Config
	if ep.TLS {
		if secure, err = dial.TLS(conf.TLS).Config(); err != nil {
			return nil, syncd.Hint(fmt.Errorf("preparing the connection to Qdrant: %w", err), "check the files of sink.qdrant.tls, and the password of the key")
		}
	} else if conf.APIKey != "" {
		env.Logger.Warn("the API key is sent without TLS, readable on the network; https in url turns TLS on", "address", ep.Addr())
	}
	client, err := qdrantconn.Client(ep, qdrantconn.Settings{
		APIKey: conf.APIKey.Reveal(), TLS: secure, PoolSize: conf.PoolSize, Buffers: qdrantconn.Buffers(),
		FirstPause: conf.Retry.Initial, LongestPause: conf.Retry.Max, ConnectTimeout: conf.Connect,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to Qdrant at %s: %w", ep.Addr(), err)
	}
	s := &sink{
		conf: conf, ep: ep, client: client, log: env.Logger, retried: env.Retried, scrub: dial.NewScrubber(conf.APIKey.Reveal()),
		ordering: &qdrant.WriteOrdering{Type: map[Ordering]qdrant.WriteOrderingType{
			"weak": qdrant.WriteOrderingType_Weak, "medium": qdrant.WriteOrderingType_Medium, "strong": qdrant.WriteOrderingType_Strong,
		}[conf.Ordering]},
		layout: conf.layout(),
		contact: contact.New(contact.Config{
			Log: env.Logger, Server: "Qdrant", Address: ep.Addr(), Verb: "written to", Patience: time.Second,
			Trying: fmt.Sprintf("each request again, for up to %s (sink.qdrant.retry.max_elapsed)", conf.Retry.MaxElapsed),
		}),
	}
	s.writer = points.Writer[document]{Most: conf.BatchSize, Make: s.sized, Put: s.put, Faulty: s.judge}
	within, cancel := context.WithTimeout(ctx, conf.Connect)
	defer cancel()
	if _, err := client.GetQdrantClient().HealthCheck(within, &qdrant.HealthCheckRequest{}); err != nil {
		_ = client.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connecting to Qdrant at %s: %w", ep.Addr(), ctx.Err())
		}
		return nil, s.explain("connecting to Qdrant at "+ep.Addr(), err)
	}
	return s, nil
}

// Abilities implements syncd.Sink.
func (s *sink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: s.prepare, Route: s.conf.Route, Held: s.held, Nearest: s.nearest, Probe: s.probe, Switch: s.switching()}
}

// Close ends the connections. Closing again does nothing.
func (s *sink) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.contact.Close()
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("closing the connection to Qdrant: %w", err)
	}
	return nil
}

// call is one request, repeated while that may help. What is too much is given back at once.
func (s *sink) call(ctx context.Context, attempt func(context.Context) error) error {
	doubted := 0
	attempts := retry.Retrier{
		Policy: s.conf.Retry.Policy(),
		Classify: func(err error) (next retry.Decision) {
			var what qdrantconn.Outcome
			what, next.Delay = qdrantconn.Classify(err)
			switch what {
			case qdrantconn.Transient, qdrantconn.Throttled:
				next.Again = true
			case qdrantconn.Doubtful:
				doubted++
				next.Again = doubted <= 3
			case qdrantconn.Final, qdrantconn.TooMuch:
			}
			return next
		},
		Waiting: func(err error, wait time.Duration) {
			s.contact.Failed(s.scrub.Replace(qdrantconn.Reason(err)), wait)
		},
		Retrying: func(err error) { s.retried(strings.ToLower(status.Code(err).String())) },
	}.Start()
	for {
		within, cancel := context.WithTimeout(ctx, s.conf.Timeout)
		err := attempt(within)
		cancel()
		if err == nil {
			s.contact.Answered()
			return nil
		}
		if err = attempts.Again(ctx, err); err != nil {
			return cmp.Or(ctx.Err(), err)
		}
	}
}

// explain turns the final error of a request into one for people. doing is a gerund phrase.
func (s *sink) explain(doing string, err error) error {
	text := s.scrub.Replace(doing + ": " + qdrantconn.Reason(err))
	fail := func(hint string, causes ...error) error {
		return syncd.Hint(qdrantconn.Failure(text, causes...), "%s", hint)
	}
	switch what, _ := qdrantconn.Classify(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	case what == qdrantconn.Transient, what == qdrantconn.Throttled:
		return fail("check that Qdrant runs at "+s.ep.Addr()+", and look at its log; sink.qdrant.retry.max_elapsed and timeout say how long syncd tries", syncd.ErrUnavailable, err)
	case status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.PermissionDenied:
		return fail("set sink.qdrant.api_key to a key that may write to the collection "+s.conf.Collection, err)
	case status.Code(err) == codes.NotFound:
		return fail("create the collection "+s.conf.Collection+", or set sink.qdrant.create.enabled: true and run again", err)
	}
	return qdrantconn.Failure(text, err)
}
