package mapping

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// An event carries a value in a form that depends on its profile: a date may be {"$date": 1704067200000}, a symbol its mere
// text. What an indexer keeps of it comes back in that form, or as an object whose names have another order. The functions
// below bring all of these, and the text of a document's own field, to the plain event's form, in which they are compared:
// scalar for a text, a number, a switch or a date; []any; map[string]any; nil for null.

// isJSON reports whether a text may be an object or a list.
func isJSON(text string) bool { return text != "" && (text[0] == '{' || text[0] == '[') }

// form reads a version's text.
func form(text string) any {
	if !isJSON(text) {
		return scalar{text: text}
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return scalar{text: text}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return scalar{text: text}
	}
	return plain(v)
}

// orderForms compares two versions, of which one at least may be JSON.
func orderForms(a, b string) (int, ordering) {
	x, y := form(a), form(b)
	s, xScalar := x.(scalar)
	t, yScalar := y.(scalar)
	switch {
	case xScalar && s == scalar{text: b}, yScalar && t == scalar{text: a}: // code, say, whose text is JSON by itself
		return 0, byForm
	case xScalar && yScalar && s != t:
		return orderScalars(s, t)
	case sameForm(x, y):
		return 0, byForm
	}
	return 0, byNothing
}

// sameForm reports whether two values are the same, wherever they are compared as instants or numbers.
func sameForm(x, y any) bool {
	switch x := x.(type) {
	case nil:
		return y == nil
	case scalar:
		y, ok := y.(scalar)
		if !ok || x == y {
			return ok
		}
		c, by := orderScalars(x, y)
		return c == 0 && by != byNothing
	case []any:
		y, ok := y.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameForm(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name, v := range x {
			other, there := y[name]
			if !there || !sameForm(v, other) {
				return false
			}
		}
		return true
	}
	return false
}

// plain brings a decoded value to the plain form.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		return scalar{text: v}
	case json.Number:
		if text := v.String(); strings.ContainsAny(text, ".eE") {
			return scalar{text: shortest(text)}
		}
		return scalar{text: v.String()}
	case bool:
		return scalar{text: strconv.FormatBool(v)}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
		return v
	case map[string]any:
		if out, ok := typed(v); ok {
			return out
		}
		for name := range v {
			v[name] = plain(v[name])
		}
		return v
	}
	return nil
}

// shortest gives a double's text with as few digits as it needs: Java writes more of the smallest.
func shortest(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f-f != 0 {
		return text // NaN and the infinities
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// typed reads an object that stands for a value of one of BSON's types in Extended JSON, of either version.
func typed(m map[string]any) (any, bool) {
	text := func(name string) (string, bool) {
		s, ok := m[name].(string)
		return s, ok
	}
	switch len(m) {
	case 1:
		for name, v := range m {
			return typedOne(name, v)
		}
	case 2:
		if data, ok := text("$binary"); ok {
			_, ok := text("$type")
			return scalar{text: data}, ok
		}
		if pattern, ok := text("$regex"); ok {
			options, ok := text("$options")
			return scalar{text: "/" + pattern + "/" + options}, ok
		}
		if code, ok := text("$code"); ok {
			scope, ok := m["$scope"]
			return map[string]any{"code": scalar{text: code}, "scope": plain(scope)}, ok
		}
		return pointer(m)
	}
	return nil, false
}

// typedOne is typed for an object of one field.
func typedOne(name string, v any) (any, bool) {
	inner, _ := v.(map[string]any)
	text, isText := v.(string)
	switch name {
	case "$oid", "$symbol", "$code", "$numberInt", "$numberLong", "$numberDecimal", "$uuid":
		return scalar{text: text}, isText
	case "$numberDouble":
		return scalar{text: shortest(text)}, isText
	case "$date":
		return date(v)
	case "$timestamp":
		return plain(inner), inner != nil
	case "$binary":
		data, ok := inner["base64"].(string)
		return scalar{text: data}, ok // a UUID's text is equal to it: see sameUUID
	case "$regularExpression":
		pattern, ok := inner["pattern"].(string)
		options, _ := inner["options"].(string)
		return scalar{text: "/" + pattern + "/" + options}, ok
	case "$dbPointer":
		return pointer(inner)
	case "$undefined":
		return nil, true
	case "$minKey":
		return scalar{text: "MinKey"}, true
	case "$maxKey":
		return scalar{text: "MaxKey"}, true
	}
	return nil, false
}

// date reads what stands behind "$date": a text, or milliseconds since 1970.
func date(v any) (any, bool) {
	if inner, ok := v.(map[string]any); ok && len(inner) == 1 {
		if v, ok = inner["$numberLong"]; !ok {
			return nil, false
		}
	}
	switch v := v.(type) {
	case string:
		if m, ok := parseMoment(v); ok {
			return scalar{date: m, set: true}, true
		}
		ms, err := strconv.ParseInt(v, 10, 64)
		return scalar{date: moment{ms: ms}, set: true}, err == nil
	case json.Number:
		ms, err := v.Int64()
		return scalar{date: moment{ms: ms}, set: true}, err == nil
	}
	return nil, false
}

// pointer reads a DBPointer, which looks like a reference.
func pointer(m map[string]any) (any, bool) {
	ref, isRef := m["$ref"].(string)
	id, hasID := m["$id"]
	if !isRef || !hasID || len(m) != 2 {
		return nil, false
	}
	return map[string]any{"ref": scalar{text: ref}, "id": plain(id)}, true
}

const uuidForm = "00000000-0000-0000-0000-000000000000"

// sameUUID reports whether a UUID's text stands for the bytes that base64 holds, as which all but plain events carry it.
func sameUUID(text, data string) bool {
	if len(text) != len(uuidForm) || len(data) != base64.StdEncoding.EncodedLen(len(uuid.UUID{})) {
		return false
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(data)
	return err == nil && hex.EncodeToString(b) == hex.EncodeToString(id[:])
}
