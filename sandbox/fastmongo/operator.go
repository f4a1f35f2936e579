package fastmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// compileTests compiles what a query says about one field: a value to equal, or a document of operators.
func compileTests(field string, v value) ([]test, error) {
	if d, ok := v.DocumentOK(); ok && isOperators(d) {
		var out []test
		for rest := body(d); ; {
			e, ok := nextElement(&rest)
			if !ok {
				return out, nil
			}
			t, err := compileOperator(field, e.Key(), e.Value())
			if err != nil {
				return nil, err
			}
			out = append(out, t...)
		}
	}
	if v.Type == bsoncore.TypeRegex {
		return nil, fail(238, "matching by regular expression is not implemented here")
	}
	return []test{equals(v)}, nil
}

func isOperators(d bsoncore.Document) bool {
	rest := body(d)
	e, ok := nextElement(&rest)
	return ok && strings.HasPrefix(e.Key(), "$")
}

func compileOperator(field, op string, v value) ([]test, error) {
	switch op {
	case "$eq":
		return []test{equals(v)}, nil
	case "$ne":
		return []test{equals(v).not()}, nil
	case "$in", "$nin":
		t, err := among(op, v)
		if op == "$nin" {
			t = t.not()
		}
		return []test{t}, err
	case "$gt", "$gte", "$lt", "$lte":
		return []test{ordered(op, v)}, nil
	case "$exists":
		t := test{leaf: func(got value) bool { return got.Type != 0 }, whole: true}
		t.negated = !truthy(v)
		return []test{t}, nil
	case "$type":
		return []test{{leaf: func(got value) bool { return got.Type != 0 && isOfType(got, v) }}}, nil
	case "$not":
		d, ok := v.DocumentOK()
		if !ok || !isOperators(d) {
			return nil, fail(codeBadValue, "$not needs a document of operators here")
		}
		inner, err := compileTests(field, v)
		if err != nil {
			return nil, err
		}
		if len(inner) != 1 {
			return nil, fail(238, "$not of several operators is not implemented here")
		}
		return []test{inner[0].not()}, nil
	}
	return nil, fail(codeBadValue, "unknown operator: %s", op)
}

// not negates a test. No index helps with that.
func (t test) not() test {
	return test{leaf: t.leaf, whole: t.whole, negated: !t.negated}
}

func truthy(v value) bool {
	if b, ok := v.BooleanOK(); ok {
		return b
	}
	return v.Type != bsoncore.TypeNull && v.Type != 0 && (!v.IsNumber() || toInt(v) != 0)
}

// isOfType knows types by number and the aliases that tests use.
func isOfType(got, want value) bool {
	if name, ok := want.StringValueOK(); ok {
		alias := map[string][]bsoncore.Type{
			"objectId": {bsoncore.TypeObjectID}, "string": {bsoncore.TypeString}, "object": {bsoncore.TypeEmbeddedDocument},
			"int": {bsoncore.TypeInt32}, "long": {bsoncore.TypeInt64}, "double": {bsoncore.TypeDouble}, "decimal": {bsoncore.TypeDecimal128},
			"number": {bsoncore.TypeInt32, bsoncore.TypeInt64, bsoncore.TypeDouble, bsoncore.TypeDecimal128},
			"date":   {bsoncore.TypeDateTime}, "bool": {bsoncore.TypeBoolean}, "binData": {bsoncore.TypeBinary}, "null": {bsoncore.TypeNull},
		}
		return slices.Contains(alias[name], got.Type)
	}
	return want.IsNumber() && bsoncore.Type(toInt(want)) == got.Type
}

// nullish reports whether a value is equal to null: null, undefined and what is missing are.
func nullish(v value) bool {
	return v.Type == bsoncore.TypeNull || v.Type == bsoncore.TypeUndefined || v.Type == 0
}

func equal(a, b value) bool { return compare(a, b) == 0 || (nullish(a) && nullish(b)) }

func equals(want value) test {
	t := test{leaf: func(v value) bool { return equal(v, want) }}
	if !nullish(want) {
		t.points = []value{want}
	}
	return t
}

func among(op string, v value) (test, error) {
	if v.Type != bsoncore.TypeArray {
		return test{}, fail(codeBadValue, "%s needs an array", op)
	}
	list, null := []value{}, false
	n := 0
	for rest := body(v.Data); ; n++ {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		item := e.Value()
		switch {
		case item.Type == bsoncore.TypeRegex:
			return test{}, fail(238, "matching by regular expression is not implemented here")
		case nullish(item):
			null = true
		default:
			list = append(list, item)
		}
	}
	slices.SortFunc(list, compare)
	t := test{leaf: func(v value) bool {
		if nullish(v) {
			return null
		}
		_, found := slices.BinarySearchFunc(list, v, compare)
		return found
	}}
	if null {
		// An index looks null up as well, here a test beside a full scan does.
		return t, nil
	}
	t.points, t.inKeys = list, n
	return t, nil
}

// ordered compares within the operand's own type only ("type bracketing"): {$gt: 5} holds for no string. MinKey and MaxKey
// compare with everything; NaN is only ever equal to itself.
func ordered(op string, want value) test {
	orEqual := op == "$gte" || op == "$lte"
	above := op == "$gt" || op == "$gte"
	if r := rank(want); r == rankMinKey || r == rankMaxKey {
		return test{leaf: func(v value) bool {
			if v.Type == 0 {
				return false
			}
			if rank(v) == r {
				return orEqual
			}
			return above == (r == rankMinKey)
		}}
	}
	if nullish(want) {
		return test{leaf: func(v value) bool { return orEqual && nullish(v) }}
	}
	if isNaN(want) {
		return test{leaf: func(v value) bool { return orEqual && isNaN(v) }}
	}
	t := test{leaf: func(v value) bool {
		if rank(v) != rank(want) || isNaN(v) {
			return false
		}
		c := compare(v, want)
		return (above && c > 0) || (!above && c < 0) || (orEqual && c == 0)
	}}
	lower, upper := cut{rank: rank(want)}, cut{rank: rank(want), behind: true}
	if above {
		lower = cut{at: want, behind: !orEqual}
	} else {
		upper = cut{at: want, behind: orEqual}
	}
	t.lower, t.upper = &lower, &upper
	t.tight = above || rank(want) != rankNumber // NaN is below all numbers, but not less than any
	return t
}
