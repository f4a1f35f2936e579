package qdrantserver

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
)

// Scroll returns a page of points in the order of ids, or of a payload key.
func (ps pointsService) Scroll(_ context.Context, req *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
	started := time.Now()
	page, err := ps.parseScroll(req)
	if err != nil {
		return nil, err
	}
	c, err := ps.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	err = c.checkStrict(strictRequest{limit: widen(req.Limit), timeout: req.Timeout, readFilter: page.filter})
	if err != nil {
		return nil, err
	}
	if err := checkConsistency(req.GetReadConsistency()); err != nil {
		return nil, err
	}
	if page.order != nil && page.offset != nil {
		return nil, wrongInput("Cannot use an `offset` when using `order_by`. The alternative for paging is to use " +
			"`order_by.start_from` and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value")
	}
	if err := c.limiter.take(1 + page.filter.rateCost()); err != nil {
		return nil, err
	}
	resp := &qdrant.ScrollResponse{}
	if page.order != nil {
		if resp.Result, err = c.scrollByValue(page); err != nil {
			return nil, err
		}
	} else {
		found, next := c.scrollByID(page)
		resp.Result = found.records(page.shown)
		if next != nil {
			resp.NextPageOffset = next.proto()
		}
	}
	resp.Time = time.Since(started).Seconds()
	return resp, nil
}

type scrollPage struct {
	offset *pointID
	limit  int
	filter *filter
	shown  projection
	order  *valueOrder // nil: by id
}

func (ps pointsService) parseScroll(req *qdrant.ScrollPoints) (page scrollPage, err error) {
	if err := validateName(req.GetCollectionName()); err != nil {
		return page, err
	}
	page.limit = 10
	if req.Limit != nil {
		page.limit = int(req.GetLimit())
	}
	if page.limit < 1 {
		return page, validationError("limit", minimumProblem(0, 1))
	}
	if req.GetOffset() != nil {
		offset, err := parseID(req.GetOffset())
		if err != nil {
			return page, err
		}
		page.offset = &offset
	}
	if page.filter, err = ps.s.compileFilter(req.GetFilter()); err != nil {
		return page, err
	}
	if page.shown, err = parseProjection(req.GetWithPayload(), payloadAll, req.GetWithVectors()); err != nil {
		return page, err
	}
	page.order, err = parseOrder(req.GetOrderBy())
	return page, err
}

// scrollByID returns a page and the id of the next one, if there is any.
func (c *collection) scrollByID(page scrollPage) (found foundPoints, next *pointID) {
	defer c.rlockOrdered()()
	ids, matches := c.order.from(page.offset), page.filter.matcher()
	for i := range ids {
		p := c.points[ids[i]]
		if p == nil || !matches(ids[i], p) {
			continue
		}
		if len(found.ids) == page.limit {
			id := ids[i]
			return found, &id
		}
		found.add(ids[i], p)
	}
	return found, nil
}

// valueOrder is an order by the values of a payload key.
type valueOrder struct {
	path       jsonPath
	descending bool
	start      *float64 // numbers, or microseconds of a time; inclusive
}

func parseOrder(pb *qdrant.OrderBy) (*valueOrder, error) {
	if pb == nil {
		return nil, nil
	}
	path, err := parsePath(pb.GetKey())
	if err != nil {
		return nil, err
	}
	order := &valueOrder{path: path, descending: pb.GetDirection() == qdrant.Direction_Desc}
	switch start := pb.GetStartFrom().GetValue().(type) {
	case *qdrant.StartFrom_Float:
		order.start = &start.Float
	case *qdrant.StartFrom_Integer:
		order.start = qdrant.PtrOf(float64(start.Integer))
	case *qdrant.StartFrom_Timestamp:
		order.start = qdrant.PtrOf(float64(start.Timestamp.AsTime().UnixMicro()))
	case *qdrant.StartFrom_Datetime:
		t, ok := parseDatetime(start.Datetime)
		if !ok {
			return nil, invalidArgument("Unable to parse datetime: %s", start.Datetime)
		}
		order.start = qdrant.PtrOf(float64(t.UnixMicro()))
	}
	return order, nil
}

// orderedPoint is one value of a point; a point with several values comes as often.
type orderedPoint struct {
	value float64
	id    pointID
	point *point
}

func (c *collection) scrollByValue(page scrollPage) ([]*qdrant.RetrievedPoint, error) {
	entries, kind, err := c.orderedPoints(page)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b orderedPoint) int {
		ascending := cmp.Or(cmp.Compare(a.value, b.value), compareIDs(a.id, b.id))
		if page.order.descending {
			return -ascending
		}
		return ascending
	})
	var found foundPoints
	entries = entries[:min(len(entries), page.limit)]
	for _, entry := range entries {
		found.add(entry.id, entry.point)
	}
	records := found.records(page.shown)
	for i, record := range records {
		if kind == qdrant.FieldType_FieldTypeFloat {
			record.OrderValue = qdrant.NewOrderValueFloat(entries[i].value)
		} else {
			record.OrderValue = qdrant.NewOrderValueInt(int64(entries[i].value))
		}
	}
	return records, nil
}

func (c *collection) orderedPoints(page scrollPage) ([]orderedPoint, qdrant.FieldType, error) {
	defer c.rlock()()
	order := page.order
	index := c.fields[order.path.String()]
	if index == nil || !sortable(index.kind) {
		return nil, 0, wrongInput("No range index for `order_by` key: `%s`. Please create one to use `order_by`. "+
			"Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support Range conditions", order.path)
	}
	var entries []orderedPoint
	matches := page.filter.matcher()
	for id, p := range c.points {
		if !matches(id, p) {
			continue
		}
		order.path.visit(p.payload, func(value *qdrant.Value) bool {
			for _, v := range indexedNumbers(value, index.kind) {
				if order.start == nil || order.descending && v <= *order.start || !order.descending && v >= *order.start {
					entries = append(entries, orderedPoint{value: v, id: id, point: p})
				}
			}
			return false
		})
	}
	return entries, index.kind, nil
}

func sortable(kind qdrant.FieldType) bool {
	switch kind {
	case qdrant.FieldType_FieldTypeInteger, qdrant.FieldType_FieldTypeFloat, qdrant.FieldType_FieldTypeDatetime:
		return true
	default:
		return false
	}
}

// indexedNumbers are the values that an index of this kind sorts by.
func indexedNumbers(value *qdrant.Value, kind qdrant.FieldType) []float64 {
	if list, ok := value.GetKind().(*qdrant.Value_ListValue); ok {
		var all []float64
		for _, child := range list.ListValue.GetValues() {
			if child.GetListValue() == nil {
				all = append(all, indexedNumbers(child, kind)...)
			}
		}
		return all
	}
	switch kind {
	case qdrant.FieldType_FieldTypeDatetime:
		text, ok := value.GetKind().(*qdrant.Value_StringValue)
		if !ok {
			return nil
		}
		if t, ok := parseDatetime(text.StringValue); ok {
			return []float64{float64(t.UnixMicro())}
		}
		return nil
	case qdrant.FieldType_FieldTypeInteger:
		if _, ok := value.GetKind().(*qdrant.Value_IntegerValue); !ok {
			return nil
		}
	}
	if n, ok := number(value); ok {
		return []float64{n}
	}
	return nil
}
