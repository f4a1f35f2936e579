package qdrant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/coalesce"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/qdrantconn"
	"github.com/syncd-io/syncd/internal/retry"
)

type checker struct {
	client      *qdrant.Client
	buffers     mem.BufferPool // gRPC's
	conf        Config
	ep          qdrantconn.Endpoint
	log         *slog.Logger
	contact     *contact.Contact
	consistency *qdrant.ReadConsistency

	slots    chan struct{}                                 // one per request in flight
	limit    sizer                                         // ids per request
	reads    sizer                                         // limit where payload is asked for as well, which makes answers longer
	together *coalesce.Batches[syncd.Point, syncd.Verdict] // calls of Check about few points
	seen     atomic.Bool                                   // the collection exists, or did
	asks     sync.Pool                                     // of *ask
	done     atomic.Bool                                   // closed

	retried func(reason string)
	adapted func(what string, now, most int)

	clock retry.Clock // which tests replace, so that they need not wait
}

var _ syncd.Checker = (*checker)(nil)

// Abilities are all that a checker can have.
func (c *checker) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Read: c.Read, List: c.List, Sample: c.Sample, Inspect: c.Inspect, Survey: c.Survey, Probe: c.Probe}
}

// open connects and looks whether the answers are those of a Qdrant that can be asked.
func open(ctx context.Context, conf Config, log *slog.Logger) (*checker, error) {
	ep, err := conf.endpoint()
	if err != nil {
		return nil, fmt.Errorf("reading the address of Qdrant: it %w", err)
	}
	consistency, err := conf.ReadConsistency.request()
	if err != nil {
		return nil, fmt.Errorf("reading read_consistency: it %w", err)
	}
	var secure *tls.Config
	if ep.TLS {
		if secure, err = dial.TLS(conf.TLS).Config(); err != nil {
			return nil, syncd.Hint(fmt.Errorf("preparing the connection to Qdrant: %w", err), "check the files of checker.qdrant.tls, and the password of the key")
		}
	}
	if ep.Mapped {
		log.Info(fmt.Sprintf("%d is Qdrant's REST port; using gRPC port %d", qdrantconn.RESTPort, qdrantconn.GRPCPort), "address", ep.Addr())
	}
	if !ep.TLS && conf.APIKey != "" {
		log.Warn("the API key is sent without TLS, readable on the network; https in url turns TLS on", "address", ep.Addr())
	}

	buffers := qdrantconn.Buffers()
	client, err := qdrantconn.Client(ep, qdrantconn.Settings{
		APIKey: conf.APIKey.Reveal(), TLS: secure, PoolSize: conf.PoolSize, Buffers: buffers,
		FirstPause: conf.Retry.Initial, LongestPause: conf.Retry.Max, ConnectTimeout: conf.ConnectTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to Qdrant at %s: %w", ep.Addr(), err)
	}
	c := &checker{
		client: client, buffers: buffers, conf: conf, ep: ep, log: log, consistency: consistency,
		contact: contact.New(contact.Config{
			Log: log, Server: "Qdrant", Address: ep.Addr(), Verb: "asked", Patience: notableWait,
			Trying: fmt.Sprintf("each question again, for up to %s (checker.qdrant.retry.max_elapsed)", conf.Retry.MaxElapsed),
		}),
		slots:   make(chan struct{}, conf.Concurrency),
		retried: func(string) {},
		adapted: func(string, int, int) {},
	}
	c.together = coalesce.NewBatches(c.check)
	c.limit.start(conf.BatchSize, func(now, most int) { c.adapted(sizeOfLookups, now, most) })
	c.reads.start(conf.BatchSize, func(now, most int) { c.adapted(sizeOfReads, now, most) })
	if err := c.preflight(ctx, secure); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// preflight finds out, within connect_timeout, whether the checker can work, and if not, what to do about it.
func (c *checker) preflight(ctx context.Context, secure *tls.Config) error {
	within, cancel := context.WithTimeout(ctx, c.conf.ConnectTimeout)
	defer cancel()

	// This call needs no key, so whatever fails here is not about the key.
	health, err := c.client.GetQdrantClient().HealthCheck(within, &qdrant.HealthCheckRequest{})
	if err != nil {
		return c.cannotConnect(ctx, secure, err)
	}
	if !strings.Contains(strings.ToLower(health.GetTitle()), "qdrant") {
		return c.notQdrant(fmt.Sprintf("it calls itself %q", health.GetTitle()), nil)
	}
	c.log.Debug("connected to Qdrant", "address", c.ep.Addr(), "version", health.GetVersion())

	// This one needs a key, where Qdrant has one.
	info, err := c.info(within)
	switch {
	case err == nil:
		c.seen.Store(true)
		if n := info.GetUpdateQueue().GetDeferredPoints(); n > 0 {
			c.log.Warn("Qdrant hides points until it has optimised them (prevent_unoptimized): they count as missing",
				"collection", c.conf.Collection, "hidden", n)
		}
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("connecting to Qdrant at %s: %w", c.ep.Addr(), ctx.Err())
	case status.Code(err) == codes.NotFound && c.conf.OnMissingCollection == missingFails:
		return c.noCollection(err)
	case status.Code(err) == codes.NotFound:
		c.log.Warn(fmt.Sprintf("Qdrant has no collection %q: every document counts as missing", c.conf.Collection),
			"address", c.ep.Addr())
		return nil
	}
	return c.explain(fmt.Sprintf("looking for the collection %q in Qdrant at %s", c.conf.Collection, c.ep.Addr()), err)
}

func (c *checker) info(ctx context.Context) (*qdrant.CollectionInfo, error) {
	r, err := c.client.GetCollectionsClient().Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: c.conf.Collection})
	return r.GetResult(), err
}

