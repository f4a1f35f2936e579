package qdrant

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// described is a stub whose collection can be described at will.
type described struct {
	qdrant.UnimplementedCollectionsServer
	info *qdrant.CollectionInfo
	err  error
}

func (d *described) Get(context.Context, *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	return &qdrant.GetCollectionInfoResponse{Result: d.info}, d.err
}

// startDescribed serves d beside a stub for the rest.
func startDescribed(t *testing.T, d *described) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	s := newStub()
	qdrant.RegisterQdrantServer(server, qdrantStub{stub: s})
	qdrant.RegisterPointsServer(server, pointsStub{stub: s})
	qdrant.RegisterCollectionsServer(server, d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-ended })
	return l.Addr().String()
}

var probeTargets = []syncd.ProbeTarget{
	{Target: syncd.Target{Collection: "page"}, ContentTypeKey: "content_type"},
	{Target: syncd.Target{Collection: "epic"}, ContentTypeKey: "content_type"},
}

func keywordIndex() map[string]*qdrant.PayloadSchemaInfo {
	return map[string]*qdrant.PayloadSchemaInfo{"content_type": {DataType: qdrant.PayloadSchemaType_Keyword}}
}

func TestProbeFindings(t *testing.T) {
	conf := testConfig(startDescribed(t, &described{info: &qdrant.CollectionInfo{
		Status: qdrant.CollectionStatus_Green, PointsCount: new(uint64(1500)), PayloadSchema: keywordIndex(),
	}}))
	conf.ReadConsistency = "majority"
	c, _ := opened(t, conf)
	want := []syncd.Finding{
		{Subject: "server", Status: syncd.StatusOK, Detail: "Qdrant 1.19.0"},
		{Subject: "connection", Status: syncd.StatusOK, Detail: "without TLS and without a key"},
		{Subject: "collection pms_collection", Status: syncd.StatusOK, Detail: "about 1500 points"},
		{Subject: "looking up points", Status: syncd.StatusOK, Detail: "possible, with read consistency majority"},
		{Subject: "index on content_type", Status: syncd.StatusOK, Detail: "keyword"},
	}
	if diff := cmp.Diff(want, c.Probe(t.Context(), probeTargets)); diff != "" {
		t.Errorf("findings (-want +got)\n%s", diff)
	}
}

// TestProbeWarnings has one thing out of order at a time. Details and hints are parts of what is wanted.
func TestProbeWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		info   *qdrant.CollectionInfo
		err    error
		change func(*Config)
		want   syncd.Finding
	}{
		"no collection": {
			err:  status.Error(codes.NotFound, "Not found: Collection `pms_collection` doesn't exist!"),
			want: syncd.Finding{Subject: "collection pms_collection", Status: syncd.StatusWarning, Detail: "does not exist", Hint: "checker.qdrant.collection"},
		},
		"key in the clear": {
			info:   &qdrant.CollectionInfo{},
			change: func(c *Config) { c.APIKey = "hunter2" },
			want:   syncd.Finding{Subject: "connection", Status: syncd.StatusWarning, Detail: "without TLS", Hint: "https://"},
		},
		"broken collection": {
			info: &qdrant.CollectionInfo{Status: qdrant.CollectionStatus_Red, OptimizerStatus: &qdrant.OptimizerStatus{Error: "no space left"}},
			want: syncd.Finding{Subject: "collection pms_collection", Status: syncd.StatusWarning, Detail: "no space left", Hint: "log"},
		},
		"no index": {
			info: &qdrant.CollectionInfo{},
			want: syncd.Finding{Subject: "index on content_type", Status: syncd.StatusWarning, Detail: "there is none", Hint: `PUT /collections/pms_collection/index {"field_name": "content_type", "field_schema": "keyword"}`},
		},
		"another index": {
			info: &qdrant.CollectionInfo{PayloadSchema: map[string]*qdrant.PayloadSchemaInfo{"content_type": {DataType: qdrant.PayloadSchemaType_Text}}},
			want: syncd.Finding{Subject: "index on content_type", Status: syncd.StatusWarning, Detail: "of type text", Hint: "keyword"},
		},
		"rate limit": {
			info: &qdrant.CollectionInfo{PointsCount: new(uint64(1500)), Config: &qdrant.CollectionConfig{
				StrictModeConfig: &qdrant.StrictModeConfig{Enabled: new(true), ReadRateLimit: new(uint32(500))},
			}},
			want: syncd.Finding{Subject: "read rate limit", Status: syncd.StatusWarning, Detail: "500 lookups a minute for each replica; all 1500 points take at least 3 minutes", Hint: "batch_size is 1000"},
		},
		"hidden points": {
			info: &qdrant.CollectionInfo{UpdateQueue: &qdrant.UpdateQueueInfo{DeferredPoints: new(uint64(7))}},
			want: syncd.Finding{Subject: "hidden points", Status: syncd.StatusWarning, Detail: "7 points hidden", Hint: "wait"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf := testConfig(startDescribed(t, &described{info: c.info, err: c.err}))
			if c.change != nil {
				c.change(&conf)
			}
			checker, _ := opened(t, conf)
			for _, f := range checker.Probe(t.Context(), probeTargets) {
				if strings.Contains(f.Detail+f.Hint, "hunter2") {
					t.Errorf("the key is shown: %+v", f)
				}
				if f.Subject == c.want.Subject && f.Status == c.want.Status &&
					strings.Contains(f.Detail, c.want.Detail) && strings.Contains(f.Hint, c.want.Hint) {
					return
				}
			}
			t.Errorf("there is no %+v in %+v", c.want, checker.Probe(t.Context(), probeTargets))
		})
	}
}

func TestProberConformance(t *testing.T) {
	c, _ := opened(t, testConfig(newStub().start(t)))
	syncdtest.TestProber(t, c.Probe, probeTargets)
}

func TestProbeIgnoresStrictModeThatIsOff(t *testing.T) {
	c, _ := opened(t, testConfig(startDescribed(t, &described{info: &qdrant.CollectionInfo{Config: &qdrant.CollectionConfig{
		StrictModeConfig: &qdrant.StrictModeConfig{Enabled: new(false), ReadRateLimit: new(uint32(5))},
	}}})))
	for _, f := range c.Probe(t.Context(), probeTargets) {
		if f.Subject == "read rate limit" {
			t.Errorf("%+v", f)
		}
	}
}

func TestProbeRefused(t *testing.T) {
	s := newStub()
	c, _ := opened(t, testConfig(s.start(t)))
	s.mu.Lock()
	s.key = "changed"
	s.mu.Unlock()
	last := c.Probe(t.Context(), probeTargets)[2]
	if last.Status != syncd.StatusFailed || !strings.Contains(last.Detail, "API key") || last.Hint == "" {
		t.Errorf("%+v", last)
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	c, _ := opened(t, testConfig(newStub().start(t)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, f := range c.Probe(ctx, probeTargets) {
		if f.Subject != "connection" && (f.Status != syncd.StatusFailed || f.Detail != noAnswer) {
			t.Errorf("%+v", f)
		}
	}
}

func TestLocation(t *testing.T) {
	for url, want := range map[string]string{"http://h:6333": "h:6334", "https://h:1": "h:1", "": "localhost:6334", "http://u:p@h": ""} {
		c := defaults()
		c.URL = url
		if got := c.Location(); got != want {
			t.Errorf("%q is at %q", url, got)
		}
	}
}
