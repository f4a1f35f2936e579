package qdrantserver

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// fieldIndex records that a key is indexed. It speeds nothing up; but strict mode, ordering and facets depend on
// whether there is one.
type fieldIndex struct {
	path   jsonPath
	kind   qdrant.FieldType
	params *qdrant.PayloadIndexParams
}

func (i *fieldIndex) info(points map[pointID]*point) *qdrant.PayloadSchemaInfo {
	var indexed uint64
	for _, p := range points {
		if i.path.visit(p.payload, isNotEmpty) {
			indexed++
		}
	}
	return &qdrant.PayloadSchemaInfo{
		DataType: qdrant.PayloadSchemaType(i.kind + 1), // the same list, but this one begins with "unknown"
		Params:   i.params,
		Points:   &indexed,
	}
}

func (ps pointsService) CreateFieldIndex(ctx context.Context, req *qdrant.CreateFieldIndexCollection) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	path, err := indexPath(req.GetFieldName())
	if err != nil {
		return nil, err
	}
	if req.FieldType == nil {
		return nil, invalidArgument("cannot convert field_type")
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	if err := c.checkStrict(strictRequest{timeout: req.Timeout}); err != nil {
		return nil, err
	}
	index := &fieldIndex{path: path, kind: req.GetFieldType(), params: req.GetFieldIndexParams()}
	return c.operate(ctx, started, req.GetWait(), func(c *collection) error {
		c.fields[path.String()] = index
		return nil
	})
}

func (ps pointsService) DeleteFieldIndex(ctx context.Context, req *qdrant.DeleteFieldIndexCollection) (*qdrant.PointsOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	path, err := indexPath(req.GetFieldName())
	if err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	return c.operate(ctx, started, req.GetWait(), func(c *collection) error {
		delete(c.fields, path.String())
		return nil
	})
}

func indexPath(name string) (jsonPath, error) {
	if name == "" {
		return nil, validationError("field_name", `value "" invalid, must be at least 1 characters`)
	}
	return parsePath(name)
}

// Facet counts the points that have each value of a key, most frequent first.
func (ps pointsService) Facet(_ context.Context, req *qdrant.FacetCounts) (*qdrant.FacetResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	if req.GetKey() == "" {
		return nil, validationError("key", `value "" invalid, must be at least 1 characters`)
	}
	if err := validateAtLeastOne("timeout", req.Timeout); err != nil {
		return nil, err
	}
	path, err := parsePath(req.GetKey())
	if err != nil {
		return nil, err
	}
	filter, err := ps.s.compileFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	limit := uint64(10)
	if req.Limit != nil {
		limit = req.GetLimit()
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	err = c.checkStrict(strictRequest{limit: &limit, timeout: req.Timeout, exact: req.GetExact(), readFilter: filter})
	if err != nil {
		return nil, err
	}
	if err := checkConsistency(req.GetReadConsistency()); err != nil {
		return nil, err
	}
	if err := c.limiter.take(1 + filter.rateCost()); err != nil {
		return nil, err
	}
	hits, err := c.facet(path, filter)
	if err != nil {
		return nil, err
	}
	return &qdrant.FacetResponse{Hits: hits[:min(uint64(len(hits)), limit)], Time: time.Since(started).Seconds()}, nil
}

// facetValue is one of the types of value that can be counted. Its order breaks ties.
type facetValue struct {
	text    string
	integer int64
	boolean bool
	isText  bool
	isBool  bool
}

func (c *collection) facet(path jsonPath, f *filter) ([]*qdrant.FacetHit, error) {
	defer c.rlock()()
	index := c.fields[path.String()]
	if index == nil || !countable(index.kind) {
		return nil, wrongInput("No appropriate index for faceting: `%s`. Please create one to facet on this field. "+
			"Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support Match conditions", path)
	}
	counts := map[facetValue]uint64{}
	ofPoint := map[facetValue]struct{}{}
	matches := f.matcher()
	for id, p := range c.points {
		if !matches(id, p) {
			continue
		}
		clear(ofPoint) // a value that a point has twice counts once
		path.visit(p.payload, func(value *qdrant.Value) bool {
			collectFacets(value, index.kind, ofPoint)
			return false
		})
		for value := range ofPoint {
			counts[value]++
		}
	}
	hits := make([]*qdrant.FacetHit, 0, len(counts))
	for value, count := range counts {
		hits = append(hits, &qdrant.FacetHit{Value: value.proto(), Count: count})
	}
	slices.SortFunc(hits, func(a, b *qdrant.FacetHit) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), compareFacets(a.Value, b.Value))
	})
	return hits, nil
}

func countable(kind qdrant.FieldType) bool {
	switch kind {
	case qdrant.FieldType_FieldTypeKeyword, qdrant.FieldType_FieldTypeInteger, qdrant.FieldType_FieldTypeBool, qdrant.FieldType_FieldTypeUuid:
		return true
	default:
		return false
	}
}

// collectFacets adds the values that an index of this kind holds; others are not in it.
func collectFacets(value *qdrant.Value, kind qdrant.FieldType, into map[facetValue]struct{}) {
	switch v := value.GetKind().(type) {
	case *qdrant.Value_ListValue:
		for _, child := range v.ListValue.GetValues() {
			if child.GetListValue() == nil {
				collectFacets(child, kind, into)
			}
		}
	case *qdrant.Value_StringValue:
		if kind == qdrant.FieldType_FieldTypeKeyword {
			into[facetValue{text: v.StringValue, isText: true}] = struct{}{}
		} else if uuid, ok := parseUUID(v.StringValue); ok && kind == qdrant.FieldType_FieldTypeUuid {
			into[facetValue{text: uuidID(uuid).String(), isText: true}] = struct{}{}
		}
	case *qdrant.Value_IntegerValue:
		if kind == qdrant.FieldType_FieldTypeInteger {
			into[facetValue{integer: v.IntegerValue}] = struct{}{}
		}
	case *qdrant.Value_BoolValue:
		if kind == qdrant.FieldType_FieldTypeBool {
			into[facetValue{boolean: v.BoolValue, isBool: true}] = struct{}{}
		}
	}
}

func (v facetValue) proto() *qdrant.FacetValue {
	switch {
	case v.isText:
		return &qdrant.FacetValue{Variant: &qdrant.FacetValue_StringValue{StringValue: v.text}}
	case v.isBool:
		return &qdrant.FacetValue{Variant: &qdrant.FacetValue_BoolValue{BoolValue: v.boolean}}
	default:
		return &qdrant.FacetValue{Variant: &qdrant.FacetValue_IntegerValue{IntegerValue: v.integer}}
	}
}

func compareFacets(a, b *qdrant.FacetValue) int {
	return cmp.Or(strings.Compare(a.GetStringValue(), b.GetStringValue()), cmp.Compare(a.GetIntegerValue(), b.GetIntegerValue()),
		cmp.Compare(boolToInt(a.GetBoolValue()), boolToInt(b.GetBoolValue())))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
