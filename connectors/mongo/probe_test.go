package mongo

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// probed gives the findings about collections of a stub, without the fixed ones about reads.
func probed(ctx context.Context, t *testing.T, s *stub, targets ...syncd.ProbeTarget) []syncd.Finding {
	t.Helper()
	findings := openAndClose(t, s).Probe(ctx, targets)
	if len(findings) != 2+len(targets) {
		t.Fatalf("%d findings about %d collections: %+v", len(findings), len(targets), findings)
	}
	return append(findings[:1], findings[2:]...)
}

func collection(name, filter string) syncd.ProbeTarget {
	return syncd.ProbeTarget{Target: syncd.Target{Collection: name}, Filter: filter}
}

// telling answers what the stub itself does not know.
func telling(name string, _ bson.Raw) (bson.D, bool) {
	switch name {
	case "buildInfo":
		return bson.D{{Key: "version", Value: "8.0.4"}, {Key: "ok", Value: 1}}, false
	case "count":
		return bson.D{{Key: "n", Value: 2}, {Key: "ok", Value: 1}}, false
	}
	return nil, false
}

func TestProbe(t *testing.T) {
	s := newStub(t)
	s.set(t, "page", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
	s.set(t, "WorkItem")
	s.set(t, "empty")
	s.intercept = telling
	want := []syncd.Finding{
		{Subject: "server", Status: syncd.StatusOK, Detail: "MongoDB 8.0.4, standalone: what is read could be lost again by a crash; only a replica set can give majority reads"},
		{Subject: "collection page", Status: syncd.StatusOK, Detail: "about 2 documents"},
		{Subject: "collection page", Status: syncd.StatusOK, Detail: "about 2 documents, before the filter, which the server accepts"},
		{
			Subject: "collection page", Status: syncd.StatusWarning, Detail: "about 2 documents, of which the filter leaves none",
			Hint: "correct mapping.collections.page.filter, unless it is to match documents that are still to come",
		},
		{Subject: "collection page", Status: syncd.StatusWarning, Detail: "about 2 documents, of which the filter leaves none", Hint: "_id is compared with text, but the first document has a number there"},
		{Subject: "collection empty", Status: syncd.StatusOK, Detail: "about 2 documents, before the filter, which the server accepts"},
		{Subject: "collection workItem", Status: syncd.StatusWarning, Detail: "does not exist in database db: a run takes it for an empty one", Hint: `did you mean "WorkItem"?`},
		{Subject: "collection zebra", Status: syncd.StatusWarning, Detail: "does not exist in database db: a run takes it for an empty one", Hint: "no collection there has a name like it; remove it from mapping.collections if none is to come"},
	}
	got := probed(t.Context(), t, s, collection("page", ""), collection("page", `{"_id": 1}`), collection("page", `{"a": 1}`), collection("page", `{"_id": "1"}`),
		collection("empty", `{"a": 1}`), collection("workItem", ""), collection("zebra", ""))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got)\n%s", diff)
	}
}

func TestProberConformance(t *testing.T) {
	s := newStub(t)
	s.set(t, "page", bson.D{{Key: "_id", Value: 1}})
	s.intercept = telling
	syncdtest.TestProber(t, openAndClose(t, s).Probe, []syncd.ProbeTarget{collection("page", ""), collection("pages", "")})
}

// TestProbeOfASlowFilter: a filter that the server did not get to the end of may leave some.
func TestProbeOfASlowFilter(t *testing.T) {
	s := newStub(t)
	s.set(t, "page", bson.D{{Key: "_id", Value: 1}})
	s.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
		if _, err := cmd.LookupErr("filter", "a"); name == "find" && err == nil {
			return failure(codeMaxTimeExpired, "MaxTimeMSExpired"), false
		}
		return telling(name, cmd)
	}
	want := syncd.Finding{Subject: "collection page", Status: syncd.StatusOK, Detail: "about 2 documents, before the filter, which the server accepts"}
	if got := probed(t.Context(), t, s, collection("page", `{"a": 1}`))[1]; got != want {
		t.Errorf("%+v", got)
	}
}

