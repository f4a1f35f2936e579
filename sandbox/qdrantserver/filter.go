package qdrantserver

import (
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// filter is a compiled filter, with what strict mode and rate limits want to know about it.
type filter struct {
	matches    predicate
	conditions int         // how many, those of sub-filters included
	largest    int         // entries of the longest list in a condition
	needs      []indexNeed // keys that an index should cover
}

// subject is what conditions look at: a point, or an object within its payload (then id and vectors are nil,
// since Qdrant does not support conditions on them there).
type subject struct {
	id      *pointID
	payload map[string]*qdrant.Value
	vectors map[string]*qdrant.VectorOutput
}

type predicate func(*subject) bool

type indexNeed struct {
	key   string
	kinds []qdrant.FieldType // any of these would do
}

// compileFilter returns nil for nil: no filter, everything matches.
func (s *Server) compileFilter(pb *qdrant.Filter) (*filter, error) {
	if pb == nil {
		return nil, nil
	}
	compiler := filterCompiler{slices: s.slices}
	matches, err := compiler.filter(pb, nil)
	if err != nil {
		return nil, err
	}
	compiler.out.matches = matches
	return &compiler.out, nil
}

// matcher is the test of whole points. It is made once for a scan, so that the scan does not allocate a subject
// for every point; therefore it must not be used concurrently.
func (f *filter) matcher() func(pointID, *point) bool {
	if f == nil {
		return func(pointID, *point) bool { return true }
	}
	var id pointID
	s := subject{id: &id}
	return func(of pointID, p *point) bool {
		id, s.payload, s.vectors = of, p.payload, p.vectors
		return f.matches(&s)
	}
}

// rateCost is what the filter adds to the price of a request.
func (f *filter) rateCost() int {
	if f == nil {
		return 0
	}
	return f.conditions
}

type filterCompiler struct {
	slices bool
	out    filter
}

// filter compiles a filter; within is the path of the objects it looks at, nil for the payload itself.
func (fc *filterCompiler) filter(pb *qdrant.Filter, within jsonPath) (predicate, error) {
	must, err := fc.conditions(pb.GetMust(), within)
	if err != nil {
		return nil, err
	}
	mustNot, err := fc.conditions(pb.GetMustNot(), within)
	if err != nil {
		return nil, err
	}
	should, err := fc.conditions(pb.GetShould(), within)
	if err != nil {
		return nil, err
	}
	atLeast, err := fc.conditions(pb.GetMinShould().GetConditions(), within)
	if err != nil {
		return nil, err
	}
	count := pb.GetMinShould().GetMinCount()
	return func(s *subject) bool {
		for _, condition := range must {
			if !condition(s) {
				return false
			}
		}
		for _, condition := range mustNot {
			if condition(s) {
				return false
			}
		}
		return (len(should) == 0 || countMatches(should, s, 1) == 1) && countMatches(atLeast, s, count) == count
	}, nil
}

// countMatches counts up to enough.
func countMatches(conditions []predicate, s *subject, enough uint64) uint64 {
	var n uint64
	for i := 0; i < len(conditions) && n < enough; i++ {
		if conditions[i](s) {
			n++
		}
	}
	return n
}

// conditions compiles a list. Empty conditions are dropped, not failed: that is how an older Qdrant treats
// conditions that it does not know, such as slice before 1.19.
func (fc *filterCompiler) conditions(pbs []*qdrant.Condition, within jsonPath) ([]predicate, error) {
	var compiled []predicate
	for _, pb := range pbs {
		condition, err := fc.condition(pb, within)
		if err != nil {
			return nil, err
		}
		if condition != nil {
			compiled = append(compiled, condition)
		}
	}
	return compiled, nil
}

func (fc *filterCompiler) condition(pb *qdrant.Condition, within jsonPath) (predicate, error) {
	switch one := pb.GetConditionOneOf().(type) {
	case *qdrant.Condition_Filter:
		return fc.filter(one.Filter, within)
	case *qdrant.Condition_Nested:
		return fc.nested(one.Nested, within)
	}
	condition, err := fc.leaf(pb, within)
	if condition != nil {
		fc.out.conditions++
	}
	return condition, err
}

func (fc *filterCompiler) leaf(pb *qdrant.Condition, within jsonPath) (predicate, error) {
	switch one := pb.GetConditionOneOf().(type) {
	case *qdrant.Condition_Field:
		return fc.field(one.Field, within)
	case *qdrant.Condition_IsEmpty:
		path, err := fc.key(one.IsEmpty.GetKey(), within, anyIndex())
		if err != nil {
			return nil, err
		}
		return func(s *subject) bool { return !path.visit(s.payload, isNotEmpty) }, nil
	case *qdrant.Condition_IsNull:
		path, err := fc.key(one.IsNull.GetKey(), within, anyIndex())
		if err != nil {
			return nil, err
		}
		return func(s *subject) bool { return path.visit(s.payload, isNull) }, nil
	case *qdrant.Condition_HasId:
		return fc.hasID(one.HasId.GetHasId())
	case *qdrant.Condition_HasVector:
		name := one.HasVector.GetHasVector()
		return func(s *subject) bool { return s.vectors[name] != nil }, nil
	case *qdrant.Condition_Slice:
		if !fc.slices {
			return nil, nil
		}
		return compileSlice(one.Slice)
	case nil:
		return nil, nil
	default:
		return nil, status.Errorf(codes.Unimplemented, "conditions of type %T are not imitated", one)
	}
}

func (fc *filterCompiler) nested(pb *qdrant.NestedCondition, within jsonPath) (predicate, error) {
	if pb.GetFilter() == nil {
		return nil, invalidArgument("Nested condition must have a filter")
	}
	path, err := parsePath(pb.GetKey())
	if err != nil {
		return nil, err
	}
	path = path.every()
	matches, err := fc.filter(pb.GetFilter(), append(within[:len(within):len(within)], path...))
	if err != nil {
		return nil, err
	}
	return func(s *subject) bool {
		return path.visit(s.payload, func(value *qdrant.Value) bool {
			object, ok := value.GetKind().(*qdrant.Value_StructValue)
			return ok && matches(&subject{payload: object.StructValue.GetFields()})
		})
	}, nil
}

func (fc *filterCompiler) hasID(pbs []*qdrant.PointId) (predicate, error) {
	ids, err := parseIDs(pbs)
	if err != nil {
		return nil, err
	}
	set := make(map[pointID]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	fc.out.largest = max(fc.out.largest, len(set))
	return func(s *subject) bool {
		if s.id == nil {
			return false
		}
		_, ok := set[*s.id]
		return ok
	}, nil
}

func compileSlice(pb *qdrant.SliceCondition) (predicate, error) {
	total, index := pb.GetTotal(), pb.GetIndex()
	if total == 0 {
		return nil, invalidArgument("Slice total must be greater than 0")
	}
	if index >= total {
		return nil, invalidArgument("Slice index must be less than the total number of slices")
	}
	return func(s *subject) bool { return s.id != nil && s.id.slice(total) == index }, nil
}

// key parses a condition's key and notes which indexes would serve it. No kinds means that none is needed.
func (fc *filterCompiler) key(text string, within jsonPath, kinds []qdrant.FieldType) (jsonPath, error) {
	path, err := parsePath(text)
	if err != nil {
		return nil, err
	}
	if len(kinds) > 0 {
		full := append(within[:len(within):len(within)], path...)
		fc.out.needs = append(fc.out.needs, indexNeed{key: full.String(), kinds: kinds})
	}
	return path, nil
}

// isNotEmpty is the opposite of Qdrant's emptiness: null and [] are empty, [null] is not.
func isNotEmpty(value *qdrant.Value) bool {
	if list, ok := value.GetKind().(*qdrant.Value_ListValue); ok {
		return len(list.ListValue.GetValues()) > 0
	}
	return !isNull(value)
}
