package qdrant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
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
		value := h.GetValue().GetStringValue()
		switch v := h.GetValue().GetVariant().(type) {
		case *qdrant.FacetValue_IntegerValue:
			value = strconv.FormatInt(v.IntegerValue, 10)
		case *qdrant.FacetValue_BoolValue:
			value = strconv.FormatBool(v.BoolValue)
		}
		counts = append(counts, syncd.TextCount{Text: value, Points: int64(h.GetCount())})
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
	for value, n := range by {
		counts = append(counts, syncd.TextCount{Text: value, Points: n})
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
	return c.cannotAsk(ctx, "looking at what Qdrant holds at "+c.ep.Addr(), err)
}

// probeSurvey shows what the index holds beside what the mapping says.
func (c *checker) probeSurvey(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	types := syncd.Finding{Subject: "content types", Status: syncd.StatusOK}
	key := targets[0].ContentTypeKey
	s, err := c.Survey(ctx, key)
	switch {
	case err != nil:
		types.Status, types.Detail, types.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
		if ctx.Err() != nil {
			types.Detail, types.Hint = noAnswer, ""
		}
		return []syncd.Finding{types}
	case len(s.Sample) == 0:
		return nil
	}
	var mapped, wanted []string
	for _, t := range targets {
		if !slices.Contains(mapped, t.ContentType) {
			mapped = append(mapped, t.ContentType)
		}
		for _, k := range t.PayloadKeys {
			if !slices.Contains(wanted, k) {
				wanted = append(wanted, k)
			}
		}
	}
	there := func(contentType string) bool {
		return slices.ContainsFunc(s.Texts, func(t syncd.TextCount) bool { return t.Text == contentType })
	}
	var held []string
	for _, t := range s.Texts {
		held = append(held, fmt.Sprintf("%s (%d)", text.Quote(t.Text), t.Points))
	}
	types.Detail = some(held)
	if !s.Whole {
		types.Detail += fmt.Sprintf(", of the first %d points", surveyCount)
	}
	absent := slices.DeleteFunc(slices.Clone(mapped), there)
	if len(absent) > 0 {
		types.Detail += "; not there: " + some(quoted(absent))
	}
	if len(absent) == len(mapped) {
		types.Status = syncd.StatusWarning
		types.Hint = "make the content types of mapping.collections what the indexer writes, unless the index is new or another's"
	}

	// Keys are missing if no point of a mapped content type has them; where there is none of those, if no point has.
	all, ours := map[string]bool{}, map[string]bool{}
	points := 0
	for _, p := range s.Sample {
		own := slices.Contains(mapped, p[key])
		if own {
			points++
		}
		for k := range p {
			all[k] = true
			ours[k] = ours[k] || own
		}
	}
	if points == 0 {
		ours = all
	}
	keys := syncd.Finding{Subject: "payload keys", Status: syncd.StatusOK, Detail: some(shown(slices.Sorted(maps.Keys(all))))}
	if lacking := slices.DeleteFunc(wanted, func(k string) bool { return ours[k] }); len(lacking) > 0 {
		keys.Status = syncd.StatusWarning
		keys.Detail += "; not there: " + some(shown(lacking))
		keys.Hint = "make the keys under mapping what the indexer writes; names of nested keys have dots between them"
	}
	return []syncd.Finding{types, keys}
}

// mostShown is how many names a finding lists.
const mostShown = 12

func some(names []string) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > mostShown:
		return strings.Join(names[:mostShown], ", ") + fmt.Sprintf(" and %d more", len(names)-mostShown)
	}
	return strings.Join(names, ", ")
}

func quoted(names []string) (out []string) {
	for _, n := range names {
		out = append(out, text.Quote(n))
	}
	return out
}

func shown(names []string) (out []string) {
	for _, n := range names {
		out = append(out, text.Of(n))
	}
	return out
}
