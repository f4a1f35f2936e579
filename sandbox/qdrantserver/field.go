package qdrantserver

import (
	"slices"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// anyIndex lists all kinds of index: each keeps track of empty and null values.
func anyIndex() []qdrant.FieldType {
	return []qdrant.FieldType{
		qdrant.FieldType_FieldTypeBool, qdrant.FieldType_FieldTypeDatetime, qdrant.FieldType_FieldTypeFloat,
		qdrant.FieldType_FieldTypeGeo, qdrant.FieldType_FieldTypeInteger, qdrant.FieldType_FieldTypeKeyword,
		qdrant.FieldType_FieldTypeText, qdrant.FieldType_FieldTypeUuid,
	}
}

// field compiles a condition on one key. Qdrant's message has a slot for each kind of test; if several are
// filled, any of them suffices, except that tests of the whole value (count, empty, null) go first.
func (fc *filterCompiler) field(pb *qdrant.FieldCondition, within jsonPath) (predicate, error) {
	if pb.GetGeoBoundingBox() != nil || pb.GetGeoRadius() != nil || pb.GetGeoPolygon() != nil {
		return nil, status.Error(codes.Unimplemented, "geo conditions are not imitated")
	}
	if pb.GetMatch() == nil && pb.GetRange() == nil && pb.GetDatetimeRange() == nil && pb.GetValuesCount() == nil &&
		pb.IsEmpty == nil && pb.IsNull == nil {
		return nil, invalidArgument("Validation error in body: [filter: At least one field condition must be specified]")
	}
	var tests []func(*qdrant.Value) bool
	var kinds []qdrant.FieldType
	if pb.GetMatch() != nil {
		test, wants, size, err := compileMatch(pb.GetMatch())
		if err != nil {
			return nil, err
		}
		tests, kinds = append(tests, test), append(kinds, wants...)
		fc.out.largest = max(fc.out.largest, size)
	}
	if pb.GetRange() != nil {
		tests, kinds = append(tests, inRange(pb.GetRange())), append(kinds, qdrant.FieldType_FieldTypeFloat, qdrant.FieldType_FieldTypeInteger)
	} else if pb.GetDatetimeRange() != nil {
		test, err := inDatetimeRange(pb.GetDatetimeRange())
		if err != nil {
			return nil, err
		}
		tests, kinds = append(tests, test), append(kinds, qdrant.FieldType_FieldTypeDatetime)
	}
	if pb.GetValuesCount() != nil || pb.IsEmpty != nil || pb.IsNull != nil {
		kinds = anyIndex()
	}
	path, err := fc.key(pb.GetKey(), within, kinds)
	if err != nil {
		return nil, err
	}
	whole, absent := wholeValueTest(pb, tests)
	return func(s *subject) bool {
		present := false
		matched := path.visit(s.payload, func(value *qdrant.Value) bool {
			present = true
			return whole(value)
		})
		return matched || !present && absent
	}, nil
}

// wholeValueTest is the test of one value at the key, and what holds for a point without any.
func wholeValueTest(pb *qdrant.FieldCondition, tests []func(*qdrant.Value) bool) (whole func(*qdrant.Value) bool, absent bool) {
	switch {
	case pb.GetValuesCount() != nil:
		counts := pb.GetValuesCount()
		return func(value *qdrant.Value) bool { return countWithin(counts, countValues(value)) }, countWithin(counts, 0)
	case pb.IsEmpty != nil:
		return func(value *qdrant.Value) bool { return isNotEmpty(value) != pb.GetIsEmpty() }, pb.GetIsEmpty()
	case pb.IsNull != nil:
		return func(value *qdrant.Value) bool { return hasNull(value) == pb.GetIsNull() }, !pb.GetIsNull()
	default:
		one := func(value *qdrant.Value) bool {
			for _, test := range tests {
				if test(value) {
					return true
				}
			}
			return false
		}
		// An array matches if any of its elements does; arrays within arrays are not flattened.
		return func(value *qdrant.Value) bool {
			if list, ok := value.GetKind().(*qdrant.Value_ListValue); ok {
				return slices.ContainsFunc(list.ListValue.GetValues(), one)
			}
			return one(value)
		}, false
	}
}

func countValues(value *qdrant.Value) uint64 {
	if list, ok := value.GetKind().(*qdrant.Value_ListValue); ok {
		return uint64(len(list.ListValue.GetValues()))
	}
	if isNull(value) {
		return 0
	}
	return 1
}

func countWithin(bounds *qdrant.ValuesCount, n uint64) bool {
	return (bounds.Lt == nil || n < *bounds.Lt) && (bounds.Gt == nil || n > *bounds.Gt) &&
		(bounds.Lte == nil || n <= *bounds.Lte) && (bounds.Gte == nil || n >= *bounds.Gte)
}

func hasNull(value *qdrant.Value) bool {
	if list, ok := value.GetKind().(*qdrant.Value_ListValue); ok {
		return slices.ContainsFunc(list.ListValue.GetValues(), isNull)
	}
	return isNull(value)
}

// compileMatch returns the test of one value, the indexes that would serve it and the number of its entries.
func compileMatch(pb *qdrant.Match) (test func(*qdrant.Value) bool, kinds []qdrant.FieldType, size int, err error) {
	const (
		keyword = qdrant.FieldType_FieldTypeKeyword
		integer = qdrant.FieldType_FieldTypeInteger
		text    = qdrant.FieldType_FieldTypeText
	)
	switch match := pb.GetMatchValue().(type) {
	case *qdrant.Match_Keyword:
		return isText(func(s string) bool { return s == match.Keyword }), keywordKinds(match.Keyword), 0, nil
	case *qdrant.Match_Integer:
		return isInteger(func(n int64) bool { return n == match.Integer }), []qdrant.FieldType{integer}, 0, nil
	case *qdrant.Match_Boolean:
		return func(value *qdrant.Value) bool {
			b, ok := value.GetKind().(*qdrant.Value_BoolValue)
			return ok && b.BoolValue == match.Boolean
		}, []qdrant.FieldType{qdrant.FieldType_FieldTypeBool}, 0, nil
	case *qdrant.Match_Keywords:
		set := setOf(match.Keywords.GetStrings())
		return isText(set.has), keywordKinds(match.Keywords.GetStrings()...), len(set), nil
	case *qdrant.Match_Integers:
		set := setOf(match.Integers.GetIntegers())
		return isInteger(set.has), kindsIf(len(set) > 0, integer), len(set), nil
	case *qdrant.Match_ExceptKeywords:
		set := setOf(match.ExceptKeywords.GetStrings())
		return isNotNullAndNot(isText(set.has)), keywordKinds(match.ExceptKeywords.GetStrings()...), len(set), nil
	case *qdrant.Match_ExceptIntegers:
		set := setOf(match.ExceptIntegers.GetIntegers())
		return isNotNullAndNot(isInteger(set.has)), kindsIf(len(set) > 0, integer), len(set), nil
	case *qdrant.Match_Text: // without a text index, Qdrant looks for the text as it is
		return isText(func(s string) bool { return strings.Contains(s, match.Text) }), []qdrant.FieldType{text}, 0, nil
	case *qdrant.Match_Phrase:
		return isText(func(s string) bool { return strings.Contains(s, match.Phrase) }), []qdrant.FieldType{text}, 0, nil
	case *qdrant.Match_TextAny:
		words := strings.Fields(match.TextAny)
		return isText(func(s string) bool {
			return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(s, word) })
		}), []qdrant.FieldType{text}, 0, nil
	case *qdrant.Match_Prefix:
		return isText(func(s string) bool { return strings.HasPrefix(s, match.Prefix) }), []qdrant.FieldType{keyword}, 0, nil
	default:
		return nil, nil, 0, invalidArgument("Malformed Match condition")
	}
}

