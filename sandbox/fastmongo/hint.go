package fastmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// useHint reads the hint: ascending for the _id index, natural for none or the collection itself.
func (s *Server) useHint(q *query) (order, error) {
	bad := fail(codeBadValue, "error processing query: ns=%s planner returned error :: caused by :: "+
		"hint provided does not correspond to an existing index", q.ns)
	switch h := q.hint; h.Type {
	case 0:
		return natural, nil
	case bsoncore.TypeString:
		if h.StringValue() != "_id_" {
			return natural, bad
		}
		return ascending, nil
	case bsoncore.TypeEmbeddedDocument:
		switch keys, _ := bsoncore.Document(h.Data).Elements(); {
		case len(keys) == 0:
			q.hint = value{}
			return natural, nil
		case len(keys) == 1 && keys[0].Key() == "$natural":
			return natural, nil
		case len(keys) == 1 && keys[0].Key() == "_id" && keys[0].Value().IsNumber() && toInt(keys[0].Value()) == 1:
			return ascending, nil
		}
		return natural, bad
	}
	return natural, fail(9, "hint must be a string or an object")
}

// minMax narrows the bounds as min and max say: min is inclusive, max exclusive. A missing max is MaxKey, exclusive too, so
// that a document whose _id is MaxKey lies in no range that has no max; that is MongoDB's way.
func (s *Server) minMax(b *bounds, q query, hinted order) (bool, error) {
	hasMin, hasMax := len(body(q.min)) > 1, len(body(q.max)) > 1
	quirks := s.quirks.Load()
	switch {
	case !hasMin && !hasMax, quirks.IgnoreBounds:
		return false, nil
	case quirks.RejectBounds:
		return false, fail(238, "min and max are not supported")
	case q.hint.Type == 0:
		return false, fail(51173, "When using min()/max() a hint of which index to use must be provided")
	case hinted != ascending:
		return false, fail(51174, "The index chosen is not compatible with min/max")
	}
	lower, upper := minKey, maxKey
	for _, side := range []struct {
		doc  bsoncore.Document
		have bool
		into *value
	}{{q.min, hasMin, &lower}, {q.max, hasMax, &upper}} {
		if !side.have {
			continue
		}
		elements, _ := side.doc.Elements()
		if len(elements) != 1 || elements[0].Key() != "_id" {
			return false, fail(51174, "The index chosen is not compatible with min/max")
		}
		*side.into = elements[0].Value()
	}
	if compare(lower, upper) >= 0 {
		return false, fail(51175, "The value provided for min() does not come before the value provided for max() in the hinted index")
	}
	b.lower = append(slices.Clone(b.lower), before(lower))
	b.upper = append(slices.Clone(b.upper), before(upper))
	return true, nil
}
