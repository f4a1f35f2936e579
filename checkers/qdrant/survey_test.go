package qdrant

import (
	"fmt"
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// payloads puts n points of a content type into s.
func payloads(s *stub, from, n int, texts map[string]string) {
	for i := range n {
		s.put(pointID(from+i), payloadOf(texts))
	}
}

func TestProbeShowsWhatTheIndexHolds(t *testing.T) {
	target := func(contentType string) syncd.ProbeTarget {
		return syncd.ProbeTarget{
			Target: syncd.Target{ContentType: contentType}, ContentTypeKey: "content_type", PayloadKeys: []string{"content_type", "mongo_id", "updatedAt"},
		}
	}
	ours := map[string]string{"content_type": "odd", "mongo_id": "d", "updatedAt": "2024"}
	for name, c := range map[string]struct {
		fill    func(s *stub)
		targets []syncd.ProbeTarget
		want    []string // status, subject and detail of the two findings
	}{
		"an empty index": {func(*stub) {}, []syncd.ProbeTarget{target("odd")}, nil},
		"all is there": {func(s *stub) { payloads(s, 0, 3, ours) }, []syncd.ProbeTarget{target("odd")}, []string{
			`ok content types "odd" (3), of the first 5000 points`, `ok payload keys content_type, mongo_id, updatedAt`,
		}},
		"another case": {func(s *stub) { payloads(s, 0, 3, ours) }, []syncd.ProbeTarget{target("Odd")}, []string{
			`warning content types "odd" (3), of the first 5000 points; not there: "Odd"`, `ok payload keys content_type, mongo_id, updatedAt`,
		}},
		"a new content type": {func(s *stub) { payloads(s, 0, 3, ours) }, []syncd.ProbeTarget{target("odd"), target("new")}, []string{
			`ok content types "odd" (3), of the first 5000 points; not there: "new"`, `ok payload keys content_type, mongo_id, updatedAt`,
		}},
		"shared with another tool": {func(s *stub) {
			payloads(s, 0, 3, ours)
			payloads(s, 3, 50, map[string]string{"kind": "faq"})
		}, []syncd.ProbeTarget{target("odd")}, []string{
			`ok content types "odd" (3), of the first 5000 points`, `ok payload keys content_type, kind, mongo_id, updatedAt`,
		}},
		"a key of another name": {func(s *stub) {
			payloads(s, 0, 3, map[string]string{"content_type": "odd", "doc.id": "d"})
			payloads(s, 3, 5, map[string]string{"mongo_id": "of another tool"})
		}, []syncd.ProbeTarget{target("odd")}, []string{
			`ok content types "odd" (3), of the first 5000 points`, `warning payload keys content_type, doc.id, mongo_id; not there: mongo_id, updatedAt`,
		}},
		"names that don't show": {func(s *stub) { payloads(s, 0, 1, map[string]string{"content_type": "odd\n", "a\x1b[2J": "x"}) }, []syncd.ProbeTarget{target("odd")}, []string{
			`warning content types "odd\n" (1), of the first 5000 points; not there: "odd"`,
			`warning payload keys "a\x1b[2J", content_type; not there: mongo_id, updatedAt`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub()
			c.fill(s)
			checker, _ := opened(t, testConfig(s.start(t)))
			var got []string
			for _, f := range checker.Probe(t.Context(), c.targets) {
				if f.Subject == "content types" || f.Subject == "payload keys" {
					got = append(got, fmt.Sprintf("%s %s %s", f.Status, f.Subject, f.Detail))
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestASurveyAsksForLess where Qdrant does not give so much at once, and shows no long texts.
func TestASurveyAsksForLess(t *testing.T) {
	s := newStub()
	payloads(s, 0, 20, map[string]string{"text": strings.Repeat("x", 1000), "kind": "a"})
	s.scroll = func(_ int, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		if req.GetLimit() > 10 && req.GetWithPayload().GetEnable() {
			return nil, status.Error(codes.InvalidArgument, "Forbidden: Limit exceeded")
		}
		return nil, nil
	}
	c, _ := opened(t, testConfig(s.start(t)))
	got, err := c.Survey(t.Context(), "kind")
	if err != nil || len(got.Sample) != 10 || got.Sample[0]["text"] != "" || got.Sample[0]["kind"] != "a" || got.Texts[0] != (syncd.TextCount{Text: "a", Points: 20}) {
		t.Errorf("%+v, %v", got, err)
	}
	refusing := newStub()
	refusing.scroll = func(int, *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
		return nil, status.Error(codes.PermissionDenied, "no")
	}
	c, _ = opened(t, testConfig(refusing.start(t)))
	if _, err := c.Survey(t.Context(), "kind"); err == nil {
		t.Error("no error, though nothing could be asked")
	}
}