// keywordKinds: a UUID index serves as well if all texts are UUIDs. An empty list needs no index.
func keywordKinds(texts ...string) []qdrant.FieldType {
	if len(texts) == 0 {
		return nil
	}
	for _, text := range texts {
		if _, ok := parseUUID(text); !ok {
			return []qdrant.FieldType{qdrant.FieldType_FieldTypeKeyword}
		}
	}
	return []qdrant.FieldType{qdrant.FieldType_FieldTypeUuid, qdrant.FieldType_FieldTypeKeyword}
}

func kindsIf(needed bool, kind qdrant.FieldType) []qdrant.FieldType {
	if !needed {
		return nil
	}
	return []qdrant.FieldType{kind}
}

type set[T comparable] map[T]struct{}

func setOf[T comparable](values []T) set[T] {
	s := make(set[T], len(values))
	for _, value := range values {
		s[value] = struct{}{}
	}
	return s
}

func (s set[T]) has(value T) bool {
	_, ok := s[value]
	return ok
}

func isText(test func(string) bool) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		text, ok := value.GetKind().(*qdrant.Value_StringValue)
		return ok && test(text.StringValue)
	}
}

// isInteger never holds for doubles, not even whole ones: Qdrant keeps the two apart.
func isInteger(test func(int64) bool) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		n, ok := value.GetKind().(*qdrant.Value_IntegerValue)
		return ok && test(n.IntegerValue)
	}
}

// isNotNullAndNot is "except": every value of another type counts as excepted from the list, but null does not.
func isNotNullAndNot(test func(*qdrant.Value) bool) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool { return !isNull(value) && !test(value) }
}

func inRange(bounds *qdrant.Range) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		n, ok := number(value)
		return ok && (bounds.Lt == nil || n < *bounds.Lt) && (bounds.Gt == nil || n > *bounds.Gt) &&
			(bounds.Lte == nil || n <= *bounds.Lte) && (bounds.Gte == nil || n >= *bounds.Gte)
	}
}

func number(value *qdrant.Value) (float64, bool) {
	switch kind := value.GetKind().(type) {
	case *qdrant.Value_IntegerValue:
		return float64(kind.IntegerValue), true
	case *qdrant.Value_DoubleValue:
		return kind.DoubleValue, true
	default:
		return 0, false
	}
}

func inDatetimeRange(bounds *qdrant.DatetimeRange) (func(*qdrant.Value) bool, error) {
	for _, bound := range []*timestamppb.Timestamp{bounds.GetLt(), bounds.GetGt(), bounds.GetLte(), bounds.GetGte()} {
		if bound != nil && bound.CheckValid() != nil {
			return nil, invalidArgument("Unable to parse timestamp: %v", bound)
		}
	}
	return isText(func(text string) bool {
		t, ok := parseDatetime(text)
		return ok && (bounds.Lt == nil || t.Before(bounds.Lt.AsTime())) && (bounds.Gt == nil || t.After(bounds.Gt.AsTime())) &&
			(bounds.Lte == nil || !t.After(bounds.Lte.AsTime())) && (bounds.Gte == nil || !t.Before(bounds.Gte.AsTime()))
	}), nil
}

// parseDatetime accepts the forms that Qdrant accepts in payloads; without a zone they are UTC.
func parseDatetime(text string) (time.Time, bool) {
	for _, layout := range [...]string{
		time.RFC3339Nano,
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00",
		"2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z0700",
		"2006-01-02T15:04:05Z07", "2006-01-02 15:04:05Z07",
		"2006-01-02T15:04:05", "2006-01-02 15:04:05",
		"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
