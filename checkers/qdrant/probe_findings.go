package qdrant

import (
	"context"
	"fmt"
	"strings"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

var _ syncd.Locator = (*Config)(nil)

// IndexName implements syncd.Placed.
func (c *Config) IndexName() string {
	return fmt.Sprintf("collection %q at %s", c.Collection, c.Location())
}

// Location is the address that gRPC connects to.
func (c *Config) Location() string {
	ep, err := c.endpoint()
	if err != nil {
		return "" // its text may hold a password
	}
	return ep.Addr()
}

// Probe looks at the server, the collection, and what would make checks slow or wrong. What has to be right for connecting
// at all, the key included, open has proven.
func (c *checker) Probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	findings := []syncd.Finding{c.probeServer(ctx), c.probeConnection()}
	info, err := c.info(ctx)
	found := syncd.Finding{Subject: "collection " + c.conf.Collection}
	switch {
	case status.Code(err) == codes.NotFound && ctx.Err() == nil:
		found.Status = syncd.StatusWarning
		found.Detail = "does not exist: a run takes it for an empty index and sends every document"
		found.Hint = "the indexer creates it, or the first run of a job that writes it itself; if it should be there, correct checker.qdrant.collection"
		return append(findings, found)
	case err != nil:
		return append(findings, c.failedToProbe(ctx, found, err))
	}
	findings = append(findings, collectionFinding(found, info), c.probeCheck(ctx))
	keys := map[string]bool{}
	for _, t := range targets {
		if key := t.ContentTypeKey; key != "" && !keys[key] {
			keys[key] = true
			findings = append(findings, c.indexFinding(info, key))
		}
	}
	if len(keys) == 1 {
		findings = append(findings, c.probeSurvey(ctx, targets)...)
	}
	if f, ok := c.rateFinding(info); ok {
		findings = append(findings, f)
	}
	if n := info.GetUpdateQueue().GetDeferredPoints(); n > 0 {
		findings = append(findings, syncd.Finding{
			Subject: "hidden points", Status: syncd.StatusWarning,
			Detail: countPoints(n) + " hidden until optimised (prevent_unoptimized): to a run they are missing, and it sends them again",
			Hint:   "wait until the collection is optimised before a run",
		})
	}
	return findings
}

func (c *checker) probeServer(ctx context.Context) syncd.Finding {
	f := syncd.Finding{Subject: "server", Status: syncd.StatusOK}
	health, err := c.client.GetQdrantClient().HealthCheck(ctx, &qdrant.HealthCheckRequest{})
	if err != nil {
		return c.failedToProbe(ctx, f, err)
	}
	f.Detail = "Qdrant " + health.GetVersion()
	if c.ep.Mapped {
		f.Detail += fmt.Sprintf(", at gRPC port %d in place of the REST port %d", qdrantconn.GRPCPort, qdrantconn.RESTPort)
	}
	return f
}

// probeConnection judges how safe the connection is. It is what the configuration says, so there is nobody to ask.
func (c *checker) probeConnection() syncd.Finding {
	f := syncd.Finding{Subject: "connection", Status: syncd.StatusOK, Detail: "without TLS and without a key"}
	withKey := c.conf.APIKey != ""
	switch {
	case !c.ep.TLS && withKey:
		f.Status = syncd.StatusWarning
		f.Detail = "the API key is sent without TLS, readable on the network"
		f.Hint = "begin checker.qdrant.url with https://, once Qdrant has TLS"
	case c.ep.TLS && c.conf.TLS.SkipVerify:
		f.Status = syncd.StatusWarning
		f.Detail = "TLS, but any certificate is accepted, also a forger's"
		f.Hint = "set checker.qdrant.tls.ca_file to the certificate's authority in place of insecure_skip_verify"
	case c.ep.TLS && withKey:
		f.Detail = "TLS, with a key that Qdrant accepts"
	case c.ep.TLS:
		f.Detail = "TLS, without a key"
	}
	return f
}