// cannotConnect says why the first request failed.
func (c *checker) cannotConnect(ctx context.Context, secure *tls.Config, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connecting to Qdrant at %s: %w", c.ep.Addr(), ctx.Err())
	}
	why := qdrantconn.Reason(err)
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		why = fmt.Sprintf("no answer within %v", c.conf.ConnectTimeout)
	case codes.Unauthenticated:
		return c.unauthorized("connecting to Qdrant at "+c.ep.Addr(), err)
	case codes.PermissionDenied:
		return c.forbidden("connecting to Qdrant at "+c.ep.Addr(), err)
	case codes.Unimplemented, codes.Unknown: // also what an HTTP server gives that knows HTTP/2 and not gRPC
		return c.notQdrant(qdrantconn.Reason(err), err)
	case codes.Unavailable:
	default:
		return c.explain("connecting to Qdrant at "+c.ep.Addr(), err)
	}

	looking, cancel := context.WithTimeout(ctx, longestProbe) // also where connect_timeout is over
	defer cancel()
	found := probe(looking, c.ep.Addr(), secure)
	if found == nil {
		return c.unreachable(why, err)
	}
	var hint string
	text := found.Error()
	_, untrusted := errors.AsType[dial.UntrustedError](found)
	refused, isRefused := errors.AsType[dial.RefusedError](found)
	switch {
	case errors.Is(found, errKafka), errors.Is(found, errNoFrame):
		return c.notQdrant(text, errors.Join(found, err))
	case errors.Is(found, errHangsUp):
		return c.fail(portHint, "connecting to Qdrant at "+c.ep.Addr()+": "+text, syncd.ErrForeign, syncd.ErrUnavailable, err)
	case untrusted:
		hint = dial.CertificateHint(found,
			"connect by a name that the certificate holds, or set tls.server_name to one",
			"renew the server's certificate; if it should be valid, set this machine's clock",
			"set tls.ca_file to the certificate of the authority that signed the server's")
	case isRefused:
		hint = "set tls.cert_file and tls.key_file if the server asks for a client's certificate, to one that it trusts; else check that the port is Qdrant's gRPC port"
		text = "the TLS handshake failed: " + refused.Unwrap().Error()
	case errors.Is(found, errHTTP1):
		hint = "use Qdrant's gRPC port, 6334 unless configured otherwise"
	case errors.Is(found, dial.ErrWantsTLS):
		hint = "begin url with https://, or set tls.enabled: true"
	case errors.Is(found, dial.ErrNoTLS):
		hint = "begin url with http://, or remove tls.enabled, unless the port is wrong"
	default: // no connection
		return c.unreachable(text, found)
	}
	return c.fail(hint, "connecting to Qdrant at "+c.ep.Addr()+": "+text, found, err)
}

func (c *checker) unreachable(why string, err error) error {
	hint := "check that Qdrant runs there and that its gRPC port can be reached from here"
	if c.ep.Mapped {
		hint += "; " + strconv.Itoa(qdrantconn.RESTPort) + " is its REST port, and syncd needs " + strconv.Itoa(qdrantconn.GRPCPort) + " open as well"
	}
	return c.fail(hint, "could not connect to Qdrant at "+c.ep.Addr()+": "+why, syncd.ErrUnavailable, err)
}

const portHint = "check host and port; Qdrant's gRPC port is 6334 unless configured otherwise"

func (c *checker) notQdrant(why string, err error) error {
	var causes []error
	if err != nil {
		causes = append(causes, err)
	}
	return c.fail(portHint,
		"connecting to Qdrant at "+c.ep.Addr()+": what answers there is not Qdrant: "+why, causes...)
}

var errClosed = errors.New("asking Qdrant: the checker is closed")

// Close ends the connections. Closing again does nothing.
func (c *checker) Close() error {
	if c.done.Swap(true) {
		return nil
	}
	c.contact.Close()
	if err := c.client.Close(); err != nil {
		return fmt.Errorf("closing the connection to Qdrant: %w", err)
	}
	return nil
}
