package qdrant

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
)

// put stores a point with a payload. It is called before the stub starts.
func (s *stub) put(id uuid.UUID, payload map[string]*qdrant.Value) {
	if s.payload == nil {
		s.payload = map[string]map[string]*qdrant.Value{}
	}
	s.present[id.String()], s.payload[id.String()] = true, payload
}

// payloadOf makes a payload of texts by dotted names.
func payloadOf(texts map[string]string) map[string]*qdrant.Value {
	payload := map[string]*qdrant.Value{}
	for path, text := range texts {
		setValue(payload, strings.Split(path, "."), qdrant.NewValueString(text))
	}
	return payload
}

func setValue(fields map[string]*qdrant.Value, path []string, v *qdrant.Value) {
	for _, name := range path[:len(path)-1] {
		if fields[name].GetStructValue() == nil {
			fields[name] = qdrant.NewValueStruct(&qdrant.Struct{Fields: map[string]*qdrant.Value{}})
		}
		fields = fields[name].GetStructValue().GetFields()
	}
	fields[path[len(path)-1]] = v
}

// names reads the part of Qdrant's paths that the checker writes; no test has a dot inside quotes.
func names(path string) []string { return strings.Split(strings.ReplaceAll(path, `"`, ""), ".") }

func included(payload map[string]*qdrant.Value, with *qdrant.WithPayloadSelector) map[string]*qdrant.Value {
	if with.GetEnable() {
		return payload
	}
	out := map[string]*qdrant.Value{}
	for _, field := range with.GetInclude().GetFields() {
		if v := lookupValue(payload, names(field)); v != nil {
			setValue(out, names(field), v)
		}
	}
	return out
}

// allows evaluates what the checker makes: keywords, integers and booleans, and any of them.
func allows(f *qdrant.Filter, payload map[string]*qdrant.Value) bool {
	matches := func(c *qdrant.Condition) bool {
		if nested := c.GetFilter(); nested != nil {
			return allows(nested, payload)
		}
		v := lookupValue(payload, names(c.GetField().GetKey()))
		switch m := c.GetField().GetMatch().GetMatchValue().(type) {
		case *qdrant.Match_Keyword:
			return proto.Equal(v, qdrant.NewValueString(m.Keyword))
		case *qdrant.Match_Integer:
			return proto.Equal(v, qdrant.NewValueInt(m.Integer))
		case *qdrant.Match_Boolean:
			return proto.Equal(v, qdrant.NewValueBool(m.Boolean))
		}
		return false
	}
	return !slices.ContainsFunc(f.GetMust(), func(c *qdrant.Condition) bool { return !matches(c) }) &&
		(len(f.GetShould()) == 0 || slices.ContainsFunc(f.GetShould(), matches))
}

func (s pointsStub) Scroll(ctx context.Context, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
	s.mu.Lock()
	call := len(s.scrolls)
	s.scrolls = append(s.scrolls, proto.CloneOf(req))
	s.mu.Unlock()
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if s.scroll != nil {
		if r, err := s.scroll(call, req); r != nil || err != nil {
			return r, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.exists(); err != nil {
		return nil, err
	}
	r := &qdrant.ScrollResponse{}
	for _, id := range slices.Sorted(maps.Keys(s.present)) {
		if id < req.GetOffset().GetUuid() || !s.present[id] || !allows(req.GetFilter(), s.payload[id]) {
			continue
		}
		if len(r.Result) == int(req.GetLimit()) {
			r.NextPageOffset = qdrant.NewIDUUID(id)
			break
		}
		r.Result = append(r.Result, &qdrant.RetrievedPoint{
			Id: qdrant.NewIDUUID(id), Payload: included(s.payload[id], req.GetWithPayload()),
		})
	}
	return r, nil
}

// QueryBatch answers queries for nothing in particular, as Scroll does.
func (s pointsStub) QueryBatch(ctx context.Context, req *qdrant.QueryBatchPoints) (*qdrant.QueryBatchResponse, error) {
	s.mu.Lock()
	s.batches = append(s.batches, proto.CloneOf(req))
	s.mu.Unlock()
	if err := s.authorize(ctx); err != nil {
		return nil, err
	}
	if s.query != nil {
		return s.query(req)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.exists(); err != nil {
		return nil, err
	}
	r := &qdrant.QueryBatchResponse{}
	for _, q := range req.GetQueryPoints() {
		result := &qdrant.BatchResult{}
		for _, id := range slices.Sorted(maps.Keys(s.present)) {
			if len(result.Result) < int(q.GetLimit()) && s.present[id] && allows(q.GetFilter(), s.payload[id]) {
				result.Result = append(result.Result, &qdrant.ScoredPoint{Id: qdrant.NewIDUUID(id), Payload: included(s.payload[id], q.GetWithPayload())})
			}
		}
		r.Result = append(r.Result, result)
	}
	return r, nil
}

func (s *stub) pages() []*qdrant.ScrollPoints {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scrolls
}
