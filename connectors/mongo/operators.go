package mongo

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// The operators of a query (Manual, "Query Predicates"), by where they stand. What is inside of an expression, a schema or a
// shape is the server's to check.
var (
	combining = []string{"$and", "$or", "$nor"}
	topLevel  = append([]string{"$expr", "$where", "$text", "$comment", "$jsonSchema", "$sampleRate", "$alwaysTrue", "$alwaysFalse"}, combining...)
	ofFields  = []string{
		"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$type", "$regex", "$options", "$mod", "$all", "$elemMatch",
		"$size", "$not", "$comment", "$expr", "$where", "$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear",
		"$geoIntersects", "$geoWithin", "$within", "$near", "$nearSphere", "$maxDistance", "$minDistance", "$geometry", "$uniqueDocs",
		"$ref", "$id", "$db", // a reference, which is a value
	}
)

// checkOperators finds operators that the server does not know.
func checkOperators(filter bson.Raw) error {
	elements, err := filter.Elements()
	if err != nil {
		return fmt.Errorf("a filter is Extended JSON: %w", err)
	}
	for _, e := range elements {
		switch name := e.Key(); {
		case slices.Contains(combining, name):
			if err := eachDocument(name, e.Value(), checkOperators); err != nil {
				return err
			}
		case strings.HasPrefix(name, "$"):
			if !slices.Contains(topLevel, name) {
				return unknownOperator(name, "where a field's name or one of these is due: "+strings.Join(topLevel, ", "), append(slices.Clone(topLevel), ofFields...))
			}
		default:
			if err := checkField(name, e.Value()); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachDocument checks every document of a list.
func eachDocument(name string, list bson.RawValue, check func(bson.Raw) error) error {
	array, ok := list.ArrayOK()
	if !ok {
		return fmt.Errorf("%s takes a list of queries", name)
	}
	values, err := array.Values()
	if err != nil {
		return fmt.Errorf("a filter is Extended JSON: %w", err)
	}
	if len(values) == 0 {
		return fmt.Errorf("%s takes a list of queries, which must not be empty", name)
	}
	for _, v := range values {
		query, ok := v.DocumentOK()
		if !ok {
			return fmt.Errorf("%s takes a list of queries", name)
		}
		if err := check(query); err != nil {
			return err
		}
	}
	return nil
}

// checkField checks what a field is compared with: an object of operators, or a value.
func checkField(field string, v bson.RawValue) error {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil
	}
	elements, err := doc.Elements()
	if err != nil {
		return fmt.Errorf("a filter is Extended JSON: %w", err)
	}
	operators := 0
	for _, e := range elements {
		if strings.HasPrefix(e.Key(), "$") {
			operators++
		}
	}
	if operators == 0 {
		return nil // a value
	}
	for _, e := range elements {
		name := e.Key()
		if !strings.HasPrefix(name, "$") {
			return syncd.Hint(fmt.Errorf("of the field %q operators and fields are asked at once: %q", field, name), "a field inside of it is written %q", field+"."+name)
		}
		if !slices.Contains(ofFields, name) {
			return unknownOperator(name, fmt.Sprintf("of the field %q", field), ofFields)
		}
		switch name {
		case "$not":
			err = checkField(field, e.Value())
		case "$elemMatch":
			err = checkElements(field, e.Value())
		case "$in", "$nin", "$all":
			if e.Value().Type != bson.TypeArray {
				err = fmt.Errorf("%s of the field %q takes a list", name, field)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkElements checks the operand of $elemMatch: operators for values, or a query for documents.
func checkElements(field string, v bson.RawValue) error {
	doc, ok := v.DocumentOK()
	if !ok {
		return fmt.Errorf("$elemMatch of the field %q takes a query", field)
	}
	first, err := doc.IndexErr(0)
	if err == nil && strings.HasPrefix(first.Key(), "$") && !slices.Contains(combining, first.Key()) {
		return checkField(field, v)
	}
	return checkOperators(doc)
}

func unknownOperator(name, where string, known []string) error {
	hint := "fields are written without $; the operators are those of MongoDB's queries"
	if near := spec.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return syncd.Hint(fmt.Errorf("unknown operator %q %s", name, where), "%s", hint)
}

// mistaken says why a filter may match nothing of a collection, of which doc is a document: a field is compared with a value of a
// type that it does not have there, which no operator of MongoDB ever takes for equal. It is "" where nothing is found.
func mistaken(filter, doc bson.Raw) string {
	found := ""
	var query func(q bson.Raw)
	query = func(q bson.Raw) {
		elements, _ := q.Elements()
		for _, e := range elements {
			name, v := e.Key(), e.Value()
			if slices.Contains(combining, name) {
				list, _ := v.ArrayOK()
				values, _ := list.Values()
				for _, v := range values {
					if q, ok := v.DocumentOK(); ok {
						query(q)
					}
				}
				continue
			}
			if held, err := doc.LookupErr(strings.Split(name, ".")...); err == nil && found == "" && !strings.HasPrefix(name, "$") {
				found = mistakenField(name, held, v)
			}
		}
	}
	query(filter)
	return found
}

// mistakenField is mistaken for one field.
func mistakenField(field string, held, wanted bson.RawValue) string {
	compared := []bson.RawValue{wanted}
	if doc, ok := wanted.DocumentOK(); ok {
		elements, _ := doc.Elements()
		if len(elements) == 0 || held.Type == bson.TypeEmbeddedDocument && !strings.HasPrefix(elements[0].Key(), "$") {
			return ""
		}
		if bare := "$" + elements[0].Key(); slices.Contains(ofFields, bare) {
			return fmt.Sprintf("%s is compared with an object that has a field %q: did you mean %q?", field, elements[0].Key(), bare)
		}
		compared = nil
		for _, e := range elements {
			switch e.Key() {
			case "$eq", "$gt", "$gte", "$lt", "$lte":
				compared = append(compared, e.Value())
			case "$in", "$all":
				list, _ := e.Value().ArrayOK()
				values, _ := list.Values()
				compared = append(compared, values...)
			}
		}
	}
	for _, v := range compared {
		if k, h := kindOf(v.Type), kindOf(held.Type); k != h && h != "a list" && k != "null" && v.Type != bson.TypeRegex && h != "null" {
			return fmt.Sprintf("%s is compared with %s, but the first document has %s there%s", field, k, h, writtenAs(held.Type))
		}
	}
	return ""
}

// kindOf names a type; types of one kind can be equal.
func kindOf(t bson.Type) string {
	switch t {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble, bson.TypeDecimal128:
		return "a number"
	case bson.TypeString, bson.TypeSymbol:
		return "text"
	case bson.TypeDateTime:
		return "a date"
	case bson.TypeObjectID:
		return "an ObjectId"
	case bson.TypeBoolean:
		return "a switch"
	case bson.TypeBinary:
		return "binary data"
	case bson.TypeTimestamp:
		return "a timestamp"
	case bson.TypeEmbeddedDocument:
		return "an object"
	case bson.TypeArray:
		return "a list"
	case bson.TypeNull, bson.TypeUndefined:
		return "null"
	}
	return t.String()
}

// writtenAs says how a filter writes a value.
func writtenAs(t bson.Type) string {
	switch t {
	case bson.TypeObjectID:
		return `: write {"$oid": "…"}`
	case bson.TypeDateTime:
		return `: write {"$date": "…"}, or in YAML the date without quotes`
	case bson.TypeBinary:
		return `: write {"$binary": …}, a UUID {"$uuid": "…"}`
	case bson.TypeTimestamp:
		return `: write {"$timestamp": {"t": …, "i": …}}`
	}
	return ""
}