func collectionFinding(f syncd.Finding, info *qdrant.CollectionInfo) syncd.Finding {
	f.Status = syncd.StatusOK
	f.Detail = "about " + countPoints(info.GetPointsCount())
	switch info.GetStatus() {
	case qdrant.CollectionStatus_Yellow:
		f.Detail += ", being optimised"
	case qdrant.CollectionStatus_Grey:
		f.Detail += ", waiting to be optimised"
	case qdrant.CollectionStatus_Red:
		f.Status = syncd.StatusWarning
		f.Detail += ", but Qdrant reports an error in it"
		if e := info.GetOptimizerStatus().GetError(); e != "" {
			f.Detail += ": " + e
		}
		f.Hint = "look at Qdrant's log"
	}
	return f
}

// probeCheck asks for one point, as a run asks for many: with its permission and its read consistency.
func (c *checker) probeCheck(ctx context.Context) syncd.Finding {
	f := syncd.Finding{Subject: "looking up points", Status: syncd.StatusOK, Detail: "possible"}
	if c.conf.ReadConsistency != "" {
		f.Detail += fmt.Sprintf(", with read consistency %s", c.conf.ReadConsistency)
	}
	if err := c.Check(ctx, make([]syncd.Point, 1), make([]syncd.Verdict, 1)); err != nil {
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
		if ctx.Err() != nil {
			f.Detail = noAnswer
		}
	}
	return f
}

// indexFinding tells whether points can be found by content type without reading every payload.
func (c *checker) indexFinding(info *qdrant.CollectionInfo, key string) syncd.Finding {
	f := syncd.Finding{
		Subject: "index on " + key, Status: syncd.StatusWarning,
		Hint: fmt.Sprintf(`create it: PUT /collections/%s/index {"field_name": %q, "field_schema": "keyword"}`, c.conf.Collection, key),
	}
	schema, ok := info.GetPayloadSchema()[key]
	switch kind := schema.GetDataType(); {
	case !ok:
		f.Detail = "there is none: looking for points whose documents are gone reads every point"
	case kind != qdrant.PayloadSchemaType_Keyword:
		f.Detail = fmt.Sprintf("it is of type %s; to find the points of a content type it must be keyword", strings.ToLower(kind.String()))
	default:
		f.Status, f.Detail, f.Hint = syncd.StatusOK, "keyword", ""
	}
	return f
}

// rateFinding warns of strict mode's read_rate_limit, of which a lookup takes one unit an id.
func (c *checker) rateFinding(info *qdrant.CollectionInfo) (syncd.Finding, bool) {
	strict := info.GetConfig().GetStrictModeConfig()
	limit := uint64(strict.GetReadRateLimit())
	if !strict.GetEnabled() || strict.ReadRateLimit == nil {
		return syncd.Finding{}, false
	}
	f := syncd.Finding{
		Subject: "read rate limit", Status: syncd.StatusWarning,
		Detail: fmt.Sprintf("strict mode allows %d lookups a minute for each replica; all %s take at least %s",
			limit, countPoints(info.GetPointsCount()), minutes(info.GetPointsCount(), limit)),
		Hint: "raise read_rate_limit of the collection's strict mode while runs go on, or let them take that time",
	}
	if uint64(c.conf.BatchSize) > limit {
		f.Hint += fmt.Sprintf("; checker.qdrant.batch_size is %d, more than is ever allowed at once, and will be halved", c.conf.BatchSize)
	}
	return f, true
}

// minutes is how long n lookups take at a limit a minute.
func minutes(n, limit uint64) string {
	switch m := (n + max(limit, 1) - 1) / max(limit, 1); {
	case m <= 1:
		return "a minute"
	default:
		return fmt.Sprintf("%d minutes", m)
	}
}

func countPoints(n uint64) string {
	if n == 1 {
		return "1 point"
	}
	return fmt.Sprintf("%d points", n)
}

const noAnswer = "no answer in time"

// failedToProbe completes a finding with an error.
func (c *checker) failedToProbe(ctx context.Context, f syncd.Finding, err error) syncd.Finding {
	f.Status = syncd.StatusFailed
	if ctx.Err() != nil {
		f.Detail = noAnswer
		return f
	}
	explained := c.explain("asking Qdrant at "+c.ep.Addr(), err)
	f.Detail, f.Hint = explained.Error(), syncd.HintOf(explained)
	return f
}