// TestProbeRefusals has the server refuse one thing at a time.
func TestProbeRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		command string
		code    int
		filter  string
		want    syncd.Finding // Detail and Hint are parts
	}{
		"reading":  {"find", codeUnauthorized, "", syncd.Finding{Status: syncd.StatusFailed, Detail: "not authorized on database db", Hint: "the server wants a login"}},
		"filter":   {"find", 2, `{"a": {"$almost": 1}}`, syncd.Finding{Status: syncd.StatusFailed, Detail: "the server refuses the filter: ", Hint: "correct mapping.collections.page.filter"}},
		"counting": {"count", 2, "", syncd.Finding{Status: syncd.StatusOK, Detail: "readable; the server does not tell"}},
		"listing":  {"listCollections", codeUnauthorized, "", syncd.Finding{Status: syncd.StatusOK, Detail: "about 2 documents"}},
		"version":  {"buildInfo", codeUnauthorized, "", syncd.Finding{Status: syncd.StatusOK, Detail: "about 2 documents"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.set(t, "page", bson.D{{Key: "_id", Value: 1}})
			s.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
				_, filtered := cmd.Lookup("filter").DocumentOK()
				if name == c.command && (c.filter == "" || filtered && strings.Contains(cmd.Lookup("filter").String(), "$almost")) {
					return failure(c.code, "Refused"), false
				}
				return telling(name, cmd)
			}
			got := probed(t.Context(), t, s, collection("page", c.filter))[1]
			if got.Status != c.want.Status || !strings.HasPrefix(got.Detail, c.want.Detail) || !strings.Contains(got.Hint, c.want.Hint) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestProbeNamesThePrivilege(t *testing.T) {
	s := &source{cfg: Config{Database: "db"}, target: target{hosts: "h:1", user: "mia"}, scrub: newScrubber("mongodb://mia:s3cret@h:1")}
	got := s.failed(t.Context(), syncd.Finding{Subject: "collection page"}, mongodriver.CommandError{Code: codeUnauthorized})
	want := syncd.Finding{
		Subject: "collection page", Status: syncd.StatusFailed,
		Detail: `not authorized for user "mia": it lacks the privilege find on db.page`, Hint: `give the user the role "read" on database db`,
	}
	if got != want {
		t.Errorf("%+v", got)
	}
}

func TestProbeDeployments(t *testing.T) {
	for want, hello := range map[string]deployment{
		"standalone: what is read could be lost again by a crash; only a replica set can give majority reads": {},
		"sharded cluster":                        {Message: "isdbgrid"},
		"replica set rs0 of 3 members with data": {SetName: "rs0", Hosts: []string{"a:1", "b:1"}, Passives: []string{"c:1"}},
		"replica set rs0 of 1 member with data":  {SetName: "rs0", Hosts: []string{"a:1"}},
	} {
		if got := hello.String(); got != want {
			t.Errorf("%+v is a %s", hello, got)
		}
	}
}

func TestProbeReads(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://h": "from primary, read concern: the server's default",
		"mongodb://h/?readPreference=secondaryPreferred&readConcernLevel=majority":                       "from secondaryPreferred, read concern: majority",
		"mongodb+srv://mia:s3cret@no.such.host.invalid/db?readPreference=nearest&srvMaxHosts=1&tls=true": "from nearest, read concern: the server's default",
	} {
		s := &source{cfg: *config(uri)}
		if got := s.probeReads().Detail; got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}

// TestProbeEndsWithItsContext has the server fall silent: everything that was not answered is failed.
func TestProbeEndsWithItsContext(t *testing.T) {
	s := newStub(t)
	s.set(t, "page")
	ctx, cancel := context.WithCancel(t.Context())
	s.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
		if name == "listCollections" {
			cancel()
		}
		return nil, false
	}
	began := time.Now()
	for _, f := range probed(ctx, t, s, collection("page", ""))[1:] {
		if f.Status != syncd.StatusFailed || f.Detail != "no answer in time" {
			t.Errorf("%+v", f)
		}
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestLocation(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://mia:s3cret@a:1,b:2/?tls=true": "a:1,b:2", "mongodb+srv://mia:s3cret@c.example": "c.example", "mongodb://mia:s3@cret@h": "",
	} {
		if got := config(uri).Location(); got != want {
			t.Errorf("%s is at %q", uri, got)
		}
	}
}
