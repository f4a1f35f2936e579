package qdrant

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

const (
	surveySample = 100   // points looked at from each of two places
	fewPoints    = 10    // where strict mode allows no more at once
	surveyCount  = 5_000 // points whose text under the key is counted, where Qdrant can't count them all
	surveyTexts  = 100   // texts that are counted
	surveyText   = 200   // bytes of the longest text that is shown
)

// Survey counts the texts under the key by Qdrant's facet, which needs a payload index; without one, those of the first points.
// The sample is the first points of all and the first that have UUIDs. UUIDs of versions 4 and 5 are in no order of anything, so
// that the first are as good as any.
func (c *checker) Survey(ctx context.Context, key string) (s syncd.Survey, err error) {
	if c.done.Load() {
		return s, errClosed
	}
	_, written, err := parseKey(key)
	if err != nil {
		return s, err
	}
	seen := map[string]bool{}
	for _, from := range []*qdrant.PointId{nil, qdrant.NewIDUUID(uuid.Nil.String())} {
		points, err := c.firstPoints(ctx, from)
		if err != nil {
			return s, c.cannotSurvey(ctx, err)
		}
		for _, p := range points {
			id := p.GetId().String()
			if seen[id] {
				continue
			}
			seen[id] = true
			payload := map[string]string{}
			texts(payload, "", p.GetPayload())
			s.Sample = append(s.Sample, payload)
		}
	}
	if len(s.Sample) == 0 {
		return s, nil
	}
	s.Texts, s.Whole, err = c.facet(ctx, written)
	if err == nil && !s.Whole {
		s.Texts, err = c.countTexts(ctx, key)
	}
	return s, err
}

// firstPoints reads the first points from an id, with all of their payload.
func (c *checker) firstPoints(ctx context.Context, from *qdrant.PointId) (points []*qdrant.RetrievedPoint, err error) {
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	for _, limit := range []uint32{surveySample, fewPoints, 1} {
		err = c.retry(ctx, int(limit), func(ctx context.Context) error {
			r, err := c.client.GetPointsClient().Scroll(ctx, &qdrant.ScrollPoints{
				CollectionName: c.conf.Collection, Offset: from, Limit: &limit,
				WithPayload: qdrant.NewWithPayload(true), WithVectors: qdrant.NewWithVectors(false),
				ReadConsistency: c.consistency, Timeout: new(seconds(c.conf.Timeout)),
			})
			points = r.GetResult()
			return err
		})
		switch status.Code(err) {
		case codes.InvalidArgument, codes.ResourceExhausted, codes.DeadlineExceeded: // strict mode, or much payload: ask for less
		default:
			if c.isEmpty(err) {
				return nil, nil
			}
			return points, err
		}
	}
	return nil, err
}

// facet counts all points by their text under a key. counted is false where Qdrant can't, for lack of an index or of the
// request, which came with version 1.12.
func (c *checker) facet(ctx context.Context, key string) (counts []syncd.TextCount, counted bool, err error) {
	if err := c.acquire(ctx); err != nil {
		return nil, false, err
	}
	defer c.release()
	var hits []*qdrant.FacetHit
	err = c.retry(ctx, 1, func(ctx context.Context) error {
		r, err := c.client.GetPointsClient().Facet(ctx, &qdrant.FacetCounts{
			CollectionName: c.conf.Collection, Key: key, Limit: new(uint64(surveyTexts)),
			ReadConsistency: c.consistency, Timeout: new(seconds(c.conf.Timeout)),
		})
		hits = r.GetHits()
		return err
	})
	switch status.Code(err) {
	case codes.OK:
	case codes.InvalidArgument, codes.Unimplemented, codes.PermissionDenied:
		return nil, false, nil
	default:
		return nil, false, c.cannotSurvey(ctx, err)
	}
	for _, h := range hits {
		text := h.GetValue().GetStringValue()
		switch v := h.GetValue().GetVariant().(type) {
		case *qdrant.FacetValue_IntegerValue:
			text = fmt.Sprint(v.IntegerValue)
		case *qdrant.FacetValue_BoolValue:
			text = fmt.Sprint(v.BoolValue)
		}
		counts = append(counts, syncd.TextCount{Text: text, Points: int64(h.GetCount())})
	}
	return counts, len(counts) > 0, nil
}

// countTexts counts the texts under a key of the first points that have UUIDs.
func (c *checker) countTexts(ctx context.Context, key string) (counts []syncd.TextCount, err error) {
	by := map[string]int64{}
	for batch, err := range c.List(ctx, syncd.ListRequest{Keys: []string{key}, Parts: 1, Limit: surveyCount}) {
		if err != nil {
			return nil, err
		}
		for _, p := range batch {
			if v := p.Payload[0]; v.Set {
				by[v.Text]++
			}
		}
	}
	for text, n := range by {
		counts = append(counts, syncd.TextCount{Text: text, Points: n})
	}
	slices.SortFunc(counts, func(a, b syncd.TextCount) int {
		if a.Points != b.Points {
			return int(b.Points - a.Points)
		}
		return strings.Compare(a.Text, b.Text)
	})
	return counts[:min(len(counts), surveyTexts)], nil
}

// texts adds what payload holds, by dotted paths.
func texts(dst map[string]string, under string, payload map[string]*qdrant.Value) {
	for name, v := range payload {
		path := under + name
		if inner := v.GetStructValue(); inner != nil {
			texts(dst, path+".", inner.GetFields())
			continue
		}
		if value := valueText(v); len(value.Text) <= surveyText {
			dst[path] = value.Text
		} else {
			dst[path] = ""
		}
	}
}

func (c *checker) cannotSurvey(ctx context.Context, err error) error {
	return c.cannotAsk(ctx, "looking at what Qdrant holds at "+c.ep.addr(), err)
}
